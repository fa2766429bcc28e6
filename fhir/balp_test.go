package fhir_test

import (
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"

	"fhirdest.example/fhir/sample"
	"fhirdest.example/fhir/trail"
)

// coding, auditAgent, auditEntity and auditEvent are what IHE's Basic Audit Log
// Patterns look at.
type coding struct {
	System  string `json:"system"`
	Code    string `json:"code"`
	Display string `json:"display"`
}

type auditAgent struct {
	Type struct {
		Coding []coding `json:"coding"`
	} `json:"type"`
	Who       map[string]any `json:"who"`
	Requestor bool           `json:"requestor"`
	Policy    []string       `json:"policy"`
	Network   struct {
		Address string `json:"address"`
		Type    string `json:"type"`
	} `json:"network"`
	PurposeOfUse []any `json:"purposeOfUse"`
}

type auditEntity struct {
	What struct {
		Reference  string `json:"reference"`
		Identifier struct {
			Value string `json:"value"`
		} `json:"identifier"`
	} `json:"what"`
	Type          coding   `json:"type"`
	Role          coding   `json:"role"`
	SecurityLabel []coding `json:"securityLabel"`
	Query         string   `json:"query"`
	Description   string   `json:"description"`
}

type auditEvent struct {
	ID   string `json:"id"`
	Meta struct {
		Profile []string `json:"profile"`
	} `json:"meta"`
	Type    coding        `json:"type"`
	Subtype []coding      `json:"subtype"`
	Action  string        `json:"action"`
	Outcome string        `json:"outcome"`
	Agent   []auditAgent  `json:"agent"`
	Entity  []auditEntity `json:"entity"`
}

// events returns the AuditEvents that a query finds, the latest first, without those of
// such queries.
func (w *env) events(query string) []auditEvent {
	w.t.Helper()
	var all []auditEvent
	for _, e := range w.get("/AuditEvent?_count=1000&"+query, auditor).want(200).bundle().Entry {
		var a auditEvent
		if err := json.Unmarshal(e.Resource, &a); err != nil {
			w.t.Fatal(err)
		}
		asked := ""
		for _, n := range a.Entity {
			asked += n.Description
		}

		if !strings.HasPrefix(asked, "AuditEvent") {
			all = append(all, a)
		}
	}

	slices.SortFunc(all, func(a, b auditEvent) int {
		i, _ := trail.Doc(a.ID)
		k, _ := trail.Doc(b.ID)
		return int(k) - int(i)
	})

	return all
}

// agent returns the agent with a type.
func (a *auditEvent) agent(code string) *auditAgent {
	for i := range a.Agent {
		if slices.ContainsFunc(a.Agent[i].Type.Coding, func(c coding) bool { return c.Code == code }) {
			return &a.Agent[i]
		}
	}
	return nil
}

// asked returns the query of an entity.
func (e *auditEntity) asked(t *testing.T) string {
	t.Helper()
	text, err := base64.StdEncoding.DecodeString(e.Query)
	if err != nil {
		t.Error(err)
	}
	return string(text)
}

// of returns the entities of a type.
func (a *auditEvent) of(typ string) []auditEntity {
	var all []auditEntity
	for _, e := range a.Entity {
		if e.Type.Code == typ {
			all = append(all, e)
		}
	}
	return all
}

const balpBase = "https://profiles.ihe.net/ITI/BALP/StructureDefinition/IHE.BasicAudit."

// roles are the types of client and server in each kind of profile.
var balpRoles = map[string][2]string{
	"Create": {"110153", "110152"},
	"Update": {"110153", "110152"},
	"Query":  {"110153", "110152"},
	"Read":   {"110152", "110153"},
	"Delete": {"110150", "custodian"},
}

