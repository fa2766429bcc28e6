package people_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// forgeries are the ways in which another site sends a form with the cookies of a
// person, or a program without a browser does.
var forgeries = []struct {
	name   string
	header []string
}{
	{"another site", []string{"Origin", "https://evil.test", "Sec-Fetch-Site", "cross-site"}},
	{"another site that the browser does not name", []string{"Origin", "https://evil.test", "Sec-Fetch-Site", ""}},
	{"a sub-domain", []string{"Origin", "https://x.fhir.test", "Sec-Fetch-Site", "same-site"}},
	{"another port", []string{"Origin", "https://fhir.test:444", "Sec-Fetch-Site", "same-site"}},
	{"Origin null", []string{"Origin", "null", "Sec-Fetch-Site", ""}},
	{"Origin null of another site", []string{"Origin", "null", "Sec-Fetch-Site", "cross-site"}},
	{"no Origin and no Sec-Fetch-Site", []string{"Origin", "", "Sec-Fetch-Site", ""}},
	{"a user in the origin", []string{"Origin", "https://evil@fhir.test", "Sec-Fetch-Site", ""}},
	{"our origin in plain HTTP", []string{"Origin", "http://fhir.test", "Sec-Fetch-Site", ""}},
	{"our name in another's", []string{"Origin", "https://fhir.test.evil.test", "Sec-Fetch-Site", ""}},
	{"our name as a fetch of another site", []string{"Origin", "https://fhir.test", "Sec-Fetch-Site", "cross-site"}},
	{"text/plain", []string{"Content-Type", "text/plain"}},
	{"multipart", []string{"Content-Type", "multipart/form-data; boundary=x"}},
	{"JSON", []string{"Content-Type", "application/json"}},
}

// A form that no page of this server sent has no effect, wherever it goes.
//
// Covers: S1-269, S1-278, case 195, case 273
func TestForgedForms(t *testing.T) {
	e := newEnv(t)
	a := e.app("https://client.test/app")
	b := e.browser()
	b.allow(a.authorize(scopes), "alice")
	token, err := a.exchange(b.code(), scopes)
	if err != nil {
		t.Fatal(err)
	}

	b.open(a.authorize(scopes, "prompt", "consent"))
	approve, approval := b.form("approve")
	b.open(site + "/grants")
	withdraw, withdrawal := b.form("")
	for _, m := range formPattern.FindAllStringSubmatch(b.page, -1) {
		if strings.Contains(m[2], `name="client"`) {
			b.page = m[0]
			withdraw, withdrawal = b.form("")
		}
	}
	b.open(site + "/grants")
	out, leaving := b.form("")
	stranger := e.browser()
	stranger.open(site + "/signin")
	enter, credentials := stranger.form("signin")
	credentials.Set("username", "alice")
	credentials.Set("password", password)

	for _, row := range forgeries {
		t.Run(row.name, func(t *testing.T) {
			b.t, stranger.t = t, t
			b.do(http.MethodPost, approve, approval, row.header...)
			b.shows(http.StatusForbidden, "did not come from a page of this site")
			b.do(http.MethodPost, withdraw, withdrawal, row.header...)
			b.shows(http.StatusForbidden)
			b.do(http.MethodPost, out, leaving, row.header...)
			b.shows(http.StatusForbidden)
			stranger.do(http.MethodPost, enter, credentials, row.header...)
			stranger.shows(http.StatusForbidden)
			if b.leap+stranger.leap != "" || stranger.named("session") != "" || b.named("session") == "" {
				t.Error("the form had an effect")
			}
		})
	}

	b.t, stranger.t = t, t
	if status := e.read(token.Access); status != http.StatusOK {
		t.Errorf("the grant was withdrawn: %d", status)
	}
	b.do(http.MethodPost, approve, approval)
	b.code() // the same form, sent by its page
}

