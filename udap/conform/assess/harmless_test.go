package assess_test

import (
	"net/url"
	"slices"
	"testing"
	"time"

	"fhirdest.example/udap/conform"
	"fhirdest.example/udap/conform/assess"
	"fhirdest.example/udap/trace"
	"fhirdest.example/udap/udaptest"
)

// Requests that were on their way when an answer asked to wait, or refused a token,
// are no mistake.
func TestRequestsOnTheirWay(t *testing.T) {
	const overlap = -2*time.Second - time.Microsecond
	t.Run("wait", func(t *testing.T) {
		s := newScript(t, conform.SSRAA2)
		busy(s)
		s.now = s.now.Add(overlap)
		s.token()
		if wrong := s.wrong(); len(wrong) > 0 {
			t.Errorf("wrong: %q", wrong)
		}
	})
	t.Run("refused token", func(t *testing.T) {
		s := newScript(t, conform.SSRAA2)
		withToken(s)
		s.expired()
		s.now = s.now.Add(overlap)
		s.expired()
		if wrong := s.wrong(); len(wrong) > 0 {
			t.Errorf("wrong: %q", wrong)
		}
	})
}

// A page that a person reloads is the same request again; after its code was redeemed
// it is the client's.
func TestReloadedPages(t *testing.T) {
	for redeemed, want := range map[bool]assess.Colour{
		false: assess.Green,
		true:  assess.Red,
	} {
		s := newScript(t, conform.SSRAA2)
		s.discover(nil)
		s.interactive()
		s.authorize(with("nonce", "n-1234567890"))
		if redeemed {
			s.redeem()
		}

		same := s.asked
		got := s.authorize(func(q url.Values) {
			for name := range same {
				q[name] = same[name]
			}
		})
		if got.Colour != want {
			t.Errorf("redeemed %t: %s (%s)", redeemed, got.Colour, got.Text)
		}
	}
}

// A resource that is not there is no mistake of the client.
func TestResourcesThatAreNotThere(t *testing.T) {
	s := newScript(t, conform.SSRAA2)
	withToken(s)
	s.traces = decided("access.resource", "there is no such resource")
	got := s.read("/fhir/Patient/17", s.access(), 404, "{}")
	if len(got.Findings) > 0 || got.Text != "answered 404" {
		t.Errorf("%s: %v", got.Text, got.Findings)
	}
}

// Scopes that were asked for in vain do not show that a client asks for what it may.
func TestScopesInVain(t *testing.T) {
	for scope, want := range map[string]bool{
		"system/Patient.rs":                       true,
		"system/Patient.rs system/Observation.rs": false,
	} {
		s := newScript(t, conform.SSRAA2)
		ready(s)
		s.form = func(f url.Values) { f.Set("scope", scope) }
		s.traces = []*trace.Trace{
			{
				Steps: []trace.Step{
					{
						Check:   "token.scope",
						Verdict: trace.Passed,
					},
				},
			},
		}
		got := s.posts(url.Values{"grant_type": {"client_credentials"}}, 200,
			`{"access_token":"a","scope":"system/Patient.rs"}`)
		if slices.Contains(got.Shows, "C-13") != want {
			t.Errorf("%s: shows %v", scope, got.Shows)
		}
	}
}

// A mistake that the destination's check describes, too, has one row.
func TestOneRowForOneMistake(t *testing.T) {
	for name, c := range map[string]struct {
		row  string
		send func(s *script)
	}{
		"JSON at the token endpoint": {"S1-223", func(s *script) {
			s.traces = decided("request.type", "application/json")
			s.send("POST", token, "application/json", "{}", 400, "", "{}")
		}},
		"GET at the token endpoint": {"S1-223", func(s *script) {
			s.traces = decided("request.method", "GET")
			s.send("GET", token, "", "", 405, "", "{}")
		}},
		"another scheme": {"C-01", func(s *script) {
			s.head = "Authorization: Basic Zm9v\r\n"
			s.traces = decided("bearer.header", "another scheme")
			s.send("GET", "/fhir/Patient", "", "", 401, "", "{}")
		}},
		"organization_name": {"S1-210", func(s *script) {
			s.claims = treatmentOf(map[string]any{"organization_name": 5})
			s.traces = decided("b2b.organization", "number 5")
			s.posts(url.Values{"grant_type": {"client_credentials"}}, 400, "{}")
		}},
		"a code for client_credentials": {"S1-186", func(s *script) {
			s.posts(url.Values{
				"grant_type": {"authorization_code"},
				"code":       {"x"},
			}, 400, "{}")
		}},
		"a refresh for client_credentials": {"S1-186", func(s *script) {
			s.posts(url.Values{
				"grant_type":    {"refresh_token"},
				"refresh_token": {"x"},
			}, 400, "{}")
		}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScript(t, conform.SSRAA2)
			withToken(s)
			c.send(s)

			var rows []string
			for _, f := range s.all[len(s.all)-1].Findings {
				if f.Row != "" {
					rows = append(rows, f.Row)
				}
			}
			if !slices.Equal(rows, []string{c.row}) {
				t.Errorf("rows %v, want %s alone", rows, c.row)
			}
		})
	}
}

// treatmentOf changes members of the hl7-b2b object.
func treatmentOf(members map[string]any) func(udaptest.Claims) {
	return func(c udaptest.Claims) {
		b2b := map[string]any{}
		for name, v := range c["extensions"].(map[string]any)["hl7-b2b"].(map[string]any) {
			b2b[name] = v
		}
		for name, v := range members {
			b2b[name] = v
		}
		c["extensions"] = map[string]any{"hl7-b2b": b2b}
	}
}
