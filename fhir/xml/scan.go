package xml

import (
	"fmt"
	"strings"

	"fhirdest.example/fhir/tree"
)

// Bounds of one document. Elements deeper than tree.MaxDepth fit no JSON; the
// narrative's come on top, itself included.
const (
	maxOpen       = 2*tree.MaxDepth + 1
	maxAttributes = 64
	maxBindings   = 16 // prefixes that are bound at one place
)

// Namespaces that XML itself has (Namespaces in XML 1.0, 3).
const (
	xmlSpace   = "http://www.w3.org/XML/1998/namespace"
	xmlnsSpace = "http://www.w3.org/2000/xmlns/"
)

// attribute is one attribute as it is written.
type attribute struct {
	name  string
	value string // between the quotes
}

// tag is a start tag.
type tag struct {
	name  string // with its prefix
	local string // without
	space string // its namespace
	attrs []attribute
	from  int  // offset of its <
	named int  // offset after its name
	bare  bool // it declares a default namespace itself
}

// element is one that is open.
type element struct {
	name  string
	bound int // how many bindings there were before it
}

// binding is a prefix with its namespace; the prefix "" is of the default one.
type binding struct{ prefix, space string }

// scanner reads tags and text, and holds them against the rules of well-formed
// XML with namespaces.
type scanner struct {
	src   string
	at    int
	open  []element
	bound []binding
	last  tag  // the last start tag
	empty bool // it ended with />, and its end has not been seen
	held  held
}

// held is what was read and given back: see scanner.same.
type held int

const (
	nothing held = iota
	aTag
	anEnd
)

func (s *scanner) fail(format string, args ...any) error {
	return &tree.Error{
		Code:   "structure",
		Detail: "the body is not FHIR's XML: " + fmt.Sprintf(format, args...),
		Offset: s.at,
	}
}

func (s *scanner) rest() string { return s.src[s.at:] }

// prolog reads what may come before the first element.
func (s *scanner) prolog() error {
	mark := scanner{
		src: s.src,
		at:  s.at + len("<?xml"),
	}
	if strings.HasPrefix(s.rest(), "<?xml") && mark.space() {
		if err := s.declaration(); err != nil {
			return err
		}
	}
	return s.between()
}

// declaration reads the XML declaration. FHIR is in UTF-8 whatever it claims.
func (s *scanner) declaration() error {
	end := strings.Index(s.rest(), "?>")
	if end < 0 {
		return s.fail("the XML declaration does not end")
	}

	whole := s.src[s.at : s.at+end]
	decl := scanner{
		src: whole,
		at:  len("<?xml"),
	}
	if err := decl.attributes(); err != nil {
		return err
	}

	order := ""
	for _, a := range decl.last.attrs {
		order += a.name + " "
		switch {
		case a.name == "version" && a.value == "1.0":
		case a.name == "encoding" && strings.EqualFold(a.value, "utf-8"):
		case a.name == "standalone" && (a.value == "yes" || a.value == "no"):
		default:
			return s.fail("the XML declaration may name version 1.0 and the encoding UTF-8")
		}
	}

	if !strings.HasPrefix(order, "version ") || strings.Contains(order, "standalone encoding") ||
		decl.at != len(whole) {
		return s.fail("the XML declaration is not well-formed")
	}

	s.at += end + len("?>")
	return nil
}

// between skips white space and comments between tags.
func (s *scanner) between() error {
	for {
		s.space()
		rest := s.rest()
		switch {
		case strings.HasPrefix(rest, "<!--"):
			if err := s.comment(); err != nil {
				return err
			}
		case strings.HasPrefix(rest, "<!DOCTYPE"):
			return s.fail("a document type is not allowed")
		case strings.HasPrefix(rest, "<![CDATA["):
			return s.fail("CDATA sections are not allowed")

		case strings.HasPrefix(rest, "<!"):
			return s.fail("declarations are not allowed")
		case strings.HasPrefix(rest, "<?"):
			return s.fail("processing instructions are not allowed")
		default:
			return nil
		}
	}
}

