package people

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"time"

	"fhirdest.example/udap/trace"
)

// Bounds of a session.
const (
	Idle = 15 * time.Minute // without a request the pages ask for another sign-in
	Life = 8 * time.Hour    // it ends in any case
)

// SessionID is the SHA-256 of a session's cookie. The cookie itself is nowhere
// kept.
type SessionID [sha256.Size]byte

// String returns the identifier in hexadecimal, as grants name the session.
func (id SessionID) String() string { return hex.EncodeToString(id[:]) }

// Session is a browser in which a person is signed in.
type Session struct {
	ID          SessionID `json:"-"`
	Subject     string    `json:"subject"`
	IdP         string    `json:"idp,omitzero"` // where the person signed in (Tiered OAuth); empty: here
	IdPSubject  string    `json:"idpSubject,omitzero"`
	SignedIn    time.Time `json:"signedIn"`    // when it began
	LastRequest time.Time `json:"lastRequest"` // to the minute

	// AuthTime is when the person proved who they are, if that was before, at another
	// identity provider; zero: when the session began.
	AuthTime time.Time `json:"authTime,omitzero"`

	// Password is a digest of the hash of the person's password when the session
	// began; empty: of a session that began before these were kept.
	Password string `json:"password,omitzero"`
}

// Authenticated returns when the person proved who they are: what max_age counts
// from, and auth_time of ID tokens (OpenID Connect Core 2).
func (s *Session) Authenticated() time.Time {
	if s.AuthTime.IsZero() {
		return s.SignedIn
	}
	return s.AuthTime
}

// Over reports whether the session has ended by itself.
func (s *Session) Over(now time.Time) bool {
	return !now.Before(s.SignedIn.Add(Life))
}

// Idle reports whether the browser has sent no request for so long that the pages
// ask for another sign-in. Access of the kind online_access goes on: the person is
// at work in the application, which sends no browser here.
func (s *Session) Idle(now time.Time) bool {
	return !now.Before(s.LastRequest.Add(Idle))
}

// Consent is a remembered decision: as long as a client asks for no more than
// what was shown, and nothing of what was shown has changed, the person is not
// asked again.
type Consent struct {
	Subject string         `json:"subject"`
	Client  trace.ClientID `json:"client"`
	Shown   string         `json:"shown"` // digest of what the page showed of the client
	Asked   []string       `json:"asked"` // scopes that the page showed
	Scope   []string       `json:"scope"` // those that were agreed to
	Given   time.Time      `json:"given"`
}

// Store keeps sessions and remembered decisions. Package peopletest has the test
// that every implementation must pass.
//
// What a method changes is durable when it returns nil, all or not at all. After
// an error that is not the context's it is not known whether the change was
// stored: each may be made again. What is returned is the caller's own.
type Store interface {
	// StartSession stores a session, and removes the one that the same browser
	// had before, if any (former; zero: none). Sessions that are over may be
	// removed with it.
	StartSession(ctx context.Context, s Session, former SessionID) error

	// Session returns a session, or nil when there is none. It does not look at
	// the times.
	Session(ctx context.Context, id SessionID) (*Session, error)

	// UseSession sets the time of a session's last request, if there is one and
	// the time is later.
	UseSession(ctx context.Context, id SessionID, at time.Time) error

	// EndSession removes a session, if there is one.
	EndSession(ctx context.Context, id SessionID) error

	// Consent returns what a person decided about a client, or nil.
	Consent(ctx context.Context, subject string, client trace.ClientID) (*Consent, error)

	// Remember stores a decision in the place of a former one.
	Remember(ctx context.Context, c Consent) error

	// Forget removes a decision, if there is one.
	Forget(ctx context.Context, subject string, client trace.ClientID) error
}
