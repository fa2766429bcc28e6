package consent_test

import (
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"fhirdest.example/fhir/async"
	"fhirdest.example/fhir/async/asyncenv"
	"fhirdest.example/fhir/export"
	"fhirdest.example/fhir/sample"
)

// The tokens of one client, by what they are for.
const (
	marketing = asyncenv.All + "; purpose=HMARKT"
	treatment = asyncenv.All + "; purpose=TREAT"
)

func newEnv(t testing.TB, patients int) *asyncenv.Env {
	t.Helper()
	e := asyncenv.New(t, func(e *asyncenv.Env) {
		e.Kinds = func(e *asyncenv.Env) map[string]async.Kind {
			return map[string]async.Kind{"$export": export.New(export.Config{
				PublicBase: asyncenv.Base,
				Store:      e.Store,
				Service:    e.Service,
			})}
		}
	})
	e.Must(e.Service.Seed(t.Context(), patients))
	return e
}

// consentOf writes a Consent of a patient, with further members.
func consentOf(id, status, patient, further string) string {
	return fmt.Sprintf(`{"resourceType":"Consent","id":%q,"status":%q,
		"scope":{"coding":[{"system":"http://terminology.hl7.org/CodeSystem/consentscope","code":"patient-privacy"}]},
		"category":[{"coding":[{"system":"http://loinc.org","code":"59284-0"}]}],
		"patient":{"reference":"Patient/%s"},
		"policyRule":{"coding":[{"system":"http://terminology.hl7.org/CodeSystem/v3-ActCode","code":"OPTIN"}]}%s}`,
		id, status, patient, further)
}

const noMarketing = `,"provision":{"type":"deny",
	"purpose":[{"system":"http://terminology.hl7.org/CodeSystem/v3-ActReason","code":"HMARKT"}]}`

func put(t testing.TB, e *asyncenv.Env, path, body string) {
	t.Helper()
	if w := e.Do("PUT", path, treatment, body); w.Code >= 300 {
		t.Fatalf("PUT %s: %d %s", path, w.Code, w.Body)
	}
}

// has reports whether a text has something of a patient's record. Consents are not
// among what Consents deny.
func has(text, patient string) bool {
	text = strings.ReplaceAll(text, `"id":"`+patient+"-consent", "")
	return strings.Contains(text, `"id":"`+patient)
}

// short is the beginning of an answer.
func short(w *httptest.ResponseRecorder) string {
	text := w.Body.String()
	return text[:min(len(text), 300)]
}

// leaks reports whether an answer has something of a patient's record.
func leaks(w *httptest.ResponseRecorder, patient string) bool {
	return has(w.Body.String(), patient) ||
		strings.Contains(w.Header().Get("Location")+w.Header().Get("Content-Location"), patient)
}

// question is one way to come at a patient's record: ID stands for the patient.
type question struct {
	method, path, body string
	header             []string
	want               int // status; 0: 200
}

var bodies = map[string]string{
	"Observation": `{"resourceType":"Observation","status":"final","code":{"text":"x"},` +
		`"subject":{"reference":"Patient/ID"}}`,
	"Patient": `{"resourceType":"Patient","id":"ID","active":false}`,
	"patch":   `[{"op":"add","path":"/active","value":false}]`,
}

func bundle(kind string, entries ...string) string {
	return `{"resourceType":"Bundle","type":"` + kind + `","entry":[` + strings.Join(entries, ",") + `]}`
}

func entry(method, url string) string {
	return fmt.Sprintf(`{"request":{"method":%q,"url":%q}}`, method, url)
}

