package fhir_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"fhirdest.example/fhir"
	"fhirdest.example/fhir/consent"
	"fhirdest.example/fhir/label"
	"fhirdest.example/fhir/sample"
	"fhirdest.example/fhir/scope"
	"fhirdest.example/scripts/measure"
)

// The population of BenchmarkRequests, some 10,000 resources, and how many of its
// patients have a Consent in force.
const (
	benchPatients = 150
	benchConsents = 15
	benchClients  = 32
)

// BenchmarkRequests measures what the service spends on one request of each kind, over
// a real store with all that the sandbox has on: audit records, labels, Consents and
// Provenance. Read cpu-us/op: the process's CPU time, that of commits included.
func BenchmarkRequests(b *testing.B) {
	for _, kind := range []struct {
		name string
		make func(patient string) *http.Request
	}{
		{"read", func(id string) *http.Request {
			return benchGet("/Patient/" + id)
		}},
		{"search", func(id string) *http.Request {
			return benchGet("/Observation?patient=" + id + "&_count=20")
		}},
		{"count", func(id string) *http.Request {
			return benchGet("/Observation?patient=" + id + "&_summary=count")
		}},
		{"everything", func(id string) *http.Request {
			return benchGet("/Patient/" + id + "/$everything?_count=100")
		}},
		{"history", func(id string) *http.Request {
			return benchGet("/Patient/" + id + "/_history")
		}},
		{"metadata", func(string) *http.Request {
			return benchGet("/metadata")
		}},
		{"create", func(id string) *http.Request {
			return benchPost("/Observation", benchObservation(id))
		}},
		{"transaction", func(id string) *http.Request {
			return benchPost("", benchBundle(id))
		}},
	} {
		b.Run(kind.name, func(b *testing.B) {
			h := newBench(b)
			h.run(b, kind.make)
		})
	}
}

// benchService is a service as the sandbox has one.
type benchService struct {
	*fhir.Service
	patients []string
}

func newBench(b *testing.B) *benchService {
	grant := &fhir.Grant{
		Client:   "client-1",
		Party:    "https://client1.test/app",
		TokenID:  "t1",
		Purposes: []string{"urn:oid:2.16.840.1.113883.5.8#TREAT"},
		Expires:  time.Now().Add(time.Hour),
	}
	grant.Scopes, _ = scope.ParseSet([]string{"system/*.cruds"})

	s, err := fhir.New(fhir.Config{
		PublicBase: publicBase,
		Store:      openStore(b),
		Authorize: func(*http.Request) (*fhir.Grant, *fhir.Denial) {
			return grant, nil
		},
		Now:        time.Now,
		Provenance: true,
		Consents:   consent.Policy{BreakGlass: true},
		Labels: label.Policy{Clearances: []label.Clearance{{
			Level:         "R",
			Sensitivities: []string{"*"},
		}}},
		Failed: func(_ *http.Request, err error) { b.Error(err) },
	})
	if err != nil {
		b.Fatal(err)
	}

	b.Cleanup(func() { s.Close() })
	if err := s.Seed(b.Context(), benchPatients); err != nil {
		b.Fatal(err)
	}

	h := &benchService{Service: s}
	for i := range benchPatients {
		h.patients = append(h.patients, sample.PatientID(i))
	}
	for _, id := range h.patients[:benchConsents] {
		h.ask(b, benchPost("/Consent", benchConsent(id)))
	}

	return h
}

// run sends b.N requests about random patients, some at once.
func (h *benchService) run(b *testing.B, request func(patient string) *http.Request) {
	var left atomic.Int64
	var clients sync.WaitGroup
	left.Store(int64(b.N))
	b.ReportAllocs()
	b.ResetTimer()
	before := measure.CPU()

	for range benchClients {
		clients.Go(func() {
			for left.Add(-1) >= 0 {
				h.ask(b, request(h.patients[rand.IntN(len(h.patients))]))
			}
		})
	}

	clients.Wait()
	if err := h.FlushAudit(); err != nil {
		b.Fatal(err)
	}

	b.ReportMetric(float64((measure.CPU()-before).Microseconds())/float64(b.N), "cpu-us/op")
}

func (h *benchService) ask(b *testing.B, r *http.Request) {
	w := benchAnswer{header: http.Header{}}
	h.ServeHTTP(&w, r)
	if w.status/100 != 2 {
		b.Errorf("%s %s: %d", r.Method, r.RequestURI, w.status)
	}
}

// benchAnswer counts an answer.
type benchAnswer struct {
	header http.Header
	status int
	length int
}

func (w *benchAnswer) Header() http.Header {
	return w.header
}

func (w *benchAnswer) WriteHeader(status int) {
	w.status = status
}

func (w *benchAnswer) Write(b []byte) (int, error) {
	w.length += len(b)
	return len(b), nil
}

func benchGet(path string) *http.Request {
	return &http.Request{
		Method:     http.MethodGet,
		RequestURI: "/acme/fhir" + path,
		RemoteAddr: "192.0.2.1:1234",
		Header:     http.Header{"Accept": {"application/fhir+json"}},
	}
}

func benchPost(path, body string) *http.Request {
	r := benchGet(path)
	r.Method = http.MethodPost
	r.Header.Set("Content-Type", "application/fhir+json")
	r.Body = readCloser{bytes.NewReader([]byte(body))}
	return r
}

type readCloser struct{ *bytes.Reader }

func (readCloser) Close() error {
	return nil
}

func benchObservation(patient string) string {
	return fmt.Sprintf(`{"resourceType":"Observation",`+
		`"meta":{"profile":["http://hl7.org/fhir/us/core/StructureDefinition/us-core-heart-rate"],`+
		`"security":[{"system":"http://terminology.hl7.org/CodeSystem/v3-ActReason","code":"HTEST"}]},`+
		`"identifier":[{"system":"urn:bench","value":"%x"}],"status":"final",`+
		`"category":[{"coding":[{"system":"http://terminology.hl7.org/CodeSystem/observation-category",`+
		`"code":"vital-signs"}]}],"code":{"coding":[{"system":"http://loinc.org","code":"8867-4",`+
		`"display":"Heart rate"}],"text":"Heart rate"},"subject":{"reference":"Patient/%s"},`+
		`"effectiveDateTime":"2026-02-%02dT%02d:%02d:00Z",`+
		`"valueQuantity":{"value":%d,"unit":"beats/minute","system":"http://unitsofmeasure.org",`+
		`"code":"/min"}}`,
		rand.Uint64(), patient, 1+rand.IntN(28), rand.IntN(24), rand.IntN(60), 50+rand.IntN(60))
}

func benchBundle(patient string) string {
	entries := make([]string, 10)
	for i := range entries {
		entries[i] = `{"resource":` + benchObservation(patient) +
			`,"request":{"method":"POST","url":"Observation"}}`
	}
	return `{"resourceType":"Bundle","type":"transaction","entry":[` + strings.Join(entries, ",") + `]}`
}

func benchConsent(patient string) string {
	return `{"resourceType":"Consent","status":"active",` +
		`"scope":{"coding":[{"system":"http://terminology.hl7.org/CodeSystem/consentscope",` +
		`"code":"patient-privacy"}]},"category":[{"coding":[{"system":"http://loinc.org",` +
		`"code":"59284-0"}]}],"patient":{"reference":"Patient/` + patient + `"},` +
		`"policyRule":{"coding":[{"system":"http://terminology.hl7.org/CodeSystem/v3-ActCode","code":"OPTIN"}]}}`
}
