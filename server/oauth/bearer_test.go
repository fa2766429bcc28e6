package oauth_test

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"net/http"
	"testing"
	"time"

	"fhirdest.example/server/oauth"
	"fhirdest.example/udap/trace"
	"fhirdest.example/udap/udaptest"
)

// stored issues a token straight into the store, as a grant for people will.
func (e *env) stored(c *udaptest.Client, id trace.ClientID, edit func(*oauth.Token)) (text string) {
	e.t.Helper()
	secret := sha256.Sum256([]byte(udaptest.JTI()))
	t := oauth.Token{
		Hash:      sha256.Sum256(secret[:]),
		ClientID:  id,
		Community: e.w.A.Community.URI,
		Client:    trace.ClientURI(c.URI),
		Scope:     []string{"system/Patient.rs"},
		Issued:    e.now(),
		Expires:   e.now().Add(time.Hour),
	}
	edit(&t)

	spend := oauth.Spend{
		Community: t.Community,
		Issuer:    string(id),
		JTI:       udaptest.JTI(),
		Since:     e.now(),
		Until:     e.now().Add(5 * time.Minute),
		Endpoint:  "token",
		Now:       e.now(),
	}
	handle, err := e.store.Issue(e.t.Context(), spend, t)
	if err != nil {
		e.t.Fatal(err)
	}

	return e.secret(base64.RawURLEncoding.EncodeToString(append(handle[:], secret[:]...)))
}

// Covers: case 230
func TestBearerHeaders(t *testing.T) {
	e, c, id := clientEnv(t)
	token := e.issued(c, id)
	for _, row := range []struct {
		name      string
		headers   []string
		code      trace.Code
		status    int
		challenge string
	}{
		{"none", nil, trace.InvalidToken, 401, `Bearer realm="fhir"`},
		{
			"two", []string{"Bearer " + token, "Bearer " + token}, trace.InvalidRequest, 400,
			`Bearer error="invalid_request"`,
		},
		{"Basic", []string{"Basic " + token}, trace.InvalidToken, 401, `Bearer realm="fhir"`},
		{"DPoP", []string{"DPoP " + token}, trace.InvalidToken, 401,
			`DPoP error="invalid_token", algs="RS256 ES256 RS384 ES384"`},
		{"no scheme", []string{token}, trace.InvalidToken, 401, `Bearer realm="fhir"`},
		{"empty", []string{""}, trace.InvalidToken, 401, `Bearer realm="fhir"`},
		{"no token", []string{"Bearer"}, trace.InvalidToken, 401, `Bearer error="invalid_token"`},
		{"one", []string{"Bearer " + token}, "", 0, ""},
		{"lower case", []string{"bearer " + token}, "", 0, ""},
		{"two spaces", []string{"Bearer  " + token}, "", 0, ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			access, err := e.svc.BearerRequest(dataRequest(row.headers...), nil)
			if row.code == "" {
				if err != nil || access.ClientID != id {
					t.Errorf("%+v, %v", access, err)
				}
				return
			}

			var got *oauth.Refusal
			if !errors.As(err, &got) || got.Of.Code != row.code || got.Status != row.status ||
				got.Header.Get("WWW-Authenticate") != row.challenge || got.Trace != e.lastTrace().ID {
				t.Errorf("%+v, %v", got, err)
			}
		})
	}
}

// A token has the person, the patient and the key that its grant gave it. One
// that is bound to a key is no bearer token (RFC 9449 7.1).
func TestTokenContext(t *testing.T) {
	e, c, id := clientEnv(t)
	token := e.stored(c, id, func(t *oauth.Token) { t.Subject, t.Patient = "person-1", "pat-1" })
	access, err := e.bearer(token)
	if err != nil || access.Subject != "person-1" || access.Patient != "pat-1" || access.Confirmation != "" {
		t.Fatalf("%+v, %v", access, err)
	}
	if a := e.tell("/oauth/introspect", c, id, token); a.text("sub") != "person-1" || a.text("patient") != "pat-1" {
		t.Errorf("introspection: %s", a.body)
	}

	bound := e.stored(c, id, func(t *oauth.Token) { t.Confirmation = "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I" })
	_, err = e.bearer(bound)
	if got := oauth.RefusalOf(err); got.Of.Code != trace.InvalidToken || got.Status != http.StatusUnauthorized {
		t.Errorf("a bound token as a bearer token: %+v", got)
	}
}
