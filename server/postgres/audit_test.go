package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"fhirdest.example/fhir"
	"fhirdest.example/fhir/fhirtest"
	"fhirdest.example/fhir/search"
	"fhirdest.example/fhir/trail"
	"fhirdest.example/server/postgres"
	"fhirdest.example/server/postgres/postgrestest"
)

// shared is a database with two destinations.
type shared struct {
	testing.TB
	url        string
	east, west *postgres.FHIR
}

// openShared opens both on an empty database.
func openShared(t testing.TB) *shared {
	t.Helper()
	s := &shared{
		TB:  t,
		url: postgrestest.New(t),
	}
	s.east, s.west = s.open("east"), s.open("west")
	return s
}

// open opens a destination of a name.
func (s *shared) open(name string) *postgres.FHIR {
	s.Helper()
	store, err := postgres.OpenFHIR(s.Context(), postgres.Config{
		URL:  s.url,
		Name: name,
	})
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() {
		if err := store.Close(); err != nil {
			s.Error(err)
		}
	})
	return store
}

func auditRecord(i int) trail.Record {
	return trail.Record{
		Base:        "https://fhir.test/fhir",
		Client:      fmt.Sprint("client-", i%3),
		TokenID:     "t",
		At:          time.UnixMilli(1_700_000_000_000 + int64(i)*1000).UTC(),
		Interaction: "read",
		Subtype:     "read",
		Outcome:     "0",
		Patients:    []string{fmt.Sprint("p", i)},
		Touched: []trail.Version{{
			Type:    "Patient",
			ID:      fmt.Sprint("p", i),
			Version: 1,
		}},
	}
}

// add appends n records in one change, and a resource before them.
func (s *shared) add(store *postgres.FHIR, from, n int) {
	s.Helper()
	err := store.Update(s.Context(), func(c fhir.Change) error {
		var all []trail.Record
		for i := from; i < from+n; i++ {
			all = append(all, auditRecord(i))
		}
		_, err := c.Put(s.Context(), fhirtest.Entry(s, 0, "Observation", fmt.Sprint("o", from), 1, "final"))
		return errors.Join(err, c.Append(s.Context(), all))
	})
	if err != nil {
		s.Error(err)
	}
}

// fill adds records 2 to 4, 9, 16 and 17 of east, and 6, 7 and 11 to 14 of west.
func (s *shared) fill() {
	s.add(s.east, 0, 3)
	s.add(s.west, 3, 2)
	s.add(s.east, 5, 1)
	s.add(s.west, 6, 4)
	s.add(s.east, 10, 2)
}

// sql changes the database as somebody would who has its password.
func (s *shared) sql(statements ...string) {
	s.Helper()
	conn, err := pgx.Connect(s.Context(), s.url)
	if err != nil {
		s.Fatal(err)
	}
	defer conn.Close(context.Background())
	for _, text := range append([]string{"set search_path to fhir"}, statements...) {
		if _, err := conn.Exec(s.Context(), text); err != nil {
			s.Fatalf("%s: %v", text, err)
		}
	}
}

