package signature_test

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"fhirdest.example/fhir/sample"
	"fhirdest.example/fhir/signature"
	"fhirdest.example/fhir/tree"
)

// vector is a file with one resource and its canonical form.
type vector struct {
	name, form, resource, canonical string
}

// vectors reads testdata/canonical. Their canonical forms were computed by a program
// that shares nothing with this package.
func vectors(t testing.TB) (all []vector) {
	t.Helper()
	files, err := filepath.Glob("testdata/canonical/*.txt")
	if err != nil || len(files) < 10 {
		t.Fatalf("%d vectors: %v", len(files), err)
	}

	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		head, rest, ok1 := strings.Cut(string(b), "\n--- resource\n")
		resource, canonical, ok2 := strings.Cut(rest, "\n--- canonical\n")
		form, ok3 := strings.CutPrefix(head, "form: ")
		if !ok1 || !ok2 || !ok3 || !slices.Contains(signature.Forms(), signature.Form(form)) {
			t.Fatalf("%s is no vector", file)
		}
		all = append(all, vector{filepath.Base(file), form, resource, strings.TrimSuffix(canonical, "\n")})
	}
	return all
}

func parse(t testing.TB, text string) *tree.Value {
	t.Helper()
	root, err := tree.Parse([]byte(text))
	if err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	return root
}

// Covers: FS-502
func TestCanonicalVectors(t *testing.T) {
	for _, v := range vectors(t) {
		t.Run(v.name, func(t *testing.T) {
			got := signature.Canonical(parse(t, v.resource), signature.Form(v.form))
			if string(got) != v.canonical {
				t.Errorf("%s\nwant\n%s", got, v.canonical)
			}
		})
	}
}

// Several targets are an array in their order.
// Covers: FS-502
func TestContentOfSeveral(t *testing.T) {
	a, b := parse(t, `{"resourceType":"Basic","meta":{},"id":"a"}`), parse(t, `{"resourceType":"Basic","id":"b"}`)
	for want, targets := range map[string][]*tree.Value{
		`{"id":"a","resourceType":"Basic"}`:                                     {a},
		`[{"id":"a","resourceType":"Basic"},{"id":"b","resourceType":"Basic"}]`: {a, b},
		`[{"id":"b","resourceType":"Basic"},{"id":"a","resourceType":"Basic"}]`: {b, a},
	} {
		if got := signature.Content(targets, signature.Static); string(got) != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

// The canonical form of a canonical form is itself, it is no longer than what it is
// of, and has the same values.
// Covers: FS-502
func FuzzCanonical(f *testing.F) {
	for _, v := range vectors(f) {
		f.Add(v.resource)
	}
	n := 0
	err := sample.History(1, func(step sample.Step) error {
		if n++; n <= 50 {
			f.Add(string(step.JSON))
		}
		return nil
	})
	if err != nil {
		f.Fatal(err)
	}

	f.Fuzz(func(t *testing.T, text string) {
		root, err := tree.Parse([]byte(text))
		if err != nil {
			return // what is no JSON has no canonical form
		}
		for _, form := range signature.Forms() {
			once := signature.Canonical(root, form)
			again, err := tree.Parse(once)
			if err != nil {
				t.Fatalf("%s of %q does not parse: %v", form, text, err)
			}
			if twice := signature.Canonical(again, form); !bytes.Equal(once, twice) {
				t.Errorf("%s of %q: %q, then %q", form, text, once, twice)
			}
			if len(once) > len(text) {
				t.Errorf("%s of %q is longer", form, text)
			}
		}

		plain := signature.Canonical(root, signature.Whole)
		kept := parse(t, string(plain))
		if root.Get("resourceType").Text() != "Bundle" && !same(root, kept) {
			t.Errorf("%q has other values than %q", plain, text)
		}
	})
}

// same reports whether two values are the same but for the order of members and how
// strings are escaped.
func same(a, b *tree.Value) bool {
	if a.Kind != b.Kind || len(a.Items) != len(b.Items) {
		return false
	}

	switch a.Kind {
	case tree.String:
		return a.Text() == b.Text()
	case tree.Object:
		for i := range a.Items {
			if other := b.Get(a.Items[i].Name); other == nil || !same(&a.Items[i], other) {
				return false
			}
		}
		return true
	case tree.Array:
		for i := range a.Items {
			if !same(&a.Items[i], &b.Items[i]) {
				return false
			}
		}
		return true
	}

	return a.Raw == b.Raw
}
