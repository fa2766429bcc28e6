package server

import (
	"context"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"fhirdest.example/fhir"
	"fhirdest.example/fhir/sample"
	"fhirdest.example/server/bolt"
	"fhirdest.example/server/engine"
	"fhirdest.example/server/people/users"
)

// claimsOf reads from a stored patient what an identity provider would claim.
func claimsOf(t *testing.T, store fhir.Store, id string) map[string]string {
	t.Helper()
	var p struct {
		Name []struct {
			Use, Family string
			Given       []string
		}
		BirthDate string `json:"birthDate"`
	}
	err := store.View(t.Context(), func(sn fhir.Snapshot) error {
		doc, ok, err := sn.Find(t.Context(), "Patient", id)
		if err != nil || !ok {
			return err
		}
		body, err := sn.Body(t.Context(), doc)
		if err != nil {
			return err
		}
		return json.Unmarshal(body, &p, json.MatchCaseInsensitiveNames(true))
	})
	if err != nil || len(p.Name) == 0 {
		t.Fatalf("%s: %v", id, err)
	}
	return map[string]string{
		"given_name":  p.Name[0].Given[0],
		"family_name": p.Name[0].Family,
		"birthdate":   p.BirthDate,
	}
}

// Claims find the users who are exactly the patients with these names and this birth
// date: no part of a name, no other case, no part of a date, and no claim that has no
// such meaning.
// Covers: S1-292, case 214
func TestMatch(t *testing.T) {
	store, err := bolt.OpenFHIR(filepath.Join(t.TempDir(), "fhir.bolt"), bolt.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	records, err := fhir.New(fhir.Config{
		PublicBase:  "https://fhir.test/fhir",
		PrivateBase: "https://fhir.test/fhir",
		Store:       store,
		Now:         time.Now,
		Authorize:   func(*http.Request) (*fhir.Grant, *fhir.Denial) { return nil, nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	defer records.Close()
	if err := records.Seed(context.Background(), 3); err != nil {
		t.Fatal(err)
	}

	s := &Site{stores: engine.Stores{Resources: store}, deps: SiteDeps{Now: time.Now}}
	directory, err := users.New([]users.User{
		{Username: "first", Subject: "first", FHIRUser: "Patient/" + sample.PatientID(0)},
		{Username: "second", Subject: "second", FHIRUser: "Patient/" + sample.PatientID(1)},
		{Username: "proxy", Subject: "proxy", FHIRUser: "RelatedPerson/1", Patients: []string{sample.PatientID(2)}},
	})
	if err != nil {
		t.Fatal(err)
	}
	s.users.Store(directory)

	good := claimsOf(t, store, sample.PatientID(0))
	with := func(name, value string) map[string]string {
		c := map[string]string{name: value}
		for n, v := range good {
			if n != name {
				c[n] = v
			}
		}
		return c
	}
	for name, row := range map[string]struct {
		claims map[string]string
		want   []string
	}{
		"all":                       {good, []string{"first"}},
		"the other":                 {claimsOf(t, store, sample.PatientID(1)), []string{"second"}},
		"a patient who is no user":  {claimsOf(t, store, sample.PatientID(2)), nil},
		"another family":            {with("family_name", "Nobody"), nil},
		"the beginning of a family": {with("family_name", good["family_name"][:2]), nil},
		"another case":              {with("family_name", strings.ToUpper(good["family_name"])), nil},
		"two families":              {with("family_name", good["family_name"]+",Nobody"), nil},
		"the beginning of a name":   {with("given_name", good["given_name"][:2]), nil},
		"another day":               {with("birthdate", "1900-01-01"), nil},
		"a year":                    {with("birthdate", good["birthdate"][:4]), nil},
		"a comparison":              {with("birthdate", "gt1900-01-01"), nil},
		"no date":                   {with("birthdate", "whenever"), nil},
		"an e-mail address":         {with("email", "ana@fhir.test"), nil},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := s.match(t.Context(), row.claims)
			if err != nil || !slices.Equal(got, row.want) {
				t.Errorf("found %q, want %q (%v)", got, row.want, err)
			}
		})
	}
}
