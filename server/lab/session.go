package lab

import (
	"errors"
	"time"

	"fhirdest.example/udap/conform"
)

// Mode is how a session answers what is wrong.
type Mode string

// The modes.
const (
	// Strict answers exactly as the destination itself does.
	Strict Mode = "strict"
	// Observe goes on wherever that is safe, and notes what would have been refused.
	Observe Mode = "observe"
)

// Plain is the id of the one session that watches the destination's own base URL. It
// has neither a site nor certificates of its own, and no faults.
const Plain = "plain"

// Session is what is known of one session.
type Session struct {
	ID      string    `json:"id"`     // 128 random bits in hex: who knows it may see and use the session
	Name    string    `json:"name"`   // given by whoever opened it; may be empty
	Base    string    `json:"base"`   // FHIR base URL
	Issuer  string    `json:"issuer"` // authorization server
	Page    string    `json:"page"`   // public URL of its pages, ending in a slash
	Profile string    `json:"profile,omitempty"`
	Mode    Mode      `json:"mode"`
	Faults  []string  `json:"faults,omitempty"` // names of the deliberate faults that are chosen
	Created time.Time `json:"created"`
	Expires time.Time `json:"expires,omitzero"` // then it is removed; zero: never
	Used    time.Time `json:"used,omitzero"`    // when the last request came
	Run     int       `json:"run,omitzero"`     // how many times the exchanges were removed
	Counts  Counts    `json:"counts"`
}

// quiet is how long nothing has come to a session.
func (s Session) quiet(now time.Time) time.Duration {
	if s.Used.After(s.Created) {
		return now.Sub(s.Used)
	}
	return now.Sub(s.Created)
}

// Counts are the sums over a session. They hold over restarts.
type Counts struct {
	Exchanges uint64 `json:"exchanges"` // kept
	Dropped   uint64 `json:"dropped"`   // not kept, as the session is full or came too fast
	Bytes     int64  `json:"bytes"`     // stored
	Clients   int    `json:"clients"`   // certificates issued to its testers
}

// OpenRequest is what a tester wants of a new session.
type OpenRequest struct {
	Name    string   `json:"name,omitempty"`    // at most MaxName bytes
	Profile string   `json:"profile,omitempty"` // ssraa-1, ssraa-2 or tefca; empty: as each community is configured
	Mode    Mode     `json:"mode,omitempty"`    // default Strict
	Faults  []string `json:"faults,omitempty"`
}

// MaxName is how many bytes the name of a session has at most.
const MaxName = 100

// Profiles are the profiles that a session may have.
var Profiles = []string{"ssraa-1", "ssraa-2", "tefca"}

// The errors that callers distinguish.
var (
	// ErrNoSession is returned for the id of no session.
	ErrNoSession = errors.New("lab: there is no such session")
	// ErrFull is returned when there are as many sessions as there may be.
	ErrFull = errors.New("lab: there are as many sessions as there may be")
	// ErrNoExchange is returned for the number of no exchange of a session.
	ErrNoExchange = errors.New("lab: there is no such exchange")
	// ErrBusy is returned while too many sessions are at work.
	ErrBusy = errors.New("lab: too many sessions are at work")
	// ErrClosed is returned once the service ends.
	ErrClosed = errors.New("lab: the service has ended")
)

// RequestError is what is wrong with an OpenRequest or a ClientRequest, in words for
// whoever sent it.
type RequestError struct {
	Member string // of the request
	Text   string
}

func (e *RequestError) Error() string { return e.Member + ": " + e.Text }

// Kept is one exchange of a session with what is found about it.
type Kept struct {
	*conform.Exchange
	Assessment Assessment `json:"assessment"`
}

// Update is a change that those who watch a session see: a further exchange, or
// another state of the session itself.
type Update struct {
	Session Session `json:"session"`
	Kept    *Kept   `json:"kept,omitempty"` // nil: the session alone has changed
	// Ended: the session has been removed. It is the last Update.
	Ended bool `json:"ended,omitzero"`
}
