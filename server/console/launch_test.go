package console

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"fhirdest.example/server/audit"
)

// ehr is a Launcher with one app and one patient.
type ehr struct{ asked []LaunchRequest }

var theApp = App{
	ClientID:  "id-1",
	Name:      `Growth chart <script>alert(1)</script>`,
	Client:    "https://client.test/app",
	Community: "urn:a",
}

func (e *ehr) Apps(context.Context) ([]App, error) { return []App{theApp}, nil }

func (e *ehr) Patients(context.Context) ([]string, error) { return []string{"p1"}, nil }

func (e *ehr) Launch(_ context.Context, r LaunchRequest) (*Launched, error) {
	e.asked = append(e.asked, r)
	if r.Patient != "p1" {
		return nil, &LaunchProblem{
			Field: "patient",
			Text:  "There is no such patient.",
		}
	}
	return &Launched{
		App:       theApp,
		Patient:   r.Patient,
		Encounter: r.Encounter,
		Handle:    "a-handle",
		Issuer:    "https://h.test/fhir",
		Expires:   time.Unix(1e9, 0),
	}, nil
}

func newLaunchEnv(e *ehr) *env {
	return &env{handler: New(Config{
		Decisions: audit.New(audit.Config{Keep: 1}),
		Metrics:   http.NotFoundHandler(),
		Launcher:  e,
		Open:      true,
	})}
}

// post sends the form as a page of the console does.
func (b *env) post(accept string, fields ...string) *http.Response {
	v := url.Values{}
	for i := 0; i < len(fields); i += 2 {
		v.Set(fields[i], fields[i+1])
	}
	r := httptest.NewRequest("POST", "http://127.0.0.1:9480/launch", strings.NewReader(v.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Accept", accept)
	r.Header.Set("Origin", "http://127.0.0.1:9480")
	w := httptest.NewRecorder()
	b.handler.ServeHTTP(w, r)
	return w.Result()
}

// The page offers apps and patients, and what is chosen becomes a launch whose
// handle is shown, with a link that opens the app.
func TestLaunchPage(t *testing.T) {
	e := &ehr{}
	b := newLaunchEnv(e)
	form := body(t, b.do("GET", "/launch", "Accept", "text/html"))
	for _, part := range []string{`value="id-1"`, `<option value="p1">`, "Growth chart &lt;script&gt;", `for="patient"`} {
		if !strings.Contains(form, part) {
			t.Errorf("the form has no %s", part)
		}
	}

	res := b.post("text/html", "client", "id-1", "patient", "Patient/p1", "encounter", "e1",
		"url", "https://app.test/launch?x=1")
	page := body(t, res)
	for _, part := range []string{
		`href="https://app.test/launch?iss=https%3A%2F%2Fh.test%2Ffhir&amp;launch=a-handle&amp;x=1"`,
		"<code>a-handle</code>", "Encounter/e1", "01:46:40Z",
	} {
		if !strings.Contains(page, part) {
			t.Errorf("%d: the page has no %s in\n%s", res.StatusCode, part, page)
		}
	}
	want := LaunchRequest{ClientID: "id-1", Patient: "p1", Encounter: "e1"}
	if res.StatusCode != 200 || res.Header.Get("Cache-Control") != "no-store" || len(e.asked) != 1 || e.asked[0] != want {
		t.Errorf("%d, asked for %+v", res.StatusCode, e.asked)
	}

	var done Launched
	if err := json.UnmarshalRead(b.post("*/*", "client", "id-1", "patient", "p1").Body, &done); err != nil ||
		done.Handle != "a-handle" || done.URL != "" {
		t.Errorf("as JSON: %+v, %v", done, err)
	}
}

// A mistake is shown beside the form, with what was written; nothing is stored for
// a page of another site, or where nobody can sign in.
func TestLaunchRefused(t *testing.T) {
	e := &ehr{}
	b := newLaunchEnv(e)
	for _, row := range []struct{ name, patient, url, says string }{
		{"unknown patient", "p2", "", "There is no such patient."},
		{"not secure", "p1", "http://app.test/launch", "https address"},
		{"script", "p1", "javascript:alert(1)", "https address"},
		{"with a fragment", "p1", "https://app.test/#x", "https address"},
		{"with a user", "p1", "https://a@app.test/", "https address"},
	} {
		t.Run(row.name, func(t *testing.T) {
			res := b.post("text/html", "client", "id-1", "patient", row.patient, "url", row.url)
			page := body(t, res)
			if res.StatusCode != 400 || !strings.Contains(page, row.says) ||
				!strings.Contains(page, `value="`+row.patient+`"`) || strings.Contains(page, "a-handle") ||
				!strings.Contains(page, `role="alert"`) {
				t.Errorf("%d\n%s", res.StatusCode, page)
			}
		})
	}

	asked := len(e.asked)
	if res := b.do("POST", "/launch", "Origin", "https://evil.example"); res.StatusCode != 403 || len(e.asked) != asked {
		t.Errorf("of another site: %d", res.StatusCode)
	}
	none := newEnv(true)
	if res := none.post("text/html", "client", "id-1", "patient", "p1"); res.StatusCode != 404 {
		t.Errorf("without people: %d", res.StatusCode)
	}
	if res := none.do("GET", "/launch", "Accept", "text/html"); res.StatusCode != 200 ||
		!strings.Contains(body(t, res), "No app is registered") {
		t.Errorf("the form without people: %d", res.StatusCode)
	}
	large, err := io.ReadAll(b.post("text/html", "patient", strings.Repeat("x", 20<<10)).Body)
	if err != nil || !strings.Contains(string(large), "cannot be read") {
		t.Errorf("a large form: %s %v", large, err)
	}
}
