package oauth

import (
	"slices"
	"strings"

	"fhirdest.example/server/oauth/dpop"
	"fhirdest.example/udap"
)

// smartDocument is the document at BASE/.well-known/smart-configuration (SMART
// App Launch 2.2, "Conformance"). Clients authenticate by UDAP all the same:
// registration and signed metadata are what the UDAP document describes.
type smartDocument struct {
	Issuer                string   `json:"issuer,omitzero"`   // with sso-openid-connect
	JWKS                  string   `json:"jwks_uri,omitzero"` // with sso-openid-connect
	AuthorizationEndpoint string   `json:"authorization_endpoint,omitzero"`
	TokenEndpoint         string   `json:"token_endpoint"`
	AuthMethods           []string `json:"token_endpoint_auth_methods_supported"`
	TokenAlgorithms       []string `json:"token_endpoint_auth_signing_alg_values_supported"`
	RegistrationEndpoint  string   `json:"registration_endpoint"`
	IntrospectionEndpoint string   `json:"introspection_endpoint"`
	RevocationEndpoint    string   `json:"revocation_endpoint"`
	ManagementEndpoint    string   `json:"management_endpoint,omitzero"` // where people see what they granted
	GrantTypes            []string `json:"grant_types_supported"`
	Scopes                []string `json:"scopes_supported"`
	ResponseTypes         []string `json:"response_types_supported,omitempty"`
	ChallengeMethods      []string `json:"code_challenge_methods_supported"`
	DPoPAlgorithms        []string `json:"dpop_signing_alg_values_supported"`
	Capabilities          []string `json:"capabilities"`
}

func (s discovery) smartDocument(v *udap.Verifier) smartDocument {
	d := smartDocument{
		AuthorizationEndpoint: s.authorizationEndpoint(),
		TokenEndpoint:         s.urls.Token,
		AuthMethods:           []string{"private_key_jwt"},
		TokenAlgorithms:       allAlgorithms(v),
		RegistrationEndpoint:  s.urls.Register,
		IntrospectionEndpoint: s.urls.Introspect,
		RevocationEndpoint:    s.urls.Revoke,
		GrantTypes:            s.grantTypes(),
		Scopes:                s.scopesSupported(),
		ResponseTypes:         s.responseTypes(),
		ChallengeMethods:      []string{"S256"},
		DPoPAlgorithms:        dpop.Algorithms(),
		Capabilities:          s.smartCapabilities(),
	}

	if s.cfg.people() {
		d.Issuer, d.JWKS = s.urls.Issuer, s.urls.JWKS
		d.ManagementEndpoint = s.urls.Issuer + "/grants"
	}
	return d
}

// smartCapability is a capability that a scope gives a server on which people sign
// in.
type smartCapability struct {
	name  string
	scope string // that is offered; a prefix if it ends in a slash
}

var smartCapabilities = []smartCapability{
	{"launch-ehr", scopeLaunch},
	{"sso-openid-connect", "openid"},
	{"context-ehr-patient", scopeLaunch},
	{"context-ehr-encounter", scopeLaunch},
	{"context-standalone-patient", "launch/patient"},
	{"permission-offline", "offline_access"},
	{"permission-online", "online_access"},
	{"permission-patient", "patient/"},
	{"permission-user", "user/"},
}

// smartCapabilities lists what works here, by the names of SMART App Launch 2.2.
func (s discovery) smartCapabilities() []string {
	out := []string{"client-confidential-asymmetric", "permission-v1", "permission-v2"}
	if !s.cfg.people() {
		return out
	}

	out = append(out, "launch-standalone", "authorize-post")
	offered := s.cfg.Personal.Supported()
	for _, c := range smartCapabilities {
		if slices.ContainsFunc(offered, func(scope string) bool {
			return scope == c.scope || strings.HasSuffix(c.scope, "/") && strings.HasPrefix(scope, c.scope)
		}) {
			out = append(out, c.name)
		}
	}

	return out
}
