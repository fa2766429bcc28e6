package oauth

import (
	"context"
	"encoding/hex"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"fhirdest.example/fhir/scope"
	"fhirdest.example/udap"
)

// Access is what a good access token allows. Only Bearer makes one.
type Access struct {
	TokenID    string // names the token in records; says nothing about its text
	ClientID   udap.ClientID
	Community  udap.CommunityURI
	Client     udap.ClientURI
	Scope      []string
	Scopes     scope.Set // those of Scope that name resources
	Purposes   []string
	Extensions map[string]jsontext.Value
	Issued     time.Time
	Expires    time.Time
}

// ID names a token in records: the start of its hash.
func (t *Token) ID() string { return hex.EncodeToString(t.Hash[:8]) }

// Bearer finds out what an access token allows. It returns an error with the
// code invalid_token when the token is none of ours, over, revoked, or its
// client's registration has gone or lost rights.
func (s *Service) Bearer(ctx context.Context, text string) (*Access, error) {
	t, why, err := s.live(ctx, text, s.cfg.Now())
	if err != nil {
		return nil, &udap.Error{Code: udap.TemporarilyUnavailable, Check: checkStore.Name, Detail: "the server could not read what it must", Err: err}
	}
	if t == nil {
		return nil, &udap.Error{Code: udap.InvalidToken, Check: checkBearer.Name, Detail: "expected a valid access token; found " + why}
	}
	set, _ := scope.ParseSet(t.Scope)
	return &Access{
		TokenID: t.ID(), ClientID: t.ClientID, Community: t.Community, Client: t.Client, Scope: t.Scope, Scopes: set,
		Purposes: t.Purposes, Extensions: t.Extensions, Issued: t.Issued, Expires: t.Expires,
	}, nil
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
