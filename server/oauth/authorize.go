package oauth

import (
	"context"
	"encoding/base64"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"fhirdest.example/fhir/scope"
	"fhirdest.example/udap"
	"fhirdest.example/udap/trace"
)

// AuthorizationRequest is a verified request of the authorization endpoint (RFC
// 6749 4.1.1). Only Service.ParseAuthorization makes one.
type AuthorizationRequest struct {
	Registration *Registration
	RedirectURI  string
	State        string   // empty only where the community's edition 1 policy allows it
	Challenge    string   // PKCE S256; empty only where the community's edition 1 policy allows it
	Nonce        string   // OpenID Connect
	Scope        []string // what the client may be granted of what it asked for

	Prompt    []string // OpenID Connect Core 3.1.2.1
	LoginHint string
	Subject   string // whom id_token_hint or claims is about: nobody else may grant; empty: nobody
	ACRValues string
	MaxAge    *int    // seconds; nil: not sent
	EHR       *Launch // context of an EHR launch (SMART App Launch); nil: none
	IdP       string  // Tiered OAuth: the parameter idp, sent with the scope udap

	KeyThumbprint string // dpop_jkt (RFC 9449 10)

	// Query is the request's parameters again. Pages carry it along, and every
	// step parses it anew: the server keeps nothing before a person has decided.
	Query string
	Trace *trace.Trace

	redirectSent bool // redirect_uri was sent, and must be sent with the code
}

// RedirectRefusal is a refusal of an authorization request that the client gets
// by redirect (RFC 6749 4.1.2.1).
type RedirectRefusal struct {
	Of       *trace.Error
	Location string // the redirect URI with the error
}

func (r *RedirectRefusal) Error() string { return r.Of.Error() }

func (r *RedirectRefusal) Unwrap() error { return r.Of }

// The checks of an authorization request, in the order in which they are made. The
// first two are refused on a page.
var (
	checkAuthorizeClient = trace.NewCheck("authorize.client",
		"client_id is of a client that is registered for authorization_code, in a trust community of this server",
		"S1-133")
	checkAuthorizeRedirect = trace.NewCheck("authorize.redirect_uri",
		"redirect_uri is one of the client's, byte for byte", "S1-133")
	checkAuthorizeForm = trace.NewCheck("authorize.parameters",
		"Each parameter is there once and well-formed (RFC 6749 3.1)", "S1-133")
	checkAuthorizeObject = trace.NewCheck("authorize.request",
		"No request object: this server does not read them (OpenID Connect Core 6)", "")
	checkAuthorizeType = trace.NewCheck("authorize.response_type",
		"response_type is code, and response_mode is query", "S1-133")
	checkAuthorizeState = trace.NewCheck("authorize.state", "state is there", "S2-12")
	checkAuthorizePKCE  = trace.NewCheck("authorize.pkce",
		"code_challenge is of the method S256 (RFC 7636)", "S2-13")
	checkAuthorizeAudience = trace.NewCheck("authorize.aud",
		"aud, if sent, is the FHIR base URL (SMART App Launch)", "")
	checkAuthorizePrompt = trace.NewCheck("authorize.prompt",
		"prompt and max_age have values of OpenID Connect", "")
	checkAuthorizeHint = trace.NewCheck("authorize.id_token_hint",
		"id_token_hint, if sent, is an ID token of this server", "S1-263")
	checkAuthorizeKey = trace.NewCheck("authorize.dpop_jkt",
		"dpop_jkt, if sent, is a SHA-256 thumbprint (RFC 9449 10)", "")
	checkAuthorizeScope = trace.NewCheck("authorize.scope",
		"At least one of the scopes can be granted, and no unsupported wildcard is asked for", "S2-15 S2-16")
	checkAuthorizeOpenID = trace.NewCheck("authorize.openid",
		"An identity provider is asked for openid, with udap", "S1-252 S1-259")
	checkAuthorizeIDP = trace.NewCheck("authorize.idp", "idp comes with the scope udap", "S2-23")
)

// maxState bounds state and nonce, in bytes: both come back to the client, whose
// server may accept a few thousand bytes.
const maxState = 4096

