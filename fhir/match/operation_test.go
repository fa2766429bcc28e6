package match_test

import (
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"fhirdest.example/fhir"
	"fhirdest.example/fhir/async/asyncenv"
	"fhirdest.example/fhir/sample"
)

const (
	matcher  = "system/Patient.$match system/Patient.r"
	profiles = "http://hl7.org/fhir/us/identity-matching/StructureDefinition/"
	jane     = `"name":[{"family":"Doe","given":["Jane"]}],"gender":"female","birthDate":"1991-12-31"`
	janeHome = `"address":[{"use":"home","line":["321 South Maple Street"],"city":"Scranton","state":"PA","postalCode":"18503"}]`
)

// result is the answer to $match.
type result struct {
	ResourceType, Type string
	Total              int
	Link               []struct{ Relation, URL string }
	Entry              []struct {
		FullURL  string
		Resource struct {
			ResourceType, ID string
			Issue            []struct{ Severity, Code, Diagnostics string }
		}
		Search struct {
			Extension []struct{ URL, ValueCode string }
			Mode      string
			Score     float64
		}
	}
}

// grades are the ids of the patients found with their grades, in their order, and
// the codes of the issues.
func (r result) grades() string {
	var all []string
	for _, e := range r.Entry {
		for _, is := range e.Resource.Issue {
			all = append(all, is.Code)
		}
		if e.Search.Mode == "match" {
			all = append(all, e.Resource.ID+" "+e.Search.Extension[0].ValueCode)
		}
	}
	return strings.Join(all, ", ")
}

// parameters is the body of $match: a profile (its last word, or none), the
// members of the Patient, and more parameters.
func parameters(profile, members, more string) string {
	meta := ""
	if profile != "" {
		meta = `"meta":{"profile":["` + profiles + profile + `"]},`
	}
	return `{"resourceType":"Parameters","parameter":[{"name":"resource","resource":{"resourceType":"Patient",` +
		meta + members + `}}` + more + `]}`
}

const onlyCertain = `,{"name":"onlyCertainMatches","valueBoolean":true}`

func read(t *testing.T, w *httptest.ResponseRecorder) result {
	t.Helper()
	var r result
	err := json.Unmarshal(w.Body.Bytes(), &r, json.MatchCaseInsensitiveNames(true))
	if err != nil || w.Code != 200 || r.ResourceType != "Bundle" || r.Type != "searchset" {
		t.Fatalf("%v: %d %s", err, w.Code, w.Body)
	}

	n := 0
	last := 1.0
	for _, e := range r.Entry {
		if e.Search.Mode != "match" {
			continue
		}

		n++
		if e.Search.Score > last || e.FullURL != asyncenv.Base+"/Patient/"+e.Resource.ID {
			t.Errorf("entry %s at %g after %g", e.FullURL, e.Search.Score, last)
		}
		last = e.Search.Score
	}

	if n != r.Total {
		t.Errorf("total %d of %d", r.Total, n)
	}

	return r
}

func put(e *asyncenv.Env, id, members string) {
	w := e.Do("PUT", "/Patient/"+id, asyncenv.All, `{"resourceType":"Patient","id":"`+id+`",`+members+`}`)
	if w.Code != 201 {
		e.Must(fmt.Errorf("%d %s", w.Code, w.Body))
	}
}

// Each patient of the population is found by what is known of it, in its own words,
// and is the first of those found.
//
// Covers: ER-22
func TestTheSamplePopulationIsFound(t *testing.T) {
	e := asyncenv.New(t)
	e.Must(e.Service.Seed(t.Context(), 60))
	for i := range 24 { // the 25th has no name
		id := sample.PatientID(i)
		w := e.Do("GET", "/Patient/"+id, asyncenv.All, "")
		body := parameters("", `"active":true`, onlyCertain)
		body = strings.Replace(body, `{"resourceType":"Patient","active":true}`, w.Body.String(), 1)

		r := read(t, e.Do("POST", "/Patient/$match", matcher, body))
		if r.grades() != id+" certain" {
			t.Errorf("%s: %s", id, r.grades())
		}
		if got := r.Entry[0].Search.Extension[0].URL; got != "http://hl7.org/fhir/StructureDefinition/match-grade" {
			t.Errorf("extension %s", got)
		}
	}
}

