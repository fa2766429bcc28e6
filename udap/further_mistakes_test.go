package udap_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"fhirdest.example/udap"
	"fhirdest.example/udap/trace"
	"fhirdest.example/udap/udaptest"
)

// checksOf are the checks that refused: the one that decides, then the further
// mistakes. Nothing passes after the first.
func checksOf(t *testing.T, tr *trace.Trace, err error) []string {
	t.Helper()
	var e *trace.Error
	if !errors.As(err, &e) {
		t.Fatalf("refused as %v", err)
	}

	out := []string{e.Check}
	for _, s := range tr.Further() {
		out = append(out, s.Check)
	}
	if tr.Code != e.Code || tr.RefusedBy != e.Check {
		t.Errorf("the trace has %s by %s, the error %s by %s", tr.Code, tr.RefusedBy, e.Code, e.Check)
	}

	return out
}

// One refusal names every mistake in claims and parameters, the first as the
// error; the trace has a refused step for each, and the code of the first.
func TestStatementWithManyMistakes(t *testing.T) {
	w := udaptest.New(t, "p256")
	c := w.Client(t, w.A.Int, udaptest.Client1URI, nil)
	for _, row := range []struct {
		name  string
		set   set
		wants []string
	}{
		{"one", set{"aud": "https://x.test/"}, []string{"statement.aud"}},
		{
			"aud, contacts, scope, name and lifetime",
			set{"aud": "https://x.test/", "contacts": []string{"op@client1.test"}, "scope": "a  b", "client_name": "",
				"exp": w.Now.Add(time.Hour).Unix()},
			[]string{
				"statement.aud", "statement.lifetime", "registration.client_name", "registration.contacts",
				"registration.scope",
			},
		},
		{
			"names and times",
			set{"iss": "https://x.test/", "exp": "soon", "iat": w.Now.Add(time.Hour).Unix() * 1000, "jti": ""},
			[]string{"statement.iss", "statement.exp", "statement.iat", "statement.jti"},
		},
		{
			"expired and issued ahead",
			set{"exp": w.Now.Add(-time.Hour).Unix(), "iat": w.Now.Add(time.Hour).Unix()},
			[]string{"statement.lifetime", "statement.exp", "statement.iat"},
		},
		{
			"no grant and much else",
			set{"grant_types": "x", "scope": 1, "token_endpoint_auth_method": "none", "tos_uri": 1},
			[]string{
				"registration.grant_types", "registration.token_endpoint_auth_method", "registration.scope",
				"registration.uris",
			},
		},
		{
			"everything of people",
			set{"grant_types": []string{"authorization_code"}},
			[]string{"registration.redirect_uris", "registration.response_types", "registration.logo_uri"},
		},
	} {
		t.Run(row.name, func(t *testing.T) {
			claims := c.Statement(w.Now)
			for k, v := range row.set {
				claims = claims.With(k, v)
			}
			_, tr, err := statement(w, c.Sign(t, claims))
			if got := checksOf(t, tr, err); !slices.Equal(got, row.wants) {
				t.Errorf("refused by %v, want %v", got, row.wants)
			}
		})
	}
}

// A statement that is not by a trusted signer says nothing about its claims.
func TestStrangersLearnNoFurtherMistakes(t *testing.T) {
	w := udaptest.New(t, "p256")
	bad := func(c *udaptest.Client) udaptest.Claims {
		return c.Statement(w.Now).With("aud", "https://x.test/").With("client_name", "").With("scope", "")
	}
	stranger := w.Client(t, w.X.Int, udaptest.Client1URI, nil)
	member := w.Client(t, w.A.Int, udaptest.Client1URI, nil)
	forged := member.Sign(t, bad(member))
	for name, compact := range map[string]string{
		"a stranger":    stranger.Sign(t, bad(stranger)),
		"bad signature": forged[:strings.LastIndex(forged, ".")+1] + udaptest.Segment(make([]byte, 64)),
	} {
		t.Run(name, func(t *testing.T) {
			_, tr, err := statement(w, compact)
			if got := checksOf(t, tr, err); len(got) != 1 {
				t.Errorf("refused by %v", got)
			}
		})
	}
}

// The mistakes of an authentication token and of its hl7-b2b object are listed
// in the same way.
func TestAssertionWithManyMistakes(t *testing.T) {
	w := udaptest.New(t, "p256")
	c := w.Client(t, w.A.Int, udaptest.Client1URI, nil)
	_, tr, err := assertion(w, c.Sign(t, udaptest.Assertion(clientID, w.Now).With("aud", "https://x.test/").
		With("exp", w.Now.Add(time.Hour).Unix()).With("jti", 1).With("scope", "a  b")))
	want := []string{"assertion.aud", "assertion.lifetime", "assertion.jti", "assertion.scope"}
	if got := checksOf(t, tr, err); !slices.Equal(got, want) {
		t.Errorf("refused by %v, want %v", got, want)
	}

	ant, _, err := assertion(w, c.Sign(t, udaptest.Assertion(clientID, w.Now).With("extensions", set{udap.B2BKey: set{
		"version": 1, "organization_id": "x", "purpose_of_use": []string{}, "subject_id": "x",
		"consent_reference": []string{"https://x.test/"},
	}})))
	if err != nil {
		t.Fatal(err)
	}
	tr = trace.NewTrace("token", w.Now)
	_, err = udap.ValidateB2B(ant, udap.Policy{}, tr)

	want = []string{"b2b.version", "b2b.organization", "b2b.purpose_of_use", "b2b.subject", "b2b.consent"}
	if got := checksOf(t, tr, err); !slices.Equal(got, want) {
		t.Errorf("refused by %v, want %v", got, want)
	}
}
