package bolt

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"fhirdest.example/fhir"
	"fhirdest.example/fhir/fhirtest"
	"fhirdest.example/fhir/search"
	"fhirdest.example/fhir/trail"
	"fhirdest.example/server/audit"
	"fhirdest.example/server/oauth"
	"fhirdest.example/server/oauth/storetest"
	"fhirdest.example/server/people"
	"fhirdest.example/udap/fetch"
	"fhirdest.example/udap/trace"
)

// answers are what a file answers to every question of a test, by question.
type answers map[string]string

// ask notes an answer. A damaged row is no answer; any other error is one.
func (a answers) ask(question string, answer any, err error) {
	switch {
	case errors.Is(err, fhir.ErrDamaged) || errors.Is(err, oauth.ErrDamaged) || errors.Is(err, oauth.ErrRestored):
		a[question] = damagedAnswer
	case err != nil:
		a[question] = "error: " + err.Error()
	default:
		a[question] = fmt.Sprintf("%+v", answer)
	}
}

const damagedAnswer = "damaged"

// sampleTrust makes a trust.bolt with a row of each kind, and returns its questions.
func sampleTrust(t testing.TB, path string) func(path string) (answers, error) {
	t.Helper()
	now := storetest.Start
	s, err := OpenTrust(path, Options{})
	if err != nil {
		t.Fatal(err)
	}

	for i := range 40 {
		r := oauth.Registration{
			ID:        trace.ClientID(fmt.Sprint("c", i)),
			Community: "urn:a",
			Client:    trace.ClientURI(fmt.Sprint("https://c.test/", i)),
			Statement: strings.Repeat("s", 500),
		}
		if _, _, err := s.Register(context.Background(), numbered(i, now), r); err != nil {
			t.Fatal(err)
		}
	}

	var handles []oauth.Handle
	for i := range 20 {
		at := now.Add(time.Duration(i%3) * time.Minute)
		token := oauth.Token{
			Hash:     oauth.Hash{byte(i)},
			ClientID: trace.ClientID(fmt.Sprint("c", i)),
			Expires:  at.Add(time.Hour),
		}
		h, err := s.Issue(context.Background(), numbered(100+i, at), token)
		if err != nil {
			t.Fatal(err)
		}

		handles = append(handles, h)
	}

	for i := range 10 {
		id := trace.ClientID(fmt.Sprint("c", i))
		r, err := s.Client(context.Background(), id)
		if err == nil {
			err = s.Approve(context.Background(), sampleGrant(i, id), r)
		}
		if err != nil {
			t.Fatal(err)
		}
	}

	for i := range 5 {
		session, consent := samplePeople(i)
		if err := errors.Join(
			s.People().StartSession(context.Background(), session, people.SessionID{}),
			s.People().Remember(context.Background(), consent),
		); err != nil {
			t.Fatal(err)
		}
	}

	d := audit.Decision{}
	d.Trace.ID = "d"
	if err := errors.Join(
		s.Revoke(context.Background(), numbered(200, now), "c3", handles[3], oauth.Hash{3}),
		s.SaveCRL("list", fetch.StoredCRL{Fetched: now, DER: []byte("der")}),
		s.SaveDecisions([]audit.Decision{d}), s.Close(),
	); err != nil {
		t.Fatal(err)
	}

	return func(path string) (answers, error) {
		s, err := OpenTrust(path, Options{})
		if err != nil {
			return nil, err
		}
		defer s.Close()

		a := answers{}
		askTrust(a, s, handles)
		return a, nil
	}
}

// sampleGrant is what a person granted, and redeemed, with one identifier for each
// number.
func sampleGrant(i int, client trace.ClientID) oauth.Grant {
	return oauth.Grant{
		ID:       oauth.GrantID(fmt.Sprintf("%032x", 1_000_003*(i+1))),
		ClientID: client,
		Person:   oauth.Person{Subject: "person"},
		Scope:    []string{"openid"},
		Created:  storetest.Start.Add(time.Duration(i) * time.Minute),
		Expires:  storetest.Start.Add(24 * time.Hour),
		Code:     oauth.Code{Redeemed: storetest.Start},
	}
}

