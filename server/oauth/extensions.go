package oauth

import (
	"fmt"
	"slices"
	"strings"

	"fhirdest.example/udap"
	"fhirdest.example/udap/trace"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// extensionsOf returns the names of the authorization extension objects that
// are read in a community.
func extensionsOf(p udap.Policy) (names []string) {
	for _, name := range []string{udap.B2BKey, udap.B2BUserKey, udap.IASKey} {
		if readsExtension(p, name) {
			names = append(names, name)
		}
	}
	return names
}

// readsExtension reports whether an authorization extension object is read in a
// community.
func readsExtension(p udap.Policy, name string) bool {
	switch name {
	case udap.B2BKey:
		return true
	case udap.B2BUserKey:
		return p.B2BUser != udap.UserOff
	case udap.IASKey:
		return p.PurposeFromSAN
	}
	return false
}

// extensionsRequired returns the names of the objects that every request for a
// first token must have, but that hl7-b2b is for client_credentials alone (UDAP
// Security 2.0, 5.2.1). tefca_ias depends on the client's exchange purpose.
func extensionsRequired(p udap.Policy) []string {
	names := []string{}
	if !p.B2BOptional {
		names = append(names, udap.B2BKey)
	}
	if p.B2BUser == udap.UserRequired {
		names = append(names, udap.B2BUserKey)
	}
	return names
}

// assertedContext validates the extension objects of a request for a token, and
// returns what of them is stored with the token: the asserted context (UDAP
// Security 2.0, 5.2.4). Without a refusal every object that was left out is
// recorded.
//
//   - hl7-b2b belongs to client_credentials. Clients of people omit it (5.2.1),
//     and one that they send is ignored.
//   - hl7-b2b-user is defined for client_credentials, and clients in the field
//     send it with authorization_code too: it is validated for both.
//   - tefca_ias is required of clients for individual access that ask for
//     client_credentials, and validated wherever it is sent.
func assertedContext(a *authenticated, grantType string, tr *trace.Trace) (*granted, error) {
	g := &granted{extensions: map[string]jsontext.Value{}}
	business := grantType == clientCredentials
	if business {
		if err := tr.Independent(func() error { return g.addB2B(a, tr) }); err != nil {
			return nil, err
		}
	} else if _, sent := a.ant.Extensions[udap.B2BKey]; sent {
		tr.Warn(checkExtension, trace.Finding{
			Expected: "no " + udap.B2BKey + " with " + grantType,
			Found:    "one",
			Remedy:   "ignored: clients of people omit it (UDAP Security 2.0, 5.2.1)",
		})
	}

	err := tr.Independent(
		func() error { return g.addUser(a, grantType != refreshToken, tr) },
		func() error { return g.addIAS(a, business, tr) },
	)
	if err != nil {
		return nil, err
	}

	noteExtensions(a, tr)
	return g, nil
}

func (g *granted) addB2B(a *authenticated, tr *trace.Trace) error {
	b2b, err := udap.ValidateB2B(a.ant, a.ant.Community.Policy, tr)
	if b2b == nil || err != nil {
		return err
	}

	g.purposes = b2b.PurposeOfUse
	g.extensions[udap.B2BKey], err = storedB2B(b2b, tr)
	return err
}

// addUser adds hl7-b2b-user. Its purposes count where hl7-b2b names none.
func (g *granted) addUser(a *authenticated, first bool, tr *trace.Trace) error {
	user, err := udap.ValidateUser(a.ant, a.ant.Community.Policy, first, a.resources, tr)
	if user == nil || err != nil {
		return err
	}

	if g.purposes == nil {
		g.purposes = user.PurposeOfUse
	}
	g.extensions[udap.B2BUserKey], err = stored(udap.B2BUserKey, &userObject{
		Version:      "1",
		PurposeOfUse: user.PurposeOfUse,
		Person: personObject{
			ResourceType: "Person",
			Identifier:   user.Person["identifier"],
			Name:         user.Person["name"],
		},
		ConsentPolicy:    user.ConsentPolicy,
		ConsentReference: user.ConsentReference,
	}, tr)
	return err
}

func (g *granted) addIAS(a *authenticated, required bool, tr *trace.Trace) error {
	ias, err := udap.ValidateIAS(a.ant, a.ant.Community.Policy, required, a.resources, tr)
	if ias == nil || err != nil {
		return err
	}

	g.extensions[udap.IASKey], err = stored(udap.IASKey, &iasObject{
		Version:          "1",
		ConsentPolicy:    ias.ConsentPolicy,
		ConsentReference: ias.ConsentReference,
	}, tr)
	return err
}

// userObject is what is stored of an hl7-b2b-user object: the person by name and
// identifier. Birth date, address and the like serve to match the person, which
// nothing here does with them.
type userObject struct {
	Version          string       `json:"version"`
	PurposeOfUse     []string     `json:"purpose_of_use"`
	Person           personObject `json:"user_person"`
	ConsentPolicy    []string     `json:"consent_policy,omitempty"`
	ConsentReference []string     `json:"consent_reference,omitempty"`
}

type personObject struct {
	ResourceType string         `json:"resourceType"`
	Identifier   jsontext.Value `json:"identifier,omitempty"`
	Name         jsontext.Value `json:"name"`
}

// iasObject is what is stored of a tefca_ias object: not the identity token, nor
// what it has of persons.
type iasObject struct {
	Version          string   `json:"version"`
	ConsentPolicy    []string `json:"consent_policy,omitempty"`
	ConsentReference []string `json:"consent_reference,omitempty"`
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

// maxStored bounds what is stored of one object, in bytes: each token has it.
const maxStored = 8 << 10

// stored encodes what is stored of an object.
func stored(name string, object any, tr *trace.Trace) (jsontext.Value, error) {
	out, err := json.Marshal(object)
	if err == nil && len(out) > maxStored {
		return nil, tr.Refuse(checkExtension, trace.InvalidGrant, trace.Finding{
			Expected: fmt.Sprintf("an %s object of at most %d bytes", name, maxStored),
			Found:    fmt.Sprintf("%d bytes", len(out)),
			Remedy:   "send fewer or shorter purposes and consent references",
		})
	}
	return out, err
}

// storedB2B returns the hl7-b2b object that is stored with a token and shown at
// introspection. Further members of the one sent are left out: nothing here has
// validated them.
func storedB2B(b *udap.B2B, tr *trace.Trace) (jsontext.Value, error) {
	return stored(udap.B2BKey, &b2bObject{
		Version:          "1",
		SubjectName:      b.SubjectName,
		SubjectID:        b.SubjectID,
		SubjectRole:      b.SubjectRole,
		OrganizationName: b.OrganizationName,
		OrganizationID:   b.OrganizationID,
		PurposeOfUse:     b.PurposeOfUse,
		ConsentPolicy:    b.ConsentPolicy,
		ConsentReference: b.ConsentReference,
	}, tr)
}

// noteExtensions records what became of the other extension objects: they are
// ignored, always (UDAP client authorization grants 6.4 allows that or
// refusing), and one that has been renamed is recognised.
func noteExtensions(a *authenticated, tr *trace.Trace) {
	udap.CheckExtensionNames(a.ant, tr)
	var others []string
	for name := range a.ant.Extensions {
		if !readsExtension(a.ant.Community.Policy, name) {
			others = append(others, name)
		}
	}

	if len(others) > 0 {
		slices.Sort(others)
		tr.Warn(checkExtension, trace.Finding{
			Expected: "extension objects that the metadata lists",
			Found:    strings.Join(others, ", "),
			Remedy:   "ignored",
		})
	}
}
