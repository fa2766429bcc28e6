package assess

import (
	"cmp"
	"time"

	"fhirdest.example/udap/conform"
	"fhirdest.example/udap/conform/hint"
	"fhirdest.example/udap/trace"
)

// Setting is what an Assessor knows of the session.
type Setting struct {
	Base   string // FHIR base URL
	Issuer string // of the authorization server

	// Profile decides which rows bind. Empty: that of each client's community does.
	Profile conform.Profile

	Communities []Community // of the destination
}

// Community is a trust community of the destination.
type Community struct {
	URI     trace.CommunityURI
	Profile conform.Profile // empty: ssraa-2
}

// Colour is how a step of a client went.
type Colour = string

// The colours.
const (
	Green Colour = "green" // nothing is wrong
	Amber Colour = "amber" // it went on, or may, and a stricter destination might refuse it
	Red   Colour = "red"   // a requirement was violated
)

// Assessment is what one exchange shows.
type Assessment struct {
	Exchange uint64       `json:"exchange"`
	Lane     string       `json:"lane"`             // id of the lane
	Joined   []string     `json:"joined,omitempty"` // lanes that turned out to be this one
	Client   Known        `json:"client"`
	Step     conform.Step `json:"step"`
	Colour   Colour       `json:"colour"`
	Text     string       `json:"text"` // why, in one sentence
	// Findings are what was wrong, and hints; Shows are the rows that it shows.
	Findings []conform.Finding `json:"findings,omitempty"`
	Shows    []string          `json:"shows,omitempty"`
}

// Known is what is known about a client since an exchange of it.
type Known struct {
	Name      string             `json:"name"`                // as it names itself; else its URI or address
	URI       trace.ClientURI    `json:"uri,omitempty"`       // verified, or else that of its statement
	Community trace.CommunityURI `json:"community,omitempty"` // verified
}

// Assessor assesses the clients of one session. Its methods must not be called at
// the same time.
type Assessor struct {
	set   Setting
	tally tally

	widest conform.Profile // of those of the clients so far; empty: none is known

	lanes []*lane        // those that are no part of another
	rest  *lane          // of clients beyond maxLanes; nil: there are fewer
	byKey *memory[*lane] // see lane.go for the keys

	// What was issued in the session, by its masked form, and by whom it was used.
	clients   *memory[*registration]  // by client_id
	tokens    *memory[*issued]        // access tokens
	refreshes *memory[*issued]        // refresh tokens
	codes     *memory[*code]          // authorization codes
	requests  *memory[*authorization] // authorization requests, by digest of the state
	jtis      *memory[used]           // by digest of certificate and jti

	// metadata is what was last read from an address: one client may read it by one
	// program library, and register by another.
	metadata *memory[*announced]

	challenges *memory[uint64] // PKCE's challenges, and the exchange that first had each
	nonces     *memory[uint64]

	waits *memory[wait] // how long a lane was asked to wait, by lane and place
	pages *memory[link] // next links, by digest of their path and parameters
}

// New returns an Assessor of a session without exchanges.
func New(s Setting) *Assessor {
	return &Assessor{
		set:        s,
		tally:      tally{},
		byKey:      newMemory[*lane](maxKept),
		clients:    newMemory[*registration](maxKept),
		tokens:     newMemory[*issued](maxKept),
		refreshes:  newMemory[*issued](maxKept),
		codes:      newMemory[*code](maxKept),
		requests:   newMemory[*authorization](maxKept),
		jtis:       newMemory[used](maxKept),
		metadata:   newMemory[*announced](maxKept),
		challenges: newMemory[uint64](maxKept),
		nonces:     newMemory[uint64](maxKept),
		waits:      newMemory[wait](maxKept),
		pages:      newMemory[link](maxPages),
	}
}

// registration is a client_id that was assigned in the session.
type registration struct {
	lane      *lane
	uri       trace.ClientURI
	grants    []string
	scopes    []string  // that the answer has
	metadata  string    // what was registered, to compare
	cancelled uint64    // the exchange whose answer confirmed it; 0: it counts
	confirmed time.Time // when that was answered
}

