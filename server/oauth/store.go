package oauth

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"fhirdest.example/udap/trace"
)

// Store keeps what the authorization server must not lose. Package storetest has
// the test that every implementation must pass.
//
// Every method that takes a Spend uses up that jti and does its effect in one
// transaction, which is durable when the method returns nil. An error has one of
// three outcomes:
//
//   - Refused, and nothing stored: the jti is still free. That is any error which
//     is none of the others: a *Replayed, ErrSwept, ErrRestored, ErrExpired,
//     ErrFull, Cancel's ErrNoRegistration, the context's error, ErrDamaged, and
//     trouble before the commit. The same JWT may be sent again.
//   - Refused, and the jti used up: ErrNoRegistration of Issue and Exchange, the
//     error of a Change, and a *ProofError.
//   - Unknown (ErrUnknown): the commit failed, and it is not known what reached
//     the disk. The jti counts as used; at another process that has the same data
//     it does if it was stored, and else the JWT had no effect. Whoever asked may try again with a new
//     JWT: Register and Cancel come to the same end whether or not the first
//     attempt was stored, and a second token does no harm.
//
// Errors are compared with errors.Is and errors.As: stores wrap them. ErrSwept,
// ErrRestored and ErrFull are of stores that forget jti, can be restored from a
// backup, or are bounded; others need not return them. A cancelled context ends
// the wait for a transaction that has not begun; one that has is finished. What a
// method returns is shared with other callers and must not be changed.
type Store interface {
	// Client returns the registration with an identifier, or nil.
	Client(ctx context.Context, id trace.ClientID) (*Registration, error)

	// Register stores next under its community and client URI. If these have a
	// registration already, it is replaced by what Succeed returns, and previous is
	// the old one; else next is stored with its own ID.
	Register(ctx context.Context, s Spend, next Registration) (stored, previous *Registration, err error)

	// Cancel removes a registration and returns it. If there is none it
	// returns ErrNoRegistration and the jti is not spent.
	Cancel(ctx context.Context, s Spend, community trace.CommunityURI, client trace.ClientURI) (*Registration, error)

	// Issue stores a token and returns the handle by which Token finds it
	// again. It returns ErrNoRegistration, with the jti spent, when the client
	// is registered no longer or has lost rights since t was made (its Epoch).
	Issue(ctx context.Context, s Spend, t Token) (Handle, error)

	// Live returns the token with a handle and hash, and what it depends on. It
	// does not look at expiry, Epoch or Revision.
	Live(ctx context.Context, h Handle, hash Hash) (Held, error)

	// Revoke removes a token if there is one and it belongs to owner.
	Revoke(ctx context.Context, s Spend, owner trace.ClientID, h Handle, hash Hash) error

	// Spend uses up a jti with no other effect.
	Spend(ctx context.Context, s Spend) error

	GrantStore
	LaunchStore
}

// Spend is a jti to be used up. One jti counts as used per community and
// issuer, at whatever endpoint (UDAP Security 2.0, 7.1.4).
type Spend struct {
	Community trace.CommunityURI
	Issuer    string // iss as sent: a client URI at registration, else a client_id
	JTI       string
	Since     time.Time // when the JWT could first be accepted: iat less the clock skew
	Until     time.Time // when the JWT can no longer be accepted: exp plus the clock skew
	Expires   time.Time // exp: the jti is remembered until it is past by MaxSkew
	Endpoint  string    // "register", "token", ...: named to whoever repeats it
	Now       time.Time

	// Proof is the jti of a DPoP proof, used up in the same transaction (RFC 9449
	// 11.1); nil: there is none. When it cannot be, the effect is refused with a
	// *ProofError, and the JWT's own jti is used up.
	Proof *Spend

	// Clock is read in the transaction: when it has reached Until, the store
	// returns ErrExpired and does nothing. A request can wait long for its turn
	// to write. nil: the caller has no such bound.
	Clock func() time.Time
}

// Expired reports whether the JWT can be accepted no longer. Stores call it in
// the transaction that uses up the jti.
func (s Spend) Expired() bool {
	return s.Clock != nil && !s.Clock().Before(s.Until)
}

