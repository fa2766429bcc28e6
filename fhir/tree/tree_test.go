package tree

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
)

// Covers: case 256, FS-901
func TestParseRefuses(t *testing.T) {
	deep := strings.Repeat(`{"a":`, MaxDepth+1) + "1" + strings.Repeat("}", MaxDepth+1)
	many := `{"a":[` + strings.Repeat("0,", MaxValues) + `0]}`
	for name, c := range map[string]struct{ body, code string }{
		"empty":               {"", "structure"},
		"truncated":           {`{"resourceType":"Patient"`, "structure"},
		"array":               {`[]`, "structure"},
		"string":              {`"x"`, "structure"},
		"two objects":         {`{} {}`, "structure"},
		"trailing brace":      {`{}}`, "structure"},
		"byte order mark":     {"\ufeff{}", "structure"},
		"duplicate":           {`{"id":"a","id":"b"}`, "structure"},
		"duplicate, escaped":  {`{"id":"a","\u0069d":"b"}`, "structure"},
		"nested duplicate":    {`{"a":[{"b":1,"b":1}]}`, "structure"},
		"invalid UTF-8":       {"{\"a\":\"\xff\"}", "structure"},
		"invalid UTF-8 name":  {"{\"\xff\":1}", "structure"},
		"lone surrogate":      {`{"a":"\ud800"}`, "structure"},
		"control character":   {"{\"a\":\"\x01\"}", "structure"},
		"leading zero":        {`{"a":01}`, "structure"},
		"NaN":                 {`{"a":NaN}`, "structure"},
		"comment":             {`{/**/}`, "structure"},
		"trailing comma":      {`{"a":1,}`, "structure"},
		"missing colon":       {`{"a" 1}`, "structure"},
		"name not a string":   {`{1:1}`, "structure"},
		"mismatched brackets": {`{"a":[1}}`, "structure"},
		"too deep":            {deep, "structure"},
		"too many values":     {many, "too-long"},
		"too long":            {`{"a":"` + strings.Repeat("x", MaxBytes) + `"}`, "too-long"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Parse([]byte(c.body))
			var e *Error
			if !errors.As(err, &e) || e.Code != c.code {
				t.Errorf("%s: got %v, want code %s", name, err, c.code)
			}
		})
	}
}

func TestParseKeepsOrderAndBytes(t *testing.T) {
	body := ` { "z" : [ 1.50 , -0 , "a\u00e9\n" ] , "\u0061" : { } , "b":null,"c":true , "d":[]} `
	root, err := Parse([]byte(body))
	if err != nil {
		t.Fatal(err)
	}
	var names []string

	for _, m := range root.Items {
		names = append(names, m.Name)
		if body[m.From:m.To()] != m.Raw {
			t.Errorf("%s: offsets give %q, Raw is %q", m.Name, body[m.From:m.To()], m.Raw)
		}
	}

	if got := strings.Join(names, ""); got != "zabcd" {
		t.Errorf("order %q", got)
	}
	z := root.Get("z").Items
	if z[0].Literal() != "1.50" || z[1].Literal() != "-0" || z[2].Text() != "aé\n" || z[0].Text() != "" {
		t.Errorf("items read as %v", z)
	}
	if body[z[2].From:z[2].To()] != `"a\u00e9\n"` {
		t.Errorf("offset of an item: %q", body[z[2].From:z[2].To()])
	}

	if root.Get("c").Literal() != "true" || root.Get("b").Literal() != "" || root.At("a", "x", "y") != nil {
		t.Error("look-ups")
	}
	if n := len(root.Get("z").Each()) + len(root.Get("a").Each()) + len(root.Get("no").Each()); n != 4 {
		t.Errorf("Each gave %d values", n)
	}
	if strings.TrimSpace(body) != root.Raw {
		t.Errorf("root is %q", root.Raw)
	}
}

func TestParseAtTheBounds(t *testing.T) {
	ok := strings.Repeat(`{"a":`, MaxDepth) + "1" + strings.Repeat("}", MaxDepth)
	if _, err := Parse([]byte(ok)); err != nil {
		t.Error(err)
	}
	_, err := Parse([]byte(`{"a":1,"a":2}`))
	if err == nil || !strings.Contains(err.Error(), "duplicate") {
		t.Errorf("the reason is not told: %v", err)
	}
}

// FuzzParse: whatever is accepted can be put together again from its leaves'
// offsets: each value's bytes are where it says. A Flat accepts the same, and has the
// same values.
//
// Covers: FS-908
func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"a":[1,{"b":"\u0041"}],"c":null}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		root, err := Parse(body)
		var flat Flat
		if other := flat.Parse(body, Limits{MaxBytes, MaxValues}); (err == nil) != (other == nil) {
			t.Fatalf("the tree: %v, flat: %v", err, other)
		}
		if err != nil {
			return
		}

		same(t, &flat, 0, root)
		walk(root, func(v *Value) {
			if string(body[v.From:v.To()]) != v.Raw {
				t.Fatalf("%q stands elsewhere", v.Raw)
			}
		})
	})
}

func walk(v *Value, visit func(*Value)) {
	visit(v)
	for i := range v.Items {
		walk(&v.Items[i], visit)
	}
}

func BenchmarkParse5KB(b *testing.B) {
	var s strings.Builder
	s.WriteString(`{"resourceType":"Patient","name":[`)
	for i := 0; s.Len() < 5000; i++ {
		fmt.Fprintf(&s, `{"use":"official","family":"Family%d","given":["A","B"],"period":{"start":"2020-01-01"}},`, i)
	}
	s.WriteString(`{}]}`)
	body := []byte(s.String())
	b.SetBytes(int64(len(body)))

	b.ReportAllocs()
	for b.Loop() {
		if _, err := Parse(body); err != nil {
			fmt.Fprintln(os.Stderr, err)
			b.FailNow()
		}
	}
}
