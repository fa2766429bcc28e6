package server_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"fhirdest.example/server/lab"
	"fhirdest.example/server/oauth/observe"
	"fhirdest.example/server/servertest"
	"fhirdest.example/udap/conform"
	"fhirdest.example/udap/fault"
	"fhirdest.example/udap/forge"
	"fhirdest.example/udap/trace"
)

// A session that observes goes on after each tolerated mistake of the catalogue, with
// the row that it violates and the refusal that it would have been; after every other
// mistake it does not, and beside it a strict session goes on after none.
func TestObservingSessionsGoOn(t *testing.T) {
	d := servertest.Start(t, servertest.Lab)
	s := d.OpenLab(lab.OpenRequest{Name: "lenient", Mode: lab.Observe})
	strict := d.OpenLab(lab.OpenRequest{Name: "strict"})
	id := d.Client(d.A, tableURI)
	c := &forge.Client{
		URI:   tableURI,
		Key:   id.Key,
		Chain: id.Chain,
	}
	o := s.Destination.Session(d.A, id, "system/Patient.rs")
	so := strict.Destination.Session(d.A, id, "system/Patient.rs")

	for _, doc := range []fault.Document{fault.Assertion, fault.Statement} {
		for _, f := range fault.All() {
			if !f.In(doc) {
				continue
			}
			t.Run(string(doc)+"/"+f.Name, func(t *testing.T) {
				tolerated := observe.Tolerated(f.CheckIn(doc)) && !strings.Contains(f.Name, "aud")
				if got := present(t, s, c, o.Registered.ClientID, doc, f); (got < 400) != tolerated {
					t.Errorf("observing: %d", got)
				}
				if got := present(t, strict, c, so.Registered.ClientID, doc, f); got < 400 {
					t.Errorf("strict: %d", got)
				}

				k := last(s)
				if tolerated && !slices.ContainsFunc(k.Traces, func(tr *trace.Trace) bool {
					return slices.ContainsFunc(tr.Observations(), func(step trace.Step) bool {
						return step.Check == f.CheckIn(doc)
					})
				}) {
					t.Errorf("nothing is noted: %+v", k.Traces)
				}
				if rows := redRows(k.Assessment.Findings); len(rows) == 0 {
					t.Errorf("no row is red: %+v", k.Assessment)
				}
			})
		}
	}
}

// last returns the exchange that a session got last, once it is kept.
func last(s *servertest.LabSession) *lab.Kept {
	all := s.Kept()
	return all[len(all)-1]
}

// present sends a document with a mistake, waits until the exchange is kept, and returns
// the status of the answer.
func present(
	t *testing.T, s *servertest.LabSession, c *forge.Client, id trace.ClientID, doc fault.Document, f fault.Fault,
) int {
	t.Helper()
	return bring(t, s, doc, mistaken(t, s, c, id, doc, f))
}

// bring sends a JWT to the endpoint for it, and waits until the exchange is kept.
func bring(t *testing.T, s *servertest.LabSession, doc fault.Document, compact string) int {
	t.Helper()
	before := len(s.Kept())
	status := postJWT(t, s, doc, compact)
	s.Eventually("the exchange is kept", func() bool { return len(s.Kept()) > before })
	return status
}

// What a client sent to one session is of no use at another or at the destination
// itself, however much is tolerated, nor a second time where it was sent.
func TestSessionsAreNotCrossed(t *testing.T) {
	d := servertest.Start(t, servertest.Lab)
	first := d.OpenLab(lab.OpenRequest{Mode: lab.Observe})
	second := d.OpenLab(lab.OpenRequest{Mode: lab.Observe})
	id := d.Client(d.A, tableURI)
	c := &forge.Client{
		URI:   tableURI,
		Key:   id.Key,
		Chain: id.Chain,
	}
	o := first.Destination.Session(d.A, id, "system/Patient.rs")

	sign := func(claims forge.Claims) string {
		compact, err := c.SignChain(claims, c.Chain...)
		if err != nil {
			t.Fatal(err)
		}
		return compact
	}
	statement := sign(forge.Statement(c.URI, first.Session.Issuer+"/register", time.Now()))
	assertion := sign(forge.Assertion(o.Registered.ClientID, first.Session.Issuer+"/token", time.Now()))

	if got := bring(t, first, fault.Statement, statement); got >= 300 {
		t.Fatalf("the statement: %d", got)
	}
	if got := bring(t, first, fault.Assertion, assertion); got >= 300 {
		t.Fatalf("the assertion: %d", got)
	}
	for _, s := range []*servertest.LabSession{first, second, d.Plain()} {
		if got := bring(t, s, fault.Statement, statement); got < 400 {
			t.Errorf("the statement, again, at %s: %d", s.Session.Base, got)
		}
		if got := bring(t, s, fault.Assertion, assertion); got < 400 {
			t.Errorf("the assertion, again, at %s: %d", s.Session.Base, got)
		}
	}

	for _, s := range []*servertest.LabSession{second, d.Plain()} {
		_, err := s.Destination.Originator(d.A, id).Get(context.Background(), "Patient?_count=1", o.Token.Access)
		if err == nil {
			t.Errorf("the token of another session reads at %s", s.Session.Base)
		}
	}
}

