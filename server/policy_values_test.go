package server

import (
	"strings"
	"testing"
	"time"

	"fhirdest.example/gateway/complaint"
)

func ptr[T any](v T) *T { return &v }

// Every value of a policy is checked: one that no client can ever meet would
// refuse them all without a word at start.
func TestPolicyValues(t *testing.T) {
	for _, c := range []struct {
		name   string
		policy Policy
		want   []string // the complaints' beginnings
	}{
		{"nothing", Policy{}, nil},
		{"all well", Policy{
			Edition:               ptr(1),
			Algorithms:            []string{"ES384"},
			Skew:                  ptr(time.Minute),
			PurposeCodes:          ptr("any"),
			PurposesOfUse:         []string{"urn:oid:2.16.840.1.113883.5.8#TREAT", "http://example.org/codes#a"},
			OrganizationIDSchemes: []string{"https", "urn"},
			RequiredMetadata:      []string{"client_uri", "tos_uri"},
			Certifications:        []string{"https://example.org/certification"},
			CertificationsNeeded:  []string{"urn:example:certification"},
			ExtendedKeyUsages:     []string{"1.3.6.1.5.5.7.3.2"},
			CertificatePolicies:   []string{"2.5.29.32.0"},
			Revocation:            ptr("soft"),
			HL7B2BUser:            ptr("required"),
		}, nil},
		{"user", Policy{HL7B2BUser: ptr("on")}, []string{"p.hl7B2BUser: "}},
		{"edition", Policy{Edition: ptr(3)}, []string{"p.edition: "}},
		{"skew", Policy{Skew: ptr(time.Hour)}, []string{"p.skew: "}},
		{"negative skew", Policy{Skew: ptr(-time.Second)}, []string{"p.skew: "}},
		{"words", Policy{PurposeCodes: ptr("x"), Revocation: ptr("y")}, []string{"p.purposeCodes: ", "p.revocation: "}},
		{"algorithms", Policy{Algorithms: []string{"RS256", "none", "PS256"}},
			[]string{"p.algorithms[1]: ", "p.algorithms[2]: "}},
		{"key usages", Policy{ExtendedKeyUsages: []string{"abc", "1.2.3", "", "1..2", "3.4"}},
			[]string{"p.extendedKeyUsages[0]: ", "p.extendedKeyUsages[2]: ", "p.extendedKeyUsages[3]: ",
				"p.extendedKeyUsages[4]: "}},
		{"certificate policies", Policy{CertificatePolicies: []string{"anyPolicy", "1"}},
			[]string{"p.certificatePolicies[0]: ", "p.certificatePolicies[1]: "}},
		{"purposes", Policy{PurposesOfUse: []string{"TREAT", "urn:oid:1.2#", "#T", "urn:oid:1.2#a b"}},
			[]string{"p.purposesOfUse[0]: ", "p.purposesOfUse[1]: ", "p.purposesOfUse[2]: ", "p.purposesOfUse[3]: "}},
		{"schemes", Policy{OrganizationIDSchemes: []string{"https:", "HTTPS", "1a", ""}},
			[]string{"p.organizationIdSchemes[0]: ", "p.organizationIdSchemes[1]: ", "p.organizationIdSchemes[2]: ",
				"p.organizationIdSchemes[3]: "}},
		{"metadata", Policy{RequiredMetadata: []string{"clientUri", "iss"}},
			[]string{"p.requiredMetadata[0]: ", "p.requiredMetadata[1]: "}},
		{"certifications", Policy{Certifications: []string{"gold"}, CertificationsNeeded: []string{"/x"}},
			[]string{"p.certifications[0]: ", "p.certificationsRequired[0]: "}},
		{"certifiers", Policy{Certifiers: []Certifier{{URI: "self"}, {URI: "me"}, {
			URI:            "https://b.test/",
			Certifications: []string{"gold"},
		}}}, []string{"p.certifiers[1]: ", "p.certifiers[2].certifications: "}},
		{"all at once", Policy{Edition: ptr(0), Algorithms: []string{"x"}, ExtendedKeyUsages: []string{"y"}},
			[]string{"p.edition: ", "p.algorithms[0]: ", "p.extendedKeyUsages[0]: "}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var cs complaint.List
			c.policy.check(&cs, "p")
			if len(cs) != len(c.want) {
				t.Fatalf("complaints: %v, want %v", cs.Err(), c.want)
			}

			for i, err := range cs {
				if !strings.HasPrefix(err.Error(), c.want[i]) {
					t.Errorf("%v, want %s", err, c.want[i])
				}
			}
		})
	}
}
