package main

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
)

// book is what the destinations have acknowledged, and what they must not have done.
type book struct {
	mu         sync.Mutex
	writes     []write      // acknowledged
	verified   int          // so many of them were read back
	recent     []*assertion // sent, the last ones
	ends       []end        // acknowledged
	refused    int          // so many of them were verified
	counts     counts
	violations []string
}

// write is a resource that a client was told is stored.
type write struct{ id, value string }

// assertion is an authentication token that was sent.
type assertion struct {
	form     string // of the token request
	client   string
	finished bool // the first request with it has ended
	accepted int  // answers with an access token, to all copies of it
}

// counts are of answers to clients, through the gateway and straight.
type counts struct {
	tokens, writes, reads int // that were acknowledged
	sent                  int // writes, whatever became of them
	ends                  int // tokens and registrations that were ended, and refused from then on
	cancelled, withdrawn  int // registrations and grants
	replays               int // copies of assertions, sent again
	broken                int // requests without an answer
	unavailable           int // 503, each with Retry-After
	statuses              map[int]int
}

// maxRecent is how many assertions are sent again now and then: those of a few seconds.
const maxRecent = 400

// maxViolations bounds what is printed of them.
const maxViolations = 50

func newBook() *book { return &book{counts: counts{statuses: map[int]int{}}} }

// violated notes what must not be. The caller holds mu.
func (b *book) violated(format string, a ...any) {
	if len(b.violations) < maxViolations {
		b.violations = append(b.violations, fmt.Sprintf(format, a...))
	}
}

// violate is violated for those that do not hold mu.
func (b *book) violate(format string, a ...any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.violated(format, a...)
}

// note counts an answer, and holds it to what every answer must be: no 5xx but those that
// say that something is away, and 503 with Retry-After. No answer is none of these.
func (b *book) note(what string, a answer) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.counts.statuses[a.status]++

	switch {
	case a.status == 0:
		b.counts.broken++
	case a.status == http.StatusServiceUnavailable:
		b.counts.unavailable++
		if a.header.Get("Retry-After") == "" {
			b.violated("%s: 503 without Retry-After: %s", what, a.text())
		}
	case a.status >= 500 && a.status != http.StatusBadGateway && a.status != http.StatusGatewayTimeout:
		b.violated("%s: status %d: %s", what, a.status, a.text())
	}
}

// send remembers an assertion.
func (b *book) send(client, form string) *assertion {
	a := &assertion{
		form:   form,
		client: client,
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.recent = append(b.recent, a)
	if len(b.recent) > maxRecent {
		b.recent = slices.Delete(b.recent, 0, 1)
	}
	return a
}

// finish notes that the first request with an assertion has ended: it may be sent again.
func (b *book) finish(a *assertion) {
	b.mu.Lock()
	defer b.mu.Unlock()
	a.finished = true
}

// any returns one of the recent assertions that may be sent again, or nil.
func (b *book) any() *assertion {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.recent) == 0 {
		return nil
	}
	if a := anyOf(b.recent); a.finished {
		return a
	}
	return nil
}

// accept notes that an assertion was accepted, which may be once.
func (b *book) accept(a *assertion, where string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.counts.tokens++
	if a.accepted++; a.accepted > 1 {
		b.violated("an assertion of %s was accepted %d times, the last time %s", a.client, a.accepted, where)
	}
}

// spent returns assertions that were accepted, the latest first, n at most.
func (b *book) spent(n int) (list []*assertion) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, a := range slices.Backward(b.recent) {
		if a.finished && a.accepted > 0 && len(list) < n {
			list = append(list, a)
		}
	}
	return list
}

// acknowledge remembers a write.
func (b *book) acknowledge(w write) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.counts.writes++
	b.writes = append(b.writes, w)
}

// ended remembers what has no effect any more.
func (b *book) ended(ends ...end) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.counts.ends += len(ends)
	b.ends = append(b.ends, ends...)
}

// anyEnd returns one of what has ended.
func (b *book) anyEnd() (end, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.ends) == 0 {
		return end{}, false
	}
	return anyOf(b.ends), true
}

// newEnds returns what has ended since the last call.
func (b *book) newEnds() []end {
	b.mu.Lock()
	defer b.mu.Unlock()
	list := slices.Clone(b.ends[b.refused:])
	b.refused = len(b.ends)
	return list
}

// lastEnds returns what has ended last, n at most.
func (b *book) lastEnds(n int) []end {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.ends[max(0, len(b.ends)-n):])
}

// add changes the counts.
func (b *book) add(change func(*counts)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	change(&b.counts)
}

// now returns the counts.
func (b *book) now() counts {
	b.mu.Lock()
	defer b.mu.Unlock()
	c := b.counts
	c.statuses = maps.Clone(c.statuses)
	return c
}

// unverified returns the writes that were acknowledged since the last call.
func (b *book) unverified() []write {
	b.mu.Lock()
	defer b.mu.Unlock()
	list := slices.Clone(b.writes[b.verified:])
	b.verified = len(b.writes)
	return list
}

// all returns all writes that were acknowledged.
func (b *book) all() []write {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.writes)
}

// found returns what must not have been.
func (b *book) found() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.violations)
}

// since returns what came after earlier counts.
func (c counts) since(before counts) string {
	var statuses []string
	for _, s := range slices.Sorted(maps.Keys(c.statuses)) {
		if n := c.statuses[s] - before.statuses[s]; n > 0 && s >= 500 {
			statuses = append(statuses, fmt.Sprintf("%d times %d", n, s))
		}
	}
	return fmt.Sprintf("%d tokens, %d writes, %d ends (%d registrations and %d grants), %d replays, "+
		"%d without an answer, %s",
		c.tokens-before.tokens,
		c.writes-before.writes,
		c.ends-before.ends,
		c.cancelled-before.cancelled,
		c.withdrawn-before.withdrawn,
		c.replays-before.replays,
		c.broken-before.broken,
		strings.Join(append(statuses, "no other 5xx"), ", "))
}