// samplePeople is who is signed in, and what they decided, with one identifier for
// each number.
func samplePeople(i int) (people.Session, people.Consent) {
	subject := fmt.Sprintf("%x", sha256.Sum256([]byte{byte(i)}))
	session := people.Session{
		ID:          sha256.Sum256([]byte(subject)),
		Subject:     subject,
		SignedIn:    storetest.Start,
		LastRequest: storetest.Start,
	}
	consent := people.Consent{
		Subject: subject,
		Client:  "c1",
		Scope:   []string{"openid"},
		Given:   storetest.Start,
	}
	return session, consent
}

func askTrust(a answers, s *Trust, handles []oauth.Handle) {
	ctx, now := context.Background(), storetest.Start
	for i := range 42 {
		id := trace.ClientID(fmt.Sprint("c", i))
		r, err := s.Client(ctx, id)
		a.ask("client "+string(id), r, err)
	}

	for i, h := range handles {
		token, err := s.token(ctx, h, oauth.Hash{byte(i)})
		a.ask(fmt.Sprint("token ", i), token, err)
	}

	for i := range 10 {
		g, err := s.Grant(ctx, sampleGrant(i, "").ID)
		a.ask(fmt.Sprint("grant ", i), g, err)
	}
	for i := range 6 {
		session, consent := samplePeople(i)
		found, err := s.People().Session(ctx, session.ID)
		a.ask(fmt.Sprint("session ", i), found, err)
		remembered, err := s.People().Consent(ctx, consent.Subject, consent.Client)
		a.ask(fmt.Sprint("consent ", i), remembered, err)
	}
	granted, err := s.Grants(ctx, "person")
	var ids []oauth.GrantID
	for _, g := range granted {
		ids = append(ids, g.ID)
	}
	a.ask("grants", ids, err)

	l, ok, err := s.LoadCRL("list")
	a.ask("list", fmt.Sprint(l, ok), err)
	decisions, err := s.Decisions(10)
	a.ask("decisions", fmt.Sprint(len(decisions)), err)
	var n int
	n, err = s.CountExpiring(ctx, now)
	a.ask("expiring", n, err)

	for i := range 40 {
		a.ask(fmt.Sprint("jti ", i), nil, replay(s, numbered(i, now)))
	}

	for i := range 20 {
		at := now.Add(time.Duration(i%3) * time.Minute)
		a.ask(fmt.Sprint("jti ", 100+i), nil, replay(s, numbered(100+i, at)))
	}
}

func replay(s *Trust, jti oauth.Spend) error {
	err := s.Spend(context.Background(), jti)
	if errors.As(err, new(*oauth.Replayed)) {
		return nil
	}
	if err == nil {
		return errors.New("a used jti was accepted again")
	}
	return err
}

