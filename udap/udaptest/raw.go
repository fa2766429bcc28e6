package udaptest

import (
	"crypto/x509"
	"testing"

	"fhirdest.example/udap/forge"
)

// Raw signs any header and payload bytes, right or wrong.
type Raw forge.Raw

// Sign returns the compact form of exactly these bytes.
func (r Raw) Sign(t testing.TB, header, payload []byte) string {
	t.Helper()
	compact, err := forge.Raw(r).Sign(header, payload)
	must(t, err)
	return compact
}

// SignInput signs two segments as they are and appends the third.
func (r Raw) SignInput(t testing.TB, input string) string {
	t.Helper()
	compact, err := forge.Raw(r).SignInput(input)
	must(t, err)
	return compact
}

// Segment is unpadded base64url.
func Segment(b []byte) string { return forge.Segment(b) }

// Header returns a plain header with alg and x5c.
func Header(alg string, chain ...*x509.Certificate) []byte {
	return forge.Header(alg, chain...)
}

// HeaderWith returns a header with further members, which replace alg and x5c.
func HeaderWith(alg string, more map[string]any, chain ...*x509.Certificate) []byte {
	return forge.HeaderWith(alg, more, chain...)
}

// Signature signs bytes in the form of a JWS signature.
func (r Raw) Signature(t testing.TB, input []byte) []byte {
	t.Helper()
	sig, err := forge.Raw(r).Signature(input)
	must(t, err)
	return sig
}
