package assess

import (
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"fhirdest.example/udap/jose"
	"fhirdest.example/udap/trace"
)

// reading assesses the use of tokens.
type reading struct{ *Assessor }

// wait is a time in which a client was asked to send nothing. What it had sent before
// the answer is no mistake.
type wait struct{ from, until time.Time }

// link is the next link of a page.
type link struct {
	target string // path and query, byte for byte
	n      uint64
}

// reads assesses a FHIR request.
func (a reading) reads(r *request) {
	r.tokenInURL()
	if r.place != records || r.Method == "OPTIONS" {
		return
	}

	a.authorized(r)
	a.paging(r)
	if r.refused("access.breakGlass") {
		s, _ := r.step("access.breakGlass")
		r.violates("S2-22", mistake{
			text:     "the request claims an emergency, and its token was asked for in another context",
			expected: s.Expected,
			found:    s.Found,
			remedy:   s.Remedy,
		})
	}
}

// tokenInURL assesses that no access token is in a URL.
func (r *request) tokenInURL() {
	if r.query.Has("access_token") {
		r.violates("C-01", mistake{
			text:     "the access token is in the URL",
			expected: "an Authorization header",
			found:    "access_token in the query",
			remedy:   "URLs are kept in logs and histories: send the token in the header alone",
		})
		return
	}

	switch n := len(r.header["authorization"]); {
	case n > 1:
		r.violates("C-01", mistake{
			text:     "there is more than one Authorization header",
			expected: "one",
			found:    strconv.Itoa(n),
		})
	case n == 1 && r.bearer() == "":
		text := "the Authorization header is of another scheme"
		if !strings.Contains(r.header.get("authorization"), " ") {
			text = "the Authorization header has no scheme, or nothing else"
		}
		r.violates("C-01", mistake{
			text:     text,
			expected: "Bearer or DPoP",
			found:    "another scheme",
		})
	case n == 1:
		r.shows("C-01")
	}
}

// authorized assesses that a read has a token that was issued here and counts.
func (a reading) authorized(r *request) {
	value := r.bearer()
	t, known := a.tokens.get(digest(value))
	switch {
	case value == "" && (r.Status == 401 || r.Status == 403) && !a.enrolled(r) && !r.query.Has("access_token"):
		r.violates("S1-066", mistake{
			text:     "data was asked for before the client registered",
			expected: "a registration and a token first",
			found:    "no access token",
			remedy:   "register, ask for a token, and send it with each request",
		})
	case value == "" && r.Status == 401 && r.found("C-01") == nil:
		r.violates("C-11", mistake{
			text:     "data was asked for without an access token",
			expected: "an access token",
			found:    "none",
			remedy:   "send the token in the Authorization header of each request",
		})
	case value == "":
	case !known && r.Status == 401:
		r.violates("C-11", mistake{
			text:     "the access token is none that was issued here",
			expected: "a token of this server's token endpoint",
			found:    "another token",
			remedy:   "keep the tokens of each server apart",
		})
	case known && t.refused != 0 && r.Received.After(t.learned):
		r.violates("C-08", mistake{
			text:     "a token that was refused is used again",
			expected: "a new token",
			found:    fmt.Sprintf("one that was refused in exchange %d", t.refused),
			remedy:   "ask for a new token after 401 invalid_token",
		})
	case known:
		r.shows("C-11", "S1-066")
	}

	ended := r.Status == 401 && strings.Contains(r.answered.get("www-authenticate"), string(trace.InvalidToken))
	if known && ended && (t.refused == 0 || !r.Received.After(t.learned)) {
		if t.refused == 0 {
			t.refused, t.learned = r.N, r.Answered
		}
		r.ended("access token", "ask for a new one before expires_in has passed")
	}
	if known && r.Status != 401 && t.refused == 0 {
		r.shows("C-08")
	}
	a.allowed(r)
}

// enrolled reports whether the client of a request may have registered before. One that
// names itself later may be any that has registered from the address.
func (a reading) enrolled(r *request) bool {
	_, ok := a.byKey.get(enrolledAt(r.Address))
	return ok || r.lane.last != nil
}

// enrolledAt is the key of the client that last registered from an address.
func enrolledAt(address string) string { return "enrolled at " + address }

