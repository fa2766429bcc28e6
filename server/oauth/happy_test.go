package oauth_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"fhirdest.example/certs"
	"fhirdest.example/udap/udaptest"
)

// Covers: S1-004, S1-005, S1-068, S1-105, S1-110, S1-111, S1-113, S1-184, S1-229, S1-284,
// S1-285, S1-287, S2-09, S2-15, case 118, case 163, case 164, case 178
func TestRegisterAndToken(t *testing.T) {
	for _, kind := range []certs.KeyKind{"p256", "rsa2048"} {
		t.Run(string(kind), func(t *testing.T) { testRegisterAndToken(t, newEnvOf(t, kind)) })
	}
}

func testRegisterAndToken(t *testing.T, e *env) {
	c := e.client(e.w.A, udaptest.Client1URI)
	claims := c.Statement(e.now())
	jws := c.Sign(t, claims)
	a := e.send("POST", "/oauth/register", "application/json", e.registerBody(jws, nil), nil)
	if a.status != 201 || a.text("software_statement") != jws || len(a.text("client_id")) < 22 {
		t.Fatalf("registration: %d %s", a.status, a.body)
	}
	var m map[string]any
	if err := json.Unmarshal(a.body, &m); err != nil {
		t.Fatal(err)
	}

	for k, v := range m {
		empty, isList := v.([]any)
		if slices.Contains([]string{
			"iss", "sub", "aud", "exp", "iat", "jti",
		}, k) || v == nil || v == "" || isList && len(empty) == 0 {
			t.Errorf("member %s: %v", k, v)
		}
	}

	for _, k := range []string{"client_secret", "registration_access_token", "client_secret_expires_at"} {
		if _, given := m[k]; given {
			t.Errorf("the client got a %s", k)
		}
	}

	for _, k := range []string{"client_name", "contacts", "grant_types", "token_endpoint_auth_method", "scope"} {
		if m[k] == nil {
			t.Errorf("no %s in the response", k)
		}
	}

	id := e.registered(c)
	if string(id) != a.text("client_id") {
		t.Errorf("registered again: %s, then %s", a.text("client_id"), id)
	}
	b := e.token(c, udaptest.Assertion(id, e.now()))
	if b.status != 200 || b.text("token_type") != "Bearer" || b.member("expires_in") != 3600.0 ||
		b.text("scope") != "system/Patient.rs" || b.member("refresh_token") != nil {
		t.Fatalf("token: %d %s", b.status, b.body)
	}

	access, err := e.bearer(b.text("access_token"))
	if err != nil || access.ClientID != id || access.Client != udaptest.Client1URI ||
		!slices.Equal(access.Scope, []string{"system/Patient.rs"}) ||
		len(access.Scopes) != 1 || !slices.Equal(access.Purposes, []string{"urn:oid:2.16.840.1.113883.5.8#TREAT"}) {
		t.Fatalf("bearer: %+v, %v", access, err)
	}

	if strings.Contains(e.dump(), b.text("access_token")) {
		t.Error("the token's text is in the file")
	}
	e.advance(time.Hour)
	if _, err := e.bearer(b.text("access_token")); err == nil {
		t.Error("good after an hour")
	}
}
