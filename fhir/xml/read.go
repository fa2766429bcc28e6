package xml

import (
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	"fhirdest.example/fhir/table"
	"fhirdest.example/fhir/tree"
)

// Read returns the JSON form of a resource in XML. A byte order mark before it is
// skipped. Errors are *tree.Error, with offsets in the XML. The caller bounds the
// body; the JSON is at most a few times as long.
func Read(body []byte) ([]byte, error) {
	r := reader{
		scanner: scanner{src: string(body)},
		out:     make([]byte, 0, len(body)),
	}
	if !utf8.Valid(body) {
		return nil, r.fail("it is not in UTF-8")
	}

	if strings.HasPrefix(r.src, "\ufeff") {
		r.at = len("\ufeff")
	}

	if err := r.document(); err != nil {
		return nil, err
	}
	return r.out, nil
}

// reader writes JSON as it reads.
type reader struct {
	scanner
	out []byte
	// values has the values of a primitive that is being read, while its ids and
	// extensions are at the end of out.
	values []byte
}

// put writes pieces of JSON.
func (r *reader) put(pieces ...string) {
	for _, p := range pieces {
		r.out = append(r.out, p...)
	}
}

func (r *reader) document() error {
	if err := r.prolog(); err != nil {
		return err
	}
	if !strings.HasPrefix(r.rest(), "<") {
		return r.fail("it does not begin with an element")
	}

	if err := r.startTag(); err != nil {
		return err
	}
	if err := r.resource(); err != nil {
		return err
	}

	if err := r.between(); err != nil {
		return err
	}
	if r.at < len(r.src) {
		return r.fail("something follows the resource")
	}

	return nil
}

// resource reads the resource that the last start tag opened.
func (r *reader) resource() error {
	t := table.R4().Resource(r.last.local)
	switch {
	case r.last.space != Namespace:
		return r.fail("<%.64s> is in the namespace %.64q, not in %q", r.last.name, r.last.space, Namespace)
	case t == nil:
		return r.fail("<%.64s> is not a resource type of FHIR R4", r.last.name)
	case len(r.last.attrs) > 0:
		return r.fail("<%.64s> has the attribute %.64s, which FHIR does not know",
			r.last.name, r.last.attrs[0].name)
	}

	r.put(`{"resourceType":"`, t.Name, `"`)
	if err := r.members(t, true); err != nil {
		return err
	}

	r.put("}")
	return nil
}

// members reads the children of the open element as members of a type; comma
// reports whether others have been written.
func (r *reader) members(t *table.Type, comma bool) error {
	last := -1
	for {
		ok, err := r.child()
		if err != nil || !ok {
			return err
		}

		m, err := r.member(t, last)
		if err != nil {
			return err
		}

		last = m.Index
		if comma {
			r.put(",")
		}
		comma = true

		if err := r.element(m); err != nil {
			return err
		}
	}
}

// member finds what the last start tag is in a type. Elements come in the order
// of the specification (FHIR R4, xml.html 2.6.1); last is the place of the one
// before.
func (r *reader) member(t *table.Type, last int) (table.Member, error) {
	name := r.last.local
	m, ok := t.Member(name)
	if !ok || m.Shadow || t.Attribute(m.Element) {
		return m, r.fail("%s has no element <%.64s>", t.Name, r.last.name)
	}

	want := Namespace
	if m.Type.Name == "xhtml" {
		want = XHTML
	}

	switch {
	case len(r.open) > tree.MaxDepth:
		return m, r.fail("elements are nested more than %d deep", tree.MaxDepth)
	case r.last.space != want:
		return m, r.fail("<%.64s> is in the namespace %.64q, not in %q", r.last.name, r.last.space, want)
	case m.Index < last:
		return m, r.fail("<%s> comes too late: it belongs before the elements that precede it", name)
	case m.Index == last:
		return m, r.fail("<%s> comes once more than %s allows", name, t.Name)
	}

	return m, nil
}

// element reads the element that the last start tag opened, with all that repeat
// it.
func (r *reader) element(m table.Member) error {
	name := r.last.local
	switch {
	case m.Type.Name == "xhtml":
		return r.div()
	case m.Type.Primitive():
		return r.primitives(name, m)
	}

	r.put(`"`, name, `":`)
	if !m.Element.Many() {
		return r.complex(m.Type)
	}

	r.put("[")
	for more := true; more; {
		if err := r.complex(m.Type); err != nil {
			return err
		}

		var err error
		if more, err = r.same(name); err != nil {
			return err
		}
		if more {
			r.put(",")
		}
	}

	r.put("]")
	return nil
}