// ended notes a token that was issued here and counts no longer, which a client may
// learn by using it once.
func (r *request) ended(what, remedy string) {
	r.stale = true
	r.warns("", "the "+what+" counts no longer: it expired, or was revoked", remedy)
}

// allowed assesses that a client stays within its scopes.
func (a reading) allowed(r *request) {
	s, decided := r.step("access.scope")
	switch {
	case decided && isRefusal(s) && r.Status == 403:
		r.violates("C-10", mistake{
			text:     "no scope of the token allows the request",
			expected: s.Expected,
			found:    s.Found,
			remedy:   "ask for a token with the scope, or leave the request out",
		})
	case decided && s.Verdict == trace.Passed:
		r.shows("C-10")
	}
}

// paging assesses that next links are followed byte for byte.
func (a reading) paging(r *request) {
	if r.Method == "GET" {
		a.followed(r)
	}
	next := nextLink(r.answer)
	if next == "" {
		return
	}
	target := relative(next)
	a.pages.set(pageKey(r.lane, target), link{
		target: trace.Cut(target, maxURL),
		n:      r.N,
	})
}

func (a reading) followed(r *request) {
	target := relative(r.Target)
	l, ok := a.pages.get(pageKey(r.lane, target))
	switch {
	case !ok:
	case l.target == trace.Cut(target, maxURL):
		r.shows("C-02")
	default:
		r.violates("C-02", mistake{
			text:     "the next link was not followed byte for byte",
			expected: trace.Cut(l.target, maxShown),
			found:    trace.Cut(target, maxShown),
			remedy:   "send the link as it is, without decoding or sorting its parameters",
		})
	}
}

// relative returns the path and query of a URL or target.
func relative(s string) string {
	path := pathOf(s)
	if _, query, ok := strings.Cut(s, "?"); ok {
		return path + "?" + query
	}
	return path
}

// pageKey names a page of a lane by its path and the parameters in it, however they
// are written.
func pageKey(l *lane, target string) string {
	path, query, _ := strings.Cut(target, "?")
	decoded, err := url.PathUnescape(path)
	if err != nil {
		decoded = path
	}
	return digest(l.ID + " " + decoded + "?" + parseForm(query).Encode())
}

// nextLink returns the next link of a Bundle.
func nextLink(bundle jose.Object) string {
	const most = 20
	links, err := jose.Elements(bundle["link"], most)
	if err != nil {
		return ""
	}

	for _, v := range links {
		l, err := jose.ParseObject(v)
		if err != nil {
			continue
		}
		if relation, _ := l.Text("relation"); relation == "next" {
			u, _ := l.Text("url")
			return u
		}
	}
	return ""
}

// patience assesses that a client waits as long as it was asked to, and takes note
// of what an answer asks.
func (a reading) patience(r *request) {
	key, row := r.lane.ID+" "+string(r.place), "C-03"
	if r.place == records {
		job := r.lane.ID + " " + digest(pathOf(r.Target))
		if _, polled := a.waits.get(job); polled {
			key, row = job, "C-04"
		}
	}

	if w, ok := a.waits.get(key); ok && r.Received.After(w.from) {
		const tolerance = time.Second // clocks of both sides, and the way
		if early := w.until.Sub(r.Received); early > tolerance {
			r.violates(row, mistake{
				text: fmt.Sprintf("the request came %.0f seconds sooner than the client was asked to wait",
					early.Seconds()),
				expected: "after Retry-After",
				found:    r.Received.UTC().Format(time.RFC3339),
				remedy:   "wait as long as Retry-After has it",
			})
		} else {
			r.shows(row)
		}
	}
	a.asksToWait(r)
}

// asksToWait takes note of Retry-After in an answer.
func (a reading) asksToWait(r *request) {
	place, job := r.lane.ID+" "+string(r.place), r.lane.ID+" "+digest(pathOf(r.Target))
	key := place
	switch {
	case r.Status == 429 || r.Status == 503:
	case r.Status == 202 && r.Method == "GET":
		key = job
	default:
		return
	}

	seconds, err := strconv.Atoi(r.answered.get("retry-after"))
	if err != nil || seconds <= 0 || seconds > 24*3600 {
		return
	}
	a.waits.set(key, wait{
		from:  r.Answered,
		until: r.Answered.Add(time.Duration(seconds) * time.Second),
	})
}
