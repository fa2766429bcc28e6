// Package stored has the form in which every engine stores what an oauth.Store keeps,
// so that a destination can be moved from one engine to another: keys of used jti,
// minutes, and the handles of tokens.
package stored

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"time"

	"fhirdest.example/server/oauth"
)

// KeyLength is the number of bytes of a JTI.
const KeyLength = 16

// JTI names a used jti. It is cut from a SHA-256: to be refused by chance or by
// another's doing one would have to meet 128 given bits.
type JTI [KeyLength]byte

// JTIOf returns the name of the jti of a spend.
func JTIOf(s oauth.Spend) (k JTI) {
	var buffer [512]byte
	b := buffer[:0]
	for _, part := range [3]string{string(s.Community), s.Issuer, s.JTI} {
		b = binary.BigEndian.AppendUint32(b, uint32(len(part)))
		b = append(b, part...)
	}

	sum := sha256.Sum256(b)
	copy(k[:], sum[:])
	return k
}

// Minute returns the minute at whose end t is past.
func Minute(t time.Time) uint32 {
	return uint32(t.Unix() / 60)
}

// MinuteSpent returns the minute up to whose end a jti is remembered.
func MinuteSpent(s oauth.Spend) uint32 {
	return Minute(expires(s).Add(oauth.MaxSkew))
}

// MinuteFree returns the first minute such that a jti that is remembered up to it
// counts as used for a spend: what is used is free again once its exp, which the minute
// has, and the present skew are past.
func MinuteFree(s oauth.Spend) uint32 {
	return Minute(s.Now.Add(oauth.MaxSkew - s.Until.Sub(expires(s))))
}

// ClockAlarm returns what an operator must know when used jti are forgotten up to a
// minute that is yet to come.
func ClockAlarm(minute uint32) string {
	until := time.Unix(60*int64(minute), 0).UTC().Format(time.RFC3339)
	return "this server's clock was ahead, up to " + until + ", and was set back: registrations and " +
		"tokens are refused until then; stop the destination and run `destination accept-time` " +
		"if the present time is right"
}

func expires(s oauth.Spend) time.Time {
	if s.Expires.IsZero() {
		return s.Until
	}
	return s.Expires
}

// Handles hides minute and number of a token in its handle.
type Handles struct{ block cipher.Block }

// NewHandlesKey returns a random key for NewHandles. It protects no token: their
// secret halves do.
func NewHandlesKey() []byte {
	key := make([]byte, 16)
	_, _ = rand.Read(key) // never fails (Go 1.24)
	return key
}

// NewHandles returns the cipher of a key. An error: the key has no good length.
func NewHandles(key []byte) (h Handles, err error) {
	h.block, err = aes.NewCipher(key)
	return h, err
}

// Seal sets h to the handle of a token.
func (c Handles) Seal(h *oauth.Handle, minute uint32, number uint64) {
	*h = oauth.Handle{}
	binary.BigEndian.PutUint32(h[:], minute)
	binary.BigEndian.PutUint64(h[4:], number)
	c.block.Encrypt(h[:], h[:])
}

// Open returns minute (4 bytes) and number (8 bytes) of a handle, whoever made it.
func (c Handles) Open(h oauth.Handle) (minute, number []byte) {
	var plain oauth.Handle
	c.block.Decrypt(plain[:], h[:])
	return plain[:4], plain[4:12]
}

// GrantKey returns the 16 bytes of a grant's identifier, nil for a text that is none.
func GrantKey(id oauth.GrantID) []byte {
	key, err := hex.DecodeString(string(id))
	if err != nil || len(key) != 16 {
		return nil
	}
	return key
}

// LastUsed returns when a grant was used last, or made.
func LastUsed(g *oauth.Grant) time.Time {
	if g.Used.IsZero() {
		return g.Created
	}
	return g.Used
}

// After returns the grant that is stored after a change that issued a token with a
// handle.
func After(c oauth.Change, h oauth.Handle) *oauth.Grant {
	next := *c.Grant
	if next.Refresh != nil && c.Token != nil {
		family := *next.Refresh
		family.Access = oauth.TokenKey{
			Handle: h,
			Hash:   c.Token.Hash,
		}
		next.Refresh = &family
	}
	return &next
}

// NewLaunchHandle returns a random handle for a launch: the minute after its expiry
// (4 bytes) and 12 random bytes, so that those that expire first come first.
func NewLaunchHandle(expires time.Time) (h oauth.Handle) {
	binary.BigEndian.PutUint32(h[:4], Minute(expires)+1)
	_, _ = rand.Read(h[4:]) // never fails (Go 1.24)
	return h
}