// authorization is an authorization request while it is parsed.
type authorization struct {
	service *Service
	params  Params
	twice   []string // parameters with two values
	policy  udap.Policy
	out     *AuthorizationRequest
	tr      *trace.Trace
}

// ParseAuthorization verifies everything about a request that needs no person.
// query has the parameters, encoded as in a URL; a nil trace means a new one. An
// error is a *RedirectRefusal, or, if the client or its redirect URI cannot be
// trusted, a *Refusal to be shown on a page.
func (s *Service) ParseAuthorization(
	ctx context.Context, query string, tr *trace.Trace,
) (*AuthorizationRequest, error) {
	tr = s.trace(tr, "authorize")
	a := &authorization{
		service: s,
		out: &AuthorizationRequest{
			Query: query,
			Trace: tr,
		},
		tr: tr,
	}

	for _, step := range []func() error{
		func() error { return a.parse(query) },
		func() error { return a.client(ctx) },
		a.redirect,
	} {
		if err := step(); err != nil {
			return nil, RefusalOf(err)
		}
	}

	if err := a.verify(ctx); err != nil {
		e := RefusalOf(err).Of
		return nil, &RedirectRefusal{
			Of:       e,
			Location: shell{s}.declined(a.out, e),
		}
	}

	return a.out, nil
}

// parse reads the parameters. What is wrong with one of those that name the
// redirect is refused here; a second value of another is for verify.
func (a *authorization) parse(query string) error {
	p, twice, err := parseQuery(query)
	for _, name := range []string{"client_id", "redirect_uri"} {
		if err == nil && slices.Contains(twice, name) {
			err = fmt.Errorf("the parameter %s has two values", name)
		}
	}

	if err != nil {
		return a.tr.Refuse(checkAuthorizeForm, trace.InvalidRequest, trace.Finding{
			Expected: "parameters that are well-formed, each once",
			Found:    err.Error(),
			Err:      err,
		})
	}

	a.params, a.twice = p, twice
	a.out.State = a.param("state")
	return nil
}

// param returns a parameter that has one value.
func (a *authorization) param(name string) string {
	if slices.Contains(a.twice, name) {
		return ""
	}
	return a.params[name]
}

// client finds the registration.
func (a *authorization) client(ctx context.Context) error {
	id := a.params["client_id"]
	if id == "" {
		return a.tr.Refuse(checkAuthorizeClient, trace.InvalidRequest, trace.Finding{
			Expected: "client_id",
			Found:    "none",
		})
	}

	r, err := a.service.cfg.Store.Client(ctx, trace.ClientID(id))
	if err != nil {
		return trouble(a.tr, err)
	}

	refuse := func(found, remedy string) error {
		return a.tr.Refuse(checkAuthorizeClient, trace.InvalidClient, trace.Finding{
			Expected: "a client that is registered for " + authorizationCode + " at " + a.service.urls.Issuer,
			Found:    found,
			Remedy:   remedy,
		})
	}

	if r == nil {
		return refuse("an unknown client_id", "register first, and use the client_id of the answer")
	}

	a.tr.Community, a.tr.Client, a.tr.ClientID = r.Community, r.Client, r.ID
	if !slices.Contains(r.Granted.GrantTypes, authorizationCode) {
		return refuse("a client for "+strings.Join(r.Granted.GrantTypes, ", "), "register for "+authorizationCode)
	}

	communities := a.service.verifier().Communities
	i := slices.IndexFunc(communities, func(c *udap.Community) bool { return c.URI == r.Community })
	if i < 0 {
		return refuse("a client of "+string(r.Community)+", which this server trusts no longer", "")
	}

	a.out.Registration, a.policy = r, communities[i].Policy
	a.tr.Pass(checkAuthorizeClient, "a registered client", r.Granted.ClientName)
	return nil
}

