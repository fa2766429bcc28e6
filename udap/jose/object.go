package jose

import (
	"bytes"
	"fmt"
	"slices"
	"unsafe"

	"github.com/go-json-experiment/json/jsontext"

	"fhirdest.example/udap/trace"
)

// Object is one JSON object that was read strictly: valid UTF-8, one value, no
// member twice at any level, not even in another case. Values are raw, and never change:
// the texts that its methods return are parts of them.
type Object map[string]jsontext.Value

// Has reports whether the member is present, null included.
func (o Object) Has(name string) bool { _, ok := o[name]; return ok }

// Text returns a string member. ok is false if it is absent or not a string.
func (o Object) Text(name string) (s string, ok bool) {
	v := o[name]
	if v.Kind() != '"' || bytes.IndexByte(v, '\\') >= 0 {
		return Text(v)
	}
	return textOf(v[1 : len(v)-1]), true
}

// Object parses a member, which must be an object. One that is absent is an error.
func (o Object) Object(name string) (Object, error) { return parseObject(o[name]) }

// textOf returns bytes that never change as a text, without a copy.
func textOf(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// Is reports whether a member is this string.
func (o Object) Is(name, text string) bool {
	v := o[name]
	if v.Kind() != '"' || bytes.IndexByte(v, '\\') >= 0 {
		s, ok := Text(v)
		return ok && s == text
	}
	return string(v[1:len(v)-1]) == text
}

// List returns a member that is an array of strings. ok is false if it is
// absent or anything else.
func (o Object) List(name string) (list []string, ok bool) { return List(o[name]) }

// Text returns the string that a JSON value is. ok is false if it is not a string.
func Text(v jsontext.Value) (s string, ok bool) {
	if v.Kind() != '"' {
		return "", false
	}
	if bytes.IndexByte(v, '\\') < 0 {
		return string(v[1 : len(v)-1]), true
	}
	b, err := jsontext.AppendUnquote(nil, v)
	return string(b), err == nil
}

// List returns the strings of a JSON array. ok is false if the value is not an
// array or one of its elements is not a string.
func List(v jsontext.Value) (list []string, ok bool) {
	if v.Kind() != '[' {
		return nil, false
	}

	d := newDecoder(v)
	defer d.release()
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

// Elements returns the elements of a JSON array, at most limit of them.
func Elements(v jsontext.Value, limit int) ([]jsontext.Value, error) {
	if v.Kind() != '[' {
		return nil, fmt.Errorf("a JSON %s, where an array is needed", kindName(v.Kind()))
	}

	d := newDecoder(v)
	defer d.release()
	if _, err := d.ReadToken(); err != nil {
		return nil, err
	}

	var out []jsontext.Value
	for d.PeekKind() != ']' {
		e, err := d.ReadValue()
		if err != nil {
			return nil, err
		}
		if out = append(out, e.Clone()); len(out) > limit {
			return nil, fmt.Errorf("more than %d elements", limit)
		}
	}

	return out, nil
}

// Show describes a member for a finding: its kind and value, cut if long. For
// an absent member it names the one that was probably meant to be it.
func (o Object) Show(name string) string {
	v, ok := o[name]
	if !ok {
		return "no " + name + o.DidYouMean(name)
	}
	if v.Kind() == 'n' {
		return name + ": null"
	}
	return fmt.Sprintf("%s %s", kindName(v.Kind()), trace.Cut(string(v), 200))
}

// Names returns the names of the members, sorted, the first twelve of them.
func (o Object) Names() string { return o.Members()[len(membersWord):] }

const membersWord = "members "

// Members returns the word members and what Names returns.
func (o Object) Members() string {
	out := make([]string, 0, 16)
	for n := range o {
		out = append(out, trace.Cut(n, 40))
	}

	slices.Sort(out)
	if len(out) > 12 {
		out = append(out[:12], trace.Ellipsis)
	}

	var room [512]byte
	text := append(room[:0], membersWord...)
	for i, name := range out {
		if i > 0 {
			text = append(text, ", "...)
		}
		text = append(text, name...)
	}

	return string(text)
}

// Kind returns the kind of a member's value, such as object or string.
func (o Object) Kind(name string) string { return KindName(o[name]) }

// KindName returns the kind of a JSON value, such as object or string.
func KindName(v jsontext.Value) string { return kindName(v.Kind()) }

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
