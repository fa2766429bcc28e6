package oauth

import (
	"slices"
	"time"

	"fhirdest.example/server/oauth/idtoken"
	"fhirdest.example/udap/trace"
)

// Scopes of OpenID Connect (Core 5.4) and SMART App Launch.
const (
	scopeOpenID   = "openid"
	scopeProfile  = "profile"
	scopeFHIRUser = "fhirUser"
)

var checkIDToken = trace.NewCheck("token.id_token",
	"The ID token says who signed in, to a client that asked for the scope openid", "")

// openid is the side of a Service that is an OpenID provider.
type openid struct{ *Service }

// SetIDTokenKeys replaces the keys of ID tokens for every request that begins
// afterwards.
func (s *Service) SetIDTokenKeys(keys idtoken.Keys) error {
	s.signers.Store(&keys)
	return openid{s}.publishKeys()
}

// offered reports whether this server issues ID tokens.
func (s openid) offered() bool {
	return s.cfg.Interaction != nil && len(*s.signers.Load()) > 0
}

// claimsOf is what may be said of the person of a grant under some scopes.
type claimsOf struct {
	Subject  string `json:"sub"`
	FHIRUser string `json:"fhirUser,omitzero"`
	Name     string `json:"name,omitzero"`
}

// claims returns what a client with these scopes learns of a person.
func (s openid) claims(p Person, scopes []string) claimsOf {
	out := claimsOf{Subject: p.Subject}
	if slices.Contains(scopes, scopeFHIRUser) && p.FHIRUser != "" {
		out.FHIRUser = s.cfg.Base + "/" + p.FHIRUser
	}
	if slices.Contains(scopes, scopeProfile) {
		out.Name = p.Name
	}
	return out
}

// idToken returns the ID token that goes with an access token; empty when the
// scopes do not have openid. The nonce of the authorization request belongs into
// the first one, which the code brings, and into no other (OpenID Connect Core 12.2).
func (s openid) idToken(g *granted, accessToken string, now time.Time, tr *trace.Trace) (string, error) {
	if !slices.Contains(g.scope, scopeOpenID) || !s.offered() {
		return "", nil
	}

	nonce := g.grant.Nonce
	if !g.grant.Used.IsZero() {
		nonce = ""
	}

	about := s.claims(g.grant.Person, g.scope)
	text, err := s.signers.Load().Sign(idtoken.Claims{
		Issuer:   s.urls.Issuer,
		Subject:  about.Subject,
		Audience: string(g.grant.ClientID),
		SignedIn: g.grant.Person.SignedIn.Unix(),
		Nonce:    nonce,
		FHIRUser: about.FHIRUser,
		Name:     about.Name,
	}, accessToken, now)
	if err != nil {
		return "", tr.Refuse(checkIDToken, trace.ServerError, trace.Finding{Err: err})
	}

	tr.Pass(checkIDToken, "the scope openid", "an ID token for "+idtoken.Life.String())
	return text, nil
}

// webKeys returns the public keys of ID tokens.
func (s openid) webKeys() []webKey {
	out := []webKey{}
	for _, key := range *s.signers.Load() {
		out = append(out, webKey{
			WebKey:    key.Public,
			Use:       "sig",
			Algorithm: idtoken.Algorithm,
			ID:        key.ID,
		})
	}
	return out
}

// openIDMembers are the members of this server's metadata that an OpenID provider
// has beside those of RFC 8414 (OpenID Connect Discovery 3).
type openIDMembers struct {
	UserInfo        string   `json:"userinfo_endpoint,omitzero"`
	SubjectTypes    []string `json:"subject_types_supported,omitempty"`
	IDTokens        []string `json:"id_token_signing_alg_values_supported,omitempty"`
	Claims          []string `json:"claims_supported,omitempty"`
	ClaimsParameter *bool    `json:"claims_parameter_supported,omitempty"`
	RequestObjects  *bool    `json:"request_parameter_supported,omitempty"`
	RequestURIs     *bool    `json:"request_uri_parameter_supported,omitempty"` // true when it is absent
	Prompts         []string `json:"prompt_values_supported,omitempty"`
	ResponseModes   []string `json:"response_modes_supported,omitempty"`
}

func (s openid) members() openIDMembers {
	if !s.offered() {
		return openIDMembers{}
	}

	no := false
	return openIDMembers{
		UserInfo:     s.urls.UserInfo,
		SubjectTypes: []string{"public"},
		IDTokens:     []string{idtoken.Algorithm},
		Claims: []string{
			"iss", "sub", "aud", "exp", "iat", "auth_time", "nonce", "at_hash", "fhirUser", "name",
		},
		ClaimsParameter: &no,
		RequestObjects:  &no,
		RequestURIs:     &no,
		Prompts:         []string{"none", "login", "consent", "select_account"},
		ResponseModes:   []string{"query"},
	}
}
