package oauth_test

import (
	"context"
	"io"
	"net/http"
	"strconv"
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

	r := newRig(t)
	for name, change := range map[string]func(*oauth.Config){
		"issuer with a slash": func(c *oauth.Config) { c.Issuer += "/" },
		"issuer with a query": func(c *oauth.Config) { c.Issuer += "?x" },
		"a token for a day":   func(c *oauth.Config) { c.TokenLifetime = 24 * time.Hour },
		"explain to nobody":   func(c *oauth.Config) { c.Explain = "nobody" },
		"a member of nothing": func(c *oauth.Config) { c.Members = []oauth.Member{{}} },
		"an identity of no key": func(c *oauth.Config) {
			c.Members = []oauth.Member{{Community: r.w.A.Community, Identities: []oauth.Identity{{}}}}
		},
	} {
		cfg := r.config
		cfg.Store = r.store
		change(&cfg)
		if _, err := oauth.New(cfg); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
}

// Another trust takes the place of the first whole or not at all.
func TestBelieve(t *testing.T) {
	r, c, id := clientRig(t)
	for name, members := range map[string][]oauth.Member{"no verifier": nil, "a member of nothing": {{}}} {
		v := r.w.Verifier()
		if members == nil {
			v = nil
		}
		if err := r.svc.Believe(v, members); err == nil {
			t.Errorf("%s is taken", name)
		}
	}

	if a := r.token(c, udaptest.Assertion(id, r.now())); a.status != http.StatusOK {
		t.Errorf("after what was refused: %d %s", a.status, a.body)
	}
	if err := r.svc.Believe(&udap.Verifier{
		Communities: []*udap.Community{r.w.B.Community},
		Revocation:  r.w,
	}, nil); err != nil {
		t.Fatal(err)
	}

	r.refused("community taken away", 400, "invalid_client", spendsNothing, func() answer {
		return r.token(c, udaptest.Assertion(id, r.now()))
	})
	if err := r.svc.Believe(r.w.Verifier(), nil); err != nil {
		t.Fatal(err)
	}
	if a := r.token(c, udaptest.Assertion(id, r.now())); a.status != http.StatusOK {
		t.Errorf("community back again: %d %s", a.status, a.body)
	}
}

// A limiter remembers so many parties and no more, whoever comes.
//
// Covers: case 120
func TestLimiterIsBounded(t *testing.T) {
	take, known := oauth.Limiter(1)
	now := udaptest.Now
	for i := range 3 * oauth.MaxLimited {
		if take(strconv.Itoa(i), now) != 0 {
			t.Fatalf("party %d is held back by others", i)
		}
		if known() > oauth.MaxLimited {
			t.Fatalf("%d parties are remembered", known())
		}
	}

	last := strconv.Itoa(3*oauth.MaxLimited - 1)
	if take(last, now) == 0 {
		t.Error("the newest party was forgotten")
	}
	now = now.Add(2 * time.Minute)
	for i := range oauth.MaxLimited {
		take("later "+strconv.Itoa(i), now)
	}

	if take(last, now) != 0 {
		t.Error("what was paid for is still held against a party")
	}
}

// panicking is a store with a fault in it.
type panicking struct{ oauth.Store }

func (panicking) Client(context.Context, trace.ClientID) (*oauth.Registration, error) {
	panic("secret of the store")
}

// A fault of the server is told as such and no more, and is in the trace.
func TestPanicIsAnswered(t *testing.T) {
	r := newRigWith(t, &rig{wrap: func(s oauth.Store) oauth.Store { return panicking{s} }})
	c := r.client(r.w.A, udaptest.Client1URI)
	form := r.form(c.Sign(t, udaptest.Assertion("x", r.now())))
	res, err := r.server.Client().Post(r.server.URL+"/oauth/token", "application/x-www-form-urlencoded",
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
	if tr := r.lastTrace(); tr.Code != trace.ServerError || tr.ID != res.Header.Get("Trace-Id") {
		t.Errorf("trace %+v", tr)
	}
}
