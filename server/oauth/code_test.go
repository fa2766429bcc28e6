package oauth_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"fhirdest.example/server/oauth"
	"fhirdest.example/udap/trace"
	"fhirdest.example/udap/udaptest"
)

// A code gives an access token and a refresh token with the person, the patient and
// the scopes; introspection shows them.
//
// Covers: S1-146, S1-147, S1-230, case 178, case 223, case 228
func TestRedeem(t *testing.T) {
	p := newPeople(t)
	a := p.app(udaptest.Client1URI)
	got := a.redeem(a.code())
	access, refresh := got.text("access_token"), got.text("refresh_token")
	if got.status != 200 || got.text("token_type") != "Bearer" || got.text("scope") != scopeOfPeople ||
		got.text("patient") != "pat-1" || access == "" || refresh == "" || got.member("expires_in") != 3600.0 {
		t.Fatalf("%d %s", got.status, got.body)
	}

	allowed, err := p.bearer(access)
	if err != nil || allowed.Subject != "person-1" || allowed.Patient != "pat-1" || allowed.Grant == nil ||
		allowed.Grant.Person.FHIRUser != "Patient/pat-1" || allowed.ClientID != a.id {
		t.Fatalf("%+v, %v", allowed, err)
	}
	seen := p.tell("/oauth/introspect", a.Client, a.id, access)

	for name, want := range map[string]string{
		"sub":        "person-1",
		"patient":    "pat-1",
		"client_id":  string(a.id),
		"community":  string(udaptest.CommunityA),
		"scope":      scopeOfPeople,
		"token_type": "Bearer",
		"iss":        issuer,
	} {
		if seen.text(name) != want {
			t.Errorf("%s: %q, want %q", name, seen.text(name), want)
		}
	}

	for _, text := range []string{access, refresh} {
		if strings.Contains(p.dump(), text) {
			t.Error("a token is in the file")
		}
	}

	if p.active(a.Client, a.id, refresh) { // case 223
		t.Error("a refresh token is active at introspection")
	}
}

// A code works once. The second use, however late and after a restart, ends all that
// came of it.
//
// Covers: S1-137, S1-149, case 165, case 200
func TestCodeIsUsedOnce(t *testing.T) {
	p := newPeople(t)
	a := p.app(udaptest.Client1URI)
	for name, between := range map[string]func(){
		"at once":        func() {},
		"5 s later":      func() { p.advance(5 * time.Second) },
		"after its end":  func() { p.advance(10 * time.Minute) },
		"a restart":      p.restart,
		"refreshed":      func() {},
		"without access": func() { p.later(50 * time.Hour) },
	} {
		t.Run(name, func(t *testing.T) {
			code := a.code()
			got := a.redeem(code)
			access, refresh := got.text("access_token"), got.text("refresh_token")
			if name == "refreshed" {
				again := a.refresh(refresh)
				access, refresh = again.text("access_token"), again.text("refresh_token")
			}
			between()

			if name != "without access" && !a.works(access) {
				t.Fatalf("the token does not work: %d %s", got.status, got.body)
			}

			a.refusedCode("second use", "invalid_grant", a.redeem(code))
			if tr := p.lastTrace(); tr.RefusedBy != "token.code" {
				t.Errorf("refused by %s", tr.RefusedBy)
			}
			if a.works(access) {
				t.Error("the access token works on")
			}
			a.refusedCode("its refresh token", "invalid_grant", a.refresh(refresh))

			a.refusedCode("third use", "invalid_grant", a.redeem(code))
		})
	}
}

// A second use ends the grant also when it has the wrong verifier: somebody else has
// the code.
//
// Covers: case 165
func TestSecondUseWithOtherParameters(t *testing.T) {
	p := newPeople(t)
	a := p.app(udaptest.Client1URI)
	code := a.code()
	access := a.redeem(code).text("access_token")
	a.refusedCode("second use", "invalid_grant", a.redeem(code, "code_verifier", strings.Repeat("x", 43)))
	if a.works(access) {
		t.Error("the access token works on")
	}
}

// Of 1,000 that redeem one code at once one gets tokens; when all are answered, these
// are dead.
//
// Covers: case 165
func TestThousandRedeemOneCode(t *testing.T) {
	const copies = 1000
	p := newPeople(t)
	a := p.app(udaptest.Client1URI)
	code := a.code()
	requests := make([]oauth.ClientRequest, copies)
	for i := range requests {
		requests[i] = oauth.ClientRequest{Params: oauth.Params{
			"grant_type":            "authorization_code",
			"udap":                  "1",
			"code":                  code,
			"redirect_uri":          redirectURI,
			"code_verifier":         verifier,
			"client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
			"client_assertion":      a.Sign(t, a.assertion()),
		}}
	}

	var answered atomic.Pointer[oauth.TokenResponse]
	var families atomic.Int32
	var wg sync.WaitGroup

	for _, r := range requests {
		wg.Go(func() {
			got, err := p.svc.Token(context.Background(), r)
			switch {
			case err == nil:
				families.Add(1)
				answered.Store(got)
			case oauth.RefusalOf(err).Of.Code != trace.InvalidGrant:
				t.Error(err)
			}
		})
	}

	wg.Wait()
	got := answered.Load()
	if families.Load() != 1 {
		t.Fatalf("%d families of tokens", families.Load())
	}
	if a.works(p.secret(got.AccessToken)) {
		t.Error("the access token works after the second use")
	}

	a.refusedCode("the refresh token", "invalid_grant", a.refresh(p.secret(got.RefreshToken)))
}

