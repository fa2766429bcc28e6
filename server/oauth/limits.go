package oauth

import (
	"net/http"
	"time"

	"fhirdest.example/server/rate"
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
	address, community, registrant, client *rate.Limiter
}

func newLimiters(l Limits) *limiters {
	return &limiters{
		address:    rate.New(l.RequestsPerAddress),
		community:  rate.New(l.RegistrationsPerCommunity),
		registrant: rate.New(l.RegistrationsPerClient),
		client:     rate.New(l.TokensPerClient),
	}
}

// limited refuses when a limiter has no event left: 429 with Retry-After (RFC 6585 4).
// key is asked for the party where there is a limit.
func limited(tr *trace.Trace, l *rate.Limiter, what string, key func() string, now time.Time) error {
	if l.Unlimited() {
		return nil
	}
	wait := l.Acquire(key(), now)
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
