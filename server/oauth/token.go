package oauth

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"fhirdest.example/udap"
	"fhirdest.example/udap/trace"
)

// TokenResponse is a successful answer of the token endpoint (RFC 6749 5.1).
type TokenResponse struct {
	AccessToken  string `json:"access_token"`
	TokenType    string `json:"token_type"`
	ExpiresIn    int64  `json:"expires_in"` // seconds
	Scope        string `json:"scope"`
	RefreshToken string `json:"refresh_token,omitzero"`
	IDToken      string `json:"id_token,omitzero"` // with the scope openid (OpenID Connect Core 3.1.3.3)
	Patient      string `json:"patient,omitzero"`  // id of the patient in context (SMART App Launch)

	// Launch is further launch context (SMART App Launch).
	Launch map[string]jsontext.Value `json:",embed"`
}

// Token answers a token request (RFC 6749 4.1.3, 4.4 and 6, UDAP Security 2.0, 4.2 and 5.2). Its
// phases are the same for every grant: the form, the client's authentication,
// the decision, the token. Once the client is authenticated its jti is spent,
// whatever becomes of the request.
func (s *Service) Token(ctx context.Context, req ClientRequest) (*TokenResponse, error) {
	return tokenEndpoint{s}.answer(ctx, req)
}

// tokenEndpoint is the part of a Service that issues tokens.
type tokenEndpoint struct{ *Service }

func (s tokenEndpoint) answer(ctx context.Context, req ClientRequest) (*TokenResponse, error) {
	tr := s.trace(req.Trace, "token")
	if err := s.checkTokenRequest(req, tr); err != nil {
		return nil, err
	}

	proof, err := prover(s).token(req.Proofs, tr)
	if err != nil {
		return nil, err
	}

	a, err := s.authenticate(ctx, req, "token", s.expect(s.urls.Token, tr.Time), tr)
	if err != nil {
		return nil, err
	}

	prover(s).prove(a, proof)

	g, err := s.decide(ctx, a, req.Params, tr)
	if err != nil {
		return nil, s.spendRefused(ctx, a, err, tr)
	}
	return s.issue(ctx, a, g, tr)
}

// checkTokenRequest checks the parameters that every grant needs, before the
// client is authenticated. An Authorization header is the graver mistake and is
// refused by authenticate.
func (s tokenEndpoint) checkTokenRequest(req ClientRequest, tr *trace.Trace) error {
	if len(req.Authorization) > 0 {
		return nil
	}
	if err := tr.Note(checkUDAP(req.Params, tr)); err != nil {
		return err
	}

	name := req.Params["grant_type"]
	switch {
	case name == "":
		return tr.Refuse(checkGrantType, trace.InvalidRequest, trace.Finding{
			Expected: "grant_type",
			Found:    "no grant_type",
		})

	case grantTypeNamed(name) == nil:
		return tr.Refuse(checkGrantType, trace.UnsupportedGrantType, trace.Finding{
			Expected: strings.Join(s.grantTypes(), ", "),
			Found:    name,
		})
	}

	return nil
}

// decide returns what an authenticated client is granted.
func (s tokenEndpoint) decide(ctx context.Context, a *authenticated, p Params, tr *trace.Trace) (*granted, error) {
	if err := s.limitClient(a, tr); err != nil {
		return nil, err
	}

	g, err := s.registeredGrant(a, p["grant_type"], tr)
	if err != nil {
		return nil, err
	}

	var out *granted
	var scopes []string
	err = tr.Collect(
		func() error { return checkNoResources(a, tr) },
		func() (err error) { out, err = g.accept(ctx, s, a, p, tr); return err },
		func() error { return mustProve(a, out, tr) },
		func() (err error) {
			scopes, err = s.grantScope(a, g, out, p["scope"], tr)
			return err
		})
	if err != nil {
		return nil, err
	}

	out.scope = scopes
	return out, nil
}

