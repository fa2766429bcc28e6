package load_test

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"

	"fhirdest.example/fhir"
	"fhirdest.example/fhir/async"
	"fhirdest.example/fhir/async/asyncenv"
	"fhirdest.example/fhir/load"
	"fhirdest.example/fhir/scope"
)

func newEnv(t testing.TB, change ...func(*fhir.Config)) *asyncenv.Env {
	t.Helper()
	return asyncenv.New(t, func(e *asyncenv.Env) {
		for _, f := range change {
			e.Change = f
		}
		e.Kinds = func(e *asyncenv.Env) map[string]async.Kind {
			return map[string]async.Kind{"$import": &load.Import{
				PublicBase: asyncenv.Base,
				Service:    e.Service,
			}}
		}
	})
}

const ndjson = "application/fhir+ndjson"

// result is what an import answers.
type result struct {
	Lines, Refused int64
	Output         []struct {
		Type  string
		Count int64
	}
	Error []struct{ Type, URL string }

	reasons string
}

// imported does an import to its end.
func imported(t *testing.T, e *asyncenv.Env, token, body string) (r result) {
	t.Helper()
	at := e.Begin("POST", "/$import", token, body, "Content-Type", ndjson)
	w := e.Wait(at, token)
	if err := json.Unmarshal(w.Body.Bytes(), &r, json.MatchCaseInsensitiveNames(true)); err != nil || w.Code != 200 {
		t.Fatalf("%d %v %s", w.Code, err, w.Body)
	}
	for _, f := range r.Error {
		r.reasons += e.Do("GET", f.URL, token, "").Body.String()
	}
	return r
}

func patient(id string) string {
	if id == "" {
		return `{"resourceType":"Patient","active":true}`
	}
	return fmt.Sprintf(`{"resourceType":"Patient","id":%q,"active":true}`, id)
}

// What is valid is stored, with its id if it has one; what is not is refused with its
// reason, and does not keep the rest from being stored.
func TestImport(t *testing.T) {
	e := newEnv(t)
	e.Do("PUT", "/Patient/old", asyncenv.All, patient("old"))
	body := strings.Join([]string{
		patient("a"), "", patient("b") + "\r", patient(""), patient("old"), patient("a"),
		`{"resourceType":"Patient","id":"c","active":1}`, `{"resourceType":"Nothing"}`, `{`, `[]`, "\ufeff" + patient(
			"d"),
		`{"resourceType":"AuditEvent","id":"x"}`, `{"resourceType":"Observation","id":"o","status":"final","code":{"text":"x"}}`,
	}, "\n")
	r := imported(t, e, asyncenv.All, body)

	if r.Lines != 13 || r.Refused != 6 || len(r.Output) != 2 || r.Output[0].Type != "Observation" ||
		r.Output[0].Count != 1 || r.Output[1].Count != 5 {
		t.Errorf("%+v", r)
	}

	for _, line := range []int{7, 8, 9, 10, 11, 12} {
		if !strings.Contains(r.reasons, fmt.Sprintf("Line %d was not stored.", line)) {
			t.Errorf("no reason for line %d: %s", line, r.reasons)
		}
	}

	for path, want := range map[string]string{
		"/Patient/a": `"versionId":"2"`, "/Patient/b": `"versionId":"1"`, "/Patient/old": `"versionId":"2"`,
		"/Patient?_summary=count": `"total":4`, "/Observation/o": `"versionId":"1"`,
	} {
		if w := e.Do("GET", path, asyncenv.All, ""); !strings.Contains(w.Body.String(), want) {
			t.Errorf("%s: %s", path, w.Body)
		}
	}

	w := e.Do("GET", "/AuditEvent?entity=Patient/b", asyncenv.All+" system/AuditEvent.rs", "")
	if !strings.Contains(w.Body.String(), "Patient/b/_history/1") {
		t.Errorf("no audit record: %s", w.Body)
	}
}

// A token imports what it may write, line by line.
//
// Covers: FS-301 FS-302
func TestImportGrants(t *testing.T) {
	const lines = `{"resourceType":"Patient","id":"a"}
{"resourceType":"Patient"}
{"resourceType":"Observation","status":"final","code":{"text":"x"},"subject":{"reference":"Patient/a"}}
{"resourceType":"Observation","status":"final","code":{"text":"x"},"subject":{"reference":"Patient/b"}}`

	for token, refused := range map[string]int64{
		"system/*.cruds":                         0,
		"system/Patient.c":                       3,
		"system/Patient.u":                       3,
		"system/Patient.cu":                      2,
		"system/Observation.c":                   2,
		"system/Observation.c?subject=Patient/a": 3,
		"patient/*.cruds; patient=a":             3,
	} {
		t.Run(token, func(t *testing.T) {
			if r := imported(t, newEnv(t), token, lines); r.Refused != refused {
				t.Errorf("%d lines refused, want %d: %s", r.Refused, refused, r.reasons)
			}
		})
	}
}