// comment reads a comment. Two hyphens end it (XML 1.0, 2.5).
func (s *scanner) comment() error {
	from := s.at + len("<!--")
	end := strings.Index(s.src[from:], "--")
	if end < 0 || !strings.HasPrefix(s.src[from+end:], "-->") {
		return s.fail("a comment is not well-formed")
	}

	for _, r := range s.src[from : from+end] {
		if !character(r) {
			return s.fail("a comment: %v", errCharacter)
		}
	}

	s.at = from + end + len("-->")
	return nil
}

// child reads up to the next start tag inside the open element, which is then
// s.last, or to the open element's end.
func (s *scanner) child() (ok bool, err error) {
	was := s.held
	s.held = nothing
	switch {
	case was == aTag:
		return true, nil
	case was == anEnd:
		return false, nil
	case s.empty:
		s.close()
		return false, nil
	}

	if err := s.between(); err != nil {
		return false, err
	}

	switch rest := s.rest(); {
	case rest == "":
		return false, s.fail("<%s> is not closed", s.open[len(s.open)-1].name)
	case strings.HasPrefix(rest, "</"):
		return false, s.endTag()
	case rest[0] == '<':
		return true, s.startTag()
	}

	return false, s.fail("<%.64s> holds text: values are in attributes", s.open[len(s.open)-1].name)
}

// same reports whether the next child is an element of FHIR with that name; what
// else comes is held back for child.
func (s *scanner) same(local string) (bool, error) {
	ok, err := s.child()
	switch {
	case err != nil:
		return false, err
	case !ok:
		s.held = anEnd
	case s.last.local == local && s.last.space == Namespace:
		return true, nil
	default:
		s.held = aTag
	}

	return false, nil
}

// startTag reads a start tag and opens its element.
func (s *scanner) startTag() error {
	if len(s.open) == maxOpen {
		return s.fail("elements are nested more than %d deep", maxOpen)
	}

	from, bound := s.at, len(s.bound)
	s.at++
	name := s.name()
	if name == "" {
		return s.fail("a tag has no name that FHIR knows")
	}

	s.last = tag{
		name:  name,
		from:  from,
		named: s.at,
		attrs: s.last.attrs[:0],
	}

	if err := s.attributes(); err != nil {
		return err
	}
	if err := s.declare(); err != nil {
		return err
	}
	if err := s.resolve(); err != nil {
		return err
	}

	s.empty = strings.HasPrefix(s.rest(), "/>")
	if s.empty {
		s.at++
	}
	if !strings.HasPrefix(s.rest(), ">") {
		return s.fail("the tag <%.64s> is not well-formed", name)
	}

	s.at++
	s.open = append(s.open, element{
		name:  name,
		bound: bound,
	})

	return nil
}

// endTag reads the end tag of the open element.
func (s *scanner) endTag() error {
	open := s.open[len(s.open)-1].name
	s.at += len("</")
	if name := s.name(); name != open {
		return s.fail("<%.64s> is closed by </%.64s>", open, name)
	}

	s.space()
	if !strings.HasPrefix(s.rest(), ">") {
		return s.fail("the tag </%.64s> is not well-formed", open)
	}

	s.at++
	s.close()
	return nil
}

// close ends the open element, and with it the namespaces that it declared.
func (s *scanner) close() {
	top := s.open[len(s.open)-1]
	s.open = s.open[:len(s.open)-1]
	s.bound = s.bound[:top.bound]
	s.empty = false
}

// attributes reads the attributes of s.last.
func (s *scanner) attributes() error {
	for {
		spaced := s.space()
		if rest := s.rest(); rest == "" || rest[0] == '>' || rest[0] == '/' {
			return nil
		}

		a := attribute{name: s.name()}
		if a.name == "" || !spaced {
			return s.fail("the attributes of <%.64s> are not well-formed", s.last.name)
		}

		var err error
		if a.value, err = s.quoted(); err != nil {
			return err
		}

		for _, other := range s.last.attrs {
			if other.name == a.name {
				return s.fail("<%.64s> has the attribute %.64s twice", s.last.name, a.name)
			}
		}

		if len(s.last.attrs) == maxAttributes {
			return s.fail("<%.64s> has more than %d attributes", s.last.name, maxAttributes)
		}
		s.last.attrs = append(s.last.attrs, a)
	}
}

