package server_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"fhirdest.example/server/lab"
	"fhirdest.example/server/servertest"
	"fhirdest.example/udap/conform"
	"fhirdest.example/udap/fault"
	"fhirdest.example/udap/forge"
	"fhirdest.example/udap/trace"
)

// Every mistake of the catalogue that a client makes at a session of the lab is found
// in its request, in one row, in words; and its client is the lane that registered.
func TestMistakesAreFoundInASession(t *testing.T) {
	d := servertest.Start(t, servertest.Lab)
	s := d.OpenLab(lab.OpenRequest{Name: "mistakes"})
	id := d.Client(d.A, "https://client.test/a")
	o := s.Destination.Session(d.A, id, "system/Patient.rs")
	c := &forge.Client{
		URI:   "https://client.test/a",
		Key:   id.Key,
		Chain: id.Chain,
	}

	var sent []fault.Fault
	var documents []fault.Document
	for _, doc := range []fault.Document{fault.Statement, fault.Assertion} {
		for _, f := range fault.All() {
			if f.In(doc) {
				compact := mistaken(t, s, c, o.Registered.ClientID, doc, f)
				if got := postJWT(t, s, doc, compact); got < 400 {
					t.Errorf("%s: %d", f.Name, got)
				}
				sent, documents = append(sent, f), append(documents, doc)
			}
		}
	}

	var kept []*lab.Kept
	d.Eventually("every request is kept", func() bool {
		kept = s.Kept()
		return len(kept) >= 3+len(sent)
	})
	lane := kept[1].Assessment.Lane
	mistakes := kept[len(kept)-len(sent):]
	for i, k := range mistakes {
		t.Run(string(documents[i])+"/"+sent[i].Name, func(t *testing.T) {
			rows := redRows(k.Assessment.Findings)
			if len(rows) != 1 || k.Assessment.Colour != "red" {
				t.Errorf("%s: %q, %+v", k.Assessment.Colour, rows, k.Assessment.Findings)
			}
			if k.Assessment.Lane != lane {
				t.Errorf("in the lane %s, want %s", k.Assessment.Lane, lane)
			}
		})
	}
}

// redRows returns the rows that are violated.
func redRows(all []conform.Finding) (out []string) {
	for _, f := range all {
		if f.Verdict == conform.Violated && f.Row != "" {
			out = append(out, f.Row+": "+f.Text)
		}
	}
	return out
}

// mistaken makes a document with a mistake for a session.
func mistaken(
	t *testing.T, s *servertest.LabSession, c *forge.Client, id trace.ClientID, doc fault.Document, f fault.Fault,
) string {
	t.Helper()
	now := time.Now()
	good := forge.Statement(c.URI, s.Session.Issuer+"/register", now)
	if doc == fault.Assertion {
		good = forge.Assertion(id, s.Session.Issuer+"/token", now)
	}
	compact, err := f.Make(c, good, now)
	if err != nil {
		t.Fatal(err)
	}
	return compact
}

// postJWT sends a JWT to the endpoint for it, and returns the status of the answer.
func postJWT(t *testing.T, s *servertest.LabSession, doc fault.Document, compact string) int {
	t.Helper()
	path, media := s.Session.Issuer+"/register", "application/json"
	text, err := json.Marshal(map[string]string{
		"software_statement": compact,
		"udap":               "1",
	})
	if err != nil {
		t.Fatal(err)
	}

	body := string(text)
	if doc == fault.Assertion {
		path, media = s.Session.Issuer+"/token", "application/x-www-form-urlencoded"
		body = url.Values{
			"grant_type":            {"client_credentials"},
			"client_assertion_type": {"urn:ietf:params:oauth:client-assertion-type:jwt-bearer"},
			"client_assertion":      {compact},
			"udap":                  {"1"},
			"scope":                 {"system/Patient.rs"},
		}.Encode()
	}

	return s.Do(http.MethodPost, path, strings.NewReader(body), "Content-Type", media).StatusCode
}