// What is no import is refused before there is a job.
func TestNoImport(t *testing.T) {
	e := newEnv(t)
	for name, c := range map[string]struct {
		token, media, prefer, body string
		status                     int
	}{
		"JSON": {
			asyncenv.All, "application/fhir+json", "respond-async", patient("a"),
			http.StatusUnsupportedMediaType,
		},
		"addresses": {
			asyncenv.All, "application/json", "respond-async", `{"inputSource":"https://x.test"}`,
			http.StatusUnsupportedMediaType,
		},
		"another character set": {
			asyncenv.All, ndjson + "; charset=iso-8859-1", "respond-async", patient("a"),
			http.StatusUnsupportedMediaType,
		},
		"another version of FHIR": {
			asyncenv.All, ndjson + "; fhirVersion=5.0", "respond-async", patient("a"),
			http.StatusUnsupportedMediaType,
		},
		"nothing":           {asyncenv.All, ndjson, "respond-async", "\n", http.StatusBadRequest},
		"no right to write": {"system/*.rs", ndjson, "respond-async", patient("a"), http.StatusForbidden},
		"at once":           {asyncenv.All, ndjson, "", patient("a"), http.StatusBadRequest},
	} {
		w := e.Do("POST", "/$import", c.token, c.body, "Content-Type", c.media, "Prefer", c.prefer)
		if w.Code != c.status || !strings.Contains(w.Body.String(), "OperationOutcome") {
			t.Errorf("%s: %d %s", name, w.Code, w.Body)
		}
	}

	if w := e.Do("GET", "/$import", asyncenv.All, ""); w.Code != http.StatusMethodNotAllowed {
		t.Errorf("GET: %d", w.Code)
	}
}

// A load that ends after each transaction and is begun again stores each line once,
// and counts each once.
func TestLoadGoesOn(t *testing.T) {
	const n = 4500
	var b strings.Builder
	for i := range n {
		line := patient(fmt.Sprint("p", i))
		switch i % 100 {
		case 1:
			line = patient("") // has no id: stored twice, it would be two
		case 2:
			line = "{}"
		}

		b.WriteString(line + "\n")
	}

	e := newEnv(t)
	set, _ := scope.ParseSet([]string{"system/*.cruds"})
	stop := errors.New("stopped")
	c := load.Config{
		Service: e.Service,
		Asked: &fhir.Asked{
			Interaction: "$import",
			Method:      "POST",
			Grant: &fhir.Grant{
				Client: "operator",
				Scopes: set,
			},
		},
		Mark:     "load/x",
		File:     "x",
		Progress: func(load.Place) error { return stop },
	}

	runs := 0
	var at load.Place
	for err := stop; err != nil; runs++ {
		if !errors.Is(err, stop) || runs > n {
			t.Fatal(err)
		}
		if runs%2 == 1 {
			e.Reopen()
			e.Run()
			c.Service = e.Service
		}

		at, err = load.Run(t.Context(), c, strings.NewReader(b.String()))
		if at.Done {
			err = nil
		}
	}

	if runs < 3 || at.Line != n || at.Total() != n-n/100 || at.Refused != n/100 || !at.Done {
		t.Errorf("%d runs, %d lines, %d stored, %d refused", runs, at.Line, at.Total(), at.Refused)
	}
	if w := e.Do("GET", "/Patient?_summary=count", asyncenv.All, ""); !strings.Contains(w.Body.String(),
		fmt.Sprintf(`"total":%d`, n-n/100)) {
		t.Errorf("%s", w.Body)
	}
	if w := e.Do("GET", "/Patient/p4400/_history", asyncenv.All,
		""); strings.Contains(w.Body.String(), `"versionId":"2"`) {
		t.Errorf("stored again: %s", w.Body)
	}

	again, err := load.Run(t.Context(), c, strings.NewReader(b.String()))
	if err != nil || again.Total() != at.Total() {
		t.Errorf("a load that is done: %v %+v", err, again)
	}
	c.File = "another"
	c.Progress = func(load.Place) error { return nil }
	if other, err := load.Run(t.Context(), c, strings.NewReader(patient("z"))); err != nil || other.Total() != 1 {
		t.Errorf("another file under the same name: %v %+v", err, other)
	}
}
