package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"fhirdest.example/fhir"
	"fhirdest.example/fhir/fhirtest"
	"fhirdest.example/fhir/trail"
	"fhirdest.example/server/audit"
	"fhirdest.example/server/bolt"
	"fhirdest.example/server/carry"
	"fhirdest.example/server/oauth"
	"fhirdest.example/server/oauth/storetest"
	"fhirdest.example/server/postgres"
	"fhirdest.example/server/postgres/postgrestest"
	"fhirdest.example/server/tiered"
	"fhirdest.example/udap/fetch"
	"fhirdest.example/udap/trace"
)

const public = "https://fhir.test/acme/fhir"

// fillTrust stores rows of each kind that is carried, and a token, which is not.
func fillTrust(t *testing.T, s *bolt.Trust) {
	t.Helper()
	for i := range 20 {
		_, _, err := s.Register(t.Context(), spent(fmt.Sprint("register ", i)), oauth.Registration{
			ID:        trace.ClientID(fmt.Sprint("c", i)),
			Community: "urn:a",
			Client:    trace.ClientURI(fmt.Sprint("https://c.test/", i)),
		})
		if err != nil {
			t.Fatal(err)
		}
	}

	_, err := s.Issue(t.Context(), spent("token"), oauth.Token{
		Hash:     oauth.Hash{1},
		ClientID: "c1",
		Expires:  storetest.Start.Add(time.Hour),
	})
	var d audit.Decision
	d.Trace.ID = "d"
	err = errors.Join(
		err,
		s.SaveCRL("list", fetch.StoredCRL{Fetched: storetest.Start, DER: []byte("der")}),
		s.SaveDecisions([]audit.Decision{d, d}),
		bolt.Trips{Trust: s}.Join(t.Context(), tiered.Membership{Provider: "https://idp.test"}),
	)
	if err != nil {
		t.Fatal(err)
	}
}

func spent(jti string) oauth.Spend {
	return oauth.Spend{
		Community: "urn:a",
		Issuer:    "iss",
		JTI:       jti,
		Since:     storetest.Start.Add(-time.Minute),
		Until:     storetest.Start.Add(6 * time.Minute),
		Endpoint:  "token",
		Now:       storetest.Start,
	}
}

