package oauth_test

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"fhirdest.example/server/oauth"
	"fhirdest.example/server/oauth/idtoken"
	"fhirdest.example/udap/jose"
	"fhirdest.example/udap/udaptest"
)

// verifyIDToken verifies an ID token as a client does, by the published key that it
// names, and returns its claims.
func (p *peopled) verifyIDToken(text string) map[string]any {
	p.t.Helper()
	jws, fault := jose.Open(text, nil)
	if fault == nil {
		fault = jws.CheckAlgorithm()
	}
	if fault != nil {
		p.t.Fatalf("%q: %v", text, fault)
	}

	set, err := jose.ParseObject(p.get("GET", "/oauth/jwks", nil).body)
	if err != nil {
		p.t.Fatal(err)
	}
	keys, err := jose.Elements(set["keys"], 10)
	if err != nil {
		p.t.Fatal(err)
	}

	kid, _ := jws.Header.Text("kid")
	for _, k := range keys {
		jwk, err := jose.ParseObject(k)
		if err != nil {
			p.t.Fatal(err)
		}
		if id, _ := jwk.Text("kid"); id != kid {
			continue
		}

		pub, fault := jose.DecodeKey(jwk)
		if fault == nil {
			fault = jws.VerifyKey(pub)
		}
		if alg, _ := jwk.Text("alg"); fault != nil || alg != "RS256" || jws.Algorithm != alg {
			p.t.Errorf("alg %s: %v", alg, fault)
		}

		return p.claims(text)
	}

	p.t.Fatalf("kid %q is of no published key", kid)
	return nil
}

func (p *peopled) claims(text string) (claims map[string]any) {
	p.t.Helper()
	body, err := base64.RawURLEncoding.DecodeString(strings.Split(text, ".")[1])
	if err == nil {
		err = json.Unmarshal(body, &claims)
	}
	if err != nil {
		p.t.Fatal(err)
	}
	return claims
}

// An ID token says who signed in, when, and to which client; it is bound to the
// authorization request by the nonce and to the access token by at_hash. A refreshed
// one has no nonce, and says when the person did sign in.
//
// Covers: S1-259, S1-262
func TestIDToken(t *testing.T) {
	p := newPeople(t)
	a := p.app(udaptest.Client1URI)
	signedIn := p.now()
	first := a.redeem(a.code("nonce", "the nonce"))
	claims := p.verifyIDToken(p.secret(first.text("id_token")))
	sum := sha256.Sum256([]byte(first.text("access_token")))
	for name, want := range map[string]any{
		"iss":       issuer,
		"sub":       "person-1",
		"aud":       string(a.id),
		"nonce":     "the nonce",
		"fhirUser":  udaptest.Base + "/Patient/pat-1",
		"at_hash":   base64.RawURLEncoding.EncodeToString(sum[:16]),
		"auth_time": float64(signedIn.Unix()),
		"iat":       float64(p.now().Unix()),
		"exp":       float64(p.now().Add(10 * time.Minute).Unix()),
	} {
		if claims[name] != want {
			t.Errorf("%s: %v, want %v", name, claims[name], want)
		}
	}
	if len(claims) != 9 {
		t.Errorf("claims %v", claims)
	}

	p.restart()
	p.advance(2 * time.Minute)
	second := a.refresh(first.text("refresh_token"))
	claims = p.verifyIDToken(p.secret(second.text("id_token")))
	if claims["nonce"] != nil || claims["auth_time"] != float64(signedIn.Unix()) || claims["sub"] != "person-1" ||
		claims["iat"] != float64(p.now().Unix()) {
		t.Errorf("refreshed: %v", claims)
	}
	p.verifyIDToken(first.text("id_token")) // by the key that is published after the restart

	for name, got := range map[string]answer{
		"no openid":       a.redeem(a.code("scope", "patient/Patient.rs fhirUser", "nonce", "x")),
		"openid left out": a.refresh(second.text("refresh_token"), "scope", "patient/Patient.rs"),
	} {
		if got.status != 200 || got.member("id_token") != nil {
			t.Errorf("%s: %d %s", name, got.status, got.body)
		}
	}

	bare := p.verifyIDToken(p.secret(a.redeem(a.code("scope", "openid patient/Patient.rs")).text("id_token")))
	if bare["fhirUser"] != nil || bare["nonce"] != nil {
		t.Errorf("without fhirUser and nonce: %v", bare)
	}
}

