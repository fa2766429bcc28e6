package jose

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

// strictReader reads one JSON text once and checks the names of every object in
// it. jsontext checks the grammar and UTF-8; its own search for duplicates is
// off because this one finds them too.
type strictReader struct {
	d         *decoder
	data      []byte
	remaining int // members that may still follow
}

// ParseObject reads exactly one JSON object, nested at most 24 deep, with at
// most 4,096 members in all. It refuses duplicate names, as RFC 7515 4 allows:
// where two readers choose different duplicates, one verifies what the other
// never saw. The object has a copy of data.
func ParseObject(data []byte) (Object, error) {
	return parseObject(bytes.Clone(data))
}

// parseObject is ParseObject for data that never change: names and values are parts
// of them.
func parseObject(data []byte) (Object, error) {
	d := newDecoder(data)
	defer d.release()
	r := &strictReader{
		d:         d,
		data:      data,
		remaining: maxJSONMembers,
	}
	t, err := r.d.ReadToken()
	if err != nil {
		return nil, err
	}
	if k := t.Kind(); k != '{' {
		return nil, fmt.Errorf("a JSON %s, where an object is needed", kindName(k))
	}

	out := make(Object, 8)
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

// value reads the value of a member of the outermost object and returns its text.
func (r *strictReader) value() (jsontext.Value, error) {
	start := r.d.InputOffset()
	if err := r.walk(1); err != nil {
		return nil, err
	}
	return bytes.TrimLeft(r.data[start:r.d.InputOffset()], ": \t\r\n"), nil
}

// walk reads one value that is nested depth levels deep.
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

// members reads an object up to its closing brace. It calls value after each
// name; value must read what follows.
func (r *strictReader) members(depth int, value func(string) error) error {
	var seen nameSet
	for r.d.PeekKind() != '}' {
		quoted, err := r.d.ReadValue()
		if err != nil {
			return err
		}

		name, err := r.name(quoted)
		if err != nil {
			return err
		}
		if r.remaining--; r.remaining < 0 {
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

// name returns the name that was read last.
func (r *strictReader) name(quoted jsontext.Value) (string, error) {
	if quoted.Kind() != '"' {
		return "", errors.New("the name of a member is not a string")
	}

	if bytes.IndexByte(quoted, '\\') < 0 {
		end := int(r.d.InputOffset())
		return textOf(r.data[end-len(quoted)+1 : end-1]), nil
	}

	b, err := jsontext.AppendUnquote(nil, quoted)
	return string(b), err
}

func duplicate(other, name string) error {
	if other == name {
		return fmt.Errorf("the member %q is a duplicate", name)
	}
	return fmt.Errorf("members %q and %q differ in case only", other, name)
}

// nameSet holds the names of one object: the first few in an array, which is
// searched in order, and all of them in a map as soon as there are more.
type nameSet struct {
	first [16]struct{ key, name string }
	n     int
	many  map[string]string // by key, once there are more
}

// add adds a name, or returns the earlier name that a careless reader could
// confuse with it.
func (s *nameSet) add(name string) (other string, found bool) {
	key := foldName(name)
	if s.many == nil {
		for _, f := range s.first[:s.n] {
			if f.key == key {
				return f.name, true
			}
		}

		if s.n < len(s.first) {
			s.first[s.n].key, s.first[s.n].name = key, name
			s.n++
			return "", false
		}

		s.many = make(map[string]string, 2*len(s.first))
		for _, f := range s.first {
			s.many[f.key] = f.name
		}
	}

	if other, found = s.many[key]; !found {
		s.many[key] = name
	}
	return other, found
}

// foldName returns the same text for all names that a careless reader could
// confuse.
func foldName(s string) string {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return strings.ToLower(strings.ToUpper(s)) // catches ſ and the Kelvin sign too
		}
	}
	return strings.ToLower(s)
}
