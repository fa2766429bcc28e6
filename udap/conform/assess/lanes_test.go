package assess_test

import (
	"fmt"
	"net/url"
	"slices"
	"testing"

	"fhirdest.example/udap/conform"
	"fhirdest.example/udap/conform/assess"
	"fhirdest.example/udap/trace"
	"fhirdest.example/udap/udaptest"
)

// second returns a script of another client that is assessed by the same Assessor.
func (s *script) second() *script {
	s.t.Helper()
	w := udaptest.New(s.t, "p256")
	other := *s
	other.client = w.Client(s.t, w.A.Int, udaptest.Client2URI, nil)
	other.id, other.n = "second", 100
	return &other
}

// Two clients from one address are two lanes, each with its own outcomes; what each
// asked for before it had a name is in the lane of the one that named itself next.
func TestTwoClientsAreTwoLanes(t *testing.T) {
	one := newScript(t, conform.SSRAA2)
	ready(one)
	two := one.second()
	two.discover(nil)
	two.claims = change("contacts", nil)
	two.register()

	lanes := one.assess.Lanes()
	if len(lanes) != 2 {
		t.Fatalf("%d lanes: %+v", len(lanes), lanes)
	}
	if lanes[0].Steps[0].Count != 1 || lanes[1].Steps[0].Step != conform.Discover {
		t.Errorf("the steps are %+v and %+v", lanes[0].Steps, lanes[1].Steps)
	}
	for i, colour := range []assess.Colour{assess.Green, assess.Red} {
		if lanes[i].Colour != colour {
			t.Errorf("lane %s is %s, want %s", lanes[i].Name, lanes[i].Colour, colour)
		}
		violated := slices.ContainsFunc(one.assess.LaneRows(lanes[i].ID), func(o conform.Outcome) bool {
			return o.Row == "S1-086" && o.Verdict == conform.Violated
		})
		if violated != (colour == assess.Red) {
			t.Errorf("lane %s: contacts violated: %t", lanes[i].Name, violated)
		}
	}
	if one.assess.LaneRows("c99") != nil {
		t.Error("outcomes of a lane that does not exist")
	}
}

// A lane has the name of its client: the address at first, then the URI that is known,
// then the name in a statement, which a statement without one does not end.
func TestNamesOfClients(t *testing.T) {
	s := newScript(t, conform.SSRAA2)
	if got := s.discover(nil).Client; got.Name != "client at "+s.assess.Lanes()[0].Address || got.URI != "" {
		t.Errorf("first %+v", got)
	}

	verified := []*trace.Trace{
		{
			Community: udaptest.CommunityA,
			Client:    udaptest.Client1URI,
		},
	}
	want := assess.Known{
		Name: udaptest.Client1URI,
		URI:  udaptest.Client1URI,
	}
	s.claims = change("client_name", nil)
	if got := s.register().Client; got != want {
		t.Errorf("with a statement without a name %+v", got)
	}

	s.traces = verified
	s.claims = change("client_name", "The client")
	want.Name, want.Community = "The client", udaptest.CommunityA
	if got := s.register().Client; got != want {
		t.Errorf("with a name, verified %+v", got)
	}

	for _, none := range []any{nil, " \t"} {
		s.claims = change("client_name", none)
		if got := s.register().Client; got != want {
			t.Errorf("with the name %v again %+v", none, got)
		}
	}
}

// What the destination verified is the name of a client that the session never saw
// register.
func TestNameOfAnEarlierClient(t *testing.T) {
	s := newScript(t, conform.SSRAA2)
	s.traces = []*trace.Trace{
		{
			Community: udaptest.CommunityA,
			Client:    udaptest.Client1URI,
		},
	}
	if got := s.token().Client.Name; got != udaptest.Client1URI {
		t.Errorf("the client is named %q", got)
	}
}

// What a client did before it named itself is in its lane, and a mistake stays with its
// step when that goes well later.
func TestLaneHasAllOfItsClient(t *testing.T) {
	s := newScript(t, conform.SSRAA2)
	chosen := metadata + "?community=" + url.QueryEscape(string(udaptest.CommunityA))
	first := s.send("GET", chosen, "", "", 200, "", "{}")
	began := s.now
	s.discover(nil)
	for _, claims := range []func(udaptest.Claims){nil, change("contacts", nil), nil} {
		s.claims = claims
		s.register()
	}

	l := s.assess.Lanes()[0]
	if !l.First.Equal(began) || l.Exchanges != 5 {
		t.Errorf("%d exchanges from %s on, want 5 from %s on", l.Exchanges, l.First, began)
	}
	if step := l.Steps[1]; step.Count != 3 || step.Colour != assess.Green || step.Worst != assess.Red {
		t.Errorf("registration %+v", step)
	}

	rows := map[string]conform.Verdict{}
	for _, o := range s.assess.LaneRows(l.ID) {
		rows[o.Row] = o.Verdict
	}
	if len(first.Shows) == 0 {
		t.Error("the first exchange shows nothing")
	}
	for _, row := range first.Shows {
		if rows[row] != conform.Shown {
			t.Errorf("%s is %s", row, rows[row])
		}
	}
}

