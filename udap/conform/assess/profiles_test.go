package assess_test

import (
	"net/url"
	"slices"
	"strings"
	"testing"

	"fhirdest.example/udap/conform"
	"fhirdest.example/udap/conform/assess"
	"fhirdest.example/udap/trace"
	"fhirdest.example/udap/udaptest"
)

// each is a session without a profile: that of each client's community counts.
var each = assess.Setting{
	Base:   udaptest.Base,
	Issuer: strings.TrimSuffix(udaptest.Token, "/token"),
	Communities: []assess.Community{
		{
			URI:     "urn:second",
			Profile: conform.SSRAA2,
		},
		{
			URI:     "urn:first",
			Profile: conform.SSRAA1,
		},
		{
			URI:     "urn:tefca",
			Profile: conform.TEFCA,
		},
		{URI: "urn:default"},
	},
}

// Covers: S2-13
func TestEachCommunityHasItsProfile(t *testing.T) {
	for _, c := range []struct {
		community trace.CommunityURI
		wrong     bool
		tefca     bool
	}{
		{"urn:second", true, false},
		{"urn:default", true, false},
		{"urn:first", false, false},
		{"urn:tefca", true, true},
	} {
		t.Run(string(c.community), func(t *testing.T) {
			s := newScript(t, "")
			s.assess = assess.New(each)
			s.discover(nil)
			s.traces = accepts(c.community)
			s.interactive()
			got := s.authorize(func(q url.Values) {
				q.Del("code_challenge")
				q.Del("code_challenge_method")
			})

			if wrong := got.Colour == assess.Red; wrong != c.wrong {
				t.Errorf("a request without PKCE: %s (%s)", got.Colour, got.Text)
			}
			if rows := s.assess.Rows(); has(rows, "S2-13") != c.wrong || has(rows, "TF-46") != c.tefca {
				t.Errorf("rows for %s: S2-13 %t, TF-46 %t", c.community, has(rows, "S2-13"), has(rows, "TF-46"))
			}
			if lane := s.assess.LaneRows(got.Lane); has(lane, "S2-13") != c.wrong {
				t.Errorf("the lane has S2-13: %t", has(lane, "S2-13"))
			}
		})
	}
}

// Before a certificate was verified, the community is that of the metadata.
func TestProfileByTheMetadata(t *testing.T) {
	for community, want := range map[string]int{"urn:first": 0, "urn:second": 1} {
		s := newScript(t, "")
		s.assess = assess.New(each)
		s.target = metadata + "?community=" + url.QueryEscape(community)
		s.discover(nil)

		s.claims = func(c udaptest.Claims) { c["redirect_uris"] = []string{"http://127.0.0.1/cb"} }
		got := s.interactive()
		if n := len(got.Findings); n != want {
			t.Errorf("%s: %d findings, want %d: %v", community, n, want, got.Findings)
		}
	}
}

// A client of several communities may be refused the metadata of one and go on with
// another; after nothing but a refusal it may not.
//
// Covers: S1-016, S2-07
func TestCommunitiesThatAreUnknown(t *testing.T) {
	for name, c := range map[string]struct {
		asked []string
		row   string
	}{
		"another first": {asked: []string{"urn:other"}},
		"another later": {asked: []string{"", "urn:other"}},
		"the same":      {asked: []string{"", "gone"}, row: "S1-016"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScript(t, conform.SSRAA2)
			for _, community := range c.asked {
				switch community {
				case "":
					s.discover(nil)
				case "gone":
					s.send("GET", metadata, "", "", 404, "", "")
				default:
					s.send("GET", metadata+"?community="+community, "", "", 204, "", "")
				}
			}
			if c.asked[0] != "" {
				s.discover(nil)
			}

			got := s.register()
			var wrong string
			for _, f := range got.Findings {
				wrong += f.Row
			}
			if wrong != c.row {
				t.Errorf("findings about %q, want %q: %s", wrong, c.row, got.Text)
			}
		})
	}
}

// accepts is a trace of a client that the destination knows.
func accepts(community trace.CommunityURI) []*trace.Trace {
	return []*trace.Trace{
		{
			Community: community,
			Client:    udaptest.Client1URI,
		},
	}
}

func has(rows []conform.Outcome, id string) bool {
	return slices.ContainsFunc(rows, func(o conform.Outcome) bool { return o.Row == id })
}
