package oauth

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"fhirdest.example/udap/trace"
)

// GrantID names a grant in codes, refresh tokens, forms and records. It is no
// secret: whoever knows it can do nothing with it.
type GrantID string

// newGrantID makes a random identifier: a UUID of version 4 (RFC 9562 5.4) in hex.
func newGrantID() GrantID {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails (Go 1.24)
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return GrantID(hex.EncodeToString(b[:]))
}

// Person is a person who granted access, as signed in.
type Person struct {
	Subject  string    `json:"subject"`           // stable local identifier: sub of the id_token
	FHIRUser string    `json:"fhirUser,omitzero"` // relative reference, such as Practitioner/12; empty: none
	Name     string    `json:"name,omitzero"`
	SignedIn time.Time `json:"signedIn"` // auth_time

	// IdP and IdPSubject are where the person signed in (Tiered OAuth); empty: here.
	IdP        string `json:"idp,omitzero"`
	IdPSubject string `json:"idpSubject,omitzero"`
}

// Session is the sign-in session in which a person granted access. A grant of
// online_access ends with it.
type Session struct {
	ID      string    // names the session without being its cookie; empty: none
	Expires time.Time // when the session ends at the latest
}

// Grant is what a person granted to a client: the root of its code, its refresh
// tokens and its access tokens. All of these are dead when the grant is gone.
type Grant struct {
	ID        GrantID            `json:"id"`
	ClientID  trace.ClientID     `json:"clientId"`
	Community trace.CommunityURI `json:"community"`
	Client    trace.ClientURI    `json:"client"`

	Person  Person   `json:"person"`
	Session string   `json:"session,omitzero"` // the grant ends with this session; empty: it does not
	Patient string   `json:"patient,omitzero"` // id of the patient in context
	Scope   []string `json:"scope"`
	Nonce   string   `json:"nonce,omitzero"` // of the authorization request, for the id_token
	// Consent is the id of the Consent resource of the grant, which has no effect unless
	// that is active; empty: it has none.
	Consent string `json:"consent,omitzero"`
	// Launch is further launch context, by the names of the token response.
	Launch map[string]jsontext.Value `json:"launch,omitempty"`

	// Purposes and Extensions are the context that the client asserted when it
	// redeemed the code.
	Purposes   []string                  `json:"purposes,omitempty"`
	Extensions map[string]jsontext.Value `json:"extensions,omitempty"`

	Created time.Time `json:"created"`
	Used    time.Time `json:"used,omitzero"` // when a token was issued last; zero: the code is not redeemed yet
	Expires time.Time `json:"expires"`       // the grant, its code and its tokens are dead from then on

	// RefreshEnds is when its refresh tokens end; zero: it gets none.
	RefreshEnds time.Time `json:"refreshEnds,omitzero"`

	// KeyBound: the first access token was bound to a key, so all others are, to
	// whatever key (RFC 9449 5).
	KeyBound bool `json:"keyBound,omitzero"`

	// Revision grows when the person takes back a part. An access token of an
	// earlier revision is dead.
	Revision uint64 `json:"revision,omitzero"`

	// Uses is the launch that is used up when the grant is stored; zero: none.
	Uses Handle `json:"-"`

	Code    Code     `json:"code"`
	Refresh *Refresh `json:"refresh,omitempty"` // nil: the grant has no refresh token
}

// Code is the authorization code of a grant. It is kept when it has been
// redeemed, so that a second use is recognised as long as the grant lives.
type Code struct {
	Hash        Hash      `json:"hash"`
	RedirectURI string    `json:"redirectUri"`
	Sent        bool      `json:"sent,omitzero"`          // the authorization request had redirect_uri
	Challenge   string    `json:"challenge,omitzero"`     // PKCE S256; empty: none
	Thumbprint  string    `json:"keyThumbprint,omitzero"` // dpop_jkt (RFC 9449 10)
	Expires     time.Time `json:"expires"`
	Redeemed    time.Time `json:"redeemed,omitzero"` // zero: not yet
}

// Refresh is the family of refresh tokens of a grant: each is used once and
// replaced by its successor.
//
// Two of them work: Current, and Previous until Current was used. A client whose
// answer was lost has only Previous, and would otherwise be locked out. That it
// works again is safe because each use needs the client's authentication by a JWT
// that works once: an intermediary that copied the token or the whole request can
// do nothing with it. Its use gives Current and the access token that came with it
// up, so that one family lives at any time; and whoever presents a token that was
// given up or that is older than Previous ends the grant, since two parties use
// tokens of the family then (RFC 9700 4.14.2).
type Refresh struct {
	Family   Hash `json:"family"`            // of the part that all tokens of the family have
	Current  Hash `json:"current"`           // of the token that was issued last
	Previous Hash `json:"previous,omitzero"` // of the token that Current replaced; zero: none

	Access TokenKey `json:"access"` // of the access token that was issued with Current
}

// TokenKey finds an access token in a store.
type TokenKey struct {
	Handle Handle `json:"handle"`
	Hash   Hash   `json:"hash"`
}

// Change is what becomes of a grant in the transaction that uses up a jti.
type Change struct {
	Err   error     // the request is refused with this error: nothing but End is done
	End   bool      // the grant is removed
	Grant *Grant    // what is stored in its place; nil: it stays as it is
	Drop  *TokenKey // an access token that is removed; nil: none
	Token *Token    // the access token that is issued; nil: none, and the handle is zero
}

// MaxGrants bounds what one person has granted to one client at a time: a client
// whose consent is remembered can ask again and again.
const MaxGrants = 50

// GrantStore keeps grants. What it returns is shared with other callers and must
// not be changed.
type GrantStore interface {
	// Approve stores a new grant, and removes the one that was used longest ago when
	// its person has granted this client MaxGrants already. It does so if its client still has the registration seen,
	// with the same software statement; else it returns ErrNoRegistration and
	// stores nothing. The launch that the grant uses is removed in the same
	// transaction; when there is none it returns ErrNoLaunch and stores nothing.
	Approve(ctx context.Context, g Grant, seen *Registration) error

	// Grant returns a grant, or nil. It does not look at expiry.
	Grant(ctx context.Context, id GrantID) (*Grant, error)

	// Grants returns the grants of a person whose code has been redeemed, the
	// earliest first. Expired ones may be among them.
	Grants(ctx context.Context, subject string) ([]*Grant, error)

	// Exchange uses up a jti, has decide choose what becomes of a grant, does that
	// and stores the token, in one transaction, and returns the token's handle. It
	// sets Refresh.Access of the stored grant. decide gets nil when there is no such
	// grant; it may be called more than once, and must have no effect. The error of
	// a Change comes back with the jti spent, as does ErrNoRegistration, for which
	// see Issue; then the grant stays as it was.
	Exchange(ctx context.Context, s Spend, id GrantID, decide func(*Grant) Change) (Handle, error)

	// Withdraw removes a grant if it is that person's. There may be none.
	Withdraw(ctx context.Context, id GrantID, subject string) error

	// Narrow gives a person's grant another scope and the next revision. It
	// returns ErrNoGrant when there is none.
	Narrow(ctx context.Context, id GrantID, subject string, scope []string) error

	// EndSession removes a person's grants that end with a session.
	EndSession(ctx context.Context, subject, session string) error
}
