package people_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"fhirdest.example/server/servertest/chromium"
)

// An app is opened from the console in a real browser, as from an EHR: its own site
// gets the handle and sends the browser on, a doctor signs in, and the app has the
// patient. The console's pages are accessible, this one in each of its states.
func TestLaunchInABrowser(t *testing.T) {
	e := newEnv(t)
	a := e.launchable("https://client.test/app")
	site := http.NewServeMux()
	site.HandleFunc("/launch", func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		if q.Get("iss") != e.Base || r.Header.Get("Referer") != "" {
			t.Errorf("launched by %q, from %q", q.Get("iss"), r.Header.Get("Referer"))
		}
		http.Redirect(w, r, a.authorize(launchScopes, "launch", q.Get("launch"), "aud", e.Base), http.StatusFound)
	})
	site.HandleFunc("/cb", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = w.Write([]byte(`<!DOCTYPE html><html lang="en"><title>The application</title>`))
	})
	server := httptest.NewTLSServer(site)
	t.Cleanup(server.Close)
	b := chromium.Start(t, map[string]string{
		"fhir.test":   e.Addr,
		"client.test": server.Listener.Addr().String(),
		"127.0.0.1":   strings.TrimPrefix(e.Admin, "http://"), // the console
	})

	for _, page := range []string{"", "traces", "ready", "sheet"} {
		b.Open(e.Admin + "/" + page)
		b.Inspect("console-" + page)
	}

	b.ForPrint()
	if text := b.Text(); strings.Contains(text, "Disclosures") || !strings.Contains(text, "SHA-256") {
		t.Errorf("the sheet on paper: %s", text)
	}
	b.Picture("console-sheet-print")

	b.Open(e.Admin + "/traces")
	b.Press(`a[href^="/traces/"]`)
	b.Inspect("console-trace")

	b.Open(e.Admin + "/launch")
	b.Inspect("launch")
	b.Fill("#patient", "nobody")
	b.Press("form.stack button")
	b.Inspect("launch-unknown")
	b.Fill("#patient", "Patient/"+e.patients[2])
	b.Fill("#url", "https://client.test/launch")
	b.Press("form.stack button")
	b.Inspect("launch-ready")

	b.Load("open the app", chromium.Click("a.button"))
	signInWith(b, "doctor")
	if text := b.Text(); !strings.Contains(text, "HTEST") {
		t.Errorf("the page does not name the patient: %s", text)
	}
	b.Press("button[value=approve]")
	token, err := a.exchange(arrived(t, b).Get("code"), launchScopes)
	if err != nil || token.Text("patient") != e.patients[2] {
		t.Errorf("patient %q, %v", token.Text("patient"), err)
	}
}
