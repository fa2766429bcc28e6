package forge

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	_ "crypto/sha512" // SHA-384 for RS384 and ES384
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
)

// Raw signs any header and payload bytes, right or wrong.
type Raw struct {
	Alg string // the algorithm to sign with, whatever the header has
	Key crypto.Signer
}

// Sign returns the compact form of exactly these bytes.
func (r Raw) Sign(header, payload []byte) (string, error) {
	return r.SignInput(Segment(header) + "." + Segment(payload))
}

// SignInput signs two segments as they are and appends the third.
func (r Raw) SignInput(input string) (string, error) {
	sig, err := r.Signature([]byte(input))
	return input + "." + Segment(sig), err
}

// Signature signs bytes in the form of a JWS signature (RFC 7518 3).
func (r Raw) Signature(input []byte) ([]byte, error) {
	if len(r.Alg) < 4 {
		return nil, errors.New("forge: no algorithm to sign with")
	}

	hash := crypto.SHA256
	switch r.Alg[len(r.Alg)-3:] {
	case "384":
		hash = crypto.SHA384
	case "512":
		hash = crypto.SHA512
	}

	h := hash.New()
	h.Write(input)
	sum := h.Sum(nil)

	switch key := r.Key.(type) {
	case *rsa.PrivateKey:
		var opts crypto.SignerOpts = hash
		if r.Alg[0] == 'P' {
			opts = &rsa.PSSOptions{
				SaltLength: rsa.PSSSaltLengthEqualsHash,
				Hash:       hash,
			}
		}

		return key.Sign(rand.Reader, sum, opts)

	case *ecdsa.PrivateKey:
		rr, ss, err := ecdsa.Sign(rand.Reader, key, sum)
		if err != nil {
			return nil, err
		}

		n := (key.Params().BitSize + 7) / 8
		return append(rr.FillBytes(make([]byte, n)), ss.FillBytes(make([]byte, n))...), nil
	}

	return r.Key.Sign(rand.Reader, input, crypto.Hash(0)) // Ed25519
}

// Segment is unpadded base64url.
func Segment(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// Header returns a plain header with alg and x5c.
func Header(alg string, chain ...*x509.Certificate) []byte {
	return HeaderWith(alg, nil, chain...)
}

// HeaderWith returns a header with further members, which replace alg and x5c.
func HeaderWith(alg string, more map[string]any, chain ...*x509.Certificate) []byte {
	var x5c []string
	for _, c := range chain {
		x5c = append(x5c, base64.StdEncoding.EncodeToString(c.Raw))
	}

	h := map[string]any{"alg": alg, "x5c": x5c}
	for k, v := range more {
		if v == Absent {
			delete(h, k)
			continue
		}
		h[k] = v
	}

	b, _ := json.Marshal(h) // fails for values that are no JSON only
	return b
}
