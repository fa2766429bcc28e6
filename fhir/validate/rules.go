package validate

import (
	"maps"
	"strconv"

	"fhirdest.example/fhir/table"
	"fhirdest.example/fhir/tree"
)

// rule is one invariant of FHIR R4: what must hold of every value of a type.
type rule struct {
	key   string
	text  string // what is asked, the message when it does not hold
	holds func(*tree.Value) bool
}

// apply checks a value by the invariants of its type.
func (w *walker) apply(v *tree.Value, t *table.Type) {
	for _, r := range w.v.rules[t] {
		if !r.holds(v) {
			w.add(Error, "invariant", r.key, "%s", r.text)
		}
	}
	if t.Name == "Attachment" {
		w.attachment(v)
	}
}

// rulesByType lists the invariants by the type whose values they are about.
func rulesByType() map[string][]rule {
	all := dataTypeRules()
	maps.Copy(all, recordRules())
	maps.Copy(all, bundleRules())

	for _, name := range []string{
		"SimpleQuantity", "MoneyQuantity", "Age", "Count", "Distance", "Duration",
	} {
		all[name] = append(all[name], all["Quantity"]...)
	}

	return all
}

// has reports whether a member is there, with a value or with extensions only.
// "value[x]" is any of its forms.
func has(v *tree.Value, name string) bool {
	if len(name) > 3 && name[len(name)-3:] == "[x]" {
		return choice(v, name[:len(name)-3]) != nil
	}
	return v.Get(name) != nil || v.Get("_"+name) != nil
}

// choice returns the member that chooses a type for an element, or nil.
func choice(v *tree.Value, stem string) *tree.Value {
	for i := range v.Items {
		n := v.Items[i].Name
		if n != "" && n[0] == '_' {
			n = n[1:]
		}
		if len(n) > len(stem) && n[:len(stem)] == stem && n[len(stem)] >= 'A' && n[len(stem)] <= 'Z' {
			return &v.Items[i]
		}
	}

	return nil
}

func count(v *tree.Value, names ...string) int {
	n := 0
	for _, name := range names {
		if has(v, name) {
			n++
		}
	}
	return n
}

// needs makes a rule: with one member comes at least one of others.
func needs(key, member string, others ...string) rule {
	return rule{key, member + " needs " + words(others), func(v *tree.Value) bool {
		return !has(v, member) || count(v, others...) > 0
	}}
}

// apart makes a rule: two members are not there together.
func apart(key, a, b string) rule {
	return rule{key, a + " and " + b + " exclude each other", func(v *tree.Value) bool {
		return !has(v, a) || !has(v, b)
	}}
}

// some makes a rule: at least one member is there.
func some(key string, names ...string) rule {
	return rule{key, words(names) + " is needed", func(v *tree.Value) bool {
		return count(v, names...) > 0
	}}
}

// one makes a rule: exactly one member is there.
func one(key string, names ...string) rule {
	return rule{key, "exactly one of " + words(names) + " is needed", func(v *tree.Value) bool {
		return count(v, names...) == 1
	}}
}

func words(names []string) string {
	out := names[0]
	for i, n := range names[1:] {
		if i == len(names)-2 {
			out += " or " + n
		} else {
			out += ", " + n
		}
	}

	return out
}

// number returns a JSON number's value; false when there is none.
func number(v *tree.Value) (float64, bool) {
	if v == nil || v.Kind != tree.Number {
		return 0, false
	}
	n, err := strconv.ParseFloat(v.Raw, 64)
	return n, err == nil
}

// coded reports whether a CodeableConcept has one of the codes in a system.
func coded(concept *tree.Value, system string, codes ...string) bool {
	for _, c := range concept.Get("coding").Each() {
		if c.Get("system").Text() == system && among(c.Get("code").Text(), codes...) {
			return true
		}
	}
	return false
}

func among(s string, list ...string) bool {
	for _, x := range list {
		if s == x {
			return true
		}
	}
	return false
}

// notAfter reports whether one time may be at or before another, as far as
// their precision goes; so does a missing one.
func notAfter(a, b *tree.Value) bool {
	from, to := a.Text(), b.Text()
	if len(from) == len(to) && len(from) <= len("2006-01-02") { // known to be dates, which sort as text
		return from <= to
	}
	first, _, okA := parseTime("dateTime", from)
	_, last, okB := parseTime("dateTime", to)
	return !okA || !okB || !first.After(last)
}
