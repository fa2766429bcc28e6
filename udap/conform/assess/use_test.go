package assess_test

import (
	"net/url"
	"testing"
	"time"

	"fhirdest.example/udap/conform"
	"fhirdest.example/udap/conform/assess"
	"fhirdest.example/udap/trace"
	"fhirdest.example/udap/udaptest"
)

// page is a page with a next link.
const page = `{"resourceType":"Bundle","link":[` +
	`{"relation":"next","url":"https://fhir.test/fhir/Patient?_page=a%7Cb&_count=2"}]}`

// withToken has a token.
func withToken(s *script) {
	ready(s)
	s.token()
}

// useRows are about the use of tokens.
var useRows = []rowTest{
	{"S1-066", machine, func(s *script) {
		s.discover(nil)
		s.read("/fhir/Patient", "", 401, "{}")
	}, "before the client registered"},
	{"S2-22", nil, func(s *script) {
		withToken(s)
		s.traces = decided("access.breakGlass", "TREAT")
		s.read("/fhir/Patient", s.access(), 403, "{}")
	}, "claims an emergency"},
	{"C-01", machine, func(s *script) {
		withToken(s)
		s.read("/fhir/Patient?access_token=access-2", "", 401, "{}")
	}, "the access token is in the URL"},
	{"C-01", nil, func(s *script) {
		withToken(s)
		s.head = "Authorization: Bearer access-2\r\n"
		s.read("/fhir/Patient", s.access(), 400, "{}")
	}, "more than one Authorization header"},
	{"C-02", func(s *script) {
		withToken(s)
		s.read("/fhir/Patient", s.access(), 200, page)
		s.read("/fhir/Patient?_page=a%7Cb&_count=2", s.access(), 200, "{}")
	}, func(s *script) {
		withToken(s)
		s.read("/fhir/Patient", s.access(), 200, page)
		s.read("/fhir/Patient?_count=2&_page=a|b", s.access(), 200, "{}")
	}, "not followed byte for byte"},
	{"C-03", func(s *script) {
		busy(s)
		s.now = s.now.Add(time.Minute)
		s.token()
	}, func(s *script) {
		busy(s)
		s.token()
	}, "sooner than the client was asked to wait"},
	{"C-04", func(s *script) {
		withToken(s)
		s.poll(202)
		s.now = s.now.Add(time.Minute)
		s.poll(200)
	}, func(s *script) {
		withToken(s)
		s.poll(202)
		s.poll(200)
	}, "sooner than the client was asked to wait"},
	{"C-08", machine, func(s *script) {
		withToken(s)
		s.expired()
		s.expired()
	}, "a token that was refused is used again"},
	{"C-10", func(s *script) {
		withToken(s)
		s.traces = passing("access.scope")
		s.read("/fhir/Patient", s.access(), 200, "{}")
	}, func(s *script) {
		withToken(s)
		s.traces = decided("access.scope", "system/Patient.rs")
		s.read("/fhir/Condition", s.access(), 403, "{}")
	}, "no scope of the token allows the request"},
	{"C-11", machine, func(s *script) {
		ready(s)
		s.read("/fhir/Patient", "", 401, "{}")
	}, "without an access token"},
	{"C-11", nil, func(s *script) {
		ready(s)
		s.read("/fhir/Patient", "of-another-server", 401, "{}")
	}, "none that was issued here"},
	{"C-16", func(s *script) {
		withToken(s)
		s.traces = passing("dpop.signature")
		s.read("/fhir/Patient", s.access(), 200, "{}")
	}, func(s *script) {
		withToken(s)
		s.traces = decided("dpop.htu", "another URL")
		s.read("/fhir/Patient", s.access(), 400, "{}")
	}, "another URL"},
}

// expired reads with a token that counts no longer.
func (s *script) expired() assess.Assessment {
	s.t.Helper()
	s.traces = decided("bearer.token", "it expired")
	s.head = "Authorization: Bearer " + s.access() + "\r\n"
	return s.send("GET", "/fhir/Patient", "", "", 401, "WWW-Authenticate: Bearer error=\"invalid_token\"\r\n", "{}")
}

