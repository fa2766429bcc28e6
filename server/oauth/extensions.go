package oauth

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"fhirdest.example/udap"
	"fhirdest.example/udap/trace"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// tefcaIAS is TEFCA's extension object for individual access. Package udap
// validates it beside hl7-b2b; it has an identity token and a person's
// particulars, so it is neither stored nor shown.
const tefcaIAS = "tefca_ias"

// extensionsOf returns the names of the authorization extension objects that
// are read in a community.
func extensionsOf(p udap.Policy) []string {
	if p.PurposeFromSAN {
		return []string{udap.B2BKey, tefcaIAS}
	}
	return []string{udap.B2BKey}
}

// b2bObject is what is stored of an hl7-b2b object: the members that UDAP
// Security 2.0, 5.2.1.1 defines, with the values that were validated.
type b2bObject struct {
	Version          string   `json:"version"`
	SubjectName      string   `json:"subject_name,omitzero"`
	SubjectID        string   `json:"subject_id,omitzero"`
	SubjectRole      string   `json:"subject_role,omitzero"`
	OrganizationName string   `json:"organization_name,omitzero"`
	OrganizationID   string   `json:"organization_id"`
	PurposeOfUse     []string `json:"purpose_of_use"`
	ConsentPolicy    []string `json:"consent_policy,omitempty"`
	ConsentReference []string `json:"consent_reference,omitempty"`
}

var b2bMembers = []string{
	"version", "subject_name", "subject_id", "subject_role", "organization_name", "organization_id",
	"purpose_of_use", "consent_policy", "consent_reference",
}

// maxB2B bounds what is stored of one object, in bytes: each token has it.
const maxB2B = 8 << 10

// storedB2B returns the hl7-b2b object that is stored with a token and shown at
// introspection. Further members of the one sent are left out, with a warning:
// nothing here has validated them.
func storedB2B(sent jsontext.Value, b *udap.B2B, tr *trace.Trace) (jsontext.Value, error) {
	var members map[string]jsontext.Value
	if err := json.Unmarshal(sent, &members); err != nil {
		return nil, err
	}

	if others := without(members, b2bMembers); len(others) > 0 {
		tr.Warn(checkExtension, trace.Finding{
			Expected: udap.B2BKey + " with the members " + strings.Join(b2bMembers, ", "),
			Found:    strings.Join(others, ", "),
			Remedy:   "ignored, and not stored with the token",
		})
	}

	stored, err := json.Marshal(b2bObject{
		Version:          "1",
		SubjectName:      b.SubjectName,
		SubjectID:        b.SubjectID,
		SubjectRole:      b.SubjectRole,
		OrganizationName: b.OrganizationName,
		OrganizationID:   b.OrganizationID,
		PurposeOfUse:     b.PurposeOfUse,
		ConsentPolicy:    b.ConsentPolicy,
		ConsentReference: b.ConsentReference,
	})
	if err == nil && len(stored) > maxB2B {
		return nil, tr.Refuse(checkExtension, trace.InvalidGrant, trace.Finding{
			Expected: fmt.Sprintf("an %s object of at most %d bytes", udap.B2BKey, maxB2B),
			Found:    fmt.Sprintf("%d bytes", len(stored)),
			Remedy:   "send fewer or shorter purposes and consent references",
		})
	}

	return stored, err
}

// without returns the names of the members that are not known, in their order.
func without(members map[string]jsontext.Value, known []string) []string {
	return slices.DeleteFunc(slices.Sorted(maps.Keys(members)), func(name string) bool {
		return slices.Contains(known, name)
	})
}

// noteExtensions records what became of the other extension objects: they are
// ignored, always (UDAP client authorization grants 6.4 allows that or
// refusing), and one that has been renamed is recognised.
func noteExtensions(a *authenticated, tr *trace.Trace) {
	udap.CheckExtensionNames(a.ant, tr)
	others := without(a.ant.Extensions, extensionsOf(a.ant.Community.Policy))
	if len(others) > 0 {
		tr.Warn(checkExtension, trace.Finding{
			Expected: "extension objects that the metadata lists",
			Found:    strings.Join(others, ", "),
			Remedy:   "ignored",
		})
	}
}