// complex reads one value of a type with children.
func (r *reader) complex(ref *table.TypeRef) error {
	if !ref.Primitive() && ref.Of == nil {
		return r.wrapped()
	}

	r.put("{")
	comma, err := r.header(ref.Of, nil)
	if err != nil {
		return err
	}
	if err := r.members(ref.Of, comma); err != nil {
		return err
	}

	r.put("}")
	return nil
}

// wrapped reads a resource inside an element that has nothing else.
func (r *reader) wrapped() error {
	name := r.last.name
	if len(r.last.attrs) > 0 {
		return r.fail("<%.64s> has attributes, and holds a resource alone", name)
	}

	ok, err := r.child()
	if err != nil {
		return err
	}
	if !ok {
		return r.fail("<%.64s> holds no resource", name)
	}
	if err := r.resource(); err != nil {
		return err
	}

	if ok, err = r.child(); ok && err == nil {
		err = r.fail("<%.64s> holds more than one resource", name)
	}
	return err
}

// header writes the members that XML has as attributes of the last start tag, and
// reports whether there is one. The attribute value goes to value; where that is
// nil there may be none.
func (r *reader) header(t *table.Type, value *string) (comma bool, err error) {
	var id, url string
	for _, a := range r.last.attrs {
		to := (*string)(nil)
		switch m, ok := t.Member(a.name); {
		case a.name == "value" && value != nil:
			to = value
		case ok && t.Attribute(m.Element) && a.name == "id":
			to = &id
		case ok && t.Attribute(m.Element):
			to = &url
		default:
			return false, r.fail("<%.64s> has the attribute %.64s, which FHIR does not know", r.last.name, a.name)
		}

		if *to, err = unescape(a.value); err != nil {
			return false, r.fail("the attribute %s of <%.64s>: %v", a.name, r.last.name, err)
		}
		if *to == "" {
			return false, r.fail("the attribute %s of <%.64s> is empty", a.name, r.last.name)
		}
	}

	if id != "" {
		r.out = appendQuoted(append(r.out, `"id":`...), id)
	}
	if id != "" && url != "" {
		r.put(",")
	}
	if url != "" {
		r.out = appendQuoted(append(r.out, `"url":`...), url)
	}

	return id+url != "", nil
}

// primitives reads a primitive with all that repeat it: its values, and beside
// them their ids and extensions (FHIR R4, json.html 2.6.2).
func (r *reader) primitives(name string, m table.Member) error {
	run := run{
		name:   name,
		many:   m.Element.Many(),
		values: len(r.values),
		beside: len(r.out),
	}

	for more := true; more; run.count++ {
		if err := r.primitive(&run, m.Type.Name); err != nil {
			return err
		}

		more = false
		if run.many {
			var err error
			if more, err = r.same(name); err != nil {
				return err
			}
		}
	}

	r.finish(run)
	return nil
}

// run is a primitive that is being read, with all that repeat it.
type run struct {
	name   string
	many   bool
	count  int  // how many were read
	valued bool // one of them has a value
	shadow bool // one of them has an id or extensions
	values int  // where its values begin in reader.values
	beside int  // where its ids and extensions begin in reader.out
}

// beside is the type of what a primitive has beside its value.
func beside() *table.Type { return table.R4().Type("Element") }

// primitive reads one primitive.
func (r *reader) primitive(run *run, typ string) error {
	name, start := r.last.name, len(r.out)
	if run.shadow {
		r.put(",")
	}

	var value string
	at := len(r.out)
	r.put("{")
	comma, err := r.header(beside(), &value)
	if err != nil {
		return err
	}

	// Its own value must be there before those of primitives in its extensions.
	if run.count > 0 {
		r.values = append(r.values, ',')
	}
	if value == "" {
		r.values = append(r.values, "null"...)
	} else {
		r.values = appendLiteral(r.values, typ, value)
		run.valued = true
	}

	if err := r.members(beside(), comma); err != nil {
		return err
	}

	switch extended := len(r.out) > at+1; {
	case !extended && value == "":
		return r.fail("<%.64s> has neither a value nor an extension", name)
	case extended && run.shadow:
		r.put("}")
	case extended:
		before := strings.Repeat("null,", run.count)
		r.out = append(slices.Insert(r.out, at, []byte(before)...), '}')
		run.shadow = true

	case run.shadow:
		r.out = append(r.out[:at], "null"...)
	default:
		r.out = r.out[:start]
	}

	return nil
}

