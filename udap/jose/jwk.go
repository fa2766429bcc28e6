package jose

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/big"
)

// WebKey is a public key as a JWK (RFC 7517 4, RFC 7518 6): the members that the
// key consists of and no others.
type WebKey struct {
	Type  string `json:"kty"`
	Curve string `json:"crv,omitzero"`
	N     string `json:"n,omitzero"`
	E     string `json:"e,omitzero"`
	X     string `json:"x,omitzero"`
	Y     string `json:"y,omitzero"`
}

// EncodeKey returns a public key as a JWK. It returns an error for a key that
// CheckKey does not accept.
func EncodeKey(pub crypto.PublicKey) (WebKey, error) {
	if err := CheckKey(pub); err != nil {
		return WebKey{}, err
	}

	switch k := pub.(type) {
	case *rsa.PublicKey:
		return WebKey{
			Type: "RSA",
			N:    base64URL.EncodeToString(k.N.Bytes()),
			E:    base64URL.EncodeToString(big.NewInt(int64(k.E)).Bytes()),
		}, nil

	case *ecdsa.PublicKey:
		point, err := k.Bytes() // 4, x, y
		if err != nil {
			return WebKey{}, err
		}

		half := (len(point) - 1) / 2
		return WebKey{
			Type:  "EC",
			Curve: k.Params().Name,
			X:     base64URL.EncodeToString(point[1 : 1+half]),
			Y:     base64URL.EncodeToString(point[1+half:]),
		}, nil
	}

	return WebKey{}, errors.New("jose: a key of another kind")
}

// Thumbprint returns the SHA-256 thumbprint of the key in base64url (RFC 7638).
func (k WebKey) Thumbprint() string {
	text := fmt.Sprintf(`{"e":%q,"kty":%q,"n":%q}`, k.E, k.Type, k.N)
	if k.Type == "EC" {
		text = fmt.Sprintf(`{"crv":%q,"kty":%q,"x":%q,"y":%q}`, k.Curve, k.Type, k.X, k.Y)
	}

	sum := sha256.Sum256([]byte(text))
	return base64URL.EncodeToString(sum[:])
}

// privateMembers are the members of a JWK that only the owner of a private or of a
// symmetric key may see (RFC 7518 6.2.2, 6.3.2 and 6.4).
var privateMembers = []string{"d", "p", "q", "dp", "dq", "qi", "oth", "k"}

const keyExpected = "a public key as a JWK: " + SoundKeys

// DecodeKey returns the public key of a JWK. It accepts the keys that CheckKey
// accepts, each in its one canonical form, so that a key has one thumbprint; it
// refuses a JWK with a private member and one for another use than signatures.
func DecodeKey(jwk Object) (crypto.PublicKey, *Fault) {
	for _, name := range privateMembers {
		if jwk.Has(name) {
			return nil, &Fault{
				Expected: keyExpected,
				Found:    "a JWK with the private member " + name,
				Remedy:   "send the public key alone; the private one is known to others now: make a new one",
			}
		}
	}

	if use, ok := jwk.Text("use"); jwk.Has("use") && (!ok || use != "sig") {
		return nil, &Fault{
			Expected: "use sig, or none",
			Found:    jwk.Show("use"),
		}
	}

	pub, err := decodeKey(jwk)
	if err == nil {
		err = CheckKey(pub)
	}
	if err != nil {
		return nil, &Fault{
			Expected: keyExpected,
			Found:    err.Error(),
			Err:      err,
		}
	}

	return pub, nil
}

func decodeKey(jwk Object) (crypto.PublicKey, error) {
	switch kty, _ := jwk.Text("kty"); kty {
	case "RSA":
		return decodeRSA(jwk)
	case "EC":
		return decodeEC(jwk)
	}
	return nil, errors.New(jwk.Show("kty") + ", where RSA or EC is needed")
}

func decodeRSA(jwk Object) (crypto.PublicKey, error) {
	n, err := decodeMember(jwk, "n")
	if err != nil {
		return nil, err
	}

	e, err := decodeMember(jwk, "e")
	switch {
	case err != nil:
		return nil, err
	case len(n) > maxRSABits/8:
		return nil, fmt.Errorf("n of %d bytes; at most %d are accepted", len(n), maxRSABits/8)
	case n[0] == 0 || e[0] == 0:
		return nil, errors.New("n or e with a leading zero byte (RFC 7518 2)")
	case len(e) > 3:
		return nil, fmt.Errorf("e of %d bytes; at most 3 are accepted", len(e))
	}

	return &rsa.PublicKey{
		N: new(big.Int).SetBytes(n),
		E: int(new(big.Int).SetBytes(e).Int64()),
	}, nil
}

// curves are the curves that a JWK may name, each with the length of a coordinate
// in bytes.
var curves = map[string]struct {
	curve elliptic.Curve
	size  int
}{
	"P-256": {elliptic.P256(), 32},
	"P-384": {elliptic.P384(), 48},
}

func decodeEC(jwk Object) (crypto.PublicKey, error) {
	name, _ := jwk.Text("crv")
	c, known := curves[name]
	if !known {
		return nil, errors.New(jwk.Show("crv") + ", where P-256 or P-384 is needed")
	}

	point := []byte{4}
	for _, coordinate := range []string{"x", "y"} {
		b, err := decodeMember(jwk, coordinate)
		if err != nil {
			return nil, err
		}
		if len(b) != c.size {
			return nil, fmt.Errorf("%s of %d bytes, where %s has %d", coordinate, len(b), name, c.size)
		}

		point = append(point, b...)
	}

	return ecdsa.ParseUncompressedPublicKey(c.curve, point)
}

func decodeMember(jwk Object, name string) ([]byte, error) {
	text, ok := jwk.Text(name)
	if !ok {
		return nil, errors.New(jwk.Show(name) + ", where a string is needed")
	}

	b, err := DecodeSegment(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return b, nil
}

// VerifyKey reports whether a key made the signature with s.Algorithm, which the
// key must fit. It is for JWS whose key does not come from a certificate.
func (s *JWS) VerifyKey(pub crypto.PublicKey) *Fault {
	size, err := signatureSize(s.Algorithm, pub)
	if err != nil {
		return &Fault{
			Expected: "an algorithm that fits the key",
			Found:    err.Error(),
		}
	}
	if len(s.Signature) != size {
		return &Fault{
			Expected: fmt.Sprintf("a signature of %d bytes for %s with %s", size, s.Algorithm, KeyName(pub)),
			Found:    fmt.Sprintf("%d bytes%s", len(s.Signature), derHint(s.Algorithm, s.Signature)),
		}
	}
	if err := s.verifyWith(pub); err != nil {
		return &Fault{
			Expected: "a signature by the key",
			Found:    "a signature of another key, or content that changed after signing",
			Remedy:   "sign the exact bytes of header.payload",
			Err:      err,
		}
	}

	return nil
}
