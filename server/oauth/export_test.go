package oauth

import (
	"time"

	"fhirdest.example/udap/trace"
)

// Limiter makes a limiter, and tells how many parties it remembers.
func Limiter(perMinute int) (take func(key string, now time.Time) time.Duration, known func() int) {
	l := newLimiter(perMinute)
	return l.take, func() int { return len(l.until) }
}

// MaxLimited is the most that it may remember.
const MaxLimited = maxLimited

// OutcomeOf reads the table of codes.
func OutcomeOf(c trace.Code) (status int, sentence string) {
	o := outcomes[c]
	return o.status, o.sentence
}
