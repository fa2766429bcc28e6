package udap

import (
	"fmt"
	"net/url"
	"slices"
	"strings"

	"fhirdest.example/udap/jose"
	"fhirdest.example/udap/trace"
)

// B2BKey is the name of the B2B authorization extension object.
const B2BKey = "hl7-b2b"

// Bounds of the B2B authorization extension object.
const (
	maxPurposes   = 20
	maxReferences = 20
	maxB2BText    = 500
)

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

// b2b is one validation of the object.
type b2b struct {
	o   jose.Object
	p   Policy
	tr  *trace.Trace
	out *B2B
}

// ValidateB2B checks the hl7-b2b object of an authentication token that asks for
// client_credentials. It returns nil without an error when there is none and
// the policy lets it be absent. A refusal is an *Error with the code
// invalid_grant (UDAP authorization grants 6.4).
func ValidateB2B(ant *AuthenticationToken, p Policy, tr *trace.Trace) (*B2B, error) {
	raw, ok := ant.Extensions[B2BKey]
	if !ok {
		return absentB2B(ant, p, tr)
	}

	o, err := jose.ParseObject(raw)
	if err != nil {
		return nil, tr.Refuse(checkB2B, trace.InvalidGrant, trace.Finding{
			Expected: "hl7-b2b as a JSON object",
			Found:    trace.Cut(string(raw), 100),
			Err:      err,
		})
	}

	b := &b2b{o: o, p: p, tr: tr, out: &B2B{}}
	tr.Pass(checkB2B, "an object", "members "+o.Names())
	if err := tr.Collect(b.version, b.organization, b.purposes, b.subject, b.consent); err != nil {
		return nil, err
	}

	if err := b.sanPurpose(ant); err != nil {
		return nil, err
	}

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

func (b *b2b) refuse(c trace.Check, expected, found, remedy string) error {
	return b.tr.Refuse(c, trace.InvalidGrant, trace.Finding{
		Expected: expected,
		Found:    found,
		Remedy:   remedy,
	})
}

func (b *b2b) version() error {
	if v, ok := b.o.Text("version"); !ok || v != "1" {
		return b.refuse(checkB2BVersion, `the string "1"`, b.o.Show("version"), "")
	}
	b.tr.Pass(checkB2BVersion, `"1"`, `"1"`)
	return nil
}

// optional reads a text that may be absent, but not empty or of another kind.
func (b *b2b) optional(c trace.Check, name string, into *string) error {
	if !b.o.Has(name) {
		return nil
	}

	s, ok := b.o.Text(name)
	if !ok || strings.TrimSpace(s) == "" || len(s) > maxB2BText {
		return b.refuse(c, fmt.Sprintf("%s as a string of 1 to %d bytes", name, maxB2BText), b.o.Show(name),
			"leave out what is not known")
	}

	*into = s
	return nil
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

// absoluteURI checks a URI of any scheme and returns the scheme in lower case.
func absoluteURI(s string) (scheme string, err error) {
	if s == "" || len(s) > maxURI {
		return "", fmt.Errorf("%d bytes", len(s))
	}

	for i := range len(s) {
		if s[i] <= 0x20 || s[i] >= 0x7f {
			return "", fmt.Errorf("it has white space, a control or a character outside ASCII")
		}
	}

	u, err := url.Parse(s)
	switch {
	case err != nil:
		return "", fmt.Errorf("not a URI: %w", err)
	case u.Scheme == "":
		return "", fmt.Errorf("it has no scheme")
	case u.Host == "" && u.Opaque == "" && u.Path == "":
		return "", fmt.Errorf("nothing follows the scheme")
	}

	return u.Scheme, nil
}

func (b *b2b) purposes() error {
	expected := fmt.Sprintf("purpose_of_use as an array of 1 to %d codes", maxPurposes)
	codes, ok := b.o.List("purpose_of_use")
	if !ok || len(codes) == 0 || len(codes) > maxPurposes {
		return b.refuse(checkB2BPurpose, expected, b.o.Show("purpose_of_use"), "")
	}

	for _, code := range codes {
		if err := b.purpose(code); err != nil {
			return err
		}
	}

	b.out.PurposeOfUse = codes
	b.tr.Pass(checkB2BPurpose, expected, strings.Join(codes, " "))
	return nil
}

// purpose checks one code: system#code as a URI; a bare code only if the policy
// allows it.
func (b *b2b) purpose(code string) error {
	const expected = "codes as URIs, system#code, such as urn:oid:2.16.840.1.113883.5.8#TREAT"
	system, bare, isURI := strings.Cut(code, "#")
	_, err := absoluteURI(system)
	switch {
	case isURI && err == nil && bare != "" && plainCode(bare):
	case b.p.PurposeCodes == PurposeAny && !isURI && plainCode(code):
		b.tr.Warn(checkB2BPurpose, trace.Finding{
			Expected: expected,
			Found:    code,
			Remedy: "a bare code is accepted because the community's policy allows it (purposeCodes: any); UDAP " +
				"Security 2.0 prefers system#code",
		})

	default:
		return b.refuse(checkB2BPurpose, expected, fmt.Sprintf("%q", trace.Cut(code, 200)), "")
	}

	if allowed := b.p.PurposesOfUse; len(allowed) > 0 && !purposeAllowed(allowed, code, isURI) {
		return b.refuse(checkB2BPurpose, "one of "+
			strings.Join(allowed, ", "), code, movedPurpose(code))
	}
	return nil
}

func purposeAllowed(allowed []string, code string, isURI bool) bool {
	return slices.ContainsFunc(allowed, func(a string) bool {
		return a == code || !isURI && strings.HasSuffix(a, "#"+code)
	})
}

func plainCode(s string) bool {
	return s != "" && len(s) <= 100 && !strings.ContainsFunc(s, func(r rune) bool {
		return r <= 0x20 || r >= 0x7f || r == '#'
	})
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

func (b *b2b) consent() error {
	policy, err := b.uriList("consent_policy", func(s string) error {
		_, err := absoluteURI(s)
		return err
	})
	if err != nil {
		return err
	}

	reference, err := b.uriList("consent_reference", func(s string) error {
		return checkWebURI(s, false)
	})
	if err != nil {
		return err
	}
	if reference != nil && policy == nil {
		return b.refuse(checkB2BConsent, "consent_policy beside consent_reference", "no consent_policy", "")
	}

	b.out.ConsentPolicy, b.out.ConsentReference = policy, reference
	b.tr.Pass(checkB2BConsent, "URIs", fmt.Sprintf("%d policies, %d references", len(policy), len(reference)))
	return nil
}

func (b *b2b) uriList(name string, check func(string) error) ([]string, error) {
	if !b.o.Has(name) {
		return nil, nil
	}

	expected := fmt.Sprintf("%s as an array of 1 to %d URIs", name, maxReferences)
	uris, ok := b.o.List(name)
	if !ok || len(uris) > maxReferences {
		return nil, b.refuse(checkB2BConsent, expected, b.o.Show(name), "")
	}
	if len(uris) == 0 { // a library in the field always writes both arrays
		b.tr.Warn(checkB2BConsent, trace.Finding{
			Expected: expected,
			Found:    b.o.Show(name),
			Remedy:   "leave out what has no value: a stricter server refuses this",
		})

		return nil, nil
	}

	for _, u := range uris {
		if err := check(u); err != nil {
			return nil, b.refuse(checkB2BConsent, name+" as absolute URIs",
				fmt.Sprintf("%q: %v", trace.Cut(u, 200), err), "")
		}
	}

	return uris, nil
}