// questions are all the interactions.
var questions = map[string]question{
	"read":                {method: "GET", path: "/Patient/ID", want: 404},
	"read of the rest":    {method: "GET", path: "/Observation/ID-heart-1", want: 404},
	"head":                {method: "HEAD", path: "/Patient/ID", want: 404},
	"vread":               {method: "GET", path: "/Patient/ID/_history/1", want: 404},
	"history":             {method: "GET", path: "/Patient/ID/_history", want: 404},
	"history of type":     {method: "GET", path: "/Patient/_history"},
	"history of all":      {method: "GET", path: "/_history?_count=1000"},
	"search":              {method: "GET", path: "/Observation?patient=ID"},
	"search by POST":      {method: "POST", path: "/Observation/_search", body: "patient=ID"},
	"search of all":       {method: "GET", path: "/?_type=Patient,Encounter&_count=1000"},
	"sorted":              {method: "GET", path: "/Patient?_sort=birthdate&_count=1000"},
	"without a total":     {method: "GET", path: "/Patient?_total=none&_count=1000"},
	"by id":               {method: "GET", path: "/Patient?_id=ID"},
	"chain":               {method: "GET", path: "/Observation?patient._id=ID"},
	"reverse chain":       {method: "GET", path: "/Patient?_has:Observation:patient:_lastUpdated=gt2000&_count=1000"},
	"include":             {method: "GET", path: "/Encounter?_include=Encounter:patient&_count=1000"},
	"reverse include":     {method: "GET", path: "/Patient?_revinclude=Observation:patient&_count=1000"},
	"compartment":         {method: "GET", path: "/Patient/ID/Observation", want: 404},
	"everything":          {method: "GET", path: "/Patient/ID/$everything", want: 404},
	"if none match":       {method: "GET", path: "/Patient/ID", header: []string{"If-None-Match", `W/"1"`}, want: 404},
	"xml":                 {method: "GET", path: "/Patient/ID?_format=xml", want: 404},
	"batch":               {method: "POST", path: "/", body: bundle("batch", entry("GET", "Patient/ID"))},
	"transaction":         {method: "POST", path: "/", body: bundle("transaction", entry("GET", "Patient/ID")), want: 400},
	"create":              {method: "POST", path: "/Observation", body: bodies["Observation"], want: 403},
	"update":              {method: "PUT", path: "/Patient/ID", body: bodies["Patient"], want: 404},
	"delete":              {method: "DELETE", path: "/Patient/ID", want: 204},
	"conditional delete":  {method: "DELETE", path: "/Patient?_id=ID", want: 204},
	"conditional patch":   {method: "PATCH", path: "/Patient?_id=ID", body: bodies["patch"], want: 404},
	"patch":               {method: "PATCH", path: "/Patient/ID", body: bodies["patch"], want: 404},
	"delete what is gone": {method: "DELETE", path: "/Encounter/ID-enc-2", want: 204},
	"read what is gone":   {method: "GET", path: "/Encounter/ID-enc-2", want: 404},
}

// What Consents deny is not there, whatever the way to it: neither for a client that
// asks for it nor among other things. For another purpose, all of it is there.
// Covers: FS-302, FS-303, FS-304, case 241, case 244, case 245, case 251, case 252
func TestDeniedIsNotThere(t *testing.T) {
	e := newEnv(t, 3)
	p := sample.PatientID(1)
	if w := e.Do("DELETE", "/Encounter/"+p+"-enc-2", treatment, ""); w.Code != 204 {
		t.Fatal(w.Code)
	}
	put(t, e, "/Consent/no", consentOf("no", "active", p, noMarketing))

	for name, q := range questions {
		t.Run(name, func(t *testing.T) {
			header := q.header
			if strings.HasSuffix(q.path, "_search") {
				header = append(header, "Content-Type", "application/x-www-form-urlencoded")
			}
			if q.method == "PATCH" {
				header = append(header, "Content-Type", "application/json-patch+json")
			}
			w := e.Do(q.method, strings.ReplaceAll(q.path, "ID", p), marketing, strings.ReplaceAll(q.body, "ID", p), header...)
			want := q.want
			if want == 0 {
				want = 200
			}
			if w.Code != want || leaks(w, p) || w.Header().Get("ETag") != "" {
				t.Errorf("%d %v %s", w.Code, w.Header(), short(w))
			}
		})
	}

	if w := e.Do("GET", "/Patient/"+p, treatment, ""); w.Code != 200 || w.Header().Get("ETag") != `W/"1"` {
		t.Errorf("for treatment: %d %v", w.Code, w.Header())
	}
}