// issued is a token that was issued in the session.
type issued struct {
	lane    *lane
	client  trace.ClientID
	refused uint64    // the exchange in which it was first refused as invalid
	learned time.Time // when that was answered
	spent   uint64    // the exchange in which a refresh token was replaced
}

// code is an authorization code that was issued in the session.
type code struct {
	lane    *lane
	request *authorization
	altered string // the state of the answer, if it was not that of the request
	spent   uint64 // the exchange in which it was redeemed
}

// authorization is an authorization request.
type authorization struct {
	lane      *lane
	n         uint64
	client    trace.ClientID
	redirect  string // redirect_uri; empty if it was not sent
	challenge bool
	target    string // digest of the request target
	redeemed  bool
}

// used is where a jti was first used.
type used struct {
	kind kind
	n    uint64
	raw  string  // digest of the JWT
	exp  float64 // when it ends; 0 if it does not say
	done bool    // the destination acted on it
}

// Add assesses an exchange. Exchanges must be added in the order of their numbers.
func (a *Assessor) Add(x *conform.Exchange) Assessment {
	r := a.set.parse(x)
	joined := a.place(r)

	reading{a}.patience(r)
	switch r.place {
	case metadata:
		discovering{a}.discovery(r)
	case register:
		registering{a}.registers(r)
	case authorize, pages:
		authorizing{a}.authorizes(r)
	case token:
		redeeming{a}.token(r)
	case revoke, introspect:
		redeeming{a}.authenticates(r)
	case records, documents:
		reading{a}.reads(r)
	case elsewhere:
		reading{a}.reads(r)
		discovering{a}.guesses(r)
	}
	r.decided()
	a.hints(r)

	out := Assessment{
		Exchange: x.N,
		Lane:     r.lane.ID,
		Joined:   joined,
		Client:   r.lane.known(),
		Step:     x.Step,
	}
	all := a.binding(r)
	for _, f := range all {
		if f.Verdict == conform.Shown {
			out.Shows = append(out.Shows, f.Row)
		} else {
			out.Findings = append(out.Findings, f)
		}
	}
	if out.Step == "" {
		out.Step = Classify(x.Method, x.Target, x.Request.Body)
	}
	out.Colour, out.Text = r.sentence(out.Findings)
	out.Text = bounded(out.Text)

	a.tally.add(all)
	r.lane.tally.add(all)
	r.lane.reach(out, x)

	return out
}

// hints adds what can be said about a request that reached nothing or could not be
// read.
func (a *Assessor) hints(r *request) {
	place := hint.Place{
		Base:   a.set.Base,
		Issuer: a.set.Issuer,
	}
	for _, c := range a.set.Communities {
		place.Communities = append(place.Communities, c.URI)
	}

	found := place.Find(r.Exchange)
	if len(found) == 0 && r.succeeded() {
		r.shows("C-17")
	}
	for _, f := range found {
		if hint.Miswritten(f.Check) && r.Status == 404 && r.found("S1-021") == nil {
			f.Row, f.Verdict = "C-17", conform.Violated
		}
		r.add(f)
	}
}

// binding returns the findings about rows that bind the client of a request.
func (a *Assessor) binding(r *request) []conform.Finding {
	profile := a.profile(r)
	var out []conform.Finding
	for _, f := range r.findings {
		row, known := conform.Lookup(f.Row)
		if f.Row == "" || known && row.Binds(conform.Client, profile) {
			out = append(out, f)
		}
	}
	return out
}

// Rows returns the outcome of every row that binds a client of the session, over all
// of its clients.
func (a *Assessor) Rows() []conform.Outcome {
	return a.tally.outcomes(cmp.Or(a.set.Profile, a.widest, conform.SSRAA2))
}

// LaneRows returns the outcomes for one client; nil if there is no such lane.
func (a *Assessor) LaneRows(id string) []conform.Outcome {
	for _, l := range a.lanes {
		if l.ID == id {
			return l.tally.outcomes(a.of(l.Community))
		}
	}
	return nil
}
