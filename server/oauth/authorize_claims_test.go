package oauth_test

import (
	"fmt"
	"strings"
	"testing"

	"fhirdest.example/server/oauth"
	"fhirdest.example/udap/udaptest"
)

// A subject that is asked for by the parameter claims is the only one who can grant;
// other wishes in it are left unanswered, and what is no JSON is refused.
//
// Covers: S1-261, S1-262
func TestRequestedSubject(t *testing.T) {
	p := newPeople(t)
	a := p.app(udaptest.Client1URI)
	subject := func(of, value string) string {
		return fmt.Sprintf(`{%q:{"sub":{"value":%q},"name":null}}`, of, value)
	}
	for _, claims := range []string{
		subject("id_token", "person-1"), subject("userinfo", "person-1"), `{}`, `{"id_token":{"name":null}}`,
		`{"id_token":{"sub":null},"userinfo":null}`, `{"id_token":{"sub":{"essential":true}}}`,
	} {
		a.code("claims", claims)
	}

	for name, row := range map[string]struct{ claims, want string }{
		"another person":             {subject("id_token", "person-2"), "login_required"},
		"another person in userinfo": {subject("userinfo", "person-2"), "login_required"},
		"two people": {
			`{"id_token":{"sub":{"value":"person-1"}},"userinfo":{"sub":{"value":"person-2"}}}`, "invalid_request",
		},
		"no JSON":      {`id_token`, "invalid_request"},
		"a list":       {`[]`, "invalid_request"},
		"a name twice": {`{"id_token":{},"id_token":{}}`, "invalid_request"},
		"very long":    {subject("id_token", strings.Repeat("x", 5000)), "invalid_request"},
	} {
		t.Run(name, func(t *testing.T) {
			v := p.redirected(p.browse("GET", a.query("claims", row.claims).Encode()), redirectURI)
			if v.Get("error") != row.want || v.Has("code") {
				t.Errorf("%v", v)
			}
		})
	}

	hint := p.secret(a.redeem(a.code()).text("id_token"))
	p.change(func() { p.edit = func(a *oauth.Approval) { a.Person.Subject = "person-2" } })
	both := a.query("id_token_hint", hint, "claims", subject("id_token", "person-2"))
	if v := p.redirected(p.browse("GET", both.Encode()), redirectURI); v.Get("error") != "invalid_request" {
		t.Errorf("a hint and claims about different people: %v", v)
	}
}
