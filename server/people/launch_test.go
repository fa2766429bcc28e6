package people_test

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"

	"fhirdest.example/server/console"
)

const launchScopes = "openid fhirUser launch patient/Observation.rs patient/Encounter.rs"

// launchable registers an app that an EHR can open.
func (e *env) launchable(uri string) *app {
	e.t.Helper()
	r := registration()
	r.Scope = launchScopes
	return e.appOf(e.A, e.Client(e.A, uri), r)
}

// launch asks the console for a launch, as its page does.
func (a *app) launch(patient, encounter string) (status int, done console.Launched, text string) {
	a.t.Helper()
	form := url.Values{
		"client":    {string(a.ClientID)},
		"patient":   {patient},
		"encounter": {encounter},
	}
	req, err := http.NewRequest(http.MethodPost, a.Admin+"/launch", strings.NewReader(form.Encode()))
	if err != nil {
		a.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Origin", a.Admin)

	res, err := http.DefaultClient.Do(req)
	if err != nil {
		a.t.Fatal(err)
	}
	defer res.Body.Close()

	body, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode == http.StatusOK {
		err = json.Unmarshal(body, &done)
	}
	if err != nil {
		a.t.Fatal(err)
	}
	return res.StatusCode, done, string(body)
}

// encounterOf returns the id of an encounter of a patient.
func (e *env) encounterOf(patient string) string {
	e.t.Helper()
	s := e.Session(e.A, e.Client(e.A, "https://encounters.test/app"), "system/Encounter.rs")
	_, text := e.Get("/acme/fhir/Encounter?_elements=id&subject=Patient/"+patient, "Authorization",
		"Bearer "+s.Token.Access)
	m := regexp.MustCompile(`"fullUrl":"[^"]*/Encounter/([^"]+)"`).FindStringSubmatch(text)
	if m == nil {
		e.t.Fatalf("no encounter of %s in %s", patient, text)
	}
	return m[1]
}

// An app that is launched for a patient gets that patient and the encounter with its
// token: nobody chooses, and nobody can choose another. A launch works once.
func TestLaunchBringsItsPatient(t *testing.T) {
	e := newEnv(t)
	a := e.launchable("https://client.test/app")
	patient := e.patients[1]
	encounter := e.encounterOf(patient)
	status, launch, text := a.launch("Patient/"+patient, encounter)
	if status != http.StatusOK || launch.Issuer != e.Base || launch.App.Name != "Health Companion" {
		t.Fatalf("%d %s", status, text)
	}

	b := e.browser()
	b.open(a.authorize(launchScopes, "launch", launch.Handle, "aud", e.Base))
	b.signIn("doctor")
	b.shows(http.StatusOK, "HTEST", "Measurements and test results")
	if strings.Contains(b.page, "Choose another patient") {
		t.Error("another patient can be chosen")
	}
	if strings.Contains(e.Log.String(), launch.Handle) {
		t.Error("the handle is in the log")
	}
	b.send("approve")

	token, err := a.exchange(b.code(), launchScopes)
	if err != nil {
		t.Fatal(err)
	}
	if token.Text("patient") != patient || token.Text("encounter") != encounter ||
		!strings.Contains(token.Scope, "launch") {
		t.Errorf("patient %q, encounter %q, scope %q", token.Text("patient"), token.Text("encounter"), token.Scope)
	}
	if read, err := a.client.Get(context.Background(), "Observation?patient=Patient/"+patient, token.Access); err != nil {
		t.Errorf("read: %v %+v", err, read.Refusal)
	}

	b.open(a.authorize(launchScopes, "launch", launch.Handle))
	if q := b.answer(); q.Get("error") != "invalid_request" || q.Get("code") != "" {
		t.Errorf("used again: %v", q)
	}
}

// A launch does not widen what a person may share, nor who may use it.
func TestLaunchForAnotherPatient(t *testing.T) {
	e := newEnv(t)
	a := e.launchable("https://client.test/app")
	_, launch, _ := a.launch(e.patients[2], "")
	b := e.browser()
	b.open(a.authorize(launchScopes, "launch", launch.Handle))
	b.signIn("alice")
	if q := b.answer(); q.Get("error") != "access_denied" {
		t.Errorf("alice, for another patient: %v", q)
	}

	b = e.browser()
	b.open(a.authorize(launchScopes, "launch", launch.Handle))
	b.signIn("doctor")
	other := e.launchable("https://client.test/other")
	query, err := url.Parse(other.authorize(launchScopes, "launch", launch.Handle))
	if err != nil {
		t.Fatal(err)
	}
	b.open(query.String())
	if q := b.answer(); q.Get("error") != "invalid_request" {
		t.Errorf("of another app: %v", q)
	}
}

// What is not there cannot be launched, and the page names the field.
func TestLaunchOfWhatIsNotThere(t *testing.T) {
	e := newEnv(t)
	a := e.launchable("https://client.test/app")
	machine := e.Session(e.A, e.Client(e.A, "https://machine.test/app"), "system/Patient.rs")
	encounter := e.encounterOf(e.patients[0])
	for _, row := range []struct {
		name, patient, encounter, says string
	}{
		{"patient", "nobody", "", "patient: There is no patient"},
		{"no patient", "", "", "patient: There is no patient"},
		{"encounter", e.patients[0], "none", "encounter: There is no encounter"},
		{"encounter of another", e.patients[1], encounter, "encounter: This encounter is of another patient"},
	} {
		t.Run(row.name, func(t *testing.T) {
			if status, _, text := a.launch(row.patient, row.encounter); status != 400 || !strings.Contains(text, row.says) {
				t.Errorf("%d %s, want %q", status, text, row.says)
			}
		})
	}

	a.ClientID = machine.Registered.ClientID
	if status, _, text := a.launch(e.patients[0], ""); status != 400 || !strings.Contains(text, "client: ") {
		t.Errorf("a client of nobody: %d %s", status, text)
	}

	res, err := http.Get(a.Admin + "/launch")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil || !strings.Contains(string(body), `"Health Companion"`) ||
		strings.Contains(string(body), "machine.test") || !strings.Contains(string(body), e.patients[0]) {
		t.Errorf("what can be chosen: %s %v", body, err)
	}
}
