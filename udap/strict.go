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

// strictReader walks one JSON text once, holding every object in it to the rule
// about names. jsontext holds it to the grammar and to UTF-8; its own search
// for duplicates is off because ours finds them too.
type strictReader struct {
	d    *jsontext.Decoder
	data []byte
	left int // members that may still come
}

// parseObject reads exactly one JSON object. RFC 7515 4 lets a reader refuse
// duplicate names; readers that differ about them are how one party verifies
// what another never saw. The values are parts of data, which must not change.
func parseObject(data []byte) (object, error) {
	r := &strictReader{
		d:    jsontext.NewDecoder(bytes.NewBuffer(data), jsontext.AllowDuplicateNames(true)),
		data: data,
		left: maxJSONMembers,
	}
	t, err := r.d.ReadToken()
	if err != nil {
		return nil, err
	}
	if k := t.Kind(); k != '{' {
		return nil, fmt.Errorf("a JSON %s stands where an object belongs", kindName(k))
	}

	out := make(object, 8)
	err = r.members(1, func(name string) error {
		v, err := r.value()
		out[name] = v
		return err
	})
	if err != nil {
		return nil, err
	}
	if _, err := r.d.ReadToken(); !errors.Is(err, io.EOF) {
		return nil, errors.New("text follows the JSON object")
	}

	return out, nil
}

// value walks over the value of a member at the top and returns its text.
func (r *strictReader) value() (jsontext.Value, error) {
	start := r.d.InputOffset()
	if err := r.walk(1); err != nil {
		return nil, err
	}
	return bytes.TrimLeft(r.data[start:r.d.InputOffset()], ": \t\r\n"), nil
}

// walk reads one value that stands below depth levels.
func (r *strictReader) walk(depth int) error {
	t, err := r.d.ReadToken()
	if err != nil {
		return err
	}

	k := t.Kind()
	if k != '{' && k != '[' {
		return nil
	}
	if depth++; depth > maxJSONDepth {
		return fmt.Errorf("nested deeper than %d", maxJSONDepth)
	}
	if k == '{' {
		return r.members(depth, func(string) error { return r.walk(depth) })
	}

	for r.d.PeekKind() != ']' {
		if err := r.walk(depth); err != nil {
			return err
		}
	}

	_, err = r.d.ReadToken()
	return err
}

// members reads an object up to its closing brace and lets value consume what
// follows each name.
func (r *strictReader) members(depth int, value func(string) error) error {
	var seen nameSet
	for r.d.PeekKind() != '}' {
		quoted, err := r.d.ReadValue()
		if err != nil {
			return err
		}

		name, ok := textOf(quoted)
		if !ok {
			return errors.New("a member's name is no string")
		}
		if r.left--; r.left < 0 {
			return fmt.Errorf("more than %d members", maxJSONMembers)
		}
		if other, found := seen.add(name); found {
			return duplicate(other, name)
		}
		if err := value(name); err != nil {
			return err
		}
	}

	_, err := r.d.ReadToken()
	return err
}

func duplicate(other, name string) error {
	if other == name {
		return fmt.Errorf("the member %q is a duplicate", name)
	}
	return fmt.Errorf("members %q and %q differ in case only", other, name)
}

// nameSet is the names of one object. Few are searched one by one.
type nameSet struct {
	few  [16]struct{ key, name string }
	n    int
	many map[string]string // by key, once there are more
}

// add returns the earlier name that a careless reader may take for this one,
// or takes the name in.
func (s *nameSet) add(name string) (other string, found bool) {
	key := foldName(name)
	if s.many == nil {
		for _, f := range s.few[:s.n] {
			if f.key == key {
				return f.name, true
			}
		}

		if s.n < len(s.few) {
			s.few[s.n].key, s.few[s.n].name = key, name
			s.n++
			return "", false
		}

		s.many = make(map[string]string, 2*len(s.few))
		for _, f := range s.few {
			s.many[f.key] = f.name
		}
	}

	if other, found = s.many[key]; !found {
		s.many[key] = name
	}
	return other, found
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
