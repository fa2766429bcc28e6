package oauth

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"slices"
	"strings"

	"fhirdest.example/fhir/scope"
	"fhirdest.example/udap/trace"
)

var checkRefresh = trace.NewCheck("token.refresh_token",
	"The refresh token is the last one that this client got, or the one before if that one was never used", "")

// errRefreshUsed: a refresh token was used that its successors have replaced. The
// grant is ended with it.
var errRefreshUsed = errors.New("a refresh token that was replaced: all that came of the grant is revoked")

// refreshText is a refresh token taken apart: the grant, the secret that all tokens
// of the family share, the token's own secret and a code by which the former
// authenticates the latter. So a token that was replaced is distinguished from one
// that this server never made, and nothing has to be kept of it.
type refreshText struct {
	grant  GrantID
	family [16]byte
	secret [32]byte
}

const (
	refreshTagBytes   = 16
	refreshTextLength = (16+16+32+refreshTagBytes)*4/3 + 1 // of base64url without padding
)

// newRefreshToken makes the first token of a family.
func newRefreshToken(id GrantID) (t refreshText) {
	t.grant = id
	_, _ = rand.Read(t.family[:]) // never fails (Go 1.24)
	return t.next()
}

// next makes a successor.
func (t refreshText) next() refreshText {
	_, _ = rand.Read(t.secret[:])
	return t
}

// hash is what is stored of a token.
func (t refreshText) hash() Hash { return sha256.Sum256(t.secret[:]) }

func (t refreshText) tag() []byte {
	mac := hmac.New(sha256.New, t.family[:])
	mac.Write([]byte(t.grant))
	mac.Write(t.secret[:])
	return mac.Sum(nil)[:refreshTagBytes]
}

// String returns the token as the client gets it.
func (t refreshText) String() string {
	b, _ := hex.DecodeString(string(t.grant)) // newGrantID made it
	b = append(b, t.family[:]...)
	b = append(b, t.secret[:]...)
	return base64.RawURLEncoding.EncodeToString(append(b, t.tag()...))
}

// parseRefresh takes a refresh token apart; ok is false for a text that is none.
func parseRefresh(text string) (t refreshText, ok bool) {
	if len(text) != refreshTextLength {
		return t, false
	}

	b, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil {
		return t, false
	}

	t.grant = GrantID(hex.EncodeToString(b[:16]))
	copy(t.family[:], b[16:32])
	copy(t.secret[:], b[32:64])
	return t, hmac.Equal(b[64:], t.tag())
}

// of reports whether a token is one of a grant's family, whether or not it was
// replaced.
func (t refreshText) of(g *Grant) bool {
	if g == nil || g.Refresh == nil {
		return false
	}
	sum := sha256.Sum256(t.family[:])
	return subtle.ConstantTimeCompare(g.Refresh.Family[:], sum[:]) == 1
}

// acceptRefresh refreshes (RFC 6749 6): the client gets a new access token and a new
// refresh token for the one that it has.
func acceptRefresh(
	ctx context.Context, s tokenEndpoint, a *authenticated, p Params, tr *trace.Trace,
) (*granted, error) {
	if p["refresh_token"] == "" {
		return nil, tr.Refuse(checkRefresh, trace.InvalidRequest, trace.Finding{
			Expected: "the parameter refresh_token",
			Found:    "none",
		})
	}

	presented, ok := parseRefresh(p["refresh_token"])
	if !ok {
		return nil, refuseRefresh(tr, "something that is no refresh token of this server")
	}

	g, err := s.cfg.Store.Grant(ctx, presented.grant)
	switch {
	case err != nil:
		return nil, trouble(tr, err)
	case !presented.of(g):
		return nil, refuseRefresh(tr, "a refresh token whose grant is over or was withdrawn")
	case g.ClientID != a.registration.ID:
		return nil, refuseRefresh(tr, "a refresh token of another client")
	case !a.now.Before(g.Expires):
		return nil, refuseRefresh(tr, "a refresh token that expired at "+trace.Stamp(g.Expires))
	}

	if err := s.checkReach(ctx, g, tr); err != nil {
		return nil, err
	}

	next := presented.next()
	rotate := func(now *Grant, t Token) Change { return rotated(now, presented, next, t) }
	if c := rotate(g, Token{}); c.Err != nil {
		return nil, s.end(ctx, a, g.ID, func(now *Grant) Change {
			return Change{
				Err: c.Err,
				End: presented.of(now),
			}
		}, tr)
	}

	tr.Pass(checkRefresh, "the last one, or the one before", "that of grant "+string(g.ID))
	if _, err := assertedContext(a, refreshToken, tr); err != nil {
		return nil, err
	}

	return &granted{
		grant:      g,
		purposes:   g.Purposes, // what the client asserted when the person had agreed
		extensions: g.Extensions,
		change:     rotate,
		refresh:    next.String(),
	}, nil
}

// rotated decides what becomes of a grant whose refresh token is presented.
func rotated(now *Grant, presented, next refreshText, t Token) Change {
	if !presented.of(now) {
		return Change{Err: ErrNoGrant}
	}

	family, hash := *now.Refresh, presented.hash()
	c := Change{Token: &t}
	switch {
	case family.Current == hash:
		family.Previous = hash
	case family.Previous == hash:
		c.Drop = &now.Refresh.Access
	default:
		return Change{
			Err: errRefreshUsed,
			End: true,
		}
	}

	family.Current = next.hash()
	after := *now
	after.Refresh, after.Used = &family, t.Issued
	c.Grant = &after
	return c
}

func refuseRefresh(tr *trace.Trace, found string) error {
	return tr.Refuse(checkRefresh, trace.InvalidGrant, trace.Finding{
		Expected: "the refresh token that this client got last",
		Found:    found,
		Remedy:   "ask for authorization again",
	})
}

// scopeOfGrant returns the scopes that are asked for of what a person granted: all
// of them, or those that a refresh names. Those must lie within the grant (RFC 6749
// 6); the grant itself stays as it is.
func (s tokenEndpoint) scopeOfGrant(g *grantType, granted *Grant, text string, tr *trace.Trace) ([]string, error) {
	if text == "" {
		return slices.Clone(granted.Scope), nil
	}

	if g.name != refreshToken {
		tr.Warn(checkScope, trace.Finding{
			Expected: "no scope beside a code (RFC 6749 4.1.3)",
			Found:    text,
			Remedy:   "ignored: the person decided",
		})
		return slices.Clone(granted.Scope), nil
	}

	check := scopeCheck{checkScope, trace.InvalidScope}
	requested, err := splitRequested(text, check, tr)
	if err != nil {
		return nil, err
	}

	answer, err := s.negotiate(g, scope.Request{
		Scopes:  requested,
		Within:  granted.Scope,
		Limited: true,
	}, check, tr)
	if err != nil {
		return nil, err
	}

	wider := slices.DeleteFunc(requested, func(t string) bool { return slices.Contains(answer.Granted, t) })
	if len(wider) > 0 {
		return nil, tr.Refuse(checkScope, trace.InvalidScope, trace.Finding{
			Expected: "scopes within " + strings.Join(granted.Scope, " ") + " (RFC 6749 6)",
			Found:    strings.Join(wider, " "),
			Remedy:   "ask for less, or for authorization again",
		})
	}

	return answer.Granted, nil
}