// registeredGrant returns the grant type of a request if the client is registered
// for it and the server offers it.
func (s tokenEndpoint) registeredGrant(a *authenticated, name string, tr *trace.Trace) (*grantType, error) {
	if !slices.Contains(a.registration.Granted.GrantTypes, name) {
		return nil, tr.Refuse(checkGrant, trace.UnauthorizedClient, trace.Finding{
			Expected: "one of " + strings.Join(a.registration.Granted.GrantTypes, ", "),
			Found:    name,
			Remedy:   "register for this grant type first",
		})
	}

	if !slices.Contains(s.grantTypes(), name) {
		return nil, tr.Refuse(checkGrant, trace.UnsupportedGrantType, trace.Finding{
			Expected: strings.Join(s.grantTypes(), ", "),
			Found:    name,
			Remedy:   "this server has nobody who could grant this",
		})
	}

	tr.Pass(checkGrant, name, name)
	return grantTypeNamed(name), nil
}

// checkNoResources refuses the claim resources, as UDAP client authorization
// grants 6.7 demands of a server that does not support it.
func checkNoResources(a *authenticated, tr *trace.Trace) error {
	if !a.ant.Resources {
		return nil
	}
	return tr.Refuse(checkResources, trace.InvalidRequest, trace.Finding{
		Expected: "no resources claim",
		Found:    "one",
		Remedy:   "name the data wanted by scopes",
	})
}

// grantScope returns the scopes that a client gets (UDAP Security 2.0, 7.3): of
// those that it asks for, the ones within its registration and within the
// authentication token's own scope claim (UDAP client authorization grants 6.5).
// What a person granted is the most that they can be; out is nil when the grant
// was refused, and then only the request of a client for itself is looked at.
func (s tokenEndpoint) grantScope(
	a *authenticated, g *grantType, out *granted, text string, tr *trace.Trace,
) ([]string, error) {
	check := scopeCheck{checkScope, trace.InvalidScope}
	var requested []string
	var err error
	switch {
	case !g.personal:
		requested, err = requestedScope(a.registration, a.ant.Community.Policy, text, check, tr)
	case out != nil:
		requested, err = s.scopeOfGrant(g, out.grant, text, tr)
	}

	if err != nil || requested == nil {
		return nil, err
	}

	if a.ant.Scope != nil {
		asked := strings.Join(requested, " ")
		requested = slices.DeleteFunc(requested, func(t string) bool {
			return !slices.Contains(a.ant.Scope, t)
		})
		if len(requested) == 0 {
			return nil, tr.Refuse(checkScope, trace.InvalidScope, trace.Finding{
				Expected: "scopes within the authentication token's own scope claim, " +
					strings.Join(a.ant.Scope, " "),
				Found:  asked,
				Remedy: "name the same scopes in both, or leave the claim out",
			})
		}
	}

	scopes, err := s.negotiateWithin(g, a.registration.Granted.Scope, requested, check, tr)
	if err != nil {
		return nil, err
	}

	tr.Pass(checkScope, strings.Join(requested, " "), strings.Join(scopes, " "))
	return scopes, nil
}

// requestedScope parses the scope parameter. One that is absent means what was
// registered, with a warning, unless the community's policy refuses that
// (RFC 6749 3.3; UDAP Security 2.0, 7.3 leaves it to the server).
func requestedScope(
	r *Registration, p udap.Policy, text string, c scopeCheck, tr *trace.Trace,
) ([]string, error) {
	if text == "" {
		registered := r.Granted.Scope
		f := trace.Finding{
			Expected: "the parameter scope (UDAP Security 2.0, 5.2.2)",
			Found:    "none",
		}
		if !p.ScopeRequired {
			f.Remedy = "the registered scopes were granted; a stricter server refuses a request without scope"
			tr.Warn(c.check, f)
			return splitScope(registered), nil
		}

		f.Remedy = "name the scopes wanted, such as " + registered
		return splitScope(registered), tr.Note(tr.Refuse(c.check, c.code, f))
	}

	return splitRequested(text, c, tr)
}

// splitRequested parses a scope parameter that has a value.
func splitRequested(text string, c scopeCheck, tr *trace.Trace) ([]string, error) {
	requested := strings.Split(text, " ")
	if len(requested) > maxScopes || slices.Contains(requested, "") {
		return nil, tr.Refuse(c.check, c.code, trace.Finding{
			Expected: "scopes with one space between them (RFC 6749 3.3)",
			Found:    text,
		})
	}

	return requested, nil
}

// maxScopes bounds a request; longer ones are refused, not cut.
const maxScopes = 1000

