package server

import (
	"reflect"
	"testing"

	"github.com/goccy/go-yaml"

	"fhirdest.example/gateway/complaint"
	"fhirdest.example/udap"
)

// policy.certifiers takes URIs, the word self, and objects that limit a
// certifier to some certifications.
func TestCertifiersInYAML(t *testing.T) {
	for _, row := range []struct {
		name, text string
		want       []udap.Certifier // nil: refused
	}{
		{"a URI", `certifiers: ["https://certifier.test/"]`, []udap.Certifier{{URI: "https://certifier.test/"}}},
		{
			"self",
			"certifiers:\n- self\n- https://b.test/",
			[]udap.Certifier{{URI: udap.SelfCertifier}, {URI: "https://b.test/"}},
		},
		{
			"an object", "certifiers:\n- uri: https://b.test/\n  certifications: [https://c.test/x]",
			[]udap.Certifier{{URI: "https://b.test/", Certifications: []string{"https://c.test/x"}}},
		},
		{"an unknown key", "certifiers:\n- uri: https://b.test/\n  certs: [https://c.test/x]", nil},
		{"a number in an object", "certifiers:\n- uri: https://b.test/\n  certifications: 1", nil},
	} {
		t.Run(row.name, func(t *testing.T) {
			var given Policy
			err := yaml.UnmarshalWithOptions([]byte(row.text), &given, yaml.Strict())
			if row.want == nil {
				if err == nil {
					t.Fatalf("accepted as %+v", given.Certifiers)
				}
				return
			}

			if err != nil {
				t.Fatal(err)
			}

			var got udap.Policy
			given.apply(&got)
			if !reflect.DeepEqual(got.Certifiers, row.want) {
				t.Errorf("read as %+v", got.Certifiers)
			}
		})
	}
}

// Which purpose-of-use codes each profile accepts, and that a policy may
// change it.
func TestPurposeCodesOfProfiles(t *testing.T) {
	strict := "uri"
	for _, row := range []struct {
		name string
		of   Community
		want udap.PurposeRule
	}{
		{"the default", Community{}, udap.PurposeAny},
		{"ssraa-2", Community{Profile: "ssraa-2"}, udap.PurposeAny},
		{"ssraa-1", Community{Profile: "ssraa-1"}, udap.PurposeAny},
		{"tefca", Community{Profile: "tefca"}, udap.PurposeURI},
		{"ssraa-2, strict", Community{Policy: Policy{PurposeCodes: &strict}}, udap.PurposeURI},
	} {
		t.Run(row.name, func(t *testing.T) {
			var cs complaint.List
			got := row.of.policy(&cs, "c")
			if cs.Err() != nil || got.PurposeCodes != row.want {
				t.Errorf("purposeCodes is %q, want %q: %v", got.PurposeCodes, row.want, cs.Err())
			}
		})
	}
}
