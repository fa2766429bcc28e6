package people_test

import (
	"context"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"testing"
	"time"

	"fhirdest.example/server/lab"
	"fhirdest.example/server/people"
	"fhirdest.example/server/servertest"
)

// named returns the browser's cookie of a role.
func (b *browser) named(role string) string {
	b.t.Helper()
	u, _ := url.Parse(site) // a constant
	for _, c := range b.http.Jar.Cookies(u) {
		if strings.HasPrefix(c.Name, "__Host-destination-"+role+"-") {
			return c.Value
		}
	}
	return ""
}

// Nobody comes in without the password, and every refusal looks the same.
//
// Covers: case 276
func TestWrongPassword(t *testing.T) {
	e := newEnv(t)
	a := e.app("https://client.test/app")
	for _, row := range []struct{ name, username, password string }{
		{"wrong", "alice", "not the password"},
		{"empty", "alice", ""},
		{"another person's username", "doctor", "nope nope nope"},
		{"no such person", "nobody", password},
		{"a username that is none", "<script>", password},
		{"very long", strings.Repeat("x", 5000), strings.Repeat("y", 5000)},
		{"not UTF-8", "alice\xff", "\xff\xfe"},
	} {
		t.Run(row.name, func(t *testing.T) {
			b := e.browser()
			b.t = t
			b.open(a.authorize(scopes))
			b.send("signin", "username", row.username, "password", row.password)
			b.shows(http.StatusForbidden, "The username or the password is not right.")
			if b.named("session") != "" {
				t.Error("there is a session")
			}
			if strings.Contains(b.page, "<script>") || strings.Contains(e.Log.String(), row.password) && row.password != "" {
				t.Error("what was typed is where it does not belong")
			}
		})
	}
}

// A session has a new identifier at sign-in, in a cookie that only this server gets;
// the server forgets it at sign-out.
//
// Covers: case 199, case 275
func TestSessionCookie(t *testing.T) {
	e := newEnv(t)
	b := e.browser()
	b.open(site + "/signin")
	visit := b.named("visit")
	b.signIn("alice")
	first := b.named("session")
	if first == "" || b.last != site+"/grants" {
		t.Fatalf("at %s without a session", b.last)
	}

	b.open(site + "/grants")
	old := *b
	b.send("") // sign out
	if b.named("session") != "" || b.named("visit") == visit {
		t.Error("the browser keeps its cookies after sign-out")
	}
	b.shows(http.StatusOK, "You are signed out")

	u, _ := url.Parse(site) // a constant
	jar, _ := cookiejar.New(nil)
	jar.SetCookies(u, []*http.Cookie{{
		Name:   sessionName(t, e),
		Value:  first,
		Path:   "/",
		Secure: true,
	}})
	old.http = &http.Client{
		Transport:     b.http.Transport,
		CheckRedirect: b.http.CheckRedirect,
		Jar:           jar,
	}
	old.open(site + "/grants")
	old.shows(http.StatusOK, "Sign in")

	b.open(site + "/signin")
	b.signIn("alice")
	if second := b.named("session"); second == "" || second == first {
		t.Error("the session has no new identifier")
	}
}

// sessionName returns the name of the session cookie, and fails unless every cookie
// is as safe as it can be.
func sessionName(t *testing.T, e *env) (name string) {
	t.Helper()
	b := e.browser()
	b.open(site + "/signin")
	action, fields := b.form("signin")
	fields.Set("username", "alice")
	fields.Set("password", password)
	req, err := http.NewRequest(http.MethodPost, action, strings.NewReader(fields.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Origin", "https://fhir.test")
	res, err := b.http.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()

	for _, line := range res.Header.Values("Set-Cookie") {
		for _, flag := range []string{"__Host-destination-", "; Path=/", "; Secure", "; HttpOnly", "; SameSite=Lax"} {
			if !strings.Contains(line, flag) {
				t.Errorf("%s lacks %s", line, flag)
			}
		}
		if strings.Contains(line, "Domain") {
			t.Errorf("%s has a domain", line)
		}
		if strings.Contains(line, "-session-") {
			name, _, _ = strings.Cut(line, "=")
		}
	}
	return name
}

// A session ends when it is not used, and in any case after hours; requests keep it
// until then, over a restart too.
//
// Covers: case 275
func TestSessionEnds(t *testing.T) {
	e, ahead := newAheadEnv(t)
	b := e.browser()
	b.open(site + "/signin")
	b.signIn("alice")
	in := func(after time.Duration, want string) {
		t.Helper()
		ahead.Add(int64(after))
		b.open(site + "/grants")
		b.shows(http.StatusOK, want)
	}

	in(people.Idle-2*time.Minute, "Who has access</h1>")
	e.restart()
	b.http.Transport = e.HTTP.Transport
	in(people.Idle-2*time.Minute, "Who has access</h1>")
	in(people.Idle, "Sign in")

	b.signIn("alice")
	for range int(people.Life/(10*time.Minute)) - 1 {
		in(10*time.Minute, "Who has access</h1>")
	}
	in(10*time.Minute, "Sign in")
}

// restart stops the destination and starts it again.
func (e *env) restart() {
	e.t.Helper()
	e.Destination = e.Destination.Restart()
}

// A person who is taken out of the users file is signed out, and what they granted
// has no effect.
//
// Covers: case 171, case 176
func TestUserRemoved(t *testing.T) {
	e := newEnv(t)
	a := e.app("https://client.test/app")
	b := e.browser()
	b.open(a.authorize(scopes))
	b.signIn("alice")
	b.send("approve")
	token, err := a.exchange(b.code(), scopes)
	if err != nil {
		t.Fatal(err)
	}

	if status := e.read(token.Access); status != http.StatusOK {
		t.Fatalf("the token: %d", status)
	}
	all := population(t, e.patients)
	e.repopulate(all[1:])
	if status := e.read(token.Access); status != http.StatusUnauthorized {
		t.Errorf("the token of a person who may not sign in any more: %d", status)
	}
	b.open(site + "/grants")
	b.shows(http.StatusOK, "Sign in")
	b.signIn("alice")
	b.shows(http.StatusForbidden, "is not right")
}

// read searches for observations with a token.
func (e *env) read(token string) int {
	e.t.Helper()
	res, _ := e.Get("/acme/fhir/Observation", "Authorization", "Bearer "+token)
	return res.StatusCode
}

// from makes the browser's connections come from an address.
func (b *browser) from(e *env, address string) {
	t := e.HTTP.Transport.(*http.Transport).Clone()
	t.DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}}
		return d.DialContext(ctx, network, e.Addr)
	}
	b.t.Cleanup(t.CloseIdleConnections)
	b.http.Transport = t
}