// conforms returns what an AuditEvent lacks of a profile.
func (a *auditEvent) conforms(profile string) (problems []string) {
	want := func(ok bool, text string) {
		if !ok {
			problems = append(problems, text)
		}
	}

	kind := strings.TrimPrefix(profile, "Patient")
	action := map[string]string{"Create": "C", "Update": "U", "Query": "E", "Read": "R", "Delete": "D"}[kind]
	want(slices.Contains(a.Meta.Profile, balpBase+profile), "profile")
	want(slices.Contains(a.Meta.Profile, balpBase+"OAUTHaccessTokenUse.Minimal"), "token profile")
	want(a.Type.Code == "rest" && a.Action == action && a.Outcome == "0" && len(a.Subtype) > 0, "kind")

	for i, code := range balpRoles[kind] {
		agent := a.agent(code)
		want(agent != nil && len(agent.Who) > 0 && agent.Network.Address != "", fmt.Sprint("agent ", i))
	}

	asking := 0
	for _, agent := range a.Agent {
		if agent.Requestor {
			asking++
		}
	}

	user := a.agent("UserOauthAgent")
	want(asking == 1 && user != nil && user.Requestor, "requestor")
	want(user != nil && slices.Equal(user.Policy, []string{"urn:ietf:params:oauth:jti:t1"}), "jti")

	patients, data := a.of("1"), a.of("2")
	want(len(patients) == 1 == strings.HasPrefix(profile, "Patient"), "patient")
	want(len(data) == 1, "data")
	if len(data) == 1 && kind == "Query" {
		query, err := base64.StdEncoding.DecodeString(data[0].Query)
		want(data[0].Role.Code == "24" && data[0].What.Reference == "" && err == nil && len(query) > 0, "query")
	} else if len(data) == 1 {
		want(data[0].Role.Code == "4" && strings.Contains(data[0].What.Reference, "/_history/"), "version")
	}

	return problems
}

// Every interaction has the AuditEvents of its profile, one for each patient.
//
// Covers: FS-401, FS-402, FS-403, FS-404, FS-405, FS-407, FS-408, FS-409, FS-410
func TestBasicAuditProfiles(t *testing.T) {
	w := newEnv(t, 0)
	w.do("PUT", "/Patient/p", everything, `{"resourceType":"Patient","id":"p"}`).want(201)
	w.do("PUT", "/Patient/q", everything, `{"resourceType":"Patient","id":"q"}`).want(201)
	group := `{"resourceType":"List","id":"l","status":"current","mode":"working","subject":{"reference":"Patient/p"},` +
		`"source":{"reference":"Patient/q"}}`
	organization := `{"resourceType":"Organization","id":"o","name":"x"}`
	w.do("PUT", "/List/l", everything, group).want(201)

	for _, row := range []struct {
		name, method, path, body string
		status                   int
		query, profile           string
		events                   int
	}{
		{
			"create", "POST", "/Organization", strings.Replace(organization, `"id":"o",`, "", 1),
			201, "action=C", "Create", 1,
		},
		{"create of a patient", "POST", "/Patient", anna, 201, "action=C", "PatientCreate", 1},
		{"update", "PUT", "/Organization/o", organization, 201, "action=U", "Update", 1},
		{"update of a patient", "PUT", "/Patient/p", `{"resourceType":"Patient","id":"p","active":true}`, 200,
			"action=U", "PatientUpdate", 1},
		{"read", "GET", "/Organization/o", "", 200, "action=R", "Read", 1},
		{"read of a patient", "GET", "/Patient/p", "", 200, "action=R", "PatientRead", 1},
		{"read of an earlier version", "GET", "/Patient/p/_history/1", "", 200, "action=R", "PatientRead", 1},
		{"search", "GET", "/Organization?name=x", "", 200, "action=E", "Query", 1},
		{"search of patients", "GET", "/Patient?_id=p,q", "", 200, "action=E", "PatientQuery", 2},
		{"delete", "DELETE", "/Organization/o", "", 204, "action=D", "Delete", 1},
		{"delete of a patient", "DELETE", "/Patient/q", "", 204, "action=D", "PatientDelete", 1},
	} {
		t.Run(row.name, func(t *testing.T) {
			before := len(w.events(row.query))
			w.do(row.method, row.path, everything, row.body, "X-Request-Id", "request-7").want(row.status)
			all := w.events(row.query)
			if len(all) != before+row.events {
				t.Fatalf("%d events more, want %d", len(all)-before, row.events)
			}

			for _, a := range all[:row.events] {
				if problems := a.conforms(row.profile); len(problems) > 0 {
					t.Errorf("%s lacks %v: %+v", row.profile, problems, a)
				}
				if n := a.of("XrequestId"); len(n) != 1 || n[0].What.Identifier.Value != "request-7" {
					t.Errorf("request: %+v", n)
				}
			}
		})
	}
}

