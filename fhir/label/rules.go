package label

import (
	"fmt"
	"slices"
	"strings"

	"fhirdest.example/fhir/search"
	"fhirdest.example/fhir/tree"
)

// rules are Rules that are ready for use.
type rules struct {
	byType  map[string][]search.Coding // labels of whole types, "*" for all
	byCode  map[string][]coded         // by system|code
	byStart []coded                    // by the beginning of that
}

// coded is what a code implies.
type coded struct {
	start  string
	types  []string // none: all
	labels []search.Coding
}

func (l *Labeler) addRules(wrong *problems) {
	r := &l.rules
	r.byType, r.byCode = map[string][]search.Coding{}, map[string][]coded{}
	for i, rule := range l.policy.Rules {
		at := fmt.Sprintf("rules[%d]", i)
		wrong.types(at+".types", rule.Types)
		if len(rule.Labels) == 0 || len(rule.Types)+len(rule.Codes) == 0 {
			wrong.add("%s: it needs labels, and types or codes", at)
		}

		c := coded{types: rule.Types}
		if slices.Contains(rule.Types, "*") {
			c.types = nil
		}
		for _, text := range rule.Labels {
			c.labels = append(c.labels, parse(text))
		}

		if len(rule.Codes) == 0 {
			for _, typ := range rule.Types {
				r.byType[typ] = append(r.byType[typ], c.labels...)
			}
		}

		for _, code := range rule.Codes {
			if !strings.Contains(code, "|") {
				wrong.add("%s: %q is not system|code", at, code)
			}
			r.add(code, c)
		}
	}
}

func (r *rules) add(code string, c coded) {
	start, open := strings.CutSuffix(code, "*")
	if open {
		c.start = start
		r.byStart = append(r.byStart, c)
		return
	}
	r.byCode[code] = append(r.byCode[code], c)
}

// none reports whether no rule implies anything.
func (r *rules) none() bool {
	return len(r.byType)+len(r.byCode)+len(r.byStart) == 0
}

// implied calls f with each label that rules imply of a resource.
func (r *rules) implied(typ string, root *tree.Value, f func(search.Coding)) {
	for _, of := range []string{typ, "*"} {
		for _, label := range r.byType[of] {
			f(label)
		}
	}

	if len(r.byCode)+len(r.byStart) > 0 {
		r.codes(typ, root, f)
	}
}

// codes looks for codings anywhere in a resource, but not in those that are in it.
func (r *rules) codes(typ string, v *tree.Value, f func(search.Coding)) {
	if code := v.Get("code"); code != nil && code.Kind == tree.String {
		r.coded(typ, v.Get("system").Text()+"|"+code.Text(), f)
	}

	for i := range v.Items {
		m := &v.Items[i]
		if m.Name != "meta" && len(m.Items) > 0 && m.Get("resourceType") == nil {
			r.codes(typ, m, f)
		}
	}
}

func (r *rules) coded(typ, code string, f func(search.Coding)) {
	give := func(c *coded) {
		if len(c.types) > 0 && !slices.Contains(c.types, typ) {
			return
		}
		for _, label := range c.labels {
			f(label)
		}
	}

	for i := range r.byCode[code] {
		give(&r.byCode[code][i])
	}

	for i := range r.byStart {
		if strings.HasPrefix(code, r.byStart[i].start) {
			give(&r.byStart[i])
		}
	}
}
