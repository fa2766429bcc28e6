package oauth_test

import (
	"net/url"
	"slices"
	"strings"
	"testing"

	"fhirdest.example/server/oauth"
	"fhirdest.example/udap/trace"
	"fhirdest.example/udap/udaptest"
)

// A good request gets a code, by GET and by POST, with the state and the issuer, and
// keeps a query that the redirect URI has.
//
// Covers: S1-133, S1-134, S1-138, S1-190, S1-246, case 184, case 191, case 198
func TestAuthorize(t *testing.T) {
	p := newPeople(t)
	a := p.app(udaptest.Client1URI)
	const state = `a b+c&error=x=%0d%0aé"<script>`

	for _, method := range []string{"GET", "POST"} {
		v := p.redirected(p.browse(method, a.query("state", state).Encode()), redirectURI)
		if v.Get("state") != state || len(v.Get("code")) != 64 || len(v) != 3 {
			t.Errorf("%s: %v", method, v)
		}
		p.secret(v.Get("code"))

		const other = "https://client1.test/other?x=1"
		got := p.browse(method, a.query("redirect_uri", other).Encode())
		if v := p.redirected(got, other); v.Get("code") == "" ||
			!strings.HasPrefix(got.header.Get("Location"), other+"&") {
			t.Errorf("%s: %v", method, got.header)
		}
	}

	if got := p.asked; got.State != "the state" || got.Challenge != challengeOf(verifier) ||
		!slices.Equal(got.Scope, strings.Fields(scopeOfPeople)) || got.Registration.ID != a.id {
		t.Errorf("the request: %+v", got)
	}
	if steps := p.lastTrace().Steps; steps[len(steps)-1].Check != "authorize.approved" {
		t.Errorf("the trace ends in %+v", steps[len(steps)-1])
	}
}

// What the person is asked with is handed on.
func TestAuthorizeHandsOn(t *testing.T) {
	p := newPeople(t)
	a := p.app(udaptest.Client1URI)
	a.code("prompt", "login consent", "max_age", "60", "login_hint", "pat", "acr_values", "x", "nonce", "n",
		"dpop_jkt", challengeOf("key"), "idp", "https://idp.test", "aud", udaptest.Base, "unknown", "y")
	got := p.asked
	if !slices.Equal(got.Prompt, []string{"login", "consent"}) || *got.MaxAge != 60 || got.LoginHint != "pat" ||
		got.ACRValues != "x" || got.Nonce != "n" || got.KeyThumbprint != challengeOf("key") || got.IdP != "" {
		t.Errorf("%+v", got)
	}

	if !warned(p.lastTrace(), "authorize.idp") {
		t.Error("nothing says that idp was ignored")
	}

	again, err := p.svc.ParseAuthorization(t.Context(), got.Query, nil)
	if err != nil || again.State != got.State || again.RedirectURI != got.RedirectURI {
		t.Errorf("parsed again: %+v, %v", again, err)
	}
}

// A client or redirect URI that cannot be trusted is never redirected to.
//
// Covers: S1-242, case 182, case 183, case 185, case 201, case 203, D-42
func TestAuthorizeShowsPage(t *testing.T) {
	p := newPeople(t)
	a := p.app(udaptest.Client1URI)
	machine := p.registered(p.client(p.w.A, "https://client2.test/app"))
	page := func(name, query string) {
		t.Helper()
		for _, method := range []string{"GET", "POST"} {
			got := p.browse(method, query)
			if got.status != 400 || got.header.Get("Location") != "" || !strings.Contains(string(got.body), "page: ") {
				t.Errorf("%s by %s: %d %v %s", name, method, got.status, got.header, got.body)
			}
		}
	}

	page("unknown client", a.query("client_id", "nobody", "redirect_uri", "https://evil.test").Encode())
	page("no client", a.query("client_id", "-").Encode())
	page("a client without redirect URIs", a.query("client_id", string(machine)).Encode())
	page("two clients", a.query().Encode()+"&client_id=nobody")
	page("two redirect URIs", a.query().Encode()+"&redirect_uri=https%3A%2F%2Fevil.test")
	page("absent, and the client has two", a.query("redirect_uri", "-").Encode())
	page("bad escape", a.query().Encode()+"&x=%zz")
	page("many parameters", a.query().Encode()+strings.Repeat("&x=1", 70))

	for _, uri := range []string{
		"https://evil.test", "https://CLIENT1.test/cb", "https://client1.test/CB", "https://client1.test/cb/",
		"https://client1.test/cb?x=1", "https://client1.test/cb#x", "https://client1.test/cb/more",
		"https://client1.test/%63b", "https://client1.test/a/%2e%2e/cb", "https://client1.test//cb",
		"https://client1.test:443/cb", "https://user@client1.test/cb", `https://client1.test\@evil.test/cb`,
		"https://client1.test/cb&x", "http://client1.test/cb", "https://cl\u0456ent1.test/cb",
		"https://client1.test.evil.test/cb", "https://evilclient1.test/cb", "https://%63lient1.test/cb", "javascript:alert(1)",
		"https://client1.test/cb\r\nSet-Cookie: x=1", "//client1.test/cb", "https://client1.test/cb ", "data:text/html,x",
	} {
		page(uri, a.query("redirect_uri", uri).Encode())
	}

	if got := p.browse("PUT", a.query().Encode()); got.status != 405 || got.header.Get("Allow") != "GET, HEAD, POST" {
		t.Errorf("PUT: %d %v", got.status, got.header)
	}
	if got := p.browse("POST", "x="+strings.Repeat("y", 65<<10)); got.status != 413 {
		t.Errorf("a large form: %d", got.status)
	}
}

