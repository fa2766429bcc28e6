package xml

import (
	"bytes"
	"slices"

	"github.com/go-json-experiment/json/jsontext"

	"fhirdest.example/fhir/table"
	"fhirdest.example/fhir/tree"
)

// entries are those of a Bundle, not yet parsed; nil when the resource is another
// one, or has been parsed whole.
type entries []jsontext.Value

// whole is the longest Bundle that is parsed at once.
const whole = 1 << 16

// document parses a body and writes it. A long Bundle is parsed without its entries,
// with an empty one in their place.
func (w *writer) document(body []byte) error {
	if len(body) > whole && bytes.Contains(body[:whole], []byte(`"Bundle"`)) {
		list, at, err := findEntries(body)
		if err != nil {
			return err
		}
		if len(list) > 0 {
			body = slices.Concat(body[:at.from], []byte(`[{}]`), body[at.to:])
			w.entries = list
		}
	}

	if err := w.parse(body); err != nil {
		return err
	}
	return w.resource(0)
}

// parse reads what is stored, or an entry around it.
func (w *writer) parse(body []byte) error {
	return w.values.Parse(body, tree.Limits{
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
func (w *writer) bundled(ref *table.TypeRef) error {
	outer, list := w.place, w.entries
	w.place, w.entries = &place{}, nil
	defer func() { w.place = outer }()

	for _, raw := range list {
		if err := w.parse(raw); err != nil {
			return err
		}
		if err := w.complex("entry", ref, 0); err != nil {
			return err
		}
	}
	return nil
}
