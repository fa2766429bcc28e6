package audit

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"fhirdest.example/fhir/table"
	"fhirdest.example/fhir/trail"
	"fhirdest.example/fhir/tree"
	"fhirdest.example/fhir/validate"
	"fhirdest.example/udap/trace"
)

// about is a decision with all that a record may be about.
func about(action string, effect trace.Effect) *trace.Trace {
	t := trace.NewTrace(action, time.Unix(1e9, 0).UTC())
	t.Community, t.Client, t.ClientID = "urn:a", "https://client.test/app", "id-1"
	t.Effect = effect
	t.About = trace.About{
		Address: "192.0.2.7",
		Person:  "subject-1",
		Patient: "p1",
		Grant:   strings.Repeat("0a", 16),
		Token:   "0123456789abcdef",
	}
	return t
}

// written is what a test reads of an AuditEvent.
type written struct {
	Type        trail.Coding
	Subtype     []trail.Coding
	Action      string
	Outcome     string
	OutcomeDesc string
	Agent       []struct {
		Type    struct{ Coding []trail.Coding }
		Who     struct{ Identifier struct{ Value string } }
		Policy  []string
		Network struct{ Address string }
	}
	Entity []struct {
		Name string
		What struct {
			Reference  string
			Identifier struct{ Value string }
		}
	}
}

// event reads the AuditEvent of a decision, which must be valid R4.
func event(t *testing.T, d Decision) (e written, body string) {
	t.Helper()
	rec, ok := Event(&d, "https://fhir.test/oauth")
	if !ok {
		t.Fatal("no record")
	}
	rec.Base = "https://fhir.test/fhir"
	text := rec.Body("a1")
	root, err := tree.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	if issues := validate.New(table.R4()).Resource(root, validate.Options{}); !validate.OK(issues) {
		t.Errorf("%v in %s", issues, text)
	}
	if err := json.Unmarshal(text, &e, json.MatchCaseInsensitiveNames(true)); err != nil {
		t.Fatal(err)
	}
	return e, string(text)
}

// Each effect has its event, with who and what it was about.
//
// Covers: FS-402, FS-410
func TestEffectsAreEvents(t *testing.T) {
	for _, row := range []struct {
		effect            trace.Effect
		typ, code, action string
	}{
		{trace.Registered, "110113", "110136", "C"},
		{trace.Changed, "110113", "110136", "U"},
		{trace.Cancelled, "110113", "110136", "D"},
		{trace.Issued, "110114", "ITI-71", "E"},
		{trace.Introspected, "110112", "ITI-102", "E"},
		{trace.Revoked, "110113", "110137", "U"},
		{trace.SignedIn, "110114", "110122", "E"},
		{trace.SignedOut, "110114", "110123", "E"},
		{trace.Approved, "110113", "110137", "C"},
		{trace.Withdrawn, "110113", "110137", "D"},
		{trace.Launched, "110100", "110120", "E"},
	} {
		t.Run(string(row.effect), func(t *testing.T) {
			tr := about("x", row.effect)
			e, body := event(t, Decision{Trace: *tr})
			if e.Type.Code != row.typ || e.Subtype[0].Code != row.code || e.Action != row.action || e.Outcome != "0" {
				t.Errorf("%s", body)
			}
			for _, text := range []string{
				"https://fhir.test/oauth", "urn:a", "https://client.test/app", `"id-1"`, "192.0.2.7", "subject-1", "Patient/p1", "0123456789abcdef", tr.ID,
			} {
				if !strings.Contains(body, text) {
					t.Errorf("no %s in %s", text, body)
				}
			}
			if got := strings.Contains(body, "urn:ietf:params:oauth:jti:0123456789abcdef"); got != (row.effect == trace.Issued) {
				t.Errorf("agent.policy names the token: %v", got)
			}
		})
	}
}

// A refusal is an event when the party had proved who it is. Those of the server are
// serious, all others minor.
//
// Covers: FS-205
func TestRefusalsOfProvenPartiesAreEvents(t *testing.T) {
	check := trace.Check{Name: "token.scope"}
	for _, row := range []struct {
		action        string
		code          trace.Code
		authenticated bool
		outcome       string // empty: no event
	}{
		{"register", trace.InvalidClientMetadata, true, "4"},
		{"token", trace.InvalidScope, true, "4"},
		{"introspect", trace.InvalidClient, true, "4"},
		{"revoke", trace.TemporarilyUnavailable, true, "8"},
		{"consent", trace.AccessDenied, true, "4"},
		{"grants", trace.ServerError, true, "8"},
		{"token", trace.InvalidClient, false, ""},
		{"signin", trace.AccessDenied, false, ""},
		{"access", trace.InsufficientScope, true, ""}, // the FHIR service has the record of it
		{"request", trace.InvalidRequest, true, ""},
	} {
		t.Run(fmt.Sprint(row.action, " ", row.code, " ", row.authenticated), func(t *testing.T) {
			tr := about(row.action, "")
			tr.About = trace.About{Address: "192.0.2.7"}
			_ = tr.Refuse(check, row.code, trace.Finding{Found: "hunter2"})
			d := Decision{
				Trace:         *tr,
				Authenticated: row.authenticated,
			}
			if row.outcome == "" {
				if _, ok := Event(&d, "https://fhir.test/oauth"); ok {
					t.Error("there is a record")
				}
				return
			}

			e, body := event(t, d)
			if e.Outcome != row.outcome || e.OutcomeDesc != string(row.code)+" token.scope" || e.Type.Code != "110113" ||
				strings.Contains(body, "hunter2") {
				t.Errorf("%s", body)
			}
		})
	}
}

// Without a client the event has the address all the same.
func TestEventsWithoutAClient(t *testing.T) {
	tr := about("signin", trace.SignedIn)
	tr.Community, tr.Client, tr.ClientID = "", "", ""
	e, body := event(t, Decision{Trace: *tr})
	if len(e.Agent) != 3 || e.Agent[0].Network.Address != "192.0.2.7" || e.Agent[2].Who.Identifier.Value != "subject-1" {
		t.Errorf("%s", body)
	}
	kinds := e.Agent[1].Type.Coding
	if !slices.ContainsFunc(kinds, func(c trail.Coding) bool { return c.Code == "AuthzOauthService" }) {
		t.Errorf("the server is %v", kinds)
	}
}

// Records that cannot be kept are counted and logged, and the decision stays in memory.
func TestRecordsThatAreLostAreCounted(t *testing.T) {
	var got []trail.Record
	var failure error
	l := New(Config{Keep: 5, Append: func(rec trail.Record) error {
		got = append(got, rec)
		return failure
	}})
	l.Record(about("token", trace.Issued))
	l.Record(about("metadata", ""))
	failure = fmt.Errorf("the disk is full")
	l.Record(about("revoke", trace.Revoked))
	if len(got) != 2 || l.Lost() != 1 || len(l.Recent(5)) != 3 {
		t.Errorf("%d records, %d lost", len(got), l.Lost())
	}
}
