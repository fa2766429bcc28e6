package fhir_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"fhirdest.example/fhir"
	"fhirdest.example/fhir/label"
	"fhirdest.example/fhir/sample"
	"fhirdest.example/fhir/scope"
	"fhirdest.example/fhir/table"
	"fhirdest.example/fhir/tree"
	"fhirdest.example/fhir/validate"
	"fhirdest.example/server/bolt"
	"fhirdest.example/server/postgres"
	"fhirdest.example/server/postgres/postgrestest"
	"fhirdest.example/udap/trace"
)

const (
	publicBase  = "https://fhir.test/acme/fhir"
	privateBase = "https://private.test:9443/acme/fhir"
)

func TestMain(m *testing.M) { postgrestest.Main(m) }

// openStore returns an empty store: a file, or a database when the environment variable
// DESTINATION_STORE is "postgres".
func openStore(t testing.TB) fhir.Store {
	t.Helper()
	var s interface {
		fhir.Store
		Close() error
	}
	var err error
	if os.Getenv("DESTINATION_STORE") == "postgres" {
		s, err = postgres.OpenFHIR(t.Context(), postgres.Config{
			URL:  postgrestest.New(t),
			Name: "one",
		})
	} else {
		s, err = bolt.OpenFHIR(filepath.Join(t.TempDir(), "fhir.bolt"), bolt.Options{})
	}
	if err != nil {
		t.Fatal(err)
	}

	t.Cleanup(func() { s.Close() })
	return s
}

// env is a service over a real store. Its tokens are scopes written with
// spaces: "Bearer system/*.rs".
type env struct {
	t     testing.TB
	store fhir.Store
	h     http.Handler
	now   time.Time

	decided func(*trace.Trace) // of each refusal; may be nil
}

func newEnv(t testing.TB, patients int) *env {
	t.Helper()
	st := openStore(t)
	w := &env{t: t, store: st, now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}
	c := fhir.Config{
		PublicBase:  publicBase,
		PrivateBase: privateBase,
		Store:       st,
		Authorize:   authorize,
		Timeout:     time.Hour, // ends nothing, however busy the machine is
		Now: func() time.Time {
			return w.now
		},
		Decided: func(tr *trace.Trace) {
			if w.decided != nil {
				w.decided(tr)
			}
		},
		Labels: label.Policy{BreakGlass: "V"},
		Failed: func(r *http.Request, err error) { t.Errorf("%s %s failed: %v", r.Method, r.URL, err) },
	}
	s, err := fhir.New(c)
	if err != nil {
		t.Fatal(err)
	}

	if err := s.Seed(t.Context(), patients); err != nil {
		t.Fatal(err)
	}

	w.h = s
	t.Cleanup(func() { s.Close() })
	return w
}

// authorize reads "Bearer scopes[; patient=id][; client=id]".
func authorize(r *http.Request) (*fhir.Grant, *fhir.Denial) {
	values := r.Header.Values("Authorization")
	if len(values) == 0 {
		return nil, &fhir.Denial{Status: 401, Code: "login", Text: "No token."}
	}

	text, ok := strings.CutPrefix(values[0], "Bearer ")
	if !ok || len(values) > 1 || text == "bad" {
		return nil, &fhir.Denial{
			Status: 401,
			Header: http.Header{"Www-Authenticate": {`Bearer error="invalid_token"`}},
			Code:   "login",
			Text:   "Bad token.",
		}
	}
	if text == "down" {
		return nil, &fhir.Denial{Status: 503, Code: "transient", Text: "Later.", Trace: "t1"}
	}

	parts := strings.Split(text, "; ")
	g := &fhir.Grant{Client: "c1", TokenID: "t1", Expires: time.Now().Add(time.Hour)}
	g.Scopes, _ = scope.ParseSet(strings.Fields(parts[0]))

	for _, p := range parts[1:] {
		switch k, v, _ := strings.Cut(p, "="); k {
		case "patient":
			g.Patient = v
		case "client":
			g.Client = v
		case "own":
			g.Patients = strings.Split(v, ",")
		case "purposes":
			g.Purposes = strings.Split(v, ",")
		case "everyone":
			g.AllPatients = true
		case "person":
			g.Subject, g.User, g.Grant = v, "Patient/"+v, "0123456789abcdef0123456789abcdef"
		}
	}

	return g, nil
}

