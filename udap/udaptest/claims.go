package udaptest

import (
	"crypto/x509"
	"testing"
	"time"

	"fhirdest.example/udap/forge"
	"fhirdest.example/udap/trace"
)

// Claims are the claims of a JWT before it is signed. Setting a member to
// Absent leaves it out.
type Claims map[string]any

// Absent as a value leaves a claim out.
var Absent = forge.Absent

// With returns a copy with one member changed.
func (c Claims) With(name string, value any) Claims {
	return Claims(forge.Claims(c).With(name, value))
}

// JSON encodes the claims.
func (c Claims) JSON(t testing.TB) []byte {
	t.Helper()
	b, err := forge.Claims(c).JSON()
	must(t, err)
	return b
}

// Statement returns the claims of a good software statement for
// client_credentials.
func (c *Client) Statement(now time.Time) Claims {
	return Claims(forge.Statement(c.URI, Registration, now))
}

// Interactive returns the claims of a good software statement for
// authorization_code.
func (c *Client) Interactive(now time.Time) Claims {
	return Claims(forge.Interactive(c.URI, Registration, now))
}

// B2B returns a good hl7-b2b object.
func B2B() map[string]any { return forge.B2B() }

// Assertion returns the claims of a good authentication token.
func Assertion(id trace.ClientID, now time.Time) Claims {
	return Claims(forge.Assertion(id, Token, now))
}

// JTI returns a new identifier.
func JTI() string { return forge.JTI() }

// Sign signs claims with the client's key and chain.
func (c *Client) Sign(t testing.TB, claims Claims) string {
	t.Helper()
	return c.SignChain(t, claims, c.Chain...)
}

// SignChain signs claims with the client's key and puts another chain into x5c.
// The first certificate need not be the key's.
func (c *Client) SignChain(t testing.TB, claims Claims, chain ...*x509.Certificate) string {
	t.Helper()
	compact, err := (*forge.Client)(c).SignChain(forge.Claims(claims), chain...)
	must(t, err)
	return compact
}
