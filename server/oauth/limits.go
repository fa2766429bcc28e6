package oauth

import (
	"net/http"
	"sync"
	"time"

	"fhirdest.example/udap/trace"
)

// Limits are rates per minute; 0 means no limit. A burst of one minute's worth
// is let through.
type Limits struct {
	RequestsPerAddress        int // to all endpoints together, before anything is read
	RegistrationsPerCommunity int // judged good, per trust community
	RegistrationsPerClient    int // judged good, per certificate
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

// maxLimited bounds the parties that a limiter remembers. Past it those who
// have used nothing of late are forgotten, and if too many are busy, anyone is,
// down to half: so many must come before it is searched again.
const maxLimited = 16384

// limiter allows each key so many events a minute (the generic cell rate
// algorithm: one time per key).
type limiter struct {
	each  time.Duration // the time that one event takes up; 0: no limit
	burst time.Duration

	mu    sync.Mutex
	until map[string]time.Time // when the key's events will all have been paid for
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

// take counts one event and returns 0, or says how long to wait and counts
// nothing.
func (l *limiter) take(key string, now time.Time) time.Duration {
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
		l.makeRoom(now)
	}
	l.until[key] = until
	return 0
}

func (l *limiter) makeRoom(now time.Time) {
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

// limited refuses when a limiter says so: 429 with Retry-After (RFC 6585 4).
func limited(tr *trace.Trace, l *limiter, what, key string, now time.Time) error {
	wait := l.take(key, now)
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
