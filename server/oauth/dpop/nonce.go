package dpop

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"time"
)

// Nonces makes and recognises the nonces of one server (RFC 9449 8). They have the
// minute in which they were made and its authentication by a key: nothing is stored.
type Nonces struct{ key [32]byte }

// NonceLife is for how long a nonce is accepted, up to a minute more.
const NonceLife = 4 * time.Minute

// NewNonces returns Nonces with a new key, which only this process knows: a nonce of an
// earlier process is none.
func NewNonces() *Nonces {
	n := new(Nonces)
	_, _ = rand.Read(n.key[:]) // never fails (Go 1.24)
	return n
}

// SharedNonces returns Nonces with the key of secret, which several processes have.
func SharedNonces(secret []byte) *Nonces {
	return &Nonces{key: sha256.Sum256(secret)}
}

// New returns the nonce of the minute.
func (n *Nonces) New(now time.Time) string { return n.of(now.Unix() / 60) }

func (n *Nonces) of(minute int64) string {
	b := binary.BigEndian.AppendUint64(nil, uint64(minute))
	mac := hmac.New(sha256.New, n.key[:])
	_, _ = mac.Write(b) // a hash never fails
	return base64.RawURLEncoding.EncodeToString(mac.Sum(b)[:8+16])
}

// Valid reports whether a nonce was made by n, at most NonceLife ago.
func (n *Nonces) Valid(nonce string, now time.Time) bool {
	present := now.Unix() / 60
	for minute := present; minute >= present-int64(NonceLife/time.Minute); minute-- {
		if hmac.Equal([]byte(nonce), []byte(n.of(minute))) {
			return true
		}
	}
	return false
}
