package assess_test

import (
	"testing"

	"fhirdest.example/udap/conform"
	"fhirdest.example/udap/conform/assess"
)

// A request is recognised by its target, and where that is not enough by its body.
func TestClassify(t *testing.T) {
	s := newScript(t, conform.SSRAA2)
	cancel := s.json(map[string]any{
		"software_statement": s.client.Sign(t, s.client.Statement(s.now).With("grant_types", []string{})),
	})

	for _, row := range []struct {
		method, target, body string
		step                 conform.Step
	}{
		{"GET", "/acme/lab/1/fhir/.well-known/udap?community=a", "", conform.Discover},
		{"GET", "/acme/lab/1/fhir/.well-known/smart-configuration", "", conform.Discover},
		{"GET", "/acme/lab/1/fhir/metadata", "", conform.Discover},
		{"GET", "/acme/oauth/.well-known/openid-configuration", "", conform.Discover},
		{"POST", "/acme/oauth/register", "{}", conform.Register},
		{"POST", "/acme/oauth/register", cancel, conform.Cancel},
		{"GET", "/acme/oauth/authorize?client_id=1", "", conform.Authorize},
		{"POST", "/acme/oauth/consent", "a=b", conform.Authorize},
		{"POST", "/acme/oauth/token", "grant_type=client_credentials", conform.Token},
		{"POST", "/acme/oauth/token", "grant_type=refresh_token", conform.Refresh},
		{"POST", "https://fhir.test/acme/oauth/token", "", conform.Token},
		{"POST", "/acme/oauth/revoke", "token=1", conform.Cancel},
		{"GET", "/acme/fhir/Patient/1", "", conform.Read},
		{"POST", "/acme/fhir", "{}", conform.Read},
		{"GET", "/acme/fhir/Patient/oauth", "", conform.Read},
		{"GET", "/favicon.ico", "", conform.Other},
		{"GET", "", "", conform.Other},
	} {
		t.Run(row.method+" "+row.target, func(t *testing.T) {
			if got := assess.Classify(row.method, row.target, []byte(row.body)); got != row.step {
				t.Errorf("%s, want %s", got, row.step)
			}
		})
	}
}

// A session whose URLs do not end with the usual names is assessed by its own.
func TestOtherURLs(t *testing.T) {
	s := newScript(t, conform.SSRAA2)
	s.assess = assess.New(assess.Setting{
		Base:   "https://fhir.test/r4",
		Issuer: "https://fhir.test/auth",
	})
	s.send("GET", "/r4/.well-known/udap?community=acme", "", "", 200, "", "{}")
	s.send("GET", "/auth/token?grant_type=client_credentials", "", "", 405, "", "{}")

	for _, row := range []string{"S1-061", "S1-223"} {
		if o := s.outcome(row); o.Verdict != conform.Violated {
			t.Errorf("%s is %s", row, o.Verdict)
		}
	}
}
