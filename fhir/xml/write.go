package xml

import (
	"errors"
	"fmt"
	"strings"
	"sync"

	"fhirdest.example/fhir/table"
	"fhirdest.example/fhir/tree"
)

// Options shape what Write makes. The zero value is without bounds and line
// breaks.
type Options struct {
	Pretty bool // each element outside the narrative has a line of its own
	Limit  int  // most bytes, 0 for any number
}

// ErrTooLong is a resource whose XML is longer than Options.Limit.
var ErrTooLong = errors.New("xml: the resource in XML is longer than the limit")

// Write returns the XML form of a resource in JSON, without an XML declaration.
// Errors are ErrTooLong, and what is wrong with a body that package validate would
// refuse. A Bundle is written entry by entry, so that only the values of one are in
// memory.
func Write(body []byte, o Options) ([]byte, error) {
	at, ok := scratch.Get().(*place)
	if !ok {
		at = &place{}
	}
	defer at.release()

	w := writer{
		place:  at,
		out:    make([]byte, 0, len(body)+len(body)/2),
		pretty: o.Pretty,
		limit:  o.Limit,
	}
	if err := w.document(body); err != nil {
		return nil, err
	}
	if w.over() {
		return nil, ErrTooLong
	}
	return w.out, nil
}

// place is what a writer works on. It is used again for the next resource.
type place struct {
	values tree.Flat
	slots  []slot // members of the objects that are being written
}

var scratch sync.Pool

func (p *place) release() {
	p.values.Forget()
	p.slots = p.slots[:0]
	scratch.Put(p)
}

type writer struct {
	*place
	out     []byte
	pretty  bool
	limit   int
	depth   int
	entries entries
}

func (w *writer) over() bool { return w.limit > 0 && len(w.out) > w.limit }

// slot is a member of an object with what its name means.
type slot struct {
	table.Member
	value int
}

// none is where a value would be.
const none = -1

// before reports whether XML has a before b: by their places in the definition,
// a value before the ids and extensions beside it.
func (a slot) before(b slot) bool {
	if a.Index != b.Index {
		return a.Index < b.Index
	}
	return !a.Shadow && b.Shadow
}

// put writes pieces of XML.
func (w *writer) put(pieces ...string) {
	for _, p := range pieces {
		w.out = append(w.out, p...)
	}
}

// line begins a line in the pretty form.
func (w *writer) line() {
	if w.pretty && len(w.out) > 0 {
		w.put("\n", strings.Repeat("  ", w.depth))
	}
}

// begin writes the beginning of a start tag.
func (w *writer) begin(name string) error {
	if w.over() {
		return ErrTooLong
	}
	w.line()
	w.put("<", name)
	return nil
}

// enter ends the start tag; leave ends the element, or makes the start tag the
// whole of it when nothing was written since.
func (w *writer) enter() (at int) {
	w.put(">")
	w.depth++
	return len(w.out)
}

func (w *writer) leave(name string, at int) {
	w.depth--
	if len(w.out) == at {
		w.out = append(w.out[:at-1], "/>"...)
		return
	}
	w.line()
	w.put("</", name, ">")
}

// resource writes a resource; the outermost declares the namespace.
func (w *writer) resource(v int) error {
	name := w.values.Text(w.values.Get(v, "resourceType"))
	t := table.R4().Resource(name)
	if t == nil {
		return fmt.Errorf("xml: %.64q is not a resource type of FHIR R4", name)
	}

	if err := w.begin(t.Name); err != nil {
		return err
	}
	if w.depth == 0 {
		w.put(` xmlns="`, Namespace, `"`)
	}

	at := w.enter()
	if err := w.members(v, t); err != nil {
		return err
	}
	w.leave(t.Name, at)
	return nil
}

// members writes the members of an object that are elements in XML.
func (w *writer) members(v int, t *table.Type) error {
	base := len(w.slots)
	for i, end := w.values.Members(v); i < end; i = w.values.Next(i) {
		name := w.values.Name(i)
		m, ok := t.Member(name)
		switch {
		case ok && !t.Attribute(m.Element):
			w.insert(base, slot{m, i})
		case ok, t.Kind == table.Resource && name == "resourceType":
		default:
			return fmt.Errorf("xml: %s has no element %.64q", t.Name, name)
		}
	}

	for i := base; i < len(w.slots); i++ {
		s, beside := w.slots[i], none
		if i+1 < len(w.slots) && w.slots[i+1].Index == s.Index {
			i++
			if next := w.slots[i]; next.Type != s.Type || s.Shadow || !next.Shadow {
				return fmt.Errorf("xml: %s has %s twice", t.Name, s.Element.Name)
			}
			beside = w.slots[i].value
		}
		if s.Shadow {
			s.value, beside = none, s.value
		}
		if err := w.element(s, beside); err != nil {
			return err
		}
	}

	w.slots = w.slots[:base]
	return nil
}

