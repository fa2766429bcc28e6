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
	discovering{a.Assessor}.uses(r, "authorization_endpoint", "authorization")
	asked := &authorization{
		lane:      r.lane,
		n:         r.N,
		client:    trace.ClientID(trace.Cut(r.parameter("client_id"), maxShown)),
		redirect:  r.parameter("redirect_uri"),
		challenge: r.parameter("code_challenge") != "",
		idp:       r.parameter("idp"),
	}

	if kind := r.parameter("response_type"); kind == "code" {
		r.shows("S1-128")
	} else {
		r.violates("S1-128", "response_type is not code", "code", quote(kind), "")
	}
	a.asker(r)
	a.state(r)
	a.pkce(r)
	a.provider(r, asked)
	a.launch(r)
	if r.lane.altered != nil {
		r.shows("S1-274")
		r.lane.altered = nil
	}

	if state := r.parameter("state"); state != "" {
		a.requests.set(state, asked)
	}
}

// asker assesses client_id.
func (a authorizing) asker(r *request) {
	id := r.parameter("client_id")
	known, assigned := a.clients.get(id)
	last := r.lane.last
	switch {
	case id == "":
		r.violates("S1-129", "the authorization request has no client_id", "the client_id", "no client_id", "")
		return
	case strings.Contains(id, "://") && !assigned:
		r.violates("S1-129", "client_id of the authorization request is a URI", "the client_id", quote(id),
			"the client URI is iss of the software statement alone")
		return
	case assigned && known.cancelled != 0:
		r.violates("S1-123", "the client_id is used after the answer that the registration is cancelled",
			"no use of it, or a new registration", quote(id), "register again first")
	case !assigned && r.Status >= 400 && !r.failed():
		r.violates("S1-067", "the client_id is none that was assigned here",
			"the client_id of the registration's answer",
			quote(id), "keep the client_id of each server apart")
	default:
		r.shows("S1-067")
	}

	r.shows("S1-129")
	if last != nil && assigned && !slices.Contains(last.grants, codeGrant) {
		r.violates("S1-186", "a client that registered for client_credentials asked for a code", clientGrant, codeGrant,
			"register each flow under a client URI of its own")
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
		r.violates("S1-275", "the authorization request has no state", "state, bound to the browser's session",
			"no state",
			"send a random state and compare it in the answer")
		return
	}

	r.shows("S1-275")
	before, again := a.requests.get(state)
	switch {
	case again && before.n != r.N:
		r.violates("S1-276", "the same state was sent before", "a random state for each request",
			fmt.Sprintf("that of exchange %d", before.n), "make it anew for each request")
	case len(state) < shortState:
		r.violates("S1-276", "state can be guessed", "128 random bits", fmt.Sprintf("%d characters", len(state)),
			"make it of 16 random bytes or more")
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
		r.violates("S2-13", "the authorization request has no code_challenge", "code_challenge with S256",
			"no code_challenge", "use PKCE with S256 on every code flow")
		return
	case method != "S256":
		r.violates("S2-13", "code_challenge_method is not S256", "S256", quote(method),
			"send the SHA-256 of the verifier")
		return
	}

	before, again := a.challenges.get(challenge)
	a.challenges.set(challenge, r.N)
	if again && before != r.N {
		r.violates("C-06", "the same code_challenge was sent before", "a new verifier for each request",
			fmt.Sprintf("that of exchange %d", before), "make a new code_verifier for each request")
		return
	}
	r.shows("C-06")
}

// provider assesses the request for an identity provider (UDAP Security 2.0, 6.1).
func (a authorizing) provider(r *request, asked *authorization) {
	scopes := words(r.parameter("scope"))
	tiered := slices.Contains(scopes, "udap")
	u, err := url.Parse(asked.idp)

	switch {
	case asked.idp == "" && tiered && !slices.Contains(scopes, "openid"):
		r.violates("S1-256", "the scope udap is asked for without openid and without idp", "openid and udap, or idp",
			trace.Cut(r.parameter("scope"), maxShown), "add openid, or name the preferred provider in idp")
	case asked.idp == "" && tiered:
		r.shows("S1-256")
	case asked.idp == "":
	case !tiered:
		r.violates("S1-236", "an identity provider is named without the scope udap", "udap among the scopes",
			trace.Cut(r.parameter("scope"), maxShown), "add udap to the scopes")
	case err != nil || u.Scheme != "https" || u.Host == "" || strings.Contains(u.Path, "/.well-known"):
		r.violates("S1-237", "idp is not the base URL of a provider", "an https base URL", quote(asked.idp), "")
	default:
		r.shows("S1-236", "S1-237")
	}

	if r.lane.invalid {
		r.shows("S1-244")
		r.lane.invalid = false
	}
	if nonce := r.parameter("nonce"); nonce != "" {
		before, again := a.nonces.get(nonce)
		a.nonces.set(nonce, r.N)
		if again && before != r.N {
			r.violates("C-07", "the same nonce was sent before", "a new nonce for each request",
				fmt.Sprintf("that of exchange %d", before), "")
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
	asked, ok := a.requests.get(answer.Get("state"))
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
	a.codes.set(value, c)
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
