package tiered_test

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"fhirdest.example/server/oauth"
	"fhirdest.example/udap/udaptest"
)

// A person signs in at the provider that the client names, and goes on here as the
// user who is linked to that account. What the provider gets is a request of ours.
//
// Covers: S1-238, S1-239, S1-245, S1-246, S1-247, S1-248, S1-249, S1-250, S1-251, S1-253, S1-254, S1-255
// Covers: S1-256, S1-270, S1-279, S1-280, S1-281, S1-283, S1-292, S1-293, S1-294, S1-297, case 220, case 140
func TestTrip(t *testing.T) {
	e := newEnv(t)
	b := e.browser()
	answer := e.trip(b)
	p := e.get(b, answer)
	want := oauth.Person{
		Subject:    "subject-ana",
		FHIRUser:   "Patient/1",
		Name:       "ana",
		SignedIn:   e.now(),
		IdP:        e.idp.Base,
		IdPSubject: "person-1",
	}

	if got := e.who(); got == nil || *got != want {
		t.Fatalf("signed in: %+v, want %+v; %+v\n%+v", got, want, p, e.decided("callback"))
	}
	if _, query, _ := strings.Cut(e.request(e.idp.Base), "?"); !strings.HasSuffix(p.body, query) {
		t.Errorf("goes on with %s", p.body)
	}

	sent, form := e.idp.Seen()[0], e.idp.Forms()[0]
	if sent.Get("response_type") != "code" || sent.Get("scope") != "openid udap fhirUser" ||
		!strings.HasPrefix(sent.Get("redirect_uri"), issuer+"/callback/") || sent.Get("nonce") == "" ||
		sent.Get("state") == clients || len(sent.Get("state")) < 40 || len(sent.Get("code_challenge")) != 43 {
		t.Errorf("sent to the provider: %v", sent)
	}

	for name, value := range map[string]string{
		"grant_type":            "authorization_code",
		"client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
		"redirect_uri":          sent.Get("redirect_uri"),
		"udap":                  "1",
	} {
		if form.Get(name) != value {
			t.Errorf("%s %q at the provider's token endpoint, want %q", name, form.Get(name), value)
		}
	}

	e.get(b, e.trip(b))
	if again := e.idp.Seen()[1]; e.who() == nil || again.Get("state") == sent.Get("state") ||
		again.Get("nonce") == sent.Get("nonce") || again.Get("code_challenge") == sent.Get("code_challenge") {
		t.Errorf("a second trip: %v", again)
	}
	if n := e.idp.Count("register"); n != 1 {
		t.Errorf("registered %d times", n)
	}
}

// The client's wishes about the sign-in reach the provider, and how long ago it may
// have been is held here. Everything else of the client stays here.
// Covers: case 213
func TestWishesOfTheClient(t *testing.T) {
	e := newEnv(t)
	b := e.browser()
	e.get(b, e.trip(b, func(v url.Values) {
		v.Set("prompt", "login consent")
		v.Set("max_age", "60")
		v.Set("login_hint", "ana")
		v.Set("launch", "secret-handle")
	}))

	if e.who() == nil {
		t.Fatal("not signed in")
	}

	sent := e.idp.Seen()[0]
	if sent.Get("prompt") != "login" || sent.Get("max_age") != "60" || sent.Get("login_hint") != "ana" ||
		sent.Has("launch") || sent.Has("idp") || strings.Contains(sent.Encode(), clients) {
		t.Errorf("sent: %v", sent)
	}

	e.idp.Change(func() { e.idp.IDToken = func(c udaptest.Claims) { c["auth_time"] = e.now().Add(-time.Hour).Unix() } })
	p := e.get(b, e.trip(b, func(v url.Values) { v.Set("max_age", "60") }))
	if got := e.told(p); got != "invalid_idp" || e.who() != nil {
		t.Errorf("signed in an hour ago: %s", got)
	}
}

// A trip outlives a restart of the server, and so does the registration.
func TestTripOutlivesARestart(t *testing.T) {
	e := newEnv(t)
	b := e.browser()
	target := e.depart(b)
	e.restart()
	e.get(b, e.get(b, target).location)
	if e.who() == nil {
		t.Errorf("not signed in: %+v", e.decided("callback"))
	}

	if n := e.idp.Count("register"); n != 1 {
		t.Errorf("registered %d times", n)
	}
}

