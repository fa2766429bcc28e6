package oauth_test

import (
	"encoding/json"
	"slices"
	"testing"

	"fhirdest.example/server/oauth"
	"fhirdest.example/udap/udaptest"
)

// The SMART configuration lists what works, and has no member of what does not.
//
// Covers: case 015
func TestSMARTConfiguration(t *testing.T) {
	always := []string{"client-confidential-asymmetric", "permission-v1", "permission-v2"}
	for _, row := range []struct {
		name         string
		people       bool
		personal     []string
		capabilities []string // beside those that there always are
	}{
		{"no people", false, []string{"openid", "launch"}, nil},
		{"all", true, []string{
			"openid", "fhirUser", "launch", "launch/patient", "offline_access", "online_access",
			"patient/Patient.rs", "user/Patient.read",
		}, []string{
			"launch-standalone", "authorize-post", "launch-ehr", "sso-openid-connect", "context-ehr-patient",
			"context-ehr-encounter", "context-standalone-patient", "permission-offline", "permission-online",
			"permission-patient", "permission-user",
		}},
		{"users alone", true, []string{"user/Patient.rs"}, []string{
			"launch-standalone", "authorize-post", "permission-user",
		}},
	} {
		t.Run(row.name, func(t *testing.T) {
			e := newMetadataEnv(t, func(_ *udaptest.Env, c *oauth.Config) {
				c.Personal = catalogue(t, row.personal...)
				if row.people {
					c.Interaction = nobody{}
				}
			})
			a := e.get("GET", "/fhir/.well-known/smart-configuration", nil)
			var d struct {
				Issuer       string   `json:"issuer"`
				JWKS         string   `json:"jwks_uri"`
				Authorize    string   `json:"authorization_endpoint"`
				Management   string   `json:"management_endpoint"`
				Grants       []string `json:"grant_types_supported"`
				Methods      []string `json:"code_challenge_methods_supported"`
				Capabilities []string `json:"capabilities"`
			}
			if err := json.Unmarshal(a.body, &d); err != nil || a.status != 200 {
				t.Fatalf("%d %v", a.status, err)
			}

			want := slices.Concat(always, row.capabilities)
			if !slices.Equal(d.Capabilities, want) {
				t.Errorf("capabilities %v\nwant %v", d.Capabilities, want)
			}
			urls := [4]string{d.Issuer, d.JWKS, d.Authorize, d.Management}
			expected := [4]string{issuer, issuer + "/jwks", issuer + "/authorize", issuer + "/grants"}
			if !row.people {
				expected = [4]string{}
			}

			if urls != expected || slices.Contains(d.Grants, "authorization_code") != row.people ||
				!slices.Equal(d.Methods, []string{"S256"}) {
				t.Errorf("%v, grants %v, methods %v", urls, d.Grants, d.Methods)
			}
		})
	}
}