// A person is the one who asks, as recipient or author; refusals have no profile of
// success; labels, raw and cleaned queries are in the record; an earlier version of a
// resource is of the patients that it was about.
//
// Covers: FS-205, FS-206, FS-402, FS-406, FS-408, FS-409, FS-410
func TestBasicAuditContent(t *testing.T) {
	w := newEnv(t, 0)
	w.do("PUT", "/Patient/p", everything, `{"resourceType":"Patient","id":"p","meta":{"security":[`+
		`{"system":"http://terminology.hl7.org/CodeSystem/v3-Confidentiality","code":"N"}]}}`).want(201)
	w.do("PUT", "/Patient/q", everything, `{"resourceType":"Patient","id":"q"}`).want(201)
	const of = `{"resourceType":"Observation","id":"o","status":"final","code":{"text":"x"},` +
		`"subject":{"reference":"Patient/%s"}}`
	w.do("PUT", "/Observation/o", everything, fmt.Sprintf(of, "p")).want(201)
	w.do("PUT", "/Observation/o", everything, fmt.Sprintf(of, "q")).want(200)

	w.get("/Patient/p", "patient/*.cruds; patient=p; person=p").want(200)
	a := w.events("action=R")[0]
	person := a.agent("IRCP")
	if person == nil || !person.Requestor || person.Network.Address != "" || a.agent("110152").Requestor {
		t.Errorf("person: %+v", a.Agent)
	}
	if labels := a.of("2")[0].SecurityLabel; len(labels) != 1 || labels[0].Code != "N" {
		t.Errorf("labels: %+v", labels)
	}

	w.get("/Observation/o/_history/1", everything).want(200)
	if a := w.events("action=R")[0]; len(a.of("1")) != 1 || a.of("1")[0].What.Reference != "Patient/p" {
		t.Errorf("an earlier version: %+v", a.Entity)
	}

	w.get("/Patient?_id=%70&nonsense=1", everything).want(200)
	query := w.events("action=E")[0].of("2")[0]
	raw, _ := base64.StdEncoding.DecodeString(query.Query)
	if string(raw) != "GET Patient?_id=%70&nonsense=1" || query.Description != "Patient?_id=p" {
		t.Errorf("query %q, cleaned %q", raw, query.Description)
	}

	w.do("POST", "/Patient/_search?_count=3", everything, "_id=p",
		"Content-Type", "application/x-www-form-urlencoded").want(200)
	raw, _ = base64.StdEncoding.DecodeString(w.events("action=E")[0].of("2")[0].Query)
	if string(raw) != "POST Patient/_search?_count=3\n\n_id=p" {
		t.Errorf("query %q", raw)
	}

	w.get("/Patient/p", "system/Observation.rs").want(403)
	a = w.events("action=R")[0]
	if len(a.Meta.Profile) != 0 || a.Outcome != "4" {
		t.Errorf("a refusal: %+v", a)
	}
}

// Each entry of a batch or transaction has its own AuditEvent.
//
// Covers: FS-401
func TestEntriesAreRecordedApart(t *testing.T) {
	w := newEnv(t, 0)
	for _, typ := range []string{"batch", "transaction"} {
		before := len(w.events("action=C"))
		w.do("POST", "", everything, bundleOf(typ, entryOf("POST", "Patient", anna), entryOf("POST", "Patient", anna)),
			"X-Request-Id", "outer").want(200)
		all := w.events("action=C")
		if len(all) != before+2 {
			t.Fatalf("%s: %d events", typ, len(all)-before)
		}

		for _, a := range all[:2] {
			if p := a.conforms("PatientCreate"); len(p) > 0 || len(a.of("XrequestId")) != 1 {
				t.Errorf("%s: %v %+v", typ, p, a)
			}
		}
	}
}

