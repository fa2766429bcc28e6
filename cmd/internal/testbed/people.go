package testbed

import (
	"errors"
	"io/fs"
	"slices"

	"fhirdest.example/fhir/sample"
	"fhirdest.example/server/people/users"
)

// person is somebody who can sign in: at the destination, and with the same username
// and password at the identity provider, where the account has another subject.
type person struct{ username, name, fhirUser, patient string }

// people are those of the sandbox: three patients and a clinician, who may choose any
// patient.
func people() []person {
	var out []person
	for i, p := range []person{
		{
			username: "ana",
			name:     "Ana",
		},
		{
			username: "ben",
			name:     "Ben",
		},
		{
			username: "cho",
			name:     "Cho",
		},
	} {
		p.patient = "Patient/" + sample.PatientID(i)
		p.fhirUser = p.patient
		out = append(out, p)
	}

	return append(out, person{
		username: "ada",
		name:     "Dr. Ada Fairweather",
		fhirUser: "Practitioner/prac-1",
	})
}

// password is that of a person: a sandbox protects nobody's data.
func (p person) password() string {
	return p.username + "-sandbox"
}

// Files of the people of the destination and of the identity provider.
const (
	usersFile    = "users.json"
	idpUsersFile = "idp-users.json"
)

// idpBase is the base URL of the identity provider, and its issuer.
func (w *Env) idpBase() string {
	return w.origin(w.Host, "idp") + "/idp"
}

// makePeople writes the files of those who can sign in. People whom somebody has added
// to them stay.
func (w *Env) makePeople() error {
	return errors.Join(
		w.addUsers(usersFile, func(p person) users.User {
			return users.User{
				Username: p.username,
				Name:     p.name,
				Subject:  "sandbox-" + p.username,
				FHIRUser: p.fhirUser,
				Identities: []users.Identity{{
					Issuer:  w.idpBase(),
					Subject: "idp-" + p.username,
				}},
			}
		}),
		w.addUsers(idpUsersFile, func(p person) users.User {
			return users.User{
				Username: p.username,
				Name:     p.name,
				Subject:  "idp-" + p.username,
			}
		}))
}

// addUsers puts the sandbox's people into a file, in the place of those of the same
// subjects.
func (w *Env) addUsers(file string, describe func(person) users.User) error {
	var all []users.User
	former, err := users.Read(w.path(file))
	switch {
	case err == nil:
		all = former.All()
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}

	for _, p := range people() {
		u := describe(p)
		at := slices.IndexFunc(
			all,
			func(o users.User) bool {
				return o.Subject == u.Subject
			},
		)
		if at >= 0 {
			u.Password = all[at].Password
			all[at] = u
			continue
		}

		if u.Password, err = users.Hash(p.password()); err != nil {
			return err
		}
		all = append(all, u)
	}

	return users.Write(w.path(file), all)
}

// makeIDP issues the identity provider's certificate in its community.
func (w *Env) makeIDP() error {
	for _, p := range Communities {
		if p.URI == CommunityIDP {
			return w.issueServer(p, w.path("server", "provider"), w.idpBase())
		}
	}
	return errors.New("testbed: there is no community of identity providers")
}

const idpYAML = `# The identity provider: the destination's program without a FHIR service. People
# sign in here when a client names it in the parameter idp (UDAP Tiered OAuth).
public: {{q .Base}}    # its base URL and issuer
fhir: 'off'
name: Sandbox Identity
listen: {{q .Listen}}
tls:
  cert: tls/idp.pem
  key: tls/idp.key
admin:
  listen: 127.0.0.1:0
  open: true
data: idp-data
users: {{.Users}}
explain: client
cors:                        # pages of web servers on this machine may use it from a browser
  origins: ['http://localhost:*', 'https://localhost:*', 'http://127.0.0.1:*']
communities:
  - uri: {{q .Community}}
    name: {{q .Name}}
    anchors: ['idp-root.pem']
    certificates:
      - chain: server/provider.pem
        key: server/provider.key
    policy:
      b2bOptional: true      # data holders ask for people, not for data
      allowLoopbackRedirect: true   # and the sandbox's are on this machine
    aia: [{{q .Lists}}]
revocation:
  refresh: 1s
  allow: [{{q .Lists}}]
timeouts:
  drain: 5s
`

// idpData fills idpYAML.
type idpData struct{ Base, Listen, Users, Community, Name, Lists string }

func (w *Env) idpData() idpData {
	data := idpData{
		Base:      w.idpBase(),
		Listen:    w.Ports["idp"].Address,
		Users:     idpUsersFile,
		Community: CommunityIDP,
		Lists:     w.listsBase(),
	}
	for _, p := range Communities {
		if p.URI == CommunityIDP {
			data.Name = p.name
		}
	}
	return data
}