// Matching has a scope of its own, and shows only who may be read.
//
// Covers: FS-301, FS-302, case 233
func TestMatchNeedsItsOwnScope(t *testing.T) {
	e := asyncenv.New(t)
	put(e, "jane", jane)
	body := parameters("IDI-Patient", jane, "")

	for token, needs := range map[string]string{
		"system/*.cruds system/Patient.*":         "system/Patient.$match",
		"system/Patient.rs":                       "system/Patient.$match",
		"user/Patient.$match system/*.rs":         "system/Patient.$match",
		"system/Patient.$match":                   "system/Patient.r ",
		"system/Patient.$match system/Patient.us": "system/Patient.r ",
	} {
		t.Run(token, func(t *testing.T) {
			w := e.Do("POST", "/Patient/$match", token, body)
			if w.Code != 403 || !strings.Contains(w.Header().Get("Www-Authenticate")+" ", needs) &&
				!strings.Contains(w.Header().Get("Www-Authenticate"), strings.TrimSpace(needs)) {
				t.Errorf("%d %v %s", w.Code, w.Header(), w.Body)
			}
			if !e.Traced(w.Header().Get("Trace-Id"), "access.scope") {
				t.Error("no trace")
			}
		})
	}

	nobody := parameters("IDI-Patient", strings.Replace(jane, "Doe", "Nobody", 1), "")
	hidden := e.Do("POST", "/Patient/$match", "system/Patient.$match system/Patient.rs?gender=male", body)
	missing := e.Do("POST", "/Patient/$match", "system/Patient.$match system/Patient.rs?gender=male", nobody)
	if hidden.Body.String() != missing.Body.String() || read(t, hidden).grades() != "not-found" {
		t.Errorf("who may not be read is not as who is not there:\n%s\n%s", hidden.Body, missing.Body)
	}
	if got := read(t, e.Do("POST", "/Patient/$match", matcher, body)).grades(); got != "jane possible" {
		t.Error(got)
	}
}

// An input that does not hold what it asserts, or describes a person by too little,
// is refused, and the answer names the element.
func TestInputIsHeldToItsProfile(t *testing.T) {
	e := asyncenv.New(t)
	put(e, "jane", jane)
	const person, profile = "Parameters.parameter.resource", "Parameters.parameter.resource.meta.profile"
	phone := `,"telecom":[{"system":"phone","value":"617 555-0101"}]`
	license := `"identifier":[{"type":{"coding":[{"code":"DL"}]},"value":"S1"}]`
	many := `"telecom":[` + strings.TrimSuffix(strings.Repeat(`{"system":"phone","value":"617 555-0101"},`, 21),
		",") + `]`
	for name, c := range map[string]struct {
		body   string
		status int
		has    string
	}{
		"base, name":    {parameters("IDI-Patient", jane, ""), 200, "possible"},
		"base, nothing": {parameters("IDI-Patient", `"gender":"female"`, ""), 422, person},
		"base, given name, date": {
			parameters("IDI-Patient", `"name":[{"given":["Jane"]}],"birthDate":"1991-12-31"`, ""),
			200,
			"required",
		},
		"level 0, weight 5":       {parameters("IDI-Patient-L0", jane, ""), 422, "weight of 5"},
		"level 0, weight 9":       {parameters("IDI-Patient-L0", jane+phone, ""), 200, "possible"},
		"level 1, weight 9":       {parameters("IDI-Patient-L1", jane+phone, ""), 422, "needs 10"},
		"level 1, with a version": {parameters("IDI-Patient-L1|2.0.0", jane+phone, ""), 422, "needs 10"},
		"level 1, license":        {parameters("IDI-Patient-L1", license, ""), 200, "not-found"},
		"level 2, weight 9":       {parameters("IDI-Patient-L2", jane+phone, ""), 422, "needs 10"},
		"no such profile":         {parameters("IDI-Patient-L9", jane+phone, ""), 422, profile},
		"no profile, weight 5":    {parameters("", jane, ""), 422, profile},
		"no profile, weight 9":    {parameters("", jane+phone, ""), 200, "possible"},
		"certain, no given name": {
			parameters("IDI-Patient", `"name":[{"family":"Doe"}],"birthDate":"1991-12-31"`, onlyCertain),
			422,
			person + ".name",
		},
		"certain, no family name": {
			parameters("IDI-Patient", `"name":[{"given":["Jane"]}],"birthDate":"1991-12-31"`, onlyCertain),
			422,
			person + ".name",
		},
		"too many":      {parameters("IDI-Patient", many, ""), 422, person + ".telecom"},
		"no Parameters": {`{"resourceType":"Patient",` + jane + `}`, 400, "Parameters"},
		"no resource": {
			`{"resourceType":"Parameters","parameter":[{"name":"count","valueInteger":1}]}`,
			400,
			person,
		},
		"another resource": {
			`{"resourceType":"Parameters","parameter":[{"name":"resource","resource":{"resourceType":"Group"}}]}`,
			400,
			person,
		},
		"twice": {parameters("IDI-Patient", jane, onlyCertain+onlyCertain), 400, "twice"},
		"count 0": {
			parameters("IDI-Patient", jane, `,{"name":"count","valueInteger":0}`),
			400,
			"count",
		},
		"count -1": {
			parameters("IDI-Patient", jane, `,{"name":"count","valueInteger":-1}`),
			400,
			"count",
		},
		"count of another kind": {
			parameters("IDI-Patient", jane, `,{"name":"count","valueString":"2"}`),
			400,
			"count",
		},
		"count as a string": {
			parameters("IDI-Patient", jane, `,{"name":"count","valueInteger":"2"}`),
			200,
			"possible",
		},
		"certain as a string": {
			parameters("IDI-Patient", jane, `,{"name":"onlyCertainMatches","valueBoolean":"true"}`),
			200,
			"not-found",
		},
		"certain is maybe": {
			parameters("IDI-Patient", jane, `,{"name":"onlyCertainMatches","valueBoolean":"maybe"}`),
			400,
			"onlyCertainMatches",
		},
		"a Patient that is none": {
			parameters("IDI-Patient", `"gender":"f","birthDate":"31.12.1991"`, ""),
			400,
			"Patient.gender",
		},
		"wildcards mean nothing special": {
			parameters("IDI-Patient-L0", `"name":[{"family":"*","given":["J%,|$\\"]}],"birthDate":"1991-12-31"`+phone,
				""),
			200,
			"not-found",
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := e.Do("POST", "/Patient/$match", matcher, c.body)
			if w.Code != c.status || !strings.Contains(w.Body.String(), c.has) {
				t.Errorf("%d %s, want %d with %s", w.Code, w.Body, c.status, c.has)
			}
			if w.Code == 422 && !e.Traced(w.Header().Get("Trace-Id"), "match.input") {
				t.Error("no trace")
			}
		})
	}
}

