package search

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"testing"
	"time"

	"fhirdest.example/fhir/tree"
)

// memory is an Index in memory.
type memory struct {
	x    *Extractor
	ps   *Parser
	keys [][]byte // term, 0, number, in order
	docs []memoryDoc
}

type memoryDoc struct {
	typ, id, body string
	terms         Terms
}

var testNow = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func newMemory() *memory {
	bases := Bases{"https://fhir.test/fhir"}
	return &memory{
		x:  &Extractor{Bases: bases},
		ps: &Parser{Bases: bases, Now: func() time.Time { return testNow }},
	}
}

func (m *memory) add(t testing.TB, body string) {
	t.Helper()
	root, err := tree.Parse([]byte(body))
	if err != nil {
		t.Fatalf("%v: %s", err, body)
	}
	d := memoryDoc{typ: root.Get("resourceType").Text(), id: root.Get("id").Text(), body: body}
	if d.terms, err = m.x.Extract(d.typ, root, Stamp{ID: d.id, Updated: testNow}); err != nil {
		t.Fatal(err)
	}

	m.docs = append(m.docs, d)

	d.terms.Each(func(term []byte) bool {
		key := append(append([]byte(nil), term...), 0)
		m.keys = append(m.keys, binary.BigEndian.AppendUint64(key, uint64(len(m.docs))))
		return true
	})
}

func (m *memory) settle() { slices.SortFunc(m.keys, bytes.Compare) }

func (m *memory) Scan(_ context.Context, from, to []byte, f func([]byte, uint64) bool) error {
	at, _ := slices.BinarySearchFunc(m.keys, from, bytes.Compare)
	for ; at < len(m.keys) && bytes.Compare(m.keys[at], to) < 0; at++ {
		k := m.keys[at]
		if n := len(k) - 9; !f(k[:n], binary.BigEndian.Uint64(k[n+1:])) {
			break
		}
	}
	return nil
}

// last is what an index that has an order returns: see orderly.
func (m *memory) last(from, to []byte) []byte {
	at, _ := slices.BinarySearchFunc(m.keys, to, bytes.Compare)
	if at == 0 || bytes.Compare(m.keys[at-1], from) < 0 {
		return nil
	}
	k := m.keys[at-1]
	return k[:len(k)-9]
}

func (m *memory) Terms(_ context.Context, docs []uint64, f func(uint64, string, Terms) bool) error {
	for _, doc := range docs {
		if !f(doc, m.docs[doc-1].id, m.docs[doc-1].terms) {
			break
		}
	}
	return nil
}

func (m *memory) Find(_ context.Context, typ, id string) (uint64, bool, error) {
	for i, d := range m.docs {
		if d.typ == typ && d.id == id {
			return uint64(i + 1), true, nil
		}
	}
	return 0, false, nil
}

func (m *memory) Identity(_ context.Context, doc uint64) (string, string, error) {
	return m.docs[doc-1].typ, m.docs[doc-1].id, nil
}

func (m *memory) Body(_ context.Context, doc uint64) ([]byte, error) {
	return []byte(m.docs[doc-1].body), nil
}

// find returns the ids that a query finds, in order, and "+" and what it includes.
func (m *memory) find(t testing.TB, typ string, strict bool, pairs ...Pair) ([]string, error) {
	t.Helper()
	q, err := m.ps.Parse(context.Background(), []string{typ}, pairs, strict)
	if err != nil {
		return nil, err
	}

	all := func(string) Filter { return Everything() }
	f := NewFinder(context.Background(), m, all, all)
	r, err := f.Find(q)
	if err != nil {
		return nil, err
	}

	ids := []string{}
	for _, doc := range r.Docs {
		ids = append(ids, m.docs[doc-1].id)
	}
	if len(q.Includes) == 0 {
		return ids, nil
	}

	more, _, err := f.Include(q, r.Docs)
	ids = append(ids, "+")
	for _, h := range more {
		id := m.docs[h.Doc-1].id
		if h.Version > 0 {
			id += fmt.Sprintf("/%d", h.Version)
		}
		ids = append(ids, id)
	}

	return ids, err
}
