package export_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"fhirdest.example/fhir"
	"fhirdest.example/fhir/async"
	"fhirdest.example/fhir/async/asyncenv"
	"fhirdest.example/fhir/export"
)

// interrupted is a store in which others write whenever an export has let go of it.
type interrupted struct {
	fhir.Store
	others func()
}

func (s *interrupted) View(ctx context.Context, f func(fhir.Snapshot) error) error {
	err := s.Store.View(ctx, f)
	s.others()
	return err
}

// many puts patients in one transaction.
func many(t testing.TB, e *asyncenv.Env, from, to int, more string) {
	t.Helper()
	var b strings.Builder
	b.WriteString(`{"resourceType":"Bundle","type":"transaction","entry":[`)

	for i := from; i < to; i++ {
		if i > from {
			b.WriteByte(',')
		}
		id := fmt.Sprintf("p%05d", i)
		fmt.Fprintf(&b, `{"resource":%s,"request":{"method":"PUT","url":"Patient/%s"}}`, patientBody(id, more), id)
	}

	b.WriteString(`]}`)
	if w := e.Do("POST", "", asyncenv.All, b.String()); w.Code != 200 {
		t.Fatalf("%d %.300s", w.Code, w.Body)
	}
}

// An export has one state of the store, whatever is created, changed, deleted and
// brought back while it goes on, and holds no transaction open meanwhile.
func TestOneStateWhileOthersWrite(t *testing.T) {
	const n = 2500
	nobody := func() {}
	others := nobody
	e := asyncenv.New(t, func(e *asyncenv.Env) {
		e.Kinds = func(e *asyncenv.Env) map[string]async.Kind {
			return map[string]async.Kind{"$export": export.New(export.Config{
				PublicBase: asyncenv.Base,
				Store:      &interrupted{e.Store, func() { others() }},
				Service:    e.Service,
			})}
		}
	})
	many(t, e, 0, n, "")

	put(t, e,
		`{"resourceType":"Group","id":"g","type":"person","actual":true,"member":[{"entity":{"reference":"Patient/p00001"}}]}`)
	e.Do("DELETE", "/Patient/p00002", asyncenv.All, "")
	round := 0
	write := func() {
		round++
		more := fmt.Sprintf(`,"multipleBirthInteger":%d`, round)
		// the end, which an export comes to last
		many(t, e, n-3, n, more)

		// its beginning, one of them brought back
		many(t, e, 0, 3, more)
		many(t, e, n+round*10, n+round*10+3, "")                                   // new ones
		e.Do("DELETE", fmt.Sprintf("/Patient/p%05d", n-9-round), asyncenv.All, "") // gone meanwhile
		e.Do("DELETE", "/Group/g", asyncenv.All, "")
	}

	for _, path := range []string{
		"/$export?_type=Patient",
		"/Patient/$export?_type=Patient",
		"/$export?_type=Patient&_typeFilter=Patient%3F_id:missing%3Dfalse",
	} {
		before := stored(t, e, "Patient?_count=1000", asyncenv.All)
		rounds := round
		kickOff := true
		others = func() { // also just after the state that is to be exported
			if !kickOff {
				write()
			}
			kickOff = false
		}

		m := exported(t, e, "GET", path, asyncenv.All, "")
		others = nobody
		same(t, m.lines, before)
		if round-rounds < 3 {
			t.Errorf("%s: others wrote %d times only", path, round-rounds)
		}
	}
}

// twice is a store whose views are run again, as those of a database are that has moved
// on between two of their statements.
type twice struct{ fhir.Store }

func (s twice) View(ctx context.Context, f func(fhir.Snapshot) error) error {
	return s.Store.View(ctx, func(sn fhir.Snapshot) error {
		if err := f(sn); err != nil {
			return err
		}
		return f(sn)
	})
}

// An export has each resource once, however often its views of the store are run.
func TestViewsAreRunAgain(t *testing.T) {
	e := asyncenv.New(t, func(e *asyncenv.Env) {
		e.Kinds = func(e *asyncenv.Env) map[string]async.Kind {
			again := kinds(e)
			again["$export"] = export.New(export.Config{
				PublicBase: asyncenv.Base,
				Store:      twice{e.Store},
				Service:    e.Service,
			})
			return again
		}
	})
	put(t, e, record...)

	m := exported(t, e, "GET", "/Group/outer/$export", asyncenv.All, "")
	for _, key := range []string{
		"Group/outer",
		"Patient/p",
		"Observation/op",
		"Practitioner/prac",
		"Organization/org",
		"Organization/top",
	} {
		if m.lines[key] == "" {
			t.Errorf("%s is missing", key)
		}
	}

	lines := 0
	for _, f := range m.Output {
		lines += f.Count
	}
	if lines != 6 {
		t.Errorf("%d lines, of %d resources", lines, len(m.lines))
	}
}
