package people_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"

	"fhirdest.example/server/servertest"
	"fhirdest.example/udap/client"
)

// steward is a client that may read and write Consents.
type steward struct {
	*env
	token string
}

func (e *env) steward() *steward {
	e.t.Helper()
	s := e.Session(e.A, e.Client(e.A, "https://steward.test/app"), "system/Consent.cruds system/Patient.rs")
	return &steward{e, s.Token.Access}
}

func writable(w *servertest.Env) { w.Config.Writable = true }

// granted is what a Consent of a grant has.
type granted struct {
	ID        string `json:"id"`
	Status    string `json:"status"`
	Patient   ref    `json:"patient"`
	Performer []ref  `json:"performer"`
	Provision struct {
		Type  string `json:"type"`
		Actor []struct {
			Reference ref `json:"reference"`
		} `json:"actor"`
		Provision []struct {
			Provision []struct {
				Class []struct {
					Code string `json:"code"`
				} `json:"class"`
			} `json:"provision"`
		} `json:"provision"`
	} `json:"provision"`
}

type ref struct {
	Reference  string `json:"reference"`
	Identifier struct {
		Value string `json:"value"`
	} `json:"identifier"`
}

// consents returns the Consents of grants, of all states.
func (s *steward) consents() (all []granted) {
	s.t.Helper()
	res, text := s.Get("/acme/fhir/Consent?identifier="+site+"/grants|&_sort=_lastUpdated",
		"Authorization", "Bearer "+s.token)
	var b struct {
		Entry []struct {
			Resource granted `json:"resource"`
		} `json:"entry"`
	}
	if err := json.Unmarshal([]byte(text), &b); err != nil || res.StatusCode != http.StatusOK {
		s.t.Fatalf("%v: %s %s", err, res.Status, text)
	}
	for _, e := range b.Entry {
		all = append(all, e.Resource)
	}
	return all
}

// change sends a request about a Consent.
func (s *steward) change(method, id, media, body string) {
	s.t.Helper()
	res := s.Do(method, servertest.Base+"/Consent/"+id, strings.NewReader(body),
		"Authorization", "Bearer "+s.token, "Content-Type", media)
	defer res.Body.Close()
	if res.StatusCode >= 300 {
		s.t.Fatalf("%s: %s", method, res.Status)
	}
}

// What a patient grants is a Consent; withdrawing the grant makes it inactive.
// Covers: FS-302, case 176
func TestGrantIsAConsent(t *testing.T) {
	e := newEnv(t, writable)
	s := e.steward()
	a := e.app("https://client.test/app")
	b := e.browser()
	all := scopes + " offline_access"
	b.allow(a.authorize(all), "alice")
	if got := s.consents(); len(got) != 1 || got[0].Status != "active" {
		t.Fatalf("before the code is redeemed: %+v", got)
	}
	token, err := a.exchange(b.code(), all)
	if err != nil {
		t.Fatal(err)
	}

	c := s.consents()[0]
	if c.Patient.Reference != "Patient/"+e.patients[0] || c.Provision.Type != "permit" ||
		c.Performer[0].Reference != c.Patient.Reference ||
		c.Provision.Actor[0].Reference.Identifier.Value != string(a.ClientID) {
		t.Errorf("%+v", c)
	}
	if text := fmt.Sprint(c.Provision.Provision); !strings.Contains(text, "Observation") {
		t.Errorf("classes: %s", text)
	}
	if status := e.read(token.Access); status != http.StatusOK {
		t.Errorf("the token: %d", status)
	}

	b.withdrawal("Health Companion")
	b.send("")
	if got := s.consents(); len(got) != 1 || got[0].Status != "inactive" {
		t.Errorf("after the withdrawal: %+v", got)
	}
	if status := e.read(token.Access); status != http.StatusUnauthorized {
		t.Errorf("the token after the withdrawal: %d", status)
	}
}

// A Consent that the FHIR API ends, in whatever way, ends its grant on the next
// request, before and after a restart; to make it active again brings nothing back.
// Covers: FS-302
func TestConsentEndsItsGrant(t *testing.T) {
	e := newEnv(t, writable)
	a := e.app("https://client.test/app")
	all := scopes + " offline_access"
	status := func(value string) string {
		return `[{"op":"replace","path":"/status","value":"` + value + `"}]`
	}

	const patch = "application/json-patch+json"
	for name, end := range map[string]func(s *steward, id string){
		"inactive":         func(s *steward, id string) { s.change("PATCH", id, patch, status("inactive")) },
		"entered in error": func(s *steward, id string) { s.change("PATCH", id, patch, status("entered-in-error")) },
		"deleted":          func(s *steward, id string) { s.change("DELETE", id, patch, "") },
		"another patient": func(s *steward, id string) {
			s.change("PATCH", id, patch, `[{"op":"replace","path":"/patient/reference","value":"Patient/`+e.patients[1]+`"}]`)
		},
		"denies": func(s *steward, id string) {
			s.change("PATCH", id, patch, `[{"op":"replace","path":"/provision/type","value":"deny"}]`)
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := e.steward()
			b := e.browser() // is asked anew: what was ended is not remembered
			b.allow(a.authorize(all), "alice")
			token, err := a.exchange(b.code(), all)
			if err != nil {
				t.Fatal(err)
			}
			if got := e.read(token.Access); got != http.StatusOK {
				t.Fatalf("the token: %d", got)
			}

			var id string
			for _, c := range s.consents() {
				if c.Status == "active" && c.Patient.Reference == "Patient/"+e.patients[0] && c.Provision.Type == "permit" {
					id = c.ID
				}
			}
			end(s, id)
			if got := e.read(token.Access); got != http.StatusUnauthorized {
				t.Errorf("the token after it: %d", got)
			}
			if name == "inactive" {
				s.change("PATCH", id, patch, status("active"))
				e.restart()
			}
			if got := e.read(token.Access); got != http.StatusUnauthorized {
				t.Errorf("the token later: %d", got)
			}
			if _, err := a.client.Refresh(t.Context(), a.found, client.RefreshRequest{
				ClientID: a.ClientID,
				Refresh:  token.Refresh,
			}); err == nil {
				t.Error("the refresh token works")
			}
		})
	}
}

// A related person gives a patient's consent; a practitioner's is nobody's consent, nor
// is a sign-in.
func TestWhoseConsent(t *testing.T) {
	e := newEnv(t, writable)
	s := e.steward()
	a := e.app("https://client.test/app")
	for _, row := range []struct {
		user, scope, patient, performer string
	}{
		{"alice", "openid fhirUser", "", ""},
		{"doctor", "user/Patient.rs", "", ""},
		{"alice", "user/Patient.rs", "Patient/" + e.patients[0], "Patient/" + e.patients[0]},
	} {
		t.Run(row.user+" "+row.scope, func(t *testing.T) {
			before := len(s.consents())
			b := e.browser()
			b.allow(a.authorize(row.scope), row.user)
			if _, err := a.exchange(b.code(), row.scope); err != nil {
				t.Fatal(err)
			}
			got := s.consents()[before:]
			switch {
			case row.patient == "" && len(got) > 0:
				t.Errorf("%+v", got)
			case row.patient != "" && (len(got) != 1 || got[0].Patient.Reference != row.patient ||
				got[0].Performer[0].Reference != row.performer):
				t.Errorf("%+v", got)
			}
		})
	}
}
