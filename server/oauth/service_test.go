package oauth_test

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"fhirdest.example/server/oauth"
	"fhirdest.example/udap"
	"fhirdest.example/udap/trace"
	"fhirdest.example/udap/udaptest"
)

// What is missing or unusable is told at the start, all of it at once; the zero
// value serves nobody.
func TestNewRefuses(t *testing.T) {
	_, err := oauth.New(oauth.Config{})
	if err == nil {
		t.Fatal("the zero value is taken")
	}

	for _, missing := range []string{"FHIR base", "issuer", "verifier", "store", "clock"} {
		if !strings.Contains(err.Error(), missing) {
			t.Errorf("%v: nothing of the %s", err, missing)
		}
	}

	e := newEnv(t)
	for name, change := range map[string]func(*oauth.Config){
		"issuer with a slash": func(c *oauth.Config) { c.Issuer += "/" },
		"issuer with a query": func(c *oauth.Config) { c.Issuer += "?x" },
		"a token for a day":   func(c *oauth.Config) { c.TokenLifetime = 24 * time.Hour },
		"explain to nobody":   func(c *oauth.Config) { c.Explain = "nobody" },
		"a member of nothing": func(c *oauth.Config) { c.Members = []oauth.Member{{}} },
		"an identity of no key": func(c *oauth.Config) {
			c.Members = []oauth.Member{{Community: e.w.A.Community, Identities: []oauth.Identity{{}}}}
		},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := e.config
			cfg.Store = e.store
			change(&cfg)
			if _, err := oauth.New(cfg); err == nil {
				t.Errorf("%s is taken", name)
			}
		})
	}
}

// Another trust takes the place of the first whole or not at all.
func TestBelieve(t *testing.T) {
	e, c, id := clientEnv(t)
	for name, members := range map[string][]oauth.Member{"no verifier": nil, "a member of nothing": {{}}} {
		v := e.w.Verifier()
		if members == nil {
			v = nil
		}
		if err := e.svc.SetTrust(v, members); err == nil {
			t.Errorf("%s is taken", name)
		}
	}

	if a := e.token(c, udaptest.Assertion(id, e.now())); a.status != http.StatusOK {
		t.Errorf("after what was refused: %d %s", a.status, a.body)
	}
	if err := e.svc.SetTrust(&udap.Verifier{
		Communities: []*udap.Community{e.w.B.Community},
		Revocation:  e.w,
	}, nil); err != nil {
		t.Fatal(err)
	}

	e.refused("community taken away", 400, "invalid_client", spendsNothing, func() answer {
		return e.token(c, udaptest.Assertion(id, e.now()))
	})
	if err := e.svc.SetTrust(e.w.Verifier(), nil); err != nil {
		t.Fatal(err)
	}
	if a := e.token(c, udaptest.Assertion(id, e.now())); a.status != http.StatusOK {
		t.Errorf("community back again: %d %s", a.status, a.body)
	}
}

// panicking is a store with a fault in it.
type panicking struct{ oauth.Store }

func (panicking) Client(context.Context, trace.ClientID) (*oauth.Registration, error) {
	panic("secret of the store")
}

// A fault of the server is told as such and no more, and is in the trace.
func TestPanicIsAnswered(t *testing.T) {
	e := newEnvWith(t, &env{wrap: func(s oauth.Store) oauth.Store { return panicking{s} }})
	c := e.client(e.w.A, udaptest.Client1URI)
	form := e.form(c.Sign(t, udaptest.Assertion("x", e.now())))
	res, err := e.server.Client().Post(e.server.URL+"/oauth/token", "application/x-www-form-urlencoded",
		strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()

	body, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusInternalServerError ||
		!strings.Contains(string(body), `"server_error"`) || strings.Contains(string(body), "secret") {
		t.Errorf("%d %s %v", res.StatusCode, body, err)
	}
	if tr := e.lastTrace(); tr.Code != trace.ServerError || tr.ID != res.Header.Get("Trace-Id") {
		t.Errorf("trace %+v", tr)
	}
}
