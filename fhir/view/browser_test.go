package view

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/go-json-experiment/json"

	"fhirdest.example/server/servertest/chromium"
)

// hostile is what a narrative could hold if it were not refused when it is stored:
// the page must be safe by itself.
const hostile = `<div xmlns="http://www.w3.org/1999/xhtml"><p id="shown">Jane</p>` +
	`<script>document.title='run'; top.ran=1; fetch('http://elsewhere.test/fetched')</script>` +
	`<img src="http://elsewhere.test/image.png" onerror="top.ran=1"/><img src="relative.png"/>` +
	`<svg xmlns="http://www.w3.org/2000/svg" onload="top.ran=1"><image href="http://elsewhere.test/svg.png"/></svg>` +
	`<p style="background:url(http://elsewhere.test/style.png)">x</p>` +
	`<style>@import 'http://elsewhere.test/import.css'; p{background:url(http://elsewhere.test/sheet.png)}</style>` +
	`<link rel="stylesheet" href="http://elsewhere.test/link.css"/><link rel="prefetch" href="http://elsewhere.test/pre"/>` +
	`<iframe src="http://elsewhere.test/frame"></iframe><object data="http://elsewhere.test/object"></object>` +
	`<video src="http://elsewhere.test/video" autoplay="autoplay"></video><base href="http://elsewhere.test/"/>` +
	`<meta http-equiv="refresh" content="0;url=http://elsewhere.test/refresh"/>` +
	`<form action="http://elsewhere.test/form"><input autofocus="autofocus" onfocus="top.ran=1"/></form>` +
	`<a href="javascript:top.ran=1" id="link">x</a></div>`

// In a real browser, nothing of a narrative runs and nothing in it is fetched, from
// elsewhere or from here.
//
// Covers: FS-806, FS-805, case 258
func TestNarrativeInABrowser(t *testing.T) {
	body, err := json.Marshal(map[string]any{
		"resourceType": "Patient",
		"id":           "a",
		"text":         map[string]string{"status": "generated", "div": hostile},
		"name":         []map[string]string{{"family": "<img src=http://elsewhere.test/name.png onerror=top.ran=1>"}},
	})
	if err != nil {
		t.Fatal(err)
	}

	page, err := Page("http://fhir.test/fhir", body)
	if err != nil {
		t.Fatal(err)
	}

	var others atomic.Int64
	here := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/fhir/Patient/a":
			w.Header().Set("Content-Type", MediaType)
			w.Header().Set("Content-Security-Policy", Policy)
			fmt.Fprintf(w, "%s", page)
		case "/favicon.ico": // the browser's own wish
		default:
			others.Add(1)
			t.Errorf("fetched: %s", r.URL)
		}
	}))
	t.Cleanup(here.Close)

	var outside atomic.Int64
	elsewhere := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		outside.Add(1)
		if r.URL.Path != "/alive" && r.URL.Path != "/favicon.ico" {
			t.Errorf("fetched from elsewhere: %s", r.URL)
		}
	}))
	t.Cleanup(elsewhere.Close)

	b := chromium.Start(t, map[string]string{
		"fhir.test":      here.Listener.Addr().String(),
		"elsewhere.test": elsewhere.Listener.Addr().String(),
	})
	b.Open("http://fhir.test/fhir/Patient/a")
	state := chromium.Get(b, "look for harm", chromedp.Evaluate[string](
		`document.title+"|"+String(window.ran)+"|"+document.querySelectorAll("iframe").length+"|"+document.querySelectorAll("img").length`))
	if strings.HasPrefix(state, "run") || !strings.HasSuffix(state, "|undefined|1|0") {
		t.Errorf("the page is %s", state)
	}
	if outside.Load() > 0 || others.Load() > 0 {
		t.Errorf("%d requests elsewhere, %d here", outside.Load(), others.Load())
	}

	b.Open("http://elsewhere.test/alive")
	if outside.Load() == 0 {
		t.Error("requests elsewhere are not counted")
	}
}

// TestPagesAreAccessible: a resource, a search result and an outcome are read by every
// person, on a desk and a phone, in light and dark.
func TestPagesAreAccessible(t *testing.T) {
	const text = `"text":{"status":"generated","div":"<div xmlns=\"http://www.w3.org/1999/xhtml\"><p>Jane Doe</p></div>"}`
	const labels = `"meta":{"versionId":"3","lastUpdated":"2026-01-02T03:04:05Z","security":[{"code":"R"},{"code":"HTEST"},{"code":"ETH"}]}`
	const patient = `{"resourceType":"Patient","id":"a",` + labels + `,` + text + `,` +
		`"name":[{"family":"Doe","given":["Jane"]}],"birthDate":"1970-01-01","active":true,` +
		`"identifier":[{"system":"urn:oid:1.2.3","value":"MRN1"}],"address":[{"line":["1 Road"],"city":"Ash"}]}`
	bodies := map[string]string{
		"resource": patient,
		"bundle": `{"resourceType":"Bundle","type":"searchset","total":2,` +
			`"link":[{"relation":"self","url":"http://fhir.test/fhir/Patient?name=d"},` +
			`{"relation":"next","url":"http://fhir.test/fhir/Patient?name=d&page=2"}],` +
			`"entry":[{"resource":` + patient + `,"search":{"mode":"match"}},{"resource":` +
			`{"resourceType":"Organization","id":"` + strings.Repeat("o", 64) + `","name":"Ash"},"search":{"mode":"include"}}]}`,
		"outcome": `{"resourceType":"OperationOutcome","issue":[` +
			`{"severity":"error","code":"invalid","details":{"text":"no such thing"},"expression":["Patient.name"]},` +
			`{"severity":"warning","code":"value","diagnostics":"careful"},` +
			`{"severity":"information","code":"informational","diagnostics":"well"}]}`,
	}

	here := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		page, err := Page("http://fhir.test/fhir", []byte(bodies[strings.TrimPrefix(r.URL.Path, "/")]))
		if err != nil {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", MediaType)
		// Nothing runs in a sandbox, axe-core included.
		w.Header().Set("Content-Security-Policy", strings.TrimPrefix(Policy, "sandbox; "))
		_, _ = w.Write(page)
	}))
	t.Cleanup(here.Close)

	b := chromium.Start(t, map[string]string{"fhir.test": here.Listener.Addr().String()})
	for name := range bodies {
		if status := b.Open("http://fhir.test/" + name); status != http.StatusOK {
			t.Fatalf("%s is answered %d", name, status)
		}
		b.Inspect("fhir-" + name)
	}
}