// redirect establishes where the answer goes.
func (a *authorization) redirect() error {
	uris, sent := a.out.Registration.Granted.RedirectURIs, a.params["redirect_uri"]
	switch {
	case sent == "" && len(uris) == 1:
		a.out.RedirectURI = uris[0]
		a.tr.Pass(checkAuthorizeRedirect, uris[0], "none, and the client has only this one")
		return nil

	case slices.Contains(uris, sent):
		a.out.RedirectURI, a.out.redirectSent = sent, true
		a.tr.Pass(checkAuthorizeRedirect, sent, sent)
		return nil
	}

	f := trace.Finding{
		Expected: "one of " + strings.Join(uris, " "),
		Found:    shown(a.params, "redirect_uri"),
		Remedy:   "send one of the registered redirect URIs, byte for byte",
	}

	if len(uris) > 0 && sent != "" {
		f.Remedy += "; " + difference(nearest(uris, sent), sent)
	}
	return a.tr.Refuse(checkAuthorizeRedirect, trace.InvalidRequest, f)
}

// nearest returns the URI that has the most leading characters in common with
// another.
func nearest(uris []string, with string) string {
	return slices.MaxFunc(uris, func(x, y string) int { return common(x, with) - common(y, with) })
}

// common returns how many leading bytes two texts share.
func common(a, b string) (n int) {
	for n < min(len(a), len(b)) && a[n] == b[n] {
		n++
	}
	return n
}

// difference describes where a URI first differs from the one that is registered.
func difference(registered, sent string) string {
	n := common(registered, sent)
	return fmt.Sprintf("%q differs from character %d on: %q is registered, %q was sent",
		registered[:n], n+1, registered[n:], sent[n:])
}

// verify makes the checks whose refusal the client gets by redirect.
func (a *authorization) verify(ctx context.Context) error {
	form := func() error {
		return a.tr.Independent(a.once, a.noRequestObject, a.responseType, a.state, a.challenge, a.audience,
			a.prompt, a.hint, a.claims, a.key)
	}
	return a.tr.Collect(form, a.scope, func() error { return a.launch(ctx) })
}

func (a *authorization) refuse(c trace.Check, expected, found, remedy string) error {
	return a.tr.Refuse(c, trace.InvalidRequest, trace.Finding{
		Expected: expected,
		Found:    found,
		Remedy:   remedy,
	})
}

func (a *authorization) once() error {
	if len(a.twice) > 0 {
		return a.refuse(checkAuthorizeForm, "each parameter once (RFC 6749 3.1)",
			"two values of "+strings.Join(a.twice, ", "), "")
	}
	a.tr.Pass(checkAuthorizeForm, "each parameter once", strconv.Itoa(len(a.params))+" parameters")
	return nil
}

func (a *authorization) noRequestObject() error {
	name, code := "request", trace.RequestNotSupported
	if a.params["request_uri"] != "" {
		name, code = "request_uri", trace.RequestURINotSupported
	}
	if a.params[name] == "" {
		return nil
	}

	return a.tr.Refuse(checkAuthorizeObject, code, trace.Finding{
		Expected: "no request object",
		Found:    "the parameter " + name,
		Remedy:   "send the parameters themselves; nothing was fetched",
	})
}

func (a *authorization) responseType() error {
	switch got := a.params["response_type"]; got {
	case "code":
	case "":
		return a.refuse(checkAuthorizeType, "response_type=code", "no response_type", "")
	default:
		return a.tr.Refuse(checkAuthorizeType, trace.UnsupportedResponseType, trace.Finding{
			Expected: "response_type=code",
			Found:    got,
			Remedy:   "this server gives tokens at its token endpoint only",
		})
	}

	if mode := a.params["response_mode"]; mode != "" && mode != "query" {
		return a.refuse(checkAuthorizeType, "response_mode=query, or none", mode, "")
	}

	a.tr.Pass(checkAuthorizeType, "code", "code")
	return nil
}

func (a *authorization) state() error {
	for _, name := range []string{"state", "nonce"} {
		if n := len(a.params[name]); n > maxState {
			a.out.State = clipState(a.out.State)
			return a.refuse(checkAuthorizeState, fmt.Sprintf("a %s of at most %d bytes", name, maxState),
				strconv.Itoa(n)+" bytes", "keep the rest at the client, under a short key")
		}
	}

	a.out.Nonce = a.params["nonce"]
	switch {
	case a.params["state"] != "":
		a.tr.Pass(checkAuthorizeState, "state", "one")
	case a.policy.Edition == 1:
		a.tr.Warn(checkAuthorizeState, trace.Finding{
			Expected: "state (UDAP Security 2.0, 7.2.1)",
			Found:    "none",
			Remedy:   "accepted because the community's edition is 1; a server of edition 2 refuses this",
		})

	default:
		return a.refuse(checkAuthorizeState, "state (UDAP Security 2.0, 7.2.1)", "no state",
			"send an unguessable state, and compare it with the answer's")
	}

	return nil
}

