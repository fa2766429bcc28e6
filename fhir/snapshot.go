package fhir

import (
	"bytes"
	"context"
	"sync"
	"time"

	"fhirdest.example/fhir/search"
	"fhirdest.example/fhir/trail"
)

// snapshot shows the records of a store as resources of the type AuditEvent.
type snapshot struct {
	Resources
	audit AuditReader
}

// NewSnapshot joins what a store has of resources and of records.
func NewSnapshot(r Resources, a AuditReader) Snapshot {
	return &snapshot{r, a}
}

// change is a snapshot that is being changed.
type change struct {
	snapshot
	resourceWriter
	store    AuditStore
	consents int // how many times a Consent was put
}

// consentState identifies the state of the Consents in a change.
type consentState struct {
	change   *change
	consents int
}

// NewChange joins what a store has of resources and of records.
func NewChange(r ResourceStore, a AuditStore) Change {
	return &change{
		snapshot:       snapshot{r, a},
		resourceWriter: r,
		store:          a,
	}
}

func (c *change) Put(ctx context.Context, e Entry) (doc uint64, err error) {
	if e.Type == "Consent" {
		c.consents++
	}
	return c.resourceWriter.Put(ctx, e)
}

func (c *change) Append(ctx context.Context, records []trail.Record) error {
	return c.store.Append(ctx, records)
}

func (c *change) Expire(
	ctx context.Context, before time.Time, most int,
) (removed int, err error) {
	return c.store.Expire(ctx, before, most)
}

func (s *snapshot) Audit() AuditReader { return s.audit }

// recordTerms is the range of index keys that records have.
var recordTerms = sync.OnceValue(func() (bounds [2][]byte) {
	bounds[0], bounds[1] = search.TermRange("AuditEvent")
	return bounds
})

func (s *snapshot) Scan(
	ctx context.Context, from, to []byte, f func(term []byte, doc uint64) bool,
) error {
	bounds := recordTerms()
	if bytes.Compare(to, bounds[0]) <= 0 || bytes.Compare(from, bounds[1]) >= 0 {
		return s.Resources.Scan(ctx, from, to, f)
	}

	more := true
	err := s.Resources.Scan(ctx, from, to, func(term []byte, doc uint64) bool {
		more = f(term, doc)
		return more
	})
	if err != nil || !more {
		return err
	}

	return s.audit.Scan(ctx, from, to, f)
}

// Last implements search.Ordered where the store does, but for the terms of records.
func (s *snapshot) Last(
	ctx context.Context, from, to []byte,
) (term []byte, ordered bool, err error) {
	store, ok := s.Resources.(search.Ordered)
	bounds := recordTerms()
	if !ok || bytes.Compare(to, bounds[0]) > 0 && bytes.Compare(from, bounds[1]) < 0 {
		return nil, false, nil
	}
	return store.Last(ctx, from, to)
}

// Search implements search.Searcher where the store does.
func (s *snapshot) Search(
	ctx context.Context, q *search.Query, filter func(typ string) search.Filter,
) (docs []uint64, handled bool, err error) {
	store, ok := s.Resources.(search.Searcher)
	if !ok {
		return nil, false, nil
	}
	return store.Search(ctx, q, filter)
}

// aheadOf returns the store of a state where that reads ahead; else nil.
func aheadOf(sn Snapshot) (store Ahead) {
	switch sn := sn.(type) {
	case *snapshot:
		store, _ = sn.Resources.(Ahead)
	case *change:
		store, _ = sn.Resources.(Ahead)
	}
	return store
}

// LastChange implements Dated where the store does.
func (s *snapshot) LastChange(ctx context.Context, typ string) (number uint64, log any) {
	store, ok := s.Resources.(Dated)
	if !ok {
		return 0, nil
	}
	return store.LastChange(ctx, typ)
}

func (s *snapshot) Lookup(ctx context.Context, typ, id string) (uint64, bool, error) {
	if typ != "AuditEvent" {
		return s.Resources.Lookup(ctx, typ, id)
	}

	doc, ok := trail.Doc(id)
	if !ok {
		return 0, false, nil
	}
	_, ok, err := s.audit.Record(ctx, doc)
	return doc, ok, err
}

