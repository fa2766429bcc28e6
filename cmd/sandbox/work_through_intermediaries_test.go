package main

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"fhirdest.example/certs"
	"fhirdest.example/cmd/internal/testbed"
	"fhirdest.example/udap/udaptest"
)

// workStep is an interaction that is done in the background.
type workStep struct {
	name, method, path string
	body               string
	status             string // of the result
	want               string // in the result
}

// workSteps are interactions of each kind about a Patient of that id.
func workSteps(id string) []workStep {
	at := "/Patient/" + id
	patient := `{"resourceType":"Patient","id":"` + id + `","active":true}`
	bundle := `{"resourceType":"Bundle","type":"transaction","entry":[{"resource":` + patient +
		`,"request":{"method":"PUT","url":"Patient/` + id + `"}}]}`
	return []workStep{
		{"update as create", "PUT", at, patient, "201 Created", at + "/_history/1"},
		{"read", "GET", at, "", "200 OK", `"active":true`},
		{"vread", "GET", at + "/_history/1", "", "200 OK", `"versionId":"1"`},
		{"search", "GET", "/Patient?_id=" + id, "", "200 OK", `"total":1`},
		{"history", "GET", at + "/_history", "", "200 OK", `"type":"history"`},
		{"everything", "GET", at + "/$everything", "", "200 OK", `"searchset"`},
		{"validate", "POST", "/Patient/$validate", patient, "200 OK", `"OperationOutcome"`},
		{"transaction", "POST", "", bundle, "200 OK", `"transaction-response"`},
		{"wrong query", "GET", "/Patient?birthdate=x", "", "400 Bad Request", `"OperationOutcome"`},
		{"not there", "GET", "/Patient/none", "", "404 Not Found", `"not-found"`},
		{"delete", "DELETE", at, "", "204 No Content", ""},
	}
}

// Work in the background is begun, asked for, cancelled and hidden from others straight
// and through the intermediaries alike, whichever way it was begun, and goes on after a
// kill.
//
// Covers: ER-18
func TestWorkStraightAndThroughTheIntermediaries(t *testing.T) {
	ownTemp(t)
	st, d := bedFor(t, testbed.Config{Separate: true}, nil)
	a := newAttacker(t, d.dir, d.manifest)
	token := a.worker("https://attacker.example/work", 1)
	other := a.worker("https://attacker.example/other", 2)

	ways := map[string]string{
		"public":  "private",
		"private": "public",
	}
	for role, back := range ways {
		for _, s := range workSteps("work-" + role) {
			t.Run(role+", "+s.name, func(t *testing.T) {
				at := a.beginsWork(t, role, token, s)
				a.hidesWork(t, back, other, at)

				got := a.endsWork(t, back, token, at)
				if !strings.Contains(got, `"status":"`+s.status+`"`) || !strings.Contains(got, s.want) {
					t.Errorf("%.1000s\nlacks %q or %q", got, s.status, s.want)
				}
				if same := a.endsWork(t, role, token, at); same != got {
					t.Errorf("%.1000s\nthe other way\n%.1000s", same, got)
				}

				removed := a.send(back, "DELETE", at, nil, "Authorization", "Bearer "+token)
				if removed.status != http.StatusAccepted {
					t.Errorf("removed: %d %s", removed.status, removed.body)
				}
				a.hidesWork(t, role, token, at)
			})
		}
	}

	begun := map[string]string{}
	for role := range ways {
		begun[role] = a.beginsWork(t, role, token, workSteps("killed-" + role)[0])
	}
	killDestination(t, st, d)
	a.http["private"].CloseIdleConnections() // which the kill has ended
	for role, at := range begun {
		a.hidesWork(t, role, other, at)
		if got := a.endsWork(t, ways[role], token, at); !strings.Contains(got, "/Patient/killed-"+role+"/_history/1") {
			t.Errorf("%s, after the kill: %s", role, got)
		}
	}
	a.logs()
}

// worker registers a client, and returns its token.
func (a *attacker) worker(uri string, key int) string {
	const scope = "system/*.cruds"
	c := a.leaf(0, uri, udaptest.Key(a.t, certs.P256, key), nil)
	id := a.register("public", a.sign(c, a.statement(c).With("scope", scope))).text("client_id")
	return a.form("public", "/token", a.params(a.sign(c, a.assertion(id)), "scope", scope)).text("access_token")
}

// beginsWork begins work, and returns where its status is.
func (a *attacker) beginsWork(t *testing.T, role, token string, s workStep) string {
	t.Helper()
	header := []string{
		"Authorization", "Bearer " + token,
		"Accept", "application/fhir+json",
		"Prefer", "respond-async",
	}
	if s.body != "" {
		header = append(header, "Content-Type", "application/fhir+json")
	}

	got := a.send(role, s.method, a.m.PublicBase+s.path, strings.NewReader(s.body), header...)
	at := got.header.Get("Content-Location")
	if got.status != http.StatusAccepted || !strings.HasPrefix(at, a.m.PublicBase+"/_jobs/") {
		t.Fatalf("%d %v %s", got.status, got.header, got.body)
	}
	return at
}

// endsWork waits for the end of work, and returns its result.
func (a *attacker) endsWork(t *testing.T, role, token, at string) string {
	t.Helper()
	for t.Context().Err() == nil {
		got := a.send(role, "GET", at, nil, "Authorization", "Bearer "+token, "Accept", "application/fhir+json")
		switch got.status {
		case http.StatusOK:
			return got.body
		case http.StatusAccepted:
			if got.header.Get("X-Progress") == "" || got.header.Get("Retry-After") == "" {
				t.Errorf("%v", got.header)
			}
			time.Sleep(50 * time.Millisecond)
		default:
			t.Fatalf("%d %v %s", got.status, got.header, got.body)
		}
	}
	t.Fatal(t.Context().Err())
	return ""
}

// hidesWork verifies that there is no such work for a token.
func (a *attacker) hidesWork(t *testing.T, role, token, at string) {
	t.Helper()
	for _, method := range []string{"GET", "DELETE"} {
		got := a.send(role, method, at, nil, "Authorization", "Bearer "+token)
		if got.status != http.StatusNotFound || !strings.Contains(got.body, `"OperationOutcome"`) {
			t.Errorf("%s: %d %s", method, got.status, got.body)
		}
	}
}