// The only registered redirect URI may be left out, and is then left out with the
// code, too.
//
// Covers: S1-150, case 185
func TestOnlyRedirectURI(t *testing.T) {
	p := newPeople(t)
	a := p.app(udaptest.Client1URI, with("redirect_uris", []string{redirectURI}))
	code := a.code("redirect_uri", "-")
	a.refusedCode("redirect_uri that was left out before", "invalid_grant", a.redeem(code))
	if got := a.redeem(code, "redirect_uri", "-"); got.status != 200 {
		t.Errorf("%d %s", got.status, got.body)
	}
}

// Every other mistake comes back to the client, with its state.
//
// Covers: S1-258, S1-260, S1-264
// Covers: S2-12, S2-13, S2-16, case 170, case 186, case 187, case 188, case 189, case 190, case 192, case 193,
// D-42
func TestAuthorizeRedirectsMistakes(t *testing.T) {
	p := newPeople(t)
	a := p.app(udaptest.Client1URI)
	c := challengeOf(verifier)
	for name, row := range map[string]struct {
		params []string
		code   trace.Code
		check  string
	}{
		"no state":      {[]string{"state", "-"}, trace.InvalidRequest, "authorize.state"},
		"empty state":   {[]string{"state", ""}, trace.InvalidRequest, "authorize.state"},
		"no challenge":  {[]string{"code_challenge", "-"}, trace.InvalidRequest, "authorize.pkce"},
		"no method":     {[]string{"code_challenge_method", "-"}, trace.InvalidRequest, "authorize.pkce"},
		"plain":         {[]string{"code_challenge_method", "plain"}, trace.InvalidRequest, "authorize.pkce"},
		"s256":          {[]string{"code_challenge_method", "s256"}, trace.InvalidRequest, "authorize.pkce"},
		"42 characters": {[]string{"code_challenge", c[1:]}, trace.InvalidRequest, "authorize.pkce"},
		"44 characters": {[]string{"code_challenge", c + "A"}, trace.InvalidRequest, "authorize.pkce"},
		"padded":        {[]string{"code_challenge", c + "="}, trace.InvalidRequest, "authorize.pkce"},
		"plus":          {[]string{"code_challenge", "+" + c[1:]}, trace.InvalidRequest, "authorize.pkce"},
		"token": {
			[]string{"response_type", "token"},
			trace.UnsupportedResponseType,
			"authorize.response_type",
		},
		"id_token": {
			[]string{"response_type", "id_token"},
			trace.UnsupportedResponseType,
			"authorize.response_type",
		},
		"code token": {
			[]string{"response_type", "code token"},
			trace.UnsupportedResponseType,
			"authorize.response_type",
		},
		"code id_token": {
			[]string{"response_type", "code id_token"},
			trace.UnsupportedResponseType,
			"authorize.response_type",
		},
		"none": {
			[]string{"response_type", "none"},
			trace.UnsupportedResponseType,
			"authorize.response_type",
		},
		"no response_type": {[]string{"response_type", "-"}, trace.InvalidRequest, "authorize.response_type"},
		"fragment":         {[]string{"response_mode", "fragment"}, trace.InvalidRequest, "authorize.response_type"},
		"form_post": {
			[]string{"response_mode", "form_post"},
			trace.InvalidRequest,
			"authorize.response_type",
		},
		"web_message": {
			[]string{"response_mode", "web_message"},
			trace.InvalidRequest,
			"authorize.response_type",
		},
		"query.jwt": {
			[]string{"response_mode", "query.jwt"},
			trace.InvalidRequest,
			"authorize.response_type",
		},
		"request":             {[]string{"request", "a.b.c"}, trace.RequestNotSupported, "authorize.request"},
		"request_uri":         {[]string{"request_uri", p.canary}, trace.RequestURINotSupported, "authorize.request"},
		"other audience":      {[]string{"aud", "https://other.test/fhir"}, trace.InvalidRequest, "authorize.aud"},
		"none and login":      {[]string{"prompt", "none login"}, trace.InvalidRequest, "authorize.prompt"},
		"unknown prompt":      {[]string{"prompt", "create"}, trace.InvalidRequest, "authorize.prompt"},
		"negative max_age":    {[]string{"max_age", "-1"}, trace.InvalidRequest, "authorize.prompt"},
		"max_age is no count": {[]string{"max_age", "1e3"}, trace.InvalidRequest, "authorize.prompt"},
		"short thumbprint":    {[]string{"dpop_jkt", c[1:]}, trace.InvalidRequest, "authorize.dpop_jkt"},
		"system scope":        {[]string{"scope", "system/Patient.rs"}, trace.InvalidScope, "authorize.scope"},
		"unregistered scope":  {[]string{"scope", "patient/Device.rs"}, trace.InvalidScope, "authorize.scope"},
		"wildcard":            {[]string{"scope", "openid patient/*.rs"}, trace.InvalidScope, "authorize.scope"},
		"two spaces":          {[]string{"scope", "openid  user/Patient.rs"}, trace.InvalidScope, "authorize.scope"},
	} {
		t.Run(name, func(t *testing.T) {
			v := p.redirected(p.browse("GET", a.query(row.params...).Encode()), redirectURI)
			want := a.query(row.params...).Get("state")
			if v.Get("error") != string(row.code) || v.Get("state") != want || v.Has("state") != (want != "") ||
				v.Get("error_description") == "" || v.Has("code") {
				t.Errorf("%v", v)
			}
			if tr := p.lastTrace(); tr.RefusedBy != row.check || tr.ClientID != a.id {
				t.Errorf("refused by %s, client %q", tr.RefusedBy, tr.ClientID)
			}
		})
	}
}

