package udaptest

import (
	"encoding/json"
	"testing"
	"time"

	"fhirdest.example/udap"
)

// MetadataClaims are the claims of a good signed_metadata.
func MetadataClaims(base string, now time.Time) Claims {
	return Claims{
		"iss": base, "sub": base, "jti": JTI(), "iat": now.Add(-time.Hour).Unix(), "exp": now.Add(
			30 * 24 * time.Hour).Unix(),
		"token_endpoint": Token, "registration_endpoint": Registration,
	}
}

// Metadata is a good metadata document signed by the server; edit, when not
// nil, may change the plain part and the claims before they are signed.
func Metadata(t testing.TB, server *Client, now time.Time, edit func(plain, signed Claims)) []byte {
	t.Helper()
	signed := MetadataClaims(server.URI, now)
	plain := Claims{
		"udap_versions_supported":                 []string{"1"},
		"udap_profiles_supported":                 []string{"udap_dcr", "udap_authn", "udap_authz"},
		"udap_authorization_extensions_supported": []string{udap.B2BKey},
		"udap_authorization_extensions_required":  []string{udap.B2BKey},
		"udap_certifications_supported":           []string{}, "udap_certifications_required": []string{},
		"grant_types_supported": []string{"client_credentials"}, "scopes_supported": []string{"system/Patient.rs"},
		"token_endpoint": Token, "registration_endpoint": Registration,
		"token_endpoint_auth_methods_supported":                  []string{"private_key_jwt"},
		"token_endpoint_auth_signing_alg_values_supported":       []string{"RS256", "ES256"},
		"registration_endpoint_jwt_signing_alg_values_supported": []string{"RS256", "ES256"},
	}

	if edit != nil {
		edit(plain, signed)
	}
	plain["signed_metadata"] = server.Sign(t, signed)
	b, err := json.Marshal(plain)
	must(t, err)

	return b
}
