// Package fault is the catalogue of deliberate mistakes in software statements
// and authentication tokens. Each names the check that must catch it, so that a
// test of a server, or of a client's opposite side, can be run from the list.
package fault

import (
	"strings"
	"time"

	"fhirdest.example/udap/forge"
)

// Document is the kind of JWT in which a mistake is made.
type Document string

// The documents.
const (
	Statement Document = "statement" // a software statement, for registration
	Assertion Document = "assertion" // an authentication token
)

// At is a claim's value: a NumericDate that far from the time of the request.
type At time.Duration

// Fault is one deliberate mistake, as a change of an otherwise good document.
type Fault struct {
	Name   string
	Covers string   // ids of requirements and cases, separated by spaces
	Only   Document // the only document in which it is a mistake; empty: both

	Claims map[string]any // members of the payload; forge.Absent leaves one out
	Header map[string]any // members of the header, alg and x5c included
	Chain  Order          // certificates of x5c
	Edit   Edit           // of the signed compact form

	// Check is the check that must refuse. One that begins with a dot has the
	// document's name before it: ".aud" is statement.aud or assertion.aud.
	Check string
}

// Order is the order of the certificates in x5c.
type Order string

// The orders.
const (
	LeafFirst Order = ""
	Reversed  Order = "reversed" // as if the chain were read from the root
)

// Edit is a change of the compact form after it was signed.
type Edit string

// The edits.
const (
	None           Edit = ""
	NoSignature    Edit = "no signature"     // an empty third segment
	ZeroSignature  Edit = "a zero signature" // as long as the right one
	Padded         Edit = "padding"          // of the third segment
	LineBreak      Edit = "a line break"     // in the second segment
	FourSegments   Edit = "four segments"
	SpaceAround    Edit = "space around"
	ChangedPayload Edit = "a changed payload" // its last claim is signed for nothing
)

// In reports whether the fault is a mistake in this document.
func (f Fault) In(d Document) bool { return f.Only == "" || f.Only == d }

// CheckIn returns the name of the check that must refuse it in this document.
func (f Fault) CheckIn(d Document) string {
	if strings.HasPrefix(f.Check, ".") {
		return string(d) + f.Check
	}
	return f.Check
}

// Make returns the compact form of good claims with the mistake, signed by the
// client at the given time.
func (f Fault) Make(c *forge.Client, good forge.Claims, now time.Time) (string, error) {
	claims := good
	for name, value := range f.Claims {
		if d, ok := value.(At); ok {
			value = now.Add(time.Duration(d)).Unix()
		}
		claims = claims.With(name, value)
	}

	payload, err := claims.JSON()
	if err != nil {
		return "", err
	}

	chain := c.Chain
	if f.Chain == Reversed {
		chain = reversed(chain)
	}
	compact, err := c.Raw().Sign(forge.HeaderWith(c.Algorithm(), f.Header, chain...), payload)
	if err != nil {
		return "", err
	}

	return f.Edit.apply(compact), nil
}

func reversed[T any](list []T) []T {
	out := make([]T, 0, len(list))
	for i := len(list) - 1; i >= 0; i-- {
		out = append(out, list[i])
	}
	return out
}

func (e Edit) apply(compact string) string {
	parts := strings.Split(compact, ".")
	switch e {
	case NoSignature:
		parts[2] = ""
	case ZeroSignature:
		parts[2] = strings.Repeat("A", len(parts[2]))
	case Padded:
		parts[2] += "=="
	case LineBreak:
		parts[1] = parts[1][:8] + "\n" + parts[1][8:]

	case FourSegments:
		parts = append(parts, parts[2])
	case SpaceAround:
		return " " + compact + " "
	case ChangedPayload:
		parts[1] = forge.Segment([]byte(`{"iss":"https://evil.test/app"}`))
	}

	return strings.Join(parts, ".")
}
