package oauth_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"fhirdest.example/server/oauth"
	"fhirdest.example/udap/udaptest"
)

// A refresh token is replaced by each use, over restarts.
//
// Covers: S1-230
func TestRefresh(t *testing.T) {
	p := newPeople(t)
	a := p.app(udaptest.Client1URI)
	access, refresh := a.tokens()

	for i := range 5 {
		p.advance(30 * time.Minute)
		got := a.refresh(refresh)
		if got.status != 200 || got.text("refresh_token") == refresh || got.text("scope") != scopeOfPeople ||
			got.text("patient") != "pat-1" || !a.works(got.text("access_token")) {
			t.Fatalf("use %d: %d %s", i, got.status, got.body)
		}
		if i == 0 && !a.works(access) { // its own hour is not over
			t.Error("the access token before it does not work")
		}

		if i == 2 {
			p.restart()
		}
		access, refresh = got.text("access_token"), got.text("refresh_token")
	}
}

// A refresh token whose successor was used ends the family: two parties have it. So
// does one that was given up, after a restart too.
//
// Covers: case 172
func TestRefreshTheft(t *testing.T) {
	p := newPeople(t)
	a := p.app(udaptest.Client1URI)
	for _, restart := range []bool{false, true} {
		for name, steal := range map[string]func(r0 string) (stolen, access, refresh string){
			"older than the last two": func(r0 string) (stolen, access, refresh string) {
				r1 := a.refresh(r0).text("refresh_token")
				r2 := a.refresh(r1)
				return r0, r2.text("access_token"), r2.text("refresh_token")
			},
			"given up": func(r0 string) (stolen, access, refresh string) {
				r1 := a.refresh(r0).text("refresh_token")
				again := a.refresh(r0)
				return r1, again.text("access_token"), again.text("refresh_token")
			},
		} {
			_, r0 := a.tokens()
			stolen, access, refresh := steal(r0)
			if restart {
				p.restart()
			}
			if !a.works(access) {
				t.Errorf("%s: the family does not work", name)
			}

			a.refusedCode(name, "invalid_grant", a.refresh(stolen))
			if tr := p.lastTrace(); tr.RefusedBy != "token.refresh_token" {
				t.Errorf("%s: refused by %s", name, tr.RefusedBy)
			}
			if a.works(access) {
				t.Errorf("%s: the access token works on", name)
			}
			a.refusedCode(name+", the family", "invalid_grant", a.refresh(refresh))
		}
	}
}

// An answer that was lost does not lock the client out: its refresh token works
// again, and what the lost answer had is dead.
//
// Covers: case 177
func TestRefreshAnswerIsLost(t *testing.T) {
	p := newPeople(t)
	a := p.app(udaptest.Client1URI)
	first, refresh := a.tokens()
	lost := a.refresh(refresh)
	p.restart()
	got := a.refresh(refresh)
	if got.status != 200 || !a.works(got.text("access_token")) || !a.works(first) {
		t.Fatalf("%d %s", got.status, got.body)
	}

	if a.works(lost.text("access_token")) {
		t.Error("the access token of the lost answer works")
	}

	next := a.refresh(got.text("refresh_token"))
	if next.status != 200 {
		t.Errorf("the successor: %d %s", next.status, next.body)
	}
	a.refusedCode("the token that was answered twice, after its successor was used", "invalid_grant",
		a.refresh(refresh))
	a.refusedCode("the family", "invalid_grant", a.refresh(next.text("refresh_token")))
}

// However many use one refresh token at once, one family lives.
//
// Covers: case 173
func TestRefreshRace(t *testing.T) {
	const copies = 50
	p := newPeople(t)
	a := p.app(udaptest.Client1URI)
	_, refresh := a.tokens()
	requests := make([]oauth.ClientRequest, copies)
	for i := range requests {
		requests[i] = oauth.ClientRequest{Params: oauth.Params{
			"grant_type":            "refresh_token",
			"udap":                  "1",
			"refresh_token":         refresh,
			"client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
			"client_assertion":      a.Sign(t, a.assertion()),
		}}
	}

	answers := make([]*oauth.TokenResponse, copies)
	var wg sync.WaitGroup
	for i, r := range requests {
		wg.Go(func() {
			var err error
			if answers[i], err = p.svc.Token(context.Background(), r); err != nil {
				t.Error(err)
			}
		})
	}

	wg.Wait()

	working := 0
	for _, got := range answers {
		if a.works(p.secret(got.AccessToken)) {
			working++
		}
		p.secret(got.RefreshToken)
	}

	if working != 1 {
		t.Errorf("%d access tokens of one refresh token work", working)
	}
}

