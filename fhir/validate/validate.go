// Package validate checks resources against HL7's R4 definitions: members,
// cardinality, choices, formats, required codes, references, narrative,
// attachments, and the invariants that need no terminology and no other
// resource.
//
// It does not check: profiles, extensions' own definitions, codes of bindings
// that are not required or whose codes HL7 does not list, what a reference
// leads to, and the invariants of types that a destination of health records
// hardly meets (ElementDefinition, StructureMap, ValueSet and other parts of
// specifications).
package validate

import (
	"fmt"
	"strconv"
	"strings"

	"fhirdest.example/fhir/splice"
	"fhirdest.example/fhir/table"
	"fhirdest.example/fhir/tree"
)

// maxIssues is how many issues one validation lists; it ends there.
const maxIssues = 50

// Severity of an issue, as OperationOutcome writes it.
type Severity string

// The severities in use. A resource with an Error is refused.
const (
	Error   Severity = "error"
	Warning Severity = "warning"
)

// Issue is one thing found, ready for an OperationOutcome.
type Issue struct {
	Severity   Severity
	Code       string // structure, required, value, invariant, code-invalid, not-supported, too-long, invalid
	Expression string // FHIRPath of the element, "Patient.contact[0].name"
	Text       string
	Rule       string // the invariant's key ("dom-3"), "" for others
}

// Options are what a caller's context allows.
type Options struct {
	// Conditional allows references of the form Type?query, which a
	// transaction replaces before it stores.
	Conditional bool
	// Types returns the type of what absolute references lead to, where the
	// caller knows more than the URL shows: entries of a transaction by their
	// fullUrls.
	Types map[string]string
}

// Validator holds the table and the rules of each type. It may be used by
// many at once.
type Validator struct {
	// StrictAttachments makes an attachment whose size or hash does not fit its
	// data an error; else it is a warning. It must be set before first use.
	StrictAttachments bool

	table *table.Table
	rules map[*table.Type][]rule
}

// New makes a validator for a table.
func New(t *table.Table) *Validator {
	v := &Validator{
		table: t,
		rules: map[*table.Type][]rule{},
	}
	for name, list := range rulesByType() {
		v.rules[t.Type(name)] = list
	}
	return v
}

// Resource checks one body that package tree has parsed, and returns what it
// found, errors and warnings in the order met; nil when all is well.
func (v *Validator) Resource(root *tree.Value, o Options) []Issue {
	w := walker{
		v:       v,
		options: o,
	}
	w.resource(root, false)
	return w.issues
}

// OK reports whether no issue is an error.
func OK(issues []Issue) bool {
	for _, i := range issues {
		if i.Severity == Error {
			return false
		}
	}
	return true
}

// walker is the state of one validation.
type walker struct {
	v       *Validator
	options Options
	issues  []Issue
	errors  int
	path    []step
	in      *resourceScope
}

// step is one part of the path to where the walker is.
type step struct {
	name  string
	index int // -1 when not in an array
}

// add records an issue at the walker's place.
func (w *walker) add(s Severity, code, rule, format string, args ...any) {
	if s == Error {
		w.errors++
	}
	if len(w.issues) < maxIssues {
		w.issues = append(w.issues, Issue{
			s, code, w.expression(), fmt.Sprintf(format, args...), rule,
		})
	}
}

func (w *walker) fail(code, format string, args ...any) {
	w.add(Error, code, "", format, args...)
}

// failAt is fail for a member of the place where the walker is.
func (w *walker) failAt(member, code, format string, args ...any) {
	w.path = append(w.path, step{member, -1})
	w.fail(code, format, args...)
	w.path = w.path[:len(w.path)-1]
}

func (w *walker) expression() string {
	var b strings.Builder
	for i, s := range w.path {
		if i > 0 {
			b.WriteByte('.')
		}
		b.WriteString(s.name)
		if s.index >= 0 {
			b.WriteString("[" + strconv.Itoa(s.index) + "]")
		}
	}

	return b.String()
}

// resource checks a resource: the body itself, or one inside another.
func (w *walker) resource(v *tree.Value, contained bool) {
	name := v.Get("resourceType").Text()
	t := w.v.table.Resource(name)
	if len(w.path) == 0 {
		w.path = append(w.path, step{name, -1})
	}
	if v.Kind != tree.Object || name == "" {
		w.fail("structure", "this is not a resource: it has no resourceType")
		return
	}
	if t == nil {
		w.fail("structure", "%.64q is not a resource type of FHIR R4", name)
		return
	}
	if contained {
		ids := w.in.ids
		w.in.ids = nil // ids of elements are unique in each resource
		w.object(v, t)
		w.in.ids = ids
		return
	}

	outer := w.in
	w.in = &resourceScope{}
	w.in.collect(v)
	w.object(v, t)
	w.in.finish(w, v)
	w.in = outer
}

// identity checks the id of a resource by its form, that of an element by its
// being the only one in the resource.
func (w *walker) identity(id *tree.Value, t *table.Type) {
	switch text := id.Text(); {
	case text == "":
	case t.Kind == table.Resource && !splice.ValidID(text):
		w.failAt("id", "value",
			"%.80q is not a valid id: 1 to 64 letters, digits, hyphens and dots are allowed", text)
	case t.Name == "ElementDefinition": // differential and snapshot name the same elements
	case t.Kind != table.Resource && !w.in.firstID(text):
		w.failAt("id", "invariant", "the id %.64q is in the resource twice", text)
	}
}

