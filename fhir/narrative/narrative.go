// Package narrative checks the XHTML of a resource's text by a white list. It
// refuses and never repairs: what is stored and shown is what was checked
// (FHIR R4, narrative.html; invariants txt-1 and txt-2).
package narrative

import (
	"errors"
	"fmt"
	"strings"
)

// Namespace is what the outer div must declare.
const Namespace = "http://www.w3.org/1999/xhtml"

// maxDepth bounds elements inside each other, maxSize the whole text in bytes.
const (
	maxDepth = 64
	maxSize  = 4 << 20
)

// Check gives nil when div is one well-formed XHTML div that holds something
// to read and nothing but what the white list allows. The error names what was
// found and, if it is inside, the byte. IDs found in it are given
// to seen, when that is not nil; they must be unique in the resource.
func Check(div string, seen func(id string) (first bool)) error {
	if len(div) > maxSize {
		return fmt.Errorf("the narrative is longer than %d bytes", maxSize)
	}

	if at := strings.IndexFunc(div, notXML); at >= 0 {
		return fmt.Errorf(
			"the narrative holds a character that XML does not have (at byte %d)",
			at,
		)
	}

	s := scanner{
		src:  div,
		seen: seen,
	}
	if err := s.document(); err != nil {
		return fmt.Errorf("%w (at byte %d of the narrative)", err, s.at)
	}
	if !s.content {
		return errors.New("the narrative shows nothing: it has neither text nor an image")
	}

	return nil
}

// scanner reads a small part of XML 1.0: elements, attributes, text, the five
// named entities, character references and comments. Everything else is
// refused by not being there.
type scanner struct {
	src     string
	at      int
	from    int // where the last attribute's value begins
	open    []string
	content bool
	seen    func(string) bool
	link    func(from, to int, value string) // of each href and src; may be nil
}

func (s *scanner) document() error {
	s.space()
	if !strings.HasPrefix(s.src[s.at:], "<div") {
		return errors.New("the narrative does not begin with <div")
	}
	if err := s.markup(); err != nil {
		return err
	}

	for len(s.open) > 0 {
		if err := s.next(); err != nil {
			return err
		}
	}

	if s.space(); s.at < len(s.src) {
		return errors.New("something follows the narrative's div")
	}
	return nil
}

// next reads one piece of what an element holds.
func (s *scanner) next() error {
	switch rest := s.src[s.at:]; {
	case rest == "":
		return fmt.Errorf("<%s> is not closed", s.open[len(s.open)-1])
	case strings.HasPrefix(rest, "</"):
		return s.close()
	case strings.HasPrefix(rest, "<!--"):
		return s.comment()
	case rest[0] == '<':
		return s.markup()
	}

	end := strings.IndexByte(s.src[s.at:], '<')
	if end < 0 {
		end = len(s.src) - s.at
	}
	raw := s.src[s.at : s.at+end]
	text, err := s.decode(raw)
	if err == nil && strings.Contains(raw, "]]>") { // XML 1.0, 2.4
		err = errors.New("]]> is not allowed in a text")
	}
	if err != nil {
		return err
	}

	if strings.TrimSpace(text) != "" {
		s.content = true
	}
	s.at += end
	return nil
}

// markup reads an opening tag.
func (s *scanner) markup() error {
	s.at++
	name := s.name()
	allowed, known := elements[name]
	switch {
	case name == "":
		return errors.New("declarations, CDATA and processing instructions are not allowed")
	case !known:
		return fmt.Errorf("the element <%s> is not allowed", name)
	case len(s.open) >= maxDepth:
		return fmt.Errorf("elements are nested more than %d deep", maxDepth)
	}

	if err := s.attributes(name, allowed); err != nil {
		return err
	}

	if name == "img" {
		s.content = true
	}
	if strings.HasPrefix(s.src[s.at:], "/>") {
		s.at += 2
		return nil
	}
	if !strings.HasPrefix(s.src[s.at:], ">") {
		return fmt.Errorf("the tag <%s> does not end", name)
	}

	s.at++
	s.open = append(s.open, name)
	return nil
}

