package assess_test

import (
	"strings"
	"testing"
	"time"

	"fhirdest.example/udap/conform"
	"fhirdest.example/udap/conform/assess"
	"fhirdest.example/udap/udaptest"
)

// statementRows are about who, for whom and when of a software statement.
var statementRows = []rowTest{
	{"S1-069", machine, nil, ""},
	{"S1-071", machine, unsigned, "the registration has no software statement"},
	{"S1-071", nil, registered("application/json", "\ufeff{}"), "is not one JSON object"},
	{"S1-071", nil, registered("application/x-www-form-urlencoded", "udap=1"), "is a form and not JSON"},
	{"S1-071", nil, func(s *script) {
		s.discover(nil)
		body := s.json(map[string]any{
			"software_statement": s.jwt(s.client.Statement(s.now)),
			"udap":               1,
		})
		s.send("POST", register, "application/json", body, 400, "", "{}")
	}, `no udap with the value "1"`},
	{"S1-075", machine, statement("iss", "https://other.test/app"), "no URI of the certificate"},
	{"S1-075", nil, statement("iss", nil), "has no iss"},
	{"S1-076", machine, statement("sub", "https://other.test/app"), "sub of the statement is not iss"},
	{"S1-077", machine, statement("aud", udaptest.Token), "the token endpoint, not the registration endpoint"},
	{"S1-077", nil, statement("aud", nil), "has no aud"},
	{
		"S1-077", nil, statement("aud", []string{udaptest.Registration, udaptest.Token}),
		"has 2 values, not the registration endpoint alone",
	},
	{"S1-077", nil, statement("aud", udaptest.Registration+"/"), "the registration endpoint with a slash at its end"},
	{
		"S1-077", nil, statement("aud", strings.ToUpper(udaptest.Registration)),
		"the registration endpoint in other upper and lower case",
	},
	{"S1-077", nil, statement("aud", 5), "is no URL"},
	{"S1-077", nil, statement("aud", "https://far.test/"), "another URL"},
	{"S1-078", machine, statement("exp", nil), "has no exp"},
	{"S1-078", nil, statement("exp", udaptest.Now.Add(time.Minute).UnixMilli()), "in milliseconds"},
	{"S1-078", nil, func(s *script) {
		s.discover(nil)
		s.claims = func(c udaptest.Claims) {
			c["iat"], c["exp"] = s.now.Add(-time.Hour).Unix(), s.now.Add(-58*time.Minute).Unix()
		}
		s.register()
	}, "had expired"},
	{"S1-078", nil, statement("exp", udaptest.Now.Add(-10*time.Second).Unix()),
		"exp of the software statement is before iat"},
	{"S1-079", machine, statement("exp", udaptest.Now.Add(time.Hour).Unix()), "more than five minutes"},
	{"S1-080", machine, statement("iat", "now"), "is not a number"},
	{"S1-080", nil, func(s *script) {
		s.discover(nil)
		s.claims = func(c udaptest.Claims) {
			c["iat"], c["exp"] = s.now.Add(10*time.Minute).Unix(), s.now.Add(12*time.Minute).Unix()
		}
		s.register()
	}, "seconds in the future"},
	{"S1-081", machine, statement("jti", nil), "has no jti"},
	{"S1-082", machine, func(s *script) {
		ready(s)
		for _, name := range []string{"One name", "Another name"} {
			s.claims = both(change("jti", "again"), change("client_name", name))
			s.register()
		}
	}, "the same jti was in a software statement before"},
	{"S1-102", machine, func(s *script) {
		ready(s)
		s.interactive()
	}, "registered for another flow"},
	{"S1-123", func(s *script) {
		ready(s)
		s.cancel()
	}, func(s *script) {
		ready(s)
		s.cancel()
		s.token()
	}, "after the answer that the registration is cancelled"},
	{"C-09", func(s *script) {
		ready(s)
		s.claims = change("client_name", "Another name")
		s.register()
	}, func(s *script) {
		ready(s)
		s.register()
	}, "registered again with the same metadata"},
}

func both(f, g func(udaptest.Claims)) func(udaptest.Claims) {
	return func(c udaptest.Claims) {
		f(c)
		g(c)
	}
}

// registered sends a registration of this body.
func registered(media, body string) func(s *script) {
	return func(s *script) {
		s.discover(nil)
		s.send("POST", register, media, body, 400, "", "{}")
	}
}

// unsigned registers as RFC 7591 has it, without a statement.
func unsigned(s *script) {
	s.discover(nil)
	s.send("POST", register, "application/json", `{"client_name":"Test client"}`, 400, "", "{}")
}

// cancel registers with empty grant types.
func (s *script) cancel() {
	s.t.Helper()
	s.claims = change("grant_types", []string{})
	s.register()
}

