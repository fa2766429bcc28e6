// Package users reads and writes the file of the people who can sign in, and
// verifies their passwords.
package users

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// User is a person who can sign in.
type User struct {
	// Username is what the person types: letters, digits and . _ @ + -, compared
	// without regard to case.
	Username string `json:"username"`
	// Password is the hash that Hash returns. Empty: the person signs in at an
	// identity provider only.
	Password string `json:"password,omitzero"`
	Name     string `json:"name,omitzero"` // shown to the person; default: the username
	// Subject is the identifier that clients learn (sub of OpenID Connect). It
	// never changes and is never given to anybody else.
	Subject string `json:"subject"`
	// FHIRUser is the resource that describes the person, such as Patient/12 or
	// Practitioner/3. Empty: none.
	FHIRUser string `json:"fhirUser,omitzero"`
	// Patients are the ids of the patients whose data the person may share.
	// Someone whose FHIRUser is a practitioner may choose any patient.
	Patients []string `json:"patients,omitempty"`
	// Identities are the person's accounts at identity providers.
	Identities []Identity `json:"identities,omitempty"`
}

// Identity is an account at an identity provider.
type Identity struct {
	Issuer  string `json:"issuer"`  // iss of its id_token
	Subject string `json:"subject"` // sub of its id_token
}

// DisplayName is the name to show.
func (u *User) DisplayName() string {
	if u.Name != "" {
		return u.Name
	}
	return u.Username
}

// Clinician reports whether the person may choose any patient.
func (u *User) Clinician() bool {
	kind, _, _ := strings.Cut(u.FHIRUser, "/")
	return kind == "Practitioner" || kind == "PractitionerRole"
}

// OwnPatients returns the ids of the patients whose data the person may share,
// the person's own first.
func (u *User) OwnPatients() []string {
	var out []string
	if id, ok := strings.CutPrefix(u.FHIRUser, "Patient/"); ok {
		out = append(out, id)
	}

	for _, id := range u.Patients {
		if !slices.Contains(out, id) {
			out = append(out, id)
		}
	}
	return out
}

// MayShare reports whether the person may give access to a patient's data.
func (u *User) MayShare(patient string) bool {
	return u.Clinician() || slices.Contains(u.OwnPatients(), patient)
}

// Bounds of a file.
const (
	MaxUsers   = 100_000
	maxSubject = 255 // bytes, of OpenID Connect Core 2
)

var (
	usernameForm = regexp.MustCompile(`^[A-Za-z0-9._@+-]{1,64}$`)
	subjectForm  = regexp.MustCompile(`^[\x21-\x7e]{1,255}$`)
	fhirUserForm = regexp.MustCompile(
		`^(Patient|Practitioner|PractitionerRole|RelatedPerson|Person)/[A-Za-z0-9.-]{1,64}$`)
	idForm = regexp.MustCompile(`^[A-Za-z0-9.-]{1,64}$`)
)

// Check reports what is wrong with a user, all at once.
func (u *User) Check() error {
	var faults []error
	complain := func(bad bool, format string, args ...any) {
		if bad {
			faults = append(faults, fmt.Errorf("user %q: "+format, append([]any{u.Username}, args...)...))
		}
	}

	complain(!usernameForm.MatchString(u.Username),
		"a username has 1 to 64 letters, digits and . _ @ + -")
	complain(!subjectForm.MatchString(u.Subject),
		"a subject has 1 to %d printable ASCII characters and no spaces", maxSubject)
	complain(len(u.Name) > 200, "the name is longer than 200 bytes")
	complain(u.FHIRUser != "" && !fhirUserForm.MatchString(u.FHIRUser),
		"fhirUser %q is not of the form Patient/ID or Practitioner/ID", u.FHIRUser)

	for _, id := range u.Patients {
		complain(
			!idForm.MatchString(id),
			"%q is not the id of a patient",
			id,
		)
	}
	for _, id := range u.Identities {
		complain(!strings.HasPrefix(id.Issuer, "https://") || id.Subject == "",
			"an identity needs an https issuer and a subject")
	}

	if u.Password != "" {
		_, err := parseHash(u.Password)
		complain(err != nil, "the password's hash: %v", err)
	}
	return errors.Join(faults...)
}

// file is the form of a users file.
type file struct {
	Users []User `json:"users"`
}

// Directory is a file of users, read once. It does not change.
type Directory struct {
	all        []User
	usernames  map[string]*User
	subjects   map[string]*User
	identities map[Identity]*User
}

// New returns a directory of users. Its error joins everything that is wrong with
// them.
func New(all []User) (*Directory, error) {
	if len(all) > MaxUsers {
		return nil, fmt.Errorf(
			"%d users, at most %d are allowed",
			len(all),
			MaxUsers,
		)
	}

	d := &Directory{
		all:        slices.Clone(all),
		usernames:  make(map[string]*User, len(all)),
		subjects:   make(map[string]*User, len(all)),
		identities: map[Identity]*User{},
	}

	var faults []error
	for i := range d.all {
		u := &d.all[i]
		name := strings.ToLower(u.Username)
		faults = append(faults, u.Check())
		if d.usernames[name] != nil {
			faults = append(faults, fmt.Errorf("user %q: there are two of this username", u.Username))
		}
		if d.subjects[u.Subject] != nil {
			faults = append(faults, fmt.Errorf("user %q: another user has the same subject", u.Username))
		}

		d.usernames[name], d.subjects[u.Subject] = u, u
		for _, id := range u.Identities {
			if d.identities[id] != nil {
				faults = append(faults, fmt.Errorf("user %q: another user has the same account at %s",
					u.Username, id.Issuer))
			}
			d.identities[id] = u
		}
	}

	if err := errors.Join(faults...); err != nil {
		return nil, err
	}
	return d, nil
}

// Parse reads the content of a users file.
func Parse(text []byte) (*Directory, error) {
	var f file
	if err := json.Unmarshal(text, &f, json.RejectUnknownMembers(true)); err != nil {
		return nil, err
	}
	return New(f.Users)
}

// Format returns the content of a users file, sorted by username.
func Format(all []User) ([]byte, error) {
	d, err := New(all)
	if err != nil {
		return nil, err
	}

	sorted := make([]User, 0, len(all))
	for _, name := range slices.Sorted(maps.Keys(d.usernames)) {
		sorted = append(sorted, *d.usernames[name])
	}

	text, err := json.Marshal(file{Users: sorted}, jsontext.WithIndent("  "))
	return append(text, '\n'), err
}

// Named returns the user with a username, or nil.
func (d *Directory) Named(username string) *User { return d.usernames[strings.ToLower(username)] }

// Subject returns the user with a subject, or nil.
func (d *Directory) Subject(subject string) *User { return d.subjects[subject] }

// At returns the user with an account at an identity provider, or nil.
func (d *Directory) At(issuer, subject string) *User {
	return d.identities[Identity{
		Issuer:  issuer,
		Subject: subject,
	}]
}

// All returns the users in the order of the file.
func (d *Directory) All() []User { return slices.Clone(d.all) }