func (s *snapshot) Find(ctx context.Context, typ, id string) (uint64, bool, error) {
	doc, ok, err := s.Lookup(ctx, typ, id)
	if err != nil || !ok || typ == "AuditEvent" {
		return doc, ok, err
	}

	e, ok, err := s.Resources.Entry(ctx, doc)
	if err == nil && !ok {
		err = s.Lost(doc)
	}
	return doc, ok && !e.Deleted, err
}

func (s *snapshot) Entry(ctx context.Context, doc uint64) (Entry, bool, error) {
	e, ok, err := s.Resources.Entry(ctx, doc)
	if ok || err != nil {
		return e, ok, err
	}
	return s.record(ctx, doc)
}

func (s *snapshot) record(ctx context.Context, doc uint64) (Entry, bool, error) {
	rec, ok, err := s.audit.Record(ctx, doc)
	if !ok || err != nil {
		return Entry{}, false, err
	}
	return recordEntry(doc, rec), true, nil
}

// recordEntry makes the AuditEvent of a record.
func recordEntry(doc uint64, rec *trail.Record) Entry {
	id := trail.ID(doc)
	return Entry{
		Doc:     doc,
		Type:    "AuditEvent",
		ID:      id,
		Version: 1,
		Updated: rec.At,
		Terms:   rec.Terms(id),
		Body:    rec.Body(id),
	}
}

// must reads what another row names.
func (s *snapshot) must(ctx context.Context, doc uint64) (Entry, error) {
	e, ok, err := s.Entry(ctx, doc)
	if err == nil && !ok {
		err = s.Lost(doc)
	}
	return e, err
}

func (s *snapshot) Identity(ctx context.Context, doc uint64) (typ, id string, err error) {
	e, err := s.must(ctx, doc)
	return e.Type, e.ID, err
}

func (s *snapshot) Body(ctx context.Context, doc uint64) ([]byte, error) {
	e, err := s.must(ctx, doc)
	return e.Body, err
}

func (s *snapshot) Version(ctx context.Context, doc, version uint64) (Entry, bool, error) {
	e, ok, err := s.Resources.Version(ctx, doc, version)
	if ok || err != nil || version != 1 {
		return e, ok, err
	}
	return s.record(ctx, doc)
}

func (s *snapshot) Entries(ctx context.Context, docs []uint64, f func(Entry) bool) error {
	more := true
	visit := func(e Entry) bool {
		more = f(e)
		return more
	}

	return s.each(docs, &more,
		func(docs []uint64) (int, error) {
			return s.Resources.Entries(ctx, docs, visit)
		},
		func(docs []uint64) (int, error) {
			return s.audit.Records(ctx, docs, func(doc uint64, rec *trail.Record) bool {
				return visit(recordEntry(doc, rec))
			})
		})
}

func (s *snapshot) Terms(
	ctx context.Context, docs []uint64, f func(doc uint64, id string, t search.Terms) bool,
) error {
	more := true
	visit := func(doc uint64, id string, t search.Terms) bool {
		more = f(doc, id, t)
		return more
	}

	return s.each(docs, &more,
		func(docs []uint64) (int, error) {
			return s.Resources.Terms(ctx, docs, visit)
		},
		func(docs []uint64) (int, error) {
			return s.audit.Records(ctx, docs, func(doc uint64, rec *trail.Record) bool {
				id := trail.ID(doc)
				return visit(doc, id, rec.Terms(id))
			})
		})
}

// each reads a batch, while the caller wants more of it: a run of resources, then
// a run of records, and so on.
func (s *snapshot) each(
	docs []uint64, more *bool, resources, records func([]uint64) (int, error),
) error {
	for len(docs) > 0 {
		n, err := resources(docs)
		if err != nil || !*more {
			return err
		}
		if docs = docs[n:]; len(docs) == 0 {
			return nil
		}

		k, err := records(docs)
		if err != nil || !*more {
			return err
		}
		if n+k == 0 {
			return s.Lost(docs[0])
		}
		docs = docs[k:]
	}

	return nil
}
