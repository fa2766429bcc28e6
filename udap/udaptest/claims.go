package udaptest

import (
	"crypto/rand"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"testing"
	"time"

	"fhirdest.example/udap"
	"fhirdest.example/udap/jose"
	"fhirdest.example/udap/trace"
)

// Claims are the claims of a JWT before it is signed. Setting a member to
// Absent leaves it out.
type Claims map[string]any

type absent struct{}

// Absent as a value leaves a claim out.
var Absent = absent{}

// With returns a copy with one member changed.
func (c Claims) With(name string, value any) Claims {
	out := Claims{}
	for k, v := range c {
		out[k] = v
	}
	if value == Absent {
		delete(out, name)
	} else {
		out[name] = value
	}
	return out
}

// JSON writes the claims.
func (c Claims) JSON(t testing.TB) []byte {
	t.Helper()
	b, err := json.Marshal(c)
	must(t, err)
	return b
}

// Statement returns the claims of a good software statement for
// client_credentials.
func (c *Client) Statement(now time.Time) Claims {
	return Claims{
		"iss": c.URI, "sub": c.URI, "aud": Registration, "jti": JTI(),
		"iat": now.Unix(), "exp": now.Add(5 * time.Minute).Unix(),
		"client_name": "Test client", "contacts": []string{"mailto:op@client1.test"},
		"grant_types": []string{"client_credentials"}, "token_endpoint_auth_method": "private_key_jwt",
		"scope": "system/Patient.rs system/Observation.rs",
	}
}

// Interactive returns the claims of a good software statement for
// authorization_code.
func (c *Client) Interactive(now time.Time) Claims {
	return c.Statement(now).With("grant_types", []string{"authorization_code", "refresh_token"}).
		With("response_types", []string{"code"}).With("redirect_uris", []string{"https://client1.test/cb"}).
		With("logo_uri", "https://client1.test/logo.png").With("scope", "openid user/Patient.rs")
}

// B2B returns a good hl7-b2b object.
func B2B() map[string]any {
	return map[string]any{
		"version": "1", "organization_id": "https://client1.test/org", "organization_name": "Test organisation",
		"purpose_of_use": []string{"urn:oid:2.16.840.1.113883.5.8#TREAT"},
	}
}

// Assertion returns the claims of a good authentication token.
func Assertion(id trace.ClientID, now time.Time) Claims {
	return Claims{
		"iss": string(id), "sub": string(id), "aud": Token, "jti": JTI(),
		"iat": now.Unix(), "exp": now.Add(5 * time.Minute).Unix(),
		"extensions": map[string]any{udap.B2BKey: B2B()},
	}
}

// JTI makes a new identifier.
func JTI() string {
	var b [16]byte
	_, _ = rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

// Sign signs claims with the client's key and chain.
func (c *Client) Sign(t testing.TB, claims Claims) string {
	t.Helper()
	return c.SignChain(t, claims, c.Chain...)
}

// SignChain signs claims with the client's key and puts another chain into x5c.
// The first certificate need not be the key's.
func (c *Client) SignChain(t testing.TB, claims Claims, chain ...*x509.Certificate) string {
	t.Helper()
	return Raw{
		Alg: jose.AlgorithmFor(c.Key.Public()),
		Key: c.Key,
	}.Sign(t, Header(jose.AlgorithmFor(c.Key.Public()), chain...), claims.JSON(t))
}
