package oauth

import (
	"context"
	"encoding/hex"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"fhirdest.example/fhir/scope"
	"fhirdest.example/udap/trace"
)

// Access is what a good access token allows. Only Bearer makes one.
type Access struct {
	TokenID      string // names the token in records without being it
	Ref          Ref    // where its record is found again
	ClientID     trace.ClientID
	Community    trace.CommunityURI
	Client       trace.ClientURI
	Epoch        uint64 // of the client's registration
	Grant        *Grant // what the person granted; nil: the token is of the client itself
	Reach        Reach  // what the person may give access to
	Subject      string // the person who granted it; empty: the client itself
	Patient      string // id of the patient in context; empty: none
	Confirmation string // thumbprint of the key that the token is bound to (RFC 7800); empty: a bearer token
	Scope        []string
	Scopes       scope.Set // those of Scope that name resources
	Purposes     []string
	Extensions   map[string]jsontext.Value
	Issued       time.Time
	Expires      time.Time
}

// Presented is an access token as a request presents it.
type Presented struct {
	Scheme string // of the Authorization header
	Token  string

	Proofs []string // the DPoP headers
	Method string   // of the request, which its proof must name
	URL    string   // of the request under the public base, without query
}

// ID names a token in records: the start of its hash.
func (t *Token) ID() string { return hex.EncodeToString(t.Hash[:8]) }

// BearerRequest returns what a request for data may do. The token must be in one
// Authorization header (RFC 6750 2.1, RFC 9449 7.1). url returns the URL of the
// request as its client knows it, without query: DPoP proofs must name it. A refusal
// is a *Refusal whose trace has been recorded.
func (s *Service) BearerRequest(r *http.Request, url func(*http.Request) string) (*Access, error) {
	values := r.Header.Values("Authorization")
	f := trace.Finding{Expected: "one Authorization header: Bearer or DPoP, and an access token"}
	switch len(values) {
	case 0: // RFC 6750 3.1: a request without a token gets no error code
		f.Found = "none"
		return nil, s.refuseBearer(checkBearerHeader, trace.InvalidToken, f,
			challenge(typeBearer, ""), challenge(typeDPoP, ""))
	case 1:
		scheme, token, _ := strings.Cut(values[0], " ")
		p := Presented{
			Scheme: scheme,
			Token:  strings.TrimLeft(token, " "),
		}
		if proofs := r.Header.Values("DPoP"); len(proofs) > 0 {
			p.Proofs, p.Method, p.URL = proofs, r.Method, url(r)
		}

		return s.Bearer(r.Context(), p)
	}

	f.Found = fmt.Sprintf("%d Authorization headers", len(values))
	return nil, s.refuseBearer(checkBearerHeader, trace.InvalidRequest, f,
		challenge(typeBearer, trace.InvalidRequest))
}

