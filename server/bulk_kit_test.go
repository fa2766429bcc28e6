package server_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"fhirdest.example/fhir/table"
	"fhirdest.example/fhir/tree"
	"fhirdest.example/fhir/validate"
	"fhirdest.example/server"
	"fhirdest.example/server/servertest"
	"fhirdest.example/udap/client"
)

// bulk is a client of bulk data, as the outside kits are.
type bulk struct {
	t     *testing.T
	d     *servertest.Destination
	token string
}

func newBulk(t *testing.T, d *servertest.Destination, name, scope string) (*bulk, *servertest.Session) {
	s := d.Session(d.A, d.Client(d.A, "https://"+name+".test"), scope)
	return &bulk{t, d, s.Token.Access}, s
}

// ask sends a request with the client's token, and checks that nothing in the answer
// names the private address.
func (b *bulk) ask(method, url string, headers ...string) (*http.Response, string) {
	b.t.Helper()
	if b.token != "" {
		headers = append(headers, "Authorization", "Bearer "+b.token)
	}
	res := b.d.Do(method, url, nil, append(headers, "X-Forwarded-Host", "evil.test", "Forwarded", "host=evil.test")...)
	body, err := io.ReadAll(res.Body)
	if err != nil {
		b.t.Fatal(err)
	}

	if all := fmt.Sprint(res.Header) + string(body); strings.Contains(all, "destination.test") ||
		strings.Contains(all, "evil.test") {
		b.t.Errorf("%s %s: the answer names a host that is not public: %s", method, url, all)
	}
	return res, string(body)
}

func (b *bulk) kickOff(path string) string {
	b.t.Helper()
	res, body := b.ask("GET", servertest.Base+path, "Accept", "application/fhir+json", "Prefer", "respond-async")
	at := res.Header.Get("Content-Location")
	if res.StatusCode != http.StatusAccepted || !strings.HasPrefix(at, servertest.Base+"/") {
		b.t.Fatalf("%s: %s %q %s", path, res.Status, at, body)
	}
	return at
}

// kitManifest has the members that the kit asks for.
type kitManifest struct {
	TransactionTime     *time.Time `json:"transactionTime"`
	Request             *string    `json:"request"`
	RequiresAccessToken *bool      `json:"requiresAccessToken"`
	Output              *[]kitFile `json:"output"`
	Error               *[]kitFile `json:"error"`
}

type kitFile struct {
	Type, URL string
	Count     int
}

// poll waits for a manifest, at the server's pace.
func (b *bulk) poll(at string) kitManifest {
	b.t.Helper()
	for {
		res, body := b.ask("GET", at, "Accept", "application/json")
		if res.StatusCode == http.StatusAccepted {
			pace, err := time.ParseDuration(res.Header.Get("Retry-After") + "s")
			if err != nil || len(res.Header.Get("X-Progress")) > 100 || res.Header.Get("X-Progress") == "" {
				b.t.Fatalf("under way: %v", res.Header)
			}
			time.Sleep(min(pace, 50*time.Millisecond))
			continue
		}

		if res.StatusCode != http.StatusOK || res.Header.Get("Content-Type") != "application/json" ||
			res.Header.Get("Expires") == "" {
			b.t.Fatalf("%s %v %s", res.Status, res.Header, body)
		}
		var m kitManifest
		if err := json.Unmarshal([]byte(body), &m, json.MatchCaseInsensitiveNames(true)); err != nil ||
			m.TransactionTime == nil || m.Request == nil ||
			m.RequiresAccessToken == nil || m.Output == nil || m.Error == nil {
			b.t.Fatalf("%v %s", err, body)
		}

		return m
	}
}

// Each assertion of the bulk data kits, at the three levels.
//
// Covers: ER-18
func TestBulkDataKit(t *testing.T) {
	d := servertest.Start(t)
	b, _ := newBulk(t, d, "bulk", "system/*.rs")
	other, _ := newBulk(t, d, "other", "system/*.rs")
	stranger := &bulk{t, d, ""}
	_, body := b.ask("GET", servertest.Base+"/Group?_count=1")
	group := between(body, `"id":"`, `"`)

	for _, path := range []string{"/$export", "/Patient/$export", "/Group/" + group + "/$export"} {
		t.Run(path, func(t *testing.T) {
			if res, _ := stranger.ask("GET", servertest.Base+path, "Accept", "application/fhir+json", "Prefer",
				"respond-async"); res.StatusCode != http.StatusUnauthorized {
				t.Errorf("kick-off without a token: %s", res.Status)
			}

			at := b.kickOff(path)
			m := b.poll(at)
			if *m.Request != servertest.Base+path || !*m.RequiresAccessToken || len(*m.Output) < 10 {
				t.Errorf("%+v", m)
			}

			for _, f := range *m.Output {
				if !strings.HasPrefix(f.URL, servertest.Base+"/") {
					t.Errorf("%+v is not under the public base", f)
				}
				if res, _ := stranger.ask("GET", f.URL); res.StatusCode != http.StatusUnauthorized {
					t.Errorf("a file without a token: %s", res.Status)
				}
				if res, body := other.ask("GET", f.URL); res.StatusCode != http.StatusNotFound ||
					strings.Contains(body, "Patient") {
					t.Errorf("another client's file: %s %s", res.Status, body)
				}

				b.lines(t, f)
			}

			if res, _ := other.ask("GET", at); res.StatusCode != http.StatusNotFound {
				t.Errorf("another client's job: %s", res.Status)
			}
			if res, _ := other.ask("DELETE", at); res.StatusCode != http.StatusNotFound {
				t.Errorf("another client cancels it: %s", res.Status)
			}
			if res, _ := b.ask("DELETE", at); res.StatusCode != http.StatusAccepted {
				t.Errorf("cancelled: %s", res.Status)
			}

			for _, url := range []string{at, (*m.Output)[0].URL} {
				if res, body := b.ask("GET", url); res.StatusCode != http.StatusNotFound ||
					!strings.Contains(body, "OperationOutcome") {
					t.Errorf("after that: %s %s", res.Status, body)
				}
			}
		})
	}

	for _, query := range []string{
		"_outputFormat=application%2Ffhir%2Bndjson",
		"_outputFormat=application/ndjson",
		"_outputFormat=ndjson",
		"_since=2020-01-01T00:00:00.000Z",
	} {
		m := b.poll(b.kickOff("/Group/" + group + "/$export?_type=Patient&" + query))
		if len(*m.Output) != 1 || (*m.Output)[0].Count < 2 {
			t.Errorf("%s: %+v", query, m.Output)
		}
	}
}