// metadataRows are about what a client registers.
var metadataRows = []rowTest{
	{"S1-083", machine, statement("client_name", nil), "has no client_name"},
	{"S1-083", nil, statement("client_name", " "), "client_name is empty"},
	{"S1-083", nil, statement("client_name", 5), "client_name is a number, not a string"},
	{"S1-084", person, interactive("redirect_uris", nil), "has no redirect_uris"},
	{"S1-085", machine, statement("redirect_uris", []string{redirect}), "present without authorization_code"},
	{"S1-086", machine, statement("contacts", nil), "has no contacts"},
	{"S1-086", nil, statement("contacts", "mailto:op@client1.test"), "contacts is a string, not an array"},
	{"S1-086", nil, statement("contacts", []string{}), "contacts is an empty array"},
	{"S1-086", nil, statement("contacts", []any{5}), "contacts has an element that is not a string"},
	{"S1-086", nil, statement("contacts", []string{"op@client1.test"}), "contacts has an element that is not a URI"},
	{"S1-087", machine, statement("contacts", []string{"tel:+1-555-0100"}),
		"none of the contacts is an e-mail address"},
	{"S1-088", person, interactive("logo_uri", nil), "has no logo_uri"},
	{"S1-090", person, interactive("logo_uri", "http://client1.test/logo.png"), "not an https URL"},
	{"S1-091", person, interactive("logo_uri", "https://client1.test/logo.svg"), "does not name a PNG, JPG or GIF"},
	{"S1-091", nil, interactive("logo_uri", "https://client1.test/logo?id=3"), "it is not known whether"},
	{"S1-092", machine, statement("grant_types", nil), "has no grant_types"},
	{"S1-092", nil, statement("grant_types", []string{"client_credentials", "refresh_token"}), "refresh_token without"},
	{"S1-092", nil, interactive("grant_types", []string{"authorization_code", "client_credentials"}), "has both"},
	{"S1-092", nil, statement("grant_types", []string{"password"}), "neither"},
	{"S1-093", person, interactive("response_types", nil), "has no response_types"},
	{"S1-094", person, interactive("response_types", []string{"token"}), `not ["code"]`},
	{"S1-095", machine, statement("response_types", []string{"code"}), "present without authorization_code"},
	{"S1-096", machine, statement("token_endpoint_auth_method", "client_secret_basic"),
		`token_endpoint_auth_method is "client_secret_basic"`},
	{"S1-097", machine, statement("scope", nil), "has no scope"},
	{"S1-097", nil, statement("scope", "system/Patient.rs  system/Observation.rs"), "more than single spaces"},
	{"S1-097", nil, statement("scope", []string{"system/Patient.rs"}), "scope is an array, not a string"},
	{"S1-097", nil, statement("scope", ""), "scope is empty"},
	{"S1-099", machine, statement("scope", "user/Patient.rs"), "no system scope"},
	{"S1-100", person, interactive("scope", "system/Patient.rs"), "system scopes alone"},
	{"S2-11", person, interactive("redirect_uris", []string{"http://client1.test/cb"}), "not a plain https URL"},
	{"C-13", nil, refusedScope("user/Patient.rs", (*script).register), "asks for no system scope"},
	{"C-13", nil, refusedScope("system/Patient.rs", (*script).interactive), "system scopes alone"},
	{"C-14", accepting("registration.required"), refusal("registration.required", "no tos_uri"), "no tos_uri"},
	{"C-15", accepting("certification.sub"), refusal("certification.exp", "it expired"), "it expired"},
}

// refusedScope registers, and the destination refuses the scopes.
func refusedScope(scope string, register func(s *script) assess.Assessment) func(s *script) {
	return func(s *script) {
		s.discover(nil)
		s.claims = change("scope", scope)
		s.traces = decided("register.scope", "none that this client may have")
		register(s)
	}
}

// accepting registers, and a check of the destination passes.
func accepting(check string) func(s *script) {
	return func(s *script) {
		s.discover(nil)
		s.traces = passing(check)
		s.register()
	}
}

// refusal registers, and a check of the destination refuses.
func refusal(check, found string) func(s *script) {
	return func(s *script) {
		s.discover(nil)
		s.traces = decided(check, found)
		s.register()
	}
}

// Covers: S1-069, S1-071, S1-103, S1-104, S1-075, S1-076, S1-077, S1-078, S1-079, S1-080, S1-081, S1-082,
// S1-102, S1-123
func TestStatements(t *testing.T) { run(t, conform.SSRAA2, statementRows) }

// Covers: S1-083, S1-084, S1-085, S1-086, S1-087, S1-088, S1-090, S1-091, S1-092, S1-093, S1-094, S1-095, S1-096,
// S1-097, S1-099, S1-100, S2-11
func TestClientMetadata(t *testing.T) { run(t, conform.SSRAA2, metadataRows) }

// The difference of iss to a name of the certificate is named.
// Covers: S1-101
func TestNearlyTheName(t *testing.T) {
	for iss, remedy := range map[string]string{
		udaptest.Client1URI + "/":               "slash at the end",
		strings.ToUpper(udaptest.Client1URI):    "capital letters",
		"https://elsewhere.test/of/another/app": "byte for byte",
	} {
		t.Run(iss, func(t *testing.T) {
			s := newScript(t, conform.SSRAA2)
			s.claims = both(change("iss", iss), change("sub", iss))
			s.register()
			if o := s.outcome("S1-075"); !strings.Contains(o.Remedy, remedy) {
				t.Errorf("the remedy is %q", o.Remedy)
			}
		})
	}
}