// attributes reads an element's attributes up to the end of its tag.
func (s *scanner) attributes(element, allowed string) error {
	var names []string
	for {
		spaced := s.space()
		if s.at >= len(s.src) || s.src[s.at] == '>' || s.src[s.at] == '/' {
			break
		}

		name := s.name()
		value, err := s.value()
		switch {
		case name == "" || !spaced:
			return fmt.Errorf("the tag <%s> is not well-formed", element)
		case err != nil:
			return err
		case has(names, name):
			return fmt.Errorf("<%s> has the attribute %s twice", element, name)
		}

		names = append(names, name)
		if s.link != nil && (name == "href" || name == "src") {
			s.link(s.from, s.at-1, value)
		}
		if err := s.attribute(element, allowed, name, value); err != nil {
			return err
		}
	}

	if len(s.open) == 0 && !has(names, "xmlns") {
		return errors.New("the narrative's div does not declare the XHTML namespace")
	}
	return nil
}

func has(names []string, name string) bool {
	for _, n := range names {
		if n == name {
			return true
		}
	}
	return false
}

// attribute checks one attribute.
func (s *scanner) attribute(element, allowed, name, value string) error {
	switch {
	case name == "xmlns":
		if value != Namespace {
			return fmt.Errorf("the namespace %.60q is not XHTML's", value)
		}
	case !has(strings.Fields(allowed), name) && !has(strings.Fields(everywhere), name):
		return fmt.Errorf("the attribute %s is not allowed on <%s>", name, element)
	case name == "id" && s.seen != nil && !s.seen(value):
		return fmt.Errorf("the id %.64q is used twice in the resource", value)

	case name == "style":
		return checkStyle(value)
	case name == "href":
		return checkLink(value)
	case name == "src":
		return checkImage(value)
	case name == "cite", name == "longdesc":
		return checkLink(value)
	}

	return nil
}

// close reads a closing tag, which must fit the one that is open.
func (s *scanner) close() error {
	s.at += 2
	name := s.name()
	s.space()
	if !strings.HasPrefix(s.src[s.at:], ">") {
		return fmt.Errorf("the tag </%s> does not end", name)
	}
	if open := s.open[len(s.open)-1]; name != open {
		return fmt.Errorf("<%s> is closed by </%s>", open, name)
	}

	s.at++
	s.open = s.open[:len(s.open)-1]
	return nil
}

// comment reads a comment. One that begins with > or -> ends there for a browser that
// reads the narrative as HTML: the rest would be markup to it.
func (s *scanner) comment() error {
	rest := s.src[s.at+4:]
	end := strings.Index(rest, "--")
	if end < 0 || !strings.HasPrefix(rest[end:], "-->") {
		return errors.New("a comment is not well-formed")
	}
	if strings.HasPrefix(strings.TrimPrefix(rest[:end+1], "-"), ">") {
		return errors.New("a comment that HTML ends where it begins is not allowed")
	}

	s.at += 4 + end + 3
	return nil
}

// name reads an XML name of ASCII letters, digits, hyphens and colons: no
// other occurs in the white list.
func (s *scanner) name() string {
	from := s.at
	for s.at < len(s.src) {
		c := s.src[s.at]
		letter := 'a' <= c|0x20 && c|0x20 <= 'z'
		if !letter && (s.at == from || c != '-' && c != ':' && (c < '0' || c > '9')) {
			break
		}
		s.at++
	}

	return s.src[from:s.at]
}

// value reads ="..." or ='...' and decodes it.
func (s *scanner) value() (string, error) {
	s.space()
	if !strings.HasPrefix(s.src[s.at:], "=") {
		return "", errors.New("an attribute has no value")
	}

	s.at++
	s.space()
	if s.at >= len(s.src) || s.src[s.at] != '"' && s.src[s.at] != '\'' {
		return "", errors.New("an attribute's value is not quoted")
	}

	s.from = s.at + 1
	inner := s.src[s.from:]
	end := strings.IndexByte(inner, s.src[s.at])
	if end < 0 || strings.IndexByte(inner[:end], '<') >= 0 {
		return "", errors.New("an attribute's value does not end")
	}

	s.at += end + 2
	return s.decode(inner[:end])
}

// space skips white space and reports whether there was some.
func (s *scanner) space() bool {
	from := s.at
	for s.at < len(s.src) && strings.IndexByte(" \t\r\n", s.src[s.at]) >= 0 {
		s.at++
	}
	return s.at > from
}