// The token of a form is worth nothing in another browser, for another request or for
// another person.
//
// Covers: case 195
func TestTokensAreBound(t *testing.T) {
	e := newEnv(t)
	a := e.app("https://client.test/app")
	open := func(username, location string) (*browser, string, url.Values) {
		t.Helper()
		b := e.browser()
		b.open(location)
		b.signIn(username)
		action, fields := b.form("approve")
		return b, action, fields
	}

	victim, action, own := open("alice", a.authorize(scopes))
	_, _, others := open("alice", a.authorize(scopes))
	_, _, request := open("alice", a.authorize("openid patient/Condition.rs"))
	for _, row := range []struct {
		name  string
		token string
	}{
		{"none", ""},
		{"of another browser", others.Get("token")},
		{"of another request", request.Get("token")},
		{"cut short", own.Get("token")[:20]},
		{"twice", ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			victim.t = t
			fields := url.Values{}
			for name, values := range own {
				fields[name] = values
			}
			fields.Set("token", row.token)
			if row.name == "twice" {
				fields["token"] = []string{own.Get("token"), own.Get("token")}
			}

			victim.do(http.MethodPost, action, fields)
			victim.shows(http.StatusForbidden, "This page was out of date", "Allow access")
			if victim.leap != "" {
				t.Errorf("the client got an answer: %s", victim.leap)
			}
		})
	}

	// Approval by GET is no approval.
	victim.t = t
	victim.open(action + "?" + own.Encode())
	victim.shows(http.StatusOK, "Allow access")
	if victim.leap != "" {
		t.Errorf("approved by GET: %s", victim.leap)
	}

	// In another tab the browser's person has become another one.
	victim.open(site + "/signin")
	victim.open(a.authorize(scopes, "prompt", "login"))
	victim.signIn("doctor")
	victim.do(http.MethodPost, action, own)
	victim.shows(http.StatusForbidden, "This page was out of date")
	if victim.leap != "" {
		t.Errorf("alice's page was approved by the doctor: %s", victim.leap)
	}
}

// Sign-in is bound to the browser that was shown the page: nobody signs another person
// in as themselves.
//
// Covers: case 199
func TestSignInOfAnotherBrowser(t *testing.T) {
	e := newEnv(t)
	attacker, victim := e.browser(), e.browser()
	attacker.open(site + "/signin")
	action, fields := attacker.form("signin")
	fields.Set("username", "visitor")
	fields.Set("password", password)

	victim.do(http.MethodPost, action, fields)
	victim.shows(http.StatusForbidden, "This page was out of date")
	victim.open(site + "/signin")
	victim.do(http.MethodPost, action, fields)
	victim.shows(http.StatusForbidden, "This page was out of date")
	if victim.named("session") != "" {
		t.Error("the victim is signed in as the attacker")
	}
	victim.signIn("alice")
	victim.shows(http.StatusOK, "Alice Patient")
}

