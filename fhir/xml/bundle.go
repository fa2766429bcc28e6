package xml

import (
	"bytes"
	"slices"

	"github.com/go-json-experiment/json/jsontext"

	"fhirdest.example/fhir/tree"
)

// entries are those of a Bundle, not yet parsed; nil when the resource is another
// one, or its tree has all.
type entries []jsontext.Value

// whole is the longest Bundle whose tree is made at once.
const whole = 1 << 16

// parse returns the tree of a body. That of a long Bundle lacks its entries, and
// has an empty one in their place.
func parse(body []byte) (*tree.Value, entries, error) {
	if len(body) <= whole || !bytes.Contains(body[:whole], []byte(`"Bundle"`)) {
		root, err := parsed(body)
		return root, nil, err
	}

	list, at, err := findEntries(body)
	if err != nil {
		return nil, nil, err
	}
	if len(list) == 0 {
		root, err := parsed(body)
		return root, nil, err
	}

	shell := slices.Concat(body[:at.from], []byte(`[{}]`), body[at.to:])
	root, err := parsed(shell)
	return root, list, err
}

// parsed returns the tree of what is stored, or of an entry around it.
func parsed(body []byte) (*tree.Value, error) {
	return tree.ParseWithin(body, tree.Limits{
		Bytes:  len(body),
		Values: 2 * tree.MaxValues,
	})
}

type span struct{ from, to int }

// findEntries returns the entries of a Bundle, and where their array is; none for
// another resource.
func findEntries(body []byte) (list entries, at span, err error) {
	dec := jsontext.NewDecoder(bytes.NewBuffer(body))
	if _, err := dec.ReadToken(); err != nil {
		return nil, at, err
	}

	typ := ""
	for dec.PeekKind() == '"' {
		name, err := dec.ReadToken()
		if err != nil {
			return nil, at, err
		}

		member := name.String()
		if member == "entry" && dec.PeekKind() == '[' {
			if list, at.from, err = items(dec, body); err != nil {
				return nil, at, err
			}
			at.to = int(dec.InputOffset())
			continue
		}

		value, err := dec.ReadValue()
		if err != nil {
			return nil, at, err
		}
		if member == "resourceType" {
			typ = string(value)
		}
	}

	if typ != `"Bundle"` {
		return nil, at, nil
	}
	return list, at, nil
}

// items reads the items of an array in a body, and where the array begins.
func items(dec *jsontext.Decoder, body []byte) (list entries, from int, err error) {
	if _, err := dec.ReadToken(); err != nil {
		return nil, 0, err
	}

	from = int(dec.InputOffset()) - 1
	for dec.PeekKind() != ']' {
		v, err := dec.ReadValue()
		if err != nil {
			return nil, 0, err
		}
		to := int(dec.InputOffset())
		list = append(list, body[to-len(v):to])
	}

	_, err = dec.ReadToken()
	return list, from, err
}

// bundled writes the entries of a long Bundle, one after the other.
func (w *writer) bundled(s slot) error {
	list := w.entries
	w.entries = nil
	for _, raw := range list {
		v, err := parsed(raw)
		if err != nil {
			return err
		}
		if err := w.complex("entry", s.Type, v); err != nil {
			return err
		}
	}

	return nil
}
