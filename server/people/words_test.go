package people

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"net/url"
	"reflect"
	"strings"
	"testing"
	"time"

	"fhirdest.example/server/oauth"
)

// Scopes are written as a person calls what they are about; those of one meaning are one
// choice, and none is left out.
func TestSections(t *testing.T) {
	scopes := []string{
		"openid", "launch/patient", "patient/Observation.rs", "patient/Observation.read",
		"patient/Observation.rs?category=laboratory", "patient/MedicationRequest.cruds", "user/*.read",
		"offline_access", "patient/VisionPrescription.s", "a-scope-of-tomorrow",
	}
	var lines []string
	var all []string
	for _, s := range sections(scopes, "Ana Ley", func(text string) bool { return text != "user/*.read" }) {
		for _, i := range s.Items {
			all = append(all, i.Scopes...)
			line := s.Title + ": " + i.Title + ": " + i.Detail
			if i.Required != "" {
				line += " (required)"
			}
			if !i.Ticked {
				line += " (not ticked)"
			}
			lines = append(lines, line)
		}
	}

	want := []string{
		"Health record of Ana Ley: The chosen patient: Know whose record this is about (required)",
		"Health record of Ana Ley: Measurements and test results: Can see",
		"Health record of Ana Ley: Measurements and test results: Can see, only where category laboratory",
		"Health record of Ana Ley: Prescriptions: Can see, add, change and delete",
		"Health record of Ana Ley: Vision prescription: Can see",
		"Health records that you can open yourself: Everything in the record: Can see (not ticked)",
		"About you: Sign-in: Know that you are signed in, by an identifier that is not your name (required)",
		"About you: a-scope-of-tomorrow: A right of this name",
		"How long: Access while you are away: Stay connected for 90 days, or until you withdraw it",
	}
	if !reflect.DeepEqual(lines, want) {
		t.Errorf("%s", strings.Join(lines, "\n"))
	}
	if len(all) != len(scopes) {
		t.Errorf("%d of %d scopes: %v", len(all), len(scopes), all)
	}
}

// Everything that a registration has, but for its times and its scope, makes another
// client of it.
func TestIdentity(t *testing.T) {
	s := &shell{cfg: (Config{}).withDefaults(&url.URL{Host: "fhir.test"})}
	registration := oauth.Registration{
		Community:      "urn:a",
		Client:         "https://client.test",
		Certifications: []string{"a"},
	}
	of := func(r oauth.Registration) string { return identity(&r, s.describe(&r, "")) }
	first := of(registration)
	seen := map[string]string{first: "unchanged"}
	differs := func(what string, r oauth.Registration) {
		t.Helper()
		if other, twice := seen[of(r)]; twice {
			t.Errorf("%s is as %s", what, other)
		}
		seen[of(r)] = what
	}

	fields := reflect.TypeFor[oauth.Parameters]()
	for i := range fields.NumField() {
		changed := registration
		switch f := reflect.ValueOf(&changed.Granted).Elem().Field(i); f.Kind() {
		case reflect.String:
			f.SetString("x" + fields.Field(i).Name)
		case reflect.Bool:
			f.SetBool(true)
		default:
			f.Set(reflect.ValueOf([]string{"x" + fields.Field(i).Name}))
		}
		if fields.Field(i).Name == "Scope" {
			if of(changed) != first {
				t.Error("another scope is another client")
			}
			continue
		}
		differs(fields.Field(i).Name, changed)
	}

	changed := registration
	changed.Certifications = []string{"b"}
	differs("certifications", changed)
	changed = registration
	changed.Community = "urn:b"
	differs("community", changed)
	changed = registration
	changed.Changed, changed.Epoch = time.Now(), 7
	if of(changed) != first {
		t.Error("the time of a change is another client")
	}
}

// A fingerprint is written in groups that people can compare.
func TestFingerprint(t *testing.T) {
	c := &x509.Certificate{
		Raw:     []byte("certificate"),
		Subject: pkix.Name{CommonName: "client"},
	}
	groups := strings.Split(fingerprint(c), " ")
	if len(groups) != 16 || len(groups[0]) != 4 {
		t.Errorf("%v", groups)
	}
}

// Birth dates are written as people do, as far as they are known.
func TestBirth(t *testing.T) {
	for date, want := range map[string]string{
		"2002-06-05": "5 June 2002",
		"2002-06":    "June 2002",
		"2002":       "2002",
		"":           "",
		"\u202e2002": "\ufffd2002",
	} {
		if got := birth(date); got != want {
			t.Errorf("%q: %q, want %q", date, got, want)
		}
	}
	for code, want := range map[string]string{
		"male":  "Male",
		"":      "",
		"ésope": "Ésope",
	} {
		if got := capital(code); got != want {
			t.Errorf("%q: %q, want %q", code, got, want)
		}
	}
}