// onlyCertainMatches discloses one patient or nobody, and count bounds how many.
func TestCertainMatchesAndCount(t *testing.T) {
	e := asyncenv.New(t)
	whole := jane + "," + janeHome
	put(e, "a", whole)
	put(e, "z", strings.Replace(whole, "321", "99", 1))
	ask := func(members, more string) string {
		return read(t, e.Do("POST", "/Patient/$match", matcher, parameters("IDI-Patient", members, more))).grades()
	}
	if got := ask(whole, ""); got != "a certain, z possible" {
		t.Error(got)
	}

	if got := ask(whole, onlyCertain); got != "a certain" {
		t.Error(got)
	}

	put(e, "b", whole)
	if got := ask(whole, onlyCertain); got != "multiple-matches" {
		t.Errorf("with two who are certain: %s", got)
	}
	if got := ask(whole, ""); got != "a certain, b certain, z possible" {
		t.Error(got)
	}
	if got := ask(whole, `,{"name":"count","valueInteger":2}`); got != "a certain, b certain, informational" {
		t.Error(got)
	}

	for i := range 30 {
		put(e, fmt.Sprintf("many-%02d", i), whole)
	}
	all := ask(whole, `,{"name":"count","valueInteger":2147483647}`)
	if n := strings.Count(all, "certain"); n != 20 || !strings.Contains(all, "informational") {
		t.Errorf("%d of 32: %s", n, all)
	}
}

