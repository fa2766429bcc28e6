package server_test

import (
	"context"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"testing"

	"fhirdest.example/server/lab"
	"fhirdest.example/server/people/users"
	"fhirdest.example/server/servertest"
	"fhirdest.example/udap/client"
	"fhirdest.example/udap/client/forms"
	"fhirdest.example/udap/conform"
	"fhirdest.example/udap/conform/assess"
	"fhirdest.example/udap/trace"
	"github.com/go-json-experiment/json"
)

// withClinician gives a destination a clinician with a password.
func withClinician(t *testing.T) func(*servertest.Env) {
	return func(w *servertest.Env) {
		w.Config.Users = "users.json"
		hash, err := users.Hash("correct horse")
		if err != nil {
			t.Fatal(err)
		}
		if err := users.Write(filepath.Join(w.Dir, w.Config.Users), []users.User{
			{
				Username: "alice",
				Subject:  "s-1",
				Password: hash,
				FHIRUser: "Practitioner/1",
			},
		}); err != nil {
			t.Fatal(err)
		}
	}
}

const appRedirect = "https://client.test/cb"

// An originator that makes no mistake has no row that is violated or warned about, by
// either flow, until it cancels; each flow is one lane; and its exchanges lead to the
// same findings when they are read again.
func TestAGoodClientInASession(t *testing.T) {
	d := servertest.Start(t, servertest.Lab, withClinician(t))
	s := d.OpenLab(lab.OpenRequest{Name: "good"})
	machineFlow(t, s)
	personFlow(t, s)

	var kept []*lab.Kept
	d.Eventually("the cancellation is kept", func() bool {
		kept = s.Kept()
		return len(kept) > 0 && kept[len(kept)-1].Step == conform.Cancel
	})
	a := assess.New(assess.Setting{
		Base:    s.Session.Base,
		Issuer:  s.Session.Issuer,
		Profile: conform.SSRAA2,
	})
	for _, k := range kept {
		got := a.Add(k.Exchange)
		if got.Colour != k.Assessment.Colour || got.Text != k.Assessment.Text || got.Lane != k.Assessment.Lane {
			t.Errorf("read again it is %+v, at first %+v", got, k.Assessment)
		}
		if got.Colour != assess.Green {
			t.Errorf("exchange %d, %s %s, is %s: %s", k.N, k.Method, k.Target, got.Colour, got.Text)
		}
	}

	shown := map[string]bool{}
	for _, o := range a.Rows() {
		switch o.Verdict {
		case conform.Violated, conform.Warned:
			t.Errorf("%s is %s: %s", o.Row, o.Verdict, o.Text)
		case conform.Shown:
			shown[o.Row] = true
		}
	}
	for _, row := range []string{
		"S1-074", "S1-075", "S1-082", "S1-123", "S1-136", "S1-143", "S1-151", "S1-177", "S1-185", "S1-186", "S1-198",
		"S1-233", "S1-275", "S1-276", "S2-13", "C-02", "C-05", "C-11", "C-12", "C-13",
	} {
		if !shown[row] {
			t.Errorf("%s is not shown", row)
		}
	}
	if lanes := a.Lanes(); len(lanes) != 2 {
		t.Errorf("lanes %+v", lanes)
	}
}

// machineFlow registers for client_credentials, and reads two pages.
func machineFlow(t *testing.T, s *servertest.LabSession) {
	t.Helper()
	o := s.Destination.Session(s.A, s.Client(s.A, "https://client.test/machine"), "system/Patient.rs")
	page := s.Do(http.MethodGet, s.Session.Base+"/Patient?_count=1", nil, "Authorization", "Bearer "+o.Token.Access)
	var bundle struct {
		Link []struct {
			Relation string `json:"relation"`
			URL      string `json:"url"`
		} `json:"link"`
	}
	if err := json.UnmarshalRead(page.Body, &bundle); err != nil {
		t.Fatal(err)
	}

	for _, l := range bundle.Link {
		if l.Relation == "next" {
			s.Do(http.MethodGet, l.URL, nil, "Authorization", "Bearer "+o.Token.Access)
		}
	}
}

// personFlow registers for authorization_code, has a person agree, redeems the code,
// refreshes, reads and cancels.
func personFlow(t *testing.T, s *servertest.LabSession) {
	t.Helper()
	ctx := context.Background()
	o := s.Originator(s.A, s.Client(s.A, "https://client.test/person"))
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}

	found, err := o.Discover(ctx)
	must(err)
	registration := client.Registration{
		ClientName:   "App with a person",
		Contacts:     []string{"mailto:test@client.test"},
		RedirectURIs: []string{appRedirect},
		LogoURI:      "https://client.test/logo.png",
		GrantTypes:   []string{"authorization_code", "refresh_token"},
		Scope:        "openid fhirUser offline_access user/Patient.rs",
	}
	registered, err := o.Register(ctx, found, registration)
	must(err)

	asked := client.Authorization{
		ClientID:    registered.ClientID,
		RedirectURI: appRedirect,
		Scope:       registration.Scope,
		State:       client.NewSecret(),
		Verifier:    client.NewSecret(),
		Nonce:       client.NewSecret(),
	}
	target, err := o.AuthorizationURL(found, asked, trace.NewTrace("login", s.Now()))
	must(err)
	browser, err := forms.New(s.HTTP.Transport, appRedirect)
	must(err)
	alice := &forms.Person{
		Username: "alice",
		Password: "correct horse",
	}
	ended, err := alice.Visit(ctx, browser, target)
	must(err)
	answer, err := url.ParseQuery(ended)
	must(err)

	token, err := o.Exchange(ctx, found, client.CodeRequest{
		ClientID:    registered.ClientID,
		Code:        answer.Get("code"),
		RedirectURI: appRedirect,
		Verifier:    asked.Verifier,
		Scope:       asked.Scope,
	})
	must(err)
	token, err = o.Refresh(ctx, found, client.RefreshRequest{
		ClientID: registered.ClientID,
		Refresh:  token.Refresh,
	})
	must(err)
	_, err = o.Get(ctx, "Patient?_count=1", token.Access)
	must(err)
	_, err = o.Cancel(ctx, found, registration)
	must(err)
}

// A session without a profile assesses each client by the profile of its community.
func TestASessionHasTheProfilesOfItsCommunities(t *testing.T) {
	d := servertest.Start(t, servertest.Lab, func(w *servertest.Env) {
		for i := range w.Config.Communities {
			if m := &w.Config.Communities[i]; m.URI == servertest.URIA {
				m.Profile = string(conform.SSRAA1)
			}
		}
	})

	for profile, second := range map[string]bool{
		"":                     false,
		string(conform.SSRAA2): true,
	} {
		s := d.OpenLab(lab.OpenRequest{Profile: profile})
		machineFlow(t, s)
		var report struct {
			Rows []conform.Outcome `json:"rows"`
		}
		s.API(http.MethodGet, "report.json", nil, http.StatusOK, &report)
		has := slices.ContainsFunc(report.Rows, func(o conform.Outcome) bool { return o.Row == "S2-13" })
		if has != second {
			t.Errorf("profile %q: the report has S2-13: %t", profile, has)
		}
	}
}