// settled waits until the tail is indexed.
func (s *shared) settled() {
	s.Helper()
	conn, err := pgx.Connect(s.Context(), s.url)
	if err != nil {
		s.Fatal(err)
	}
	defer conn.Close(context.Background())
	for done := false; !done; {
		err := conn.QueryRow(s.Context(), "select last > 0 from fhir.indexed").Scan(&done)
		if err != nil {
			s.Fatal(err)
		}
		select {
		case <-s.Context().Done():
			s.Fatal("the tail is never indexed")
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// tables are those that verification reads.
var tables = []string{"record", "chain", "joint", "numbers", "doc", "change", "indexed", "segment", "posting"}

// keep copies them, and restore copies them back.
func (s *shared) keep() {
	s.Helper()
	for _, table := range tables {
		s.sql("create table kept_" + table + " as table " + table)
	}
}

func (s *shared) restore() {
	s.Helper()
	all := []string{"truncate " + strings.Join(tables, ", ")}
	for _, table := range tables {
		all = append(all, "insert into "+table+" select * from kept_"+table)
	}
	s.sql(all...)
}

// flip changes one byte of a row, and reports whether there is one: see
// TestVerifyFindsEveryChangedByte.
func (s *shared) flip(n int) (ok bool) {
	s.Helper()
	conn, err := pgx.Connect(s.Context(), s.url+"&search_path=fhir")
	if err == nil {
		defer conn.Close(context.Background())
		err = conn.QueryRow(s.Context(), "select flip($1)", n).Scan(&ok)
	}
	if err != nil {
		s.Fatal(err)
	}
	return ok
}

// verified verifies the chains.
func (s *shared) verified(earlier trail.Checkpoint) *trail.Report {
	s.Helper()
	r, err := s.west.VerifyAudit(s.Context(), earlier)
	if err != nil {
		s.Fatal(err)
	}
	return r
}

// intact verifies that the chains have that many records.
func (s *shared) intact(want map[string]uint64) {
	s.Helper()
	r := s.verified(nil)
	for _, f := range r.Findings {
		s.Error(f)
	}
	if len(r.Chains) != len(want) {
		s.Errorf("%d chains: %+v", len(r.Chains), r.Chains)
	}
	for _, c := range r.Chains {
		if n, ok := want[c.Name]; !ok || c.Records != n {
			s.Errorf("chain %s has %d records, want %d", c.Name, c.Records, n)
		}
	}
}

// Each destination has its own chain, whoever reads it; both are verified together, and
// go on after a restart.
func TestChainsOfDestinations(t *testing.T) {
	s := openShared(t)
	s.fill()
	s.intact(map[string]uint64{"east": 6, "west": 6})

	before := s.verified(nil).Checkpoint()
	s.add(s.open("east"), 100, 2)
	s.add(s.open("north"), 200, 3)
	s.intact(map[string]uint64{"east": 8, "west": 6, "north": 3})
	if r := s.verified(before); !r.Intact() {
		t.Error(r.Findings)
	}
}

// Two destinations of one name, at the same time, make one chain that does not fork.
func TestChainDoesNotFork(t *testing.T) {
	s := openShared(t)
	stores := []*postgres.FHIR{s.east, s.west, s.open("east")}
	var all sync.WaitGroup
	for i := range 60 {
		all.Go(func() {
			err := stores[i%3].Update(t.Context(), func(c fhir.Change) error {
				return c.Append(t.Context(), []trail.Record{auditRecord(i)})
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	s.intact(map[string]uint64{"east": 40, "west": 20})
}

// The oldest records of all go, also those of a destination that is gone.
func TestExpiryOfAllChains(t *testing.T) {
	s := openShared(t)
	s.fill()
	if err := s.east.Close(); err != nil {
		t.Fatal(err)
	}

	for _, step := range []struct {
		before, most, removed int
		left                  map[string]uint64
	}{
		{0, 100, 0, map[string]uint64{"east": 6, "west": 6}},
		{4, 100, 3, map[string]uint64{"east": 3, "west": 6}}, // of the row of 6 and 7 one is not too old
		{100, 1, 2, map[string]uint64{"east": 3, "west": 4}},
		{100, 100, 7, map[string]uint64{"east": 0, "west": 0}},
		{100, 100, 0, map[string]uint64{"east": 0, "west": 0}},
	} {
		removed := 0
		err := s.west.Update(t.Context(), func(c fhir.Change) (err error) {
			removed, err = c.Expire(t.Context(), auditRecord(step.before).At, step.most)
			return err
		})
		if err != nil || removed != step.removed {
			t.Fatalf("%+v: %d %v", step, removed, err)
		}
		s.intact(step.left)
	}

	s.add(s.open("east"), 50, 2)
	s.intact(map[string]uint64{"east": 2, "west": 0})
	if r := s.verified(nil); r.Chains[0].Head.Sequence != 8 {
		t.Errorf("%+v", r.Chains)
	}
}

// What was altered is not removed as too old: it would be seen no more.
func TestAlteredChainsDoNotExpire(t *testing.T) {
	for name, statement := range map[string]string{
		"a record":  alterClient + " where first = 2",
		"a joint":   "update record set joint = set_byte(joint, 3, get_byte(joint, 3) # 1) where first = 6",
		"a removal": "delete from record where first = 2",
	} {
		t.Run(name, func(t *testing.T) {
			s := openShared(t)
			s.fill()
			s.sql(statement)
			err := s.west.Update(t.Context(), func(c fhir.Change) error {
				_, err := c.Expire(t.Context(), time.Now(), 100)
				return err
			})
			if !errors.Is(err, fhir.ErrDamaged) {
				t.Errorf("removed: %v", err)
			}
		})
	}
}

// Heads kept elsewhere show that everything was made anew.
func TestCheckpointOfChains(t *testing.T) {
	s := openShared(t)
	s.fill()
	at := s.verified(nil).Checkpoint()
	at["south"] = trail.Place{Sequence: 4}
	west := at["west"]
	west.Hash[0]++
	at["west"] = west

	var text strings.Builder
	for _, f := range s.verified(at).Findings {
		fmt.Fprintln(&text, f)
	}
	for _, want := range []string{
		"chain south, record 4: was the earlier head; the whole chain is gone",
		"chain west, record 6: was the earlier head, and is not in the chain",
	} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("%swant %s", &text, want)
		}
	}
	if strings.Contains(text.String(), "east") {
		t.Errorf("%s", &text)
	}
}

// Records are indexed beside the changes of two destinations and beside the removal of
// old ones: all are found, and no term is left of one that is gone.
func TestIndexingBesideChanges(t *testing.T) {
	s := openShared(t)
	const commits, each = 40, 100
	var all sync.WaitGroup
	for d, store := range []*postgres.FHIR{s.east, s.west} {
		all.Go(func() {
			for i := range commits {
				s.add(store, (2*i+d)*each, each)
				if i%10 == 9 {
					s.expire(store, (i-5)*each)
				}
			}
		})
	}
	all.Wait()
	s.settled()

	for _, f := range s.verified(nil).Findings {
		t.Error(f)
	}
	for _, store := range []*postgres.FHIR{s.east, s.west} {
		err := store.View(t.Context(), func(sn fhir.Snapshot) error {
			docs := map[uint64]bool{}
			err := sn.Changes(t.Context(), "AuditEvent", 0, func(_, doc, _ uint64) bool {
				docs[doc] = true
				return true
			})
			if err != nil {
				return err
			}

			found := map[uint64]bool{}
			from, to := search.TermRange("AuditEvent")
			err = sn.Audit().Scan(t.Context(), from, to, func(_ []byte, doc uint64) bool {
				found[doc] = true
				return true
			})
			if !maps.Equal(docs, found) || len(docs) == 0 || len(docs) == 2*commits*each {
				t.Errorf("%d records are listed, and %d found", len(docs), len(found))
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
	}
}

func (s *shared) expire(store *postgres.FHIR, before int) {
	err := store.Update(s.Context(), func(c fhir.Change) error {
		_, err := c.Expire(s.Context(), auditRecord(before).At, 1000)
		return err
	})
	if err != nil {
		s.Error(err)
	}
}