// insert puts a slot in its place among those from base on. Most bodies have
// their members in order; a type has so few that others cost little.
func (w *writer) insert(base int, s slot) {
	w.slots = append(w.slots, s)
	for i := len(w.slots) - 1; i > base && s.before(w.slots[i-1]); i-- {
		w.slots[i-1], w.slots[i] = w.slots[i], w.slots[i-1]
	}
}

// element writes an element, once for each of its values. Beside has the ids and
// extensions of a primitive.
func (w *writer) element(s slot, beside int) error {
	name := w.name(s.value, beside)
	switch {
	case s.Type.Name == "xhtml":
		return w.div(w.values.Text(s.value))
	case s.Type.Primitive():
		return w.primitives(name, s.value, beside)
	case w.depth == 1 && w.entries != nil && name == "entry":
		return w.bundled(s.Type)
	}

	for v, end := w.values.Items(s.value); v < end; v = w.values.Next(v) {
		if err := w.complex(name, s.Type, v); err != nil {
			return err
		}
	}
	return nil
}

// name is the name of an element, which both forms share.
func (w *writer) name(value, beside int) string {
	if value != none {
		return w.values.Name(value)
	}
	return strings.TrimPrefix(w.values.Name(beside), "_")
}

// complex writes one value of a type with children.
func (w *writer) complex(name string, ref *table.TypeRef, v int) error {
	if w.values.Kind(v) != tree.Object {
		return fmt.Errorf("xml: %s is not an object", name)
	}
	if err := w.begin(name); err != nil {
		return err
	}

	if ref.Of == nil {
		at := w.enter()
		if err := w.resource(v); err != nil {
			return err
		}
		w.leave(name, at)
		return nil
	}

	if err := w.attribute("id", w.values.Get(v, "id")); err != nil {
		return err
	}
	if ref.Name == "Extension" {
		if err := w.attribute("url", w.values.Get(v, "url")); err != nil {
			return err
		}
	}

	at := w.enter()
	if err := w.members(v, ref.Of); err != nil {
		return err
	}
	w.leave(name, at)
	return nil
}

func (w *writer) attribute(name string, v int) error {
	if v == none {
		return nil
	}

	w.put(" ", name, `="`)
	switch w.values.Kind(v) {
	case tree.String:
		w.out = appendText(w.out, w.values.Raw(v))
	case tree.Number, tree.True, tree.False:
		w.put(w.values.Raw(v))
	default:
		return fmt.Errorf("xml: %s is not a primitive", name)
	}
	w.put(`"`)
	return nil
}

// primitives writes the values of a primitive with what is beside each.
func (w *writer) primitives(name string, values, beside int) error {
	value, end := w.values.Items(values)
	extra, last := w.values.Items(beside)
	for value < end || extra < last {
		one, more := none, none
		if value < end {
			one = w.filled(value)
			value = w.values.Next(value)
		}
		if extra < last {
			more = w.filled(extra)
			extra = w.values.Next(extra)
		}
		if one == none && more == none {
			return fmt.Errorf("xml: %s has a place that is empty", name)
		}

		if err := w.primitive(name, one, more); err != nil {
			return err
		}
	}

	return nil
}

// filled returns a place in an array, or none for one that null keeps free.
func (w *writer) filled(v int) int {
	if w.values.Kind(v) == tree.Null {
		return none
	}
	return v
}

// primitive writes a primitive, with its id and extensions, where it has some.
func (w *writer) primitive(name string, value, extra int) error {
	if extra != none && w.values.Kind(extra) != tree.Object {
		return fmt.Errorf("xml: what is beside %s is not an object", name)
	}
	if err := w.begin(name); err != nil {
		return err
	}

	if err := w.attribute("id", w.values.Get(extra, "id")); err != nil {
		return err
	}
	if err := w.attribute("value", value); err != nil {
		return err
	}

	at := w.enter()
	if extra != none {
		if err := w.members(extra, beside()); err != nil {
			return err
		}
	}
	w.leave(name, at)
	return nil
}

// div writes the narrative as it is. That it is one whole div is looked at once
// more: it is not escaped.
func (w *writer) div(text string) error {
	text = strings.Trim(text, " \t\r\n")
	s := scanner{src: text}
	if !strings.HasPrefix(text, "<div") {
		return errors.New("xml: the narrative is not a div")
	}

	if err := s.startTag(); err != nil {
		return err
	}
	if s.last.name != "div" || s.last.space != XHTML {
		return errors.New("xml: the narrative is not a div of XHTML")
	}
	if err := s.verbatim(1); err != nil {
		return err
	}
	if s.at != len(text) {
		return errors.New("xml: something follows the narrative")
	}

	w.line()
	w.put(text)
	return nil
}