// A mistake with a code is refused, and does not use the code up.
//
// Covers: S1-148, S1-150, S2-13, case 168, case 169, case 171, D-43
func TestRedeemRefuses(t *testing.T) {
	p := newPeople(t)
	a := p.app(udaptest.Client1URI)
	code := a.code()
	for name, row := range map[string]struct {
		code   string
		params []string
	}{
		"no code":              {"invalid_request", []string{"code", "-"}},
		"truncated":            {"invalid_grant", []string{"code", code[:60]}},
		"other case":           {"invalid_grant", []string{"code", strings.ToUpper(code)}},
		"other secret":         {"invalid_grant", []string{"code", code[:24] + strings.Repeat("A", 40)}},
		"long":                 {"invalid_grant", []string{"code", strings.Repeat("A", 1<<17)}},
		"NUL":                  {"invalid_grant", []string{"code", "\x00"}},
		"no redirect_uri":      {"invalid_grant", []string{"redirect_uri", "-"}},
		"other redirect_uri":   {"invalid_grant", []string{"redirect_uri", "https://client1.test/other?x=1"}},
		"case of redirect_uri": {"invalid_grant", []string{"redirect_uri", "https://client1.test/CB"}},
		"slash":                {"invalid_grant", []string{"redirect_uri", redirectURI + "/"}},
		"no verifier":          {"invalid_grant", []string{"code_verifier", "-"}},
		"empty verifier":       {"invalid_grant", []string{"code_verifier", ""}},
		"other verifier":       {"invalid_grant", []string{"code_verifier", verifier + "x"}},
		"the challenge":        {"invalid_grant", []string{"code_verifier", challengeOf(verifier)}},
		"42 characters":        {"invalid_request", []string{"code_verifier", verifier[:42]}},
		"129 characters":       {"invalid_request", []string{"code_verifier", strings.Repeat("a", 129)}},
		"other characters":     {"invalid_request", []string{"code_verifier", verifier + "+"}},
		"padded":               {"invalid_request", []string{"code_verifier", verifier + "="}},
	} {
		t.Run(name, func(t *testing.T) { a.refusedCode(name, row.code, a.redeem(code, row.params...)) })
	}

	form := p.form(a.Sign(t, a.assertion()))
	set(form, []string{"grant_type", "authorization_code", "scope", "-", "code", code})
	for _, name := range []string{"code", "code_verifier", "redirect_uri"} { // case 141
		twice := p.send("POST", "/oauth/token", "application/x-www-form-urlencoded",
			form.Encode()+"&"+name+"=a&"+name+"=b", http.Header{})
		a.refusedCode("two of "+name, "invalid_request", twice)
	}

	if got := a.redeem(code); got.status != 200 {
		t.Errorf("after all that: %d %s", got.status, got.body)
	}
}

// The code of another client, or of the same client URI in another community, is
// refused and stays good for its own client.
//
// Covers: S1-148, case 174
func TestCodeOfAnotherClient(t *testing.T) {
	p := newPeople(t)
	a, b := p.app(udaptest.Client1URI), p.app("https://client2.test/app")
	other := p.appOf(p.w.B, udaptest.Client1URI)
	code := a.code()
	b.refusedCode("another client", "invalid_grant", b.redeem(code))
	other.refusedCode("another community", "invalid_grant", other.redeem(code))

	got := a.redeem(code)
	if got.status != 200 {
		t.Fatalf("%d %s", got.status, got.body)
	}
	b.refusedCode("used before, by another client", "invalid_grant", b.redeem(code))
	b.refusedCode("refresh by another client", "invalid_grant", b.refresh(got.text("refresh_token")))
	other.refusedCode("refresh in another community", "invalid_grant", other.refresh(got.text("refresh_token")))
	if !a.works(got.text("access_token")) || a.refresh(got.text("refresh_token")).status != 200 {
		t.Error("another client's request ended the grant")
	}
}

// A code lives 60 s, and ends with what it was made from.
//
// Covers: S1-135, case 171
func TestCodeEnds(t *testing.T) {
	p := newPeople(t)
	a := p.app(udaptest.Client1URI)
	code := a.code()
	p.advance(time.Minute)
	a.refusedCode("after 60 s", "invalid_grant", a.redeem(code))

	code = a.code()
	p.advance(59 * time.Second)
	if got := a.redeem(code); got.status != 200 {
		t.Errorf("after 59 s: %d %s", got.status, got.body)
	}

	code = a.code()
	p.change(func() { p.disabled = true })
	a.refusedCode("the person is disabled", "invalid_grant", a.redeem(code))
	p.change(func() { p.disabled = false })

	code = a.code()
	claims := a.Interactive(p.now()).With("grant_types", []string{})
	if got := p.register(a.Client, claims); got.status != 200 {
		t.Fatalf("cancel: %d %s", got.status, got.body)
	}
	a.refusedCode("the client is cancelled", "invalid_client", a.redeem(code))
	a.register()
	a.refusedCode("registered again", "invalid_grant", a.redeem(code))
}

