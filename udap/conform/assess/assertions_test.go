package assess_test

import (
	"net/url"
	"testing"
	"time"

	"fhirdest.example/udap/conform"
	"fhirdest.example/udap/udaptest"
)

// assertionRows are about authentication tokens.
var assertionRows = []rowTest{
	{"S1-067", machine, assertionOf("client-of-another-server"), "none that was assigned here"},
	{"S1-153", machine, assertionOf(udaptest.Client1URI), "is a URI, where the client_id belongs"},
	{"S1-154", machine, assertion("sub", udaptest.Client1URI), "sub of the authentication token is not iss"},
	{"S1-155", machine, assertion("aud", udaptest.Registration), "the registration endpoint, not the token endpoint"},
	{"S1-155", nil, assertion("aud", udaptest.Base), "the FHIR base, not"},
	{"S1-156", machine, assertion("exp", nil), "has no exp"},
	{"S1-156", nil, assertion("exp", "tomorrow"), "is not a number"},
	{"S1-157", machine, assertion("iat", nil), "has no iat"},
	{"S1-158", machine, assertion("jti", nil), "has no jti"},
	{"S1-159", machine, func(s *script) {
		ready(s)
		s.claims = change("jti", "again")
		s.token()
		s.claims = change("jti", "again")
		s.token()
	}, "the same jti was in a authentication token before"},
	{"S1-159", nil, func(s *script) {
		ready(s)
		jwt := s.client.Sign(s.t, udaptest.Assertion("client-1", s.now))
		s.sign = func(udaptest.Claims) string { return jwt }
		s.token()
		s.sign = func(udaptest.Claims) string { return jwt }
		s.token()
	}, "the same authentication token was sent before"},
	{"S1-160", machine, assertion("exp", udaptest.Now.Add(20*time.Minute).Unix()), "more than five minutes"},
	{"S1-177", machine, func(s *script) {
		ready(s)
		w := udaptest.New(s.t, "p256")
		s.client = w.Client(s.t, w.A.Int, udaptest.Client2URI, nil)
		s.token()
	}, "does not have the URI to which the registration is bound"},
	{"S1-178", machineForm(with("client_id", "client-1")), machineForm(with("client_id", "other")),
		"client_id is not iss"},
	{"S1-180", machine, func(s *script) {
		ready(s)
		s.claims = func(c udaptest.Claims) {
			c["iat"], c["exp"] = s.now.Add(-time.Hour).Unix(), s.now.Add(-58*time.Minute).Unix()
		}
		s.token()
	}, "had expired"},
}

// assertionOf asks for a token as another client_id.
func assertionOf(id string) func(s *script) {
	return func(s *script) {
		ready(s)
		s.claims = both(change("iss", id), change("sub", id))
		s.token()
	}
}

// besideExtensions asks for a token with hl7-b2b where it has no meaning.
func besideExtensions(s *script) {
	ready(s)
	s.claims = func(c udaptest.Claims) {
		c["hl7-b2b"] = map[string]any{"version": "1"}
		c["extensions"] = udaptest.Absent
	}
	s.token()
}

// machineRows are about token requests by client_credentials.
var machineRows = []rowTest{
	{"S1-186", machine, func(s *script) {
		ready(s)
		s.authorize(nil)
	}, "registered for client_credentials asked for a code"},
	{"S1-223", machine, func(s *script) {
		ready(s)
		s.send("POST", token, "application/json", `{"grant_type":"client_credentials"}`, 415, "", "{}")
	}, "no form"},
	{"S1-223", nil, func(s *script) {
		ready(s)
		s.send("GET", token+"?grant_type=client_credentials", "", "", 405, "", "{}")
	}, "the token request is a GET"},
	{"S1-224", machine, func(s *script) {
		ready(s)
		s.head = "Authorization: Basic abcd\r\n"
		s.token()
	}, "has an Authorization header"},
	{"S1-224", nil, machineForm(with("client_secret", "hush")), "has a client_secret"},
	{"S1-225", machine, machineForm(with("grant_type", "client-credentials")), "grant_type is none that"},
	{"S1-226", machine, machineForm(without("client_assertion_type")), "client_assertion_type is not that"},
	{"S1-227", machine, machineForm(without("client_assertion")), "no client_assertion"},
	{"S1-228", machine, machineForm(without("udap")), "no udap with the value 1"},
	{"C-13", scoped, func(s *script) {
		ready(s)
		s.traces = decided("token.scope", "no scope")
		s.token()
	}, "no scope"},
}

// scoped asks for a token with a scope that the destination grants.
func scoped(s *script) {
	ready(s)
	s.traces = passing("token.scope")
	s.token()
}

