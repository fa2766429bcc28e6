package fhirtest

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"

	"fhirdest.example/fhir"
	"fhirdest.example/fhir/search"
	"fhirdest.example/fhir/trail"
)

// record makes a record that differs from the others in every field.
func record(i int) trail.Record {
	return trail.Record{
		Base:        "https://fhir.test/fhir",
		Client:      fmt.Sprint("client-", i),
		TokenID:     fmt.Sprint("token-", i),
		Purposes:    []string{"urn:oid:2.16.840.1.113883.5.8#TREAT", fmt.Sprint("urn:p:", i)},
		At:          now.Add(time.Duration(i) * time.Second),
		Interaction: "read",
		Subtype:     "read",
		Outcome:     "0",
		RequestID:   fmt.Sprint("request-", i),
		Patients:    []string{fmt.Sprint("p", i)},
		Touched: []trail.Version{{
			Type:    "Patient",
			ID:      fmt.Sprint("p", i),
			Version: uint64(i) + 1,
		}},
	}
}

// auditReader: records are read by their numbers, one or many at once, as they
// were appended; numbers of resources are not theirs.
func auditReader(t *testing.T, sub Subject) {
	const n = 5
	s := sub.Store
	resource := put(t, s, Entry(t, 0, "Observation", "a", 1, "final"))
	update(t, s, func(c fhir.Change) error {
		for i := range n {
			if err := c.Append(t.Context(), []trail.Record{record(i)}); err != nil {
				return err
			}
		}
		return nil
	})
	last := put(t, s, Entry(t, 0, "Observation", "b", 1, "final"))

	check := func(sn fhir.Snapshot) {
		docs := recordDocs(t, sn)
		if len(docs) != n {
			t.Fatalf("%d records of %d", len(docs), n)
		}

		oneByOne(t, sn.Audit(), docs, resource, last)
		manyAtOnce(t, sn.Audit(), docs, resource)
		together(t, sn, []uint64{docs[0], resource, docs[1], docs[2], last})
		indexed(t, sn.Audit(), docs)
	}
	view(t, s, check)
	view(t, sub.Reopen(t), check)
}

// auditChain: the records are a chain from the first to the head, in any state and after
// a restart; a chain that was verified before is still there.
func auditChain(t *testing.T, sub Subject) {
	s := sub.Store
	for i := range 7 {
		update(t, s, func(c fhir.Change) error {
			var all []trail.Record
			for k := range i * i {
				all = append(all, record(100*i+k))
			}
			return c.Append(t.Context(), all)
		})
		put(t, s, Entry(t, 0, "Observation", fmt.Sprint("o", i), 1, "final"))
	}

	before := verify(t, s, nil)
	if len(before) != 1 || before[0].Records != 91 || before[0].Head.Sequence != 91 ||
		before[0].Anchor != (trail.Place{}) {
		t.Fatalf("%+v", before)
	}
	s = sub.Reopen(t)
	update(t, s, func(c fhir.Change) error {
		return c.Append(t.Context(), []trail.Record{record(999)})
	})
	after := verify(t, s, trail.Checkpoint{before[0].Name: before[0].Head})
	if after[0].Records != 92 {
		t.Errorf("%d records", after[0].Records)
	}

	view(t, s, func(sn fhir.Snapshot) {
		from := before[0].Head.Doc
		linked(t, sn.Audit(), 0, 92)
		linked(t, sn.Audit(), from, 1)
		linked(t, sn.Audit(), from-1, 2)
		linked(t, sn.Audit(), after[0].Head.Doc, 0)
	})
}

// verify verifies the chains, with earlier heads that must be in them.
func verify(t *testing.T, s fhir.Store, earlier trail.Checkpoint) []trail.Verified {
	t.Helper()
	r, err := trail.Verify(t.Context(), func(ctx context.Context, f func(trail.Reader) error) error {
		return s.View(ctx, func(sn fhir.Snapshot) error {
			return f(sn.Audit())
		})
	}, earlier)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range r.Findings {
		t.Error(f)
	}
	return r.Chains
}

// linked reads the links after a number: each has the hash of the one before.
func linked(t *testing.T, r trail.Reader, after uint64, want int) {
	t.Helper()
	var last trail.Place
	n := 0
	err := r.Links(t.Context(), after, func(l trail.Link) bool {
		if l.Err != nil || l.Doc <= after {
			t.Errorf("after %d: link %+v", after, l)
			return false
		}
		if l.Place != (trail.Place{Sequence: l.Sequence - 1, Hash: l.Previous}).Next(l.Doc, l.Record.Pack()) {
			t.Errorf("the hash of record %d is not that of its content", l.Doc)
		}
		if n > 0 && (l.Previous != last.Hash || l.Sequence != last.Sequence+1) {
			t.Errorf("record %d does not follow %+v", l.Doc, last)
		}
		last = l.Place
		n++
		return true
	})
	if err != nil || n != want {
		t.Errorf("%d links after %d, want %d: %v", n, after, want, err)
	}
}

