package label

import (
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"fhirdest.example/fhir/access"
	"fhirdest.example/fhir/search"
	"fhirdest.example/fhir/splice"
	"fhirdest.example/fhir/table"
	"fhirdest.example/fhir/tree"
)

// masking is the extension in the place of what is masked (R4
// extension-data-absent-reason.html).
const masking = `"extension":[{"url":"http://hl7.org/fhir/StructureDefinition/data-absent-reason",` +
	`"valueCode":"masked"}]`

// Redact returns a resource without the elements that must not be shown, of itself and
// of the resources in it. In the place of each is an extension, data-absent-reason
// masked; optional backbone elements are removed, because R4 has rules about what must
// be in them. The narrative, which would show what is masked, is removed; the label
// REDACTED is added to what was changed. changed is false when nothing was.
func Redact(body []byte, masks access.Masks) (out []byte, changed bool, err error) {
	if len(masks) == 0 {
		return body, false, nil
	}

	root, err := tree.ParseStored(body)
	if err != nil {
		return nil, false, err
	}

	r := redactor{masks: masks}
	if out = r.resource(nil, root); !r.changed {
		return body, false, nil
	}

	out, err = add(out, []search.Coding{redacted})
	return out, true, err
}

// redactor writes resources without what is masked.
type redactor struct {
	masks   access.Masks
	changed bool
}

// resource writes a resource. What is in it and has labels of its own gets none: only
// the outermost one may (R4 domainresource.html, dom-5).
func (r *redactor) resource(b []byte, v *tree.Value) []byte {
	typ := v.Get("resourceType").Text()
	t := table.R4().Resource(typ)
	paths := split(r.masks[typ])
	before := r.changed

	r.changed = false
	start := len(b)
	b = r.object(b, t, v, paths)
	if r.changed && v.Get("text") != nil {
		b = r.object(b[:start], t, v, append(paths, []string{narrative}))
	}

	r.changed = r.changed || before
	return b
}

// narrative is the element with the narrative, in the place of which nothing is written.
const narrative = "text"

func split(elements []string) (paths [][]string) {
	for _, e := range elements {
		paths = append(paths, strings.Split(e, "."))
	}
	return paths
}

// object writes an object of a type without what paths lead to.
func (r *redactor) object(b []byte, t *table.Type, v *tree.Value, paths [][]string) []byte {
	if v.Kind != tree.Object {
		return append(b, v.Raw...)
	}

	b = append(b, '{')
	start := len(b)
	var done []string // elements that are masked

	for i := range v.Items {
		m := &v.Items[i]
		name, member := elementOf(t, m.Name)
		below, whole := follow(paths, name)
		if whole && (name == narrative || slices.Contains(done, name)) {
			continue
		}
		if whole && removable(member) {
			r.changed = true
			continue
		}

		if len(b) > start {
			b = append(b, ',')
		}
		if whole {
			b = appendMasked(b, m, member)
			done = append(done, name)
			r.changed = true
			continue
		}

		b = appendName(b, m.Name)
		b = r.value(b, typeOf(member), m, below)
	}

	return append(b, '}')
}

// elementOf returns the name of the element that a member is of: of a choice, without
// its type.
func elementOf(t *table.Type, name string) (string, table.Member) {
	if t == nil {
		return name, table.Member{}
	}
	m, ok := t.Member(name)
	if !ok {
		return name, table.Member{}
	}
	return strings.TrimSuffix(m.Element.Name, "[x]"), m
}

func typeOf(m table.Member) *table.Type {
	if m.Type == nil || m.Shadow {
		return nil
	}
	return m.Type.Of
}

// follow returns what paths that go through an element lead to below it; whole is that
// one ends there.
func follow(paths [][]string, name string) (below [][]string, whole bool) {
	for _, p := range paths {
		switch {
		case p[0] != name:
		case len(p) == 1:
			whole = true
		default:
			below = append(below, p[1:])
		}
	}
	return below, whole
}

// value writes the value of a member: the resources in it, and without what paths lead
// to.
func (r *redactor) value(b []byte, t *table.Type, v *tree.Value, paths [][]string) []byte {
	switch {
	case v.Kind == tree.Array:
		b = append(b, '[')
		for i := range v.Items {
			if i > 0 {
				b = append(b, ',')
			}
			b = r.value(b, t, &v.Items[i], paths)
		}

		return append(b, ']')

	case v.Get("resourceType") != nil:
		return r.resource(b, v)
	case v.Kind == tree.Object && (len(paths) > 0 || holdsResource(v)):
		return r.object(b, t, v, paths)
	}

	return append(b, v.Raw...)
}

