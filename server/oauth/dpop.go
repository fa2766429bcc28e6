package oauth

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"fhirdest.example/server/oauth/dpop"
	"fhirdest.example/udap/trace"
)

// Token types and the schemes in which the tokens are sent (RFC 6750 2.1, RFC 9449 5
// and 7.1).
const (
	typeBearer = "Bearer"
	typeDPoP   = "DPoP"
)

// tokenType returns the type of a token that is bound to a key, or to none.
func tokenType(confirmation string) string {
	if confirmation == "" {
		return typeBearer
	}
	return typeDPoP
}

// prover is the side of a Service that verifies DPoP proofs.
type prover struct{ *Service }

// spend is the use of a proof's jti at an endpoint. It stays used for as long
// as the proof could be accepted. One jti counts as used per key, whatever the URL
// (RFC 9449 11.1 asks for no more than per URL).
func (s prover) spend(p *dpop.Proof, endpoint string, now time.Time) Spend {
	until := p.IssuedAt.Add(dpop.Behind)
	return Spend{
		Issuer:   "dpop " + p.Thumbprint,
		JTI:      p.JTI,
		Since:    p.IssuedAt.Add(-dpop.Ahead),
		Until:    until,
		Expires:  until,
		Endpoint: endpoint,
		Now:      now,
		Clock:    s.cfg.Now,
	}
}

// token verifies the proof of a token request. A request without one is for a
// bearer token: then it returns nil. It is called before the client authenticates,
// so that a client that must repeat its request with a nonce has used up nothing.
func (s prover) token(values []string, tr *trace.Trace) (*dpop.Proof, error) {
	if len(values) == 0 {
		return nil, nil
	}

	p, err := dpop.Verify(values, dpop.Expect{
		Method: http.MethodPost,
		URL:    s.urls.Token,
		Now:    tr.Time,
		Nonces: s.nonces,
	}, tr)
	if err != nil {
		return nil, s.withNonce(err)
	}

	return p, nil
}

// withNonce puts a nonce into the answer to a proof that needs one (RFC 9449 8).
func (s prover) withNonce(err error) error {
	r := RefusalOf(err)
	if r.Of.Code == trace.UseDPoPNonce {
		r.Header.Set("DPoP-Nonce", s.nonces.New(s.cfg.Now()))
	}
	return r
}

// prove notes the proof that came with a client's authentication.
func (s prover) prove(a *authenticated, p *dpop.Proof) {
	if p == nil {
		return
	}

	spend := s.spend(p, a.spend.Endpoint, a.now)
	a.spend.Proof = &spend
	a.thumbprint = p.Thumbprint
}

// mustProve refuses a request without a proof where the client has registered for
// bound tokens only, or where the first token of the grant was bound: who removes the
// proof on its way gets no bearer token instead (RFC 9449 5.2).
func mustProve(a *authenticated, g *granted, tr *trace.Trace) error {
	registered := a.registration.Granted.DPoPBound
	started := g != nil && g.grant != nil && g.grant.KeyBound
	if a.thumbprint != "" || !registered && !started {
		return nil
	}

	f := trace.Finding{
		Expected: "a DPoP proof, as with the first token of the grant",
		Found:    "no header DPoP",
		Remedy:   "send a proof; if you did, something between us has removed it",
	}
	if registered {
		f.Expected = "a DPoP proof, as the client registered with dpop_bound_access_tokens"
	}
	return tr.Refuse(dpop.Bound, trace.InvalidDPoPProof, f)
}

// refuseProof turns a store's error about the jti of a proof into a refusal, or
// into temporarily_unavailable if the store itself failed.
func refuseProof(tr *trace.Trace, err error) error {
	var replayed *Replayed
	blame := errors.As(err, &replayed) || errors.Is(err, ErrExpired) || errors.Is(err, ErrRestored)
	if !blame {
		return trouble(tr, err)
	}

	found := err.Error()
	if replayed != nil {
		found = replayed.Error()
	}

	return tr.Refuse(dpop.JTI, trace.InvalidDPoPProof, trace.Finding{
		Expected: "a proof that was not used before and is valid still",
		Found:    found,
		Remedy:   "make a new proof, with a jti of its own, for every request",
		Err:      err,
	})
}

// bind verifies the proof that a request for data has beside an access token, and
// uses it up. The token is live and is bound to a key.
func (s prover) bind(ctx context.Context, t *Token, p Presented, tr *trace.Trace) error {
	proof, err := dpop.Verify(p.Proofs, dpop.Expect{
		Method:      p.Method,
		URL:         p.URL,
		Now:         tr.Time,
		AccessToken: p.Token,
		Nonces:      s.nonces,
	}, tr)
	if err != nil {
		return err
	}

	if proof.Thumbprint != t.Confirmation {
		return tr.Refuse(dpop.Key, trace.InvalidDPoPProof, trace.Finding{
			Expected: "a proof by the key " + t.Confirmation,
			Found:    "one by the key " + proof.Thumbprint,
			Remedy:   "use the key of the proof with which the token was asked for",
		})
	}

	// One commit for each request: a proof stays used whatever becomes of this
	// process, and no two processes accept it.
	if err := s.cfg.Store.Spend(ctx, s.spend(proof, "resource", tr.Time)); err != nil {
		return refuseProof(tr, err)
	}
	return nil
}

// refuse refuses a request for data for its proof: 401 (RFC 9449 7.1).
func (s prover) refuse(err error, tr *trace.Trace) error {
	r := RefusalOf(s.withNonce(err))
	r.Trace = tr.ID
	if r.Status < http.StatusInternalServerError {
		r.Status = http.StatusUnauthorized
		r.Header.Set("WWW-Authenticate", challenge(typeDPoP, r.Of.Code))
	}

	s.Record(tr)
	return r
}

// realm names what a token without an error code would open.
const realm = "fhir"

// challenge is the value of WWW-Authenticate for a scheme; code may be empty.
// RFC 9449 7.1 lists the algorithms beside it.
func challenge(scheme string, code trace.Code) string {
	var params []string
	if code != "" {
		params = append(params, `error="`+string(code)+`"`)
	}
	if scheme == typeDPoP {
		params = append(params, `algs="`+strings.Join(dpop.Algorithms(), " ")+`"`)
	}
	if len(params) == 0 { // RFC 6750 3: Bearer is followed by a parameter at least
		params = append(params, `realm="`+realm+`"`)
	}

	return scheme + " " + strings.Join(params, ", ")
}
