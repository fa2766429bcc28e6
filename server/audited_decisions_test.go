package server_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"fhirdest.example/server/servertest"
	"fhirdest.example/udap/client"
)

// recorded is one AuditEvent of a search.
type recorded struct {
	ID          string
	Outcome     string
	OutcomeDesc string
	Type        struct{ Code string }
	Subtype     []struct{ Code string }
	Entity      []struct {
		Name string
		What struct{ Identifier struct{ Value string } }
	}
}

// entity returns the value of the entity with a name.
func (r *recorded) entity(name string) string {
	for _, e := range r.Entity {
		if e.Name == name {
			return e.What.Identifier.Value
		}
	}
	return ""
}

// auditOf returns the AuditEvents that a search finds, the oldest first.
func auditOf(t *testing.T, s *servertest.Session, query string) (out []recorded) {
	t.Helper()
	var b struct {
		Entry []struct{ Resource recorded }
	}
	body := fetched(t, s, "AuditEvent?_count=500&_sort=date&"+query)
	if err := json.Unmarshal(body, &b, json.MatchCaseInsensitiveNames(true)); err != nil {
		t.Fatal(err)
	}
	for _, e := range b.Entry {
		out = append(out, e.Resource)
	}
	return out
}

func auditor(
	t *testing.T, change ...func(*servertest.Env),
) (*servertest.Destination, *servertest.Session) {
	t.Helper()
	change = append(change, withPeople(t), func(w *servertest.Env) {
		w.Config.AuditReaders = []string{"https://client.test/auditor"}
	})
	d := servertest.Start(t, change...)
	return d, d.Session(d.A, d.Client(d.A, "https://client.test/auditor"), "system/AuditEvent.rs")
}

// What a client does at the authorization server, and what it is refused once it has
// proved who it is, is in the record, with the trace that explains it.
//
// Covers: FS-205, FS-410
func TestClientsDecisionsAreAudited(t *testing.T) {
	d, reader := auditor(t)
	const uri, scope = "https://client.test/app", "system/Patient.rs"
	s := d.Session(d.A, d.Client(d.A, uri), scope)
	reg := client.Registration{
		ClientName: "HTEST client",
		Contacts:   []string{"mailto:test@client.test"},
		Scope:      "system/Patient.rs system/Observation.rs",
	}
	if _, err := s.Client.Register(t.Context(), s.Discovered, reg); err != nil {
		t.Fatal(err)
	}
	refused, err := s.Client.Token(t.Context(), s.Discovered, client.TokenRequest{
		ClientID: s.Registered.ClientID,
		Scope:    "system/Device.rs",
		B2B:      servertest.Treatment(),
	})
	if err == nil {
		t.Fatal("a scope that was not registered is granted")
	}
	if _, err := s.Client.Cancel(t.Context(), s.Discovered, reg); err != nil {
		t.Fatal(err)
	}

	var got []string
	var events []recorded
	for _, ev := range auditOf(t, reader, "agent:identifier="+string(s.Registered.ClientID)) {
		if ev.Type.Code != "rest" {
			events = append(events, ev)
			got = append(got, ev.Type.Code, ev.Subtype[0].Code, ev.Outcome+ev.OutcomeDesc)
		}
	}
	want := "[110113 110136 0 110114 ITI-71 0 110113 110136 0 110113 ITI-71 4invalid_scope token.scope 110113 110136 0]"
	if fmt.Sprint(got) != want {
		t.Fatalf("events %v, want %v", got, want)
	}
	for _, ev := range events {
		if ev.entity("community") != servertest.URIA || ev.entity("client") != uri {
			t.Errorf("event %+v", ev)
		}
		if status, _ := page(t, d, "/traces/"+ev.entity("trace")); status != http.StatusOK {
			t.Errorf("the trace of %s: %d", ev.ID, status)
		}
	}
	if refused.Reply.TraceID != events[3].entity("trace") {
		t.Errorf("the refusal has trace %s, its record %s", refused.Reply.TraceID, events[3].entity("trace"))
	}
}

// A FHIR request whose token is not accepted is in the record, with its trace. Many of
// them are not, and a request without a token never is: anybody can send those.
//
// Covers: FS-205, case 269
func TestRequestsWithBadTokensAreAudited(t *testing.T) {
	var later atomic.Int64 // seconds
	d, reader := auditor(t, func(w *servertest.Env) {
		w.Now = func() time.Time { return time.Now().Add(time.Duration(later.Load()) * time.Second) }
	})
	bad := func(header ...string) string {
		res, _ := d.Get("/acme/fhir/Patient?name="+strings.Repeat("x", 2000), header...)
		if res.StatusCode != http.StatusUnauthorized {
			t.Fatalf("status %d", res.StatusCode)
		}
		return res.Header.Get("Trace-Id")
	}

	bad()
	first := bad("Authorization", "Bearer none-of-ours")
	for range 100 {
		bad("Authorization", "Bearer none-of-ours")
	}
	all := auditOf(t, reader, "outcome=4")
	if n := len(all); n < 20 || n > 40 || all[0].entity("trace") != first || all[0].OutcomeDesc != "401 login" {
		t.Errorf("%d records, the first %+v, want the trace %s", len(all), all[:min(len(all), 1)], first)
	}

	later.Store(300)
	bad("Authorization", "Bearer none-of-ours")
	latest := auditOf(t, reader, "outcome=4")
	if left := latest[len(latest)-1].OutcomeDesc; !strings.HasPrefix(left, "401 login, after ") {
		t.Errorf("what was left out: %q", left)
	}
	if body := string(fetched(t, reader, "AuditEvent/"+all[0].ID)); strings.Contains(body, "none-of-ours") ||
		!strings.Contains(body, "127.0.0.1") || len(body) > 3000 {
		t.Errorf("the record: %s", body)
	}
}

// A launch from the console is in the record, with its patient.
func TestLaunchesAreAudited(t *testing.T) {
	d, reader := auditor(t)
	app := d.Originator(d.A, d.Client(d.A, "https://client.test/app"))
	found, err := app.Discover(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	registered, err := app.Register(t.Context(), found, client.Registration{
		ClientName:   "HTEST app",
		Contacts:     []string{"mailto:test@client.test"},
		Scope:        "launch patient/Patient.rs",
		GrantTypes:   []string{"authorization_code"},
		RedirectURIs: []string{"https://client.test/cb"},
		LogoURI:      "https://client.test/logo.png",
	})
	if err != nil {
		t.Fatal(err)
	}

	_, list := page(t, d, "/launch")
	_, patient, _ := strings.Cut(list, `"patients": [`)
	patient = strings.Split(patient, `"`)[1]
	form := url.Values{
		"client":  {string(registered.ClientID)},
		"patient": {patient},
	}
	req, err := http.NewRequest(http.MethodPost, d.Admin+"/launch", strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Origin", d.Admin)
	res, err := http.DefaultClient.Do(req)
	if err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("the launch: %v %v", res, err)
	}
	res.Body.Close()

	all := auditOf(t, reader, "patient="+patient+"&type=110100")
	if len(all) != 1 || all[0].Subtype[0].Code != "110120" || all[0].entity("client") != "https://client.test/app" {
		t.Errorf("records %+v", all)
	}
}
