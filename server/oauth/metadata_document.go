package oauth

import (
	"slices"
	"strings"

	"fhirdest.example/server/oauth/dpop"
	"fhirdest.example/udap"
)

// UDAPDocument is the document at BASE/.well-known/udap (UDAP Security 2.0,
// 2.2), for one trust community.
type UDAPDocument struct {
	Versions               []string `json:"udap_versions_supported"`
	Profiles               []string `json:"udap_profiles_supported"`
	Extensions             []string `json:"udap_authorization_extensions_supported"`
	ExtensionsRequired     []string `json:"udap_authorization_extensions_required"` // clients require it, even empty
	Certifications         []string `json:"udap_certifications_supported"`
	CertificationsRequired []string `json:"udap_certifications_required"` // present even if empty: clients require it
	GrantTypes             []string `json:"grant_types_supported"`
	Scopes                 []string `json:"scopes_supported"`
	AuthorizationEndpoint  string   `json:"authorization_endpoint,omitzero"`
	TokenEndpoint          string   `json:"token_endpoint"`
	AuthMethods            []string `json:"token_endpoint_auth_methods_supported"`
	TokenAlgorithms        []string `json:"token_endpoint_auth_signing_alg_values_supported"`
	RegistrationEndpoint   string   `json:"registration_endpoint"`
	RegistrationAlgorithms []string `json:"registration_endpoint_jwt_signing_alg_values_supported"`
	IntrospectionEndpoint  string   `json:"introspection_endpoint"`
	RevocationEndpoint     string   `json:"revocation_endpoint"`
	DPoPAlgorithms         []string `json:"dpop_signing_alg_values_supported"`
	SignedMetadata         string   `json:"signed_metadata"`
}

// signedClaims are the claims of signed_metadata (UDAP Security 2.0, 2.3).
type signedClaims struct {
	Issuer                string `json:"iss"`
	Subject               string `json:"sub"`
	Issued                int64  `json:"iat"`
	Expires               int64  `json:"exp"`
	JTI                   string `json:"jti"`
	AuthorizationEndpoint string `json:"authorization_endpoint,omitzero"`
	TokenEndpoint         string `json:"token_endpoint"`
	RegistrationEndpoint  string `json:"registration_endpoint"`
}

// udapDocument describes this server to a community, but for the signature.
func (s discovery) udapDocument(p udap.Policy) UDAPDocument {
	d := UDAPDocument{
		Versions:               []string{"1"},
		Profiles:               []string{"udap_dcr", "udap_authn", "udap_authz"},
		Extensions:             extensionsOf(p),
		ExtensionsRequired:     extensionsRequired(p),
		Certifications:         orEmpty(p.Certifications),
		CertificationsRequired: orEmpty(p.CertificationsNeeded),
		GrantTypes:             s.grantTypes(),
		Scopes:                 s.scopesSupported(),
		AuthorizationEndpoint:  s.authorizationEndpoint(),
		TokenEndpoint:          s.urls.Token,
		AuthMethods:            []string{"private_key_jwt"},
		TokenAlgorithms:        p.SignatureAlgorithms(),
		RegistrationEndpoint:   s.urls.Register,
		RegistrationAlgorithms: p.SignatureAlgorithms(),
		IntrospectionEndpoint:  s.urls.Introspect,
		RevocationEndpoint:     s.urls.Revoke,
		DPoPAlgorithms:         dpop.Algorithms(),
	}

	if s.cfg.Tiered {
		d.Profiles = append(d.Profiles, "udap_to") // UDAP Security 2.0, 2.2
	}
	return d
}

func (s discovery) authorizationEndpoint() string {
	if s.cfg.people() {
		return s.urls.Authorize
	}
	return ""
}

// scopesSupported lists every scope that can be granted (UDAP Security 2.0, 7.3).
func (s discovery) scopesSupported() []string {
	all := s.cfg.Scopes.Supported()
	if s.cfg.people() {
		all = append(all, s.cfg.Personal.Supported()...)
	}
	return orEmpty(all)
}

func orEmpty(list []string) []string {
	if list == nil {
		return []string{}
	}
	return slices.Clone(list)
}

