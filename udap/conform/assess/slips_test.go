package assess_test

import (
	"net/url"
	"testing"

	"fhirdest.example/udap/conform"
	"fhirdest.example/udap/trace"
)

// slipRows are mistakes that destinations let pass, or answer as if nothing were there.
var slipRows = []rowTest{
	{"C-13", nil, granted("token.scope", trace.Passed, "system/Patient.rs", func(s *script) {
		s.form = with("scope", "system/Patient.rs system/Encounter.rs")
		s.token()
	}), "has not registered: system/Encounter.rs"},
	{"C-13", nil, granted("token.scope", trace.Passed, "system/Patient.rs", func(s *script) {
		s.form = with("scope", "openid system/Patient.rs")
		s.token()
	}), "about a person who signs in is asked for by client_credentials: openid"},
	{"C-13", nil, func(s *script) {
		readyForPerson(s)
		s.traces = step("authorize.scope", trace.Warned, "not granted: user/Encounter.rs")
		s.authorize(with("scope", "user/Patient.rs user/Encounter.rs"))
	}, "has not registered: user/Encounter.rs"},
	{"S1-099", nil, statement("scope", "system/Patient.rs openid"), "about a person who signs in"},
	{"S1-097", nil, statement("scope", "system/Patient.rs,system/Observation.rs"), "commas between its scopes"},
	{"S1-097", nil, statement("scope", "system/Patient.rs, system/Observation.rs"), "commas between its scopes"},
	{"S1-123", nil, func(s *script) {
		ready(s)
		s.cancel()
		s.cancelInVain()
	}, "cancelled again, after the answer that it is cancelled"},

	{"S1-215", nil, func(s *script) {
		ready(s)
		s.claims = treatmentOf(map[string]any{"purpose_of_use": []string{"TREAT"}})
		s.traces = step("b2b.purpose_of_use", trace.Warned, "TREAT")
		s.token()
	}, "a bare code, without its code system"},
	{"S1-212", nil, b2b("organization_id", 12345), "organization_id is a number, not a string"},
	{"S1-212", nil, b2b("organization_id", ""), "organization_id is empty"},

	{"S1-081", nil, statement("jti", 5), "jti of the software statement is a number, not a string"},
	{"S1-158", nil, assertion("jti", ""), "jti of the authentication token is empty"},
	{"S1-157", nil, func(s *script) {
		ready(s)
		s.claims = change("iat", float64(s.now.Unix())+0.5)
		s.token()
	}, "iat of the authentication token is no whole number"},
	{"S1-223", nil, func(s *script) {
		ready(s)
		s.send("POST", token, "", "grant_type=client_credentials", 415, "", "{}")
	}, "has no Content-Type"},
	{"C-01", nil, func(s *script) {
		withToken(s)
		s.head = "Authorization: " + s.access() + "\r\n"
		s.send("GET", "/fhir/Patient", "", "", 401, "", "{}")
	}, "has no scheme"},

	{"C-17", machine, lost("/fhir//Patient"), "two slashes"},
	{"C-17", nil, lost("/fhir//.well-known/udap"), "two slashes"},
	{"C-17", nil, lost("/fhir/.well-known/udap/"), "a slash at its end"},
	{"C-17", nil, lost("/FHIR/.well-known/udap"), "in other letters"},
	{"C-17", nil, lost("/fhir/Patient%2F1"), "%2F"},
	{"C-18", func(s *script) {
		readyForPerson(s)
		s.traces = passing("authorize.aud")
		s.authorize(nil)
	}, func(s *script) {
		readyForPerson(s)
		s.traces = decided("authorize.aud", "https://far.test/fhir")
		s.authorize(with("aud", "https://far.test/fhir"))
	}, "https://far.test/fhir"},
}

// step is a trace of one check.
func step(check string, v trace.Verdict, found string) []*trace.Trace {
	return []*trace.Trace{
		{
			Steps: []trace.Step{
				{
					Check:   check,
					Verdict: v,
					Found:   found,
				},
			},
		},
	}
}

// granted is a request of a registered client about which a check found something.
func granted(check string, v trace.Verdict, found string, ask func(s *script)) func(s *script) {
	return func(s *script) {
		ready(s)
		s.traces = step(check, v, found)
		ask(s)
	}
}

// lost is a read at a path where nothing is.
func lost(path string) func(s *script) {
	return func(s *script) {
		withToken(s)
		s.read(path, s.access(), 404, "{}")
	}
}

// cancelInVain cancels a registration that there is no more.
func (s *script) cancelInVain() {
	s.t.Helper()
	s.traces = decided("register.cancel", "none")
	s.claims = change("grant_types", []string{})
	body := s.json(map[string]any{
		"software_statement": s.jwt(s.client.Statement(s.now)),
		"udap":               "1",
	})
	s.send("POST", register, "application/json", body, 400, "", "{}")
}

// Covers: S1-097, S1-099, S1-123, S1-215
func TestSlips(t *testing.T) { run(t, conform.SSRAA2, slipRows) }

// A client whose statement cannot be read has read the metadata all the same, by another
// library.
func TestUnreadableStatementAfterMetadata(t *testing.T) {
	s := newScript(t, conform.SSRAA2)
	s.discover(nil)
	s.head = "User-Agent: another\r\n"
	body := s.json(map[string]any{
		"software_statement": "a.b",
		"udap":               "1",
	})
	s.send("POST", register, "application/json", body, 400, "", "{}")
	if o := s.outcome("S1-021"); o.Verdict != conform.Shown {
		t.Errorf("S1-021 is %s: %s", o.Verdict, o.Text)
	}
}

// A wildcard may be asked for at any time: what of it was registered is granted. Nor is a
// scope a mistake that a registered wildcard includes, beside one that is left out for
// another reason than the registration.
func TestScopesOfWildcardsAreNoMistake(t *testing.T) {
	for name, send := range map[string]func(*script){
		"of client_credentials": func(s *script) {
			ready(s)
			s.traces = step("token.scope", trace.Passed, "system/Patient.rs")
			s.form = with("scope", "system/*.rs")
			s.token()
		},
		"beside what needs refresh tokens": func(s *script) {
			readyForPerson(s)
			s.traces = step("authorize.scope", trace.Warned, "authorization_code")
			s.authorize(with("scope", "user/Observation.rs offline_access"))
		},
		"beside what is left out": func(s *script) {
			readyForPerson(s)
			s.traces = step("authorize.scope", trace.Warned, "not granted: user/Patient.rs")
			s.authorize(with("scope", "user/Observation.rs user/Patient.rs"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScript(t, conform.SSRAA2)
			send(s)
			if o := s.outcome("C-13"); o.Verdict == conform.Violated {
				t.Errorf("%s: %s", o.Row, o.Text)
			}
		})
	}
}

// What is not registered is no mistake where the destination grants it all the same, as
// it does what a wildcard has, and a first cancellation of nothing is no second one.
func TestGrantedScopesAreNoMistake(t *testing.T) {
	s := newScript(t, conform.SSRAA2)
	ready(s)
	s.traces = step("token.scope", trace.Passed, "system/Observation.rs")
	s.form = func(f url.Values) { f.Set("scope", "system/Observation.rs") }
	s.token()

	s.cancelInVain()
	for _, o := range s.assess.Rows() {
		if o.Verdict == conform.Violated {
			t.Errorf("%s: %s", o.Row, o.Text)
		}
	}
}