// answer is what came back.
type answer struct {
	*httptest.ResponseRecorder
	t testing.TB
}

// do sends a request below the public base's path. Headers are name, value
// pairs; a body makes it application/fhir+json unless they say otherwise.
func (w *env) do(method, path, token, body string, headers ...string) answer {
	w.t.Helper()
	target := path
	if !strings.HasPrefix(path, "https://") && !strings.HasPrefix(path, "!") {
		target = "/acme/fhir" + path
	}
	r := httptest.NewRequest(method, "/x", strings.NewReader(body))
	r.RequestURI = strings.TrimPrefix(target, "!")
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}

	if body != "" {
		r.Header.Set("Content-Type", "application/fhir+json")
	}
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	rec := httptest.NewRecorder()
	w.h.ServeHTTP(rec, r)

	keepBody(w.t, rec)
	if rec.Code >= 500 {
		w.t.Errorf("%s %s: %d %s", method, path, rec.Code, rec.Body)
	}
	return answer{rec, w.t}
}

func (w *env) get(path, token string, headers ...string) answer {
	w.t.Helper()
	return w.do("GET", path, token, "", headers...)
}

// want checks the status, and that every refusal carries an OperationOutcome.
func (a answer) want(status int) answer {
	a.t.Helper()
	if a.Code != status {
		a.t.Fatalf("status %d, want %d: %s", a.Code, status, a.Body)
	}
	if status >= 400 && !strings.HasPrefix(a.Body.String(), `{"resourceType":"OperationOutcome"`) {
		a.t.Fatalf("%d without an OperationOutcome: %s", status, a.Body)
	}
	return a
}

type bundle struct {
	Total *int
	Link  []struct{ Relation, URL string }
	Entry []struct {
		FullURL  string
		Resource json.RawMessage
		Search   struct{ Mode string }
		Request  struct{ Method, URL string }
		Response struct {
			Status, Location, Etag string
			Outcome                json.RawMessage
		}
	}
}

func (a answer) bundle() bundle {
	a.t.Helper()
	a.want(200)
	var b bundle
	if err := json.Unmarshal(a.Body.Bytes(), &b); err != nil {
		a.t.Fatalf("%v: %s", err, a.Body)
	}
	return b
}

func (b bundle) link(relation string) string {
	for _, l := range b.Link {
		if l.Relation == relation {
			return l.URL
		}
	}
	return ""
}

// ids gives the fullUrls below the base, of matches or includes.
func (b bundle) ids(mode string) []string {
	var all []string
	for _, e := range b.Entry {
		if e.Search.Mode == mode {
			all = append(all, strings.TrimPrefix(e.FullURL, publicBase+"/"))
		}
	}
	return all
}

const everything = "system/*.cruds"

