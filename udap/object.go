package udap

import (
	"bytes"
	"fmt"

	"github.com/go-json-experiment/json/jsontext"

	"fhirdest.example/udap/trace"
)

// object is one JSON object, taken apart strictly: valid UTF-8, one value, no
// member twice at any level, not even in another case. Values are raw.
type object map[string]jsontext.Value

// has reports whether the member is present, null included.
func (o object) has(name string) bool { _, ok := o[name]; return ok }

// text returns a string member. ok is false when it is absent or no string.
func (o object) text(name string) (s string, ok bool) { return textOf(o[name]) }

// list returns a member that is an array of strings; nil when it is not.
func (o object) list(name string) (list []string, ok bool) { return listOf(o[name]) }

func textOf(v jsontext.Value) (string, bool) {
	if v.Kind() != '"' {
		return "", false
	}
	if bytes.IndexByte(v, '\\') < 0 {
		return string(v[1 : len(v)-1]), true
	}
	b, err := jsontext.AppendUnquote(nil, v)
	return string(b), err == nil
}

func listOf(v jsontext.Value) ([]string, bool) {
	if v.Kind() != '[' {
		return nil, false
	}

	d := jsontext.NewDecoder(bytes.NewBuffer(v))
	if _, err := d.ReadToken(); err != nil {
		return nil, false
	}

	out := []string{}
	for d.PeekKind() != ']' {
		t, err := d.ReadToken()
		if err != nil || t.Kind() != '"' {
			return nil, false
		}
		out = append(out, t.String())
	}

	return out, true
}

// shown describes a member for a finding: its value when short, else its kind.
func (o object) shown(name string) string {
	v, ok := o[name]
	if !ok {
		return "no " + name + o.didYouMean(name)
	}
	if v.Kind() == 'n' {
		return name + ": null"
	}
	return fmt.Sprintf("%s %s", kindName(v.Kind()), trace.Cut(string(v), 200))
}

func kindName(k jsontext.Kind) string {
	switch k {
	case '{':
		return "object"
	case '[':
		return "array"
	case '"':
		return "string"
	case '0':
		return "number"

	case 't', 'f':
		return "boolean"
	case 'n':
		return "null"
	}

	return "nothing"
}
