package oauth

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"

	"fhirdest.example/udap/trace"
)

// The checks of a code, in the order in which they are made.
var (
	checkCode = trace.NewCheck("token.code",
		"The code is one of this client's, used for the first time and in time", "S1-137 S1-148 S1-149")
	checkCodeRedirect = trace.NewCheck("token.redirect_uri",
		"redirect_uri is that of the authorization request, and absent if it was absent there", "S1-150")
	checkVerifier = trace.NewCheck("token.code_verifier",
		"code_verifier is the one of which the authorization request had the SHA-256 (RFC 7636 4.6)", "S2-13")
	checkCodeKey = trace.NewCheck("token.dpop_jkt",
		"The DPoP proof is by the key that the authorization request named (RFC 9449 10)", "")
	checkPerson = trace.NewCheck("token.person",
		"The person who granted this may still sign in, and give access to the patient in context", "")
)

// errCodeUsed: a code was redeemed before. The grant is ended with it.
var errCodeUsed = errors.New("the code was used before: all that came of it is revoked")

// acceptCode redeems a code (RFC 6749 4.1.3). A mistake of the client that has the
// code does not use it up; a second use ends the grant, however late.
func acceptCode(
	ctx context.Context, s tokenEndpoint, a *authenticated, p Params, tr *trace.Trace,
) (*granted, error) {
	g, err := s.grantOfCode(ctx, a, p, tr)
	if err != nil {
		return nil, err
	}

	out, err := assertedContext(a, authorizationCode, tr)
	if err != nil {
		return nil, err
	}

	out.grant = g
	var family *Refresh
	if !g.RefreshEnds.IsZero() && slices.Contains(a.registration.Granted.GrantTypes, refreshToken) {
		t := newRefreshToken(g.ID)
		out.refresh = t.String()
		family = &Refresh{
			Family:  sha256.Sum256(t.family[:]),
			Current: t.hash(),
		}
	}

	out.change = func(now *Grant, t Token) Change {
		if c := codeUsable(now); c.Err != nil {
			return c
		}

		next := *now
		next.Code.Redeemed, next.Used, next.Expires = t.Issued, t.Issued, t.Expires
		next.Purposes, next.Extensions, next.KeyBound = t.Purposes, t.Extensions, t.Confirmation != ""
		if next.Refresh = family; family != nil {
			next.Expires = next.RefreshEnds
		}

		return Change{
			Grant: &next,
			Token: &t,
		}
	}

	return out, nil
}

// codeUsable decides whether the code of a grant can be redeemed.
func codeUsable(now *Grant) Change {
	switch {
	case now == nil:
		return Change{Err: ErrNoGrant}
	case !now.Code.Redeemed.IsZero():
		return Change{
			Err: errCodeUsed,
			End: true,
		}
	}
	return Change{}
}

// grantOfCode returns the grant whose code a request redeems.
func (s tokenEndpoint) grantOfCode(ctx context.Context, a *authenticated, p Params, tr *trace.Trace) (*Grant, error) {
	if p["code"] == "" {
		return nil, tr.Refuse(checkCode, trace.InvalidRequest, trace.Finding{
			Expected: "the parameter code",
			Found:    "none",
		})
	}

	id, hash, ok := parseCode(p["code"])
	if !ok {
		return nil, refuseCode(tr, "something that is no code of this server")
	}

	g, err := s.cfg.Store.Grant(ctx, id)
	switch {
	case err != nil:
		return nil, trouble(tr, err)
	case g == nil || subtle.ConstantTimeCompare(g.Code.Hash[:], hash[:]) != 1:
		return nil, refuseCode(tr, "a code that is unknown, expired long since, or whose grant was withdrawn")
	case g.ClientID != a.registration.ID:
		return nil, refuseCode(tr, "a code of another client")
	case codeUsable(g).Err != nil:
		return nil, s.end(ctx, a, id, codeUsable, tr)

	case g.Session != "" && !a.now.Before(g.RefreshEnds):
		return nil, refuseCode(tr, "a code of a session that ended at "+trace.Stamp(g.RefreshEnds))
	case !a.now.Before(g.Code.Expires):
		return nil, refuseCode(tr, "a code that expired at "+trace.Stamp(g.Code.Expires))
	}

	tr.Pass(checkCode, "a code of this client, for the first time", "that of grant "+string(g.ID))
	err = tr.Collect(
		func() error { return checkRedirectOfCode(g, a.registration, p, tr) },
		func() error { return checkCodeVerifier(g, p, tr) },
		func() error { return checkKeyOfCode(g, a, tr) },
		func() error { return s.checkReach(ctx, g, tr) },
	)
	return g, err
}

func refuseCode(tr *trace.Trace, found string) error {
	return tr.Refuse(checkCode, trace.InvalidGrant, trace.Finding{
		Expected: "a code that this client got less than " + codeLifetime.String() + " ago, for the first time",
		Found:    found,
		Remedy:   "ask for authorization again",
	})
}

// end ends a grant whose code or refresh token was used by more than one party.
// decide must return an error. The jti is spent with it.
func (s tokenEndpoint) end(
	ctx context.Context, a *authenticated, id GrantID, decide func(*Grant) Change, tr *trace.Trace,
) error {
	a.spent = true // or it cannot be: the error has the reason
	return a.use(s.cfg.Store, refuseIssue).commit(ctx, tr, func() error {
		_, err := s.cfg.Store.Exchange(ctx, a.spend, id, decide)
		return err
	})
}

