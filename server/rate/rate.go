// Package rate bounds how often one party is served.
package rate

import (
	"sync"
	"time"
)

// Most is how many parties a Limiter remembers. At that number it forgets those
// without a recent event, and then any of them until half are left, so that the
// next search is far away.
const Most = 16384

// Limiter allows each party a number of events a minute (the generic cell rate
// algorithm: it stores one time per party). A burst of one minute's worth passes.
// It is safe for concurrent use.
type Limiter struct {
	each  time.Duration // the time that one event uses; 0: no limit
	burst time.Duration

	mu    sync.Mutex
	until map[string]time.Time // when the time of the party's events is over
}

// New returns a limiter of events a minute; 0 or less means no limit.
func New(perMinute int) *Limiter {
	if perMinute <= 0 {
		return &Limiter{}
	}
	return &Limiter{
		each:  time.Minute / time.Duration(perMinute),
		burst: time.Minute,
		until: map[string]time.Time{},
	}
}

// Unlimited reports whether there is no limit.
func (l *Limiter) Unlimited() bool { return l.each == 0 }

// Acquire counts one event of a party and returns 0, or returns how long the
// party must wait and counts nothing.
func (l *Limiter) Acquire(party string, now time.Time) time.Duration {
	if l.Unlimited() {
		return 0
	}

	l.mu.Lock()
	defer l.mu.Unlock()
	until := l.until[party]
	if until.Before(now) {
		until = now
	}
	until = until.Add(l.each)
	if wait := until.Sub(now) - l.burst; wait > 0 {
		return wait
	}

	if len(l.until) >= Most {
		l.shrink(now)
	}
	l.until[party] = until
	return 0
}

// Forget drops what a party has used.
func (l *Limiter) Forget(party string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.until, party)
}

// Refund takes back one event of a party, which turned out not to count.
func (l *Limiter) Refund(party string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if until, ok := l.until[party]; ok {
		l.until[party] = until.Add(-l.each)
	}
}

// Known returns how many parties the limiter remembers.
func (l *Limiter) Known() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.until)
}

func (l *Limiter) shrink(now time.Time) {
	for k, until := range l.until {
		if until.Before(now) {
			delete(l.until, k)
		}
	}

	for k := range l.until {
		if len(l.until) <= Most/2 {
			return
		}
		delete(l.until, k)
	}
}
