package assess_test

import (
	"testing"

	"fhirdest.example/udap/conform"
	"fhirdest.example/udap/trace"
	"fhirdest.example/udap/udaptest"
)

// discoveryRows are about the metadata and what a client makes of it.
var discoveryRows = []rowTest{
	{"S1-016", func(s *script) {
		s.send("GET", metadata, "", "", 404, "", "")
		s.discover(nil)
	}, func(s *script) {
		s.send("GET", metadata, "", "", 404, "", "")
		s.register()
	}, "answered with no document"},
	{"S1-020", machine, func(s *script) {
		s.discover(nil)
		body := s.json(map[string]any{
			"software_statement": s.jwt(s.client.Statement(s.now)),
			"udap":               "1",
			"certifications":     []string{"a.b.c"},
		})
		s.traces = decided("certification.accepted", "0: jws.form: it cannot be decoded")
		s.traces[0].Steps[0].Verdict = trace.Warned
		s.send("POST", register, "application/json", body, 201, "", "{}")
	}, "certifications were sent"},
	{"S1-020", nil, func(s *script) {
		s.discover(func(plain, _ udaptest.Claims) { plain["grant_types_supported"] = []string{} })
		s.register()
	}, "grant_types_supported is an empty array"},
	{"S1-021", machine, func(s *script) {
		s.discover(func(_, signed udaptest.Claims) {
			signed["registration_endpoint"] = "https://fhir.test/oauth/elsewhere"
		})
		s.claims = change("aud", "https://fhir.test/oauth/elsewhere")
		s.register()
	}, "not the registration endpoint that the metadata has"},
	{"S1-021", nil, func(s *script) { s.register() }, "the metadata was never read"},
	{"S1-021", nil, func(s *script) {
		s.discover(func(plain, _ udaptest.Claims) { plain["grant_types_supported"] = []string{"authorization_code"} })
		s.register()
	}, "does not have client_credentials"},
	{"S1-060", community("urn:oid:2.16.840.1"), nil, ""},
	{"S1-061", community("urn:oid:2.16.840.1"), community("acme"), "not a URI"},
	{"S2-07", func(s *script) {
		s.discover(expired)
		s.discover(nil)
	}, func(s *script) {
		s.discover(expired)
		s.register()
	}, "although signed_metadata had expired"},
	{"S2-07", nil, func(s *script) {
		s.discover(func(_, signed udaptest.Claims) { signed["iss"] = "https://other.test/fhir" })
		s.register()
	}, "not the base URL"},
	{"S2-07", nil, func(s *script) {
		s.send("GET", metadata, "", "", 200, "", "<html>")
		s.register()
	}, "not one JSON object"},
}

func expired(_, signed udaptest.Claims) {
	signed["exp"] = udaptest.Now.AddDate(0, 0, -1).Unix()
	signed["iat"] = udaptest.Now.AddDate(0, 0, -2).Unix()
}

func community(value string) func(s *script) {
	return func(s *script) {
		s.send("GET", metadata+"?community="+value, "", "", 200, "", "{}")
	}
}

// Covers: S1-016, S1-020, S1-021, S1-060, S1-061, S2-07
func TestDiscovery(t *testing.T) { run(t, conform.SSRAA2, discoveryRows) }