// A resource about very many patients has few records, and none of the patients is
// left out.
func TestManyPatientsOfOneResource(t *testing.T) {
	w := newEnv(t, 0)
	var members []string
	for i := range 350 {
		members = append(members, fmt.Sprintf(`{"entity":{"reference":"Patient/m%d"}}`, i))
	}
	w.do("PUT", "/Group/g", everything, `{"resourceType":"Group","id":"g","type":"person","actual":true,"member":[`+
		strings.Join(members, ",")+`]}`).want(201)
	w.get("/Group/g", everything).want(200)

	all := w.events("action=R")
	n := 0
	for _, a := range all {
		n += len(a.of("1"))
	}
	if len(all) != 4 || n != 350 {
		t.Errorf("%d records of %d patients", len(all), n)
	}

	if n := *w.get("/AuditEvent?action=R&patient=m349", auditor).bundle().Total; n != 1 {
		t.Errorf("%d records of the last patient", n)
	}
}

// Nobody changes an AuditEvent by the API.
//
// Covers: FS-401
func TestAuditEventsAreReadOnly(t *testing.T) {
	w := newEnv(t, 0)
	w.get("/Patient/p", everything).want(404)
	event := w.get("/AuditEvent", auditor).bundle().Entry[0]
	id := strings.TrimPrefix(event.FullURL, publicBase)
	all := "system/*.cruds system/AuditEvent.cruds"
	body := string(event.Resource)
	patch := `[{"op":"replace","path":"/outcome","value":"0"}]`
	for _, row := range []struct{ method, path, body, media string }{
		{"PUT", id, body, "application/fhir+json"},
		{"DELETE", id, "", ""},
		{"PATCH", id, patch, "application/json-patch+json"},
		{"POST", "/AuditEvent", body, "application/fhir+json"},
		{"DELETE", "/AuditEvent?outcome=4", "", ""},
		{"PUT", "/AuditEvent?outcome=4", body, "application/fhir+json"},
	} {
		if a := w.do(row.method, row.path, all, row.body, "Content-Type", row.media); a.Code != 405 ||
			a.Header().Get("Allow") == "" {
			t.Errorf("%s %s: %d %s", row.method, row.path, a.Code, a.Body)
		}
	}

	a := w.do("POST", "", all, bundleOf("transaction", entryOf("DELETE", strings.TrimPrefix(id, "/"), "")))
	if a.Code/100 != 4 {
		t.Errorf("in a transaction: %d %s", a.Code, a.Body)
	}
	if again := w.get(id, auditor).want(200).Body.String(); again != body {
		t.Errorf("%s, want %s", again, body)
	}
}

// The record of a refused request has what was asked for, also where nothing was found
// or looked for.
// Covers: case 269
func TestRefusalsNameWhatWasAsked(t *testing.T) {
	w := newEnv(t, 1)
	p := "Patient/" + sample.PatientID(0)
	const patchType = "application/json-patch+json"
	for _, c := range []struct {
		name, method, path, scope, body string
		header                          []string
		reference                       string
	}{
		{"no such id", "GET", "Patient/none", everything, "", nil, "Patient/none"},
		{"no scope", "GET", p, "system/Observation.rs", "", nil, p},
		{"no such version", "GET", "Patient/none/_history/1", everything, "", nil, "Patient/none"},
		{"history", "GET", "Observation/none/_history", everything, "", nil, "Observation/none"},
		{"update", "PUT", p, everything, anna, nil, p},
		{"patch", "PATCH", p, "system/Patient.rs", "[]", []string{"Content-Type", patchType}, p},
		{"delete", "DELETE", p, "system/Patient.rs", "", nil, p},
		{"$everything", "GET", "Patient/none/$everything", everything, "", nil, "Patient/none"},
		{"audit", "DELETE", "AuditEvent/a1", "system/AuditEvent.cruds", "", nil, "AuditEvent/a1"},
		{"create", "POST", "Patient", "system/Patient.rs", anna, nil, ""},
		{"conditional update", "PUT", "Patient?_id=x", "system/Patient.rs", anna, nil, ""},
		{"conditional delete", "DELETE", "Patient?_id=x", "system/Patient.rs", "", nil, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			header := append([]string{"X-Request-Id", "q"}, c.header...)
			if a := w.do(c.method, "/"+c.path, c.scope, c.body, header...); a.Code/100 != 4 {
				t.Fatalf("%d %s", a.Code, a.Body)
			}

			a := w.events("outcome=4")[0]
			var query, reference, patient string
			for _, e := range a.Entity {
				switch {
				case e.Role.Code == "24":
					query = e.asked(t)
				case e.Role.Code == "4":
					reference = e.What.Reference
				case e.Role.Code == "1":
					patient = e.What.Reference
				}
			}

			if text := c.method + " " + c.path; !strings.HasPrefix(query, text) {
				t.Errorf("query %q, want %q", query, text)
			}
			if reference != c.reference {
				t.Errorf("reference %q, want %q", reference, c.reference)
			}
			if want := strings.HasPrefix(c.reference, "Patient/"); want && patient != c.reference {
				t.Errorf("patient %q", patient)
			}
		})
	}
}

