// Package fhirtest holds the test that every fhir.Store must pass.
package fhirtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"reflect"
	"sync"
	"testing"
	"time"

	"fhirdest.example/fhir"
	"fhirdest.example/fhir/search"
	"fhirdest.example/fhir/trail"
	"fhirdest.example/fhir/tree"
)

// Subject is a store under test.
type Subject struct {
	Store fhir.Store
	// Reopen closes the store and opens it again on the same data.
	Reopen func(*testing.T) fhir.Store
	// FailCommits has every commit fail from now on, or succeed again.
	FailCommits func(fail bool)
	// Second opens another handle to the same data, for as long as the first is
	// open, as another destination would; nil when the store allows one only.
	Second func(*testing.T) fhir.Store
}

// StoreTest holds an empty store against what package fhir relies on.
func StoreTest(t *testing.T, open func(t *testing.T) Subject) {
	for name, test := range map[string]func(*testing.T, Subject){
		"a restart in the midst of work": restart,
		"a commit that fails":            failedCommit,
		"two handles":                    twoHandles,
		"the next request sees a change": nextRequest,
		"a view sees one state":          oneState,
		"work that is run again":         retried,
		"records as they are kept":       auditReader,
		"records are a chain":            auditChain,
		"records that are too old":       auditExpiry,
		"records of two destinations":    auditOfTwo,
	} {
		t.Run(name, func(t *testing.T) { test(t, open(t)) })
	}

	for name, test := range map[string]func(*testing.T, fhir.Store){
		"versions":  versions,
		"index":     index,
		"changes":   changes,
		"atomic":    atomic,
		"shared":    shared,
		"keys":      keys,
		"cancelled": cancelled,
		"settings":  settings,
		"own":       own,
		"records":   records,
	} {
		t.Run(name, func(t *testing.T) { test(t, open(t).Store) })
	}
}

var now = time.Date(2026, 3, 1, 12, 0, 0, int(7*time.Millisecond), time.UTC)

// Entry makes a version of an Observation with that status.
func Entry(t testing.TB, doc uint64, typ, id string, version uint64, status string) fhir.Entry {
	t.Helper()
	body := fmt.Sprintf(`{"resourceType":%q,"id":%q,"status":%q}`, typ, id, status)
	root, err := tree.Parse([]byte(body))
	if err != nil {
		t.Fatal(err)
	}
	x := search.Extractor{}
	terms, err := x.Extract(typ, root, search.Stamp{
		ID:      id,
		Updated: now,
	})
	if err != nil {
		t.Fatal(err)
	}

	return fhir.Entry{
		Doc:     doc,
		Type:    typ,
		ID:      id,
		Version: version,
		Updated: now,
		Body:    []byte(body),
		Terms:   terms,
	}
}

func update(t testing.TB, s fhir.Store, f func(fhir.Change) error) {
	t.Helper()
	if err := s.Update(t.Context(), f); err != nil {
		t.Fatal(err)
	}
}

func put(t testing.TB, s fhir.Store, e fhir.Entry) (doc uint64) {
	t.Helper()
	update(t, s, func(c fhir.Change) (err error) {
		doc, err = c.Put(t.Context(), e)
		return err
	})
	return doc
}

