package oauth_test

import (
	"errors"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"fhirdest.example/server/oauth"
	"fhirdest.example/udap/trace"
	"fhirdest.example/udap/udaptest"
)

// Covers: case 221, case 224
func TestIntrospectionNeedsAuthentication(t *testing.T) {
	e, c, id := clientEnv(t)
	token := e.issued(c, id)
	for _, path := range []string{"/oauth/introspect", "/oauth/revoke"} {
		e.refused(path+" without", 400, "invalid_request", spendsNothing, func() answer {
			return e.post(path, url.Values{"token": {token}})
		})
		e.refused(path+" expired", 400, "invalid_client", spendsNothing, func() answer {
			form := e.form(c.Sign(t,
				udaptest.Assertion(id, e.now().Add(-time.Hour)).With("aud", issuer+path[len("/oauth"):])))
			form.Set("token", token)
			return e.post(path, form)
		})

		e.refused(path+" Bearer", 401, "invalid_client", spendsNothing, func() answer {
			return e.send("POST", path, "application/x-www-form-urlencoded", url.Values{
				"token": {token},
			}.Encode(), http.Header{
				"Authorization": {"Bearer " + token},
			})
		})

		e.refused(path+" no token", 400, "invalid_request", spendsNothing, func() answer {
			return e.tell2(path, c, id)
		})
		e.refused(path+" udap=2", 400, "invalid_request", spendsNothing, func() answer {
			return e.tell(path, c, id, token, "udap", "2")
		})
		a := e.send("GET", path+"?token="+token, "", "", nil)
		if a.status != 405 || a.header.Get("Allow") != "POST" {
			t.Errorf("GET %s: %d", path, a.status)
		}
	}

	if !e.active(c, id, token) {
		t.Error("the token is gone")
	}
}

func (e *env) tell2(path string, c *udaptest.Client, id trace.ClientID) answer {
	return e.tell(path, c, id, "", "token", "-")
}

// Covers: case 222, case 223, case 227, case 228
func TestIntrospection(t *testing.T) {
	e, c, id := clientEnv(t)
	token := e.issued(c, id)
	a := e.tell("/oauth/introspect", c, id, token)
	want := map[string]any{"active": true, "scope": "system/Patient.rs", "client_id": string(
		id), "token_type": "Bearer", "exp": float64(e.now().Unix() + 3600),
		"iat": float64(e.now().Unix()), "sub": string(id), "aud": udaptest.Base, "iss": issuer}
	for k, v := range want {
		t.Run(k, func(t *testing.T) {
			if a.member(k) != v {
				t.Errorf("%s: %v, want %v", k, a.member(k), v)
			}
		})
	}

	other := e.client(e.w.A, udaptest.Client2URI)
	otherID := e.registered(other)
	assertion := c.Sign(t, udaptest.Assertion(id, e.now()))
	expired := e.issued(c, id)

	for name, do := range map[string]func() answer{
		"another client": func() answer { return e.tell("/oauth/introspect", other, otherID, token) },
		"unknown":        func() answer { return e.tell("/oauth/introspect", c, id, strings.Repeat("A", 64)) },
		"malformed":      func() answer { return e.tell("/oauth/introspect", c, id, "x") },
		"1 MiB":          func() answer { return e.tell("/oauth/introspect", c, id, strings.Repeat("A", 1<<20)) },
		"NUL":            func() answer { return e.tell("/oauth/introspect", c, id, "\x00") },
		"an assertion":   func() answer { return e.tell("/oauth/introspect", c, id, assertion) },
		"changed":        func() answer { return e.tell("/oauth/introspect", c, id, flip(token)) },
		"handle changed": func() answer { return e.tell("/oauth/introspect", c, id, "AAAA"+token[4:]) },
	} {
		t.Run(name, func(t *testing.T) {
			if a := do(); a.status != 200 || string(a.body) != `{"active":false}` {
				t.Errorf("%s: %d %s", name, a.status, a.body)
			}
		})
	}

	for _, hint := range []string{"refresh_token", "nonsense", ""} {
		if a := e.tell("/oauth/introspect", c, id, token, "token_type_hint", hint, "udap",
			"-"); a.member("active") != true {
			t.Errorf("hint %q: %s", hint, a.body)
		}
	}

	spent := e.form(c.Sign(t, udaptest.Assertion(id, e.now()).With("aud", issuer+"/introspect")))
	spent.Set("token", token)
	e.post("/oauth/introspect", spent)
	e.refused("an assertion twice", 400, "invalid_client", spendsNothing, func() answer {
		return e.post("/oauth/introspect", spent)
	})
	e.advance(time.Hour)
	if e.active(c, id, expired) {
		t.Error("active after its end")
	}
}

