package jose_test

import (
	"testing"

	"github.com/go-json-experiment/json/jsontext"

	"fhirdest.example/udap/jose"
)

// The texts of an object are parts of it, so it must have nothing of what it was read
// from: a buffer that is used again must change none of them.
func TestObjectsKeepTheirTexts(t *testing.T) {
	data := []byte(`{"a":"first","inner":{"b":"second","list":["third"]},"escaped":"\u0061"}`)
	o, err := jose.ParseObject(data)
	if err != nil {
		t.Fatal(err)
	}
	inner, err := o.Object("inner")
	if err != nil {
		t.Fatal(err)
	}

	first, _ := o.Text("a")
	for i := range data {
		data[i] = 'x'
	}

	second, _ := inner.Text("b")
	list, _ := inner.List("list")
	escaped, _ := o.Text("escaped")
	switch {
	case first != "first" || second != "second" || escaped != "a":
		t.Errorf("texts became %q, %q and %q", first, second, escaped)
	case len(list) != 1 || list[0] != "third":
		t.Errorf("a list became %q", list)
	case !o.Is("a", "first") || o.Names() != "a, escaped, inner":
		t.Errorf("the object became %s", o.Names())
	}
}

// A member that is parsed as an object must be one, by the rules for objects.
func TestMembersThatAreNoObjects(t *testing.T) {
	o := jose.Object{
		"text":  jsontext.Value(`"{}"`),
		"list":  jsontext.Value(`[{}]`),
		"null":  jsontext.Value(`null`),
		"twice": jsontext.Value(`{"a":1,"A":2}`),
	}
	for _, name := range []string{"text", "list", "null", "twice", "absent"} {
		t.Run(name, func(t *testing.T) {
			if inner, err := o.Object(name); err == nil {
				t.Errorf("parsed as %v", inner)
			}
		})
	}
}