// lines downloads a file: each line is a valid resource of its type.
func (b *bulk) lines(t *testing.T, f kitFile) {
	t.Helper()
	res, body := b.ask("GET", f.URL, "Accept", "application/fhir+ndjson")
	if res.StatusCode != http.StatusOK || res.Header.Get("Content-Type") != "application/fhir+ndjson" {
		t.Fatalf("%s: %s %v", f.URL, res.Status, res.Header)
	}

	v := validate.New(table.R4())
	n := 0
	for line := range strings.Lines(body) {
		root, err := tree.Parse([]byte(strings.TrimSuffix(line, "\n")))
		if err != nil || root.Get("resourceType").Text() != f.Type {
			t.Fatalf("%s: %v: %.200s", f.URL, err, line)
		}
		if found := v.Resource(root, validate.Options{}); !validate.OK(found) {
			t.Errorf("%s: %v: %.200s", f.URL, found, line)
		}
		n++
	}

	if n == 0 || n != f.Count || f.Type == "Patient" && n < 2 {
		t.Errorf("%s has %d lines: %+v", f.Type, n, f)
	}
}

func between(s, from, to string) string {
	_, rest, _ := strings.Cut(s, from)
	out, _, _ := strings.Cut(rest, to)
	return out
}

// The CapabilityStatement names the operations, and Bulk Data itself.
func TestBulkDataIsDeclared(t *testing.T) {
	d := servertest.Start(t)
	_, body := d.Get("/acme/fhir/metadata")
	const definitions = "http://hl7.org/fhir/uv/bulkdata/"
	for _, want := range []string{
		`"` + definitions + `CapabilityStatement/bulk-data"`, definitions + "OperationDefinition/export\"",
		definitions + "OperationDefinition/patient-export\"", definitions + "OperationDefinition/group-export\"",
		`"name":"import","definition":"` + servertest.Base + `/OperationDefinition/import"`,
	} {
		if !strings.Contains(body, want) {
			t.Errorf("%s is not declared", want)
		}
	}
}

// A token that is revoked, or whose registration is cancelled, opens no job; and a job
// of a client that has registered for less is gone.
//
// Covers: ER-18
func TestJobsEndWithTheRegistration(t *testing.T) {
	d := servertest.Start(t, func(w *servertest.Env) { w.Config.Jobs = server.Jobs{Workers: 1} })
	b, s := newBulk(t, d, "bulk", "system/Patient.rs system/Observation.rs")
	at := b.kickOff("/$export?_type=Patient")
	m := b.poll(at)

	narrow, err := s.Client.Token(t.Context(), s.Discovered, client.TokenRequest{
		ClientID: s.Registered.ClientID,
		Scope:    "system/Patient.rs",
		B2B:      servertest.Treatment(),
	})
	if err != nil {
		t.Fatal(err)
	}

	if res, _ := (&bulk{t, d, narrow.Access}).ask("GET", at); res.StatusCode != http.StatusNotFound {
		t.Errorf("a token with fewer scopes: %s", res.Status)
	}

	if _, err := s.Client.Register(t.Context(), s.Discovered, client.Registration{
		ClientName: "HTEST client",
		Contacts:   []string{"mailto:test@client.test"},
		Scope:      "system/Patient.rs",
	}); err != nil {
		t.Fatal(err)
	}

	for _, url := range []string{at, (*m.Output)[0].URL} {
		if res, _ := b.ask("GET", url); res.StatusCode != http.StatusUnauthorized {
			t.Errorf("the token of before: %s", res.Status)
		}
	}

	fresh, err := s.Client.Token(t.Context(), s.Discovered, client.TokenRequest{
		ClientID: s.Registered.ClientID,
		Scope:    "system/Patient.rs",
		B2B:      servertest.Treatment(),
	})
	if err != nil {
		t.Fatal(err)
	}

	if res, _ := (&bulk{t, d, fresh.Access}).ask("GET", at); res.StatusCode != http.StatusNotFound {
		t.Errorf("the job of before, with a new token: %s", res.Status)
	}
}
