package udap

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// Bounds of one JSON object inside a JWT.
const (
	maxJSONDepth   = 24
	maxJSONMembers = 4096
)

// object is one JSON object, taken apart strictly: valid UTF-8, one value, no
// member twice at any level, not even in another case. Values are raw.
type object map[string]jsontext.Value

// parseObject reads exactly one JSON object. RFC 7515 4 lets a reader refuse
// duplicate names; readers that differ about them are how one party verifies
// what another never saw.
func parseObject(data []byte) (object, error) {
	d := jsontext.NewDecoder(bytes.NewBuffer(data))
	if k := d.PeekKind(); k != '{' {
		if k == 0 {
			_, err := d.ReadToken()
			return nil, err
		}
		return nil, fmt.Errorf("a JSON %s stands where an object belongs", kindName(k))
	}
	if _, err := d.ReadToken(); err != nil {
		return nil, err
	}
	out := object{}
	left := maxJSONMembers
	if err := readMembers(d, 1, &left, func(name string) error {
		v, err := d.ReadValue()
		out[name] = v.Clone()
		return err
	}); err != nil {
		return nil, err
	}
	if _, err := d.ReadToken(); !errors.Is(err, io.EOF) {
		return nil, errors.New("text follows the JSON object")
	}
	for name, v := range out {
		if err := checkNested(v, &left); err != nil {
			return nil, fmt.Errorf("in %q: %w", name, err)
		}
	}
	return out, nil
}

// readMembers reads the names of an object up to its closing brace and lets
// value consume what follows each.
func readMembers(d *jsontext.Decoder, depth int, left *int, value func(string) error) error {
	if depth > maxJSONDepth {
		return fmt.Errorf("nested deeper than %d", maxJSONDepth)
	}
	folded := map[string]string{}
	for d.PeekKind() != '}' {
		t, err := d.ReadToken()
		if err != nil {
			return err
		}
		name := t.String()
		if *left--; *left < 0 {
			return fmt.Errorf("more than %d members", maxJSONMembers)
		}
		key := foldName(name)
		if other, ok := folded[key]; ok {
			return fmt.Errorf("members %q and %q differ in case only", other, name)
		}
		folded[key] = name
		if err := value(name); err != nil {
			return err
		}
	}
	_, err := d.ReadToken()
	return err
}

// foldName maps names that a careless reader may take for one another to one.
func foldName(s string) string {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return strings.ToLower(strings.ToUpper(s)) // catches ſ and the Kelvin sign too
		}
	}
	return strings.ToLower(s)
}

// checkNested applies the rule about names below the top level.
func checkNested(v jsontext.Value, left *int) error {
	if k := v.Kind(); k != '{' && k != '[' {
		return nil
	}
	d := jsontext.NewDecoder(bytes.NewBuffer(v))
	return walkValue(d, 2, left)
}

func walkValue(d *jsontext.Decoder, depth int, left *int) error {
	if depth > maxJSONDepth {
		return fmt.Errorf("nested deeper than %d", maxJSONDepth)
	}
	t, err := d.ReadToken()
	if err != nil {
		return err
	}
	switch t.Kind() {
	case '{':
		return readMembers(d, depth, left, func(string) error { return walkValue(d, depth+1, left) })
	case '[':
		for d.PeekKind() != ']' {
			if err := walkValue(d, depth+1, left); err != nil {
				return err
			}
		}
		_, err = d.ReadToken()
	}
	return err
}

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
	return fmt.Sprintf("%s %s", kindName(v.Kind()), cut(string(v), 200))
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