// Bearer returns what an access token allows. It returns a *Refusal with the
// code invalid_token when the scheme is not that of the token's type, when the token
// is not one of this server, expired or revoked, or when its client's registration
// was cancelled or lost rights; with invalid_dpop_proof or use_dpop_nonce when it is
// bound to a key and the proof of that key does not hold; and with
// temporarily_unavailable when the store failed.
func (s *Service) Bearer(ctx context.Context, p Presented) (*Access, error) {
	scheme, now := typeBearer, s.cfg.Now()
	switch {
	case strings.EqualFold(p.Scheme, typeDPoP):
		scheme = typeDPoP
	case !strings.EqualFold(p.Scheme, typeBearer):
		f := trace.Finding{
			Expected: "the scheme Bearer or DPoP",
			Found:    "another scheme",
		}
		return nil, s.refuseBearer(checkBearerHeader, trace.InvalidToken, f,
			challenge(typeBearer, ""), challenge(typeDPoP, ""))
	}

	held, why, err := s.live(ctx, p.Token, now)
	if err != nil {
		f := trace.Finding{
			Found:  "the server could not read its records",
			Remedy: "try again later",
			Err:    err,
		}
		return nil, s.refuseBearer(checkStore, trace.TemporarilyUnavailable, f)
	}

	t := held.Token
	if t != nil && scheme != tokenType(t.Confirmation) { // RFC 9449 7.1 and 7.2
		why = "a token of type " + tokenType(t.Confirmation) + " in the scheme " + scheme
		t = nil
	}
	if t == nil {
		f := trace.Finding{
			Expected: "a valid access token",
			Found:    why,
		}
		challenges := []string{challenge(scheme, trace.InvalidToken)}
		if scheme == typeBearer {
			challenges = append(challenges, challenge(typeDPoP, ""))
		}

		return nil, s.refuseBearer(checkBearer, trace.InvalidToken, f, challenges...)
	}

	if scheme == typeDPoP {
		tr := trace.NewTrace("bearer", now)
		if err := (prover{s}).bind(ctx, t, p, tr); err != nil {
			return nil, prover{s}.refuse(err, tr)
		}
	}

	set, _ := scope.ParseSet(t.Scope)
	return &Access{
		Grant:        held.Grant,
		Reach:        held.reach,
		TokenID:      t.ID(),
		Ref:          refOf(p.Token),
		ClientID:     t.ClientID,
		Community:    t.Community,
		Client:       t.Client,
		Epoch:        t.Epoch,
		Subject:      t.Subject,
		Patient:      t.Patient,
		Confirmation: t.Confirmation,
		Scope:        t.Scope,
		Scopes:       set,
		Purposes:     t.Purposes,
		Extensions:   t.Extensions,
		Issued:       t.Issued,
		Expires:      t.Expires,
	}, nil
}

// refuseBearer refuses a request for data, with challenges of the schemes that it
// may try. Only refusals are recorded here: what is allowed is in the FHIR
// service's own records.
func (s *Service) refuseBearer(
	c trace.Check, code trace.Code, f trace.Finding, challenges ...string,
) *Refusal {
	tr := trace.NewTrace("bearer", s.cfg.Now())
	r := RefusalOf(tr.Refuse(c, code, f))
	r.Trace = tr.ID
	for _, text := range challenges {
		r.Header.Add("WWW-Authenticate", text)
	}

	s.Record(tr)
	return r
}

// live returns a token that is valid now with what it depends on, or the reason why
// there is none.
func (s *Service) live(ctx context.Context, text string, now time.Time) (held Held, why string, err error) {
	handle, hash, ok := parseToken(text)
	if !ok {
		return Held{}, "something that is no token of this server", nil
	}
	return s.liveAt(ctx, handle, hash, now)
}

// liveAt is live for a token by the place and the hash of its record.
func (s *Service) liveAt(
	ctx context.Context, handle Handle, hash Hash, now time.Time,
) (held Held, why string, err error) {
	if held, err = s.cfg.Store.Live(ctx, handle, hash); err != nil {
		return Held{}, "", err
	}

	if held.Token != nil && held.Token.Grant != "" && held.Grant != nil {
		if held.reach, err = s.cfg.reach(ctx, held.Grant); err != nil {
			return Held{}, "", err
		}
	}

	if why := held.dead(now); why != "" {
		return Held{}, why, nil
	}
	return held, "", nil
}

// dead returns why a token is not valid; empty: it is.
func (h Held) dead(now time.Time) string {
	t, r := h.Token, h.Registration
	switch {
	case t == nil:
		return "a token that is unknown, over long since, or revoked"
	case !now.Before(t.Expires):
		return "a token that expired at " + trace.Stamp(t.Expires)
	case r == nil:
		return "a token of a client whose registration was cancelled"
	case r.Epoch != t.Epoch:
		return "a token of a client that has registered for less since"

	case t.Grant == "":
		return ""
	case h.Grant == nil:
		return "a token of a grant that was withdrawn"
	case h.Grant.Revision != t.Revision:
		return "a token of a grant of which the person has taken back a part since"
	}

	if why := h.reach.lacks(t.Patient); why != "" {
		return "a token of " + why
	}
	return ""
}
