package oauth_test

import (
	"strings"
	"testing"

	"fhirdest.example/server/oauth"
	"fhirdest.example/udap"
	"fhirdest.example/udap/udaptest"
)

// Under explain: client one refusal has every mistake that can be seen, the
// first as its error; the operator's setting shows none of them.
//
// Covers: case 180
func TestRefusalListsAllMistakes(t *testing.T) {
	badB2B := udaptest.B2B()
	badB2B["purpose_of_use"] = []string{}
	for _, row := range []struct {
		name, code string
		send       func(*env, *udaptest.Client) answer
		checks     []string // in order
	}{
		{"register", "invalid_client_metadata", func(e *env, c *udaptest.Client) answer {
			claims := c.Statement(e.now()).With("scope", "system/Nope.rs")
			return e.postRegistration(e.registerBody(c.Sign(e.t, claims), map[string]any{"udap": "2"}))
		}, []string{"register.udap", "register.scope"}},
		{"statement", "invalid_software_statement", func(e *env, c *udaptest.Client) answer {
			claims := c.Statement(e.now()).With("aud", udaptest.Token).With("exp", e.now().Unix()+900).
				With("client_name", "").With("contacts", []string{"tel:1"}).With("scope", "user/*.rs")
			return e.register(c, claims)
		}, []string{
			"statement.aud", "statement.lifetime", "registration.client_name",
			"registration.contacts", "register.scope",
		}},
		{"parameters", "invalid_client_metadata", func(e *env, c *udaptest.Client) answer {
			return e.register(c, c.Statement(e.now()).With("contacts", []string{"tel:1"}).With("scope", "openid"))
		}, []string{"registration.contacts", "register.scope"}},
		{"token", "invalid_grant", func(e *env, c *udaptest.Client) answer {
			id := e.registered(c)
			claims := udaptest.Assertion(id, e.now()).With("extensions", map[string]any{udap.B2BKey: badB2B})
			return e.token(c, claims, "scope", "system/*.cruds")
		}, []string{"b2b.purpose_of_use", "token.scope"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			for _, explain := range []oauth.Explain{oauth.ExplainClient, oauth.ExplainOperator} {
				e := newEnv(t, func(cfg *oauth.Config) { cfg.Explain = explain })
				c := e.client(e.w.A, udaptest.Client1URI)
				a := row.send(e, c)
				if a.status != 400 {
					t.Fatalf("%d %s", a.status, a.body)
				}
				e.checkRefusal(row.name, a, row.code)
				description, rest := a.text("error_description"), a.text("error_description")

				for i, check := range row.checks {
					_, after, found := strings.Cut(rest, check+": ")
					if found != (explain == oauth.ExplainClient) || i == 0 && found &&
						!strings.HasPrefix(description, check) {
						t.Errorf("%s found %v in %q", check, found, description)
					}
					rest = after
				}
			}
		})
	}
}

// What one answer explains is bounded.
//
// Covers: case 120
func TestExplanationIsBounded(t *testing.T) {
	e, c, id := clientEnv(t)
	b2b := udaptest.B2B()
	b2b["purpose_of_use"] = []string{strings.Repeat("x", 3000) + "\u00e4"}
	a := e.token(c, udaptest.Assertion(id, e.now()).With("extensions", map[string]any{udap.B2BKey: b2b}), "scope",
		strings.Repeat("user/Nope.rs?x=\u00e4 ", 900)+"x")
	if a.status != 400 || len(a.body) > 20_000 {
		t.Errorf("%d, %d bytes", a.status, len(a.body))
	}
	e.checkRefusal("long", a, "invalid_grant")
}
