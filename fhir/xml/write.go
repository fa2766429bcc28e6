package xml

import (
	"errors"
	"fmt"
	"strings"

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
// refuse. A Bundle is written entry by entry, so that its whole tree is never in
// memory.
func Write(body []byte, o Options) ([]byte, error) {
	w := writer{
		out:    make([]byte, 0, len(body)+len(body)/2),
		pretty: o.Pretty,
		limit:  o.Limit,
	}

	root, entries, err := parse(body)
	if err != nil {
		return nil, err
	}

	w.entries = entries
	if err := w.resource(root); err != nil {
		return nil, err
	}
	if w.over() {
		return nil, ErrTooLong
	}

	return w.out, nil
}

type writer struct {
	out     []byte
	pretty  bool
	limit   int
	depth   int
	slots   []slot // members of the objects that are being written
	entries entries
}

func (w *writer) over() bool { return w.limit > 0 && len(w.out) > w.limit }

// slot is a member of an object with what its name means.
type slot struct {
	table.Member
	value *tree.Value
}

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
func (w *writer) resource(v *tree.Value) error {
	t := table.R4().Resource(v.Get("resourceType").Text())
	if t == nil {
		return fmt.Errorf("xml: %.64q is not a resource type of FHIR R4", v.Get("resourceType").Text())
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
func (w *writer) members(v *tree.Value, t *table.Type) error {
	base := len(w.slots)
	for i := range v.Items {
		m, ok := t.Member(v.Items[i].Name)
		switch {
		case ok && !t.Attribute(m.Element):
			w.insert(base, slot{m, &v.Items[i]})
		case ok, t.Kind == table.Resource && v.Items[i].Name == "resourceType":
		default:
			return fmt.Errorf("xml: %s has no element %.64q", t.Name, v.Items[i].Name)
		}
	}

	for i := base; i < len(w.slots); i++ {
		s, beside := w.slots[i], slot{}
		if i+1 < len(w.slots) && w.slots[i+1].Index == s.Index {
			i++
			beside = w.slots[i]
		}
		if beside.value != nil && (beside.Type != s.Type || s.Shadow) {
			return fmt.Errorf("xml: %s has %s twice", t.Name, s.Element.Name)
		}

		if s.Shadow {
			s, beside = slot{Member: s.Member}, s
		}
		if err := w.element(s, beside.value); err != nil {
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
func (w *writer) element(s slot, beside *tree.Value) error {
	name := jsonName(s, beside)
	switch {
	case s.Type.Name == "xhtml":
		return w.div(s.value.Text())
	case s.Type.Primitive():
		return w.primitives(name, s.value.Each(), beside.Each())
	case w.depth == 1 && w.entries != nil && name == "entry":
		return w.bundled(s)
	}

	list := s.value.Each()
	for i := range list {
		if err := w.complex(name, s.Type, &list[i]); err != nil {
			return err
		}
	}

	return nil
}

// jsonName is the name of an element, which both forms share.
func jsonName(s slot, beside *tree.Value) string {
	if s.value != nil {
		return s.value.Name
	}
	return strings.TrimPrefix(beside.Name, "_")
}

// complex writes one value of a type with children.
func (w *writer) complex(name string, ref *table.TypeRef, v *tree.Value) error {
	if v.Kind != tree.Object {
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

	w.attribute("id", v.Get("id"))
	if ref.Name == "Extension" {
		w.attribute("url", v.Get("url"))
	}
	at := w.enter()
	if err := w.members(v, ref.Of); err != nil {
		return err
	}

	w.leave(name, at)
	return nil
}

func (w *writer) attribute(name string, v *tree.Value) {
	if v == nil {
		return
	}

	w.out = append(append(append(w.out, ' '), name...), `="`...)
	if v.Kind == tree.String {
		w.out = appendText(w.out, v.Raw)
	} else {
		w.out = append(w.out, v.Literal()...)
	}

	w.out = append(w.out, '"')
}

// primitives writes the values of a primitive with what is beside each.
func (w *writer) primitives(name string, values, beside []tree.Value) error {
	for i := range max(len(values), len(beside)) {
		var value, extra *tree.Value
		if i < len(values) && values[i].Kind != tree.Null {
			value = &values[i]
		}
		if i < len(beside) && beside[i].Kind != tree.Null {
			extra = &beside[i]
		}
		if value == nil && extra == nil {
			return fmt.Errorf("xml: %s has a place that is empty", name)
		}

		if err := w.primitive(name, value, extra); err != nil {
			return err
		}
	}

	return nil
}

func (w *writer) primitive(name string, value, extra *tree.Value) error {
	if value != nil && (value.Kind == tree.Object || value.Kind == tree.Array) ||
		extra != nil && extra.Kind != tree.Object {
		return fmt.Errorf("xml: %s is not a primitive", name)
	}
	if err := w.begin(name); err != nil {
		return err
	}

	w.attribute("id", extra.Get("id"))
	w.attribute("value", value)
	at := w.enter()
	if extra != nil {
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
