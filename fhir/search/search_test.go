package search

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"fhirdest.example/fhir/sample"
)

// TestVectors searches as each line of testdata/*.txt has it: a query, "=>", and ids
// in order, "+" and those that are included, or the issue code of its refusal.
// Resources are above.
func TestVectors(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) < 7 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, name := range files {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txt"), func(t *testing.T) { vectors(t, name) })
	}
}

func vectors(t *testing.T, name string) {
	m := newMemory()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()

	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	queries := 0
	for lines.Scan() {
		line := lines.Text()
		switch {
		case line == "" || line[0] == '#':
		case line[0] == '{':
			m.add(t, line)
		default:
			m.settle()
			queries++
			t.Run(line, func(t *testing.T) { m.check(t, line) })
		}
	}

	if err := lines.Err(); err != nil || queries < 10 {
		t.Fatalf("%d queries only, %v", queries, err)
	}
}

func (m *memory) check(t *testing.T, line string) {
	query, want, ok := strings.Cut(line, " => ")
	if !ok {
		query, want = strings.TrimSuffix(line, " =>"), ""
	}
	typ, raw, _ := strings.Cut(query, "?")
	var pairs []Pair

	for _, one := range strings.Split(raw, "&") {
		k, v, _ := strings.Cut(one, "=")
		name, err1 := url.QueryUnescape(k)
		value, err2 := url.QueryUnescape(v)
		if err1 != nil || err2 != nil {
			t.Fatal("cannot be read")
		}
		pairs = append(pairs, Pair{name, value})
	}

	ids, err := m.find(t, typ, true, pairs...)
	got := strings.Join(ids, " ")
	var e *Error
	if errors.As(err, &e) {
		got = "!" + e.Code
	} else if err != nil {
		t.Fatal(err)
	}

	if got != want {
		t.Errorf("%s: got %q, want %q (%v)", query, got, want, err)
	}
}

// TestListsAndTermsAgree holds the three ways of judging a query against one
// another: by the terms of candidates, by whole lists, and each resource by itself.
func TestListsAndTermsAgree(t *testing.T) {
	m := newMemory()
	err := sample.Generate(6, func(_, _ string, body []byte) error { m.add(t, string(body)); return nil })
	if err != nil {
		t.Fatal(err)
	}
	m.settle()
	rnd := rand.New(rand.NewPCG(7, 7))
	all := func(string) Filter { return Everything() }

	found := 0
	for range 3000 {
		typ, pairs := m.randomQuery(rnd)
		q, err := m.ps.Parse(context.Background(), []string{typ}, pairs, true)
		if err != nil {
			t.Fatalf("%s %v: %v", typ, pairs, err)
		}
		f := NewFinder(context.Background(), m, all, all)
		clauses := f.resolveAll(q.Clauses)
		byLists := f.all(typ, clauses)

		byTerms := f.matching(typ, clauses, Everything())
		var each []uint64
		for i, d := range m.docs {
			if d.typ == typ && allHold(clauses, d.id, d.terms) {
				each = append(each, uint64(i+1))
			}
		}

		if !slices.Equal(byLists, each) || !slices.Equal(byTerms, each) {
			t.Fatalf("%s %v: lists %v, terms %v, each %v", typ, pairs, byLists, byTerms, each)
		}
		found += len(each)
	}

	if found < 3000 {
		t.Errorf("the queries find %d only", found)
	}
}

// randomQuery asks for values that are there, with modifiers and prefixes.
func (m *memory) randomQuery(rnd *rand.Rand) (string, []Pair) {
	d := m.docs[rnd.IntN(len(m.docs))]
	var pairs []Pair
	for range 1 + rnd.IntN(3) {
		var terms [][]byte
		d.terms.Each(func(t []byte) bool { terms = append(terms, t); return true })
		term := terms[rnd.IntN(len(terms))]
		p := tables().byID[uint16(term[0])<<8|uint16(term[1])]
		if pair, ok := randomPair(rnd, p, term[2:]); ok {
			pairs = append(pairs, pair)
		}
	}

	return d.typ, pairs
}

// numberIn is an encoded number as a query writes it.
func numberIn(value []byte) string {
	lo, _, _ := ends(value)
	power := int(lo[1])<<8 | int(lo[2])
	sign := ""
	if lo[0] == negative {
		sign, power = "-", power^0xffff
	}

	digits := ""
	for _, pair := range lo[3 : len(lo)-1] {
		if lo[0] == negative {
			pair = ^pair
		}
		digits += fmt.Sprintf("%02d", pair-1)
	}

	return fmt.Sprintf("%s0.%se%d", sign, digits, power-1<<15)
}

