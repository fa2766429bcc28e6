package server_test

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"fhirdest.example/fhir/sample"
	"fhirdest.example/server/servertest"
)

const matchScope = "system/Patient.rs system/Patient.$match"

// described is the input of $match for a person whom nobody is.
const described = `{"resourceType":"Parameters","parameter":[{"name":"resource","resource":{"resourceType":"Patient",` +
	`"name":[{"family":"Doe","given":["Jane"]}],"birthDate":"1991-12-31",` +
	`"telecom":[{"system":"email","value":"jane@example.org"}]}}]}`

// The scope of matching is listed, registered and granted by name; a client matches
// as often as it may in a minute, and then waits without keeping others from it.
//
// Covers: ER-22, S2-14
func TestClientsMatchAtTheirRate(t *testing.T) {
	d := servertest.Start(t, func(w *servertest.Env) {
		w.Config.Patients = 5
		w.Config.Rates.MatchesPerClient = 2
	})
	one := d.Session(d.A, d.Client(d.A, "https://client1.test/app"), matchScope)
	two := d.Session(d.A, d.Client(d.A, "https://client2.test/app"), matchScope)
	without := d.Session(d.A, d.Client(d.A, "https://client3.test/app"), "system/*.rs")

	for _, s := range []*servertest.Session{one, two} {
		for range 2 {
			out, err := s.Client.Match(context.Background(), []byte(described), s.Token.Access)
			if err != nil || !strings.Contains(string(out.Reply.Body), `"searchset"`) {
				t.Fatalf("%v %s", err, out.Reply.Body)
			}
		}
	}

	ask := func(s *servertest.Session) *http.Response {
		return d.Do("POST", "/acme/fhir/Patient/$match", strings.NewReader(described), "Content-Type",
			"application/fhir+json", "Authorization", "Bearer "+s.Token.Access)
	}
	if res := ask(one); res.StatusCode != 429 || res.Header.Get("Retry-After") == "" {
		t.Errorf("the third in a minute: %d %v", res.StatusCode, res.Header)
	}
	if res := ask(without); res.StatusCode != 403 || !strings.Contains(res.Header.Get("WWW-Authenticate"), "system/Patient.$match") {
		t.Errorf("without the scope: %d %v", res.StatusCode, res.Header)
	}

	if _, err := one.Client.Match(context.Background(), []byte(described), one.Token.Access); err == nil {
		t.Error("the originator takes a refusal for an answer")
	}
}

// Each patient of a new sandbox is found by name, date of birth, telephone and
// address as its own record has them, by a client with a token of UDAP.
func TestPatientsAreMatchedOverTheWire(t *testing.T) {
	d := servertest.Start(t, func(w *servertest.Env) { w.Config.Patients = 5 })
	s := d.Session(d.A, d.Client(d.A, "https://client1.test/app"), matchScope)
	for i := range 5 {
		id := sample.PatientID(i)
		read, err := s.Client.Get(context.Background(), "Patient/"+id, s.Token.Access)
		if err != nil {
			t.Fatal(err)
		}
		body := `{"resourceType":"Parameters","parameter":[{"name":"resource","resource":` + string(read.Reply.Body) + `}]}`
		out, err := s.Client.Match(context.Background(), []byte(body), s.Token.Access)
		if err != nil {
			t.Fatal(err)
		}
		first, _, _ := strings.Cut(string(out.Reply.Body), `"resource":`)
		if !strings.HasSuffix(first, `"fullUrl":"https://fhir.test/acme/fhir/Patient/`+id+`",`) {
			t.Errorf("%s: %s", id, first)
		}
	}
}
