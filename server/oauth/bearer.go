package oauth

import (
	"context"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"fhirdest.example/fhir/scope"
	"fhirdest.example/udap/trace"
)

// Access is what a good access token allows. Only Bearer makes one.
type Access struct {
	TokenID    string // names the token in records; says nothing about its text
	ClientID   trace.ClientID
	Community  trace.CommunityURI
	Client     trace.ClientURI
	Scope      []string
	Scopes     scope.Set // those of Scope that name resources
	Purposes   []string
	Extensions map[string]jsontext.Value
	Issued     time.Time
	Expires    time.Time
}

// ID names a token in records: the start of its hash.
func (t *Token) ID() string { return hex.EncodeToString(t.Hash[:8]) }

// BearerHeader finds out what a request for data may do, from its Authorization
// headers: the token stands in one of them, once (RFC 6750 2.1). A refusal is a
// *Refusal whose trace has been recorded.
func (s *Service) BearerHeader(ctx context.Context, values []string) (*Access, error) {
	f := trace.Finding{Expected: "one Authorization header: Bearer and an access token"}
	switch {
	case len(values) == 0:
		f.Found = "none"
	case len(values) > 1:
		f.Found = fmt.Sprintf("%d Authorization headers", len(values))
		return nil, s.refuseBearer(checkBearerHeader, trace.InvalidRequest, f, `Bearer error="invalid_request"`)
	default:
		scheme, token, _ := strings.Cut(values[0], " ")
		if strings.EqualFold(scheme, "Bearer") {
			return s.Bearer(ctx, strings.TrimLeft(token, " "))
		}
		f.Found = "another scheme"
	}

	// RFC 6750 3.1: whoever sent no token gets no error code.
	return nil, s.refuseBearer(checkBearerHeader, trace.InvalidToken, f, "Bearer")
}

// Bearer finds out what an access token allows. It returns a *Refusal with the
// code invalid_token when the token is none of ours, over, revoked, or its
// client's registration has gone or lost rights, and with
// temporarily_unavailable when that cannot be found out.
func (s *Service) Bearer(ctx context.Context, text string) (*Access, error) {
	t, why, err := s.live(ctx, text, s.cfg.Now())
	if err != nil {
		f := trace.Finding{
			Found:  "the server could not read what it must",
			Remedy: "try again later",
			Err:    err,
		}
		return nil, s.refuseBearer(checkStore, trace.TemporarilyUnavailable, f, "")
	}
	if t == nil {
		f := trace.Finding{Expected: "a valid access token", Found: why}
		return nil, s.refuseBearer(checkBearer, trace.InvalidToken, f, `Bearer error="invalid_token"`)
	}

	set, _ := scope.ParseSet(t.Scope)
	return &Access{
		TokenID:    t.ID(),
		ClientID:   t.ClientID,
		Community:  t.Community,
		Client:     t.Client,
		Scope:      t.Scope,
		Scopes:     set,
		Purposes:   t.Purposes,
		Extensions: t.Extensions,
		Issued:     t.Issued,
		Expires:    t.Expires,
	}, nil
}

// refuseBearer refuses a request for data. Only refusals leave a trace: what is
// allowed stands in the FHIR service's own record.
func (s *Service) refuseBearer(c trace.Check, code trace.Code, f trace.Finding, challenge string) *Refusal {
	tr := trace.NewTrace("bearer", s.cfg.Now())
	r := RefusalOf(tr.Refuse(c, code, f))
	r.Challenge, r.Trace = challenge, tr.ID
	s.record(tr)
	return r
}

// live returns a token that is good now, or says why it is not.
func (s *Service) live(ctx context.Context, text string, now time.Time) (t *Token, why string, err error) {
	handle, hash, ok := parseToken(text)
	if !ok {
		return nil, "something that is no token of this server", nil
	}
	if t, err = s.cfg.Store.Token(ctx, handle, hash); err != nil {
		return nil, "", err
	}
	if t == nil {
		return nil, "a token that is unknown, over long since, or revoked", nil
	}
	if !now.Before(t.Expires) {
		return nil, "a token that expired at " + t.Expires.UTC().Format(time.RFC3339), nil
	}

	r, err := s.cfg.Store.Client(ctx, t.ClientID)
	switch {
	case err != nil:
		return nil, "", err
	case r == nil:
		return nil, "a token of a client whose registration was cancelled", nil
	case r.Epoch != t.Epoch:
		return nil, "a token of a client that has registered for less since", nil
	}

	return t, "", nil
}