// What is no refresh token of this client is refused, and ends nothing.
//
// Covers: case 174
func TestRefreshRefuses(t *testing.T) {
	p := newPeople(t)
	a := p.app(udaptest.Client1URI)
	access, refresh := a.tokens()
	for name, row := range map[string]struct{ code, token string }{
		"none":            {"invalid_request", "-"},
		"an access token": {"invalid_grant", access},
		"truncated":       {"invalid_grant", refresh[:106]},
		"other case":      {"invalid_grant", strings.ToUpper(refresh)},
		"other secret":    {"invalid_grant", refresh[:60] + "AAAA" + refresh[64:]},
		"other family":    {"invalid_grant", refresh[:30] + "AAAA" + refresh[34:]},
		"other grant":     {"invalid_grant", "AAAA" + refresh[4:]},
		"other tag":       {"invalid_grant", refresh[:100] + "AAAA" + refresh[104:]},
		"long":            {"invalid_grant", strings.Repeat("A", 1<<17)},
	} {
		t.Run(name, func(t *testing.T) { a.refusedCode(name, row.code, a.refresh(row.token)) })
	}

	if !a.works(access) || a.refresh(refresh).status != 200 {
		t.Error("the grant does not work any more")
	}
}

// A refresh may ask for less, and the grant keeps all; it may not ask for more.
//
// Covers: case 175
func TestRefreshScope(t *testing.T) {
	p := newPeople(t)
	a := p.app(udaptest.Client1URI)
	_, refresh := a.tokens("scope", "openid offline_access patient/Patient.rs patient/Observation.rs")

	for _, row := range []struct{ scope, want string }{
		{"patient/Patient.r", "patient/Patient.r"},
		{"patient/Observation.rs openid", "patient/Observation.rs openid"},
		{"-", "openid offline_access patient/Patient.rs patient/Observation.rs"},
		{"user/Patient.rs", ""},
		{"openid user/Patient.rs", ""},
		{"patient/Patient.cruds", ""},
		{"patient/Patient.rs patient/Device.rs", ""},
	} {
		got := a.refresh(refresh, "scope", row.scope)
		if row.want == "" {
			a.refusedCode(row.scope, "invalid_scope", got)
			continue
		}

		if got.status != 200 || got.text("scope") != row.want {
			t.Errorf("%s: %d %s", row.scope, got.status, got.body)
		}
		refresh = got.text("refresh_token")
	}
}

// Every end of a grant shows with the next request: access token and refresh token.
//
// Covers: case 176, case 225
func TestGrantEnds(t *testing.T) {
	p := newPeople(t)
	a := p.app(udaptest.Client1URI)
	grant := func(access string) oauth.GrantID {
		got, err := p.bearer(access)
		if err != nil {
			t.Fatal(err)
		}
		return got.Grant.ID
	}

	for name, row := range map[string]struct {
		end     func(access, refresh string)
		refresh string // the code of a refresh after it; empty: it works
	}{
		"withdrawn": {func(access, _ string) {
			if err := p.store.Withdraw(t.Context(), grant(access), "person-1"); err != nil {
				t.Error(err)
			}
		}, "invalid_grant"},
		"narrowed": {func(access, _ string) {
			if err := p.store.Narrow(t.Context(), grant(access), "person-1", []string{"openid"}); err != nil {
				t.Error(err)
			}
		}, ""},
		"the access token is revoked": {func(access, _ string) {
			p.tell("/oauth/revoke", a.Client, a.id, access)
		}, ""},
		"the refresh token is revoked": {func(_, refresh string) {
			p.tell("/oauth/revoke", a.Client, a.id, refresh)
		}, "invalid_grant"},
		"a refresh token that was replaced is revoked": {func(_, refresh string) {
			a.refresh(refresh)
			p.tell("/oauth/revoke", a.Client, a.id, refresh)
		}, "invalid_grant"},
		"disabled": {func(string, string) {
			p.change(func() { p.disabled = true })
		}, "invalid_grant"},
		"the patient is out of reach": {func(string, string) {
			p.change(func() { p.patients = []string{"pat-2"} })
		}, "invalid_grant"},
		"registered for less": {func(string, string) {
			a.register(with("scope", "openid"))
		}, ""},
		"90 days": {func(string, string) { p.later(90 * 24 * time.Hour) }, "invalid_grant"},
		"no refresh_token in the registration": {func(string, string) {
			a.register(with("grant_types", []string{"authorization_code"}))
		}, "unauthorized_client"},
	} {
		t.Run(name, func(t *testing.T) {
			a.register()
			p.change(func() { p.disabled, p.patients = false, []string{"pat-1"} })
			access, refresh := a.tokens()
			row.end(access, refresh)
			if a.works(access) {
				t.Error("the access token works on")
			}
			p.restart()

			if a.works(access) {
				t.Error("the access token works after a restart")
			}

			got := a.refresh(refresh)
			if row.refresh != "" {
				a.refusedCode("refresh", row.refresh, got)
			} else if got.status != 200 || (name != "the access token is revoked") != (got.text("scope") == "openid") {
				t.Errorf("refresh: %d %s", got.status, got.body)
			}
		})
	}
}