func TestReadsAndSearchesTheSamplePopulation(t *testing.T) {
	w := newEnv(t, 3)
	id := sample.PatientID(0)
	p := w.get("/Patient/"+id, everything).want(200)
	if got := p.Header().Get("ETag"); got != `W/"1"` {
		t.Errorf("ETag %s", got)
	}
	if p.Header().Get("Last-Modified") == "" || p.Header().Get("Cache-Control") != "no-store" {
		t.Errorf("headers %v", p.Header())
	}

	var patient struct {
		Name       []struct{ Family string }
		BirthDate  string
		Identifier []struct{ System, Value string }
	}
	if err := json.Unmarshal(p.Body.Bytes(), &patient); err != nil {
		t.Fatal(err)
	}

	for _, q := range []string{
		"_id=" + id, "identifier=" + url.QueryEscape(
			patient.Identifier[0].System+"|"+patient.Identifier[0].Value), "identifier=" + patient.Identifier[0].Value,
		"name=" + strings.ToLower(
			patient.Name[0].Family[:3]), "birthdate=" + patient.BirthDate, "birthdate=" +
			patient.BirthDate[:4], "birthdate=lt2030&birthdate=gt1900",
	} {
		b := w.get("/Patient?"+q, everything).bundle()
		if !contains(b.ids("match"), "Patient/"+id) {
			t.Errorf("%s does not find the patient: %v", q, b.ids("match"))
		}
		if *b.Total != len(b.Entry) {
			t.Errorf("%s: total %d of %d", q, *b.Total, len(b.Entry))
		}
		post := w.do("POST", "/Patient/_search", everything, q, "Content-Type",
			"application/x-www-form-urlencoded").bundle()
		if *post.Total != *b.Total {
			t.Errorf("%s: POST finds %d, GET %d", q, *post.Total, *b.Total)
		}
	}

	if b := w.get("/Patient?name=nobody-of-that-name", everything).bundle(); *b.Total != 0 {
		t.Errorf("found nobody: %v", b.ids("match"))
	}
	byID := w.get("/Observation?patient="+id+"&category=vital-signs&_count=1000", everything).bundle()
	byRef := w.get("/Observation?patient=Patient/"+id+
		"&category=http://terminology.hl7.org/CodeSystem/observation-category%7Cvital-signs&_count=1000", everything).bundle()
	byURL := w.get("/Observation?patient="+url.QueryEscape(
		publicBase+"/Patient/"+id)+"&category=vital-signs&_count=1000", everything).bundle()
	if *byID.Total == 0 || *byID.Total != *byRef.Total || *byURL.Total != *byID.Total {
		t.Errorf("vital signs: %d, %d, %d", *byID.Total, *byRef.Total, *byURL.Total)
	}
}

func contains(all []string, one string) bool {
	for _, s := range all {
		if s == one {
			return true
		}
	}
	return false
}

func TestPagesTileTheResult(t *testing.T) {
	w := newEnv(t, 3)
	all := w.get("/Observation?_count=1000", everything).bundle()
	for _, sort := range []string{"", "&_sort=-date", "&_sort=code,-_id"} {
		seen := map[string]bool{}
		next, last := "/Observation?_count=7"+sort, ""
		for next != "" {
			b := w.get(strings.TrimPrefix(next, publicBase), everything).bundle()
			for _, id := range b.ids("match") {
				if seen[id] {
					t.Fatalf("%s twice", id)
				}
				seen[id] = true
			}

			if last != "" && b.link("previous") == "" {
				t.Fatal("no previous link")
			}
			last, next = next, b.link("next")
		}

		if len(seen) != *all.Total {
			t.Errorf("pages%s hold %d of %d", sort, len(seen), *all.Total)
		}
	}
}

