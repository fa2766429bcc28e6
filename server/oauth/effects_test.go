package oauth_test

import (
	"testing"

	"fhirdest.example/udap/trace"
	"fhirdest.example/udap/udaptest"
)

// A decision names what came of it and the token that it was about, by its id; one that
// was refused had no effect.
//
// Covers: FS-206, FS-410
func TestDecisionsNameTheirEffect(t *testing.T) {
	e, c, id := clientEnv(t)
	if tr := e.lastTrace(); tr.Effect != trace.Registered || tr.Address != "127.0.0.1" || tr.ClientID != id {
		t.Errorf("the registration: %+v", tr)
	}

	token := e.issued(c, id)
	tokenID := e.lastTrace().Token
	if len(tokenID) != 16 {
		t.Errorf("the id of the token: %q", tokenID)
	}

	for _, row := range []struct {
		name   string
		do     func() answer
		status int
		effect trace.Effect
		token  string
	}{
		{"change", func() answer { return e.register(c, c.Statement(e.now())) }, 200, trace.Changed, ""},
		{"another token", func() answer { return e.token(c, udaptest.Assertion(id, e.now())) }, 200, trace.Issued, "any"},
		{"no scope of ours", func() answer {
			return e.token(c, udaptest.Assertion(id, e.now()), "scope", "system/Device.rs")
		}, 400, "", ""},
		{"introspect", func() answer {
			return e.tell("/oauth/introspect", c, id, token)
		}, 200, trace.Introspected, tokenID},
		{"introspect none of ours", func() answer {
			return e.tell("/oauth/introspect", c, id, "none")
		}, 200, trace.Introspected, ""},
		{"introspect unproved", func() answer {
			return e.tell("/oauth/introspect", c, id, token, "client_assertion", "-")
		}, 400, "", ""},
		{"revoke", func() answer { return e.tell("/oauth/revoke", c, id, token) }, 200, trace.Revoked, tokenID},
		{"cancel", func() answer {
			return e.register(c, c.Statement(e.now()).With("grant_types", []string{}))
		}, 200, trace.Cancelled, ""},
		{"cancel again", func() answer {
			return e.register(c, c.Statement(e.now()).With("grant_types", []string{}))
		}, 400, "", ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			a := row.do()
			tr := e.lastTrace()
			named := tr.Token == row.token || row.token == "any" && tr.Token != ""
			if a.status != row.status || tr.Effect != row.effect || !named {
				t.Errorf("%d %s: effect %q, token %q", a.status, a.body, tr.Effect, tr.Token)
			}
		})
	}
}