// Parameters with two values are refused. Of two states neither comes back.
//
// Covers: case 186, case 187, case 188
func TestAuthorizeParametersTwice(t *testing.T) {
	p := newPeople(t)
	a := p.app(udaptest.Client1URI)
	for _, name := range []string{"state", "scope", "response_type", "code_challenge", "nonce"} {
		v := p.redirected(p.browse("GET", a.query().Encode()+"&"+name+"=other&"+name+"=another"), redirectURI)
		if v.Get("error") != "invalid_request" || v.Has("state") == (name == "state") {
			t.Errorf("two of %s: %v", name, v)
		}
	}

	v := p.redirected(p.browse("GET", a.query("state", strings.Repeat("s", 5000)).Encode()), redirectURI)
	if v.Get("error") != "invalid_request" || v.Has("state") {
		t.Errorf("a long state: %v", v)
	}
}

// The scopes are negotiated as at the token endpoint (UDAP Security 2.0, 7.3).
//
// Covers: S2-15, S2-16, case 192
func TestAuthorizeScope(t *testing.T) {
	p := newPeople(t)
	a := p.app(udaptest.Client1URI)
	for asked, want := range map[string]string{
		"openid openid patient/Device.rs": "openid",
		"user/Patient.cruds":              "user/Patient.rs",
		"-":                               scopeOfPeople,
	} {
		got := a.redeem(a.code("scope", asked))
		if got.text("scope") != want {
			t.Errorf("%s: %q, want %q", asked, got.text("scope"), want)
		}
	}

	// Scopes for refresh tokens are for clients that are registered for the grant.
	a.register(with("grant_types", []string{"authorization_code"}))
	got := a.redeem(a.code("scope", "openid offline_access"))
	if got.text("scope") != "openid" || got.text("refresh_token") != "" {
		t.Errorf("%s", got.body)
	}
}

// A scope for refresh tokens gives access to nothing: alone it is refused, whether or
// not the client is registered for refresh tokens.
//
// Covers: S2-15, case 192
func TestAuthorizeRefreshScopesAlone(t *testing.T) {
	p := newPeople(t)
	a := p.app(udaptest.Client1URI)
	refused := func(asked string) {
		t.Helper()
		query := a.query("scope", asked).Encode()
		v := p.redirected(p.browse("GET", query), redirectURI)
		if v.Get("error") != "invalid_scope" || v.Get("code") != "" {
			t.Errorf("%s: %v", asked, v)
		}
	}

	for range 2 {
		refused("offline_access")
		refused("online_access")
		refused("offline_access online_access")
		a.register(with("grant_types", []string{"authorization_code"}))
	}
}