// Covers: case 230, case 232, case 248, case 259, case 263, FS-202, FS-203, FS-903, FS-906
func TestRefusals(t *testing.T) {
	w := newEnv(t, 1)
	id := sample.PatientID(0)
	next := strings.TrimPrefix(w.get("/Observation?_count=5", everything).bundle().link("next"), publicBase)
	for _, c := range []struct {
		name, method, path, token string
		status                    int
		header, value             string
	}{
		{"no token", "GET", "/Patient/" + id, "", 401, "Www-Authenticate", `Bearer realm="fhir"`},
		{"bad token", "GET", "/Patient/" + id, "bad", 401, "Www-Authenticate", `Bearer error="invalid_token"`},
		{"token in the query", "GET", "/Patient?access_token=x", everything, 400, "", ""},
		{
			"other scope", "GET", "/Patient/" + id, "system/Observation.rs", 403,
			"Www-Authenticate", `Bearer error="insufficient_scope", scope="system/Patient.r system/Patient.read ` +
				`system/*.r system/*.read"`,
		},
		{"search without s", "GET", "/Patient", "system/Patient.r", 403, "", ""},
		{"read without r", "GET", "/Patient/" + id, "system/Patient.s", 403, "", ""},
		{"v1 write only", "GET", "/Patient/" + id, "system/Patient.write", 403, "", ""},
		{"unknown id", "GET", "/Patient/nobody", everything, 404, "", ""},
		{"unknown type", "GET", "/Patienten/1", everything, 404, "", ""},
		{"lower case", "GET", "/patient/" + id, everything, 404, "", ""},
		{"encoded slash", "GET", "/Patient%2f" + id, everything, 404, "", ""},
		{"NUL", "GET", "/Patient/%00", everything, 404, "", ""},
		{"empty segment", "GET", "//Patient/" + id, everything, 404, "", ""},
		{"65 letters", "GET", "/Patient/" + strings.Repeat("a", 65), everything, 404, "", ""},
		{"parameter in the path", "GET", "/Patient/" + id + ";x=y", everything, 404, "", ""},
		{"bar", "GET", "/Patient/a|b", everything, 404, "", ""},
		{"operation that is none", "GET", "/Patient/$nothing", everything, 404, "", ""},
		{"encoded letter", "GET", "/Patient/%70", everything, 404, "", ""},
		{"version that is none", "GET", "/Patient/" + id + "/_history/x", everything, 404, "", ""},
		{"trailing slash", "GET", "/Patient/", everything, 404, "", ""},
		{"dots", "GET", "/Patient/../Patient/" + id, everything, 404, "", ""},
		{"outside", "GET", "!/acme/fhirx/Patient", everything, 404, "", ""},
		{"method", "TRACE", "/Patient/" + id, everything, 405, "", ""},
		{"format", "GET", "/Patient?_format=ttl", everything, 406, "", ""},
		{"count", "GET", "/Patient?_count=-1", everything, 400, "", ""},
		{"count letters", "GET", "/Patient?_count=1e3", everything, 400, "", ""},
		{"date", "GET", "/Patient?birthdate=9999-99-99", everything, 400, "", ""},
		{"huge date", "GET", "/Patient?birthdate=le10000000000000000000000", everything, 400, "", ""},
		{"zone", "GET", "/Observation?date=2020-01-01T00:00:00%2B99:99", everything, 400, "", ""},
		{"bad escape", "GET", "/Patient?name=%zz", everything, 400, "", ""},
		{"NUL in a value", "GET", "/Patient?name=a%00b", everything, 400, "", ""},
		{"page of another grant", "GET", next, "system/Observation.rs", 410, "", ""},
		{"page of another client", "GET", next, everything + "; client=c2", 410, "", ""},
		{"page without a token", "GET", next, "", 401, "", ""},
		{"page of another type", "GET", strings.Replace(next, "Observation", "Patient", 1), everything, 410, "", ""},
		{"damaged page", "GET", next[:len(next)-4] + "AAAA", everything, 410, "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			w.t = t
			a := w.do(c.method, c.path, c.token, "").want(c.status)
			if c.header != "" && a.Header().Get(c.header) != c.value {
				t.Errorf("%s: %q, want %q", c.header, a.Header().Get(c.header), c.value)
			}
			if c.status == 405 && a.Header().Get("Allow") == "" {
				t.Error("405 without Allow")
			}
		})
	}
}

// A token that could not be looked up is nobody's fault but the server's: no
// challenge, and a time to try again.
func TestTokenCannotBeLookedUp(t *testing.T) {
	w := newEnv(t, 1)
	rec := httptest.NewRecorder()
	r := httptest.NewRequest("GET", publicBase+"/Patient", nil)
	r.Header.Set("Authorization", "Bearer down")
	w.h.ServeHTTP(rec, r)

	for name, want := range map[string]string{
		"Retry-After":      "5",
		"Www-Authenticate": "",
		"Trace-Id":         "t1",
		"Cache-Control":    "no-store",
	} {
		t.Run(name, func(t *testing.T) {
			if got := rec.Header().Get(name); got != want {
				t.Errorf("%s: %q, want %q", name, got, want)
			}
		})
	}

	if rec.Code != http.StatusServiceUnavailable || !strings.Contains(rec.Body.String(), `"transient"`) {
		t.Errorf("%d %s", rec.Code, rec.Body)
	}
}