var escaper = strings.NewReplacer(`\`, `\\`, `,`, `\,`, `|`, `\|`, `$`, `\$`)

func randomPair(rnd *rand.Rand, p *Param, value []byte) (Pair, bool) {
	if rnd.IntN(12) == 0 && p.Code != "_id" && p.Code != "_type" {
		return Pair{p.Code + ":missing", fmt.Sprint(rnd.IntN(2) == 0)}, true
	}

	head, tail, _ := strings.Cut(string(value), sep)
	switch {
	case p.Code == "_type" || head == "":
		return Pair{}, false

	case p.Kind == Composite:
		code, rest, _ := strings.Cut(string(value), joint)
		if code, _, _ = strings.Cut(code, sep); code == "" || p.whole[0].parts[1].kind != Quantity {
			return Pair{}, false
		}

		return Pair{
			p.Code,
			escaper.Replace(code) + "$" + pickOne(rnd, "", "le", "gt", "ne") + numberIn([]byte(rest)),
		}, true

	case p.Kind == Token && string(value[:1]) == ofType:
		return Pair{
			p.Code + ":of-type",
			escaper.Replace(strings.Split(tail, sep)[0]) + "|" + escaper.Replace(head[1:]) + "|" + escaper.Replace(
				strings.Split(tail, sep)[1]),
		}, true

	case p.Kind == Token:
		if tail == implicit {
			tail = ""
		} else if rnd.IntN(2) == 0 {
			head = escaper.Replace(tail) + "|" + escaper.Replace(head)
			return Pair{p.Code + pickOne(rnd, "", ":not"), head}, p.Code != "_id"
		}

		if p.Code == "_id" {
			return Pair{p.Code, head}, true
		}
		return Pair{p.Code + pickOne(rnd, "", ":not"), escaper.Replace(head)}, true

	case p.Kind == String:
		return Pair{p.Code + pickOne(rnd, "", ":exact", ":contains"), escaper.Replace(head)}, true

	case p.Kind == Date:
		return Pair{
			p.Code,
			pickOne(rnd, "", "eq", "ne", "lt", "le", "gt", "ge", "sa", "eb", "ap") + pickOne(rnd, "2024", "2023-06",
				"2025-01-15", "1980", "2024-02-01T00:00:00Z"),
		}, true

	case p.Kind == Quantity || p.Kind == Number:
		return Pair{p.Code, pickOne(rnd, "", "ne", "lt", "le", "gt", "ge", "ap") + fmt.Sprint(rnd.IntN(200))}, true

	case p.Kind == Reference && head[0] >= ' ':
		return Pair{p.Code, head}, true

	case p.Kind == URI:
		return Pair{p.Code, escaper.Replace(head)}, true
	}

	return Pair{}, false
}

func pickOne(rnd *rand.Rand, of ...string) string { return of[rnd.IntN(len(of))] }

// What is cut short by time is an error, never a smaller answer.
func TestCutShortIsAnError(t *testing.T) {
	m := newMemory()
	m.add(t, `{"resourceType":"Patient","id":"p","managingOrganization":{"reference":"Organization/o"}}`)
	m.add(t, `{"resourceType":"Organization","id":"o"}`)
	m.settle()
	ctx, cancel := context.WithCancel(context.Background())
	all := func(string) Filter { return Everything() }
	f := NewFinder(ctx, m, all, all)
	q, err := m.ps.Parse(context.Background(), []string{"Patient"}, []Pair{{"_include", "Patient:organization"}}, true)
	if err != nil {
		t.Fatal(err)
	}

	anything := func(string) bool { return true }
	if more, _, err := f.Include(q, []uint64{1}); err != nil || len(more) != 1 {
		t.Errorf("%v, %v", more, err)
	}
	if more, err := f.Linked([]uint64{1}, anything); err != nil || len(more) != 1 {
		t.Errorf("%v, %v", more, err)
	}
	cancel()

	if _, _, err := f.Include(q, []uint64{1}); err == nil {
		t.Error("Include gives less and no error")
	}
	if _, err := f.Linked([]uint64{1}, anything); err == nil {
		t.Error("Linked gives less and no error")
	}
}

// What the index cannot answer is read, but not without bound.
func TestReadingIsBounded(t *testing.T) {
	m := newMemory()
	for i := range maxRead + 1 {
		m.add(t,
			fmt.Sprintf(`{"resourceType":"Basic","id":"b%d","code":{"text":"x"},"identifier":[{"value":"%d"}]}`, i,
				i%2))
	}

	m.settle()
	var e *Error
	if _, err := m.find(t, "Basic", true, Pair{"code:text", "x"}); !errors.As(err, &e) || e.Code != "too-costly" {
		t.Errorf("all were read: %v", err)
	}
	if ids, err := m.find(t, "Basic", true, Pair{"code:text", "x"}, Pair{"identifier", "1"}); err != nil ||
		len(ids) != maxRead/2 {
		t.Errorf("%d found, %v", len(ids), err)
	}

	if _, err := m.ps.Plain("Basic", "code:text", "x"); err == nil {
		t.Error("a text restricts a scope")
	}
}