// No token works after the revocation of its grant was answered, whatever ran beside
// it.
//
// Covers: case 226
func TestRevokeRace(t *testing.T) {
	p := newPeople(t)
	a := p.app(udaptest.Client1URI)
	for range 30 {
		access, refresh := a.tokens()
		assertion := a.Sign(t, a.assertion())
		var beside *oauth.TokenResponse
		var wg sync.WaitGroup
		wg.Go(func() {
			beside, _ = p.svc.Token(context.Background(), oauth.ClientRequest{Params: oauth.Params{
				"grant_type":            "refresh_token",
				"udap":                  "1",
				"refresh_token":         refresh,
				"client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
				"client_assertion":      assertion,
			}}) // refused when the revocation came first
		})

		wg.Go(func() { _, _ = p.bearer(access) }) // either, until the revocation is answered

		if got := p.tell("/oauth/revoke", a.Client, a.id, refresh); got.status != 200 {
			t.Fatalf("%d %s", got.status, got.body)
		}
		if _, err := p.bearer(access); err == nil {
			t.Fatal("the access token works after the revocation was answered")
		}
		wg.Wait()
		if beside != nil && a.works(p.secret(beside.AccessToken)) {
			t.Fatal("an access token that was refreshed beside the revocation works")
		}
	}
}

// Another client's revocation does nothing.
//
// Covers: case 222
func TestRevokeOfAnotherClient(t *testing.T) {
	p := newPeople(t)
	a, b := p.app(udaptest.Client1URI), p.app("https://client2.test/app")
	access, refresh := a.tokens()
	for _, token := range []string{access, refresh} {
		if got := p.tell("/oauth/revoke", b.Client, b.id, token); got.status != 200 {
			t.Errorf("%d %s", got.status, got.body)
		}
		if p.active(b.Client, b.id, token) {
			t.Error("active for another client")
		}
	}

	if !a.works(access) || a.refresh(refresh).status != 200 {
		t.Error("another client's revocation had an effect")
	}
}

// The last access token of a grant ends with it.
//
// Covers: case 163, case 176
func TestLastTokenOfAGrant(t *testing.T) {
	p := newPeople(t)
	a := p.app(udaptest.Client1URI)
	_, refresh := a.tokens()
	p.later(90*24*time.Hour - 10*time.Minute)
	got := a.refresh(refresh)
	if got.status != 200 || got.member("expires_in") != 600.0 || !a.works(got.text("access_token")) {
		t.Fatalf("%d %s", got.status, got.body)
	}
	p.advance(10 * time.Minute)
	if a.works(got.text("access_token")) {
		t.Error("the access token outlives its grant")
	}
	a.refusedCode("after the grant's end", "invalid_grant", a.refresh(got.text("refresh_token")))
}

// Without offline_access and online_access there is no refresh token. Those of
// online_access end with the person's session, by time and by sign-out.
//
// Covers: case 176
func TestOnlineAccess(t *testing.T) {
	p := newPeople(t)
	a := p.app(udaptest.Client1URI)
	if _, refresh := a.tokens("scope", "openid"); refresh != "" {
		t.Error("a refresh token that nobody asked for")
	}
	if _, refresh := a.tokens("scope", "openid online_access"); refresh != "" {
		t.Error("a refresh token of a session that does not exist")
	}

	p.signIn("one", 30*time.Minute)
	access, refresh := a.tokens("scope", "openid online_access")
	got := a.refresh(refresh)
	if got.status != 200 || got.member("expires_in") != 1800.0 {
		t.Fatalf("%d %s", got.status, got.body)
	}
	_, offline := a.tokens("scope", "openid offline_access")
	if err := p.store.EndSession(t.Context(), "person-1", "one"); err != nil {
		t.Fatal(err)
	}

	a.refusedCode("after sign-out", "invalid_grant", a.refresh(got.text("refresh_token")))
	if a.works(access) || a.refresh(offline).status != 200 {
		t.Error("sign-out ends what the session bounds, and nothing else")
	}

	p.signIn("short", 10*time.Second)
	code := a.code("scope", "openid online_access")
	p.advance(10 * time.Second)
	a.refusedCode("a code after the session's end", "invalid_grant", a.redeem(code))

	p.signIn("two", 30*time.Minute)
	access, refresh = a.tokens("scope", "openid online_access")
	p.advance(30 * time.Minute)
	a.refusedCode("after the session's end", "invalid_grant", a.refresh(refresh))
	if a.works(access) {
		t.Error("the access token outlives the session")
	}
}
