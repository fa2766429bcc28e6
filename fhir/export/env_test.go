package export_test

import (
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"fhirdest.example/fhir/async"
	"fhirdest.example/fhir/async/asyncenv"
	"fhirdest.example/fhir/export"
)

// newEnv starts a service that exports, over the sample of some patients.
func newEnv(t testing.TB, patients int) *asyncenv.Env {
	t.Helper()
	e := asyncenv.New(t, func(e *asyncenv.Env) { e.Kinds = kinds })
	e.Must(e.Service.Seed(t.Context(), patients))
	return e
}

func kinds(e *asyncenv.Env) map[string]async.Kind {
	return map[string]async.Kind{"$export": export.New(export.Config{
		PublicBase: asyncenv.Base,
		Store:      e.Store,
		Service:    e.Service,
	})}
}

// file is one of a manifest's.
type file struct {
	Type  string `json:"type"`
	URL   string `json:"url"`
	Count int    `json:"count"`
}

// manifest is what an export answers, with the lines of its files.
type manifest struct {
	TransactionTime     string `json:"transactionTime"`
	Request             string `json:"request"`
	RequiresAccessToken bool   `json:"requiresAccessToken"`
	Output              []file `json:"output"`
	Deleted             []file `json:"deleted"`
	Error               []file `json:"error"`

	lines   map[string]string // exported resources, by Type/id
	deleted []string          // Type/id
	errors  []string
}

// exported does an export and downloads it.
func exported(t testing.TB, e *asyncenv.Env, method, path, token, body string) *manifest {
	t.Helper()
	at := e.Begin(method, path, token, body, "Accept", "application/fhir+json")
	w := e.Wait(at, token)
	if w.Code != http.StatusOK || w.Header().Get("Content-Type") != "application/json" {
		t.Fatalf("%d %v %s", w.Code, w.Header(), w.Body)
	}

	m := &manifest{lines: map[string]string{}}
	if err := json.Unmarshal(w.Body.Bytes(), m); err != nil {
		t.Fatal(err)
	}

	for _, f := range m.Output {
		for _, line := range download(t, e, f, token) {
			key := identity(t, line)
			if _, twice := m.lines[key]; twice || !strings.HasPrefix(key, f.Type+"/") {
				t.Errorf("%s is there twice, or in the file of %s", key, f.Type)
			}
			m.lines[key] = line
		}
	}

	for _, f := range m.Deleted {
		for _, line := range download(t, e, f, token) {
			_, rest, _ := strings.Cut(line, `"url":"`)
			url, _, _ := strings.Cut(rest, `"`)
			m.deleted = append(m.deleted, url)
		}
	}

	for _, f := range m.Error {
		m.errors = append(m.errors, download(t, e, f, token)...)
	}
	return m
}

// download reads the lines of a file, as it is and compressed.
func download(t testing.TB, e *asyncenv.Env, f file, token string) []string {
	t.Helper()
	w := e.Do("GET", f.URL, token, "", "Accept", "application/fhir+ndjson")
	if w.Code != http.StatusOK || w.Header().Get("Content-Type") != "application/fhir+ndjson" {
		t.Fatalf("%s: %d %v %s", f.URL, w.Code, w.Header(), w.Body)
	}

	text := w.Body.String()
	z := e.Do("GET", f.URL, token, "", "Accept-Encoding", "gzip")
	r, err := gzip.NewReader(z.Body)
	if err != nil || z.Header().Get("Content-Encoding") != "gzip" {
		t.Fatalf("%v %v", err, z.Header())
	}
	if plain, err := io.ReadAll(r); err != nil || string(plain) != text {
		t.Errorf("%s: compressed, it differs: %v", f.URL, err)
	}

	// who has it already does not get it again (RFC 9110 13.1.2 and 13.1.3)
	for _, encoding := range []string{"gzip", "identity"} {
		for from, condition := range map[string]string{
			"ETag":          "If-None-Match",
			"Last-Modified": "If-Modified-Since",
		} {
			has := e.Do("HEAD", f.URL, token, "", "Accept-Encoding", encoding).Header().Get(from)
			w := e.Do("GET", f.URL, token, "", "Accept-Encoding", encoding, condition, has)
			if w.Code != http.StatusNotModified || w.Body.Len() > 0 {
				t.Errorf("%s, %s %s: %d", encoding, condition, has, w.Code)
			}
		}
	}

	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	if len(lines) != f.Count {
		t.Errorf("%s has %d lines, the manifest promises %d", f.URL, len(lines), f.Count)
	}
	return lines
}

func identity(t testing.TB, line string) string {
	t.Helper()
	var r struct {
		ResourceType string `json:"resourceType"`
		ID           string `json:"id"`
	}
	if err := json.Unmarshal([]byte(line), &r); err != nil {
		t.Fatalf("%v: %s", err, line)
	}
	return r.ResourceType + "/" + r.ID
}

// stored reads resources by search: those of a type that a query finds.
func stored(t testing.TB, e *asyncenv.Env, query, token string) map[string]string {
	t.Helper()
	all := map[string]string{}
	for url := asyncenv.Base + "/" + query; url != ""; {
		w := e.Do("GET", url, token, "")
		var b struct {
			Link []struct {
				Relation string `json:"relation"`
				URL      string `json:"url"`
			} `json:"link"`
			Entry []struct {
				Resource jsontext.Value `json:"resource"`
			} `json:"entry"`
		}
		if err := json.Unmarshal(w.Body.Bytes(), &b); err != nil || w.Code != http.StatusOK {
			t.Fatalf("%s: %d %v %s", url, w.Code, err, w.Body)
		}

		url = ""
		for _, l := range b.Link {
			if l.Relation == "next" {
				url = l.URL
			}
		}

		for _, entry := range b.Entry {
			all[identity(t, string(entry.Resource))] = string(entry.Resource)
		}
	}

	return all
}

// same compares what is exported with what is stored.
func same(t *testing.T, got, want map[string]string) {
	t.Helper()
	complaints := 0
	for key, line := range want {
		if got[key] != line && complaints < 5 {
			t.Errorf("%s: %.100q, want %.100q", key, got[key], line)
			complaints++
		}
	}

	for key := range got {
		if _, ok := want[key]; !ok && complaints < 10 {
			t.Errorf("%s is exported for no reason", key)
			complaints++
		}
	}

	if len(want) == 0 {
		t.Error("the test compares nothing")
	}
}

func patientBody(id string, more string) string {
	return fmt.Sprintf(`{"resourceType":"Patient","id":%q%s}`, id, more)
}
