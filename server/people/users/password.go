package users

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"unicode/utf8"

	"golang.org/x/crypto/argon2"
	"golang.org/x/text/unicode/norm"
)

// cost is what one verification of a password takes: the second choice of RFC
// 9106 would take 64 MiB, which a server that answers strangers cannot spend
// often. These are OWASP's least values for argon2id.
type cost struct {
	memory uint32 // KiB
	passes uint32
	lanes  uint8
}

var usual = cost{
	memory: 19 << 10,
	passes: 2,
	lanes:  1,
}

// Bounds of what a file may ask for.
const (
	leastMemory = 8 << 10   // KiB
	mostMemory  = 256 << 10 // KiB
	mostPasses  = 10
	mostLanes   = 4
	saltSize    = 16 // bytes
	keySize     = 32 // bytes
)

// Bounds of a password.
const (
	MinPassword = 8    // characters (NIST SP 800-63B 5.1.1.2)
	MaxPassword = 1024 // bytes
)

// hash is a parsed hash of a password.
type hash struct {
	cost
	salt, key []byte
}

// Hash returns the argon2id hash of a new password, in the usual text form:
// $argon2id$v=19$m=...,t=...,p=...$salt$key.
func Hash(password string) (string, error) {
	switch {
	case !utf8.ValidString(password):
		return "", errors.New("the password is not UTF-8")
	case utf8.RuneCountInString(password) < MinPassword:
		return "", fmt.Errorf("a password needs at least %d characters", MinPassword)
	case len(password) > MaxPassword:
		return "", fmt.Errorf("the password is longer than %d bytes", MaxPassword)
	}

	h := hash{
		cost: usual,
		salt: make([]byte, saltSize),
	}
	_, _ = rand.Read(h.salt) // never fails (Go 1.24)
	h.key = h.derive(password, keySize)

	return h.String(), nil
}

func (h hash) String() string {
	enc := base64.RawStdEncoding
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, h.memory, h.passes, h.lanes,
		enc.EncodeToString(h.salt), enc.EncodeToString(h.key))
}

// derive computes the key of a password. Passwords are compared as characters,
// however a keyboard composes them (RFC 8265 4.2).
func (h hash) derive(password string, size int) []byte {
	return argon2.IDKey(
		norm.NFC.Bytes([]byte(password)),
		h.salt,
		h.passes,
		h.memory,
		h.lanes,
		uint32(size),
	)
}

func parseHash(text string) (h hash, err error) {
	parts := strings.Split(text, "$")
	if len(parts) != 6 || parts[0] != "" || parts[1] != "argon2id" {
		return h, errors.New("it is not of the form $argon2id$v=19$m=...,t=...,p=...$salt$key")
	}

	var version int
	if _, err := fmt.Sscanf(parts[2]+" "+parts[3], "v=%d m=%d,t=%d,p=%d", &version, &h.memory, &h.passes,
		&h.lanes); err != nil {
		return h, fmt.Errorf("its parameters cannot be read: %w", err)
	}
	if version != argon2.Version || h.memory < leastMemory || h.memory > mostMemory ||
		h.passes < 1 || h.passes > mostPasses || h.lanes < 1 || h.lanes > mostLanes {
		return h, errors.New("its parameters are out of bounds")
	}

	var bad error
	enc := base64.RawStdEncoding.Strict()
	h.salt, err = enc.DecodeString(parts[4])
	h.key, bad = enc.DecodeString(parts[5])
	switch {
	case errors.Join(err, bad) != nil:
		return h, errors.New("salt or key is not base64")
	case len(h.salt) < 8 || len(h.salt) > 64 || len(h.key) < 16 || len(h.key) > 64:
		return h, errors.New("salt or key has an unusual size")
	case h.String() != text:
		return h, errors.New("it is not in its plainest form")
	}

	return h, nil
}

// Passwords verifies passwords. Each verification takes tens of milliseconds and
// tens of megabytes, so only as many run at once as there are processors.
type Passwords struct {
	turns chan struct{} // one per verification under way
	queue chan struct{} // one per caller, waiting or not
	dummy hash          // is verified for users that there are not
}

// waiting is how many callers may wait per processor: each waits for about two
// seconds at most.
const waiting = 32

// ErrBusy is the error of Verify when too many callers wait.
var ErrBusy = errors.New("too many passwords are being verified")

// NewPasswords returns a verifier.
func NewPasswords() *Passwords {
	n := runtime.GOMAXPROCS(0)
	return &Passwords{
		turns: make(chan struct{}, n),
		queue: make(chan struct{}, n*waiting),
		dummy: hash{
			cost: usual,
			salt: make([]byte, saltSize),
			key:  make([]byte, keySize),
		},
	}
}

// Verify reports whether a password is the user's. It does the same work when u is
// nil or has no password. It returns ErrBusy when too many callers wait, or the
// error of ctx.
func (p *Passwords) Verify(ctx context.Context, u *User, password string) (bool, error) {
	select {
	case p.queue <- struct{}{}:
		defer func() { <-p.queue }()
	default:
		return false, ErrBusy
	}

	select {
	case p.turns <- struct{}{}:
		defer func() { <-p.turns }()
	case <-ctx.Done():
		return false, ctx.Err()
	}

	h, known := p.dummy, false
	if u != nil && u.Password != "" {
		if own, err := parseHash(u.Password); err == nil {
			h, known = own, true
		}
	}

	same := subtle.ConstantTimeCompare(h.derive(password[:min(len(password), MaxPassword)], len(h.key)), h.key) == 1
	return same && known && len(password) <= MaxPassword && utf8.ValidString(password), nil
}