// issue makes a token, stores what it allows, and only then hands it out.
func (s tokenEndpoint) issue(
	ctx context.Context, a *authenticated, g *granted, tr *trace.Trace,
) (*TokenResponse, error) {
	var secret [32]byte
	_, _ = rand.Read(secret[:]) // never fails (Go 1.24)
	now := a.now.Truncate(time.Second)
	t := Token{
		Hash:       sha256.Sum256(secret[:]),
		ClientID:   a.registration.ID,
		Community:  a.registration.Community,
		Client:     a.registration.Client,
		Epoch:      a.registration.Epoch,
		Scope:      g.scope,
		Purposes:   g.purposes,
		Extensions: g.extensions,
		Issued:     now,
		Expires:    now.Add(s.cfg.TokenLifetime),

		Confirmation: a.thumbprint,
	}

	var handle Handle
	err := a.use(s.cfg.Store, refuseIssue).commit(ctx, tr, func() (err error) {
		handle, err = s.store(ctx, a, g, &t)
		return err
	})
	if err != nil {
		return nil, err
	}

	scopes := strings.Join(g.scope, " ")
	passJTI(tr, checkClientJTI)
	tr.Effect = trace.Issued
	tr.Token, tr.Grant = t.ID(), string(t.Grant)
	tr.Person, tr.Patient = t.Subject, t.Patient
	tr.Pass(checkIssued, "at most 60 minutes",
		"token "+tr.Token+" for "+t.Expires.Sub(now).String()+", "+scopes+g.whose())

	answer := &TokenResponse{
		AccessToken:  tokenText(handle, secret),
		TokenType:    tokenType(a.thumbprint),
		ExpiresIn:    int64(t.Expires.Sub(now) / time.Second),
		Scope:        scopes,
		RefreshToken: g.refresh,
		Patient:      t.Patient,
	}

	if g.grant != nil {
		answer.Launch = g.grant.Launch
		answer.IDToken, err = openid(s).idToken(g, answer.AccessToken, now, tr)
	}

	return answer, err
}

// store stores a token, and with it what becomes of the grant that it comes from.
func (s tokenEndpoint) store(ctx context.Context, a *authenticated, g *granted, t *Token) (Handle, error) {
	if g.grant == nil {
		return s.cfg.Store.Issue(ctx, a.spend, *t)
	}

	t.Grant, t.Revision = g.grant.ID, g.grant.Revision
	t.Subject, t.Patient = g.grant.Person.Subject, g.grant.Patient
	if end := g.grant.RefreshEnds; !end.IsZero() && end.Before(t.Expires) {
		t.Expires = end // no access token outlives its grant
	}

	return s.cfg.Store.Exchange(ctx, a.spend, t.Grant, func(now *Grant) Change {
		return g.change(now, *t)
	})
}

// whose describes the grant of a token, for its record.
func (g *granted) whose() string {
	if g.grant == nil {
		return ""
	}
	return "; grant " + string(g.grant.ID) + " of " + g.grant.Person.Subject + ", patient " + orNone(g.grant.Patient)
}

func refuseIssue(tr *trace.Trace, err error) error {
	if e := refuseGrant(tr, err); e != nil {
		return e
	}

	if errors.Is(err, ErrNoRegistration) {
		return tr.Refuse(checkIssued, trace.InvalidClient, trace.Finding{
			Expected: "a registration that does not change meanwhile",
			Found:    "it was cancelled or changed during this request",
			Remedy:   "register again, or ask again with a new authentication token",
			Err:      err,
		})
	}

	return refuseSpend(tr, checkClientJTI, trace.InvalidClient, err)
}

// tokenText is how a token is written: its handle in the store and its secret, 48
// bytes together. Neither half has a meaning for the client.
func tokenText(h Handle, secret [32]byte) string {
	var b [len(h) + len(secret)]byte
	copy(b[:], h[:])
	copy(b[len(h):], secret[:])

	var text [tokenTextLength]byte
	base64.RawURLEncoding.Encode(text[:], b[:])
	return string(text[:])
}

const tokenTextLength = (16 + 32) / 3 * 4

// parseToken splits a token; ok is false for a text that cannot be one of ours.
func parseToken(text string) (h Handle, hash Hash, ok bool) {
	if len(text) != tokenTextLength {
		return h, hash, false
	}

	b, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil {
		return h, hash, false
	}

	copy(h[:], b)
	return h, sha256.Sum256(b[len(h):]), true
}