// A redirect URI that the client has no longer takes its codes with it, and a scope
// that it has no longer is not in the token.
//
// Covers: case 171, case 174
func TestCodeOfAChangedClient(t *testing.T) {
	p := newPeople(t)
	a := p.app(udaptest.Client1URI)
	code := a.code()
	a.register(with("redirect_uris", []string{"https://client1.test/new"}))
	a.refusedCode("the redirect URI is gone", "invalid_grant", a.redeem(code))

	a.register()
	code = a.code()
	a.register(with("scope", "openid patient/Patient.rs"))
	if got := a.redeem(code); got.status != 200 || got.text("scope") != "openid patient/Patient.rs" {
		t.Errorf("registered for less since: %d %s", got.status, got.body)
	}
}

// A code that is bound to a key is not redeemed without a proof of that key.
func TestCodeOfAKey(t *testing.T) {
	p := newPeople(t)
	a := p.app(udaptest.Client1URI)
	code := a.code("dpop_jkt", challengeOf("a key"))
	a.refusedCode("no proof", "invalid_grant", a.redeem(code))
	if tr := p.lastTrace(); tr.RefusedBy != "token.dpop_jkt" {
		t.Errorf("refused by %s", tr.RefusedBy)
	}
}

// Guessing is bounded by the client's rate; other clients are not affected.
//
// Covers: case 181
func TestGuessingIsBounded(t *testing.T) {
	p := newPeople(t, func(c *oauth.Config) { c.Limits.TokensPerClient = 20 })
	a := p.app(udaptest.Client1URI)
	code := a.code()
	guess := func(i int) answer {
		text := fmt.Sprintf("%s%040d", code[:24], i)
		if i%2 == 0 {
			return a.redeem(text)
		}
		return a.refresh(text + strings.Repeat("A", 43))
	}

	refused := 0
	for i := range 60 {
		switch got := guess(i); got.status {
		case 400:
			a.refusedCode("a guess", "invalid_grant", got)
		case 429:
			if refused++; got.header.Get("Retry-After") == "" {
				t.Error("no Retry-After")
			}
		default:
			t.Errorf("%d %s", got.status, got.body)
		}
	}

	if refused != 40 {
		t.Errorf("%d of 60 guesses were over the rate", refused)
	}

	other := p.client(p.w.B, "https://client2.test/app")
	id := p.registered(other)
	if got := p.token(other, udaptest.Assertion(id, p.now())); got.status != 200 {
		t.Errorf("another client: %d %s", got.status, got.body)
	}
	p.advance(time.Minute - 10*time.Second)
	if got := a.redeem(code); got.status != 200 {
		t.Errorf("the code itself, later: %d %s", got.status, got.body)
	}
}

// Codes do not repeat, and the file has their hashes only.
//
// Covers: case 179
func TestCodesAreHashed(t *testing.T) {
	p := newPeople(t)
	a := p.app(udaptest.Client1URI)
	seen := map[string]bool{}

	for range 100 {
		code := a.code()
		if seen[code[:22]] || seen[code[24:]] {
			t.Fatal("a part of a code comes twice")
		}
		seen[code[:22]], seen[code[24:]] = true, true
	}

	dump := p.dump()
	for part := range seen {
		if len(part) == 40 && strings.Contains(dump, part) {
			t.Error("a secret is in the file")
		}
	}
}

// A client of one grant type may not use the other.
//
// Covers: case 153, case 158
func TestGrantTypesAreApart(t *testing.T) {
	p := newPeople(t)
	a := p.app(udaptest.Client1URI)
	code := a.code()
	a.refusedCode("client_credentials", "unauthorized_client",
		p.token(a.Client, a.assertion(), "scope", "system/Patient.rs"))

	machine := p.client(p.w.A, "https://client2.test/app")
	id := p.registered(machine)
	for _, grant := range []string{"authorization_code", "refresh_token"} {
		got := p.token(machine, udaptest.Assertion(id, p.now()), "grant_type", grant, "code", code,
			"refresh_token", code)
		a.refusedCode(grant, "unauthorized_client", got)
	}

	// hl7-b2b beside a code is ignored.
	claims := udaptest.Assertion(a.id, p.now())
	got := p.token(a.Client, claims, "grant_type", "authorization_code", "scope", "-", "code", code,
		"redirect_uri", redirectURI, "code_verifier", verifier)
	if got.status != 200 || !warned(p.lastTrace(), "token.extension") {
		t.Fatalf("%d %s", got.status, got.body)
	}
	if access, err := p.bearer(got.text("access_token")); err != nil || len(access.Extensions) > 0 ||
		len(access.Purposes) > 0 {
		t.Errorf("%+v, %v", access, err)
	}
}