// A client of edition 1 may leave out PKCE and state, and is told; one of edition 2
// beside it may not.
//
// Covers: S2-12, S2-13, D-43
func TestAuthorizeOfEdition1(t *testing.T) {
	p := newPeople(t, func(c *oauth.Config) {
		c.Verifier.Communities[1].Policy.Edition = 1
	})
	old, strict := p.appOf(p.w.B, udaptest.Client1URI), p.app(udaptest.Client1URI)
	params := []string{"code_challenge", "-", "code_challenge_method", "-", "state", "-"}
	code := old.code(params...)

	for _, check := range []string{"authorize.pkce", "authorize.state"} {
		if !warned(p.lastTrace(), check) {
			t.Errorf("%s: no warning", check)
		}
	}

	old.refusedCode("a verifier for a code without challenge", "invalid_grant", old.redeem(code))
	if got := old.redeem(code, "code_verifier", "-"); got.status != 200 ||
		!warned(p.lastTrace(), "token.code_verifier") {
		t.Errorf("%d %s", got.status, got.body)
	}
	v := p.redirected(p.browse("GET", strict.query(params...).Encode()), redirectURI)
	if v.Get("error") != "invalid_request" {
		t.Errorf("edition 2: %v", v)
	}
}

// What the person agreed to must be a part of the request, and the client's
// registration the one that was seen.
//
// Covers: case 202
func TestApproveRefuses(t *testing.T) {
	p := newPeople(t)
	a := p.app(udaptest.Client1URI)
	for name, edit := range map[string]func(*oauth.Approval){
		"a scope that was not asked for": func(a *oauth.Approval) { a.Scope = []string{"user/Patient.rs"} },
		"nothing":                        func(a *oauth.Approval) { a.Scope = nil },
		"nobody":                         func(a *oauth.Approval) { a.Person.Subject = "" },
	} {
		req := p.request(a.query("scope", "openid"))
		approval := oauth.Approval{
			Person: oauth.Person{Subject: "person-1"},
			Scope:  req.Scope,
		}
		edit(&approval)
		if location, err := p.svc.Approve(t.Context(), req, approval); err == nil {
			t.Errorf("%s: %s", name, location)
		}
	}

	req := p.request(a.query())
	a.register(with("client_name", "Another Name"))
	_, err := p.svc.Approve(t.Context(), req, oauth.Approval{
		Person: oauth.Person{Subject: "person-1"},
		Scope:  req.Scope,
	})
	if err == nil || oauth.RefusalOf(err).Of.Check != "authorize.unchanged" {
		t.Errorf("the client has changed: %v", err)
	}
}

// request parses an authorization request without its endpoint.
func (p *peopled) request(v url.Values) *oauth.AuthorizationRequest {
	p.t.Helper()
	req, err := p.svc.ParseAuthorization(p.t.Context(), v.Encode(), nil)
	if err != nil {
		p.t.Fatal(err)
	}
	return req
}

// The person's refusal goes to the client by redirect.
//
// Covers: case 191, case 193
func TestDecline(t *testing.T) {
	p := newPeople(t)
	a := p.app(udaptest.Client1URI)
	for _, code := range []trace.Code{
		trace.AccessDenied, trace.LoginRequired, trace.ConsentRequired, trace.InteractionRequired, trace.InvalidIDP,
		trace.ServerError, trace.TemporarilyUnavailable,
	} {
		req := p.request(a.query())
		u, err := url.Parse(p.svc.Decline(req, code, "the reason"))
		if err != nil {
			t.Fatal(err)
		}
		v := u.Query()
		if v.Get("error") != string(code) || v.Get("iss") != issuer || v.Get("state") != "the state" ||
			req.Trace.Code != code {
			t.Errorf("%s: %v", code, v)
		}
	}
}

// A redirect URI that is not quite a registered one is shown beside it, from the first
// character that differs, at both endpoints.
//
// Covers: D-09
func TestDifferenceOfRedirectURIs(t *testing.T) {
	p := newPeople(t)
	a := p.app(udaptest.Client1URI)
	const sent, words = redirectURI + "/", `differs from character 24 on: "" is registered, "/" was sent`
	for _, method := range []string{"GET", "POST"} {
		p.browse(method, a.query("redirect_uri", sent).Encode())
		step := p.lastTrace().Steps[len(p.lastTrace().Steps)-1]
		if step.Check != "authorize.redirect_uri" || !strings.Contains(step.Remedy, words) {
			t.Errorf("by %s: %+v", method, step)
		}
	}

	a.redeem(a.code(), "redirect_uri", sent)
	tr := p.lastTrace()
	if step := tr.Steps[len(tr.Steps)-1]; tr.RefusedBy != "token.redirect_uri" ||
		!strings.Contains(step.Remedy, words) {
		t.Errorf("%s: %+v", tr.RefusedBy, step)
	}
}
