package async_test

import (
	"strings"
	"testing"

	"fhirdest.example/fhir/async/asyncenv"
)

const patient = `{"resourceType":"Patient","id":"p","active":true}`

// What an interaction answers in the background is what it would have answered at
// once: status, resource, outcome, location and version.
//
// Covers: ER-18
func TestAnyInteractionInTheBackground(t *testing.T) {
	transaction := `{"resourceType":"Bundle","type":"transaction","entry":[{"resource":` + patient +
		`,"request":{"method":"PUT","url":"Patient/p"}}]}`
	batch := `{"resourceType":"Bundle","type":"batch","entry":[{"request":{"method":"GET","url":"Patient/p"}}]}`
	for name, c := range map[string]struct {
		method, path, body string
		headers            []string
		status             string // with which the response begins
		has                string // in the entry's resource, outcome or location
	}{
		"read":   {"GET", "/Patient/p", "", nil, "200", `"active":true`},
		"vread":  {"GET", "/Patient/p/_history/1", "", nil, "200", `"active":true`},
		"search": {"GET", "/Patient?_id=p", "", nil, "200", `"total":1`},
		"search, POST": {
			"POST", "/Patient/_search", "_id=p",
			[]string{"Content-Type", "application/x-www-form-urlencoded"}, "200", `"total":1`,
		},
		"history": {"GET", "/Patient/p/_history", "", nil, "200", `"history"`},
		"create":  {"POST", "/Patient", patient, nil, "201", "/Patient/"},
		"update":  {"PUT", "/Patient/p", patient, nil, "200", "/Patient/p/_history/2"},
		"patch": {
			"PATCH", "/Patient/p", `[{"op":"replace","path":"/active","value":false}]`,
			[]string{"Content-Type", "application/json-patch+json"}, "200", `"active":false`,
		},
		"delete":      {"DELETE", "/Patient/p", "", nil, "204", ""},
		"transaction": {"POST", "", transaction, nil, "200", "transaction-response"},
		"batch":       {"POST", "", batch, nil, "200", "batch-response"},
		"$validate":   {"POST", "/Patient/$validate", patient, nil, "200", "OperationOutcome"},
		"$everything": {"GET", "/Patient/p/$everything", "", nil, "200", "searchset"},
		"not there":   {"GET", "/Patient/q", "", nil, "404", "not-found"},
		"not valid": {
			"PUT", "/Patient/p", `{"resourceType":"Patient","id":"p","active":1}`, nil, "4",
			"OperationOutcome",
		},
		"If-Match": {"PUT", "/Patient/p", patient, []string{"If-Match", `W/"7"`}, "412", "OperationOutcome"},
		"return": {
			"PUT", "/Patient/p", patient, []string{"Prefer", "return=minimal, respond-async"},
			"200", "/Patient/p/_history/2",
		},
		"wrong query": {"GET", "/Patient?birthdate=x", "", nil, "400", "OperationOutcome"},
		"of a form":   {"GET", "/Patient/p?_elements=id", "", nil, "200", "SUBSETTED"},
		"in XML": {
			"PUT",
			"/Patient/x",
			`<Patient xmlns="http://hl7.org/fhir"><id value="x"/><active value="true"/></Patient>`,
			[]string{"Content-Type", "application/fhir+xml"},
			"201",
			"/Patient/x/_history/1",
		},
		"without scope": {"GET", "/Observation/p", "", nil, "404", "not-found"},
	} {
		t.Run(name, func(t *testing.T) {
			e := asyncenv.New(t)
			e.Do("PUT", "/Patient/p", asyncenv.All, patient)

			headers := append([]string{"Prefer", "respond-async"}, c.headers...)
			w := e.Do(c.method, c.path, asyncenv.All, c.body, headers...)
			at := w.Header().Get("Content-Location")
			if w.Code != 202 || !strings.HasPrefix(at, asyncenv.Base+"/_jobs/") {
				t.Fatalf("%d %v %s", w.Code, w.Header(), w.Body)
			}

			got := e.Result(at, asyncenv.All)
			text := string(got.Resource) + string(got.Response.Outcome) + got.Response.Location
			if !strings.HasPrefix(got.Response.Status, c.status) || !strings.Contains(text, c.has) {
				t.Errorf("%+v %s", got.Response, got.Resource)
			}
		})
	}
}

// A path or method that there is not is refused at once, and so is the metadata and
// an OPTIONS answered: none of them is work.
func TestWhatIsNoWork(t *testing.T) {
	e := asyncenv.New(t)
	for path, want := range map[string]int{
		"GET /nothing":           404,
		"PUT /_history":          405,
		"GET /metadata":          200,
		"OPTIONS /Patient":       204,
		"GET /_jobs/0123":        404,
		"DELETE /_jobs/0123":     404,
		"GET /_jobs/0123/x":      404,
		"POST /_jobs/0123":       405,
		"GET /_jobs":             404,
		"GET /_jobs/../Patient":  404,
		"GET /_jobs/0123/..%2fx": 404,
	} {
		method, target, _ := strings.Cut(path, " ")
		if w := e.Do(method, target, asyncenv.All, "", "Prefer", "respond-async"); w.Code != want {
			t.Errorf("%s: %d, want %d: %s", path, w.Code, want, w.Body)
		}
	}

	w := e.Do("POST", "", asyncenv.All,
		`{"resourceType":"Bundle","type":"batch","entry":[{"request":{"method":"GET","url":"$export"}}]}`)
	if !strings.Contains(w.Body.String(), `"400 Bad Request"`) {
		t.Errorf("inside a batch: %s", w.Body)
	}
}

// A header that is not UTF-8 cannot be kept with the job: it is refused, and no
// failure of the server.
func TestHeadersOfWorkAreUTF8(t *testing.T) {
	e := asyncenv.New(t)
	for _, field := range []string{"Accept", "Content-Type", "If-None-Exist", "X-Security-Context"} {
		w := e.Do("GET", "/Patient/p", asyncenv.All, "", "Prefer", "respond-async", field, "application/fhir+json;x=\x80")
		if w.Code != 400 {
			t.Errorf("%s: %d %s", field, w.Code, w.Body)
		}
	}
}