// Covers: case 269
func TestRecordsHaveNoTokens(t *testing.T) {
	const secret = "s3cr3t"
	w := newEnv(t, 1)
	form := []string{"Content-Type", "application/x-www-form-urlencoded"}
	post := func(query, body string, header ...string) {
		w.do("POST", "/Patient/_search"+query, everything, body, append(form, header...)...)
	}
	post("", "name=a&access_token="+secret)
	post("", "name=a&access%5Ftoken="+secret)

	post("", "name=%zz&access_token="+secret)
	post("?x=%zz&access_token="+secret, "name=a")
	post("?x=%zz&Access_Token="+secret, "name=a")
	post("", "access_token="+secret, "Content-Type", "text/plain")
	w.get("/Patient?name=%zz&access_token="+secret, everything).want(400)
	w.do("POST", "", everything,
		bundleOf("batch", entryOf("GET", "Patient?access_token="+secret, ""))).want(200)

	events := w.events("subtype=search-type")
	if len(events) < 8 {
		t.Fatalf("%d records", len(events))
	}

	for _, a := range events {
		for _, e := range a.Entity {
			if text := e.asked(t) + e.Description; strings.Contains(text, secret) {
				t.Errorf("%s: %q", a.ID, text)
			}
		}
	}
}

// What a change shows, more than was sent, is a disclosure; what was found in place of a
// creation is no creation.
func TestShownByChangesIsDisclosed(t *testing.T) {
	p := sample.PatientID(0)
	const patchType = "application/json-patch+json"
	for _, c := range []struct {
		name, scope, prefer string
		want                int
	}{
		{"shown", everything, "", 1},
		{"representation", everything, "return=representation", 1},
		{"minimal", everything, "return=minimal", 0},
		{"outcome", everything, "return=OperationOutcome", 0},
		{"not readable", "system/Patient.u", "", 0},
	} {
		t.Run("patch "+c.name, func(t *testing.T) {
			w := newEnv(t, 1)
			w.do("PATCH", "/Patient/"+p, c.scope, "[]", "Content-Type", patchType, "Prefer", c.prefer).want(200)
			if n := len(w.events("subtype=patch")); n != 1 {
				t.Fatalf("%d records of the patch", n)
			}
			if n := len(w.events("subtype=patch&subtype=disclose&patient=" + p)); n != c.want {
				t.Errorf("%d disclosures, want %d", n, c.want)
			}
		})
	}

	t.Run("found", func(t *testing.T) {
		w := newEnv(t, 1)
		w.do("POST", "/Patient", everything, anna, "If-None-Exist", "_id="+p).want(200)
		found := w.events("subtype=create&subtype=disclose&action=R&patient=" + p)
		if len(found) != 1 {
			t.Fatalf("%d disclosures", len(found))
		}

		for _, profile := range found[0].Meta.Profile {
			if strings.HasSuffix(profile, "Create") || strings.HasSuffix(profile, "Read") {
				t.Error(profile)
			}
		}
	})
}
