package udap

import (
	"fmt"
	"net/url"
	"slices"
	"strings"

	"fhirdest.example/udap/jose"
	"fhirdest.example/udap/trace"
)

// Bounds of the members of an authorization extension object.
const (
	maxPurposes      = 20
	maxReferences    = 20
	maxExtensionText = 500
)

// extension is one validation of an authorization extension object. The objects
// have several members in common: the guides define each by reference to hl7-b2b.
type extension struct {
	o      jose.Object
	p      Policy
	tr     *trace.Trace
	checks extensionChecks
}

// extensionChecks are the checks on the members that the objects have in common.
type extensionChecks struct {
	version, purpose, consent trace.Check
}

// openExtension parses an extension object by its name. It is a value, which those who
// call it keep in their own.
func openExtension(
	all jose.Object, name string, c trace.Check, checks extensionChecks, p Policy, tr *trace.Trace,
) (x extension, err error) {
	o, err := all.Object(name)
	if err != nil {
		return x, tr.Refuse(c, trace.InvalidGrant, trace.Finding{
			Expected: name + " as a JSON object",
			Found:    name + " is a JSON " + all.Kind(name) + " that is not accepted",
			Err:      err,
		})
	}

	tr.Pass(c, "an object", o.Members())
	return extension{
		o:      o,
		p:      p,
		tr:     tr,
		checks: checks,
	}, nil
}

// warnUnknown records members that no edition defines, or that are misspelt.
func (x *extension) warnUnknown(name string, c trace.Check, known []string) {
	var unknown []string
	for member := range x.o {
		if !slices.Contains(known, member) {
			unknown = append(unknown, trace.Cut(member, 40))
		}
	}

	if len(unknown) == 0 {
		return
	}

	slices.Sort(unknown)
	f := trace.Finding{
		Expected: name + " with the members " + strings.Join(known, ", "),
		Found:    strings.Join(unknown[:min(len(unknown), 12)], ", "),
		Remedy:   "ignored, and not stored with the token",
	}

	for _, member := range known {
		if !x.o.Has(member) {
			f.Found += x.o.DidYouMean(member)
		}
	}

	x.tr.Warn(c, f)
}

// warnMisspelt records an object that was probably meant to have a name.
func warnMisspelt(ant *AuthenticationToken, name string, c trace.Check, tr *trace.Trace) {
	hint := jose.Object(ant.Extensions).DidYouMean(name)
	if hint == "" {
		return
	}
	tr.Warn(c, trace.Finding{
		Expected: name,
		Found:    "no " + name + hint,
		Remedy:   "ignored under this name",
	})
}

func (x *extension) refuse(c trace.Check, expected, found, remedy string) error {
	return x.tr.Refuse(c, trace.InvalidGrant, trace.Finding{
		Expected: expected,
		Found:    found,
		Remedy:   remedy,
	})
}

func (x *extension) version() error {
	if !x.o.Is("version", "1") {
		return x.refuse(x.checks.version, `the string "1"`, x.o.Show("version"), "")
	}
	x.tr.Pass(x.checks.version, `"1"`, `"1"`)
	return nil
}

// optional reads a text that may be absent, but not empty or of another kind.
func (x *extension) optional(c trace.Check, name string, into *string) error {
	if !x.o.Has(name) {
		return nil
	}

	s, ok := x.o.Text(name)
	if !ok || strings.TrimSpace(s) == "" || len(s) > maxExtensionText {
		return x.refuse(c, fmt.Sprintf("%s as a string of 1 to %d bytes", name, maxExtensionText), x.o.Show(name),
			"leave out what is not known")
	}

	*into = s
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

var purposesExpected = fmt.Sprintf("purpose_of_use as an array of 1 to %d codes", maxPurposes)

// purposes returns the codes of purpose_of_use.
func (x *extension) purposes() ([]string, error) {
	codes, ok := x.o.List("purpose_of_use")
	if !ok || len(codes) == 0 || len(codes) > maxPurposes {
		return nil, x.refuse(x.checks.purpose, purposesExpected, x.o.Show("purpose_of_use"), "")
	}

	for _, code := range codes {
		if err := x.purpose(code); err != nil {
			return nil, err
		}
	}

	x.tr.Pass(x.checks.purpose, purposesExpected, strings.Join(codes, " "))
	return codes, nil
}

// purpose checks one code: system#code as a URI; a bare code only if the policy
// allows it.
func (x *extension) purpose(code string) error {
	const expected = "codes as URIs, system#code, such as urn:oid:2.16.840.1.113883.5.8#TREAT"
	system, bare, isURI := strings.Cut(code, "#")
	_, err := absoluteURI(system)
	switch {
	case isURI && err == nil && bare != "" && plainCode(bare):
	case x.p.PurposeCodes == PurposeAny && !isURI && plainCode(code):
		x.tr.Warn(x.checks.purpose, trace.Finding{
			Expected: expected,
			Found:    code,
			Remedy: "a bare code is accepted because the community's policy allows it (purposeCodes: any); UDAP " +
				"Security 2.0 prefers system#code",
		})

	default:
		return x.refuse(x.checks.purpose, expected, fmt.Sprintf("%q", trace.Cut(code, 200)), "")
	}

	if allowed := x.p.PurposesOfUse; len(allowed) > 0 && !purposeAllowed(allowed, code, isURI) {
		return x.refuse(x.checks.purpose, "one of "+
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

// consents returns the URIs of consent_policy and consent_reference.
func (x *extension) consents() (policy, reference []string, err error) {
	policy, err = x.uriList("consent_policy", func(s string) error {
		_, err := absoluteURI(s)
		return err
	})
	if err != nil {
		return nil, nil, err
	}

	reference, err = x.uriList("consent_reference", func(s string) error {
		return checkWebURI(s, false)
	})
	if err != nil {
		return nil, nil, err
	}
	if reference != nil && policy == nil {
		return nil, nil, x.refuse(x.checks.consent, "consent_policy beside consent_reference",
			"no consent_policy", "")
	}

	found := "0 policies, 0 references"
	if policy != nil {
		found = fmt.Sprintf("%d policies, %d references", len(policy), len(reference))
	}
	x.tr.Pass(x.checks.consent, "URIs", found)
	return policy, reference, nil
}

func (x *extension) uriList(name string, check func(string) error) ([]string, error) {
	if !x.o.Has(name) {
		return nil, nil
	}

	expected := fmt.Sprintf("%s as an array of 1 to %d URIs", name, maxReferences)
	uris, ok := x.o.List(name)
	if !ok || len(uris) > maxReferences {
		return nil, x.refuse(x.checks.consent, expected, x.o.Show(name), "")
	}
	if len(uris) == 0 { // a library in the field always writes both arrays
		x.tr.Warn(x.checks.consent, trace.Finding{
			Expected: expected,
			Found:    x.o.Show(name),
			Remedy:   "leave out what has no value: a stricter server refuses this",
		})

		return nil, nil
	}

	for _, u := range uris {
		if err := check(u); err != nil {
			return nil, x.refuse(x.checks.consent, name+" as absolute URIs",
				fmt.Sprintf("%q: %v", trace.Cut(u, 200), err), "")
		}
	}

	return uris, nil
}
