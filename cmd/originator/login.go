package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"fhirdest.example/gateway/complaint"
	"fhirdest.example/udap/client"
	"fhirdest.example/udap/trace"
)

// login runs the authorization code flow: a person signs in at the destination
// and decides what this client may do.
func login(ctx context.Context, c *call) error {
	redirect, err := c.loginParameters()
	if err != nil {
		return err
	}

	key, err := c.bindTokens()
	if err != nil {
		return err
	}

	cl, d, err := c.begin(ctx)
	if err != nil {
		return err
	}
	defer cl.Close()

	provider, err := c.provider(ctx, cl, d)
	if err != nil {
		return err
	}

	asked := c.authorization(redirect)
	tr := trace.NewTrace("login", c.now())
	code, err := c.person(ctx, cl, d, provider, asked, tr)
	c.out.trace(tr)
	if err != nil {
		return err
	}

	got, err := c.exchange(ctx, cl, d, asked, code)
	if err != nil {
		return err
	}

	c.session.DPoPKey = key
	return c.signedIn(ctx, cl, provider, asked, got)
}

// provider returns what the destination publishes about signing people in. A server
// that has no such document can give access, but not say who the person is.
func (c *call) provider(ctx context.Context, cl *client.Client, d *client.Discovery) (*client.OpenID, error) {
	p, err := cl.OpenIDOf(ctx, d)
	c.out.trace(p.Trace)
	absent := p.Reply != nil && p.Reply.Status == http.StatusNotFound
	if err == nil || !absent || slices.Contains(strings.Fields(c.scope), "openid") {
		return p, err
	}

	fmt.Fprintln(c.out.err, "going on without: the scope has no openid, so that no ID token is expected")
	return &client.OpenID{}, nil
}

// loginParameters returns the redirect URI to use, after checks that need no network.
func (c *call) loginParameters() (redirect string, err error) {
	s := c.session
	if s.ClientID == "" {
		return "", complaint.New("there is no registration yet",
			"originator register -grant authorization_code -redirect URL -logo URL comes first")
	}

	orElse(&c.scope, s.standalone(c.launch))
	if c.idp != "" && !slices.Contains(strings.Fields(c.scope), "udap") {
		c.scope += " udap" // UDAP Security 2.0, 6.1: the scope that makes idp mean something
	}

	redirects := c.redirects
	if len(redirects) == 0 {
		redirects = s.Redirects
	}

	switch {
	case len(redirects) == 0:
		return "", complaint.New("no redirect URI is known",
			"name the one that was registered: -redirect http://127.0.0.1:8765/callback")
	case len(c.redirects) > 1:
		return "", complaint.New("several redirect URIs are given", "a login uses one of them")
	}

	return redirects[0], nil
}

// authorization is the request to the authorization endpoint, with new secrets.
func (c *call) authorization(redirect string) client.Authorization {
	a := client.Authorization{
		ClientID:    trace.ClientID(c.session.ClientID),
		RedirectURI: redirect,
		Scope:       c.scope,
		State:       client.NewSecret(),
		Verifier:    client.NewSecret(),
		Further:     url.Values{"aud": {c.Base}},
	}

	if slices.Contains(strings.Fields(c.scope), "openid") {
		a.Nonce = client.NewSecret()
	}
	for name, value := range map[string]string{
		"idp":        c.idp,
		"launch":     c.launch,
		"prompt":     c.prompt,
		"login_hint": c.loginHint,
	} {
		if value != "" {
			a.Further.Set(name, value)
		}
	}

	if c.proofs != nil { // a code that somebody else gets hold of is of no use (RFC 9449 10)
		a.Further.Set("dpop_jkt", c.proofs.Thumbprint())
	}
	if c.maxAge >= 0 {
		a.Further.Set("max_age", fmt.Sprint(int(c.maxAge/time.Second)))
	}
	return a
}

// person sends a browser to the destination and returns the code with which it
// came back.
func (c *call) person(
	ctx context.Context, cl *client.Client, d *client.Discovery, provider *client.OpenID,
	asked client.Authorization, tr *trace.Trace,
) (code string, err error) {
	target, err := cl.AuthorizationURL(d, asked, tr)
	if err != nil {
		return "", err
	}

	accept := func(query string) (*client.Redirected, error) {
		return client.ReadRedirect(query, asked.State, provider.Issuer, provider.AnnouncesIssuer, tr)
	}

	back := c.pasted
	if listens(asked.RedirectURI) && !c.paste {
		back = c.listened
	}

	answer, err := back(ctx, target, asked.RedirectURI, accept)
	switch {
	case err != nil:
		return "", err
	case answer.Refusal != nil:
		c.out.result.Outcome = answer.Refusal
		return "", fmt.Errorf("the destination gave no code: %s", answer.Refusal.Reason())
	}

	return answer.Code, nil
}

