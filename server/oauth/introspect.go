package oauth

import (
	"cmp"
	"context"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"fhirdest.example/udap/trace"
)

// Introspection is the answer to an introspection request (RFC 7662 2.2). For
// a token that is not valid it has no member but active.
type Introspection struct {
	Active     bool                      `json:"active"`
	Scope      string                    `json:"scope,omitzero"`
	ClientID   trace.ClientID            `json:"client_id,omitzero"`
	Community  trace.CommunityURI        `json:"community,omitzero"` // of the client's registration
	TokenType  string                    `json:"token_type,omitzero"`
	Expires    int64                     `json:"exp,omitzero"`
	Issued     int64                     `json:"iat,omitzero"`
	Subject    string                    `json:"sub,omitzero"`
	Audience   string                    `json:"aud,omitzero"`
	Issuer     string                    `json:"iss,omitzero"`
	Patient    string                    `json:"patient,omitzero"`     // id of the patient in context
	Extensions map[string]jsontext.Value `json:"extensions,omitempty"` // the context in which the token was asked for

	Confirmation *Confirmation `json:"cnf,omitempty"` // nil: a bearer token
}

// Confirmation is the key to which a token is bound (RFC 7800 3.1, RFC 9449 6.2).
type Confirmation struct {
	Thumbprint string `json:"jkt"` // SHA-256 of the JWK, in base64url (RFC 7638)
}

func confirmationOf(t *Token) *Confirmation {
	if t.Confirmation == "" {
		return nil
	}
	return &Confirmation{t.Confirmation}
}

// Introspect returns what a client's own token allows. The token of another client
// is not active, like one that never existed: RFC 7662 2.2 allows no more.
func (s *Service) Introspect(ctx context.Context, req ClientRequest) (*Introspection, error) {
	tr := s.trace(req.Trace, "introspect")
	a, err := s.authenticateForToken(ctx, req, "introspect", s.urls.Introspect, tr)
	if err != nil {
		return nil, err
	}
	if err := a.spendAlone(ctx, s.cfg.Store, tr); err != nil {
		return nil, err
	}

	held, why, err := s.live(ctx, req.Params["token"], a.now)
	if err != nil {
		return nil, trouble(tr, err)
	}

	t := held.Token
	if t != nil && t.ClientID != a.registration.ID {
		t, why = nil, "a token of another client"
	}
	tr.Effect = trace.Introspected
	if t == nil {
		tr.Warn(checkToken, trace.Finding{
			Expected: "a token of this client",
			Found:    why,
		})
		return &Introspection{}, nil
	}

	tr.Token, tr.Grant = t.ID(), string(t.Grant)
	tr.Patient = t.Patient
	tr.Pass(checkToken, "a token of this client", "token "+t.ID())

	return &Introspection{
		Active:     true,
		Scope:      strings.Join(t.Scope, " "),
		ClientID:   t.ClientID,
		Community:  t.Community,
		TokenType:  tokenType(t.Confirmation),
		Expires:    t.Expires.Unix(),
		Issued:     t.Issued.Unix(),
		Subject:    cmp.Or(t.Subject, string(t.ClientID)),
		Audience:   s.cfg.Base,
		Issuer:     s.urls.Issuer,
		Patient:    t.Patient,
		Extensions: t.Extensions,

		Confirmation: confirmationOf(t),
	}, nil
}

// Revoke ends a client's own token: an access token alone, a refresh token with the
// whole grant that it came from. For any other token it does nothing, and reports no
// error (RFC 7009 2.1 and 2.2).
func (s *Service) Revoke(ctx context.Context, req ClientRequest) error {
	tr := s.trace(req.Trace, "revoke")
	a, err := s.authenticateForToken(ctx, req, "revoke", s.urls.Revoke, tr)
	if err != nil {
		return err
	}

	err = a.use(s.cfg.Store, refuseClientJTI).commit(ctx, tr, func() error {
		return a.revoke(ctx, s.cfg.Store, req.Params["token"], tr)
	})
	if err != nil {
		return err
	}

	tr.Effect = trace.Revoked
	tr.Pass(checkToken, "no such token of this client any more", "done")
	return nil
}

// revoke ends what the text of a token names, if it is the client's.
func (a *authenticated) revoke(ctx context.Context, store Store, text string, tr *trace.Trace) error {
	if handle, hash, ok := parseToken(text); ok {
		tr.Token = (&Token{Hash: hash}).ID()
		return store.Revoke(ctx, a.spend, a.registration.ID, handle, hash)
	}

	if t, ok := parseRefresh(text); ok {
		tr.Grant = string(t.grant)
		_, err := store.Exchange(ctx, a.spend, t.grant, func(g *Grant) Change {
			return Change{End: t.of(g) && g.ClientID == a.registration.ID}
		})
		return err
	}

	return store.Spend(ctx, a.spend)
}

// authenticateForToken runs the phases that introspection and revocation share.
// Any token_type_hint is accepted: the types of token differ in their form.
func (s *Service) authenticateForToken(
	ctx context.Context, req ClientRequest, endpoint, audience string, tr *trace.Trace,
) (*authenticated, error) {
	if req.Params["token"] == "" && len(req.Authorization) == 0 {
		return nil, tr.Refuse(checkTokenParam, trace.InvalidRequest, trace.Finding{
			Expected: "the parameter token",
			Found:    "none",
		})
	}

	if req.Params["udap"] != "" && len(req.Authorization) == 0 { // RFC 7662 and 7009 do not have it
		if err := tr.Note(checkUDAP(req.Params, tr)); err != nil {
			return nil, err
		}
	}

	// The guides show no aud for these endpoints, so clients in the field send
	// what they send to the token endpoint; RFC 7523 3 allows that and the issuer.
	expect := s.expect(audience, tr.Time)
	expect.Tolerated = []string{s.urls.Token, s.urls.Issuer}
	a, err := s.authenticate(ctx, req, endpoint, expect, tr)
	if err != nil {
		return nil, err
	}
	if err := s.limitClient(a, tr); err != nil {
		return nil, s.spendRefused(ctx, a, err, tr)
	}

	return a, nil
}