func view(t testing.TB, s fhir.Store, f func(fhir.Snapshot)) {
	t.Helper()
	if err := s.View(t.Context(), func(sn fhir.Snapshot) error {
		f(sn)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}

func versions(t *testing.T, s fhir.Store) {
	first := Entry(t, 0, "Observation", "a", 1, "final")
	first.Method = "PUT"
	doc := put(t, s, first)
	second := Entry(t, doc, "Observation", "a", 2, "amended")
	second.Method = "PATCH"
	if again := put(t, s, second); again != doc {
		t.Errorf("number %d, was %d", again, doc)
	}

	put(t, s, fhir.Entry{
		Doc:     doc,
		Type:    "Observation",
		ID:      "a",
		Version: 3,
		Updated: now,
		Deleted: true,
	})

	view(t, s, func(sn fhir.Snapshot) {
		if n, ok, err := sn.Lookup(t.Context(), "Observation", "a"); err != nil || !ok || n != doc {
			t.Errorf("Lookup returns %d, %v, %v", n, ok, err)
		}
		if _, ok, err := sn.Find(t.Context(), "Observation", "a"); err != nil || ok {
			t.Error("Find gives what is deleted")
		}
		if e, ok, err := sn.Entry(t.Context(), doc); err != nil || !ok || !e.Deleted || e.Version != 3 {
			t.Errorf("current %+v", e)
		}

		for v, want := range map[uint64]string{
			1: "final",
			2: "amended",
		} {
			e, ok, err := sn.Version(t.Context(), doc, v)
			body := string(Entry(t, 0, "Observation", "a", v, want).Body)
			if err != nil || !ok || string(e.Body) != body ||
				e.Version != v || !e.Updated.Equal(now) || e.ID != "a" || e.Type != "Observation" {
				t.Errorf("version %d: %+v", v, e)
			}
		}

		for v, want := range map[uint64]string{
			1: "PUT",
			2: "PATCH",
			3: "",
		} {
			if e, _, err := sn.Version(t.Context(), doc, v); err != nil || e.Method != want {
				t.Errorf("version %d was made by %q, %v, want %q", v, e.Method, err, want)
			}
		}

		if _, ok, err := sn.Version(t.Context(), doc, 4); err != nil || ok {
			t.Error("a version that never was")
		}
	})
}

// status lists the resources whose status is indexed so.
func status(t testing.TB, sn fhir.Snapshot, code string) []uint64 {
	t.Helper()
	var ps search.Parser
	pairs := []search.Pair{{
		Name:  "status",
		Value: code,
	}}
	q, err := ps.Parse(context.Background(), []string{"Observation"}, pairs, true)
	if err != nil {
		t.Fatal(err)
	}

	all := func(string) search.Filter { return search.Everything() }
	r, err := search.NewFinder(context.Background(), sn, all, all).Find(q)
	if err != nil {
		t.Fatal(err)
	}

	return r.Docs
}

func index(t *testing.T, s fhir.Store) {
	a := put(t, s, Entry(t, 0, "Observation", "a", 1, "final"))
	b := put(t, s, Entry(t, 0, "Observation", "b", 1, "final"))
	put(t, s, Entry(t, a, "Observation", "a", 2, "amended"))
	var third uint64
	update(t, s, func(c fhir.Change) error {
		doc, err := c.Put(t.Context(), Entry(t, 0, "Observation", "c", 1, "amended"))
		third = doc
		if got := status(t, c, "amended"); fmt.Sprint(got) != fmt.Sprint([]uint64{a, doc}) {
			t.Errorf("a change does not see itself: %v", got)
		}
		ordered(t, c)

		return err
	})

	update(t, s, func(c fhir.Change) error {
		ctx := t.Context()
		return errors.Join(c.DropIndex(ctx),
			c.Reindex(ctx, a, Entry(t, a, "Observation", "a", 2, "amended").Terms),
			c.Reindex(ctx, b, Entry(t, b, "Observation", "b", 1, "preliminary").Terms),
			c.Reindex(ctx, third, Entry(t, third, "Observation", "c", 1, "amended").Terms))
	})

	view(t, s, func(sn fhir.Snapshot) {
		ordered(t, sn)
		for code, want := range map[string]int{
			"final":       0,
			"amended":     2,
			"preliminary": 1,
		} {
			if got := status(t, sn, code); len(got) != want {
				t.Errorf("%s: %v", code, got)
			}
		}

		want := map[uint64]string{
			b: "b " + string(Entry(t, b, "Observation", "b", 1, "preliminary").Terms),
			a: "a " + string(Entry(t, a, "Observation", "a", 2, "amended").Terms),
		}
		err := sn.Terms(t.Context(), []uint64{b, a}, func(doc uint64, id string, terms search.Terms) bool {
			if id+" "+string(terms) != want[doc] {
				t.Errorf("terms of %d are not what they were set to", doc)
			}
			delete(want, doc)
			return true
		})
		if err != nil || len(want) > 0 {
			t.Errorf("no terms of %v: %v", want, err)
		}
	})
}

// ordered proves, of a store whose terms have an order, that Scan keeps it and that Last
// finds the end of any range.
func ordered(t *testing.T, sn fhir.Snapshot) {
	t.Helper()
	from, to := search.TermRange("Observation")
	last := func(to []byte) ([]byte, bool) {
		term, ordered, err := sn.(search.Ordered).Last(t.Context(), from, to)
		if err != nil {
			t.Fatal(err)
		}
		return term, ordered
	}
	if _, ordered := last(to); !ordered {
		return
	}

	var before []byte
	var terms [][]byte
	err := sn.Scan(t.Context(), from, to, func(term []byte, _ uint64) bool {
		if bytes.Compare(before, term) > 0 {
			t.Errorf("%q comes after %q", before, term)
		}
		if !bytes.Equal(before, term) {
			before = bytes.Clone(term)
			terms = append(terms, before)
		}
		return true
	})
	if err != nil || len(terms) == 0 {
		t.Fatalf("%d terms, %v", len(terms), err)
	}

	for i, term := range terms {
		if got, _ := last(append(bytes.Clone(term), 1)); !bytes.Equal(got, term) {
			t.Errorf("the last up to %q is %q", term, got)
		}

		got, _ := last(append(bytes.Clone(term), 0))
		if i == 0 && got != nil || i > 0 && !bytes.Equal(got, terms[i-1]) {
			t.Errorf("the last before %q is %q", term, got)
		}
	}
}

func changes(t *testing.T, s fhir.Store) {
	a := put(t, s, Entry(t, 0, "Observation", "a", 1, "final"))
	put(t, s, Entry(t, 0, "Patient", "p", 1, "x"))
	put(t, s, Entry(t, a, "Observation", "a", 2, "final"))
	view(t, s, func(sn fhir.Snapshot) {
		for typ, want := range map[string]string{
			"":            "2 1 1",
			"Observation": "2 1",
			"Patient":     "1",
			"Group":       "",
		} {
			var got string
			var seqs []uint64
			err := sn.Changes(t.Context(), typ, 0, func(seq, _, version uint64) bool {
				got += fmt.Sprint(" ", version)
				seqs = append(seqs, seq)
				return true
			})
			if err != nil {
				t.Error(err)
			}

			if got != "" && got[1:] != want || got == "" && want != "" {
				t.Errorf("changes of %q: %s", typ, got)
			}

			for i := range seqs {
				rest := 0
				err := sn.Changes(t.Context(), typ, seqs[i],
					func(seq, _, _ uint64) bool { rest++; return seq < seqs[i] })
				if err != nil || rest != len(seqs)-1-i {
					t.Errorf("%d changes of %q before %d", rest, typ, seqs[i])
				}
			}
		}

		for after, want := range map[uint64]int{
			0: 2,
			a: 1,
		} {
			n := 0
			err := sn.Each(t.Context(), after, func(e fhir.Entry) bool {
				n++
				if now, ok, err := sn.Entry(t.Context(), e.Doc); !ok || err != nil || !reflect.DeepEqual(e, now) {
					t.Errorf("%+v, and alone %+v, %v", e, now, err)
				}
				return e.Doc > after
			})
			if err != nil || n != want {
				t.Errorf("%d resources after %d, want %d: %v", n, after, want, err)
			}
		}
	})
}

var errRefused = errors.New("refused")

func atomic(t *testing.T, s fhir.Store) {
	err := s.Update(t.Context(), func(c fhir.Change) error {
		if _, err := c.Put(t.Context(), Entry(t, 0, "Observation", "a", 1, "final")); err != nil {
			return err
		}
		return errRefused
	})
	if !errors.Is(err, errRefused) {
		t.Errorf("got %v", err)
	}

	err = s.Update(t.Context(), func(c fhir.Change) error {
		c.SetSetting(t.Context(), "x", []byte("1"))
		panic("a request's fault")
	})
	if err == nil {
		t.Error("a panic passes for success")
	}
	view(t, s, func(sn fhir.Snapshot) {
		_, ok, err := sn.Lookup(t.Context(), "Observation", "a")
		if err != nil || ok || setting(t, sn, "x") != "" || len(status(t, sn, "final")) > 0 {
			t.Error("a failed change left something")
		}
	})
}

// shared updates share commits: one that fails undoes none of the others.
func shared(t *testing.T, s fhir.Store) {
	const n = 200
	var wg sync.WaitGroup
	for i := range n {
		wg.Add(1)
		go func() {
			defer wg.Done()
			err := s.Update(t.Context(), func(c fhir.Change) error {
				e := Entry(t, 0, "Observation", fmt.Sprint("o", i), 1, "final")
				if _, err := c.Put(t.Context(), e); err != nil {
					return err
				}
				if i%7 == 0 {
					return errRefused
				}

				return nil
			})
			if (i%7 == 0) != errors.Is(err, errRefused) || i%7 != 0 && err != nil {
				t.Errorf("update %d: %v", i, err)
			}
		}()
	}

	wg.Wait()
	view(t, s, func(sn fhir.Snapshot) {
		for i := range n {
			_, ok, err := sn.Lookup(t.Context(), "Observation", fmt.Sprint("o", i))
			if err != nil || ok != (i%7 != 0) {
				t.Errorf("o%d is there: %v, %v", i, ok, err)
			}
		}

		if got := len(status(t, sn, "final")); got != n-(n+6)/7 {
			t.Errorf("%d are indexed", got)
		}
	})
}

// keys that might run together must not.
func keys(t *testing.T, s fhir.Store) {
	docs := map[uint64]string{}
	for _, id := range []string{"1", "1.x", "11", "-", "1-1"} {
		for _, typ := range []string{"Patient", "Person"} {
			docs[put(t, s, Entry(t, 0, typ, id, 1, "x"))] = typ + "/" + id
		}
	}

	if len(docs) != 10 {
		t.Errorf("%d resources of 10", len(docs))
	}
	view(t, s, func(sn fhir.Snapshot) {
		for doc, want := range docs {
			if typ, id, err := sn.Identity(t.Context(), doc); err != nil || typ+"/"+id != want {
				t.Errorf("%d is %s/%s, want %s", doc, typ, id, want)
			}
		}
	})
}

func setting(t testing.TB, sn fhir.Snapshot, name string) string {
	t.Helper()
	v, err := sn.Setting(t.Context(), name)
	if err != nil {
		t.Error(err)
	}
	return string(v)
}

// settings are replaced, and removed by nil.
func settings(t *testing.T, s fhir.Store) {
	for _, value := range [][]byte{[]byte("1"), []byte("2"), nil, nil} {
		update(t, s, func(c fhir.Change) error {
			return c.SetSetting(t.Context(), "z", value)
		})
		view(t, s, func(sn fhir.Snapshot) {
			if got := setting(t, sn, "z"); got != string(value) {
				t.Errorf("%q, want %q", got, value)
			}
		})
	}
}

func cancelled(t *testing.T, s fhir.Store) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	err := s.Update(ctx, func(c fhir.Change) error {
		return c.SetSetting(t.Context(), "y", []byte("1"))
	})
	view(t, s, func(sn fhir.Snapshot) {
		if (err == nil) != (setting(t, sn, "y") != "") {
			t.Errorf("returned %v, stored %q", err, setting(t, sn, "y"))
		}
	})
}

// records come many in one change, and few; all are found, and all are listed by
// Changes and by their numbers.
func records(t *testing.T, s fhir.Store) {
	const n = 6000
	names := []string{"read", "create", "update", "delete", "search-type"}
	put := func(from, to int) {
		update(t, s, func(c fhir.Change) error {
			for i := from; i < to; i++ {
				rec := trail.Record{
					Client:      fmt.Sprint("c", i%3),
					At:          now,
					Interaction: names[i%5],
					Subtype:     names[i%5],
					Outcome:     "0",
					Patients:    []string{fmt.Sprint("p", i%97)},
				}
				if err := c.Append(context.Background(), []trail.Record{rec}); err != nil {
					return err
				}
			}

			return nil
		})
	}
	put(0, 1000)

	put(1000, 1003)
	doc := put1(t, s)
	put(1003, 1200)

	for from := 1200; from < n; from += 10 {
		put(from, from+10)
		if from == 3000 {
			update(t, s, func(c fhir.Change) error {
				return c.DropIndex(t.Context())
			})
			update(t, s, func(c fhir.Change) error {
				return c.Reindex(t.Context(), doc, Entry(t, doc, "Observation", "o", 1, "final").Terms)
			})
		}
	}

	view(t, s, func(sn fhir.Snapshot) {
		for query, want := range map[search.Pair]int{
			{
				Name:  "action",
				Value: "R",
			}: n / 5, {
				Name:  "action",
				Value: "X",
			}: 0, {
				Name:  "action:not",
				Value: "R",
			}: n - n/5,
			{
				Name:  "entity",
				Value: "Patient/p3",
			}: 62, {
				Name:  "entity",
				Value: "p96",
			}: 61, {
				Name:  "_id",
				Value: trail.ID(17),
			}: 1,
			{
				Name:  "_lastUpdated",
				Value: "2026",
			}: n, {
				Name:  "entity:missing",
				Value: "true",
			}: 0, {
				Name:  "_id",
				Value: trail.ID(doc),
			}: 0,
			{Name: "_id", Value: "a0"}: 0, {
				Name:  "_id",
				Value: "a999999",
			}: 0,
		} {
			if got := len(found(t, sn, query)); got != want {
				t.Errorf("%v finds %d, want %d", query, got, want)
			}
		}

		if got := status(t, sn, "final"); len(got) != 1 {
			t.Errorf("%v beside the records", got)
		}
		told(t, sn, n)
	})
}

func put1(t *testing.T, s fhir.Store) uint64 {
	return put(t, s, Entry(t, 0, "Observation", "o", 1, "final"))
}

// found gives the AuditEvents that one parameter finds.
func found(t *testing.T, sn fhir.Snapshot, query search.Pair) []uint64 {
	t.Helper()
	var ps search.Parser
	q, err := ps.Parse(context.Background(), []string{"AuditEvent"}, []search.Pair{query}, true)
	if err != nil {
		t.Fatal(err)
	}
	all := func(string) search.Filter { return search.Everything() }
	r, err := search.NewFinder(context.Background(), sn, all, all).Find(q)
	if err != nil {
		t.Fatal(err)
	}

	return r.Docs
}

// told holds Changes of n records and one resource more against their numbers.
func told(t *testing.T, sn fhir.Snapshot, n int) {
	t.Helper()
	count, after := map[string]int{}, uint64(1<<63)
	err := sn.Changes(t.Context(), "", 0, func(seq, doc, version uint64) bool {
		e, ok, err := sn.Version(t.Context(), doc, version)
		if err != nil || !ok || seq >= after || e.Doc != doc {
			t.Fatalf("change %d of %d after %d: %+v", seq, doc, after, e)
		}
		if back, ok, err := sn.Find(t.Context(), e.Type, e.ID); err != nil || !ok || back != doc {
			t.Fatalf("%s/%s is %d, was %d", e.Type, e.ID, back, doc)
		}
		count[e.Type]++

		after = seq
		return true
	})

	if err != nil || count["AuditEvent"] != n || count["Observation"] != 1 {
		t.Errorf("changes: %v", count)
	}

	for _, before := range []uint64{2, 500, 1001, 1002, uint64(n)} {
		err := sn.Changes(t.Context(), "", before, func(seq, _, _ uint64) bool {
			if seq != before-1 {
				t.Errorf("before %d comes %d", before, seq)
			}
			return false
		})
		if err != nil {
			t.Error(err)
		}
	}
}