// fillResources stores resources with former versions, deleted ones, and audit records
// of which some have expired.
func fillResources(t *testing.T, s fhir.Store, n int) {
	t.Helper()
	ctx := t.Context()
	err := s.Update(ctx, func(c fhir.Change) error {
		for i := range n {
			id := fmt.Sprint("x", i)
			doc, err := c.Put(ctx, fhirtest.Entry(t, 0, "Observation", id, 1, "final"))
			second := fhirtest.Entry(t, doc, "Observation", id, 2, "amended")
			if second.Deleted = i%5 == 0; second.Deleted {
				second.Terms, second.Body = nil, nil
			}
			if i%2 == 0 {
				second.Method = "PUT"
				_, put := c.Put(ctx, second)
				err = errors.Join(err, put)
			}
			if err != nil {
				return err
			}
		}
		return c.SetSetting(ctx, "page-key", []byte("secret"))
	})
	if err != nil {
		t.Fatal(err)
	}

	for range 12 {
		addRecords(t, s, 200)
	}
	err = s.Update(ctx, func(c fhir.Change) error {
		_, err := c.Expire(ctx, storetest.Start.AddDate(1, 0, 0), 300)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func addRecords(t *testing.T, s fhir.Store, n int) {
	t.Helper()
	err := s.Update(t.Context(), func(c fhir.Change) error {
		var all []trail.Record
		for i := range n {
			all = append(all, trail.Record{
				Client:      "c",
				At:          storetest.Start,
				Interaction: "read",
				Outcome:     "0",
				Patients:    []string{fmt.Sprint("p", i%7)},
			})
		}
		return c.Append(t.Context(), all)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// boltBackup returns the backup of a destination on Bolt that has everything.
func boltBackup(t *testing.T) (dir string) {
	t.Helper()
	data := t.TempDir()
	trust, err := bolt.OpenTrust(filepath.Join(data, "trust.bolt"), bolt.Options{})
	if err != nil {
		t.Fatal(err)
	}
	resources, err := bolt.OpenFHIR(filepath.Join(data, "fhir.bolt"), bolt.Options{})
	if err != nil {
		t.Fatal(err)
	}
	fillTrust(t, trust)
	fillResources(t, resources, 40)
	if err := errors.Join(trust.Close(), resources.Close()); err != nil {
		t.Fatal(err)
	}

	dir = filepath.Join(t.TempDir(), "backup")
	if _, err := bolt.WriteBackup(data, dir, public, storetest.Start); err != nil {
		t.Fatal(err)
	}
	return dir
}

// restored puts a backup into a database.
func restored(t *testing.T, c postgres.Config, dir string, now time.Time) (kept []string) {
	t.Helper()
	from, err := bolt.OpenBackup(dir, public)
	if err != nil {
		t.Fatal(err)
	}
	kept, err = postgres.Restore(t.Context(), c, from, now, nil)
	if err := errors.Join(err, from.Close()); err != nil {
		t.Fatal(err)
	}
	return kept
}

// databaseBackup makes a backup of a database.
func databaseBackup(t *testing.T, c postgres.Config) (dir string) {
	t.Helper()
	from, err := postgres.OpenImage(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	dir = filepath.Join(t.TempDir(), "backup")
	_, err = bolt.WriteBackupOf(t.Context(), from, dir, public, storetest.Start, nil)
	if err := errors.Join(err, from.Close()); err != nil {
		t.Fatal(err)
	}
	return dir
}

// rowsOf returns every row of a backup as text, with its kind.
func rowsOf(t *testing.T, dir string) (all []string) {
	t.Helper()
	im, err := bolt.OpenBackup(dir, public)
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range carry.Kinds() {
		err := im.Each(t.Context(), k, func(r carry.Row) error {
			if s, ok := r.(*carry.Setting); ok && s.Name == carry.Restored {
				return nil
			}
			all = append(all, fmt.Sprintf("%s %q", k, r.Append(nil)))
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := im.Close(); err != nil {
		t.Fatal(err)
	}
	slices.Sort(all) // used jti have no order
	return all
}

func sameRows(t *testing.T, want, got []string) {
	t.Helper()
	for i := range min(len(want), len(got)) {
		if want[i] != got[i] {
			t.Fatalf("row %d differs:\n- %.300s\n+ %.300s", i, want[i], got[i])
		}
	}
	if len(want) != len(got) || len(want) == 0 {
		t.Errorf("%d rows, and were %d", len(got), len(want))
	}
}

// A destination goes from Bolt to a database and back, and each row is as it was.
func TestDestinationIsCarriedToAndFro(t *testing.T) {
	first := boltBackup(t)
	c := postgres.Config{
		URL:  postgrestest.Empty(t),
		Name: "east",
	}
	now := storetest.Start.Add(time.Hour)
	if kept := restored(t, c, first, now); len(kept) > 0 {
		t.Errorf("an empty database had %v", kept)
	}
	second := databaseBackup(t, c)
	sameRows(t, rowsOf(t, first), rowsOf(t, second))
	intact(t, second, "")

	// Both engines go on where the other ended, with chains of their own.
	east := openResources(t, c)
	addRecords(t, east, 1500)
	report, err := east.VerifyAudit(t.Context(), nil)
	if err != nil || !report.Intact() || len(report.Chains) != 2 {
		t.Errorf("%+v, %v", report, err)
	}
	if err := east.Close(); err != nil {
		t.Fatal(err)
	}
	third := databaseBackup(t, c)
	intact(t, third, "", "east")

	data := t.TempDir()
	if _, err := bolt.Restore(data, third, public, now); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(data, "fhir.bolt")
	f, err := bolt.OpenFHIR(path, bolt.Options{})
	if err != nil {
		t.Fatal(err)
	}
	addRecords(t, f, 300)
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	fourth := filepath.Join(t.TempDir(), "backup")
	if _, err := bolt.WriteBackup(data, fourth, public, now); err != nil {
		t.Fatal(err)
	}
	intact(t, fourth, "", "east")

	kept := restored(t, c, fourth, now)
	if len(kept) != 2 || !strings.HasPrefix(kept[1], "fhir_replaced_") {
		t.Errorf("kept %v", kept)
	}
	last := databaseBackup(t, c)
	intact(t, last, "", "east")
	sameRows(t, rowsOf(t, fourth), rowsOf(t, last))
}

func openResources(t *testing.T, c postgres.Config) *postgres.FHIR {
	t.Helper()
	s, err := postgres.OpenFHIR(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// intact verifies the audit record of a backup, which has the chains of these names.
func intact(t *testing.T, dir string, names ...string) {
	t.Helper()
	r, err := bolt.VerifyAudit(t.Context(), filepath.Join(dir, "fhir.bolt"), nil)
	if err != nil || !r.Intact() {
		t.Errorf("the audit record: %+v, %v", r, err)
	}
	var got []string
	for _, c := range r.Chains {
		got = append(got, c.Name)
	}
	if strings.Join(got, ",") != strings.Join(names, ",") {
		t.Errorf("chains %q, want %q", got, names)
	}
}

// What was used before is refused after a restore into a database, and so is what could
// have been; tokens are gone, registrations are there.
//
// Covers: case 329
func TestRestoredDatabaseRevivesNothing(t *testing.T) {
	c := postgres.Config{
		URL:  postgrestest.Empty(t),
		Name: "east",
	}
	now := storetest.Start.Add(2 * time.Minute)
	restored(t, c, boltBackup(t), now)
	s, err := postgres.OpenTrust(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()

	later := spent("never used")
	later.Since = now.Add(time.Second)
	later.Until = now.Add(5 * time.Minute)
	later.Now = now.Add(time.Second)
	unused := spent("unused")
	unused.Now = now
	used := spent("token")
	used.Now = now
	for name, row := range map[string]struct {
		spend oauth.Spend
		want  error
	}{
		"from before, never used": {unused, oauth.ErrRestored},
		"made after the restore":  {later, nil},
	} {
		if err := s.Spend(t.Context(), row.spend); !errors.Is(err, row.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := s.Spend(t.Context(), used); !errors.As(err, new(*oauth.Replayed)) {
		t.Errorf("used before: %v", err)
	}

	if r, err := s.Client(t.Context(), "c7"); err != nil || r == nil || r.Client != "https://c.test/7" {
		t.Errorf("a registration: %+v, %v", r, err)
	}
	if s.LiveJTI() < 21 {
		t.Errorf("%d used jti", s.LiveJTI())
	}
	changedAndCancelled(t, s, later)
	if l, ok, err := s.LoadCRL("list"); !ok || err != nil || string(l.DER) != "der" {
		t.Errorf("the list: %+v, %v", l, err)
	}
}

// changedAndCancelled proves that a restored registration is the one of its client: it is
// changed and cancelled as before, and none is made beside it.
func changedAndCancelled(t *testing.T, s *postgres.Trust, spend oauth.Spend) {
	t.Helper()
	spend.JTI = "change"
	now, before, err := s.Register(t.Context(), spend, oauth.Registration{
		ID:        "other",
		Community: "urn:a",
		Client:    "https://c.test/7",
		Statement: "changed",
	})
	if err != nil || before == nil || now.ID != "c7" || now.Statement != "changed" {
		t.Errorf("a change: %+v was %+v, %v", now, before, err)
	}

	spend.JTI = "cancel"
	old, err := s.Cancel(t.Context(), spend, "urn:a", "https://c.test/8")
	if err != nil || old.ID != "c8" {
		t.Errorf("a cancellation: %+v, %v", old, err)
	}
	if r, err := s.Client(t.Context(), "c8"); r != nil || err != nil {
		t.Errorf("after its cancellation: %+v, %v", r, err)
	}
}

// A restore that fails at any kind of rows, or that is cut off, leaves the database as
// it was.
func TestFailedRestoreChangesNothing(t *testing.T) {
	c := postgres.Config{
		URL:  postgrestest.Empty(t),
		Name: "east",
	}
	dir := boltBackup(t)
	restored(t, c, dir, storetest.Start)
	before := rowsOf(t, databaseBackup(t, c))
	from, err := bolt.OpenBackup(dir, public)
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()

	for _, k := range carry.Kinds() {
		_, err := postgres.Restore(t.Context(), c, failing{from, k}, storetest.Start, nil)
		if !errors.Is(err, errFailing) {
			t.Errorf("%s: %v", k, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	_, err = postgres.Restore(ctx, c, from, storetest.Start, func(k carry.Kind, _, _ int64) {
		if k == carry.Blocks {
			cancel()
		}
	})
	if err == nil {
		t.Error("a restore that was cut off succeeded")
	}
	sameRows(t, before, rowsOf(t, databaseBackup(t, c)))
	if got := schemasOf(t, c.URL); got != "fhir, jobs, trust" {
		t.Errorf("schemas %s", got)
	}
}

// schemasOf returns the names of the schemas of a database that are not PostgreSQL's.
func schemasOf(t *testing.T, url string) (names string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	err = conn.QueryRow(t.Context(), `select string_agg(nspname, ', ' order by nspname) from pg_namespace
		where nspname !~ '^pg_' and nspname not in ('public', 'information_schema')`).Scan(&names)
	if err := errors.Join(err, conn.Close(t.Context())); err != nil {
		t.Fatal(err)
	}
	return names
}

// failing is a source that fails at one kind.
type failing struct {
	carry.Source
	at carry.Kind
}

var errFailing = errors.New("the source fails")

func (s failing) Each(ctx context.Context, k carry.Kind, f func(carry.Row) error) error {
	if k == s.at {
		return errFailing
	}
	return s.Source.Each(ctx, k, f)
}

// A backup is of the moment at which it was begun, whatever destinations do meanwhile.
func TestBackupIsOfOneMoment(t *testing.T) {
	c := postgres.Config{
		URL:  postgrestest.Empty(t),
		Name: "east",
	}
	restored(t, c, boltBackup(t), storetest.Start)
	want := rowsOf(t, databaseBackup(t, c))

	from, err := postgres.OpenImage(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	s := openResources(t, c)
	defer s.Close()
	trust, err := postgres.OpenTrust(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	defer trust.Close()

	addRecords(t, s, 10)
	later := spent("later")
	later.Now = storetest.Start.Add(time.Minute)
	later.Since = storetest.Start.Add(time.Second)
	if err := trust.Spend(t.Context(), later); err != nil {
		t.Fatal(err)
	}

	dir := filepath.Join(t.TempDir(), "backup")
	writing := carry.Progress(func(k carry.Kind, _, _ int64) {
		if k == carry.Resources {
			addRecords(t, s, 10) // it waits for nobody, and nobody for it
		}
	})
	if _, err := bolt.WriteBackupOf(t.Context(), from, dir, public, storetest.Start, writing); err != nil {
		t.Fatal(err)
	}
	sameRows(t, want, rowsOf(t, dir))
}

// A row that cannot be what was written is found, and no backup is made of it.
func TestBackupOfDamagedRows(t *testing.T) {
	dir := boltBackup(t)
	for statement, wrong := range map[string]string{
		"update trust.registration set body = '{'":                                              "trust.registration",
		"update trust.membership set body = '{'":                                                "trust.membership",
		"update trust.spent set key = 'x' where key = (select key from trust.spent limit 1)":    "trust.spent",
		"delete from fhir.doc where doc = (select min(doc) from fhir.former)":                   "fhir.doc",
		"update fhir.record set block = 'x' where first = (select max(first) from fhir.record)": "record",
		"update fhir.chain set head_hash = 'x'":                                                 "chain",
		"update fhir.joint set head = 'x'":                                                      "joint",
	} {
		t.Run(wrong, func(t *testing.T) {
			c := postgres.Config{
				URL:  postgrestest.Empty(t),
				Name: "east",
			}
			restored(t, c, dir, storetest.Start)
			execute(t, c.URL, statement)

			from, err := postgres.OpenImage(t.Context(), c)
			if err != nil {
				t.Fatal(err)
			}
			defer from.Close()
			to := filepath.Join(t.TempDir(), "backup")
			_, err = bolt.WriteBackupOf(t.Context(), from, to, public, storetest.Start, nil)
			if !errors.Is(err, fhir.ErrDamaged) || !strings.Contains(err.Error(), wrong) {
				t.Errorf("%v", err)
			}
		})
	}
}

func execute(t *testing.T, url, statement string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	_, err = conn.Exec(t.Context(), statement)
	if err := errors.Join(err, conn.Close(t.Context())); err != nil {
		t.Fatal(err)
	}
}

// A restore is refused while a destination runs on the database.
func TestRestoreWantsTheDatabaseForItself(t *testing.T) {
	c := postgres.Config{
		URL:  postgrestest.New(t),
		Name: "east",
	}
	p, err := postgres.Appear(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()

	from, err := bolt.OpenBackup(boltBackup(t), public)
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	if _, err := postgres.Restore(t.Context(), c, from, storetest.Start, nil); !errors.Is(err, postgres.ErrRunning) {
		t.Errorf("%v", err)
	}
}

// A restore whose connection that keeps destinations out is lost changes nothing: one
// could have started, and what it has acknowledged would be gone.
func TestRestoreEndsWithItsLock(t *testing.T) {
	c := postgres.Config{
		URL:  postgrestest.Empty(t),
		Name: "east",
	}
	dir := boltBackup(t)
	restored(t, c, dir, storetest.Start)
	before := rowsOf(t, databaseBackup(t, c))
	from, err := bolt.OpenBackup(dir, public)
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()

	const cut = `select pg_terminate_backend(pid) from pg_locks
		where locktype = 'advisory' and mode = 'ExclusiveLock' and granted
		and database = (select oid from pg_database where datname = current_database())
		and (classid::bigint << 32) + objid::bigint = hashtextextended('destination', 0)`
	done := false
	_, err = postgres.Restore(t.Context(), c, from, storetest.Start, func(carry.Kind, int64, int64) {
		if !done {
			done = true
			execute(t, c.URL, cut)
		}
	})
	if err == nil || !done {
		t.Errorf("restored without the lock: %v", err)
	}
	sameRows(t, before, rowsOf(t, databaseBackup(t, c)))
}
