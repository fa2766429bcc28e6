package oauth

import (
	"time"

	"fhirdest.example/udap/trace"
)

// Limiter returns the method that counts an event of a new limiter, and one that returns how many parties it remembers.
func Limiter(perMinute int) (acquire func(key string, now time.Time) time.Duration, known func() int) {
	l := newLimiter(perMinute)
	return l.acquire, func() int { return len(l.until) }
}

// MaxLimited is the most that it may remember.
const MaxLimited = maxLimited

// OutcomeOf reads the table of codes.
func OutcomeOf(c trace.Code) (status int, sentence string) {
	o := outcomes[c]
	return o.status, o.sentence
}