// seen notes by element which member of an object it was met as: the member's
// place counted from 1, 0 when absent.
type seen [96]uint16

// object checks an object as a type.
func (w *walker) object(v *tree.Value, t *table.Type) {
	if v.Kind != tree.Object {
		w.fail("structure", "an object is expected here, not %s", kindName(v))
		return
	}

	before := w.errors
	var s seen
	children := 0

	for i := range v.Items {
		m := &v.Items[i]
		if m.Name != "id" {
			children++
		}
		if m.Name == "resourceType" && t.Kind == table.Resource {
			continue
		}

		member, ok := t.Member(m.Name)
		if !ok {
			w.failAt(m.Name, "structure", "%s has no element of this name", t.Name)
			continue
		}
		w.element(v, i, member, &s)
	}

	if children == 0 && (t.Name != "Element" || len(v.Items) == 0) {
		w.add(Error, "structure", "ele-1", "an element is never empty")
	}
	w.identity(v.Get("id"), t)

	for i := range t.Elements {
		if e := &t.Elements[i]; e.Min > 0 && s[i] == 0 {
			w.failAt(elementName(e), "required", "%s needs this element", t.Name)
		}
	}

	if w.errors == before { // rules rely on a sound structure
		w.apply(v, t)
	}
}

// baseName is a member's name without the mark of a shadow.
func baseName(name string) string {
	return strings.TrimPrefix(name, "_")
}

// elementName is an element's name in FHIRPath.
func elementName(e *table.Element) string {
	return strings.TrimSuffix(e.Name, "[x]")
}

func kindName(v *tree.Value) string {
	switch v.Kind {
	case tree.Object:
		return "an object"
	case tree.Array:
		return "an array"
	case tree.String:
		return "a string"
	case tree.Number:
		return "a number"

	case tree.Null:
		return "null"
	}

	return "a boolean"
}

// element checks one member of an object.
func (w *walker) element(owner *tree.Value, at int, member table.Member, s *seen) {
	m, e := &owner.Items[at], member.Element
	if first := s[member.Index]; first == 0 {
		s[member.Index] = uint16(min(at, 1<<16-2) + 1)
	} else if a, b := baseName(owner.Items[first-1].Name), baseName(m.Name); a != b {
		w.failAt(elementName(e), "structure", "only one of %s and %s may be there", a, b)
		return
	}

	w.path = append(w.path, step{elementName(e), -1})
	switch {
	case !e.Many():
		w.single(m, member)
	case m.Kind != tree.Array:
		w.fail("structure", "an array is expected here, not %s", kindName(m))
	case len(m.Items) == 0:
		w.fail("structure", "an array is never empty")
	default:
		w.many(owner, m, member)
	}

	w.path = w.path[:len(w.path)-1]
}

// single checks an element of at most one value.
func (w *walker) single(m *tree.Value, member table.Member) {
	switch {
	case m.Kind == tree.Array:
		w.fail("structure", "a single value is expected here, not an array")
	case m.Kind == tree.Null:
		w.fail("structure", "null has no meaning here")
	default:
		w.value(m, member)
	}
}

// many checks the items of an array. In arrays of primitives null holds a
// place for which the array beside it has something (FHIR R4, json.html).
func (w *walker) many(owner, m *tree.Value, member table.Member) {
	last := len(w.path) - 1
	if e := member.Element; e.Max > 1 && len(m.Items) > e.Max {
		w.fail("structure", "at most %d are allowed", e.Max)
	}
	var twin *tree.Value
	if member.Type.Primitive() {
		twin = owner.Get(twinName(m.Name))
	}

	for i := range m.Items {
		w.path[last].index = i
		item := &m.Items[i]
		if item.Kind != tree.Null {
			w.value(item, member)
		} else if !member.Type.Primitive() || twin == nil || i >= len(twin.Items) ||
			twin.Items[i].Kind == tree.Null {
			w.fail("structure", "null has no meaning here")
		}
	}

	w.path[last].index = -1
	if twin != nil && twin.Kind == tree.Array && len(twin.Items) > len(m.Items) && !member.Shadow {
		w.fail("structure", "%s has more items than %s", twin.Name, m.Name)
	}
}

// twinName is the name beside a primitive's name: the other of x and _x.
func twinName(name string) string {
	if strings.HasPrefix(name, "_") {
		return name[1:]
	}
	return "_" + name
}

// value checks one value of an element.
func (w *walker) value(v *tree.Value, member table.Member) {
	ref := member.Type
	e := member.Element
	switch {
	case member.Shadow:
		w.object(v, w.v.table.Type("Element"))
	case ref.Of != nil:
		w.object(v, ref.Of)
		if e.Codes != nil {
			w.boundConcept(v, e)
		}
		if ref.Name == "Reference" {
			w.reference(v, ref)
		}

	case ref.Name == "Resource":
		w.inner(v, e)
	default:
		w.primitive(v, ref.Name, e)
	}
}

// inner checks a resource inside another. What is contained shares the
// references of its container; an entry of a Bundle has its own.
func (w *walker) inner(v *tree.Value, e *table.Element) {
	w.resource(v, e.Name == "contained")
}
