package xml

import (
	"bytes"
	stdxml "encoding/xml"
	"io"
	"testing"

	"fhirdest.example/fhir/table"
	"fhirdest.example/fhir/tree"
	"fhirdest.example/fhir/validate"
)

// FuzzRead: whatever is accepted is well-formed for another parser too, becomes one
// JSON object, and writing that and reading it again changes nothing.
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

		wellFormed(t, doc)
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
	})
}

// wellFormed has the standard library's parser read a document.
func wellFormed(t *testing.T, doc []byte) {
	t.Helper()
	dec := stdxml.NewDecoder(bytes.NewReader(bytes.TrimPrefix(doc, []byte("\ufeff"))))
	for {
		_, err := dec.Token()
		if err == io.EOF {
			return
		}
		if err != nil {
			t.Fatalf("%q is not well-formed: %v", doc, err)
		}
	}
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
		wellFormed(t, bothWays(t, body))
	})
}