// Requests that reached nothing, or could not be read, are described in words.
func TestHitsAreDescribed(t *testing.T) {
	d := servertest.Start(t, servertest.Lab)
	s := d.OpenLab(lab.OpenRequest{})
	base := strings.TrimPrefix(s.Session.Base, "https://fhir.test")
	oauth := strings.TrimPrefix(s.Session.Issuer, "https://fhir.test")
	form := "application/x-www-form-urlencoded"
	for _, row := range []struct {
		method, path, media, body string
		hint                      string
	}{
		{"GET", base + "/.well-known/udap/", "", "", "slash-at-end"},
		{"GET", base + "//.well-known/udap", "", "", "slash-doubled"},
		{"GET", base + "/.well-known/udap%20", "", "", "space-in-path"},
		{"GET", base + "/.well-known/UDAP", "", "", "case-of-path"},
		{"GET", oauth + "/.well-known/udap", "", "", "well-known-at-issuer"},
		{"GET", base + "/.well-known/udap?comunity=" + servertest.URIA, "", "", "community-misspelt"},
		{"GET", base + "/patient/1", "", "", "resource-type-misspelt"},
		{"POST", base + "/token", form, "grant_type=client_credentials", "endpoint-below-base"},
		{"POST", oauth + "/token/", form, "grant_type=client_credentials", "slash-at-end"},
		{"GET", oauth + "/token", "", "", "get-for-post"},
		{"POST", oauth + "/token", "application/json", `{"grant_type":"client_credentials"}`, "form-as-json"},
		{"POST", oauth + "/token", form, "grant_type=client_credentials&udap=1&udap=1", "form-field-twice"},
		{"POST", oauth + "/register", form, "software_statement=a.b.c", "json-as-form"},
		{"POST", oauth + "/register", "application/json", `{"udap":"1",}`, "json-trailing-comma"},
		{"POST", oauth + "/register", "application/json", "\ufeff{}", "json-byte-order-mark"},
		{"DELETE", oauth + "/register", "", "", "delete-for-register"},
	} {
		t.Run(row.hint+" "+row.method, func(t *testing.T) {
			before := len(s.Kept())
			s.Do(row.method, row.path, strings.NewReader(row.body), "Content-Type", row.media)
			s.Eventually("the exchange is kept", func() bool { return len(s.Kept()) > before })

			a := last(s).Assessment
			at := slices.IndexFunc(a.Findings, func(f conform.Finding) bool { return f.Check == "hint."+row.hint })
			if at < 0 || a.Colour == "green" {
				t.Fatalf("%s: %+v", a.Colour, a.Findings)
			}
			if f := a.Findings[at]; f.Text == "" || f.Remedy == "" {
				t.Errorf("%+v", f)
			}
		})
	}
}

// What is noted is first on the page of its request, with a sign of its own.
func TestNotesAreShown(t *testing.T) {
	d := servertest.Start(t, servertest.Lab)
	s := d.OpenLab(lab.OpenRequest{Mode: lab.Observe})
	id := d.Client(d.A, tableURI)
	c := &forge.Client{
		URI:   tableURI,
		Key:   id.Key,
		Chain: id.Chain,
	}
	long := fault.Fault{Claims: map[string]any{"exp": fault.At(time.Hour)}}
	if got := present(t, s, c, "", fault.Statement, long); got != 201 {
		t.Fatalf("%d", got)
	}

	res, page := s.Get(s.Session.Page + "x/1")
	note, passed := strings.Index(page, "</span>observed</span>"), strings.Index(page, "checks that passed")
	if res.StatusCode != 200 || note < 0 || passed < note || !strings.Contains(page, `class="verdict warn"`) {
		t.Errorf("%d, a note at %d, what passed at %d: %s", res.StatusCode, note, passed, page)
	}
}
