package tiered

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"net/http"
	"strings"
	"time"

	"fhirdest.example/udap/trace"
)

// tripLife is how long a person may take at a provider.
const tripLife = 10 * time.Minute

// TripID is the SHA-256 of the secret in the browser's cookie. The secret itself is
// nowhere kept.
type TripID [sha256.Size]byte

// Trip is a person's way to a provider and back.
type Trip struct {
	ID       TripID            `json:"-"`
	Provider string            `json:"provider"` // its base URL
	ClientID trace.ClientID    `json:"clientId"` // ours there
	State    [sha256.Size]byte `json:"state"`    // SHA-256 of the state that was sent
	Query    string            `json:"query"`    // the client's authorization request
	Expires  time.Time         `json:"-"`        // a whole minute
}

// Membership is our registration at a provider.
type Membership struct {
	Provider    string          `json:"provider"` // its base URL
	Client      trace.ClientURI `json:"client"`   // of our certificate
	RedirectURI string          `json:"redirectUri"`
	Scope       string          `json:"scope"`    // that was registered
	ClientID    trace.ClientID  `json:"clientId"` // empty: it is no longer valid
	Registered  time.Time       `json:"registered"`
}

// Store keeps trips and memberships. Package tieredtest has the test that every
// implementation must pass.
//
// What a method changes is durable when it returns nil, all or not at all.
type Store interface {
	// BeginTrip stores a trip. It returns ErrFull when too many are under way that
	// end in the same minute. Trips that have expired may be removed with it.
	BeginTrip(ctx context.Context, t Trip, now time.Time) error

	// EndTrip removes a trip and returns it, or nil when there is none: of any
	// number of callers, one gets it. It does not look at the time.
	EndTrip(ctx context.Context, id TripID, expires time.Time) (*Trip, error)

	// Membership returns our registration at a provider, or nil.
	Membership(ctx context.Context, provider string) (*Membership, error)

	// Join stores a registration in the place of a former one.
	Join(ctx context.Context, m Membership) error
}

// MaxTrips is how many trips that end in one minute a Store holds.
const MaxTrips = 3000

// ErrFull is the error of BeginTrip when too many trips are under way.
var ErrFull = errors.New("too many people are signing in elsewhere")

// secret is what the cookie of a trip holds. Nonce and PKCE verifier are derived
// from it, so that neither is stored and neither is of use in another browser.
type secret [32]byte

func newSecret() (s secret) {
	_, _ = rand.Read(s[:]) // never fails (Go 1.24)
	return s
}

func (s secret) id() TripID { return sha256.Sum256(s[:]) }

// derive returns 256 bits for one purpose, in 43 characters.
func (s secret) derive(purpose string) string {
	mac := hmac.New(sha256.New, s[:])
	mac.Write([]byte(purpose))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// cookie returns the text of the cookie: the secret, and the minute in which the
// trip expires, by which the store finds it.
func (s secret) cookie(expires time.Time) string {
	b := binary.BigEndian.AppendUint32(s[:], uint32(expires.Unix()/60))
	return base64.RawURLEncoding.EncodeToString(b)
}

func parseCookie(text string) (s secret, expires time.Time, ok bool) {
	b, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil || len(b) != len(s)+4 {
		return s, expires, false
	}
	copy(s[:], b)
	return s, time.Unix(int64(binary.BigEndian.Uint32(b[len(s):]))*60, 0), true
}

// cookiePrefix begins the names of the cookies of all trips to a provider. Cookies
// know neither port nor path: the name carries the role and whose it is.
func (p *provider) cookiePrefix() string { return "__Host-destination-elsewhere-" + p.cookie + "-" }

// cookieName returns the name of the cookie of one trip: several tabs may be under
// way to the same provider.
func (p *provider) cookieName(state string) string {
	sum := sha256.Sum256([]byte(state))
	return p.cookiePrefix() + hex.EncodeToString(sum[:6])
}

// setCookie sets a cookie that only this host gets, that no script reads, and that
// comes with the redirect from the provider. An empty text removes it.
func setCookie(w http.ResponseWriter, name, text string) {
	c := &http.Cookie{
		Name:     name,
		Value:    text,
		Path:     "/",
		MaxAge:   int(tripLife / time.Second),
		Secure:   true,
		HttpOnly: true,
		SameSite: http.SameSiteLaxMode,
	}

	if text == "" {
		c.MaxAge = -1
	}
	http.SetCookie(w, c)
}

// onlyCookie returns the cookie of this browser's one trip to a provider; nil when
// there is none or more than one.
func (p *provider) onlyCookie(r *http.Request) *http.Cookie {
	var found *http.Cookie
	for _, c := range r.Cookies() {
		if !strings.HasPrefix(c.Name, p.cookiePrefix()) {
			continue
		}
		if found != nil {
			return nil
		}
		found = c
	}

	return found
}