// contextRows are about the hl7-b2b object.
var contextRows = []rowTest{
	{"S1-198", machine, assertion("extensions", nil), "has no hl7-b2b object"},
	{
		"S1-198", nil, assertion("extensions", `{"hl7-b2b":{}}`),
		"extensions of the authentication token is no JSON object",
	},
	{"S1-198", nil, besideExtensions, "is a claim of its own, beside extensions"},
	{"S1-198", nil, assertion("extensions", map[string]any{"hl7-b2b": "yes"}), "not a JSON object"},
	{"S1-202", machine, b2b("version", 1), `not the string "1"`},
	{"S1-203", b2b("subject_name", "Ann Example"), b2b("subject_name", 7), "subject_name is not a readable text"},
	{"S1-204", b2b("subject_name", "Ann", "subject_id", "1234567893"), b2b("subject_id", "1234567893"),
		"without subject_name"},
	{"S1-205", b2b("subject_name", "Ann", "subject_id", "1234567893"),
		b2b("subject_name", "Ann", "subject_id", "1234567890"), "no National Provider Identifier"},
	{"S1-208", b2b("subject_name", "Ann", "subject_role", "207R00000X"), b2b("subject_role", "207R00000X"),
		"without subject_name"},
	{"S1-208", nil, b2b("subject_name", "Ann", "subject_role", "doctor"), "no code of the NUCC"},
	{"S1-210", machine, b2b("organization_name", ""), "organization_name is not a readable text"},
	{"S1-212", machine, b2b("organization_id", nil), "has no organization_id"},
	{"S1-212", nil, b2b("organization_id", "clinic 7"), "is not a URI"},
	{"S1-213", machine, func(s *script) {
		ready(s)
		s.traces = decided("b2b.organization", "urn:x")
		s.token()
	}, "does not allow the scheme"},
	{"S1-214", machine, b2b("organization_id", "https://localhost/org"), "cannot resolve"},
	{"S1-215", machine, b2b("purpose_of_use", nil), "no purpose_of_use"},
	{"S1-215", nil, b2b("purpose_of_use", "TREAT"), "purpose_of_use is a string, not an array"},
	{"S1-215", nil, b2b("purpose_of_use", []string{}), "purpose_of_use is an empty array"},
	{"S1-215", nil, func(s *script) {
		ready(s)
		s.traces = decided("b2b.purpose_of_use", "SPY")
		s.token()
	}, "does not allow the purpose"},
	{"S1-217", b2b("consent_policy", []string{"urn:oid:1.2.3"}), b2b("consent_policy", []string{"policy"}),
		"not an array of URIs"},
	{"S1-218", consented("https://consent.test/Consent/1"), consented("Consent/1"), "not an array of absolute URLs"},
	{"S1-219", consented("https://consent.test/Consent/1"), consented("https://ehr.local/Consent/1"), "cannot resolve"},
	{"S1-221", consented("https://consent.test/Consent/1"),
		b2b("consent_reference", []string{"https://consent.test/Consent/1"}), "without consent_policy"},
}

// consented asks for a token with a reference to a consent.
func consented(reference string) func(s *script) {
	return b2b("consent_policy", []string{"urn:oid:1.2.3"}, "consent_reference", []string{reference})
}

// Covers: S1-067, S1-153, S1-154, S1-155, S1-156, S1-157, S1-158, S1-159, S1-160, S1-177, S1-178, S1-179, S1-180,
// S1-181, S1-192, S1-193, S1-194, S1-195, S1-196, S1-197
func TestAuthenticationTokens(t *testing.T) { run(t, conform.SSRAA2, assertionRows) }

// Covers: S1-186, S1-223, S1-224, S1-225, S1-226, S1-227, S1-228, S2-20
func TestTokenRequests(t *testing.T) { run(t, conform.SSRAA2, machineRows) }

// Covers: S1-198, S1-202, S1-203, S1-204, S1-205, S1-208, S1-210, S1-212, S1-213, S1-214, S1-215, S1-217, S1-218,
// S1-219, S1-221
func TestBusinessContext(t *testing.T) { run(t, conform.SSRAA2, contextRows) }

// A request that had no answer may be sent again as it was.
func TestSentAgainAfterNoAnswer(t *testing.T) {
	s := newScript(t, conform.SSRAA2)
	ready(s)
	jwt := s.client.Sign(t, udaptest.Assertion("client-1", s.now))
	for _, status := range []int{503, 200} {
		s.sign = func(udaptest.Claims) string { return jwt }
		s.posts(url.Values{"grant_type": {"client_credentials"}}, status, "{}")
	}
	if w := s.wrong(); len(w) > 0 {
		t.Errorf("wrong: %q", w)
	}
}
