package api_test

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"fhirdest.example/certs"
	"fhirdest.example/server/bolt"
	"fhirdest.example/server/lab"
	"fhirdest.example/server/lab/api"
	"fhirdest.example/udap/conform"
	"fhirdest.example/udap/conform/report"
)

// site answers nothing: these tests ask the interface alone.
type site struct{ http.Handler }

func (site) Run(ctx context.Context) { <-ctx.Done() }

func (site) Close() error { return nil }

// assessor knows of one row.
type assessor struct{}

func (assessor) Add(*conform.Exchange) lab.Assessment { return lab.Assessment{} }

func (assessor) Rows() []conform.Outcome {
	row, _ := conform.Lookup("S1-077")
	return []conform.Outcome{row.Outcome()}
}

// env is a lab over a real store, with the interface at its public site and its console.
type env struct {
	*testing.T
	lab             *lab.Service
	public, console *httptest.Server
}

func newEnv(t *testing.T) *env {
	t.Helper()
	community, err := certs.NewCommunity(certs.CommunityPlan{
		Name:      "A",
		Key:       "p256",
		NotBefore: time.Now().Add(-time.Hour),
		Life:      240 * time.Hour,
	})
	if err != nil {
		t.Fatal(err)
	}

	dir := t.TempDir()
	store, err := bolt.OpenLab(filepath.Join(dir, "lab.bolt"), bolt.Options{})
	if err != nil {
		t.Fatal(err)
	}

	log := slog.New(slog.DiscardHandler)
	service, err := lab.New(lab.Config{
		Settings: lab.Settings{
			Sessions: 2,
			Plain:    true,
		},
		Public:  "https://fhir.test/acme",
		Private: "https://private.test/acme",
		Plain:   "https://fhir.test/acme/fhir",
		Own:     "https://fhir.test/acme/oauth",
		Dir:     filepath.Join(dir, "lab"),
		Issuers: []lab.Issuer{{
			Community: "urn:a",
			CA:        community.Issuing,
		}},
		Store:       store,
		NewSite:     func(lab.Place) (lab.Site, error) { return site{http.NotFoundHandler()}, nil },
		NewAssessor: func(lab.Session) lab.Assessor { return assessor{} },
		Now:         time.Now,
		Log:         log,
	})
	if err != nil {
		t.Fatal(err)
	}

	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		service.Run(ctx)
	}()
	t.Cleanup(func() {
		stop()
		<-done
		store.Close()
	})

	e := &env{T: t, lab: service}
	e.public = e.serve(api.Config{Root: "/acme/lab/", Open: true}, log)
	e.console = e.serve(api.Config{Root: "/lab/", Open: true, List: true}, log)
	return e
}

func (e *env) serve(cfg api.Config, log *slog.Logger) *httptest.Server {
	cfg.Lab = e.lab
	cfg.Log = log
	cfg.Missing = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Error(w, "missing", http.StatusNotFound)
	})
	s := httptest.NewServer(api.New(cfg))
	e.Cleanup(s.Close)
	return s
}