// New keys of ID tokens are published at once; what the old one signed is verified as
// long as it is among them.
func TestIDTokenKeysAreReplaced(t *testing.T) {
	p := newPeople(t)
	a := p.app(udaptest.Client1URI)
	old := a.redeem(a.code()).text("id_token")
	p.verifyIDToken(old)
	if err := p.svc.SetIDTokenKeys(idTokenKeys(t, 2, 1)); err != nil {
		t.Fatal(err)
	}

	p.verifyIDToken(old)
	fresh := a.redeem(a.code()).text("id_token")
	p.verifyIDToken(fresh)
	if strings.Split(old, ".")[0] == strings.Split(fresh, ".")[0] {
		t.Error("the old key signs still")
	}
	if err := p.svc.SetTrust(p.w.Verifier(), nil); err != nil {
		t.Fatal(err)
	}
	p.verifyIDToken(fresh)
}

// userInfo asks who the person of a token is.
func (p *peopled) userInfo(method, body string, header http.Header) answer {
	p.t.Helper()
	contentType := ""
	if body != "" {
		contentType = "application/x-www-form-urlencoded"
	}
	return p.send(method, "/oauth/userinfo", contentType, body, header)
}

func bearerHeader(token string) http.Header { return http.Header{"Authorization": {"Bearer " + token}} }

// Userinfo answers whoever has a token of a person with the scope openid, by GET and
// by POST, with what the token's scopes allow, until the token is dead.
//
// Covers: case 230
func TestUserInfo(t *testing.T) {
	p := newPeople(t)
	a := p.app(udaptest.Client1URI)
	access, refresh := a.tokens()
	for _, method := range []string{"GET", "POST"} {
		got := p.userInfo(method, "", bearerHeader(access))
		if got.status != 200 || string(got.body) != `{"sub":"person-1","fhirUser":"`+udaptest.Base+`/Patient/pat-1"}` {
			t.Errorf("%s: %d %s", method, got.status, got.body)
		}
	}

	bare := a.redeem(a.code("scope", "openid patient/Patient.rs")).text("access_token")
	if got := p.userInfo("GET", "", bearerHeader(bare)); string(got.body) != `{"sub":"person-1"}` {
		t.Errorf("without fhirUser: %s", got.body)
	}

	machine := p.client(p.w.A, "https://client2.test/app")
	ofMachine := p.issued(machine, p.registered(machine))
	unnamed := a.redeem(a.code("scope", "patient/Patient.rs fhirUser")).text("access_token")
	code := a.code()
	whole := a.redeem(a.code())
	for name, row := range map[string]struct {
		header    http.Header
		status    int
		code      string
		challenge string
	}{
		"no token":           {nil, 401, "invalid_token", `Bearer realm="fhir"`},
		"a client's own":     {bearerHeader(ofMachine), 403, "insufficient_scope", `Bearer error="insufficient_scope"`},
		"no openid":          {bearerHeader(unnamed), 403, "insufficient_scope", `Bearer error="insufficient_scope"`},
		"an ID token":        {bearerHeader(whole.text("id_token")), 401, "invalid_token", `Bearer error="invalid_token"`},
		"a refresh token":    {bearerHeader(refresh), 401, "invalid_token", `Bearer error="invalid_token"`},
		"a code":             {bearerHeader(code), 401, "invalid_token", `Bearer error="invalid_token"`},
		"an assertion":       {bearerHeader(a.Sign(t, a.assertion())), 401, "invalid_token", `Bearer error="invalid_token"`},
		"two tokens":         {http.Header{"Authorization": {"Bearer " + access, "Bearer " + access}}, 400, "invalid_request", `Bearer error="invalid_request"`},
		"in the DPoP scheme": {http.Header{"Authorization": {"DPoP " + access}}, 401, "invalid_token", `DPoP error="invalid_token"`},
	} {
		t.Run(name, func(t *testing.T) {
			got := p.userInfo("GET", "", row.header)
			p.checkRefusal(name, got, row.code)
			if got.status != row.status || !strings.HasPrefix(got.header.Get("WWW-Authenticate"), row.challenge) {
				t.Errorf("%d %q", got.status, got.header.Get("WWW-Authenticate"))
			}
		})
	}

	if got := p.userInfo("POST", "access_token="+access, nil); got.status != 401 {
		t.Errorf("a token in the body: %d", got.status)
	}
	if got := p.userInfo("PUT", "", bearerHeader(access)); got.status != 405 || got.header.Get("Allow") != "GET, HEAD, POST" {
		t.Errorf("PUT: %d %v", got.status, got.header)
	}
	p.change(func() { p.disabled = true })
	if got := p.userInfo("GET", "", bearerHeader(access)); got.status != 401 {
		t.Errorf("a person who may no longer sign in: %d", got.status)
	}
}