// holdsResource reports whether a resource may be somewhere in a value.
func holdsResource(v *tree.Value) bool {
	return hasMember([]byte(v.Raw), "resourceType")
}

// appendMasked writes, in the place of an element, that it is masked.
func appendMasked(b []byte, m *tree.Value, member table.Member) []byte {
	name := m.Name
	if primitive := member.Type != nil && member.Type.Of == nil; primitive && !member.Shadow {
		name = "_" + name
	}

	b = appendName(b, name)
	if m.Kind != tree.Array {
		return appendMasking(b, typeOf(member), maxMasked)
	}

	b = appendMasking(append(b, '['), typeOf(member), maxMasked)
	return append(b, ']')
}

// maxMasked bounds how deep what must be there is masked in what is masked.
const maxMasked = 4

// appendMasking writes a masked value, and in it what its type needs.
func appendMasking(b []byte, t *table.Type, depth int) []byte {
	b = append(b, "{"+masking...)
	if t == nil || depth == 0 {
		return append(b, '}')
	}

	for i := range t.Elements {
		e := &t.Elements[i]
		if e.Min == 0 || e.Choice() {
			continue
		}

		name, of := e.Name, e.Types[0].Of
		if of == nil {
			name = "_" + name
		}
		b = appendName(append(b, ','), name)
		if !e.Many() {
			b = appendMasking(b, of, depth-1)
			continue
		}

		b = append(appendMasking(append(b, '['), of, depth-1), ']')
	}

	return append(b, '}')
}

// removable reports whether a masked element is removed: an optional one that has no
// data type.
func removable(m table.Member) bool {
	return m.Element != nil && m.Element.Min == 0 && m.Type != nil && m.Type.Of != nil &&
		m.Type.Of.Kind == table.Backbone
}

func appendName(b []byte, name string) []byte {
	b, _ = jsontext.AppendQuote(b, name)
	return append(b, ':')
}

// Add returns a body with further labels; those that it has already are not added.
func Add(body []byte, labels []search.Coding) ([]byte, error) {
	if len(labels) == 0 {
		return body, nil
	}
	return add(body, labels)
}

func add(body []byte, labels []search.Coding) ([]byte, error) {
	root, err := tree.ParseStored(body)
	if err != nil {
		return nil, err
	}

	have := codings(root)
	var text []string
	for _, c := range labels {
		if !slices.Contains(have, c) {
			text = append(text, string(appendCoding(nil, c)))
		}
	}

	if len(text) == 0 {
		return body, nil
	}
	return splice.Apply(body, edit(root, strings.Join(text, ","))), nil
}

// edit puts labels, written one after another, into meta.security.
func edit(root *tree.Value, labels string) splice.Edit {
	meta := root.Get("meta")
	given := meta.Get("security")
	switch {
	case meta == nil:
		at := root.Get("resourceType").To()
		return splice.Edit{From: at, To: at, With: `,"meta":{"security":[` + labels + `]}`}
	case given != nil && len(given.Items) > 0:
		at := given.To() - 1
		return splice.Edit{From: at, To: at, With: "," + labels}
	case given != nil:
		return splice.Edit{From: given.From, To: given.To(), With: "[" + labels + "]"}

	case len(meta.Items) == 0:
		return splice.Edit{From: meta.From, To: meta.To(), With: `{"security":[` + labels + `]}`}
	}

	last := &meta.Items[len(meta.Items)-1]
	return splice.Edit{From: last.To(), To: last.To(), With: `,"security":[` + labels + `]`}
}

// AppendSecurity writes a level as meta.security of a Bundle.
func AppendSecurity(b []byte, l Level) []byte {
	b = append(b, `"security":[`...)
	return append(appendCoding(b, l.Coding()), ']')
}

func appendCoding(b []byte, c search.Coding) []byte {
	b = append(b, '{')
	if c.System != "" {
		b, _ = jsontext.AppendQuote(append(b, `"system":`...), c.System)
		b = append(b, ',')
	}
	b, _ = jsontext.AppendQuote(append(b, `"code":`...), c.Code)
	return append(b, '}')
}
