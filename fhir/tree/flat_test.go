package tree

import (
	"errors"
	"strings"
	"testing"
)

// same holds a value of a Flat against the same value of a tree.
func same(t *testing.T, f *Flat, i int, v *Value) {
	t.Helper()
	if f.Kind(i) != v.Kind || f.Raw(i) != v.Raw || f.Name(i) != v.Name || f.Text(i) != v.Text() {
		t.Fatalf("value %d is %c %q %q, in the tree %c %q %q", i, f.Kind(i), f.Name(i), f.Raw(i), v.Kind, v.Name, v.Raw)
	}

	first, end := f.Members(i)
	if v.Kind == Array {
		first, end = f.Items(i)
	}
	for k := range v.Items {
		if first >= end {
			t.Fatalf("%q has %d items only", v.Raw, k)
		}
		same(t, f, first, &v.Items[k])
		if name := v.Items[k].Name; v.Kind == Object && f.Get(i, name) != first {
			t.Fatalf("%q: %q is found at %d, not at %d", v.Raw, name, f.Get(i, name), first)
		}
		first = f.Next(first)
	}
	if first != end {
		t.Fatalf("%q has more than %d items", v.Raw, len(v.Items))
	}
}

func TestFlatIsTheTree(t *testing.T) {
	var f Flat
	for _, body := range []string{
		`{}`,
		` { "z" : [ 1.50 , -0 , "a\u00e9\n" ] , "\u0061" : { } , "b":null,"c":true , "d":[]} `,
		`{"a":[[],[[1],{}],{"b":[{"c":"]}"}]}],"e":false}`,
		`{"":"","\"":"\\\"","é":"\ud83d\ude00"}`,
	} {
		t.Run(body, func(t *testing.T) {
			root, err := Parse([]byte(body))
			if err != nil {
				t.Fatal(err)
			}
			if err := f.Parse([]byte(body), Limits{MaxBytes, MaxValues}); err != nil {
				t.Fatal(err)
			}
			same(t, &f, 0, root)
			f.Forget()
		})
	}
}

func TestFlatOfNothing(t *testing.T) {
	var f Flat
	if err := f.Parse([]byte(`{"a":"b","c":[1,2]}`), Limits{MaxBytes, MaxValues}); err != nil {
		t.Fatal(err)
	}

	a := f.Get(0, "a")
	if first, end := f.Items(a); first != a || end != f.Next(a) {
		t.Errorf("a string's items: %d to %d", first, end)
	}
	if first, end := f.Items(-1); first != end {
		t.Errorf("items of nothing: %d to %d", first, end)
	}
	if f.Get(0, "x") != -1 || f.Get(-1, "x") != -1 || f.Get(a, "x") != -1 || f.Text(-1) != "" || f.Text(0) != "" {
		t.Error("look-ups")
	}
}

// A Flat refuses what a tree does, for the same reason.
func TestFlatRefusesWhatATreeDoes(t *testing.T) {
	var f Flat
	for name, body := range map[string]string{
		"empty":     ``,
		"array":     `[]`,
		"two":       `{}{}`,
		"duplicate": `{"a":1,"a":2}`,
		"deep":      strings.Repeat(`{"a":`, MaxDepth+1) + "1" + strings.Repeat("}", MaxDepth+1),
		"many":      `{"a":[` + strings.Repeat("0,", 100) + `0]}`,
		"long":      `{"a":"` + strings.Repeat("x", 1000) + `"}`,
	} {
		t.Run(name, func(t *testing.T) {
			limits := Limits{Bytes: 1000, Values: 100}
			_, want := ParseWithin([]byte(body), limits)
			err := f.Parse([]byte(body), limits)
			var e *Error
			if want == nil || err == nil || err.Error() != want.Error() || !errors.As(err, &e) {
				t.Errorf("%v, the tree: %v", err, want)
			}
		})
	}

	deep := strings.Repeat(`{"a":`, MaxDepth) + "1" + strings.Repeat("}", MaxDepth)
	if err := f.Parse([]byte(deep), Limits{1000, 100}); err != nil {
		t.Error(err)
	}
}