// A token that has ended may be used once, by which its client learns that; and a
// proof without the nonce that it then learns is no mistake.
func TestWhatIsLearnedByARefusal(t *testing.T) {
	s := newScript(t, conform.SSRAA2)
	withToken(s)
	if a := s.expired(); a.Colour != assess.Amber {
		t.Errorf("an expired token is %s: %s", a.Colour, a.Text)
	}

	s.traces = decided("dpop.nonce", "no nonce")
	s.send("POST", "/fhir/Patient/_search", "", "", 401, "", "{}")
	if w := s.outcome("C-16"); w.Verdict != conform.NotExercised {
		t.Errorf("C-16 is %s: %s", w.Verdict, w.Text)
	}

	person := newScript(t, conform.SSRAA2)
	readyForPerson(person)
	person.authorize(nil)
	person.redeem()
	person.traces = decided("token.refresh_token", "it was withdrawn")
	form := url.Values{
		"grant_type":    {"refresh_token"},
		"refresh_token": {"refresh-3"},
	}
	if a := person.posts(form, 400, "{}"); a.Colour != assess.Amber {
		t.Errorf("a refresh token that was withdrawn is %s: %s", a.Colour, a.Text)
	}
}

// busy asks for a token and is asked to wait for half a minute.
func busy(s *script) {
	ready(s)
	body := "grant_type=client_credentials&udap=1&client_assertion=" +
		s.client.Sign(s.t, udaptest.Assertion("client-1", s.now)) +
		"&client_assertion_type=urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
	s.send("POST", token, "application/x-www-form-urlencoded", body, 429, "Retry-After: 30\r\n", "{}")
}

// poll asks for the status of a job.
func (s *script) poll(status int) {
	s.t.Helper()
	s.head = "Authorization: Bearer access-2\r\n"
	s.send("GET", "/fhir/jobs/7", "", "", status, "Retry-After: 20\r\n", "{}")
}

// tefcaRows are about TEFCA's procedures (diagnostics 45 to 48).
var tefcaRows = []rowTest{
	{"TF-45", treatment(nil), treatment(func(ext, b2b map[string]any) {
		ext["tefca-ias"] = map[string]any{}
	}), "has the name tefca_ias now"},
	{"TF-46", treatment(nil), treatment(func(ext, b2b map[string]any) {
		b2b["purpose_of_use"] = []string{"urn:oid:2.16.840.1.113883.5.8#T-TREAT"}
	}), "not an exchange purpose of TEFCA's edition"},
	{"TF-46", nil, treatment(func(_, b2b map[string]any) {
		b2b["purpose_of_use"] = []string{"TREAT"}
	}, decided("b2b.purpose_of_use", "TREAT")...), `purpose_of_use has "TREAT"`},
	{"TF-47", treatment(nil), treatment(func(ext, b2b map[string]any) {
		b2b["organization_name"] = "A clinic"
	}), "no NPI or TIN"},
	{"TF-47", nil, treatment(func(ext, b2b map[string]any) {
		b2b["organization_id"] = "urn:oid:1.2.3"
	}), "not the organization's URL in the directory"},
	{"TF-48", treatment(nil), treatment(func(ext, b2b map[string]any) {
		b2b["purpose_of_use"] = []string{purposes + "#T-PYMNT"}
	}), "not the one that the client URI names"},
}

const purposes = "urn:oid:2.16.840.1.113883.3.7204.1.5.2.1"

// treatment asks for a token as a member of TEFCA that treats patients.
func treatment(edit func(ext, b2b map[string]any), traces ...*trace.Trace) func(s *script) {
	return func(s *script) {
		w := udaptest.New(s.t, "p256")
		s.client = w.Client(s.t, w.A.Int, udaptest.Client1URI+"#T-TREAT", nil)
		ready(s)
		s.claims = func(c udaptest.Claims) {
			o := udaptest.B2B()
			o["organization_name"] = "A clinic, NPI 1234567893"
			o["purpose_of_use"] = []string{purposes + "#T-TREAT"}
			ext := map[string]any{"hl7-b2b": o}
			if edit != nil {
				edit(ext, o)
			}
			c["extensions"] = ext
		}
		s.traces = traces
		s.token()
	}
}

// Covers: S1-066, S2-22
func TestUse(t *testing.T) { run(t, conform.SSRAA2, useRows) }

// Diagnostics 45 to 48.
func TestTEFCA(t *testing.T) { run(t, conform.TEFCA, tefcaRows) }

// TestWhatIsNoMistake: the text of what breaks no rule is what was found, and names no
// rule that the client had kept.
func TestWhatIsNoMistake(t *testing.T) {
	s := newScript(t, conform.SSRAA2)
	withToken(s)
	s.traces = decided("access.consent", "the patient has not consented")
	if a := s.read("/fhir/Patient/1", s.access(), 403, "{}"); a.Text != "the patient has not consented" {
		t.Errorf("the text is %q", a.Text)
	}
}
