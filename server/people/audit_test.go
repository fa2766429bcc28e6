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

// audited is what a test reads of the record.
type audited struct {
	what, outcome, body string
}

// record returns the events of the authorization server about a text, the oldest
// first, as an auditor reads them.
func (e *env) record(auditor *servertest.Session, about string) (out []audited) {
	e.t.Helper()
	res, err := auditor.Client.Get(e.t.Context(), "AuditEvent?_count=200&_sort=date", auditor.Token.Access)
	if err != nil {
		e.t.Fatal(err)
	}
	var b struct {
		Entry []struct {
			Resource struct {
				ID      string
				Outcome string
				Type    struct{ Code string }
				Subtype []struct{ Code string }
			}
		}
	}
	if err := json.Unmarshal(res.Reply.Body, &b, json.MatchCaseInsensitiveNames(true)); err != nil {
		e.t.Fatal(err)
	}

	for _, entry := range b.Entry {
		r := entry.Resource
		if r.Type.Code == "rest" {
			continue
		}
		one, err := auditor.Client.Get(e.t.Context(), "AuditEvent/"+r.ID, auditor.Token.Access)
		if err != nil {
			e.t.Fatal(err)
		}
		if body := string(one.Reply.Body); strings.Contains(body, about) {
			out = append(out, audited{r.Subtype[0].Code, r.Outcome, body})
		}
	}
	return out
}

// What a person does is in the same record as what clients read: signing in and out,
// refusing, allowing, what the client gets of it, and taking it back. A wrong password
// is nobody's, and leaves nothing.
//
// Covers: FS-205, FS-206
func TestWhatPeopleDoIsAudited(t *testing.T) {
	e := newEnv(t, func(w *servertest.Env) { w.Config.AuditReaders = []string{"https://auditor.test/app"} })
	auditor := e.Session(e.A, e.Client(e.A, "https://auditor.test/app"), "system/AuditEvent.rs")
	a := e.app("https://client.test/app")
	all := scopes + " offline_access"

	b := e.browser()
	b.open(site + "/signin")
	b.send("signin", "username", "alice", "password", "a wrong one")
	b.shows(http.StatusForbidden)
	b.signIn("alice")
	b.open(a.authorize(all))
	b.send("deny")
	b.answer()
	b.allow(a.authorize(all), "alice")
	token, err := a.exchange(b.code(), all)
	if err != nil {
		t.Fatal(err)
	}
	refreshed, err := a.client.Refresh(t.Context(), a.found, client.RefreshRequest{
		ClientID: a.ClientID,
		Refresh:  token.Refresh,
	})
	if err != nil {
		t.Fatal(err)
	}
	b.withdrawal("Health Companion")
	b.send("")
	b.open(site + "/signout")
	b.send("")

	want := "[110122 0 110137 4 110137 0 ITI-71 0 ITI-71 0 110137 0 110123 0]"
	var events []audited
	e.Eventually("the events "+want, func() bool { // another destination has its last ones in memory for a moment
		events = e.record(auditor, "subject-of-alice")
		var got []string
		for _, ev := range events {
			got = append(got, ev.what, ev.outcome)
		}
		return fmt.Sprint(got) == want
	})

	for i, text := range map[int]string{
		1: "access_denied",
		2: "Patient/" + e.patients[0],
		3: "AuthzOauthService",
		5: string(a.ClientID),
	} {
		if !strings.Contains(events[i].body, text) {
			t.Errorf("no %s in %s", text, events[i].body)
		}
	}
	for _, ev := range events {
		for name, secret := range map[string]string{
			"password": password, "access token": token.Access, "refresh token": token.Refresh,
			"new refresh token": refreshed.Refresh,
		} {
			if strings.Contains(ev.body, secret) {
				t.Errorf("the %s is in %s", name, ev.body)
			}
		}
	}
	if n := len(e.record(auditor, "signin.password")); n != 0 {
		t.Errorf("%d events of the wrong password", n)
	}
}