// exchange redeems the code.
func (c *call) exchange(
	ctx context.Context, cl *client.Client, d *client.Discovery, asked client.Authorization, code string,
) (*client.Token, error) {
	extensions, err := c.extensionObjects()
	if err != nil {
		return nil, err
	}

	got, err := cl.Exchange(ctx, d, client.CodeRequest{
		ClientID:    asked.ClientID,
		Code:        code,
		RedirectURI: asked.RedirectURI,
		Verifier:    asked.Verifier,
		Scope:       asked.Scope,
		Extensions:  extensions,
	})
	c.out.result.Outcome = got
	c.out.trace(got.Trace)
	return got, err
}

// signedIn verifies who signed in, keeps the tokens and shows the outcome.
func (c *call) signedIn(
	ctx context.Context, cl *client.Client, provider *client.OpenID, asked client.Authorization, got *client.Token,
) error {
	s := c.session
	s.Subject, s.FHIRUser = "", "" // of whoever signed in before
	if slices.Contains(strings.Fields(got.Scope), "openid") {
		if err := c.identify(ctx, cl, provider, asked.Nonce, got); err != nil {
			return err
		}
	}

	s.Token, s.Expires, s.Refresh = got.Access, got.Expires, got.Refresh
	s.Granted, s.Patient = got.Scope, got.Text("patient")
	if err := c.keep(); err != nil {
		return err
	}

	c.out.say("token    kept in %s%s", c.options.session, until(got.Expires))
	c.out.say("scope    %s", got.Scope)
	for _, line := range []struct{ name, value string }{
		{"person", s.Subject},
		{"fhirUser", s.FHIRUser},
		{"patient", s.Patient},
		{"refresh", map[bool]string{true: "originator token -refresh gets the next token"}[s.Refresh != ""]},
	} {
		if line.value != "" {
			c.out.say("%-8s %s", line.name, line.value)
		}
	}

	return c.out.done()
}

// identify verifies the ID token, and asks userinfo about its subject.
func (c *call) identify(
	ctx context.Context, cl *client.Client, provider *client.OpenID, nonce string, got *client.Token,
) error {
	tr := trace.NewTrace("id_token", c.now())
	id, err := cl.VerifyIDToken(ctx, provider, got.IDToken, client.ExpectIDToken{
		ClientID: trace.ClientID(c.session.ClientID),
		Nonce:    nonce,
		Access:   got.Access,
		MaxAge:   c.maxAge,
	}, tr)
	c.out.trace(tr)
	if err != nil {
		return err
	}

	c.session.Subject, c.session.FHIRUser = id.Subject, id.Text("fhirUser")
	if provider.UserInfo == "" {
		return nil
	}

	info, err := cl.UserInfo(ctx, provider, got.Access, id.Subject)
	c.out.trace(info.Trace)
	return err
}

// refresh gets the next access token by the refresh token of the session.
func (c *call) refreshToken(ctx context.Context) error {
	s := c.session
	if s.Refresh == "" {
		return complaint.New("the session has no refresh token",
			"originator login with offline_access or online_access in -scope gets one")
	}

	extensions, err := c.extensionObjects()
	if err != nil {
		return err
	}

	if err := c.useKey(); err != nil {
		return err
	}

	cl, d, err := c.begin(ctx)
	if err != nil {
		return err
	}
	defer cl.Close()

	got, err := cl.Refresh(ctx, d, client.RefreshRequest{
		ClientID:   trace.ClientID(s.ClientID),
		Refresh:    s.Refresh,
		Scope:      c.scope,
		Extensions: extensions,
	})
	c.out.result.Outcome = got
	c.out.trace(got.Trace)
	if err != nil {
		return err
	}

	s.Token, s.Expires, s.Granted = got.Access, got.Expires, got.Scope
	orElse(&s.Granted, c.scope)
	if got.Refresh != "" { // RFC 6749 6: absent, the old one is still good
		s.Refresh = got.Refresh
	}
	if err := c.keep(); err != nil {
		return err
	}

	c.out.say("token    kept in %s%s", c.options.session, until(got.Expires))
	c.out.say("scope    %s", s.Granted)
	return c.out.done()
}

// errNoAnswer: the browser did not come back in time.
var errNoAnswer = errors.New("nobody came back from the browser in time; -wait gives more")
