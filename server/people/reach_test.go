package people_test

import (
	"context"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"

	"fhirdest.example/server/people/users"
	"fhirdest.example/udap/client"
)

// tokens has a person sign in, pick a patient where there is a choice, and agree.
func (a *app) tokens(username, patient, scope string) *client.Token {
	a.t.Helper()
	b := a.browser()
	b.open(a.authorize(scope))
	b.signIn(username)
	if username == "doctor" {
		b.send("search", "text", a.born(patient))
	}
	if patient != "" {
		b.send("choose", "patient", patient)
	}

	b.send("approve")
	token, err := a.exchange(b.code(), scope)
	if err != nil {
		a.t.Fatal(err)
	}

	return token
}

// born returns the birth date of a patient.
func (a *app) born(patient string) string {
	a.t.Helper()
	s := a.Session(a.A, a.Client(a.A, "https://reader.test/app"), "system/Patient.rs")
	_, text := a.Get("/acme/fhir/Patient/"+patient, "Authorization", "Bearer "+s.Token.Access)
	m := regexp.MustCompile(`"birthDate":"([0-9-]+)"`).FindStringSubmatch(text)
	if m == nil {
		a.t.Fatalf("no birth date in %s", text)
	}
	return m[1]
}

// reads returns the status of a read with a token, and the ids of the patients in the
// answer.
func (a *app) reads(access, target string) (status int, ids []string) {
	a.t.Helper()
	res, text := a.Get("/acme/fhir/"+target, "Authorization", "Bearer "+access)
	for _, m := range regexp.MustCompile(`Patient/([A-Za-z0-9.-]+)`).FindAllStringSubmatch(text, -1) {
		if !slices.Contains(ids, m[1]) {
			ids = append(ids, m[1])
		}
	}
	slices.Sort(ids)
	return res.StatusCode, ids
}

// A token reaches what its person may see, in reads, searches, includes and chains:
// with scopes of the context patient one record, with those of the context user the
// records of the person's patients, or every record for a practitioner.
func TestTokensReachWhatThePersonSees(t *testing.T) {
	e := newEnv(t)
	r := registration()
	r.Scope += " user/Observation.rs patient/Patient.rs"
	a := e.appOf(e.A, e.Client(e.A, "https://client.test/app"), r)
	all := slices.Sorted(slices.Values(e.patients))
	first := slices.Sorted(slices.Values(e.patients[:2]))
	const scope = "openid launch/patient "

	for name, row := range map[string]struct {
		username, patient, scope string
		want                     []string
	}{
		"alice, user":    {"alice", "", scope + "user/Patient.rs user/Observation.rs", e.patients[:1]},
		"alice, patient": {"alice", "", scope + "patient/Patient.rs patient/Observation.rs", e.patients[:1]},
		"parent, patient": {
			"parent",
			e.patients[1],
			scope + "patient/Patient.rs patient/Observation.rs",
			e.patients[1:2],
		},
		"parent, user": {"parent", e.patients[1], scope + "user/Patient.rs user/Observation.rs", first},
		"doctor, patient": {
			"doctor",
			e.patients[2],
			scope + "patient/Patient.rs patient/Observation.rs",
			e.patients[2:3],
		},
		"doctor, user": {"doctor", e.patients[2], scope + "user/Patient.rs user/Observation.rs", all},
	} {
		t.Run(name, func(t *testing.T) {
			token := a.tokens(row.username, row.patient, row.scope)
			for _, query := range []string{
				"Patient?_count=1000",
				"Patient?_revinclude=Observation:subject&_count=1000",
				"Observation?_include=Observation:subject&_count=1000",
				"Observation?subject:Patient._lastUpdated=gt2000&_count=1000",
			} {
				status, ids := a.reads(token.Access, query)
				if status != http.StatusOK || !slices.Equal(ids, row.want) {
					t.Errorf("%s: %d, records of %v, want %v", query, status, ids, row.want)
				}
			}

			for _, id := range e.patients {
				status, _ := a.reads(token.Access, "Patient/"+id)
				if (status == http.StatusOK) != slices.Contains(row.want, id) {
					t.Errorf("Patient/%s: %d", id, status)
				}
			}
		})
	}
}

// When a person may no longer see a patient, or is removed, the tokens feel it with
// the next request, as does the refresh token.
func TestReachFollowsTheUsersFile(t *testing.T) {
	e := newEnv(t)
	a := e.app("https://client.test/app")
	const scope = "openid launch/patient offline_access patient/Observation.rs user/Patient.rs"
	token := a.tokens("parent", e.patients[1], scope)
	change := func(edit func(all []users.User) []users.User) {
		e.repopulate(edit(population(t, e.patients)))
	}
	try := func(when string, want int) {
		t.Helper()
		if status, _ := a.reads(token.Access, "Patient"); status != want {
			t.Errorf("%s: %d, want %d", when, status, want)
		}
		got, err := a.client.Refresh(context.Background(), a.found, client.RefreshRequest{
			ClientID: a.ClientID,
			Refresh:  token.Refresh,
		})
		switch {
		case (err == nil) != (want == http.StatusOK):
			t.Errorf("%s: refresh: %v", when, err)
		case err == nil:
			token = got
		case !strings.Contains(err.Error(), "invalid_grant"):
			t.Errorf("%s: refresh: %v", when, err)
		}
	}

	try("at first", http.StatusOK)
	change(func(all []users.User) []users.User {
		all[1].Patients = e.patients[:1]
		return all
	})
	try("without the patient in context", http.StatusUnauthorized)
	change(func(all []users.User) []users.User { return slices.Delete(all, 1, 2) })
	try("removed", http.StatusUnauthorized)

	change(func(all []users.User) []users.User { return all })
	try("again as at first", http.StatusOK)
}