// total returns the total of a searchset.
func total(t testing.TB, w *httptest.ResponseRecorder) int {
	t.Helper()
	var b struct {
		Total int `json:"total"`
	}
	if err := json.Unmarshal(w.Body.Bytes(), &b); err != nil || w.Code != 200 {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	return b.Total
}

// Totals leave out what is denied, and agree with what is listed.
// Covers: FS-304, case 249
func TestTotalsLeaveOutWhatIsDenied(t *testing.T) {
	e := newEnv(t, 3)
	p := sample.PatientID(1)
	put(t, e, "/Consent/no", consentOf("no", "active", p, noMarketing))

	for _, query := range []string{"/Observation?", "/Observation?category=laboratory&", "/Encounter?", "/Patient?"} {
		of := total(t, e.Do("GET", query+"_summary=count&patient="+p, treatment, ""))
		if strings.HasPrefix(query, "/Patient") {
			of = 1
		}
		all := total(t, e.Do("GET", query+"_summary=count", treatment, ""))
		left := total(t, e.Do("GET", query+"_summary=count", marketing, ""))
		if of == 0 || left != all-of {
			t.Errorf("%s: %d of %d are left, %d are the patient's", query, left, all, of)
		}
	}
}

// A change of a Consent has effect on the next request, and within the transaction
// that makes it on what comes after it.
// Covers: FS-302
func TestChangesHaveEffectAtOnce(t *testing.T) {
	e := newEnv(t, 2)
	p := sample.PatientID(1)
	read := func(want int) {
		t.Helper()
		if w := e.Do("GET", "/Patient/"+p, marketing, ""); w.Code != want {
			t.Errorf("%d, want %d: %s", w.Code, want, w.Body)
		}
	}

	read(200)
	put(t, e, "/Consent/no", consentOf("no", "active", p, noMarketing))
	read(404)
	put(t, e, "/Consent/no", consentOf("no", "inactive", p, noMarketing))
	read(200)

	both := func(status string) string {
		return bundle("transaction",
			`{"resource":`+consentOf("no", status, p, noMarketing)+`,"request":{"method":"PUT","url":"Consent/no"}}`,
			entry("GET", "Patient/"+p))
	}
	if w := e.Do("POST", "/", marketing, both("active")); w.Code == 200 {
		t.Errorf("the transaction has read what it has denied: %s", w.Body)
	}
	read(200) // nothing of it was stored

	put(t, e, "/Consent/no", consentOf("no", "active", p, noMarketing))
	if w := e.Do("POST", "/", marketing, both("inactive")); w.Code != 200 || !leaks(w, p) {
		t.Errorf("the transaction has not read what it has permitted: %d %s", w.Code, w.Body)
	}
	read(200)

	put(t, e, "/Consent/no", consentOf("no", "active", p, noMarketing))
	read(404)
	if w := e.Do("DELETE", "/Consent/no", treatment, ""); w.Code != 204 {
		t.Fatal(w.Code)
	}
	read(200)
}

// A page link leads no further than the Consents of the moment let it.
// Covers: case 248
func TestPageLinksFollowConsents(t *testing.T) {
	e := newEnv(t, 3)
	p := sample.PatientID(1)
	w := e.Do("GET", "/Patient?_count=1&_sort=_id", marketing, "")
	seen := ""
	for range 3 {
		seen += w.Body.String()
		var b struct {
			Link []struct {
				Relation string `json:"relation"`
				URL      string `json:"url"`
			} `json:"link"`
		}
		if err := json.Unmarshal(w.Body.Bytes(), &b); err != nil {
			t.Fatal(err)
		}
		put(t, e, "/Consent/no", consentOf("no", "active", p, noMarketing))
		for _, l := range b.Link {
			if l.Relation == "next" {
				w = e.Do("GET", l.URL, marketing, "")
			}
		}
	}
	if !strings.Contains(seen, `"id":"`+sample.PatientID(2)+`"`) || strings.Contains(seen, `"id":"`+p+`"`) {
		t.Errorf("pages have %s", seen)
	}
}

// A Binary is what its security context is.
// Covers: FS-302, FS-602
func TestBinaryFollowsItsContext(t *testing.T) {
	e := newEnv(t, 2)
	p := sample.PatientID(1)
	put(t, e, "/Binary/b", `{"resourceType":"Binary","id":"b","contentType":"text/plain","data":"QQ==",
		"securityContext":{"reference":"Observation/`+p+`-heart-1"}}`)
	put(t, e, "/Consent/no", consentOf("no", "active", p, noMarketing))

	for token, want := range map[string]int{marketing: 404, treatment: 200} {
		if w := e.Do("GET", "/Binary/b", token, ""); w.Code != want {
			t.Errorf("%s: %d", token, w.Code)
		}
	}
	if w := e.Do("GET", "/Binary?_id=b", marketing, ""); total(t, w) != 0 {
		t.Errorf("found: %s", w.Body)
	}
}

// A stored Bundle is hidden with what is in it; a Group is not, but what an export of
// it has is.
// Covers: FS-302
func TestBundlesAndGroups(t *testing.T) {
	e := newEnv(t, 2)
	p := sample.PatientID(1)
	put(t, e, "/Bundle/b", `{"resourceType":"Bundle","id":"b","type":"collection","entry":[
		{"resource":{"resourceType":"Observation","id":"in","status":"final","code":{"text":"x"},
		"subject":{"reference":"Patient/`+p+`"}}}]}`)
	put(t, e, "/Group/g", `{"resourceType":"Group","id":"g","type":"person","actual":true,"member":[
		{"entity":{"reference":"Patient/`+p+`"}},{"entity":{"reference":"Patient/`+sample.PatientID(0)+`"}}]}`)
	put(t, e, "/Consent/no", consentOf("no", "active", p, noMarketing))

	for path, want := range map[string]int{"/Bundle/b": 404, "/Group/g": 200} {
		if w := e.Do("GET", path, marketing, ""); w.Code != want {
			t.Errorf("%s: %d", path, w.Code)
		}
		if w := e.Do("GET", path, treatment, ""); w.Code != 200 {
			t.Errorf("%s for treatment: %d", path, w.Code)
		}
	}

	for _, path := range []string{"/$export", "/Patient/$export", "/Group/g/$export"} {
		lines := exported(t, e, path, marketing)
		if has(lines, p) || !strings.Contains(lines, `"id":"`+sample.PatientID(0)+`"`) {
			t.Errorf("%s has the patient, or not the other", path)
		}
		if lines := exported(t, e, path, treatment); !strings.Contains(lines, `"id":"`+p+`"`) {
			t.Errorf("%s has not the patient for treatment", path)
		}
	}
}

// exported does an export, and returns all that its files have.
func exported(t testing.TB, e *asyncenv.Env, path, token string) string {
	t.Helper()
	w := e.Wait(e.Begin("GET", path, token, "", "Accept", "application/fhir+json"), token)
	var m struct {
		Output []struct {
			URL string `json:"url"`
		} `json:"output"`
	}
	if err := json.Unmarshal(w.Body.Bytes(), &m); err != nil {
		t.Fatalf("%v: %s", err, w.Body)
	}

	all := ""
	for _, f := range m.Output {
		all += e.Do("GET", f.URL, token, "").Body.String()
	}
	return all
}

// Searches in the background follow Consents as others do, and so do results that a
// job has ready.
// Covers: FS-302
func TestJobsFollowConsents(t *testing.T) {
	e := newEnv(t, 2)
	p := sample.PatientID(1)
	put(t, e, "/Consent/no", consentOf("no", "active", p, noMarketing))
	result := e.Result(e.Begin("GET", "/Observation?patient="+p, marketing, ""), marketing)
	if has(string(result.Resource), p) {
		t.Errorf("the job has found %s", result.Resource)
	}
	result = e.Result(e.Begin("GET", "/Observation?patient="+p, treatment, ""), treatment)
	if !has(string(result.Resource), p) {
		t.Errorf("the job for treatment has found %s", result.Resource)
	}
}

// A refusal has a trace that names the Consent and its provision.
// Covers: FS-302, FS-309
func TestRefusalNamesTheConsent(t *testing.T) {
	e := newEnv(t, 2)
	p := sample.PatientID(1)
	put(t, e, "/Consent/no", consentOf("no", "active", p, noMarketing))
	w := e.Do("GET", "/Patient/"+p, marketing, "")
	if id := w.Header().Get("Trace-Id"); !e.Traced(id, "access.consent") {
		t.Errorf("trace %q has no refusal by access.consent", id)
	}
	if strings.Contains(w.Body.String(), "Consent") {
		t.Errorf("the client learns of the Consent: %s", w.Body)
	}

	var outcome jsontext.Value
	missing := e.Do("GET", "/Patient/missing", marketing, "")
	if err := json.Unmarshal(missing.Body.Bytes(), &outcome); err != nil || missing.Body.String() != w.Body.String() {
		t.Errorf("hidden %s, missing %s", w.Body, missing.Body)
	}
}

// Nobody's own Consents keep their own data from them.
// Covers: FS-302
func TestPatientsReadTheirOwnRecord(t *testing.T) {
	e := newEnv(t, 2)
	p := sample.PatientID(1)
	put(t, e, "/Consent/no", consentOf("no", "active", p, strings.Replace(noMarketing, `"purpose"`, `"extension":[{"url":"urn:x","valueString":"x"}],"purpose"`, 1)))
	own := asyncenv.All + "; patient=" + p + "; subject=s1; purpose=HMARKT; user=Patient/"
	for user, want := range map[string]int{p: 200, sample.PatientID(0): 404} {
		if w := e.Do("GET", "/Patient/"+p, own+user, ""); w.Code != want {
			t.Errorf("%s: %d", user, w.Code)
		}
	}
}

// Each refusal by a Consent is an AuditEvent of its own: a security alert about the
// patient and the Consent, with the outcome and the reason. What is permitted has none.
// Covers: FS-411
func TestDecisionsAreInTheAuditRecord(t *testing.T) {
	e := newEnv(t, 2)
	p := sample.PatientID(1)
	put(t, e, "/Consent/no", consentOf("no", "active", p, noMarketing))
	e.Do("GET", "/Patient/"+p, treatment, "")
	e.Do("GET", "/Patient/"+p, marketing, "")

	w := e.Do("GET", "/AuditEvent?subtype=AuthZ-Consent&patient=Patient/"+p, "system/AuditEvent.rs; records", "")
	if n := total(t, w); n != 1 {
		t.Errorf("%d decisions: %s", n, short(w))
	}
	for _, part := range []string{
		`"code":"110113"`, `"code":"AuthZ-Consent"`, `"action":"E"`, `"outcome":"4"`, `"outcomeDesc":"`,
		"Consent/no, Consent.provision", `"reference":"Consent/no/_history/1"`, `"reference":"Patient/` + p + `"`,
	} {
		if !strings.Contains(w.Body.String(), part) {
			t.Errorf("no %s in %s", part, w.Body)
		}
	}
}
