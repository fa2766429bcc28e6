package search

import (
	"encoding/binary"
	"testing"

	"fhirdest.example/fhir/tree"
)

// Stored terms that are damaged, anywhere, do not stop the program that reads them.
func TestDamagedTermsAreRead(t *testing.T) {
	body := `{"resourceType":"Provenance","id":"p",` +
		`"target":[{"reference":"Patient/a"},{"reference":"Observation/b"}],` +
		`"recorded":"2026-01-01T00:00:00Z"}`
	root, err := tree.Parse([]byte(body))
	if err != nil {
		t.Fatal(err)
	}

	x := &Extractor{
		Marks: func(string, *tree.Value) Marks { return Marks{Values: []string{"1"}} },
	}
	whole, err := x.Extract("Provenance", root, Stamp{ID: "p"})
	if err != nil {
		t.Fatal(err)
	}

	readAll("Provenance", whole)
	for at := range whole {
		readAll("Provenance", whole[:at])
		for _, b := range []byte{0, 1, 2, 0x7f, 0xff} {
			damaged := append(Terms(nil), whole...)
			damaged[at] = b
			readAll("Provenance", damaged)
		}
	}

	beyond := binary.BigEndian.AppendUint16([]byte{2}, uint16(len(tables().byID)))
	readAll("Provenance", beyond)
}

// readAll reads terms in all ways.
func readAll(typ string, terms Terms) {
	References(typ, "target", terms, func(string, string) {})
	References(typ, "", terms, func(string, string) {})
	Marked(typ, terms, func(string) {})
	Patients(typ, terms, func([]byte) {})
	Tokens(typ, "agent-role", terms, func(string, string) {})

	in, _ := InCompartment("Patient", "a", typ)
	Filter{}.Or([]Clause{in}).Passes("p", terms)
	Filter{}.Or([]Clause{Unmarked(typ, "0", func(string) bool { return true })}).Passes("p", terms)
}