// Rows of a guide that does not bind under the profile are no findings.
func TestFindingsBind(t *testing.T) {
	for profile, want := range map[conform.Profile]bool{
		conform.SSRAA1: false,
		conform.SSRAA2: true,
	} {
		s := newScript(t, profile)
		readyForPerson(s)
		a := s.authorize(func(q url.Values) {
			q.Del("code_challenge")
			q.Del("code_challenge_method")
		})
		got := slices.ContainsFunc(a.Findings, func(f conform.Finding) bool { return f.Row == "S2-13" })
		if got != want {
			t.Errorf("%s: a request without a challenge has S2-13: %t", profile, got)
		}
	}
}

// A client that sends another one's client_id has its own lane, by its certificate.
func TestAnotherOnesName(t *testing.T) {
	one := newScript(t, conform.SSRAA2)
	ready(one)
	two := one.second()
	two.register()
	two.id = one.id
	a := two.token()
	if lanes := one.assess.Lanes(); len(lanes) != 2 || a.Lane != lanes[1].ID {
		t.Errorf("in lane %s of %+v", a.Lane, lanes)
	}
}

// Clients of one URI in two communities are two lanes.
func TestCommunitiesAreApart(t *testing.T) {
	s := newScript(t, conform.SSRAA2)
	for _, community := range []trace.CommunityURI{udaptest.CommunityA, udaptest.CommunityB} {
		s.traces = []*trace.Trace{
			{
				Community: community,
				Client:    udaptest.Client1URI,
			},
		}
		s.register()
	}

	if lanes := s.assess.Lanes(); len(lanes) != 2 || lanes[0].Community == lanes[1].Community {
		t.Errorf("lanes %+v", lanes)
	}
}

// Clients beyond the limit share one lane.
func TestLanesAreBounded(t *testing.T) {
	s := newScript(t, conform.SSRAA2)
	const many = 300
	for i := range many {
		s.head = fmt.Sprintf("User-Agent: client %d\r\n", i)
		s.send("GET", metadata, "", "", 200, "", "{}")
	}

	lanes := s.assess.Lanes()
	if n := len(lanes); n > 200 || lanes[n-1].Exchanges < many-200 {
		t.Errorf("%d lanes, %d exchanges in the last", n, lanes[n-1].Exchanges)
	}
}

// A refusal after which an observing destination went on is a violation like another.
func TestObserved(t *testing.T) {
	s := newScript(t, conform.SSRAA2)
	ready(s)
	s.traces = decided("b2b.purpose_of_use", "none that is allowed")
	s.traces[0].Steps[0].Verdict = trace.Observed
	s.traces[0].RefusedBy = ""
	a := s.token()
	if a.Colour != assess.Red || s.outcome("S1-215").Verdict != conform.Violated {
		t.Errorf("%s: %s", a.Colour, a.Text)
	}
}

// A request without a token that came after the registration shows no mistake in the
// order, though the client named itself at that place only later.
func TestRegisteredElsewhere(t *testing.T) {
	for name, before := range map[string]func(s *script){
		"metadata are read again": func(s *script) { s.discover(nil) },
		"another program library": func(s *script) { s.head = "User-Agent: reader\r\n" },
	} {
		t.Run(name, func(t *testing.T) {
			s := newScript(t, conform.SSRAA2)
			withToken(s)
			access := s.access()
			before(s)
			head := s.head
			a := s.read("/fhir/Patient", "", 401, "{}")
			s.head = head
			s.read("/fhir/Patient", access, 200, "{}")

			if got := s.outcome("S1-066"); got.Verdict != conform.Shown {
				t.Errorf("S1-066 is %s: %s", got.Verdict, got.Text)
			}
			if len(a.Findings) != 1 || a.Findings[0].Row != "C-11" {
				t.Errorf("findings %+v", a.Findings)
			}
		})
	}
}
