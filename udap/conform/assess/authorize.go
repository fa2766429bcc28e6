package assess

import (
	"fmt"
	"net/url"
	"slices"
	"strings"

	"fhirdest.example/udap/trace"
)

// authorizing assesses authorization requests and their answers.
type authorizing struct{ *Assessor }

// authorizes assesses an authorization request, and takes note of the code that an
// answer has (RFC 6749 4.1, UDAP Security 2.0, 4.1 and 7.2).
func (a authorizing) authorizes(r *request) {
	if r.place == authorize && (r.query.Has("client_id") || r.query.Has("response_type") || len(r.form) > 0) {
		a.asks(r)
	}
	a.answers(r)
}

func (a authorizing) asks(r *request) {
	discovering(a).uses(r, "authorization_endpoint", "authorization")
	asked := &authorization{
		lane:      r.lane,
		n:         r.N,
		client:    trace.ClientID(trace.Cut(r.parameter("client_id"), maxShown)),
		redirect:  trace.Cut(r.parameter("redirect_uri"), maxURL),
		challenge: r.parameter("code_challenge") != "",
		target:    digest(r.Target),
	}

	if kind := r.parameter("response_type"); kind == "code" {
		r.shows("S1-128")
	} else {
		r.violates("S1-128", mistake{
			text:     "response_type is not code",
			expected: "code",
			found:    quote(kind),
		})
	}
	a.asker(r)
	if a.reloaded(r) {
		return
	}
	a.state(r)
	a.pkce(r)
	a.provider(r)
	a.launch(r)
	if r.lane.altered != nil {
		r.shows("S1-274")
		r.lane.altered = nil
	}

	if state := r.parameter("state"); state != "" {
		a.requests.set(digest(state), asked)
	}
}

// reloaded reports whether a browser repeats a request, before a client had a result
// of it: a person reloads the page, or goes back to it.
func (a authorizing) reloaded(r *request) bool {
	before, again := a.requests.get(digest(r.parameter("state")))
	return again && r.Method == "GET" && before.target == digest(r.Target) && !before.redeemed
}

// asker assesses client_id.
func (a authorizing) asker(r *request) {
	id := r.parameter("client_id")
	known, assigned := a.clients.get(digest(id))
	last := r.lane.last
	switch {
	case id == "":
		r.violates("S1-129", mistake{
			text:     "the authorization request has no client_id",
			expected: "the client_id",
			found:    "no client_id",
		})
		return
	case strings.Contains(id, "://") && !assigned:
		r.violates("S1-129", mistake{
			text:     "client_id of the authorization request is a URI",
			expected: "the client_id",
			found:    quote(id),
			remedy:   "the client URI is iss of the software statement alone",
		})
		return
	case assigned && known.cancelled != 0:
		r.violates("S1-123", mistake{
			text:     "the client_id is used after the answer that the registration is cancelled",
			expected: "no use of it, or a new registration",
			found:    quote(id),
			remedy:   "register again first",
		})
	case !assigned && r.Status >= 400 && !r.failed():
		r.violates("S1-067", mistake{
			text:     "the client_id is none that was assigned here",
			expected: "the client_id of the registration's answer",
			found:    quote(id),
			remedy:   "keep the client_id of each server apart",
		})
	default:
		r.shows("S1-067")
	}

	r.shows("S1-129")
	if last != nil && assigned && !slices.Contains(last.grants, codeGrant) {
		r.violates("S1-186", mistake{
			text:     "a client that registered for client_credentials asked for a code",
			expected: clientGrant,
			found:    codeGrant,
			remedy:   "register each flow under a client URI of its own",
		})
	}
}

const (
	shortState = 8  // characters; shorter ones can be guessed
	fairState  = 16 // characters; RFC 6749 10.10 recommends 160 bits
)

// state assesses that state is there, is new and cannot be guessed (RFC 6749 10.10
// and 10.12).
func (a authorizing) state(r *request) {
	state := r.parameter("state")
	if state == "" {
		r.violates("S1-275", mistake{
			text:     "the authorization request has no state",
			expected: "state, bound to the browser's session",
			found:    "no state",
			remedy:   "send a random state and compare it in the answer",
		})
		return
	}

	r.shows("S1-275")
	before, again := a.requests.get(digest(state))
	switch {
	case again && before.n != r.N:
		r.violates("S1-276", mistake{
			text:     "the same state was sent before",
			expected: "a random state for each request",
			found:    fmt.Sprintf("that of exchange %d", before.n),
			remedy:   "make it anew for each request",
		})
	case len(state) < shortState:
		r.violates("S1-276", mistake{
			text:     "state can be guessed",
			expected: "128 random bits",
			found:    fmt.Sprintf("%d characters", len(state)),
			remedy:   "make it of 16 random bytes or more",
		})
	case len(state) < fairState:
		r.warns("S1-276", "state is short", "make it of 16 random bytes or more")
	default:
		r.shows("S1-276")
	}
}