// Covers: case 001, case 310
func TestWritesPublicURLsOnly(t *testing.T) {
	w := newEnv(t, 1)
	for _, path := range []string{
		"/metadata", "/Patient?_count=1", "/Observation?_count=2", "/Patient/none",
		"?_type=Patient",
	} {
		for _, target := range []string{path, "!https://private.test:9443/acme/fhir" + path} {
			a := w.do("GET", target, everything, "", "Host", "evil.example", "X-Forwarded-Host", "evil.example",
				"Forwarded", "host=evil.example;proto=http")
			all := a.Body.String()
			for k, v := range a.Header() {
				all += k + strings.Join(v, " ")
			}

			for _, word := range []string{"private.test", "evil.example"} {
				if strings.Contains(all, word) {
					t.Errorf("%s tells %s", target, word)
				}
			}

			if strings.HasPrefix(path, "/Observation") && !strings.Contains(all, publicBase+"/Observation/") {
				t.Errorf("%s: no fullUrl under the public base", path)
			}
		}
	}
}

// Covers: ER-22 (access control), case 236, case 238, case 240, case 241, case 249
func TestScopesFilterRows(t *testing.T) {
	w := newEnv(t, 3)
	p1, p2 := sample.PatientID(0), sample.PatientID(1)
	vitals := "system/Observation.rs?code=http://loinc.org|85354-9"
	all := w.get("/Observation?_count=1000", everything).bundle()
	some := w.get("/Observation?_count=1000", vitals).bundle()
	want := w.get("/Observation?_count=1000&code=85354-9", everything).bundle()
	if *some.Total != *want.Total || *some.Total >= *all.Total || *some.Total == 0 {
		t.Fatalf("granular scope finds %d of %d, want %d", *some.Total, *all.Total, *want.Total)
	}

	for _, id := range all.ids("match") {
		status := 404
		if contains(some.ids("match"), id) {
			status = 200
		}
		w.get("/"+id, vitals).want(status)
	}

	mine := "patient/*.rs; patient=" + p1
	for _, q := range []string{
		"", "?patient=" + p2, "?subject=Patient/" + p2, "?patient=" + p1 + "," + p2,
		"?subject:missing=false", "?code:not=x", "?patient=https://other.test/Patient/" + p1,
	} {
		for _, e := range w.get("/Observation"+q, mine).bundle().Entry {
			if !strings.Contains(string(e.Resource), "Patient/"+p1) {
				t.Errorf("%s gives %s", q, e.Resource)
			}
		}
	}

	w.get("/Patient/"+p1, mine).want(200)
	w.get("/Patient/"+p2, mine).want(404)
	w.get("/Patient/"+p2+"/Observation", mine).want(404)
	if b := w.get("/Patient/"+p1+"/Observation", mine).bundle(); *b.Total == 0 {
		t.Error("nothing in the own compartment")
	}
	if b := w.get("/Patient?_revinclude=Observation:subject",
		"system/Patient.rs").bundle(); len(b.ids("include")) != 0 {
		t.Errorf("included without a scope: %v", b.ids("include"))
	}

	if b := w.get("/Patient?_revinclude=Observation:subject", everything).bundle(); len(b.ids("include")) == 0 {
		t.Error("_revinclude brings nothing")
	}
}

// What a path can do is answered to anybody, and does not depend on data.
func TestOptionsNameTheMethods(t *testing.T) {
	w := newEnv(t, 1)
	for path, want := range map[string]string{
		"/Patient":   "GET, HEAD, POST",
		"/Patient/x": "GET, HEAD, PUT",
		"/metadata":  "GET, HEAD, OPTIONS",
	} {
		t.Run(path, func(t *testing.T) {
			a := w.do("OPTIONS", path, "", "").want(204)
			if allow := a.Header().Get("Allow"); !strings.HasPrefix(allow, want) {
				t.Errorf("Allow is %q, want %q", allow, want)
			}
		})
	}

	w.do("OPTIONS", "/nothing/here/at/all", "", "").want(404)
}