// clipState returns nothing for a state that is too long to send back.
func clipState(state string) string {
	if len(state) > maxState {
		return ""
	}
	return state
}

// challenge checks PKCE (UDAP Security 2.0, 7.2.2; RFC 7636 4.3 and 4.4.1).
func (a *authorization) challenge() error {
	challenge, method := a.params["code_challenge"], a.params["code_challenge_method"]
	switch {
	case challenge == "" && method == "" && a.policy.Edition == 1:
		a.tr.Warn(checkAuthorizePKCE, trace.Finding{
			Expected: "code_challenge with the method S256 (UDAP Security 2.0, 7.2.2)",
			Found:    "none",
			Remedy:   "accepted because the community's edition is 1; a server of edition 2 refuses this",
		})
		return nil

	case challenge == "":
		return a.refuse(checkAuthorizePKCE, "code_challenge", "no code_challenge",
			"use PKCE with S256 (UDAP Security 2.0, 7.2.2)")
	case method != "S256":
		return a.refuse(checkAuthorizePKCE, "code_challenge_method=S256", shown(a.params, "code_challenge_method"),
			"the default is plain, which this server refuses (RFC 7636 4.3)")
	case !isSHA256(challenge):
		return a.refuse(checkAuthorizePKCE, "43 characters of unpadded base64url: the SHA-256 of the verifier",
			strconv.Itoa(len(challenge))+" characters, or others", "")
	}

	a.out.Challenge = challenge
	a.tr.Pass(checkAuthorizePKCE, "S256", "S256")
	return nil
}

// isSHA256 reports whether a text is a SHA-256 in unpadded base64url.
func isSHA256(text string) bool {
	b, err := base64.RawURLEncoding.Strict().DecodeString(text)
	return err == nil && len(b) == 32 && len(text) == 43
}

func (a *authorization) audience() error {
	base := a.service.cfg.Base
	switch got := a.params["aud"]; got {
	case "":
		return nil

	case base:
		a.tr.Pass(checkAuthorizeAudience, base, got)
		return nil

	case base + "/":
		a.tr.Warn(checkAuthorizeAudience, trace.Finding{
			Expected: base,
			Found:    got,
			Remedy:   "accepted; leave out the slash at the end",
		})
		return nil

	default:
		return a.refuse(checkAuthorizeAudience, base, got, "aud is the FHIR base URL that the token is for")
	}
}

func (a *authorization) prompt() error {
	values := strings.Fields(a.params["prompt"])
	for _, v := range values {
		if !slices.Contains([]string{"none", "login", "consent", "select_account"}, v) {
			return a.refuse(checkAuthorizePrompt, "none, login, consent or select_account", v, "")
		}
	}

	if len(values) > 1 && slices.Contains(values, "none") {
		return a.refuse(checkAuthorizePrompt, "prompt=none alone", a.params["prompt"], "")
	}

	a.out.Prompt = values
	a.out.LoginHint, a.out.ACRValues = a.params["login_hint"], a.params["acr_values"]

	if text := a.params["max_age"]; text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 0 {
			return a.refuse(checkAuthorizePrompt, "max_age in whole seconds", text, "")
		}
		a.out.MaxAge = &n
	}

	return nil
}

// hint verifies id_token_hint (OpenID Connect Core 3.1.2.1 and 3.1.2.2).
func (a *authorization) hint() error {
	token := a.params["id_token_hint"]
	if token == "" {
		return nil
	}

	subject, err := a.service.signers.Load().Subject(token, a.service.urls.Issuer)
	if err != nil {
		return a.refuse(checkAuthorizeHint, "an ID token of this server", err.Error(), "leave id_token_hint out")
	}

	a.out.Subject = subject
	a.tr.Pass(checkAuthorizeHint, "an ID token of this server", "one about "+subject)
	return nil
}

