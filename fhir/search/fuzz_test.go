package search

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"golang.org/x/text/unicode/norm"
)

// FuzzParse: a parameter is used or reported as left out; one that is used is
// understood again, in strict handling, as the same.
func FuzzParse(f *testing.F) {
	for _, s := range []string{
		"name=a", "date=ge2020", "patient.name:exact=x", "_has:Observation:patient:code=x",
		"_sort=-date", "value-quantity=5.4|a|b", `name=a\,b,c`, "_include=*", "code=|", "subject=1",
		"focus:Patient.name=x", "value-quantity=ap1e-999", "combo-code-value-quantity=a$le5",
	} {
		f.Add(s)
	}

	m := newMemory()
	f.Fuzz(func(t *testing.T, s string) {
		k, v, _ := strings.Cut(s, "=")
		types := []string{"Observation"}
		q, err := m.ps.Parse(context.Background(), types, []Pair{{k, v}}, false)
		var e *Error
		if err != nil {
			if !errors.As(err, &e) {
				t.Fatalf("%q: %v", s, err)
			}
			return
		}

		if len(q.Used)+len(q.Ignored) != 1 {
			t.Fatalf("%q is neither used nor reported", s)
		}

		again, err := m.ps.Parse(context.Background(), types, q.Used, true)
		if err != nil || !slices.Equal(again.Used, q.Used) || len(again.Clauses) != len(q.Clauses) ||
			len(again.Includes) != len(q.Includes) || len(again.Sort) != len(q.Sort) || again.Count != q.Count {
			t.Fatalf("%q becomes %+v, %v", s, again, err)
		}
	})
}

// FuzzDecimal: a number keeps its value and its order when it is encoded and
// printed again.
func FuzzDecimal(f *testing.F) {
	for _, s := range []string{"0", "-0.0", "36.6", "1e-245", "-1.50E+3", "999", "+5", ".5", "100"} {
		f.Add(s, "36.55")
	}

	f.Fuzz(func(t *testing.T, a, b string) {
		x, ok := parseDecimal(a)
		if !ok {
			return
		}

		encoded := x.encoded()
		if n, rest := cutNumber(append(slices.Clone(encoded), "rest"...)); string(n) != string(encoded) ||
			string(rest) != "rest" {
			t.Fatalf("%q: %x is not delimited: %x, %q", a, encoded, n, rest)
		}

		if x.n.Sign() != 0 {
			printed := numberIn(append([]byte{point}, encoded...))
			again, ok := parseDecimal(printed)
			if len(printed) <= maxDigits && (!ok || string(again.encoded()) != string(encoded)) {
				t.Fatalf("%q becomes %q", a, printed)
			}
		}

		y, ok := parseDecimal(b)
		if !ok {
			return
		}
		if got, want := strings.Compare(string(encoded), string(y.encoded())), x.compare(y); got != want {
			t.Fatalf("%q and %q: %d by bytes, %d by value", a, b, got, want)
		}
	})
}

// compare compares two numbers by their values.
func (d decimal) compare(e decimal) int {
	for d.exp > e.exp {
		d = d.times10(10)
	}
	for e.exp > d.exp {
		e = e.times10(10)
	}
	return d.n.Cmp(e.n)
}

// FuzzFold: folding is stable, and composed and decomposed letters fold alike.
func FuzzFold(f *testing.F) {
	for _, s := range []string{
		"O'Neil, Jr", "Smith-Jones", "Nguyễn", "ΣΊΣΥΦΟΣ", "한글", "がく", "--",
		"ﬁ Ａ", "a\u0301\u0323", "İß",
	} {
		f.Add(s)
	}

	f.Fuzz(func(t *testing.T, s string) {
		s = strings.ToValidUTF8(s, "")
		once := fold(s)
		if again := fold(once.spaced); again.spaced != once.spaced {
			t.Errorf("%q folds to %q, then to %q", s, once.spaced, again.spaced)
		}
		if other := fold(norm.NFD.String(s)); other != once {
			t.Errorf("%q folds to %q, decomposed to %q", s, once, other)
		}
	})
}