// finish writes the members that a run makes: the values first.
func (r *reader) finish(run run) {
	values := r.values[run.values:]
	r.values = r.values[:run.values]
	if !run.shadow {
		r.out = appendName(r.out, "", run)
		r.out = append(r.out, values...)
		if run.many {
			r.put("]")
		}
		return
	}

	var first []byte // comes before what is in out already
	if run.valued {
		first = appendName(nil, "", run)
		first = append(first, values...)
		if run.many {
			first = append(first, ']')
		}
		first = append(first, ',')
	}
	first = appendName(first, "_", run)

	r.out = slices.Insert(r.out, run.beside, first...)
	if run.many {
		r.put("]")
	}
}

// appendName writes the name of a run's member, and the bracket of its array.
func appendName(b []byte, mark string, run run) []byte {
	b = append(b, '"')
	b = append(b, mark...)
	b = append(b, run.name...)
	b = append(b, `":`...)
	if run.many {
		b = append(b, '[')
	}
	return b
}

// appendLiteral writes a value as JSON has its type. What is no number stays a
// string, which package validate refuses.
func appendLiteral(b []byte, typ, text string) []byte {
	switch typ {
	case "boolean":
		if text == "true" || text == "false" {
			return append(b, text...)
		}
	case "integer", "unsignedInt", "positiveInt", "decimal":
		if number(text) {
			return append(b, text...)
		}
	}

	return appendQuoted(b, text)
}

// number reports whether a text is a number of JSON (RFC 8259, 6), whose form is
// also that of FHIR's decimals.
func number(s string) bool {
	if strings.Trim(s, "+-.0123456789eE") != "" {
		return false
	}
	return jsontext.Value(s).IsValid()
}

func appendQuoted(b []byte, text string) []byte {
	b, _ = jsontext.AppendQuote(b, text) // the body is UTF-8
	return b
}

// div reads the narrative: its bytes stay as they are, and package validate looks
// at them.
func (r *reader) div() error {
	from, named, depth := r.last.from, r.last.named, len(r.open)
	if r.last.name != "div" {
		return r.fail("the narrative's div has the prefix of <%.64s>, which FHIR's JSON cannot have", r.last.name)
	}

	declared := ""
	if !r.last.bare {
		declared = ` xmlns="` + XHTML + `"`
	}
	if err := r.verbatim(depth); err != nil {
		return err
	}

	r.out = appendQuoted(append(r.out, `"div":`...), r.src[from:named]+declared+r.src[named:r.at])
	return nil
}

// verbatim reads to the end of the element that the last start tag opened, as the
// one at that depth.
func (s *scanner) verbatim(depth int) error {
	if err := s.texts(); err != nil {
		return err
	}

	for {
		if s.empty {
			s.close()
		}
		if len(s.open) < depth {
			return nil
		}

		end := strings.IndexByte(s.rest(), '<')
		if end < 0 {
			return s.fail("<%.64s> is not closed", s.open[len(s.open)-1].name)
		}
		if err := checkText(s.src[s.at : s.at+end]); err != nil {
			return s.fail("the narrative: %v", err)
		}

		s.at += end
		if err := s.markup(); err != nil {
			return err
		}
	}
}

// markup reads a tag or comment in the narrative.
func (s *scanner) markup() error {
	switch rest := s.rest(); {
	case strings.HasPrefix(rest, "</"):
		return s.endTag()
	case strings.HasPrefix(rest, "<!--"):
		return s.comment()
	case strings.HasPrefix(rest, "<!"), strings.HasPrefix(rest, "<?"):
		return s.between()
	}

	if err := s.startTag(); err != nil {
		return err
	}
	return s.texts()
}

// texts checks the values of the last start tag's attributes.
func (s *scanner) texts() error {
	for _, a := range s.last.attrs {
		if err := checkCharacters(a.value); err != nil {
			return s.fail("the attribute %.64s of <%.64s>: %v", a.name, s.last.name, err)
		}
	}
	return nil
}
