package tree

import (
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// Get gives the member of that name, or nil. It is safe on nil and on values
// that are not objects, so that look-ups chain.
func (v *Value) Get(name string) *Value {
	if v == nil || v.Kind != Object {
		return nil
	}

	for i := range v.Items {
		if v.Items[i].Name == name {
			return &v.Items[i]
		}
	}

	return nil
}

// At follows member names from v; nil when one is missing.
func (v *Value) At(names ...string) *Value {
	for _, n := range names {
		v = v.Get(n)
	}
	return v
}

// Each gives the items of an array, or the value itself when it is not one;
// nothing for nil. It lets callers treat 0..1 and 0..* elements alike.
func (v *Value) Each() []Value {
	switch {
	case v == nil:
		return nil
	case v.Kind == Array:
		return v.Items
	}
	return []Value{*v}
}

// Text gives the text of a string, unescaped; "" for nil and every other kind.
func (v *Value) Text() string {
	if v == nil || v.Kind != String {
		return ""
	}
	return unquote(v.Raw)
}

// Literal gives a primitive as FHIR writes it: a string's text, or the bytes
// of a number or boolean; "" for nil, null, objects and arrays.
func (v *Value) Literal() string {
	if v == nil {
		return ""
	}

	switch v.Kind {
	case String:
		return unquote(v.Raw)
	case Number, True, False:
		return v.Raw
	}

	return ""
}

// To is the offset just after the value in the body.
func (v *Value) To() int { return v.From + len(v.Raw) }

// unquote decodes a valid JSON string; without escapes it copies nothing.
func unquote(quoted string) string {
	inner := quoted[1 : len(quoted)-1]
	if strings.IndexByte(inner, '\\') < 0 {
		return inner
	}

	text, err := jsontext.AppendUnquote(nil, quoted)
	if err != nil {
		return ""
	}
	return string(text)
}