// MaxSkew is the longest clock skew that a community's policy may allow. A used
// jti is remembered for that long after exp, and counts as used as long as the
// present skew says: so a skew that is lengthened brings no JWT back to life.
const MaxSkew = 5 * time.Minute

// MaxSpent is how many used jti a store remembers before it returns ErrFull.
const MaxSpent = 8 << 20

// Handle is where a store keeps a token: the first half of the token's text.
// It is no secret, but means nothing to anyone else.
type Handle [16]byte

// Hash is the SHA-256 of a token's secret half. The secret itself is nowhere
// kept.
type Hash [32]byte

// Token is what the server knows about an access token.
type Token struct {
	Hash      Hash               `json:"-"`
	ClientID  trace.ClientID     `json:"clientId"`
	Community trace.CommunityURI `json:"community"`
	Client    trace.ClientURI    `json:"client"`
	Epoch     uint64             `json:"epoch"` // of the registration when it was issued

	Subject      string `json:"subject,omitzero"`      // the person who granted it; empty: the client itself
	Patient      string `json:"patient,omitzero"`      // id of the patient in context
	Confirmation string `json:"confirmation,omitzero"` // thumbprint of the key that the token is bound to

	Grant    GrantID `json:"grant,omitzero"`    // what it came from; empty: the client itself
	Revision uint64  `json:"revision,omitzero"` // of the grant when it was issued

	Scope    []string `json:"scope"`
	Purposes []string `json:"purposes,omitempty"`
	// Extensions is the context that the client asserted (UDAP Security 2.0, 5.2.4).
	Extensions map[string]jsontext.Value `json:"extensions,omitempty"`
	Issued     time.Time                 `json:"issued"`
	Expires    time.Time                 `json:"expires"`
}

// Held is a token with what it depends on, as they are in one state of the store.
// All of it is shared and must not be changed.
type Held struct {
	Token        *Token        // nil: there is none
	Registration *Registration // nil: cancelled
	Grant        *Grant        // nil: withdrawn, or the token is of the client itself

	reach Reach // what the person who granted may give access to now
}

// Errors of a Store that mean a refusal; any other error is the store's own
// trouble.
var (
	ErrNoRegistration = errors.New("no such registration")

	// ErrNoGrant: there is no such grant, or it is another person's.
	ErrNoGrant = errors.New("no such grant")

	// ErrSwept: the JWT's whole life lies in a time of which used jti are
	// forgotten already. That happens only after this server's clock was ahead
	// and then set back: until it has caught up, or the operator has had the
	// store accept the present time, no JWT can be distinguished from a repeated one.
	ErrSwept = errors.New("used jti of the present time are already forgotten: this server's clock was ahead, " +
		"and was set back")

	// ErrExpired: the JWT expired between its validation and the commit.
	ErrExpired = errors.New("the JWT expired while the request waited to be stored")

	// ErrRestored: the JWT could have been accepted before the store was
	// restored from a backup, which does not know what was used since it was
	// made.
	ErrRestored = errors.New("the JWT may have been used before this server was restored from a backup")

	// ErrUnknown is the cause of the error of a store whose commit failed: it is
	// not known whether the effect and the jti were stored.
	ErrUnknown = errors.New("it is not known whether this was stored")

	// ErrDamaged is the cause of the error of a store that found stored bytes
	// which cannot be what it once wrote.
	ErrDamaged = errors.New("stored data is damaged")

	// ErrFull: as many jti are remembered as the store will hold.
	ErrFull = errors.New("too many used jti to remember")
)

// Replayed is the error of a Store for a jti that was used before.
type Replayed struct {
	Seen     time.Time
	Endpoint string
}

// ProofError is the error of a Store for a DPoP proof whose jti cannot be used up.
// Its cause is what the same error would be for the jti of a JWT.
type ProofError struct{ Err error }

func (e *ProofError) Error() string { return "DPoP proof: " + e.Err.Error() }

func (e *ProofError) Unwrap() error { return e.Err }

func (r *Replayed) Error() string {
	return fmt.Sprintf("jti was first used at %s at the %s endpoint", r.Seen.UTC().Format(time.RFC3339),
		r.Endpoint)
}