// sampleFHIR makes a fhir.bolt with a row of each kind, and returns its questions.
func sampleFHIR(t testing.TB, path string) func(path string) (answers, error) {
	t.Helper()
	s, err := OpenFHIR(path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	err = s.Update(ctx, func(c fhir.Change) error {
		for i := range 30 {
			typ := []string{"Observation", "Patient"}[i%2]
			doc, err := c.Put(ctx, fhirtest.Entry(t, 0, typ, fmt.Sprint("x", i), 1, "final"))
			for v := uint64(2); err == nil && v < 4; v++ {
				_, err = c.Put(ctx, fhirtest.Entry(t, doc, typ, fmt.Sprint("x", i), v, "amended"))
			}
			if err != nil {
				return err
			}
		}

		return c.SetSetting(ctx, "x", []byte("value"))
	})
	if err != nil {
		t.Fatal(err)
	}

	for range 9 {
		err := s.Update(ctx, func(c fhir.Change) error {
			for i := range 300 {
				rec := trail.Record{
					Client:      "c",
					At:          time.UnixMilli(1_700_000_000_000),
					Interaction: []string{"read", "update"}[i%2],
					Outcome:     "0",
					Patients:    []string{fmt.Sprint("p", i%7)},
				}
				if err := c.Append(context.Background(), []trail.Record{rec}); err != nil {
					return err
				}
			}

			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}

	if err := s.Close(); err != nil {
		t.Fatal(err)
	}

	return func(path string) (answers, error) {
		s, err := OpenFHIR(path, Options{})
		if err != nil {
			return nil, err
		}
		defer s.Close()

		a := answers{}
		_ = s.View(ctx, func(sn fhir.Snapshot) error { askFHIR(a, sn); return nil })
		return a, nil
	}
}

func askFHIR(a answers, sn fhir.Snapshot) {
	ctx := context.Background()
	for i := range 32 {
		for _, typ := range []string{"Observation", "Patient", "AuditEvent"} {
			id := fmt.Sprint("x", i)
			if typ == "AuditEvent" {
				id = trail.ID(uint64(30 + 97*i))
			}
			doc, ok, err := sn.Find(ctx, typ, id)
			a.ask("find "+typ+id, fmt.Sprint(doc, ok), err)

			for v := uint64(1); ok && v < 5; v++ {
				e, ok, err := sn.Version(ctx, doc, v)
				a.ask(fmt.Sprint("version ", typ, id, v), fmt.Sprint(ok, e), err)
			}
		}
	}

	for _, typ := range []string{"", "Observation", "Patient", "AuditEvent", "Group"} {
		for _, before := range []uint64{0, 20, 95, 1000} {
			var all strings.Builder
			err := sn.Changes(ctx, typ, before, func(seq, doc, version uint64) bool {
				fmt.Fprintln(&all, seq, doc, version)
				return true
			})
			a.ask(fmt.Sprint("changes ", typ, before), all.String(), err)
		}
	}

	for _, q := range []struct{ typ, name, value string }{
		{"Observation", "status", "amended"}, {"Observation", "status", "final"}, {"Observation", "_id", "x4"},
		{"Observation", "_lastUpdated", "gt2020"}, {"AuditEvent", "action", "R"}, {"AuditEvent", "entity", "Patient/p3"},
		{"AuditEvent", "outcome", "8"},
	} {
		docs, err := find(sn, q.typ, q.name, q.value)
		a.ask(fmt.Sprint("search ", q), docs, err)
	}

	for _, by := range []string{"_id", "-_id", "-_lastUpdated,_id", "status"} {
		docs, err := sortedPages(sn, "Observation", by)
		a.ask("search of pages by "+by, docs, err)
	}

	v, err := sn.Setting(ctx, "x")
	a.ask("setting", string(v), err)
}

func find(sn fhir.Snapshot, typ, name, value string) ([]uint64, error) {
	ps := search.Parser{}
	q, err := ps.Parse(context.Background(), []string{typ}, []search.Pair{{Name: name, Value: value}}, true)
	if err != nil {
		return nil, err
	}

	all := func(string) search.Filter { return search.Everything() }
	r, err := search.NewFinder(context.Background(), sn, all, all).Find(q)
	if err != nil {
		return nil, err
	}

	return r.Docs, nil
}

// sortedPages follows the pages that the index gives in the order of a sort.
func sortedPages(sn fhir.Snapshot, typ, by string) (docs []uint64, err error) {
	ps := search.Parser{}
	q, err := ps.Parse(context.Background(), []string{typ}, []search.Pair{{
		Name:  "_sort",
		Value: by,
	}}, true)
	if err != nil {
		return nil, err
	}

	const count = 4
	all := func(string) search.Filter { return search.Everything() }
	finder := search.NewFinder(context.Background(), sn, all, all)
	var position []byte
	for {
		r, ok, err := finder.First(q, position, count)
		if err != nil {
			return nil, err
		}
		if !ok {
			return nil, errors.New("the index has no order")
		}

		docs = append(docs, r.Docs...)
		if len(r.Docs) < count {
			return docs, nil
		}
		position = r.Position(count - 1)
	}
}

// FuzzFlippedByte changes one byte of a copy of each file, and demands of every
// question an error that names the file, or the true answer, never another.
func FuzzFlippedByte(f *testing.F) {
	dir := f.TempDir()
	type sample struct {
		name  string
		bytes []byte
		ask   func(string) (answers, error)
		want  answers
	}

	var samples []sample
	for name, make := range map[string]func(testing.TB, string) func(string) (answers, error){
		"trust.bolt": sampleTrust,
		"fhir.bolt":  sampleFHIR,
	} {
		path := filepath.Join(dir, name)
		ask := make(f, path)
		b := usedPages(f, path)
		want, err := ask(path)
		if err != nil {
			f.Fatal(err)
		}

		for q, answer := range want {
			if answer == damagedAnswer || strings.HasPrefix(answer, "error") {
				f.Fatalf("%s of the undamaged %s: %s", q, name, answer)
			}
		}

		samples = append(samples, sample{name, b, ask, want})
	}

	r := rand.New(rand.NewPCG(1, 2))
	for range 100 {
		f.Add(r.Uint32(), byte(1)<<r.UintN(8))
		f.Add(r.Uint32N(20*4096), byte(0xff))
	}

	f.Fuzz(func(t *testing.T, at uint32, mask byte) {
		s := samples[at%2]
		b := bytes.Clone(s.bytes)
		b[int(at/2)%len(b)] ^= mask
		path := filepath.Join(t.TempDir(), s.name)
		if err := os.WriteFile(path, b, fileMode); err != nil {
			t.Fatal(err)
		}
		wantTruth(t, path, s.ask, s.want)
	})
}

// usedPages returns the pages of a file that are in use: Bolt makes it longer than that.
func usedPages(t testing.TB, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	m, err := latestMeta(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	return b[:int(m.high)*m.pageSize]
}

func wantTruth(t *testing.T, path string, ask func(string) (answers, error), want answers) {
	t.Helper()
	got, err := ask(path)
	if err != nil {
		if !strings.Contains(err.Error(), path) {
			t.Errorf("an error that does not name the file: %v", err)
		}
		return
	}

	for q, answer := range got {
		if answer != want[q] && answer != damagedAnswer {
			t.Errorf("%s: %.300s, want %.300s", q, answer, want[q])
		}
	}
}

// A key whose length changed is found as the stray one that it is.
func TestStrayKeys(t *testing.T) {
	s := openTrust(t, filepath.Join(t.TempDir(), "trust.bolt"))
	defer s.Close()
	for name, stray := range map[string]string{
		"a byte changed":   "client-b",
		"cut short":        "client",
		"bytes of a value": "client-avalue",
	} {
		t.Run(name, func(t *testing.T) {
			err := s.db.Update(func(tx *bbolt.Tx) error {
				b, err := tx.CreateBucket([]byte(name))
				if err != nil {
					return err
				}

				r := rowsOf(name)
				sealed := r.seal([]byte("client-a"), []byte("value"))
				if err := b.Put([]byte(stray), sealed); err != nil {
					return err
				}

				if bad := r.stray(b, []byte("client-a"), never); string(bad) != stray {
					t.Errorf("found %q", bad)
				}
				if bad := r.stray(b, []byte("client-a"), func([]byte) bool { return true }); bad != nil {
					t.Errorf("found %q, which is its row's own", bad)
				}

				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
		})
	}
}

// A file that is cut short is an error that names it and the remedy.
func TestCutShort(t *testing.T) {
	for name, make := range map[string]func(testing.TB, string) func(string) (answers, error){
		"trust.bolt": sampleTrust,
		"fhir.bolt":  sampleFHIR,
	} {
		path := filepath.Join(t.TempDir(), name)
		ask := make(t, path)
		b := usedPages(t, path)
		for _, size := range []int{0, 1, 4095, 4096, 8191, 8192, 12288, 20480, len(b) / 2, len(b) - 1} {
			t.Run(fmt.Sprint(name, " of ", size), func(t *testing.T) {
				short := filepath.Join(t.TempDir(), name)
				if err := os.WriteFile(short, b[:size], fileMode); err != nil {
					t.Fatal(err)
				}

				_, err := ask(short)
				var e *Error
				if !errors.As(err, &e) || e.Path != short || e.Hint == "" || !strings.Contains(e.Problem, "cut short") {
					t.Errorf("opened with %v", err)
				}
			})
		}
	}
}

// A file that is cut short while it is open is an error, too, and not the end of
// the process.
func TestCutShortWhileOpen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "fhir.bolt")
	sampleFHIR(t, path)
	s, err := OpenFHIR(path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()

	if err := os.Truncate(path, 8192); err != nil {
		t.Fatal(err)
	}

	err = s.View(t.Context(), func(sn fhir.Snapshot) error {
		_, _, err := sn.Lookup(t.Context(), "Observation", "x0")
		return err
	})
	wantDamaged(t, err, path)
	err = s.Update(t.Context(), func(c fhir.Change) error {
		_, err := c.Put(t.Context(), fhirtest.Entry(t, 0, "Observation", "new", 1, "final"))
		return err
	})
	wantDamaged(t, err, path)

	if len(s.Health()) == 0 {
		t.Error("no alarm")
	}
}
