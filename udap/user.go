package udap

import (
	"fmt"
	"slices"

	"github.com/go-json-experiment/json/jsontext"

	"fhirdest.example/udap/jose"
	"fhirdest.example/udap/trace"
)

// B2BUserKey is the name of the extension object that describes the person on
// whose behalf a business asks (HL7 Interoperable Digital Identity and Patient
// Matching 2.0, "B2B with User Authorization Extension Object").
const B2BUserKey = "hl7-b2b-user"

// UserRule is whether requests have an hl7-b2b-user object.
type UserRule string

// The rules for hl7-b2b-user.
const (
	UserOptional UserRule = ""         // validated where it is sent
	UserRequired UserRule = "required" // a request for a first token without it is refused
	UserOff      UserRule = "off"      // ignored, with a warning, like any unknown object
)

// ResourceValidator checks a FHIR resource of any type against the definitions
// of R4. Its error says what is wrong without repeating values: they are a
// person's particulars. A nil ResourceValidator accepts nothing.
type ResourceValidator func(body []byte) error

// The checks on the B2B with user authorization extension object.
var (
	checkUser        = trace.NewCheck("user.object", "hl7-b2b-user is an object of known members", "S1-198")
	checkUserVersion = trace.NewCheck("user.version", `version is the string "1"`, "S1-202")
	checkUserPurpose = trace.NewCheck("user.purpose_of_use",
		"purpose_of_use has one or more codes that the community allows", "S1-215")
	checkUserPerson = trace.NewCheck("user.person",
		"user_person is a valid FHIR Person with a name, a telephone number and an e-mail address", "S1-198")
	checkUserConsent = trace.NewCheck("user.consent",
		"consent_policy holds URIs; consent_reference comes with it and holds absolute URLs", "S1-217 S1-218")

	userChecks = extensionChecks{
		version: checkUserVersion,
		purpose: checkUserPurpose,
		consent: checkUserConsent,
	}
)

var userMembers = []string{
	"version", "purpose_of_use", "user_person", "consent_policy", "consent_reference",
}

// User is a well-formed hl7-b2b-user object: what the client asserts about the
// person on whose behalf it asks. Its content is not verified.
type User struct {
	PurposeOfUse     []string
	Person           jose.Object // a FHIR Person that was validated
	ConsentPolicy    []string
	ConsentReference []string // never fetched here
}

// ValidateUser checks the hl7-b2b-user object of an authentication token. It
// returns nil without an error when there is none and the policy lets it be
// absent, or turns it off. first is false where a token continues an earlier
// grant (refresh_token): the object is not required again. A refusal is an
// *Error with the code invalid_grant (UDAP authorization grants 6.4).
func ValidateUser(
	ant *AuthenticationToken, p Policy, first bool, valid ResourceValidator, tr *trace.Trace,
) (*User, error) {
	_, sent := ant.Extensions[B2BUserKey]
	switch {
	case p.B2BUser == UserOff:
		return nil, nil
	case !sent && p.B2BUser == UserRequired && first:
		return nil, tr.Refuse(checkUser, trace.InvalidGrant, trace.Finding{
			Expected: `extensions with an "` + B2BUserKey + `" object`,
			Found:    "no " + B2BUserKey + jose.Object(ant.Extensions).DidYouMean(B2BUserKey),
			Remedy:   "this community wants to know the person on whose behalf the client asks",
		})

	case !sent:
		warnMisspelt(ant, B2BUserKey, checkUser, tr)
		return nil, nil
	}

	x, err := openExtension(ant.Extensions, B2BUserKey, checkUser, userChecks, p, tr)
	if err != nil {
		return nil, err
	}

	x.warnUnknown(B2BUserKey, checkUser, userMembers)
	out := &User{}
	err = tr.Independent(
		x.version,
		func() (err error) { out.PurposeOfUse, err = x.purposes(); return err },
		func() (err error) { out.Person, err = x.person(valid); return err },
		func() (err error) {
			out.ConsentPolicy, out.ConsentReference, err = x.consents()
			return err
		},
	)
	if err == nil {
		err = x.sanPurpose(ant, out.PurposeOfUse)
	}
	if err != nil {
		return nil, err
	}

	return out, nil
}

// person returns user_person: a FHIR Person that conforms to the profile FAST
// Identity UDAP Person in what the profile requires.
func (x *extension) person(valid ResourceValidator) (jose.Object, error) {
	person, err := x.resource(checkUserPerson, "user_person", "Person", valid)
	if err != nil {
		return nil, err
	}

	const profile = "the profile FAST Identity UDAP Person: family and given name, telephone and e-mail"
	missing := ""
	switch {
	case !hasFullName(person):
		missing = "no name with family and given"
	case !hasContact(person, "phone"):
		missing = "no telecom with the system phone"
	case !hasContact(person, "email"):
		missing = "no telecom with the system email"
	}

	if missing != "" {
		return nil, x.refuse(checkUserPerson, profile, missing,
			"HL7 Interoperable Digital Identity and Patient Matching 2.0 requires them")
	}

	x.tr.Pass(checkUserPerson, profile, "a valid Person")
	return person, nil
}

// resource returns a member that is a valid FHIR resource of a type.
func (x *extension) resource(
	c trace.Check, member, resourceType string, valid ResourceValidator,
) (jose.Object, error) {
	expected := member + " as a FHIR " + resourceType
	raw := x.o[member]
	if raw.Kind() != '{' {
		return nil, x.refuse(c, expected, x.shape(member), x.resourceHint(member))
	}

	o, err := jose.ParseObject(raw)
	if err != nil {
		return nil, x.refuse(c, expected, err.Error(), "")
	}
	if got, _ := o.Text("resourceType"); got != resourceType {
		return nil, x.refuse(c, expected, o.Show("resourceType"), "")
	}

	err = fmt.Errorf("no validator of FHIR resources is configured")
	if valid != nil {
		err = valid(raw)
	}
	if err != nil {
		return nil, x.refuse(c, expected+" that is valid by R4", err.Error(), "")
	}

	return o, nil
}

// shape describes a member without its value.
func (x *extension) shape(member string) string {
	if !x.o.Has(member) {
		return x.o.Show(member)
	}
	return member + " is a JSON " + x.o.Kind(member)
}

// resourceHint recognises a resource that was encoded once more.
func (x *extension) resourceHint(member string) string {
	if x.o[member].Kind() == '"' {
		return "let " + member + " be a JSON object itself, not a string that holds one"
	}
	return ""
}

// maxElements bounds the names and contacts of a person that are looked at.
const maxElements = 100

// objects returns the elements of an array that are objects.
func objects(v jsontext.Value) []jose.Object {
	elements, err := jose.Elements(v, maxElements)
	if err != nil {
		return nil
	}

	var out []jose.Object
	for _, e := range elements {
		if o, err := jose.ParseObject(e); err == nil {
			out = append(out, o)
		}
	}

	return out
}

func hasFullName(person jose.Object) bool {
	return slices.ContainsFunc(objects(person["name"]), func(name jose.Object) bool {
		family, _ := name.Text("family")
		given, _ := name.List("given")
		return family != "" && len(given) > 0
	})
}

func hasContact(person jose.Object, system string) bool {
	return slices.ContainsFunc(objects(person["telecom"]), func(contact jose.Object) bool {
		got, _ := contact.Text("system")
		value, _ := contact.Text("value")
		return got == system && value != ""
	})
}