// pkce assesses the challenge (RFC 7636).
func (a authorizing) pkce(r *request) {
	challenge, method := r.parameter("code_challenge"), r.parameter("code_challenge_method")
	switch {
	case challenge == "":
		r.violates("S2-13", mistake{
			text:     "the authorization request has no code_challenge",
			expected: "code_challenge with S256",
			found:    "no code_challenge",
			remedy:   "use PKCE with S256 on every code flow",
		})
		return
	case method != "S256":
		r.violates("S2-13", mistake{
			text:     "code_challenge_method is not S256",
			expected: "S256",
			found:    quote(method),
			remedy:   "send the SHA-256 of the verifier",
		})
		return
	}

	before, again := a.challenges.get(digest(challenge))
	a.challenges.set(digest(challenge), r.N)
	if again && before != r.N {
		r.violates("C-06", mistake{
			text:     "the same code_challenge was sent before",
			expected: "a new verifier for each request",
			found:    fmt.Sprintf("that of exchange %d", before),
			remedy:   "make a new code_verifier for each request",
		})
		return
	}
	r.shows("C-06")
}

// provider assesses the request for an identity provider (UDAP Security 2.0, 6.1).
func (a authorizing) provider(r *request) {
	idp := r.parameter("idp")
	scopes := words(r.parameter("scope"))
	tiered := slices.Contains(scopes, "udap")
	u, err := url.Parse(idp)

	switch {
	case idp == "" && tiered && !slices.Contains(scopes, "openid"):
		r.violates("S1-256", mistake{
			text:     "the scope udap is asked for without openid and without idp",
			expected: "openid and udap, or idp",
			found:    trace.Cut(r.parameter("scope"), maxShown),
			remedy:   "add openid, or name the preferred provider in idp",
		})
	case idp == "" && tiered:
		r.shows("S1-256")
	case idp == "":
	case !tiered:
		r.violates("S1-236", mistake{
			text:     "an identity provider is named without the scope udap",
			expected: "udap among the scopes",
			found:    trace.Cut(r.parameter("scope"), maxShown),
			remedy:   "add udap to the scopes",
		})
	case err != nil || u.Scheme != "https" || u.Host == "" || strings.Contains(u.Path, "/.well-known"):
		r.violates("S1-237", mistake{
			text:     "idp is not the base URL of a provider",
			expected: "an https base URL",
			found:    quote(idp),
		})
	default:
		r.shows("S1-236", "S1-237")
	}

	if r.lane.invalid {
		r.shows("S1-244")
		r.lane.invalid = false
	}
	if nonce := r.parameter("nonce"); nonce != "" {
		before, again := a.nonces.get(digest(nonce))
		a.nonces.set(digest(nonce), r.N)
		if again && before != r.N {
			r.violates("C-07", mistake{
				text:     "the same nonce was sent before",
				expected: "a new nonce for each request",
				found:    fmt.Sprintf("that of exchange %d", before),
			})
			return
		}
		r.shows("C-07")
	}
}

// launch notes a request without launch scopes, which none needs.
func (a authorizing) launch(r *request) {
	for _, s := range words(r.parameter("scope")) {
		if s == "launch" || strings.HasPrefix(s, "launch/") {
			return
		}
	}
	r.shows("S1-130")
}

// answers takes note of what a redirection has for the client.
func (a authorizing) answers(r *request) {
	u, err := url.Parse(r.answered.get("location"))
	if err != nil || u.RawQuery == "" {
		return
	}

	answer := parseForm(u.RawQuery)
	if answer.Get("error") == string(trace.InvalidIDP) {
		r.lane.invalid = true
	}
	value := answer.Get("code")
	if value == "" {
		return
	}

	c := &code{lane: r.lane}
	asked, ok := a.requests.get(digest(answer.Get("state")))
	if !ok {
		asked = a.latest(r)
		c.altered = "yes"
		if asked == nil {
			c.altered = ""
		}
	}
	if asked != nil {
		c.request, c.lane = asked, asked.lane.whole()
	}
	if c.altered != "" {
		c.lane.altered = c
	}
	a.codes.set(digest(value), c)
}

// latest returns the last authorization request of a lane.
func (a authorizing) latest(r *request) *authorization {
	var out *authorization
	for _, asked := range a.requests.byKey {
		if asked.lane.whole() == r.lane && (out == nil || asked.n > out.n) {
			out = asked
		}
	}
	return out
}
