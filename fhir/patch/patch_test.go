package patch

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"fhirdest.example/fhir/tree"
)

func root(t testing.TB, body string) *tree.Value {
	t.Helper()
	v, err := tree.Parse([]byte(body))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// apply returns what a patch makes of a body, or the code of its refusal.
func apply(t testing.TB, body, patch string) string {
	t.Helper()
	p, err := Parse([]byte(patch))
	if err == nil {
		var out []byte
		if out, err = p.Apply(root(t, body)); err == nil {
			return string(out)
		}
	}

	var refused *Error
	var unparsed *tree.Error
	switch {
	case errors.As(err, &refused):
		return refused.Code
	case errors.As(err, &unparsed):
		return unparsed.Code
	}

	t.Fatal(err)
	return ""
}

// RFC 6902 4 and appendix A, as far as a resource's head may be changed; a narrative
// that no longer fits goes.
//
// Covers: FS-807
func TestOperations(t *testing.T) {
	for name, c := range map[string]struct{ body, patch, want string }{
		"data, narrative goes": {
			`{"text":{"div":"x"},"a":1}`, `[{"op":"replace","path":"/a","value":2}]`, `{"a":2}`,
		},
		"moved data, narrative goes": {
			`{"text":{"div":"x"},"a":1}`, `[{"op":"move","from":"/a","path":"/b"}]`, `{"b":1}`,
		},
		"data and narrative": {
			`{"text":{"div":"x"},"a":1}`,
			`[{"op":"replace","path":"/a","value":2},{"op":"replace","path":"/text/div","value":"y"}]`,
			`{"text":{"div":"y"},"a":2}`,
		},
		"a test changes nothing": {
			`{"text":{"div":"x"}, "a":1}`, `[{"op":"test","path":"/a","value":1}]`, `{"text":{"div":"x"}, "a":1}`,
		},
		"meta, narrative stays": {
			`{"text":{"div":"x"},"a":1}`, `[{"op":"add","path":"/meta","value":{"tag":[]}}]`,
			`{"text":{"div":"x"},"a":1,"meta":{"tag":[]}}`,
		},
		"add a member": {`{"a":1}`, `[{"op":"add","path":"/b","value":2}]`, `{"a":1,"b":2}`},
		"add an item":  {`{"a":[1,3]}`, `[{"op":"add","path":"/a/1","value":2}]`, `{"a":[1,2,3]}`},
		"add at the end": {
			`{"a":[1]}`,
			`[{"op":"add","path":"/a/-","value":2},{"op":"add","path":"/a/2","value":3}]`,
			`{"a":[1,2,3]}`,
		},
		"add replaces": {
			`{"a":1,"b":2}`,
			`[{"op":"add","path":"/a","value":{"x":[]}}]`,
			`{"a":{"x":[]},"b":2}`,
		},
		"add past the end": {`{"a":[1]}`, `[{"op":"add","path":"/a/2","value":2}]`, "processing"},
		"add to nothing":   {`{"a":1}`, `[{"op":"add","path":"/b/c","value":2}]`, "processing"},
		"add to a string":  {`{"a":"x"}`, `[{"op":"add","path":"/a/b","value":2}]`, "processing"},
		"add to what is new": {
			`{"a":1}`,
			`[{"op":"add","path":"/b","value":{}},{"op":"add","path":"/b/c","value":[1]},{"op":"add","path":"/b/c/0","value":0}]`,
			`{"a":1,"b":{"c":[0,1]}}`,
		},
		"add null":           {`{"a":1}`, `[{"op":"add","path":"/b","value":null}]`, `{"a":1,"b":null}`},
		"replace":            {`{"a":[1,2]}`, `[{"op":"replace","path":"/a/0","value":"x"}]`, `{"a":["x",2]}`},
		"replace nothing":    {`{"a":1}`, `[{"op":"replace","path":"/b","value":2}]`, "processing"},
		"replace at the end": {`{"a":[1]}`, `[{"op":"replace","path":"/a/-","value":2}]`, "processing"},
		"remove": {
			`{"a":1,"b":[1,2]}`,
			`[{"op":"remove","path":"/a"},{"op":"remove","path":"/b/0"}]`,
			`{"b":[2]}`,
		},
		"remove nothing":     {`{"a":1}`, `[{"op":"remove","path":"/b"}]`, "processing"},
		"remove a big index": {`{"a":[1]}`, `[{"op":"remove","path":"/a/99999999999999999999"}]`, "processing"},
		"remove a negative":  {`{"a":[1]}`, `[{"op":"remove","path":"/a/-1"}]`, "processing"},
		"move": {
			`{"a":{"x":1},"b":{}}`,
			`[{"op":"move","from":"/a/x","path":"/b/y"}]`,
			`{"a":{},"b":{"y":1}}`,
		},
		"move in an array": {`{"a":[1,2,3]}`, `[{"op":"move","from":"/a/0","path":"/a/2"}]`, `{"a":[2,3,1]}`},
		"move into itself": {`{"a":{"b":{}}}`, `[{"op":"move","from":"/a","path":"/a/b"}]`, "processing"},
		"move to itself":   {`{"b":0,"a":1}`, `[{"op":"move","from":"/a","path":"/a"}]`, `{"b":0,"a":1}`},
		"move beside":      {`{"a":{"b":1}}`, `[{"op":"move","from":"/a/b","path":"/ab"}]`, `{"a":{},"ab":1}`},
		"copy": {
			`{"a":{"x":1}}`,
			`[{"op":"copy","from":"/a","path":"/b"},{"op":"replace","path":"/b/x","value":2}]`,
			`{"a":{"x":1},"b":{"x":2}}`,
		},
		"copy what changed": {
			`{"a":{"x":1}}`,
			`[{"op":"replace","path":"/a/x","value":2},{"op":"copy","from":"/a","path":"/b"},{"op":"remove","path":"/a/x"}]`,
			`{"a":{},"b":{"x":2}}`,
		},
		"copy nothing": {`{"a":1}`, `[{"op":"copy","from":"/x","path":"/b"}]`, "processing"},
		"test": {
			`{"a":{"x":[1.5,"\u0041"],"y":null}}`,
			`[{"op":"test","path":"/a","value":{"y":null,"x":[1.50,"A"]}}]`,
			`{"a":{"x":[1.5,"\u0041"],"y":null}}`,
		},
		"test of the whole": {`{"a":1}`, `[{"op":"test","path":"","value":{"a":1}}]`, `{"a":1}`},
		"test what changed": {
			`{"a":[1]}`,
			`[{"op":"add","path":"/a/-","value":2},{"op":"test","path":"/a","value":[1,2]}]`,
			`{"a":[1,2]}`,
		},
		"test fails":      {`{"a":1}`, `[{"op":"test","path":"/a","value":2}]`, "processing"},
		"test of more":    {`{"a":[1]}`, `[{"op":"test","path":"/a","value":[1,2]}]`, "processing"},
		"test of nothing": {`{"a":1}`, `[{"op":"test","path":"/b","value":null}]`, "processing"},
		"test of another": {`{"a":"1"}`, `[{"op":"test","path":"/a","value":1}]`, "processing"},
		"escapes": {
			`{"a/b":{"m~n":1}}`,
			`[{"op":"replace","path":"/a~1b/m~0n","value":2}]`,
			`{"a/b":{"m~n":2}}`,
		},
		"no member so escaped": {`{"~1":1}`, `[{"op":"remove","path":"/~01"}]`, `{}`},
		"member named minus":   {`{"-":1}`, `[{"op":"remove","path":"/-"}]`, `{}`},
		"nothing to do":        {` { "a" : 1 } `, `[]`, `{ "a" : 1 }`},

		"no array":          {`{}`, `{"op":"add"}`, "structure"},
		"no operation":      {`{}`, `[{"path":"/a"}]`, "structure"},
		"no path":           {`{}`, `[{"op":"remove"}]`, "structure"},
		"no pointer":        {`{}`, `[{"op":"remove","path":"a"}]`, "structure"},
		"no value":          {`{}`, `[{"op":"add","path":"/a"}]`, "structure"},
		"bad escape":        {`{}`, `[{"op":"remove","path":"/a~2"}]`, "structure"},
		"leading zero":      {`{"a":[1,2]}`, `[{"op":"remove","path":"/a/01"}]`, "structure"},
		"from nowhere":      {`{}`, `[{"op":"move","path":"/a"}]`, "structure"},
		"twice a member":    {`{}`, `[{"op":"remove","op":"add","path":"/a","value":1}]`, "structure"},
		"more than a patch": {`{}`, `[],"x":[]`, "structure"},
		"the whole":         {`{}`, `[{"op":"replace","path":"","value":{}}]`, "business-rule"},
		"the id":            {`{}`, `[{"op":"remove","path":"/id"}]`, "business-rule"},
		"the id moved":      {`{}`, `[{"op":"move","from":"/id","path":"/a"}]`, "structure"},
		"the version":       {`{}`, `[{"op":"add","path":"/meta/versionId","value":"9"}]`, "business-rule"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := apply(t, c.body, c.patch); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}

// Numbers are compared by their exact worth.
func TestNumbersAreEqualByWorth(t *testing.T) {
	for name, c := range map[string]struct {
		a, b string
		same bool
	}{
		"zeros":           {"1.5", "1.500", true},
		"exponent":        {"150", "1.5e2", true},
		"small":           {"0.0000015", "15E-7", true},
		"zero":            {"0", "-0.00e5", true},
		"sign":            {"1", "-1", false},
		"last digit":      {"0.1", "0.10000000000000000001", false},
		"beyond binary":   {"9007199254740993", "9007199254740992", false},
		"great exponents": {"1.0E-245", "1e-245", true},
		"out of range":    {"1e400", "1e401", false},
	} {
		t.Run(name, func(t *testing.T) {
			body := fmt.Sprintf(`{"a":%s}`, c.a)
			got := apply(t, body, fmt.Sprintf(`[{"op":"test","path":"/a","value":%s}]`, c.b))
			if (got == body) != c.same {
				t.Errorf("%s and %s: %s", c.a, c.b, got)
			}
		})
	}
}

// What no operation changes keeps its bytes.
func TestBytesAreKept(t *testing.T) {
	body := `{ "a" : { "x" : 1.50 , "y":"\u0041" }, "b" : [ 1 , 2 ],"c":[ {"d" : 1e3} , 5 ] }`
	got := apply(t, body, `[{"op":"test","path":"/a/x","value":1.5},{"op":"remove","path":"/c/1"}]`)
	if want := `{"a":{ "x" : 1.50 , "y":"\u0041" },"b":[ 1 , 2 ],"c":[{"d" : 1e3}]}`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// Covers: FS-907
func TestBounds(t *testing.T) {
	t.Run("copies", func(t *testing.T) {
		doubling := strings.Repeat(`{"op":"copy","from":"/a","path":"/a/-"},`, 60)
		body := `{"a":["` + strings.Repeat("x", 1000) + `"]}`
		if got := apply(t, body, "["+strings.TrimSuffix(doubling, ",")+"]"); got != "processing" {
			t.Errorf("got %d bytes", len(got))
		}
	})

	t.Run("operations", func(t *testing.T) {
		many := strings.TrimSuffix(strings.Repeat(`{"op":"test","path":"/a","value":1},`, MaxOperations+1), ",")
		if got := apply(t, `{"a":1}`, "["+many+"]"); got != "structure" {
			t.Errorf("got %.100s", got)
		}
	})
}

// FuzzApply: what a patch makes is well-formed, and removing what was added
// gives the resource back.
func FuzzApply(f *testing.F) {
	f.Add(`{"a":[1,{"b":2}]}`, "/a/1/c", `{"x":[]}`)
	f.Add(`{"a":{"-":[]}}`, "/a/-/0", `1`)
	f.Fuzz(func(t *testing.T, body, path, value string) {
		v, err := tree.Parse([]byte(body))
		if err != nil || !strings.HasPrefix(path, "/") || strings.ContainsAny(path, "\"\\") ||
			strings.HasSuffix(path, "/-") {
			return
		}

		add, err := Parse([]byte(`[{"op":"add","path":"` + path + `","value":` + value + `}]`))
		if err != nil {
			return
		}

		if d := (&document{root: &node{source: v}}); len(add[0].path) > 0 {
			if n, there := d.parent(add[0].path, false); there && n.kind() == tree.Object {
				if _, taken := n.find(add[0].path[len(add[0].path)-1]); taken {
					return
				}
			}
		}

		out, err := add.Apply(v)
		if err != nil {
			return
		}

		added, err := tree.Parse(out)
		if err != nil {
			var e *tree.Error
			if errors.As(err, &e) && strings.Contains(e.Detail, "nested") {
				return
			}
			t.Fatalf("%s: %v", out, err)
		}

		remove, err := Parse([]byte(`[{"op":"remove","path":"` + path + `"}]`))
		if err != nil {
			t.Fatal(err)
		}
		back, err := remove.Apply(added)
		if err != nil || !equal(root(t, string(back)), v) {
			t.Fatalf("%s then %s: %v", out, back, err)
		}
	})
}

// BenchmarkApply500 applies 500 operations to a resource of about 2.3 MB.
func BenchmarkApply500(b *testing.B) {
	var s strings.Builder
	for i := 0; s.Len() < 2_300_000; i++ {
		fmt.Fprintf(&s, `,{"url":"urn:x:e","valueString":"number %d"}`, i)
	}
	v := root(b, `{"resourceType":"Basic","extension":[`+s.String()[1:]+`]}`)
	p, err := Parse([]byte("[" + strings.Repeat(`{"op":"add","path":"/extension/0","value":{"url":"urn:x:f"}},`, 499) +
		`{"op":"remove","path":"/extension/0"}]`))
	if err != nil {
		b.Fatal(err)
	}

	b.SetBytes(int64(len(v.Raw)))
	for b.Loop() {
		if _, err := p.Apply(v); err != nil {
			b.Fatal(err)
		}
	}
}

// Members are compared and looked for one by one: an object of very many would
// make a small patch dear.
func TestMembersAreBounded(t *testing.T) {
	object := func(n int) string {
		var all []string
		for i := range n {
			all = append(all, fmt.Sprintf(`"k%d":1`, i))
		}
		return "{" + strings.Join(all, ",") + "}"
	}
	for name, c := range map[string]struct {
		value string
		want  string
	}{
		"1,000":            {object(1000), `{"a":1,"b":` + object(1000) + `}`},
		"1,001":            {object(1001), "structure"},
		"1,001, inside":    {`[{"c":` + object(1001) + `}]`, "structure"},
		"1,001 in an item": {`[1,` + object(1001) + `]`, "structure"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, then := range []string{"", `,{"op":"test","path":"/b","value":` + c.value + `}`} {
				if got := apply(t, `{"a":1}`, `[{"op":"add","path":"/b","value":`+c.value+`}`+then+`]`); got != c.want {
					t.Errorf("%.60s, want %.60s", got, c.want)
				}
			}

			if c.want == "structure" {
				if got := apply(t, `{"a":1}`, `[{"op":"test","path":"/a","value":`+c.value+`}]`); got != c.want {
					t.Errorf("test: %.60s", got)
				}
			}
		})
	}
}