// A client that asks too often has to wait; what it asked for is in the record.
//
// Covers: case 269
func TestMatchingIsBoundedAndRecorded(t *testing.T) {
	wait := time.Duration(0)
	e := asyncenv.New(t, func(e *asyncenv.Env) {
		e.Change = func(c *fhir.Config) {
			c.MatchWait = func(client string, _ time.Time) time.Duration {
				if client != "c1" {
					t.Errorf("client %s", client)
				}
				return wait
			}
		}
	})
	put(e, "jane", jane)

	body := parameters("IDI-Patient", jane, "")
	read(t, e.Do("POST", "/Patient/$match", matcher, body))

	wait = 1500 * time.Millisecond
	w := e.Do("POST", "/Patient/$match", matcher, body)
	if w.Code != 429 || w.Header().Get("Retry-After") != "2" || !strings.Contains(w.Body.String(), "throttled") ||
		!e.Traced(w.Header().Get("Trace-Id"), "match.rate") {
		t.Errorf("%d %v %s", w.Code, w.Header(), w.Body)
	}
	batch := `{"resourceType":"Bundle","type":"batch","entry":[{"resource":` + body +
		`,"request":{"method":"POST","url":"Patient/$match"}}]}`
	if w := e.Do("POST", "", matcher, batch); !strings.Contains(w.Body.String(), `"429 Too Many Requests"`) {
		t.Errorf("in a batch: %s", w.Body)
	}

	records := e.Do("GET", "/AuditEvent?patient=jane&_summary=false&subtype=operation",
		"system/AuditEvent.rs; records", "")
	if got := records.Body.String(); strings.Count(got, `"fullUrl"`) != 1 || !strings.Contains(got, `"action":"E"`) ||
		!strings.Contains(got, `"code":"24"`) || !strings.Contains(got, `"reference":"Patient/jane"`) {
		t.Errorf("the disclosure is not recorded: %s", got)
	}
	refused := e.Do("GET", "/AuditEvent?outcome=4&subtype=operation", "system/AuditEvent.rs; records", "")
	if got := refused.Body.String(); strings.Count(got, "429 throttled") != 2 {
		t.Errorf("refusals are not recorded: %s", got)
	}
}

// Matching works in XML, in the background and in a batch, and in no transaction.
//
// Covers: ER-05, ER-18
func TestMatchInEveryForm(t *testing.T) {
	e := asyncenv.New(t)
	put(e, "jane", jane+","+janeHome)
	body := parameters("IDI-Patient-L0", jane+","+janeHome, "")
	document := `<Parameters xmlns="http://hl7.org/fhir"><parameter><name value="resource"/><resource><Patient>` +
		`<meta><profile value="` + profiles +
		`IDI-Patient-L0"/></meta><name><family value="Doe"/><given value="Jane"/></name>` +
		`<gender value="female"/><birthDate value="1991-12-31"/><address><use value="home"/>` +
		`<line value="321 South Maple Street"/><city value="Scranton"/><postalCode value="18503"/></address></Patient>` +
		`</resource></parameter><parameter><name value="onlyCertainMatches"/><valueBoolean value="true"/></parameter></Parameters>`
	w := e.Do("POST", "/Patient/$match", matcher, document, "Content-Type", "application/fhir+xml", "Accept",
		"application/fhir+xml")
	if w.Code != 200 || !strings.Contains(w.Body.String(), `<valueCode value="certain"/>`) ||
		!strings.Contains(w.Body.String(), `<score value="0.8`) ||
		!strings.Contains(w.Body.String(), `<id value="jane"/>`) {
		t.Errorf("XML: %d %s", w.Code, w.Body)
	}

	later := e.Result(e.Begin("POST", "/Patient/$match", matcher, body), matcher)
	if !strings.HasPrefix(later.Response.Status, "200") ||
		!strings.Contains(string(later.Resource), `"valueCode":"certain"`) {
		t.Errorf("in the background: %s %s", later.Response.Status, later.Resource)
	}

	for kind, has := range map[string]string{
		"batch":       `"valueCode":"certain"`,
		"transaction": "A transaction has no operations",
	} {
		bundle := `{"resourceType":"Bundle","type":"` + kind + `","entry":[{"resource":` + body +
			`,"request":{"method":"POST","url":"Patient/$match"}}]}`
		if w := e.Do("POST", "", matcher, bundle); !strings.Contains(w.Body.String(), has) {
			t.Errorf("%s: %d %s", kind, w.Code, w.Body)
		}
	}

	for path, status := range map[string]int{"/Group/$match": 404, "/Patient/jane/$match": 404} {
		if w := e.Do("POST", path, matcher, body); w.Code != status {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
	}

	if w := e.Do("GET", "/Patient/$match", matcher, ""); w.Code != 405 || w.Header().Get("Allow") != "POST" {
		t.Errorf("GET: %d %v", w.Code, w.Header())
	}
	statement := e.Do("GET", "/metadata", "", "").Body.String()
	if !strings.Contains(statement, `"http://hl7.org/fhir/OperationDefinition/Patient-match"`) ||
		!strings.Contains(statement, "system/Patient.$match") {
		t.Error("the CapabilityStatement does not name $match and its scope")
	}
}