// The OpenID provider's document is that of RFC 8414, byte for byte, and true; there
// is none without people.
//
// Covers: case 015
func TestOpenIDConfiguration(t *testing.T) {
	p := newPeople(t)
	got := p.get("GET", "/oauth/.well-known/openid-configuration", nil)
	other := p.get("GET", "/.well-known/oauth-authorization-server/oauth", nil)
	if got.status != 200 || string(got.body) != string(other.body) {
		t.Errorf("%d %s\n%s", got.status, got.body, other.body)
	}

	for name, want := range map[string]string{
		"issuer":                 issuer,
		"authorization_endpoint": issuer + "/authorize",
		"token_endpoint":         issuer + "/token",
		"userinfo_endpoint":      issuer + "/userinfo",
		"jwks_uri":               issuer + "/jwks",
	} {
		if got.text(name) != want {
			t.Errorf("%s: %q, want %q", name, got.text(name), want)
		}
	}

	for name, want := range map[string]string{
		"id_token_signing_alg_values_supported":          `["RS256"]`,
		"subject_types_supported":                        `["public"]`,
		"response_types_supported":                       `["code"]`,
		"response_modes_supported":                       `["query"]`,
		"request_parameter_supported":                    `false`,
		"request_uri_parameter_supported":                `false`,
		"claims_parameter_supported":                     `false`,
		"authorization_response_iss_parameter_supported": `true`,
		"dpop_signing_alg_values_supported":              `["RS256","ES256","RS384","ES384"]`,
	} {
		if text, _ := json.Marshal(got.member(name)); string(text) != want {
			t.Errorf("%s: %s, want %s", name, text, want)
		}
	}

	without := newEnv(t)
	if got := without.get("GET", "/oauth/.well-known/openid-configuration", nil); got.status != 404 {
		t.Errorf("without people: %d", got.status)
	}
}

// Where people sign in and openid is among the scopes there must be a key.
func TestPeopleNeedKeysOfIDTokens(t *testing.T) {
	p := newPeople(t)
	cfg := p.config
	cfg.Store, cfg.IDTokens = p.store, nil
	if _, err := oauth.New(cfg); err == nil || !strings.Contains(err.Error(), "key for ID tokens") {
		t.Error(err)
	}
}

// An id_token_hint must be an ID token of this server, though it may be an old one, and
// nobody else than the person that it names can grant what the request asks for.
//
// Covers: S1-261, S1-262, S1-263
func TestIDTokenHint(t *testing.T) {
	p := newPeople(t)
	a := p.app(udaptest.Client1URI)
	hint := p.secret(a.redeem(a.code()).text("id_token"))
	p.advance(time.Hour)
	a.code("id_token_hint", hint)

	p.change(func() { p.edit = func(a *oauth.Approval) { a.Person.Subject = "person-2" } })
	v := p.redirected(p.browse("GET", a.query("id_token_hint", hint).Encode()), redirectURI)
	if v.Get("error") != "login_required" || v.Get("code") != "" || v.Get("state") != "the state" {
		t.Errorf("another person: %v", v)
	}
	a.code() // without a hint anybody may

	own := idTokenKeys(t, 1)
	sign := func(keys idtoken.Keys, issuer, subject string) string {
		text, err := keys.Sign(idtoken.Claims{
			Issuer:  issuer,
			Subject: subject,
		}, "", p.now())
		if err != nil {
			t.Fatal(err)
		}
		return p.secret(text)
	}
	segments := strings.Split(hint, ".")
	for name, bad := range map[string]string{
		"another key":    sign(idTokenKeys(t, 2), issuer, "person-1"),
		"another issuer": sign(own, "https://evil.test", "person-1"),
		"nobody":         sign(own, issuer, ""),
		"no token":       "x",
		"changed":        segments[0] + "." + segments[1] + "." + strings.Repeat("A", len(segments[2])),
		"alg none":       "eyJhbGciOiJub25lIn0." + segments[1] + ".",
		"an assertion":   p.secret(a.Sign(t, a.assertion())),
	} {
		v := p.redirected(p.browse("GET", a.query("id_token_hint", bad).Encode()), redirectURI)
		if v.Get("error") != "invalid_request" || p.lastTrace().RefusedBy != "authorize.id_token_hint" {
			t.Errorf("%s: %v, refused by %s", name, v, p.lastTrace().RefusedBy)
		}
	}
}