// flip changes the last character of a token to another valid one.
func flip(token string) string {
	last := byte('A')
	if token[len(token)-1] == 'A' {
		last = 'B'
	}
	return token[:len(token)-1] + string(last)
}

// Covers: case 222, case 225
func TestRevocation(t *testing.T) {
	e, c, id := clientEnv(t)
	token, kept := e.issued(c, id), e.issued(c, id)
	other := e.client(e.w.A, udaptest.Client2URI)
	otherID := e.registered(other)
	if a := e.tell("/oauth/revoke", other, otherID, token); a.status != 200 || !e.active(c, id, token) {
		t.Errorf("revoked by another client: %d", a.status)
	}

	for range 2 {
		if a := e.tell("/oauth/revoke", c, id, token, "token_type_hint", "nonsense"); a.status != 200 ||
			e.active(c, id, token) {
			t.Errorf("revocation: %d %s", a.status, a.body)
		}
	}

	for _, nonsense := range []string{"x", strings.Repeat("A", 64)} {
		if a := e.tell("/oauth/revoke", c, id, nonsense); a.status != 200 {
			t.Errorf("%q: %d", nonsense, a.status)
		}
	}

	if _, err := e.bearer(token); err == nil {
		t.Error("revoked, and still good")
	}
	e.restart()
	if _, err := e.bearer(token); err == nil {
		t.Error("revoked, and good again after a restart")
	}
	if !e.active(c, id, kept) {
		t.Error("the other token went too")
	}

	e.register(c, c.Statement(e.now()).With("scope", "system/Patient.r"))
	if e.active(c, id, kept) {
		t.Error("the client has registered for less, and the wider token is still good")
	}
}

// Covers: case 226
func TestRevocationRace(t *testing.T) {
	e, c, id := clientEnv(t)
	for range 20 {
		token := e.issued(c, id)
		var revoked, late atomic.Bool
		var wg sync.WaitGroup

		for range 4 {
			wg.Go(func() {
				for range 200 {
					after := revoked.Load()
					if _, err := e.bearer(token); err == nil && after {
						late.Store(true)
					}
				}
			})
		}

		if a := e.tell("/oauth/revoke", c, id, token); a.status == 200 {
			revoked.Store(true)
		}
		wg.Wait()
		if late.Load() {
			t.Fatal("the token worked after the answer to its revocation")
		}
	}
}

// Covers: case 230
func TestBearerRefuses(t *testing.T) {
	e, c, id := clientEnv(t)
	token := e.issued(c, id)
	for _, text := range []string{
		"", "x", token[:63], token + "A", flip(token), flip(token[1:] + token[:1]),
		strings.ToUpper(token), token + "\n", " " + token, "\x00",
		c.Sign(t, udaptest.Assertion(id, e.now())),
	} {
		access, err := e.bearer(text)
		var e *trace.Error
		if access != nil || err == nil || !errors.As(err, &e) || e.Code != trace.InvalidToken {
			t.Errorf("%.30q: %+v, %v", text, access, err)
		}
	}
}

// A token that cannot be looked up is not called bad: the server says that it
// is at fault, and the trace says why.
func TestBearerWithoutStore(t *testing.T) {
	e, c, id := clientEnv(t)
	token := e.issued(c, id)
	if _, err := e.svc.BearerRequest(dataRequest("Bearer "+token), nil); err != nil {
		t.Fatal(err)
	}
	if err := e.store.Close(); err != nil {
		t.Fatal(err)
	}
	defer e.start()

	_, err := e.svc.BearerRequest(dataRequest("Bearer "+token), nil)
	got := oauth.RefusalOf(err)
	tr := e.lastTrace()
	if got.Status != http.StatusServiceUnavailable || got.Header.Get("WWW-Authenticate") != "" || got.Of.Err == nil ||
		got.Trace != tr.ID || tr.Code != trace.TemporarilyUnavailable {
		t.Errorf("%+v, trace %+v", got, tr)
	}
}
