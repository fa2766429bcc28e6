package udaptest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	_ "crypto/sha512" // SHA-384 for RS384 and ES384
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"testing"
)

// Raw signs any header and payload bytes, right or wrong.
type Raw struct {
	Alg string // which algorithm to sign with, whatever the header says
	Key crypto.Signer
}

// Sign makes the compact form of exactly these bytes.
func (r Raw) Sign(t testing.TB, header, payload []byte) string {
	t.Helper()
	return r.SignInput(t, Segment(header)+"."+Segment(payload))
}

// SignInput signs two segments as they are and appends the third.
func (r Raw) SignInput(t testing.TB, input string) string {
	t.Helper()
	return input + "." + Segment(r.Signature(t, []byte(input)))
}

// Signature signs bytes in the form that JWS wants.
func (r Raw) Signature(t testing.TB, input []byte) []byte {
	t.Helper()
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
			opts = &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: hash}
		}
		sig, err := key.Sign(rand.Reader, sum, opts)
		must(t, err)
		return sig

	case *ecdsa.PrivateKey:
		rr, ss, err := ecdsa.Sign(rand.Reader, key, sum)
		must(t, err)
		n := (key.Params().BitSize + 7) / 8
		return append(rr.FillBytes(make([]byte, n)), ss.FillBytes(make([]byte, n))...)
	}

	sig, err := r.Key.Sign(rand.Reader, input, crypto.Hash(0)) // Ed25519
	must(t, err)
	return sig
}

// Segment is unpadded base64url.
func Segment(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// Header is a plain header with alg and x5c.
func Header(alg string, chain ...*x509.Certificate) []byte {
	return HeaderWith(alg, nil, chain...)
}

// HeaderWith is a header with further members, which replace alg and x5c.
func HeaderWith(alg string, more map[string]any, chain ...*x509.Certificate) []byte {
	h := map[string]any{"alg": alg}
	var x5c []string
	for _, c := range chain {
		x5c = append(x5c, base64.StdEncoding.EncodeToString(c.Raw))
	}
	h["x5c"] = x5c

	for k, v := range more {
		if v == Absent {
			delete(h, k)
			continue
		}
		h[k] = v
	}

	b, _ := json.Marshal(h)
	return b
}