// Every answer of every page has the headers that keep it safe, whatever its status;
// nothing frames it, stores it or learns where it was.
//
// Covers: case 197, case 198, case 286
func TestHeaders(t *testing.T) {
	e := newEnv(t)
	a := e.app("https://client.test/app")
	b := e.browser()
	signedIn := e.browser()
	signedIn.open(site + "/signin")
	signedIn.signIn("alice")
	evil := "?client_id=" + string(a.ClientID) + "&redirect_uri=https://evil.test/"
	for _, row := range []struct {
		name, method, target string
		browser              *browser
		status               int
	}{
		{"sign-in", http.MethodGet, site + "/signin", b, 200},
		{"sign-in for a client", http.MethodGet, a.authorize(scopes), b, 200},
		{"consent", http.MethodGet, a.authorize(scopes), signedIn, 200},
		{"grants", http.MethodGet, site + "/grants", signedIn, 200},
		{"sign-out", http.MethodGet, site + "/signout", signedIn, 200},
		{"style", http.MethodGet, site + "/style.css", b, 200},
		{"refusal", http.MethodGet, site + "/authorize" + evil, b, 400},
		{"redirect", http.MethodGet, a.authorize(scopes, "prompt", "none"), b, 303},
		{"redirect of a request that is wrong", http.MethodGet, a.authorize("system/*.rs"), b, 303},
		{"no such page", http.MethodGet, site + "/nothing", b, 404},
		{"method", http.MethodDelete, site + "/signin", b, 405},
		{"method of the style", http.MethodPost, site + "/style.css", b, 405},
		{"form without an origin", http.MethodPost, site + "/signin", b, 403},
		{"HEAD", http.MethodHead, site + "/signin", b, 200},
	} {
		t.Run(row.name, func(t *testing.T) {
			row.browser.t = t
			row.browser.do(row.method, row.target, nil)
			h := row.browser.res.Header
			if row.browser.res.StatusCode != row.status {
				t.Errorf("%s, want %d", row.browser.res.Status, row.status)
			}
			for name, want := range map[string]string{
				"X-Content-Type-Options": "nosniff",
				"X-Frame-Options":        "DENY",
				"Referrer-Policy":        "no-referrer",
			} {
				if h.Get(name) != want {
					t.Errorf("%s: %q", name, h.Get(name))
				}
			}
			csp := h.Get("Content-Security-Policy")
			if !strings.Contains(csp, "default-src 'none'") || !strings.Contains(csp, "frame-ancestors 'none'") ||
				strings.Contains(csp, "unsafe") || strings.Contains(csp, "script-src") {
				t.Errorf("Content-Security-Policy: %s", csp)
			}
			if cache := h.Get("Cache-Control"); row.name != "style" && !strings.Contains(cache, "no-store") &&
				row.status == 200 {
				t.Errorf("Cache-Control: %q", cache)
			}
			if row.status == 405 && h.Get("Allow") == "" {
				t.Error("405 without Allow")
			}
			if row.method == http.MethodHead && row.browser.page != "" {
				t.Error("HEAD has a body")
			}
		})
	}
}

// The page of a client loads its logo from the client's own origin and from nowhere
// else, and a strange logo is left out.
//
// Covers: S1-089, case 110
func TestLogo(t *testing.T) {
	e := newEnv(t)
	a := e.app("https://client.test/app")
	b := e.browser()
	b.open(a.authorize(scopes))
	csp := b.res.Header.Get("Content-Security-Policy")
	if !strings.Contains(csp, "img-src https://client.test;") {
		t.Errorf("Content-Security-Policy: %s", csp)
	}
	if !strings.Contains(b.page, `<img src="https://client.test/logo.png"`) ||
		!strings.Contains(b.page, `referrerpolicy="no-referrer"`) {
		t.Error("the page has no logo, or one that tells where it is shown")
	}
	b.open(site + "/signin")
	if csp := b.res.Header.Get("Content-Security-Policy"); !strings.Contains(csp, "img-src 'none'") {
		t.Errorf("without a client: %s", csp)
	}
}

// A form without the token of its page is no way around prompt=login and max_age: the
// page that is shown instead is the one for signing in.
func TestForgedFormProvesNoSignIn(t *testing.T) {
	e := newEnv(t)
	a := e.app("https://client.test/app")
	const scope = "openid launch/patient patient/Observation.rs"
	b := e.browser()
	b.open(a.authorize(scope))
	b.signIn("alice")
	action, fields := b.form("approve")

	for name, value := range map[string]string{
		"prompt":  "login",
		"max_age": "0",
	} {
		t.Run(name, func(t *testing.T) {
			target, err := url.Parse(a.authorize(scope, name, value))
			if err != nil {
				t.Fatal(err)
			}

			fields.Set("request", target.RawQuery)
			fields.Set("token", "forged")
			b.do(http.MethodPost, action, fields)
			b.shows(http.StatusForbidden, `name="password"`)
		})
	}
}
