package oauth

import (
	"context"
	"slices"

	"github.com/go-json-experiment/json/jsontext"

	"fhirdest.example/udap/trace"
)

// Grant types (RFC 6749 4 and 6).
const (
	clientCredentials = "client_credentials"
	authorizationCode = "authorization_code"
	refreshToken      = "refresh_token"
)

// grantType is one grant type of the token endpoint. It has what differs between
// grant types and nothing else: Token runs the phases that all of them share, so
// that none can leave one out.
type grantType struct {
	name     string
	contexts []string // of the resource scopes that clients of this grant may have
	personal bool     // the scopes come from Config.Personal, and openid and the like are among them

	// accept validates the parameters of the grant and returns what the token
	// will carry but for its scope.
	accept func(context.Context, tokenEndpoint, *authenticated, Params, *trace.Trace) (*granted, error)
}

// grantTypes are the grant types that this server knows.
var grantTypes = []grantType{
	{
		name:     clientCredentials,
		contexts: []string{"system"},
		accept:   acceptClientCredentials,
	},
	{
		name:     authorizationCode,
		contexts: []string{"user", "patient"},
		personal: true,
		accept:   acceptCode,
	},
	{
		name:     refreshToken,
		contexts: []string{"user", "patient"},
		personal: true,
		accept:   acceptRefresh,
	},
}

// granted is what a token will allow, and in which context.
type granted struct {
	scope      []string
	purposes   []string
	extensions map[string]jsontext.Value

	// Of what a person granted; all are nil or empty for the client itself.
	grant   *Grant
	change  func(now *Grant, t Token) Change // what becomes of the grant when t is issued
	refresh string                           // the refresh token to hand out; empty: none
}

// grantTypeNamed returns a grant of the table by its grant_type, or nil.
func grantTypeNamed(name string) *grantType {
	i := slices.IndexFunc(grantTypes, func(g grantType) bool { return g.name == name })
	if i < 0 {
		return nil
	}
	return &grantTypes[i]
}

// acceptClientCredentials validates what a request for client_credentials has
// beyond a client's authentication (UDAP Security 2.0, 5.2).
func acceptClientCredentials(
	_ context.Context, _ tokenEndpoint, a *authenticated, _ Params, tr *trace.Trace,
) (*granted, error) {
	return assertedContext(a, clientCredentials, tr)
}
