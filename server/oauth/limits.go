package oauth

import (
	"net/http"
	"sync"
	"time"

	"fhirdest.example/udap/trace"
)

// Limits are rates per minute; 0 means no limit. A burst of one minute's worth
// passes.
type Limits struct {
	RequestsPerAddress        int // to all endpoints together, before anything is read
	RegistrationsPerCommunity int // with a good statement, per trust community
	RegistrationsPerClient    int // with a good statement, per certificate
	TokensPerClient           int // authenticated requests to token, introspection and revocation, per certificate
}

type limiters struct {
	address, community, registrant, client *limiter
}

func newLimiters(l Limits) *limiters {
	return &limiters{
		address:    newLimiter(l.RequestsPerAddress),
		community:  newLimiter(l.RegistrationsPerCommunity),
		registrant: newLimiter(l.RegistrationsPerClient),
		client:     newLimiter(l.TokensPerClient),
	}
}

// maxLimited bounds the parties that a limiter remembers. At that number it
// forgets those without a recent event, and then any of them until half are
// left, so that the next search is far away.
const maxLimited = 16384

// limiter allows each key a number of events a minute (the generic cell rate
// algorithm: it stores one time per key).
type limiter struct {
	each  time.Duration // the time that one event uses; 0: no limit
	burst time.Duration

	mu    sync.Mutex
	until map[string]time.Time // when the time of the key's events is over
}

func newLimiter(perMinute int) *limiter {
	if perMinute <= 0 {
		return &limiter{}
	}
	return &limiter{
		each:  time.Minute / time.Duration(perMinute),
		burst: time.Minute,
		until: map[string]time.Time{},
	}
}

// acquire counts one event and returns 0, or returns how long to wait and counts
// nothing.
func (l *limiter) acquire(key string, now time.Time) time.Duration {
	if l.each == 0 {
		return 0
	}

	l.mu.Lock()
	defer l.mu.Unlock()
	until := l.until[key]
	if until.Before(now) {
		until = now
	}
	until = until.Add(l.each)
	if wait := until.Sub(now) - l.burst; wait > 0 {
		return wait
	}

	if len(l.until) >= maxLimited {
		l.shrink(now)
	}
	l.until[key] = until
	return 0
}

func (l *limiter) shrink(now time.Time) {
	for k, until := range l.until {
		if until.Before(now) {
			delete(l.until, k)
		}
	}

	for k := range l.until {
		if len(l.until) <= maxLimited/2 {
			return
		}
		delete(l.until, k)
	}
}

// limited refuses when a limiter has no event left: 429 with Retry-After (RFC 6585 4).
func limited(tr *trace.Trace, l *limiter, what, key string, now time.Time) error {
	wait := l.acquire(key, now)
	if wait == 0 {
		return nil
	}

	e := tr.Refuse(checkLimit, trace.TemporarilyUnavailable, trace.Finding{
		Expected: "fewer requests of one " + what,
		Found:    what + " over its rate",
		Remedy:   "wait " + seconds(wait) + " s",
	})
	return &Refusal{
		Of:     e,
		Status: http.StatusTooManyRequests,
		Header: http.Header{"Retry-After": {seconds(wait)}},
	}
}