// rsaFirst puts RS256 first: clients in the field use the first algorithm that is
// listed, and RS256 is the one that all of them have.
func rsaFirst(algorithms []string) []string {
	out := slices.Clone(algorithms)
	slices.SortStableFunc(out, func(a, b string) int {
		switch {
		case a == b:
			return 0
		case a == "RS256":
			return -1
		case b == "RS256":
			return 1
		}

		return 0
	})

	return out
}

func (s discovery) responseTypes() []string {
	if s.cfg.people() {
		return []string{"code"}
	}
	return []string{}
}

// allAlgorithms are those that any community accepts.
func allAlgorithms(v *udap.Verifier) []string {
	var all []string
	for _, c := range v.Communities {
		for _, a := range c.Policy.SignatureAlgorithms() {
			if !slices.Contains(all, a) {
				all = append(all, a)
			}
		}
	}

	return rsaFirst(all)
}

// serverDocument is the authorization server metadata of RFC 8414.
type serverDocument struct {
	Issuer                  string   `json:"issuer"`
	AuthorizationEndpoint   string   `json:"authorization_endpoint,omitzero"`
	TokenEndpoint           string   `json:"token_endpoint"`
	JWKS                    string   `json:"jwks_uri"`
	RegistrationEndpoint    string   `json:"registration_endpoint"`
	Scopes                  []string `json:"scopes_supported"`
	ResponseTypes           []string `json:"response_types_supported"`
	GrantTypes              []string `json:"grant_types_supported"`
	AuthMethods             []string `json:"token_endpoint_auth_methods_supported"`
	TokenAlgorithms         []string `json:"token_endpoint_auth_signing_alg_values_supported"`
	IntrospectionEndpoint   string   `json:"introspection_endpoint"`
	IntrospectionMethods    []string `json:"introspection_endpoint_auth_methods_supported"`
	IntrospectionAlgorithms []string `json:"introspection_endpoint_auth_signing_alg_values_supported"`
	RevocationEndpoint      string   `json:"revocation_endpoint"`
	RevocationMethods       []string `json:"revocation_endpoint_auth_methods_supported"`
	RevocationAlgorithms    []string `json:"revocation_endpoint_auth_signing_alg_values_supported"`
	ChallengeMethods        []string `json:"code_challenge_methods_supported"`
	DPoPAlgorithms          []string `json:"dpop_signing_alg_values_supported"` // RFC 9449 5.1
	// RFC 9207 3; absent where there is no authorization endpoint
	AnnouncesIssuer bool `json:"authorization_response_iss_parameter_supported,omitzero"`

	openIDMembers
}

func (s discovery) serverDocument(v *udap.Verifier) serverDocument {
	methods, algorithms := []string{"private_key_jwt"}, allAlgorithms(v)
	return serverDocument{
		Issuer:                  s.urls.Issuer,
		AuthorizationEndpoint:   s.authorizationEndpoint(),
		TokenEndpoint:           s.urls.Token,
		JWKS:                    s.urls.JWKS,
		RegistrationEndpoint:    s.urls.Register,
		Scopes:                  s.scopesSupported(),
		ResponseTypes:           s.responseTypes(),
		GrantTypes:              s.grantTypes(),
		AuthMethods:             methods,
		TokenAlgorithms:         algorithms,
		IntrospectionEndpoint:   s.urls.Introspect,
		IntrospectionMethods:    methods,
		IntrospectionAlgorithms: algorithms,
		RevocationEndpoint:      s.urls.Revoke,
		RevocationMethods:       methods,
		RevocationAlgorithms:    algorithms,
		ChallengeMethods:        []string{"S256"},
		DPoPAlgorithms:          dpop.Algorithms(),
		AnnouncesIssuer:         s.cfg.people(),

		openIDMembers: openid(s).members(),
	}
}

// wellKnown inserts a well-known suffix between the host and the path of an
// issuer (RFC 8414 3.1).
func wellKnown(issuer, suffix string) string {
	start := strings.Index(issuer, "://") + len("://")
	if slash := strings.IndexByte(issuer[start:], '/'); slash >= 0 {
		return issuer[:start+slash] + "/.well-known/" + suffix + issuer[start+slash:]
	}
	return issuer + "/.well-known/" + suffix
}