// refuseGrant turns an error about a grant into a refusal; nil for any other error.
func refuseGrant(tr *trace.Trace, err error) error {
	check, remedy := checkCode, "ask for authorization again"
	switch {
	case errors.Is(err, errRefreshUsed):
		check = checkRefresh
	case errors.Is(err, errCodeUsed), errors.Is(err, ErrNoGrant):
	default:
		return nil
	}

	return tr.Refuse(check, trace.InvalidGrant, trace.Finding{
		Expected: "a code or refresh token that was not used before, of a grant that was not withdrawn",
		Found:    err.Error(),
		Remedy:   remedy,
		Err:      err,
	})
}

// parseCode splits a code into the grant's identifier and the hash of its secret.
func parseCode(text string) (id GrantID, hash Hash, ok bool) {
	if len(text) != tokenTextLength { // 16 and 32 bytes, like an access token
		return "", hash, false
	}

	b, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil {
		return "", hash, false
	}
	return GrantID(hex.EncodeToString(b[:16])), sha256.Sum256(b[16:]), true
}

func checkRedirectOfCode(g *Grant, r *Registration, p Params, tr *trace.Trace) error {
	if !slices.Contains(r.Granted.RedirectURIs, g.Code.RedirectURI) {
		return tr.Refuse(checkCodeRedirect, trace.InvalidGrant, trace.Finding{
			Expected: "a redirect URI that the client still has",
			Found:    g.Code.RedirectURI,
			Remedy:   "ask for authorization again",
		})
	}

	want := ""
	if g.Code.Sent {
		want = g.Code.RedirectURI
	}
	if p["redirect_uri"] == want {
		tr.Pass(checkCodeRedirect, orNone(want), orNone(want))
		return nil
	}

	f := trace.Finding{
		Expected: want,
		Found:    shown(p, "redirect_uri"),
		Remedy:   "send what the authorization request had, byte for byte",
	}
	switch {
	case want == "":
		f.Expected = "no redirect_uri, as in the authorization request (UDAP Security 2.0, 4.2.2)"
	case p["redirect_uri"] != "":
		f.Remedy += "; " + difference(want, p["redirect_uri"])
	}

	return tr.Refuse(checkCodeRedirect, trace.InvalidGrant, f)
}

// checkCodeVerifier checks PKCE. A code that was made without a challenge takes no
// verifier: who sends one had sent a challenge that somebody removed (RFC 9700
// 4.8.2).
func checkCodeVerifier(g *Grant, p Params, tr *trace.Trace) error {
	refuse := func(code trace.Code, expected, found string) error {
		return tr.Refuse(checkVerifier, code, trace.Finding{
			Expected: expected,
			Found:    found,
		})
	}

	verifier := p["code_verifier"]
	switch {
	case g.Code.Challenge == "" && verifier == "":
		tr.Warn(checkVerifier, trace.Finding{
			Expected: "code_verifier (UDAP Security 2.0, 7.2.2)",
			Found:    "none, and the authorization request had no challenge",
			Remedy:   "accepted because the community's edition was 1 then; use PKCE",
		})
		return nil

	case g.Code.Challenge == "":
		return refuse(trace.InvalidGrant, "no code_verifier: the authorization request had no code_challenge", "one")
	case verifier == "":
		return refuse(trace.InvalidGrant, "code_verifier", "none")
	case !isVerifier(verifier):
		return refuse(trace.InvalidRequest, "43 to 128 characters of A-Z a-z 0-9 - . _ ~ (RFC 7636 4.1)",
			fmt.Sprintf("%d characters, or others", len(verifier)))
	}

	sum := sha256.Sum256([]byte(verifier))
	got := base64.RawURLEncoding.EncodeToString(sum[:])
	if subtle.ConstantTimeCompare([]byte(got), []byte(g.Code.Challenge)) != 1 {
		return refuse(trace.InvalidGrant, "the verifier of the challenge "+g.Code.Challenge, "another one")
	}

	tr.Pass(checkVerifier, "the verifier of the challenge", "it")
	return nil
}

// isVerifier reports whether a text can be a code_verifier (RFC 7636 4.1).
func isVerifier(text string) bool {
	const more = "-._~"
	return len(text) >= 43 && len(text) <= 128 && !strings.ContainsFunc(text, func(c rune) bool {
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		return !letter && !strings.ContainsRune(more, c)
	})
}

func checkKeyOfCode(g *Grant, a *authenticated, tr *trace.Trace) error {
	if g.Code.Thumbprint == "" || g.Code.Thumbprint == a.thumbprint {
		return nil
	}
	return tr.Refuse(checkCodeKey, trace.InvalidGrant, trace.Finding{
		Expected: "a DPoP proof by the key " + g.Code.Thumbprint,
		Found:    orNone(a.thumbprint),
	})
}

// checkReach refuses what a person granted who may no longer do so.
func (s tokenEndpoint) checkReach(ctx context.Context, g *Grant, tr *trace.Trace) error {
	reach, err := s.cfg.reach(ctx, g)
	if err != nil {
		return trouble(tr, err)
	}

	if why := reach.lacks(g.Patient); why != "" {
		return tr.Refuse(checkPerson, trace.InvalidGrant, trace.Finding{
			Expected: "a person who may sign in and give access to the patient in context",
			Found:    why + ": " + g.Person.Subject + ", patient " + orNone(g.Patient),
			Remedy:   "ask for authorization again",
		})
	}

	tr.Pass(checkPerson, "a person who may sign in and give access to the patient in context", g.Person.Subject)
	return nil
}

// reach returns what the person of a grant may give access to: nothing when there are
// no people.
func (c Config) reach(ctx context.Context, g *Grant) (Reach, error) {
	if c.Interaction == nil {
		return Reach{}, nil
	}
	return c.Interaction.Reach(ctx, g)
}