// Covers: case 264
func TestRequestsWriteNoHeaders(t *testing.T) {
	w := newEnv(t, 1)
	for _, a := range []answer{
		w.do("POST", "/Patient", everything, `{"resourceType":"Patient"}`, "If-None-Exist",
			"identifier=a%0d%0aSet-Cookie:x=1"),
		w.do("POST", "/Patient", everything, `{"resourceType":"Patient","id":"a\r\nSet-Cookie: x=1"}`),
		w.get("/Patient/"+sample.PatientID(0), everything, "If-None-Match", `W/"1", "x"; y`, "X-Request-Id", "a b\x01"),
		w.get("/Patient?name=%0d%0aSet-Cookie:x", everything),
		w.do("PUT", "/Patient/x%0d%0aSet-Cookie:y", everything, `{"resourceType":"Patient","id":"x"}`),
	} {
		for k, v := range a.Header() {
			if k == "Set-Cookie" || k == "X-Request-Id" || strings.ContainsAny(strings.Join(v, ""), "\r\n") {
				t.Errorf("%s: %q", k, v)
			}
		}
	}
}

// Covers: case 268
func TestSearchesEnd(t *testing.T) {
	w := newEnv(t, 3)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	r := httptest.NewRequestWithContext(ctx, "GET", "/acme/fhir/Observation?patient.name:contains=a", nil)
	r.Header.Set("Authorization", "Bearer "+everything)
	rec := httptest.NewRecorder()
	w.h.ServeHTTP(rec, r)
	if rec.Code != 503 || rec.Header().Get("Retry-After") == "" {
		t.Errorf("a search without time: %d %v", rec.Code, rec.Header())
	}
}

// An index made by other rules is made anew at start.
func TestStaleIndexIsMadeAnew(t *testing.T) {
	w := newEnv(t, 2)
	w.get("/Patient", everything).want(200)
	before := w.get("/Observation?code=85354-9&_count=1000", everything).bundle()
	err := w.store.Update(context.Background(), func(c fhir.Change) error {
		if err := c.DropIndex(t.Context()); err != nil {
			return err
		}
		return c.SetSetting(t.Context(), "index-version", make([]byte, 8))
	})
	if err != nil {
		t.Fatal(err)
	}

	if b := w.get("/Observation?code=85354-9", everything).bundle(); *b.Total != 0 {
		t.Fatal("the index was not dropped")
	}
	if err := w.h.(io.Closer).Close(); err != nil {
		t.Fatal(err)
	}
	h, err := fhir.New(fhir.Config{
		PublicBase: publicBase,
		Store:      w.store,
		Authorize:  authorize,
		Now: func() time.Time {
			return w.now
		},
	})
	if err != nil {
		t.Fatal(err)
	}

	w.h = h
	if b := w.get("/Observation?code=85354-9&_count=1000", everything).bundle(); *b.Total == 0 ||
		*b.Total != *before.Total {
		t.Errorf("%d are found again of %d", *b.Total, *before.Total)
	}
	if b := w.get("/AuditEvent?subtype=search-type", auditor).bundle(); *b.Total < 3 {
		t.Errorf("%d records are found again", *b.Total)
	}
}

func TestCapabilityStatementIsForAnybody(t *testing.T) {
	w := newEnv(t, 0)
	a := w.get("/metadata", "").want(200)
	w.get("/metadata", "bad").want(200)
	w.get("/metadata", "", "If-None-Match", a.Header().Get("ETag")).want(304)
	w.do("POST", "/metadata", everything, "{}").want(405)
	v := validate.New(table.R4())
	root, err := tree.Parse(a.Body.Bytes())
	if err != nil {
		t.Fatal(err)
	}

	if issues := v.Resource(root, validate.Options{}); !validate.OK(issues) {
		t.Errorf("%v", issues)
	}

	for _, word := range []string{`"transaction"`, `"vread"`, `"patch"`, "UDAP", publicBase, "exchange-routing-destination-server", "StructureDefinition/us-core-patient",
		"StructureDefinition/us-core-condition-encounter-diagnosis", `"Provenance:target"`, "Patient-everything", "Resource-validate"} {
		if !strings.Contains(a.Body.String(), word) {
			t.Errorf("no %s", word)
		}
	}
}
