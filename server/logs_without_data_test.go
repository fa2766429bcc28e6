package server_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"fhirdest.example/server/servertest"
)

// What a client writes into targets, fields and bodies may be of a patient, and what it
// authenticates with is secret: at the most talkative level the log has none of it, and
// neither has the evidence. The audit record names tokens, and never has one.
//
// Covers: FS-108, FS-206
func TestLogsHaveNoDataAndNoSecrets(t *testing.T) {
	d := servertest.Start(t, func(w *servertest.Env) {
		w.Config.Writable = true
		w.Config.Evidence = "evidence.jsonl"
		w.Config.AuditReaders = []string{"https://client2.test/app"}
	})
	id := d.Client(d.A, "https://client1.test/app")
	s := d.Session(d.A, id, "system/*.cruds")
	form := assertion(t, d, id, s.Registered.ClientID, "logged")
	second := ask(t, d, form)
	authorization := "Bearer " + s.Token.Access

	const patient = `{"resourceType":"Patient","id":"quokka-id","name":[{"family":"Quokkason"}],` +
		`"identifier":[{"value":"quokka-ssn"}]}`
	for _, c := range []struct{ method, path, body, media string }{
		{"PUT", "/Patient/quokka-id", patient, "application/fhir+json"},
		{"PUT", "/Patient/quokka-id", strings.Replace(patient, "]}", "],\"quokka\":1}", 1), "application/fhir+json"},
		{"POST", "/Patient", "{quokka", "application/fhir+json"},
		{"GET", "/Patient/quokka-id", "", ""},
		{"GET", "/Patient/quokka-none", "", ""},
		{"GET", "/Patient?name=Quokkason&_elements=quokka", "", ""},
		{"GET", "/Patient?name=%zzquokka", "", ""},
		{"POST", "/Patient/_search", "name=Quokkason", "application/x-www-form-urlencoded"},
		{"POST", "/Patient/_search", "quokka=%zz", "text/quokka"},
		{"PATCH", "/Patient/quokka-id", `[{"op":"quokka"}]`, "application/json-patch+json"},
		{"DELETE", "/Patient?identifier=quokka-ssn", "", ""},
		{"GET", "/Quokka/1", "", ""},
		{"BREW", "/Quokka", "", ""},
	} {
		res := d.Do(c.method, "/acme/fhir"+c.path, strings.NewReader(c.body), "Authorization", authorization,
			"Content-Type", c.media, "If-None-Exist", "identifier=quokka-ssn", "X-Request-Id", "r1")
		_ = res.Body.Close()
	}
	for _, provenance := range []string{
		"{quokka",
		`{"resourceType":"Provenance","target":[{"reference":"Patient/quokka"}]}`,
		`{"resourceType":"Provenance","recorded":"2026-01-01T00:00:00Z","agent":[{"who":{"display":"quokka"}}],` +
			`"signature":[{"type":[{"code":"quokka"}],"when":"2026-01-01T00:00:00Z","who":{"display":"quokka"},` +
			`"sigFormat":"application/jose","data":"cXVva2th"}]}`,
	} {
		d.Do("PUT", "/acme/fhir/Patient/quokka-id", strings.NewReader(patient), "Authorization", authorization,
			"Content-Type", "application/fhir+json", "X-Provenance", provenance)
	}
	d.Do("POST", "/acme/fhir/Patient/$match", strings.NewReader(`{"resourceType":"Parameters","parameter":[`+
		`{"name":"resource","resource":`+patient+`}]}`), "Authorization", authorization, "Content-Type",
		"application/fhir+json")
	d.Get("/acme/fhir/Patient?name=Quokkason", "Authorization", "Bearer quokka-token")
	d.Get("/acme/fhir/Patient?access_token=quokka-token")
	auditor := d.Session(d.A, d.Client(d.A, "https://client2.test/app"), "system/AuditEvent.rs").Token.Access
	_, events := d.Get("/acme/fhir/AuditEvent?_count=200", "Authorization", "Bearer "+auditor)
	if !strings.Contains(events, `"AuditEvent"`) {
		t.Fatalf("no audit events: %.300s", events)
	}

	d.Stop()
	evidence, err := os.ReadFile(filepath.Join(d.Dir, "evidence.jsonl"))
	if err != nil || len(evidence) == 0 {
		t.Fatalf("no evidence: %v", err)
	}

	secrets := secretsOf(t, d, form, s.Token.Access, second.Token)
	for where, text := range map[string]string{
		"the log":      d.Log.String(),
		"the evidence": string(evidence),
	} {
		t.Run(where, func(t *testing.T) {
			if i := strings.Index(strings.ToLower(text), "quokka"); i >= 0 {
				t.Errorf("what a client sent: %q", text[max(i-100, 0):min(i+100, len(text))])
			}
			for what, secret := range secrets {
				if strings.Contains(text, secret) {
					t.Errorf("%s", what)
				}
			}
		})
	}

	for what, secret := range secrets {
		if strings.Contains(events, secret) {
			t.Errorf("the audit record has %s", what)
		}
	}
}