// Whoever tries passwords is held back; the person is not locked out elsewhere, nor in
// a browser where they signed in before.
//
// Covers: case 276
func TestBruteForce(t *testing.T) {
	e := newEnv(
		t,
		servertest.Alone("each destination counts guesses for itself, by address"),
		func(w *servertest.Env) { w.Config.Rates.SignInsPerAddress = 25 },
	)
	known := e.browser()
	known.open(site + "/signin")
	known.signIn("alice")
	known.open(site + "/grants")
	known.send("")

	for range 30 { // a right password counts for nothing
		again := e.browser()
		again.open(site + "/signin")
		again.signIn("doctor")
		again.shows(http.StatusOK, "Who has access")
	}

	attacker := e.browser()
	attacker.open(site + "/signin")
	limited := 0
	for range 40 {
		attacker.send("signin", "username", "alice", "password", "a guess")
		if attacker.res.StatusCode == http.StatusTooManyRequests {
			limited++
			if attacker.res.Header.Get("Retry-After") == "" {
				t.Error("429 without Retry-After")
			}
		}
	}
	if limited < 25 {
		t.Errorf("%d of 40 guesses held back", limited)
	}
	attacker.send("signin", "username", "alice", "password", password)
	attacker.shows(http.StatusTooManyRequests, "Too many attempts")

	// The same address tries many usernames.
	limited = 0
	for range 40 {
		attacker.send("signin", "username", "user"+strings.Repeat("x", limited+1), "password", "a guess")
		if attacker.res.StatusCode == http.StatusTooManyRequests {
			limited++
		}
	}
	if limited < 20 {
		t.Errorf("%d of 40 usernames held back", limited)
	}

	known.open(site + "/signin")
	known.signIn("alice")
	known.shows(http.StatusOK, "Who has access")
	elsewhere := e.browser()
	elsewhere.from(e, "127.0.0.2")
	elsewhere.open(site + "/signin")
	elsewhere.signIn("alice")
	elsewhere.shows(http.StatusOK, "Who has access")
}

// The only places to which sign-in leads are this server's own pages and the redirect
// URI of a registered client.
//
// Covers: case 182
func TestNoOpenRedirect(t *testing.T) {
	e := newEnv(t)
	for _, name := range []string{"to", "return", "next", "url", "redirect_uri", "continue", "r", "request"} {
		for _, target := range []string{"https://evil.test/", "//evil.test/", "/\\evil.test", "javascript:alert(1)"} {
			b := e.browser()
			b.open(site + "/signin?" + url.Values{name: {target}}.Encode())
			if b.leap != "" || strings.Contains(b.page, "evil.test") {
				t.Errorf("signin?%s=%s shows or leads to %q", name, target, b.leap)
			}
		}
	}

	b := e.browser()
	b.open(site + "/signin")
	b.send("signin", "username", "alice", "password", password, "request", "redirect_uri=https%3A%2F%2Fevil.test%2F")
	b.shows(http.StatusBadRequest)
	if b.leap != "" || b.named("session") != "" {
		t.Errorf("a request that is none leads to %q", b.leap)
	}
}

// A session that another one replaces has ended, and with it the access that was
// granted for its duration: no later sign-out would end that.
func TestSignInEndsFormerSession(t *testing.T) {
	e := newEnv(t)
	a := e.online()
	b := e.browser()
	b.open(a.authorize(onlineScope))
	b.signIn("alice")
	b.send("approve")
	token, err := a.exchange(b.code(), onlineScope)
	if err != nil || token.Refresh == "" {
		t.Fatal(err, token)
	}

	b.open(a.authorize(onlineScope, "prompt", "login"))
	b.signIn("alice")
	status, _ := a.reads(token.Access, "Observation")
	if status != http.StatusUnauthorized {
		t.Errorf("a token of the former session: %d", status)
	}
}

// Guesses at the destination and in sessions of its lab are counted together: whoever
// opens another session has no more of them.
func TestGuessesInSessionsCount(t *testing.T) {
	e := newEnv(t, servertest.Lab, servertest.Alone("the lab is one destination's"))
	limited := 0
	for range 4 {
		s := e.OpenLab(lab.OpenRequest{})
		attacker := e.browser()
		attacker.open(s.Session.Issuer + "/signin")
		for range 10 {
			attacker.send("signin", "username", "alice", "password", "a guess")
			if attacker.res.StatusCode == http.StatusTooManyRequests {
				limited++
			}
		}
	}
	if limited < 20 {
		t.Errorf("%d of 40 guesses held back", limited)
	}
}
