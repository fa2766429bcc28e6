package label_test

import (
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"fhirdest.example/fhir"
	"fhirdest.example/fhir/async/asyncenv"
	"fhirdest.example/fhir/label"
)

// Tokens of clients with and without clearance, which they have by their URIs.
const (
	uncleared = "system/*.cruds"
	cleared   = "system/*.cruds; party=https://cleared.test; purpose=" + treatment
	urgent    = "system/*.cruds; purpose=" + emergency
	labeller  = "system/*.cruds; party=https://labels.test; purpose=" + treatment

	treatment = "urn:oid:2.16.840.1.113883.5.8#TREAT"
	emergency = "http://terminology.hl7.org/CodeSystem/v3-ActReason#BTG"
)

// policy clears two clients, one of which may take labels away.
func policy() label.Policy {
	return label.Policy{Clearances: []label.Clearance{
		{
			Client:        "https://cleared.test",
			Level:         "R",
			Sensitivities: []string{"*"},
		},
		{
			Client:        "https://labels.test",
			Level:         "R",
			Sensitivities: []string{"*"},
			Relabel:       true,
		},
	}}
}

// newEnv returns a service over real files that has a policy.
func newEnv(t testing.TB, p label.Policy, change ...func(*asyncenv.Env)) *asyncenv.Env {
	t.Helper()
	return asyncenv.New(t, append(change, func(e *asyncenv.Env) {
		e.Change = func(c *fhir.Config) { c.Labels = p }
	})...)
}

// put stores a resource, with a clearance for all.
func put(t testing.TB, e *asyncenv.Env, body string) {
	t.Helper()
	var head struct {
		Type string `json:"resourceType"`
		ID   string `json:"id"`
	}
	if err := json.Unmarshal([]byte(body), &head); err != nil {
		t.Fatal(err)
	}

	if w := e.Do("PUT", "/"+head.Type+"/"+head.ID, cleared, body); w.Code != 201 && w.Code != 200 {
		t.Fatalf("PUT %s: %d %s", body, w.Code, w.Body)
	}
}

// want checks a status.
func want(t testing.TB, w *httptest.ResponseRecorder, status int) *httptest.ResponseRecorder {
	t.Helper()
	if w.Code != status {
		t.Fatalf("status %d, want %d: %s", w.Code, status, w.Body)
	}
	return w
}

// bundle is what tests look at of a Bundle.
type bundle struct {
	Meta struct {
		Security []struct {
			System string `json:"system"`
			Code   string `json:"code"`
		} `json:"security"`
	} `json:"meta"`
	Type  string `json:"type"`
	Total int    `json:"total"`
	Link  []struct {
		Relation string `json:"relation"`
		URL      string `json:"url"`
	} `json:"link"`
	Entry []struct {
		FullURL  string         `json:"fullUrl"`
		Resource jsontext.Value `json:"resource"`
		Search   struct {
			Mode string `json:"mode"`
		} `json:"search"`
		Response struct {
			Status string `json:"status"`
			ETag   string `json:"etag"`
		} `json:"response"`
	} `json:"entry"`
}

func bundleOf(t testing.TB, w *httptest.ResponseRecorder) (b bundle) {
	t.Helper()
	want(t, w, 200)
	if err := json.Unmarshal(w.Body.Bytes(), &b); err != nil {
		t.Fatalf("%v: %s", err, w.Body)
	}
	return b
}

// ids are the resources of a Bundle, as Type/id.
func (b bundle) ids(mode string) (all []string) {
	for _, e := range b.Entry {
		if mode == "" && e.Search.Mode != "outcome" || e.Search.Mode == mode {
			all = append(all, strings.TrimPrefix(e.FullURL, asyncenv.Base+"/"))
		}
	}
	return all
}

func (b bundle) link(relation string) string {
	for _, l := range b.Link {
		if l.Relation == relation {
			return l.URL
		}
	}
	return ""
}

// level is the Bundle's label, "" for none.
func (b bundle) level() string {
	if len(b.Meta.Security) == 0 {
		return ""
	}
	return b.Meta.Security[0].Code
}

const patient = `{"resourceType":"Patient","id":"p","name":[{"family":"Doe"}],"gender":"female"}`
