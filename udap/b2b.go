package udap

import (
	"slices"
	"strings"

	"fhirdest.example/udap/jose"
	"fhirdest.example/udap/trace"
)

// B2BKey is the name of the B2B authorization extension object.
const B2BKey = "hl7-b2b"

// The checks on the B2B authorization extension object (UDAP Security 5.2.1.1).
var (
	checkB2B        = trace.NewCheck("b2b.object", "extensions has an hl7-b2b object", "S1-198 S1-032 S2-21")
	checkB2BVersion = trace.NewCheck("b2b.version", `version is the string "1"`, "S1-202 S2-21")
	checkB2BOrg     = trace.NewCheck("b2b.organization",
		"organization_id is a URI of a scheme that the community allows", "S1-210 S1-211 S1-212 S1-213 S2-21")
	checkB2BPurpose = trace.NewCheck("b2b.purpose_of_use",
		"purpose_of_use has one or more codes that the community allows", "S1-215 S1-216 S2-21")
	checkB2BSubject = trace.NewCheck("b2b.subject", "subject_id and subject_role come with subject_name",
		"S1-203 S1-204 S1-208 S2-21")
	checkB2BConsent = trace.NewCheck("b2b.consent",
		"consent_policy holds URIs; consent_reference comes with it and holds absolute URLs",
		"S1-217 S1-218 S1-221 S2-21")

	b2bChecks = extensionChecks{
		version: checkB2BVersion,
		purpose: checkB2BPurpose,
		consent: checkB2BConsent,
	}
)

// B2B is a well-formed B2B authorization extension object: the client's own
// statement about the user, the organization and the purpose of a request. Its
// content is not verified.
type B2B struct {
	SubjectName      string
	SubjectID        string
	SubjectRole      string
	OrganizationName string
	OrganizationID   string
	PurposeOfUse     []string
	ConsentPolicy    []string
	ConsentReference []string // never fetched here
}

// b2bMembers are those that UDAP Security 2.0, 5.2.1.1 defines.
var b2bMembers = []string{
	"version", "subject_name", "subject_id", "subject_role", "organization_name", "organization_id",
	"purpose_of_use", "consent_policy", "consent_reference",
}

// b2b is one validation of the object.
type b2b struct {
	extension
	out *B2B
}

// ValidateB2B checks the hl7-b2b object of an authentication token that asks for
// client_credentials. It returns nil without an error when there is none and
// the policy lets it be absent. A refusal is an *Error with the code
// invalid_grant (UDAP authorization grants 6.4).
func ValidateB2B(ant *AuthenticationToken, p Policy, tr *trace.Trace) (*B2B, error) {
	if _, ok := ant.Extensions[B2BKey]; !ok {
		return absentB2B(ant, p, tr)
	}

	x, err := openExtension(ant.Extensions, B2BKey, checkB2B, b2bChecks, p, tr)
	if err != nil {
		return nil, err
	}

	b := &b2b{
		extension: x,
		out:       &B2B{},
	}
	err = tr.Independent(
		b.version,
		b.organization,
		func() (err error) { b.out.PurposeOfUse, err = b.purposes(); return err },
		b.subject,
		func() (err error) {
			b.out.ConsentPolicy, b.out.ConsentReference, err = b.consents()
			return err
		},
	)
	if err != nil {
		return nil, err
	}

	if err := b.sanPurpose(ant, b.out.PurposeOfUse); err != nil {
		return nil, err
	}

	b.treatment(ant)
	b.warnUnknown(B2BKey, checkB2B, b2bMembers)
	CheckExtensionNames(ant, tr)
	return b.out, nil
}

func absentB2B(ant *AuthenticationToken, p Policy, tr *trace.Trace) (*B2B, error) {
	found := "no hl7-b2b" + jose.Object(ant.Extensions).DidYouMean(B2BKey)
	if ant.extensionsKind != "" {
		found = ant.extensionsKind + ", where extensions belongs"
	}
	f := trace.Finding{
		Expected: `extensions with an "hl7-b2b" object`,
		Found:    found,
		Remedy:   "client_credentials needs the organization and the purpose of the request (UDAP Security 5.2.1.1)",
	}

	if ant.misplacedB2B != "" {
		f.Found += "; " + ant.misplacedB2B
		f.Remedy = `write {"extensions": {"hl7-b2b": {...}}} (UDAP Security 5.2.1.1)`
	}
	if _, sent := ant.Extensions[B2BUserKey]; sent {
		f.Remedy = "send " + B2BUserKey + " beside " + B2BKey + ", not in its place (UDAP Security 5.2.1)"
	}
	if strings.HasPrefix(ant.extensionsKind, "string ") { // as an early test kit in the field sends it
		f.Remedy = "let extensions be a JSON object itself, not a string that holds one"
	}
	if !p.B2BOptional || ant.extensionsKind != "" && !strings.HasPrefix(ant.extensionsKind, "no ") {
		return nil, tr.Refuse(checkB2B, trace.InvalidGrant, f)
	}

	f.Remedy = "accepted because the community's policy makes it optional"
	tr.Warn(checkB2B, f)
	return nil, nil
}

func (b *b2b) organization() error {
	if err := b.optional(checkB2BOrg, "organization_name", &b.out.OrganizationName); err != nil {
		return err
	}

	id, ok := b.o.Text("organization_id")
	if !ok {
		return b.refuse(checkB2BOrg, "organization_id as a URI", b.o.Show("organization_id"), "")
	}

	scheme, err := absoluteURI(id)
	if err != nil {
		return b.refuse(checkB2BOrg, "organization_id as an absolute URI", id+": "+err.Error(),
			"for example https://example.com/org or urn:oid:1.2.3")
	}
	if allowed := b.p.OrganizationIDSchemes; len(allowed) > 0 && !slices.Contains(allowed, scheme) {
		return b.refuse(checkB2BOrg, "organization_id with the scheme "+
			strings.Join(allowed, " or "), id,
			"the community allows no other")
	}

	b.out.OrganizationID = id
	b.tr.Pass(checkB2BOrg, "an absolute URI", id)
	return nil
}

func (b *b2b) subject() error {
	for _, f := range []struct {
		name string
		into *string
	}{
		{"subject_name", &b.out.SubjectName},
		{"subject_id", &b.out.SubjectID},
		{"subject_role", &b.out.SubjectRole},
	} {
		if err := b.optional(checkB2BSubject, f.name, f.into); err != nil {
			return err
		}
	}

	if b.out.SubjectName == "" && (b.out.SubjectID != "" || b.out.SubjectRole != "") {
		return b.refuse(checkB2BSubject, "subject_name beside subject_id and subject_role", "no subject_name",
			"")
	}

	b.tr.Pass(checkB2BSubject, "subject_name with subject_id and subject_role", presence(b.out.SubjectName))
	return nil
}

// presence describes whether a person is named, without naming them in the trace.
func presence(s string) string {
	if s == "" {
		return "no subject"
	}
	return "a subject is named"
}
