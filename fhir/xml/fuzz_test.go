package xml

import (
	"bytes"
	stdxml "encoding/xml"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"unicode"

	"fhirdest.example/fhir/table"
	"fhirdest.example/fhir/tree"
	"fhirdest.example/fhir/validate"
)

// FuzzRead: whatever is accepted becomes one JSON object, and writing that and reading
// it again changes nothing. Another parser finds the same elements, attributes and
// narrative in what was accepted and in what is written.
//
// Covers: FS-908
func FuzzRead(f *testing.F) {
	for _, body := range append(vectors(f, "accepted.txt"), odd...) {
		doc, err := Write(body, Options{})
		if err != nil {
			f.Fatal(err)
		}
		f.Add(doc)
	}

	for _, body := range attacks() {
		if len(body) < 1<<10 {
			f.Add([]byte(body))
		}
	}

	f.Fuzz(func(t *testing.T, doc []byte) {
		body, err := Read(doc)
		if err != nil {
			return
		}

		found := infoset(t, doc)
		if _, err := tree.Parse(body); err != nil {
			if depth := bytes.Count(body, []byte("{")) + bytes.Count(body, []byte("[")); depth > tree.MaxDepth {
				return // too deep for JSON
			}
			t.Fatalf("%q became %q: %v", doc, body, err)
		}

		again, err := Write(body, Options{})
		if err != nil {
			t.Fatalf("%q became %q, which cannot be written: %v", doc, body, err)
		}
		back, err := Read(again)
		if err != nil || !bytes.Equal(back, body) {
			t.Fatalf("%q became %q, then %q, then %q: %v", doc, body, again, back, err)
		}
		if written := infoset(t, again); written != found {
			t.Fatalf("%q became %q:\n%s\nthen\n%s", doc, again, found, written)
		}
	})
}

// infoset returns what the standard library's parser finds in a document: its
// elements, their attributes, and the text of narratives.
func infoset(t *testing.T, doc []byte) string {
	t.Helper()
	var b strings.Builder
	dec := stdxml.NewDecoder(bytes.NewReader(bytes.TrimPrefix(doc, []byte("\ufeff"))))
	for {
		token, err := dec.Token()
		if err == io.EOF {
			return b.String()
		}
		if err != nil {
			t.Fatalf("%q is not well-formed: %v", doc, err)
		}

		switch token := token.(type) {
		case stdxml.StartElement:
			fmt.Fprintf(&b, "<%s %s%s>", token.Name.Space, token.Name.Local, attributesOf(token))
		case stdxml.EndElement:
			fmt.Fprintf(&b, "</%s>", token.Name.Local)
		case stdxml.CharData:
			if text := strings.TrimSpace(string(token)); text != "" {
				fmt.Fprintf(&b, "%q", text)
			}
		}
	}
}

// attributesOf lists an element's attributes but for declarations of namespaces. That
// parser does not make spaces of line breaks in values.
func attributesOf(e stdxml.StartElement) string {
	var all []string
	for _, a := range e.Attr {
		if a.Name.Space != "xmlns" && a.Name.Local != "xmlns" {
			value := strings.Map(func(r rune) rune {
				if unicode.IsSpace(r) {
					return ' '
				}
				return r
			}, a.Value)
			all = append(all, fmt.Sprintf(" %s=%q", a.Name.Local, value))
		}
	}
	slices.Sort(all)
	return strings.Join(all, "")
}

// FuzzWrite: whatever package validate accepts can be written, as XML that another
// parser reads, and comes back the same.
func FuzzWrite(f *testing.F) {
	for _, body := range append(vectors(f, "accepted.txt"), odd...) {
		f.Add(body)
	}
	v := validate.New(table.R4())

	f.Fuzz(func(t *testing.T, body []byte) {
		root, err := tree.Parse(body)
		if err != nil || !validate.OK(v.Resource(root, validate.Options{})) {
			return
		}
		infoset(t, bothWays(t, body))
	})
}