func (a *authorization) key() error {
	got := a.params["dpop_jkt"]
	if got != "" && !isSHA256(got) {
		return a.refuse(checkAuthorizeKey, "43 characters of unpadded base64url (RFC 7638)", got, "")
	}
	a.out.KeyThumbprint = got
	return nil
}

// scope negotiates the scopes (UDAP Security 2.0, 7.3), and decides whether idp has
// a meaning (6.1).
func (a *authorization) scope() error {
	s, r := a.service, a.out.Registration
	c := scopeCheck{checkAuthorizeScope, trace.InvalidScope}
	requested, err := requestedScope(r, a.policy, a.params["scope"], c, a.tr)
	if err != nil {
		return err
	}

	g, request := grantTypeNamed(authorizationCode), scope.Request{
		Scopes:  requested,
		Within:  splitScope(r.Granted.Scope),
		Limited: true,
	}
	answer, err := s.negotiate(g, request, c, a.tr)
	if err != nil {
		return err
	}

	a.out.Scope = a.withoutRefresh(answer.Granted)
	if !slices.ContainsFunc(a.out.Scope, besideRefresh) {
		return a.tr.Refuse(checkAuthorizeScope, trace.InvalidScope, trace.Finding{
			Expected: "a scope beside those for refresh tokens",
			Found:    strings.Join(requested, " "),
		})
	}

	s.noteGranted(g, request, answer, checkAuthorizeScope, a.tr)
	a.idp(requested)
	return a.openID(answer.Granted)
}

// openID holds requests at an identity provider to the scope openid (OpenID Connect
// Core 3.1.2.2). One without udap is a sign-in of OpenID Connect, and no part of Tiered
// OAuth (UDAP Security 2.0, 6.1).
func (a *authorization) openID(granted []string) error {
	switch {
	case !a.service.cfg.NoFHIR:
		return nil
	case !slices.Contains(granted, "openid"):
		return a.tr.Refuse(checkAuthorizeOpenID, trace.InvalidScope, trace.Finding{
			Expected: "the scope openid",
			Found:    strings.Join(granted, " "),
			Remedy:   "register and ask for openid: this is an identity provider, which has nothing else to give",
		})

	case !slices.Contains(granted, "udap"):
		a.tr.Warn(checkAuthorizeOpenID, trace.Finding{
			Expected: "the scope udap beside openid (UDAP Security 2.0, 6.1)",
			Found:    strings.Join(granted, " "),
			Remedy:   "accepted as a sign-in that is no part of Tiered OAuth",
		})
		return nil
	}

	a.tr.Pass(checkAuthorizeOpenID, "openid and udap", strings.Join(granted, " "))
	return nil
}

// besideRefresh reports whether a scope gives access to something: those for refresh
// tokens only give it for longer.
func besideRefresh(text string) bool {
	return text != offlineAccess && text != onlineAccess
}

// withoutRefresh leaves out the scopes for refresh tokens when the client may not
// have any.
func (a *authorization) withoutRefresh(scopes []string) []string {
	if slices.Contains(a.out.Registration.Granted.GrantTypes, refreshToken) {
		return scopes
	}

	var kept []string
	for _, text := range scopes {
		if besideRefresh(text) {
			kept = append(kept, text)
		}
	}

	if len(kept) < len(scopes) {
		a.tr.Warn(checkAuthorizeScope, trace.Finding{
			Expected: "the grant type refresh_token in the registration of a client that asks for refresh tokens",
			Found:    strings.Join(a.out.Registration.Granted.GrantTypes, " "),
			Remedy:   "these scopes were left out; register for refresh_token",
		})
	}

	return kept
}

func (a *authorization) idp(requested []string) {
	got := a.params["idp"]
	switch {
	case got == "":
	case slices.Contains(requested, "udap"):
		a.out.IdP = got
		a.tr.Pass(checkAuthorizeIDP, "idp with the scope udap", got)

	default:
		a.tr.Warn(checkAuthorizeIDP, trace.Finding{
			Expected: "the scope udap beside idp (UDAP Security 2.0, 6.1)",
			Found:    "idp without that scope",
			Remedy:   "idp was ignored; ask for the scope udap for Tiered OAuth",
		})
	}
}