// Two tabs may be under way to one provider, and to two, in one browser.
func TestTwoTabs(t *testing.T) {
	e := newEnv(t)
	b := e.browser()
	first, second := e.depart(b), e.depart(b)
	elsewhere := e.get(b, e.request(e.other.Base)).location
	if !strings.HasPrefix(elsewhere, e.other.Base) {
		t.Fatalf("sent to %s", elsewhere)
	}

	for _, target := range []string{second, first} {
		e.get(b, e.get(b, target).location)
		if e.who() == nil {
			t.Errorf("not signed in: %+v", e.decided("callback"))
		}
	}

	if got := e.told(e.get(b, e.get(b, elsewhere).location)); got != "access_denied" {
		t.Errorf("a person who is linked to another provider's account: %s", got)
	}
}

// The provider is asked anew when it has forgotten us, and after an hour.
func TestRegisteredAgain(t *testing.T) {
	e := newEnv(t)
	b := e.browser()
	answer := e.trip(b)
	e.idp.Forget()
	if got := e.told(e.get(b, answer)); got != "invalid_idp" {
		t.Errorf("a provider that does not know us: %s", got)
	}
	e.get(b, e.trip(b))

	if e.who() == nil || e.idp.Count("register") != 2 {
		t.Errorf("registered %d times: %+v", e.idp.Count("register"), e.decided("callback"))
	}

	e.advance(2 * time.Hour)
	e.get(b, e.trip(b))
	if e.who() == nil || e.idp.Count("register") != 3 {
		t.Errorf("after two hours: registered %d times", e.idp.Count("register"))
	}
}

// Without the scope udap, or without idp, people sign in here, and no provider hears
// of it.
// Covers: S2-23, case 206
func TestNotTiered(t *testing.T) {
	e := newEnv(t)
	for name, edit := range map[string]func(url.Values){
		"idp without the scope udap": func(v url.Values) { v.Set("scope", "openid user/Patient.rs") },
		"the scope without idp":      func(v url.Values) { v.Del("idp") },
		"an empty idp":               func(v url.Values) { v.Set("idp", "") },
	} {
		t.Run(name, func(t *testing.T) {
			if p := e.get(e.browser(), e.request(e.idp.Base, edit)); p.body != "sign in here" {
				t.Errorf("%+v", p)
			}
		})
	}

	twice := e.request(e.idp.Base) + "&idp=" + url.QueryEscape(e.other.Base)
	if got := e.told(e.get(e.browser(), twice)); got != "invalid_request" {
		t.Errorf("idp twice: %s", got)
	}
	if len(e.idp.Requests())+len(e.other.Requests()) != 0 {
		t.Errorf("providers were asked: %q %q", e.idp.Requests(), e.other.Requests())
	}
}

// Clients of two communities use one provider side by side.
func TestTwoCommunities(t *testing.T) {
	e := newEnv(t)
	second := e.register(e.w.B, udaptest.Client1URI, "openid udap user/Patient.rs")
	if second == e.client {
		t.Fatal("one client in two communities")
	}

	a, b := e.browser(), e.browser()
	first, other := e.depart(a), e.depart(b, func(v url.Values) { v.Set("client_id", string(second)) })
	for _, back := range []string{e.get(b, other).location, e.get(a, first).location} {
		browser := a
		if strings.Contains(back, e.idp.Seen()[0].Get("state")) {
			browser = b
		}
		p := e.get(browser, back)
		if id := map[bool]string{true: string(second), false: string(e.client)}[browser == b]; e.who() == nil ||
			!strings.Contains(p.body, id) {
			t.Errorf("%+v", p)
		}
	}
}

// The logo that we register with is there.
func TestLogo(t *testing.T) {
	e := newEnv(t)
	p := e.get(e.browser(), issuer+"/logo.png")
	if p.status != http.StatusOK || !strings.HasPrefix(p.body, "\x89PNG") {
		t.Errorf("%d, %d bytes", p.status, len(p.body))
	}
	if !slices.Contains(e.idp.Requests(), "POST register") {
		e.depart(e.browser())
	}
}
