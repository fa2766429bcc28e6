package forge

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"maps"
	"time"

	"fhirdest.example/udap"
	"fhirdest.example/udap/trace"
)

// Claims are the claims of a JWT before it is signed. Setting a member to
// Absent leaves it out.
type Claims map[string]any

type absent struct{}

// Absent as a value leaves a member out.
var Absent = absent{}

// With returns a copy with one member changed.
func (c Claims) With(name string, value any) Claims {
	out := maps.Clone(c)
	if out == nil {
		out = Claims{}
	}
	if value == Absent {
		delete(out, name)
	} else {
		out[name] = value
	}

	return out
}

// JSON encodes the claims.
func (c Claims) JSON() ([]byte, error) { return json.Marshal(c) }

// Statement returns the claims of a good software statement of a client for
// client_credentials. audience is the registration endpoint.
func Statement(uri, audience string, now time.Time) Claims {
	return Claims{
		"iss":                        uri,
		"sub":                        uri,
		"aud":                        audience,
		"jti":                        JTI(),
		"iat":                        now.Unix(),
		"exp":                        now.Add(5 * time.Minute).Unix(),
		"client_name":                "Test client",
		"contacts":                   []string{"mailto:op@client1.test"},
		"grant_types":                []string{"client_credentials"},
		"token_endpoint_auth_method": "private_key_jwt",
		"scope":                      "system/Patient.rs system/Observation.rs",
	}
}

// Interactive returns the claims of a good software statement for
// authorization_code.
func Interactive(uri, audience string, now time.Time) Claims {
	return Statement(uri, audience, now).With("grant_types", []string{"authorization_code", "refresh_token"}).
		With("response_types", []string{"code"}).With("redirect_uris", []string{"https://client1.test/cb"}).
		With("logo_uri", "https://client1.test/logo.png").With("scope", "openid user/Patient.rs")
}

// B2B returns a good hl7-b2b object.
func B2B() map[string]any {
	return map[string]any{
		"version":           "1",
		"organization_id":   "https://client1.test/org",
		"organization_name": "Test organisation",
		"purpose_of_use":    []string{"urn:oid:2.16.840.1.113883.5.8#TREAT"},
	}
}

// Assertion returns the claims of a good authentication token. audience is the
// token endpoint.
func Assertion(id trace.ClientID, audience string, now time.Time) Claims {
	return Claims{
		"iss":        string(id),
		"sub":        string(id),
		"aud":        audience,
		"jti":        JTI(),
		"iat":        now.Unix(),
		"exp":        now.Add(5 * time.Minute).Unix(),
		"extensions": map[string]any{udap.B2BKey: B2B()},
	}
}

// JTI returns a new identifier.
func JTI() string {
	var b [16]byte
	_, _ = rand.Read(b[:])
	return hex.EncodeToString(b[:])
}
