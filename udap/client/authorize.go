package client

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"

	"github.com/go-json-experiment/json/jsontext"

	"fhirdest.example/udap/trace"
)

// Authorization is a request to a server's authorization endpoint (RFC 6749 4.1.1,
// UDAP Security 2.0, 7.2). State and Verifier must be unguessable: see NewSecret.
type Authorization struct {
	ClientID    trace.ClientID
	RedirectURI string
	Scope       string
	State       string
	Verifier    string // PKCE: its challenge is sent, itself it goes with the code (RFC 7636)
	Nonce       string // comes back in the ID token; empty sends none

	Further url.Values // parameters beside these, such as idp, prompt, launch and aud
}

// CodeRequest exchanges an authorization code (RFC 6749 4.1.3).
type CodeRequest struct {
	ClientID    trace.ClientID
	Code        string
	RedirectURI string
	Verifier    string
	Scope       string // what was asked for: the answer is compared with it
	B2B         *B2B   // nil sends none
	Extensions  map[string]jsontext.Value
}

// RefreshRequest asks for further tokens (RFC 6749 6).
type RefreshRequest struct {
	ClientID   trace.ClientID
	Refresh    string
	Scope      string // empty: as granted
	B2B        *B2B   // nil sends none
	Extensions map[string]jsontext.Value
}

// NewSecret returns 256 random bits as 43 characters that a URL can have: for
// states, nonces and PKCE verifiers.
func NewSecret() string {
	var b [32]byte
	_, _ = rand.Read(b[:]) // crypto/rand.Read never fails (Go 1.24)
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// challenge returns the S256 challenge of a PKCE verifier (RFC 7636 4.2).
func challenge(verifier string) string {
	sum := sha256.Sum256([]byte(verifier))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// AuthorizationURL returns the URL to which a person's browser is sent.
func (c *Client) AuthorizationURL(d *Discovery, a Authorization, tr *trace.Trace) (string, error) {
	if err := verified(tr, d); err != nil {
		return "", err
	}

	u, err := url.Parse(d.Authorization)
	switch {
	case err != nil || d.Authorization == "":
		return "", stop(
			tr,
			checkAuthorize,
			"a signed authorization_endpoint",
			fmt.Sprintf("%q", d.Authorization),
			"this server has no flow with a person",
		)
	case a.ClientID == "" || a.RedirectURI == "":
		return "", stop(
			tr,
			checkAuthorize,
			"a client_id and a redirect URI",
			"none",
			"register first",
		)
	case len(a.State) < 22 || len(a.Verifier) < 43:
		return "", stop(
			tr,
			checkAuthorize,
			"a state and a verifier that cannot be guessed",
			"short ones",
			"",
		)
	}

	q := u.Query()
	for name, values := range a.Further {
		q[name] = values
	}

	for name, value := range map[string]string{
		"response_type":         "code",
		"client_id":             string(a.ClientID),
		"redirect_uri":          a.RedirectURI,
		"scope":                 a.Scope,
		"state":                 a.State,
		"nonce":                 a.Nonce,
		"code_challenge":        challenge(a.Verifier),
		"code_challenge_method": "S256",
	} {
		if value != "" {
			q.Set(name, value)
		}
	}

	u.RawQuery = q.Encode()
	tr.Pass(
		checkAuthorize,
		"",
		fmt.Sprintf("to %s, scope %q", d.Authorization, a.Scope),
	)
	return u.String(), nil
}

// ErrState is the cause of an error of ReadRedirect: the redirect belongs to no
// request of this client, and nothing in it may be used.
var ErrState = errors.New("client: the redirect does not belong to the request")

// Redirected is what came back to the redirect URI.
type Redirected struct {
	Code string
	// Refusal is the error that the server sent instead of a code. Its state and iss
	// were right, so it is the server's own.
	Refusal *Refusal
}

// ReadRedirect reads the query with which a browser came back (RFC 6749 4.1.2). The
// state must be the one that was sent; iss, if there is one, must be the issuer, and
// there must be one if the issuer announced it (RFC 9207 2.4). Each parameter may
// be there once.
func ReadRedirect(query, state, issuer string, announced bool, tr *trace.Trace) (*Redirected, error) {
	v, err := url.ParseQuery(query)
	if err == nil {
		for _, name := range []string{"state", "iss", "code", "error"} {
			if len(v[name]) > 1 {
				err = fmt.Errorf("two values of %s", name)
			}
		}
	}

	if err != nil {
		return nil, redirectFault(
			tr,
			"a query with each parameter once",
			err.Error(),
			err,
		)
	}

	if subtle.ConstantTimeCompare([]byte(v.Get("state")), []byte(state)) != 1 || state == "" {
		return nil, redirectFault(
			tr,
			"the state that was sent",
			"another one, or none",
			ErrState,
		)
	}
	if iss := v.Get("iss"); iss != issuer && (iss != "" || announced) {
		return nil, redirectFault(
			tr,
			"iss "+issuer,
			fmt.Sprintf("iss %q", iss),
			errors.New("client: the answer is of another server (mix-up, RFC 9207)"),
		)
	}

	code, failure := v.Get("code"), v.Get("error")
	switch {
	case (code == "") == (failure == ""):
		return nil, redirectFault(
			tr,
			"a code, or an error",
			"both or neither",
			nil,
		)
	case failure != "":
		tr.Pass(
			checkRedirect,
			"the state and the issuer of the request",
			"the error "+failure,
		)
		return &Redirected{
			Refusal: &Refusal{
				Code:        trace.Code(failure),
				Description: v.Get("error_description"),
				Page:        v.Get("error_uri"),
			},
		}, nil
	}

	tr.Pass(checkRedirect, "the state and the issuer of the request", "a code")
	return &Redirected{Code: code}, nil
}

func redirectFault(tr *trace.Trace, expected, found string, err error) error {
	return tr.Refuse(checkRedirect, CodeStopped, trace.Finding{
		Expected: expected,
		Found:    found,
		Remedy:   "begin anew; what came back was not used",
		Err:      err,
	})
}

// Exchange exchanges an authorization code for tokens.
func (c *Client) Exchange(ctx context.Context, d *Discovery, r CodeRequest) (*Token, error) {
	form := url.Values{
		"grant_type":    {grantCode},
		"code":          {r.Code},
		"redirect_uri":  {r.RedirectURI},
		"code_verifier": {r.Verifier},
	}
	return c.askToken(ctx, d, form, TokenRequest{
		ClientID:   r.ClientID,
		Scope:      r.Scope,
		B2B:        r.B2B,
		Extensions: r.Extensions,
	})
}

// Refresh asks for tokens by a refresh token.
func (c *Client) Refresh(ctx context.Context, d *Discovery, r RefreshRequest) (*Token, error) {
	form := url.Values{
		"grant_type":    {grantRefresh},
		"refresh_token": {r.Refresh},
	}
	if r.Scope != "" {
		form.Set("scope", r.Scope)
	}

	return c.askToken(ctx, d, form, TokenRequest{
		ClientID:   r.ClientID,
		Scope:      r.Scope,
		B2B:        r.B2B,
		Extensions: r.Extensions,
	})
}
