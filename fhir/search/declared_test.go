package search

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// Every reference parameter that is declared finds what it promises, to each
// type that it may lead to: in a chain, _has, _include, _include=*, and
// _revinclude (R4 search 3.1.1.4.12 to 3.1.1.4.14).
func TestDeclaredReferencesFind(t *testing.T) {
	params := 0
	for _, source := range Types() {
		for _, p := range Params(source) {
			if p.Kind != Reference {
				continue
			}

			params++
			targets := p.Targets
			if targets == nil {
				targets = []string{"PlanDefinition"} // of any: one with a canonical URL
			}
			for _, target := range targets {
				t.Run(source+"."+p.Code+" to "+target, func(t *testing.T) { finds(t, p, target) })
			}
		}
	}

	if params < 500 {
		t.Errorf("%d parameters only", params)
	}
}

func finds(t *testing.T, p *Param, target string) {
	m := newMemory()
	m.add(t, fmt.Sprintf(`{"resourceType":%q,"id":"to","url":"http://example.org/to"}`, target))
	if p.looksAt("canonical", "uri") && p.canonicalOf(target) == nil {
		t.Fatalf("a %s has no canonical URL to refer to", target)
	}

	for i, pa := range p.paths {
		if pa.leaf != "Attachment" && (pa.target == "" || pa.target == target) { // an attachment refers to nothing
			m.add(t, pointer(p, pa, target, fmt.Sprintf("from%d", i)))
		}
	}

	m.settle()
	if len(m.docs) < 2 {
		t.Fatal("no path leads to the type")
	}

	from := make([]string, len(m.docs)-1)
	for i, d := range m.docs[1:] {
		from[i] = d.id
	}
	searches := []struct {
		typ   string
		want  []string
		pairs []Pair
	}{
		{p.Type, from, []Pair{{p.Code + ":" + target + "._id", "to"}}},
		{target, []string{"to"}, []Pair{{"_has:" + p.Type + ":" + p.Code + ":_id", from[0]}, {"_id", "to"}}},
		{p.Type, append(slices.Clone(from), "+", "to"), []Pair{{"_include", p.Type + ":" + p.Code + ":" + target},
			{"_id", strings.Join(from, ",")}}},
		{p.Type, append(slices.Clone(from), "+", "to"), []Pair{{"_include", "*"}, {"_id", strings.Join(from, ",")}}},
		{target, append([]string{"to", "+"}, from...), []Pair{{"_revinclude", p.Type + ":" + p.Code}, {"_id", "to"}}},
	}

	for _, s := range searches {
		got, err := m.find(t, s.typ, true, s.pairs...)
		if p.Type == target { // the resources referred to are among those searched
			got = slices.DeleteFunc(got, func(id string) bool { return id == "to" && !slices.Contains(s.want, id) })
		}
		if err != nil || !slices.Equal(got, s.want) {
			t.Errorf("%s?%v: got %v, %v, want %v", s.typ, s.pairs, got, err, s.want)
		}
	}
}

// pointer is a resource that refers to target/to by one path.
func pointer(p *Param, pa path, target, id string) string {
	value := `{"reference":"` + target + `/to"}`
	switch pa.leaf {
	case "canonical", "uri":
		value = `"http://example.org/to"`
	case "Resource":
		value = fmt.Sprintf(`{"resourceType":%q,"id":"to"}`, target)
	}

	for i := len(pa.steps) - 1; i >= 0; i-- {
		s := pa.steps[i]
		if s.member != "" { // [member=is]: beside the value, in an object
			value = fmt.Sprintf(`{%q:%q,%s`, s.member, s.is, value[1:])
		}
		value = fmt.Sprintf(`{%q:%s}`, s.name, value)
	}

	return fmt.Sprintf(`{"resourceType":%q,"id":%q,%s`, p.Type, id, value[1:])
}

// What a reader may not search is not found through: the search fails and names
// the type, rather than find nothing.
func TestChainThroughForbiddenTypes(t *testing.T) {
	m := newMemory()
	m.add(t,
		`{"resourceType":"Patient","id":"p","name":[{"family":"x"}],"managingOrganization":{"reference":"Organization/o"}}`)
	m.add(t, `{"resourceType":"Organization","id":"o","name":"x"}`)
	m.add(t, `{"resourceType":"Observation","id":"b","status":"final","subject":{"reference":"Patient/p"}}`)
	m.settle()

	for _, row := range []struct {
		name, typ string
		pair      Pair
		forbidden string // types
		want      string // named in the refusal; "" for none
	}{
		{"a chain", "Observation", Pair{"patient.name", "x"}, "Patient", "Patient"},
		{"its second link", "Observation", Pair{"patient.organization.name", "x"}, "Organization", "Organization"},
		{"a reverse chain", "Patient", Pair{"_has:Observation:patient:status", "final"}, "Observation", "Observation"},
		{
			"in a reverse chain", "Organization",
			Pair{"_has:Patient:organization:_has:Observation:patient:status", "final"},
			"Observation", "Observation",
		},
		{"one of several types", "Observation", Pair{"subject.name", "x"}, "Group Location Device", ""},
		{
			"all of several types", "Observation", Pair{"subject.name", "x"},
			"Group Location Device Patient", "Location, Patient",
		},
	} {
		t.Run(row.name, func(t *testing.T) {
			q, err := m.ps.Parse(context.Background(), []string{row.typ}, []Pair{row.pair}, true)
			if err != nil {
				t.Fatal(err)
			}

			may := func(typ string) Filter {
				if slices.Contains(strings.Fields(row.forbidden), typ) {
					return Filter{}
				}
				return Everything()
			}
			found, err := NewFinder(context.Background(), m, may, may).Find(q)
			e, refused := err.(*Error)
			if row.want == "" {
				if err != nil || len(found.Docs) != 1 {
					t.Errorf("found %v, %v", found, err)
				}
				return
			}

			if !refused || e.Code != Forbidden || !strings.Contains(e.Detail, row.want) {
				t.Errorf("got %v", err)
			}
		})
	}
}
