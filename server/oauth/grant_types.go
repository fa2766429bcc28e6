package oauth

import (
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"fhirdest.example/udap/trace"
)

// Grant types (RFC 6749 4 and 6).
const (
	clientCredentials = "client_credentials"
	authorizationCode = "authorization_code"
	refreshToken      = "refresh_token"
)

// grantType is one grantType type of the token endpoint. It has what differs between
// grants and nothing else: Token runs the phases that all of them share, so
// that no grantType can leave one out.
type grantType struct {
	name     string
	contexts []string // of the resource scopes that clients of this grant may have
	personal bool     // the scopes come from Config.Personal, and openid and the like are among them

	// accept validates the parameters of the grant and returns what the token
	// will carry but for its scope. nil: the grant is known and not offered.
	accept func(*authenticated, Params, *trace.Trace) (*granted, error)
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
	},
	{
		name:     refreshToken,
		contexts: []string{"user", "patient"},
		personal: true,
	},
}

// granted is what a token will allow, and in which context.
type granted struct {
	scope      []string
	purposes   []string
	extensions map[string]jsontext.Value
}

// grantTypeNamed returns a grant of the table by its grant_type, or nil.
func grantTypeNamed(name string) *grantType {
	i := slices.IndexFunc(grantTypes, func(g grantType) bool { return g.name == name })
	if i < 0 {
		return nil
	}
	return &grantTypes[i]
}

// offered returns the grant types that the token endpoint accepts.
func offered() string {
	var names []string
	for _, g := range grantTypes {
		if g.accept != nil {
			names = append(names, g.name)
		}
	}
	return strings.Join(names, ", ")
}

// acceptClientCredentials validates what a request for client_credentials has
// beyond a client's authentication (UDAP Security 2.0, 5.2).
func acceptClientCredentials(a *authenticated, _ Params, tr *trace.Trace) (*granted, error) {
	if a.ant.Resources {
		return nil, tr.Refuse(checkResources, trace.InvalidRequest, trace.Finding{
			Expected: "no resources claim",
			Found:    "one",
			Remedy:   "name the data wanted by scopes",
		})
	}

	return assertedContext(a, clientCredentials, tr)
}