// ask returns status and body of an answer.
func (e *env) ask(method, url, body string, fields ...string) (int, string) {
	e.Helper()
	req, err := http.NewRequestWithContext(e.Context(), method, url, strings.NewReader(body))
	if err != nil {
		e.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	for i := 0; i < len(fields); i += 2 {
		req.Header.Set(fields[i], fields[i+1])
	}

	res, err := http.DefaultClient.Do(req)
	if err != nil {
		e.Fatal(err)
	}
	defer res.Body.Close()

	text, err := io.ReadAll(res.Body)
	if err != nil {
		e.Fatal(err)
	}
	return res.StatusCode, string(text)
}

// session opens a session by the interface.
func (e *env) session(root string) (s lab.Session) {
	e.Helper()
	status, text := e.ask("POST", root+"/api/sessions", `{"name":"one","profile":"ssraa-2"}`)
	if err := json.Unmarshal([]byte(text), &s); err != nil || status != http.StatusCreated {
		e.Fatal(status, text, err)
	}
	return s
}

// report returns the report that is in an answer.
func (e *env) report(method, url string) *report.Report {
	e.Helper()
	status, text := e.ask(method, url, "")
	r, err := report.Parse([]byte(text))
	if err != nil || status != http.StatusOK {
		e.Fatal(status, text, err)
	}
	return r
}

// A program opens a session, reads its report, ends the run, and removes the session,
// at the public site and at the console.
func TestLifeOfSession(t *testing.T) {
	e := newEnv(t)
	for name, root := range map[string]string{
		"public":  e.public.URL + "/acme/lab",
		"console": e.console.URL + "/lab",
	} {
		t.Run(name, func(t *testing.T) {
			e := *e
			e.T = t
			s := e.session(root)
			if s.Base != "https://fhir.test/acme/lab/"+s.ID+"/fhir" || s.Mode != "strict" {
				t.Errorf("session %+v", s)
			}

			own := root + "/" + s.ID + "/api/"
			first := e.report("GET", own+"report.json")
			if first.Base != s.Base || first.Summary.NotExercised != 1 || first.Difference != nil {
				t.Errorf("report %+v", first)
			}

			ended := e.report("POST", own+"finish")
			next := e.report("GET", own+"report.json")
			if next.Difference == nil || next.Difference.Digest != ended.Digest {
				t.Errorf("the next run is compared with %+v, want the report %s", next.Difference, ended.Digest)
			}

			if status, text := e.ask("DELETE", own+"session", ""); status != http.StatusNoContent {
				t.Error(status, text)
			}
			if status, text := e.ask("GET", own+"report.json", ""); status != http.StatusNotFound {
				t.Error(status, text)
			}
		})
	}
}

// Refusals have a status and a text, and none is the server's fault.
func TestRefusals(t *testing.T) {
	e := newEnv(t)
	s, err := e.lab.Open(t.Context(), lab.OpenRequest{})
	if err != nil {
		t.Fatal(err)
	}
	own := e.public.URL + "/acme/lab/" + s.ID + "/api/"
	root := e.public.URL + "/acme/lab/api/sessions"
	plain := e.public.URL + "/acme/lab/plain/api/"

	for name, row := range map[string]struct {
		method, url, body string
		fields            []string
		status            int
		text              string
	}{
		"another type":       {"POST", root, "{}", []string{"Content-Type", "text/plain"}, 415, "application/json"},
		"no JSON":            {"POST", root, "{", nil, 400, "not the JSON"},
		"a member too many":  {"POST", root, `{"x":1}`, nil, 400, "not the JSON"},
		"too long":           {"POST", root, `{"name":"` + strings.Repeat("x", 70<<10) + `"}`, nil, 413, "64 KiB"},
		"a long name":        {"POST", root, `{"name":"` + strings.Repeat("x", 101) + `"}`, nil, 400, "name: "},
		"no such profile":    {"POST", root, `{"profile":"x"}`, nil, 400, "profile: "},
		"no such mode":       {"POST", root, `{"mode":"x"}`, nil, 400, "mode: "},
		"no such fault":      {"POST", own + "faults", `{"faults":["x"]}`, nil, 400, "faults: "},
		"another site":       {"POST", own + "finish", "", []string{"Sec-Fetch-Site", "cross-site"}, 403, "another site"},
		"a wrong method":     {"PUT", own + "session", "", nil, 405, "GET, HEAD, DELETE"},
		"list for all":       {"GET", root, "", nil, 405, "POST"},
		"no such session":    {"GET", e.public.URL + "/acme/lab/0123/api/session", "", nil, 404, "missing"},
		"no such resource":   {"GET", own + "secrets", "", nil, 404, "missing"},
		"no such exchange":   {"GET", own + "exchanges/7", "", nil, 404, "no such exchange"},
		"no number":          {"GET", own + "exchanges/../1", "", nil, 400, "from 1"},
		"number zero":        {"GET", own + "exchanges?from=0", "", nil, 400, "from 1"},
		"the plain run":      {"POST", plain + "finish", "", nil, 403, "console"},
		"no plain session":   {"DELETE", plain + "session", "", nil, 403, "console"},
		"no such community":  {"POST", own + "client", `{"community":"x"}`, nil, 400, "community: "},
		"a path of the site": {"GET", e.public.URL + "/acme/fhir/metadata", "", nil, 404, "missing"},
	} {
		t.Run(name, func(t *testing.T) {
			e := *e
			e.T = t
			status, text := e.ask(row.method, row.url, row.body, row.fields...)
			if status != row.status || !strings.Contains(text, row.text) {
				t.Errorf("%d %s, want %d and %q", status, text, row.status, row.text)
			}
		})
	}
}

// Only so many sessions can be open; whoever comes later is asked to wait.
func TestFull(t *testing.T) {
	e := newEnv(t)
	root := e.public.URL + "/acme/lab/api/sessions"
	for range 2 {
		if status, text := e.ask("POST", root, "{}"); status != http.StatusCreated {
			t.Fatal(status, text)
		}
	}
	if status, text := e.ask("POST", root, "{}"); status != http.StatusTooManyRequests {
		t.Error(status, text)
	}

	status, text := e.ask("GET", e.console.URL+"/lab/api/sessions", "")
	var all struct {
		Sessions []lab.Session `json:"sessions"`
	}
	if err := json.Unmarshal([]byte(text), &all); err != nil || status != 200 || len(all.Sessions) != 3 {
		t.Errorf("%d %s: %v", status, text, err)
	}
}

// Every form of the report, the exchanges and a certificate can be had.
func TestForms(t *testing.T) {
	e := newEnv(t)
	s, err := e.lab.Open(t.Context(), lab.OpenRequest{Name: "<b>"})
	if err != nil {
		t.Fatal(err)
	}

	own := e.public.URL + "/acme/lab/" + s.ID + "/api/"
	for name, want := range map[string]string{
		"report.html": "&lt;b&gt;",
		"report.json": `"S1-077"`,
		"report.xml":  "<testsuites",
		"badge.svg":   "nothing exercised",
		"exchanges":   `"exchanges":[]`,
		"session":     s.Base,
	} {
		if status, text := e.ask("GET", own+name, ""); status != 200 || !strings.Contains(text, want) {
			t.Errorf("%s: %d %s", name, status, text)
		}
		if status, text := e.ask("HEAD", own+name, ""); status != 200 || text != "" {
			t.Errorf("HEAD %s: %d %q", name, status, text)
		}
	}

	status, text := e.ask("POST", own+"client", `{"key":"ec"}`)
	var made lab.Client
	if err := json.Unmarshal([]byte(text), &made); err != nil || status != http.StatusCreated || made.Key == "" ||
		!strings.HasPrefix(made.URI, s.Page) {
		t.Errorf("%d %s: %v", status, text, err)
	}
}