// quoted reads ="..." or ='...'.
func (s *scanner) quoted() (string, error) {
	s.space()
	if !strings.HasPrefix(s.rest(), "=") {
		return "", s.fail("an attribute of <%.64s> has no value", s.last.name)
	}

	s.at++
	s.space()
	rest := s.rest()
	if rest == "" || rest[0] != '"' && rest[0] != '\'' {
		return "", s.fail("an attribute of <%.64s> has no quotes", s.last.name)
	}

	end := strings.IndexByte(rest[1:], rest[0])
	if end < 0 || strings.IndexByte(rest[1:1+end], '<') >= 0 {
		return "", s.fail("the value of an attribute of <%.64s> does not end", s.last.name)
	}

	s.at += 1 + end + 1
	return rest[1 : 1+end], nil
}

// declare binds the namespaces that s.last declares, and removes their
// declarations from its attributes (Namespaces in XML 1.0, 3).
func (s *scanner) declare() error {
	kept := s.last.attrs[:0]
	for _, a := range s.last.attrs {
		prefix, named := strings.CutPrefix(a.name, "xmlns:")
		if !named && a.name != "xmlns" {
			kept = append(kept, a)
			continue
		}

		space, err := unescape(a.value)
		if err != nil {
			return s.fail("%s of <%.64s>: %v", a.name, s.last.name, err)
		}

		if !named {
			prefix, s.last.bare = "", true
		}
		if named && !bindable(prefix, space) || !named && (space == xmlSpace || space == xmlnsSpace) {
			return s.fail("the prefix %.64q cannot be bound to %.64q", prefix, space)
		}
		if len(s.bound) == maxBindings {
			return s.fail("more than %d namespaces are declared", maxBindings)
		}

		s.bound = append(s.bound, binding{prefix, space})
	}

	s.last.attrs = kept
	return nil
}

// bindable reports whether a prefix may be bound to a namespace.
func bindable(prefix, space string) bool {
	switch {
	case prefix == "xml":
		return space == xmlSpace
	case prefix == "", prefix == "xmlns", strings.Contains(prefix, ":"):
		return false
	}
	return space != "" && space != xmlSpace && space != xmlnsSpace
}

// resolve finds the namespace of s.last, and holds the prefixes of its attributes
// against what is declared.
func (s *scanner) resolve() (err error) {
	if s.last.space, s.last.local, err = s.lookup(s.last.name); err != nil {
		return err
	}

	for _, a := range s.last.attrs {
		if strings.Contains(a.name, ":") {
			if _, _, err := s.lookup(a.name); err != nil {
				return err
			}
		}
	}

	return nil
}

// lookup splits a name into its namespace and its local part.
func (s *scanner) lookup(name string) (space, local string, err error) {
	prefix, local, prefixed := strings.Cut(name, ":")
	if !prefixed {
		prefix, local = "", name
	}
	if prefixed && (prefix == "" || local == "" || strings.Contains(local, ":")) {
		return "", "", s.fail("%.64q is not a name with one prefix", name)
	}

	for i := len(s.bound) - 1; i >= 0; i-- {
		if s.bound[i].prefix == prefix {
			return s.bound[i].space, local, nil
		}
	}

	switch prefix {
	case "":
		return "", local, nil
	case "xml":
		return xmlSpace, local, nil
	}

	return "", "", s.fail("the prefix %.64q is bound to no namespace", prefix)
}

// name reads a name of ASCII letters, digits, and the signs that XML allows: FHIR
// has no other.
func (s *scanner) name() string {
	from := s.at
	for s.at < len(s.src) {
		c := s.src[s.at]
		letter := 'a' <= c|0x20 && c|0x20 <= 'z' || c == '_' || c == ':'
		if !letter && (s.at == from || c != '-' && c != '.' && (c < '0' || c > '9')) {
			break
		}
		s.at++
	}

	return s.src[from:s.at]
}

// space skips white space and reports whether there was some.
func (s *scanner) space() bool {
	from := s.at
	for s.at < len(s.src) {
		switch s.src[s.at] {
		case ' ', '\t', '\r', '\n':
			s.at++
			continue
		}
		break
	}
	return s.at > from
}