// auditExpiry: records that are too old go, the oldest first, and are found no more;
// the others are still a chain.
func auditExpiry(t *testing.T, sub Subject) {
	s := sub.Store
	for i := range 40 {
		update(t, s, func(c fhir.Change) error {
			return c.Append(t.Context(), []trail.Record{record(i)})
		})
	}
	put(t, s, Entry(t, 0, "Observation", "o", 1, "final"))

	if n := expire(t, s, record(30).At, 10); n < 1 || n > 30 {
		t.Errorf("%d records were removed", n)
	}
	for expire(t, s, record(30).At, 10) > 0 {
		verify(t, s, nil)
	}
	if r := verify(t, s, nil); r[0].Records != 10 || r[0].Anchor.Sequence != 30 {
		t.Errorf("%+v", r)
	}

	for range 2 {
		view(t, s, func(sn fhir.Snapshot) {
			if n := len(recordDocs(t, sn)); n != 10 {
				t.Errorf("%d records are listed", n)
			}
			if n := len(found(t, sn, search.Pair{Name: "action", Value: "R"})); n != 10 {
				t.Errorf("%d records are found", n)
			}
			if _, ok, err := sn.Find(t.Context(), "AuditEvent", trail.ID(3)); ok || err != nil {
				t.Errorf("an old record is there: %v", err)
			}
		})
		s = sub.Reopen(t)
	}

	for expire(t, s, record(100).At, 10) > 0 {
	}
	s = sub.Reopen(t)
	update(t, s, func(c fhir.Change) error {
		return c.Append(t.Context(), []trail.Record{record(41)})
	})
	if r := verify(t, s, nil); r[0].Records != 1 || r[0].Head.Sequence != 41 {
		t.Errorf("%+v", r)
	}
}

func expire(t *testing.T, s fhir.Store, before time.Time, most int) (removed int) {
	t.Helper()
	update(t, s, func(c fhir.Change) (err error) {
		removed, err = c.Expire(t.Context(), before, most)
		return err
	})
	return removed
}

// recordDocs returns the numbers of all records in their order.
func recordDocs(t *testing.T, sn fhir.Snapshot) []uint64 {
	t.Helper()
	var docs []uint64
	err := sn.Changes(t.Context(), "AuditEvent", 0, func(_, doc, version uint64) bool {
		if version != 1 {
			t.Errorf("record %d has version %d", doc, version)
		}
		docs = append(docs, doc)
		return true
	})
	if err != nil {
		t.Error(err)
	}

	slices.Reverse(docs)
	return docs
}

func oneByOne(t *testing.T, a fhir.AuditReader, docs []uint64, others ...uint64) {
	t.Helper()
	for i, doc := range docs {
		rec, ok, err := a.Record(t.Context(), doc)
		if want := record(i); err != nil || !ok || !reflect.DeepEqual(*rec, want) {
			t.Errorf("record %d is %+v, %v, %v, want %+v", doc, rec, ok, err, want)
		}
	}

	for _, doc := range append(others, 0, 1_000_000) {
		if rec, ok, err := a.Record(t.Context(), doc); err != nil || ok {
			t.Errorf("%d is no record: %+v, %v", doc, rec, err)
		}
	}
}

// manyAtOnce: a batch ends at the first number that is no record's, and when its
// reader has enough.
func manyAtOnce(t *testing.T, a fhir.AuditReader, docs []uint64, resource uint64) {
	t.Helper()
	backwards := slices.Clone(docs)
	slices.Reverse(backwards)
	for _, row := range []struct {
		name  string
		docs  []uint64
		limit int
		want  int
	}{
		{"all", backwards, 100, len(docs)},
		{"up to a resource", []uint64{docs[3], docs[1], resource, docs[0]}, 100, 2},
		{"as many as are wanted", docs, 2, 2},
		{"none", nil, 100, 0},
	} {
		var got []uint64
		n, err := a.Records(t.Context(), row.docs, func(doc uint64, rec *trail.Record) bool {
			if want := record(slices.Index(docs, doc)); rec.Client != want.Client {
				t.Errorf(
					"%s: record %d is of %s, want %s",
					row.name,
					doc,
					rec.Client,
					want.Client,
				)
			}
			got = append(got, doc)
			return len(got) < row.limit
		})
		if err != nil || n != row.want || !slices.Equal(got, row.docs[:row.want]) {
			t.Errorf("%s: %d, %v of %v: %v", row.name, n, got, row.docs, err)
		}
	}
}

// together reads resources and records in one batch, in the order asked for.
func together(t *testing.T, sn fhir.Snapshot, docs []uint64) {
	t.Helper()
	var entries, terms []uint64
	err := sn.Entries(t.Context(), docs, func(e fhir.Entry) bool {
		entries = append(entries, e.Doc)
		return true
	})
	err = errors.Join(err, sn.Terms(t.Context(), docs, func(doc uint64, id string, _ search.Terms) bool {
		if _, own, err := sn.Identity(t.Context(), doc); err != nil || own != id {
			t.Errorf("%d has the terms of %s and is %s: %v", doc, id, own, err)
		}
		terms = append(terms, doc)
		return true
	}))
	if err != nil || !slices.Equal(entries, docs) || !slices.Equal(terms, docs) {
		t.Errorf("entries %v, terms %v of %v: %v", entries, terms, docs, err)
	}

	lost := append(slices.Clone(docs), 1_000_000)
	if err := sn.Entries(t.Context(), lost, func(fhir.Entry) bool {
		return true
	}); !errors.Is(err, fhir.ErrDamaged) {
		t.Errorf("a number that was never given: %v", err)
	}
}

// indexed: every term of every record is found by Scan, and nothing else.
func indexed(t *testing.T, a fhir.AuditReader, docs []uint64) {
	t.Helper()
	want := map[string]bool{}
	for i, doc := range docs {
		rec := record(i)
		rec.Terms(trail.ID(doc)).Each(func(term []byte) bool {
			want[fmt.Sprint(doc, term)] = true
			return true
		})
	}

	from, to := search.TermRange("AuditEvent")
	err := a.Scan(context.Background(), from, to, func(term []byte, doc uint64) bool {
		key := fmt.Sprint(doc, term)
		if !want[key] {
			t.Errorf("the index has %q of %d", term, doc)
		}
		delete(want, key)
		return true
	})
	if err != nil || len(want) > 0 {
		t.Errorf("the index lacks %d terms: %v", len(want), err)
	}
}
