package search

import (
	"strings"

	"fhirdest.example/fhir/tree"
)

// path is one compiled way from a resource to the elements that a parameter
// indexes; the form of its text is described in internal/gen/compile.go.
type path struct {
	steps    []step
	leaf     string // FHIR type of the element at the end
	target   string // references of this type only; "" for all
	notFalse bool   // the value is whether the element is there and not false
	name     bool   // the text is a name, which is found by its further words too
}

type step struct {
	name       string
	first      bool   // the first item only
	member, is string // items whose member has this value
}

func parsePaths(text string) []path {
	var all []path
	for _, s := range strings.Split(text, ";") {
		all = append(all, parsePath(s))
	}
	return all
}

func parsePath(text string) path {
	var p path
	text, p.notFalse = strings.CutSuffix(text, "!false")
	text, p.target, _ = strings.Cut(text, "@")
	at := strings.LastIndexByte(text, ':')
	p.leaf = text[at+1:]
	if at == 0 {
		return p
	}

	for _, s := range splitSteps(text[:at]) {
		name, filter, _ := strings.Cut(strings.TrimSuffix(s, "]"), "[")
		st := step{
			name:  name,
			first: filter == "0",
		}
		if member, is, ok := strings.Cut(filter, "="); ok {
			st.member, st.is = member, is
		}

		p.steps = append(p.steps, st)
	}

	last := p.steps[len(p.steps)-1].name
	p.name = p.leaf == "HumanName" || last == "family" || last == "given"
	return p
}

// splitSteps splits at slashes outside brackets.
func splitSteps(text string) []string {
	var all []string
	inside := false
	from := 0
	for i, c := range []byte(text) {
		switch {
		case c == '[' || c == ']':
			inside = c == '['
		case c == '/' && !inside:
			all = append(all, text[from:i])
			from = i + 1
		}
	}

	return append(all, text[from:])
}

// walk calls f for each element at the end of the steps.
func walk(v *tree.Value, steps []step, f func(*tree.Value)) {
	if len(steps) == 0 {
		f(v)
		return
	}

	s := steps[0]
	m := v.Get(s.name)
	if m == nil {
		return
	}
	if m.Kind != tree.Array {
		s.follow(m, steps[1:], f)
		return
	}

	for i := range m.Items {
		if s.first && i > 0 {
			return
		}
		s.follow(&m.Items[i], steps[1:], f)
	}
}

func (s step) follow(v *tree.Value, rest []step, f func(*tree.Value)) {
	if v.Kind == tree.Null || s.member != "" && v.Get(s.member).Literal() != s.is {
		return
	}
	walk(v, rest, f)
}
