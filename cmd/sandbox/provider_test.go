package main

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"fhirdest.example/certs"
	"fhirdest.example/cmd/internal/testbed"
	"fhirdest.example/udap/client"
	"fhirdest.example/udap/client/forms"
	"fhirdest.example/udap/trace"
)

// atProvider is a client of the identity provider itself, registered there.
func atProvider(t *testing.T, d *demo) *visit {
	t.Helper()
	community := d.manifest.Communities[4]
	if community.URI != testbed.CommunityIDP {
		t.Fatalf("the fifth community is %s", community.URI)
	}

	v := &visit{demo: d, user: d.manifest.Users[0]}
	var err error
	if v.party, err = d.newParty(community, "holder", certs.P256); err != nil {
		t.Fatal(err)
	}
	v.client.Close()

	cfg := d.clientConfig(community, v.party, "idp", "")
	cfg.Base, cfg.Dial, cfg.Wrap = d.manifest.IDP, "", nil
	if v.client, err = client.New(cfg); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(v.client.Close)

	if v.found, err = v.client.Discover(t.Context()); err != nil {
		t.Fatal(err)
	}
	if v.openid, err = v.client.OpenID(t.Context(), d.manifest.IDP); err != nil {
		t.Fatal(err)
	}
	v.request = client.Authorization{
		RedirectURI: v.uri + "/callback",
		Scope:       "openid udap",
		State:       client.NewSecret(),
		Verifier:    client.NewSecret(),
		Nonce:       client.NewSecret(),
	}
	if err := v.register(t.Context()); err != nil {
		t.Fatal(err)
	}
	return v
}

// ask is an authentication request with changes; an empty value removes a parameter.
func (v *visit) ask(t *testing.T, change url.Values) string {
	t.Helper()
	target, err := v.client.AuthorizationURL(v.found, v.request, trace.NewTrace("login", v.now()))
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(target)
	if err != nil {
		t.Fatal(err)
	}

	q := u.Query()
	for name, values := range change {
		q[name] = values
		if values[0] == "" {
			q.Del(name)
		}
	}
	u.RawQuery = q.Encode()
	return u.String()
}

func open(t *testing.T, b *forms.Browser, target string) *forms.Page {
	t.Helper()
	p, err := b.Open(t.Context(), target)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// The identity provider validates an authentication request, asks the person to sign
// in, and answers what is wrong at the redirect URI, or on a page where that is what is
// wrong.
//
// Covers: S1-131, S1-132, S1-252, S1-257, S1-258, S1-259, S1-260, S1-264, S1-265, S1-266, S1-267, S1-268
func TestIdentityProviderRequests(t *testing.T) {
	ownTemp(t)
	_, d := bedFor(t, testbed.Config{}, nil)
	v := atProvider(t, d)
	for name, row := range map[string]struct {
		change url.Values
		want   string // the error at the redirect URI; empty: a page
	}{
		"no scope openid":        {url.Values{"scope": {"udap"}}, "invalid_scope"},
		"no response_type":       {url.Values{"response_type": {""}}, "invalid_request"},
		"another response_type":  {url.Values{"response_type": {"id_token"}}, "unsupported_response_type"},
		"no PKCE":                {url.Values{"code_challenge": {""}, "code_challenge_method": {""}}, "invalid_request"},
		"prompt=none":            {url.Values{"prompt": {"none"}}, "login_required"},
		"prompt=none and login":  {url.Values{"prompt": {"none login"}}, "invalid_request"},
		"a bad max_age":          {url.Values{"max_age": {"-1"}}, "invalid_request"},
		"no client_id":           {url.Values{"client_id": {""}}, ""},
		"an unknown client_id":   {url.Values{"client_id": {"nobody"}}, ""},
		"another redirect_uri":   {url.Values{"redirect_uri": {"https://x.test/"}}, ""},
		"redirect_uri and slash": {url.Values{"redirect_uri": {v.request.RedirectURI + "/"}}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			b, done, err := v.browser()
			if err != nil {
				t.Fatal(err)
			}
			defer done()

			p := open(t, b, v.ask(t, row.change))
			q, _ := url.ParseQuery(p.Ended)
			if row.want == "" && (p.Ended != "" || p.Status != http.StatusBadRequest) || q.Get("error") != row.want {
				t.Errorf("%d %q, redirected with %s", p.Status, p.Title, p.Ended)
			}
			if row.want != "" && (q.Get("state") != v.request.State || q.Get("iss") != d.manifest.IDP || q.Has("code")) {
				t.Errorf("redirected with %s", p.Ended)
			}
		})
	}
}

// A person who is signed in at the identity provider is not asked again, unless the
// client wants it; whoever has not proved who they are is not signed in.
//
// Covers: S1-257, S1-265, S1-266, S1-267, S1-269, S1-278
func TestIdentityProviderSessions(t *testing.T) {
	ownTemp(t)
	_, d := bedFor(t, testbed.Config{}, nil)
	v := atProvider(t, d)
	b, done, err := v.browser()
	if err != nil {
		t.Fatal(err)
	}
	defer done()

	first := open(t, b, v.ask(t, nil))
	if f, _ := first.Button("signin"); f == nil {
		t.Fatalf("%d %q", first.Status, first.Title)
	}
	forged := *first
	forged.Forms = nil
	for _, f := range first.Forms {
		f.Values = url.Values{"request": f.Values["request"]} // without the token that binds it to the browser
		forged.Forms = append(forged.Forms, f)
	}
	person := url.Values{"username": {v.user.Username}, "password": {v.user.Password}}
	if p, err := b.Press(t.Context(), &forged, "signin", person); err != nil || p.Status < 400 {
		t.Errorf("a forged form: %+v, %v", p, err)
	}

	p, err := b.Press(t.Context(), first, "signin", person)
	for n := 0; err == nil && p.Ended == "" && n < forms.MostPages; n++ {
		p, err = b.Press(t.Context(), p, "approve", url.Values{"remember": {"yes"}})
	}
	if err != nil || !strings.Contains(p.Ended, "code=") {
		t.Fatalf("%+v, %v", p, err)
	}

	for prompt, asked := range map[string]string{"none": "", "login": "signin", "": ""} {
		p := open(t, b, v.ask(t, url.Values{"prompt": {prompt}}))
		if asked == "" && !strings.Contains(p.Ended, "code=") {
			t.Errorf("prompt %q: %q, redirected with %s", prompt, p.Title, p.Ended)
		}
		if f, _ := p.Button("signin"); asked != "" && f == nil {
			t.Errorf("prompt %q: %q, redirected with %s", prompt, p.Title, p.Ended)
		}
	}

	res, err := v.transport().RoundTrip(must(http.NewRequestWithContext(t.Context(), http.MethodGet, v.ask(t, nil), nil)))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if csp := res.Header.Get("Content-Security-Policy"); !strings.Contains(csp, "frame-ancestors 'none'") ||
		strings.Contains(csp, "unsafe") {
		t.Errorf("the page may be framed: %q", csp)
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
