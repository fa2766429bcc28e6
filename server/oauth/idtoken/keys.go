// Package idtoken signs ID tokens (OpenID Connect Core 2) and keeps the keys with
// which it does: when each was made, which of them signs, and which are published.
package idtoken

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"time"

	"fhirdest.example/udap/jose"
)

// When keys change. A new key is published for a day before it signs, as clients
// keep key sets for hours, and an old one for a day after it has signed last.
const (
	KeyLife   = 90 * 24 * time.Hour // after which a new key is made
	Published = 24 * time.Hour
)

const (
	keyBits = 2048
	maxKeys = 16
)

// Key is one key pair for ID tokens. Private is a secret.
type Key struct {
	ID      string // kid: the thumbprint of the public key (RFC 7638)
	Public  jose.WebKey
	Private *rsa.PrivateKey
	Created time.Time // zero: not known, and long ago
}

// Keys are the keys of one server, the newest first. They are immutable.
type Keys []Key

// createdHeader is the header of a PEM block that has the time of Key.Created.
const createdHeader = "Created"

// ParseKeys reads keys from PEM: RSA private keys in PKCS#8, the newest first. A
// header Created on a block has the time at which its key was made, as Encode writes
// it. Keys without it sign at once.
func ParseKeys(text []byte) (Keys, error) {
	var out Keys
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "PRIVATE KEY" {
			return nil, fmt.Errorf("a PEM block of the type %q, where PRIVATE KEY is needed (PKCS#8, unencrypted)",
				block.Type)
		}

		private, err := x509.ParsePKCS8PrivateKey(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("key %d: %w", len(out)+1, err)
		}

		signer, ok := private.(*rsa.PrivateKey)
		if !ok {
			return nil, fmt.Errorf("key %d is no RSA key: ID tokens are signed with RS256", len(out)+1)
		}

		key, err := newKey(signer, created(block))
		if err != nil {
			return nil, fmt.Errorf("key %d: %w", len(out)+1, err)
		}
		if out = append(out, key); len(out) > maxKeys {
			return nil, fmt.Errorf("more than %d keys", maxKeys)
		}
	}

	if len(out) == 0 {
		return nil, errors.New("no PEM block with a private key")
	}
	return out, nil
}

func created(block *pem.Block) time.Time {
	t, err := time.Parse(time.RFC3339, block.Headers[createdHeader])
	if err != nil {
		return time.Time{}
	}
	return t
}

func newKey(private *rsa.PrivateKey, created time.Time) (Key, error) {
	jwk, err := jose.EncodeKey(private.Public())
	if err != nil {
		return Key{}, err
	}
	return Key{
		ID:      jwk.Thumbprint(),
		Public:  jwk,
		Private: private,
		Created: created,
	}, nil
}

// Encode returns the keys as PEM, for a file that only the server may read.
func (k Keys) Encode() ([]byte, error) {
	var b bytes.Buffer
	for _, key := range k {
		der, err := x509.MarshalPKCS8PrivateKey(key.Private)
		if err != nil {
			return nil, err
		}

		block := &pem.Block{
			Type:  "PRIVATE KEY",
			Bytes: der,
		}
		if !key.Created.IsZero() {
			block.Headers = map[string]string{createdHeader: key.Created.UTC().Format(time.RFC3339)}
		}
		if err := pem.Encode(&b, block); err != nil {
			return nil, err
		}
	}

	return b.Bytes(), nil
}

// Rotated returns the keys that there must be at a time: with a new one when there is
// none or the newest is older than KeyLife, and without those that have been replaced
// for so long that no ID token by them is valid. changed reports whether they are
// others than before.
func (k Keys) Rotated(now time.Time) (next Keys, changed bool, err error) {
	next = k[:len(k):len(k)]
	if len(next) == 0 || now.Sub(next[0].Created) >= KeyLife {
		private, err := rsa.GenerateKey(rand.Reader, keyBits)
		if err != nil {
			return nil, false, err
		}

		key, err := newKey(private, now.Truncate(time.Second))
		if err != nil {
			return nil, false, err
		}
		next, changed = slices.Insert(next, 0, key), true
	}

	signs := next.signing(now)
	if now.Sub(next[signs].Created) >= 2*Published && signs+1 < len(next) {
		next, changed = next[:signs+1], true
	}

	return next, changed, nil
}

// signing returns the index of the key that signs at a time: the newest that has
// been published for long enough, or else the oldest.
func (k Keys) signing(now time.Time) int {
	i := slices.IndexFunc(k, func(key Key) bool { return now.Sub(key.Created) >= Published })
	if i < 0 {
		return len(k) - 1
	}
	return i
}
