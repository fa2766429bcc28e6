package oauth_test

import (
	"net/http"
	"strings"
	"testing"

	"fhirdest.example/server/oauth/dpop"
	"fhirdest.example/udap/client"
	"fhirdest.example/udap/udaptest"
)

// proven sends a token request of an app with a proof by a key.
func (a *app) proven(by *client.Proofs, params ...string) answer {
	a.p.t.Helper()
	proof, err := by.Proof("POST", tokenURL, "", a.p.now())
	if err != nil {
		a.p.t.Fatal(err)
	}

	form := a.p.form(a.Sign(a.p.t, a.assertion()))
	set(form, append([]string{"scope", "-"}, params...))
	got := a.p.send("POST", "/oauth/token", "application/x-www-form-urlencoded", form.Encode(),
		http.Header{"Dpop": {proof}})
	if text := got.text("access_token"); text != "" {
		a.p.secret(text)
	}
	return a.kept(got)
}

func redeemParams(code string) []string {
	return []string{
		"grant_type", "authorization_code",
		"code", code,
		"redirect_uri", redirectURI,
		"code_verifier", verifier,
	}
}

func refreshParams(token string) []string {
	return []string{"grant_type", "refresh_token", "refresh_token", token}
}

// provenHeader presents a bound token for userinfo.
func provenHeader(t *testing.T, p *peopled, by *client.Proofs, method, token string) http.Header {
	t.Helper()
	proof, err := by.Proof(method, issuer+"/userinfo", token, p.now())
	if err != nil {
		t.Fatal(err)
	}
	return http.Header{
		"Authorization": {"DPoP " + token},
		"Dpop":          {proof},
	}
}

// A code that was asked for with dpop_jkt is redeemed with a proof by that key and no
// other. A mistake does not use it up. Its tokens are bound to the key; a refresh may
// bring another key, and must bring one (RFC 9449 5 and 10).
func TestCodeAndRefreshWithProofs(t *testing.T) {
	p := newPeople(t)
	a := p.app(udaptest.Client1URI)
	_, own := newProofs(t, 7)
	_, other := newProofs(t, 8)
	code := a.code("dpop_jkt", own.Thumbprint())
	a.refusedCode("without a proof", "invalid_grant", a.redeem(code))
	a.refusedCode("by another key", "invalid_grant", a.proven(other, redeemParams(code)...))
	got := a.proven(own, redeemParams(code)...)
	access, refresh := got.text("access_token"), got.text("refresh_token")
	if got.status != 200 || got.text("token_type") != "DPoP" || got.text("id_token") == "" {
		t.Fatalf("%d %s", got.status, got.body)
	}

	for _, method := range []string{"GET", "POST"} {
		header := provenHeader(t, p, own, method, access)
		if got := p.userInfo(method, "", header); got.status != 200 || got.text("sub") != "person-1" {
			t.Errorf("userinfo: %d %s", got.status, got.body)
		}
		if got := p.userInfo(method, "", header); got.status != 401 || got.text("error") != "invalid_dpop_proof" {
			t.Errorf("userinfo, the proof again: %d %s", got.status, got.body)
		}
	}
	if got := p.userInfo("GET", "", provenHeader(t, p, other, "GET", access)); got.text("error") != "invalid_dpop_proof" {
		t.Errorf("userinfo, by another key: %s", got.body)
	}

	p.restart()
	a.refusedCode("refresh without a proof", "invalid_dpop_proof", a.refresh(refresh))
	got = a.proven(other, refreshParams(refresh)...)
	second := got.text("access_token")
	if got.status != 200 || got.text("token_type") != "DPoP" {
		t.Fatalf("refresh: %d %s", got.status, got.body)
	}
	if got := p.userInfo("GET", "", provenHeader(t, p, other, "GET", second)); got.status != 200 {
		t.Errorf("userinfo with the key of the refresh: %d %s", got.status, got.body)
	}
	if got := p.userInfo("GET", "", provenHeader(t, p, own, "GET", second)); got.status != 401 {
		t.Errorf("userinfo with the first key: %d", got.status)
	}
}

// One proof brings one token, also where codes and refresh tokens are many.
func TestProofOnceForAnyGrant(t *testing.T) {
	p := newPeople(t)
	a := p.app(udaptest.Client1URI)
	_, own := newProofs(t, 7)
	proof, err := own.Proof("POST", tokenURL, "", p.now())
	if err != nil {
		t.Fatal(err)
	}

	ask := func(params []string) answer {
		form := a.p.form(a.Sign(t, a.assertion()))
		set(form, append([]string{"scope", "-"}, params...))
		return p.send("POST", "/oauth/token", "application/x-www-form-urlencoded", form.Encode(),
			http.Header{"Dpop": {proof}})
	}
	first := ask(redeemParams(a.code()))
	if first.status != 200 {
		t.Fatalf("%d %s", first.status, first.body)
	}

	code := a.code()
	a.refusedCode("another code", "invalid_dpop_proof", ask(redeemParams(code)))
	a.refusedCode("refresh", "invalid_dpop_proof", ask(refreshParams(first.text("refresh_token"))))
	if got := a.proven(own, redeemParams(code)...); got.status != 200 {
		t.Errorf("the code beside a proof that was used before: %d %s", got.status, got.body)
	}
	if got := a.proven(own, refreshParams(first.text("refresh_token"))...); got.status != 200 {
		t.Errorf("the refresh token beside it: %d %s", got.status, got.body)
	}
}

// A client that registers with dpop_bound_access_tokens gets no other tokens, and
// those that it had before are dead.
func TestRegisteredForBoundTokens(t *testing.T) {
	h := newHolder(t)
	before := h.issued(h.client, h.id)
	bound := with("dpop_bound_access_tokens", true)
	if id := h.registered(h.client, bound); id != h.id {
		t.Fatalf("another client_id: %s", id)
	}
	if h.active(h.client, h.id, before) {
		t.Error("a bearer token of before is active")
	}

	refused := h.token(h.client, udaptest.Assertion(h.id, h.now()))
	h.checkRefusal("without a proof", refused, "invalid_dpop_proof")
	if check := h.lastTrace().RefusedBy; check != dpop.Bound.Name {
		t.Errorf("refused by %s", check)
	}
	h.usable(h.bound())

	for name, value := range map[string]any{"text": "true", "number": 1, "list": []bool{true}} {
		a := h.register(h.client, h.client.Statement(h.now()).With("dpop_bound_access_tokens", value))
		if a.text("error") != "invalid_client_metadata" {
			t.Errorf("%s: %d %s", name, a.status, a.body)
		}
	}

	echo := h.register(h.client, h.client.Statement(h.now()).With("dpop_bound_access_tokens", true))
	if echo.member("dpop_bound_access_tokens") != true {
		t.Errorf("the answer: %s", echo.body)
	}
	without := h.register(h.client, h.client.Statement(h.now()))
	if strings.Contains(string(without.body), "dpop_bound") {
		t.Errorf("registered without it: %s", without.body)
	}
	if a := h.token(h.client, udaptest.Assertion(h.id, h.now())); a.status != 200 || a.text("token_type") != "Bearer" {
		t.Errorf("a bearer token afterwards: %d %s", a.status, a.body)
	}
}
