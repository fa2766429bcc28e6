package udap

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"fmt"
	"slices"
)

// signatureAlgorithms are all that UDAP Security 7.1.2 names, RS256 first.
var signatureAlgorithms = []string{"RS256", "ES256", "RS384", "ES384"}

// algorithmsShown is that list for people.
const algorithmsShown = "RS256, ES256, RS384, ES384"

// SignatureAlgorithms returns the signature algorithms that a policy accepts, in the
// order in which metadata lists them.
func (p Policy) SignatureAlgorithms() []string {
	if len(p.Algorithms) == 0 {
		return slices.Clone(signatureAlgorithms)
	}
	var out []string
	for _, a := range signatureAlgorithms {
		if slices.Contains(p.Algorithms, a) {
			out = append(out, a)
		}
	}
	return out
}

// Bounds of RSA keys. Below 2048 bits RFC 7518 3.3 forbids them; above 8192
// one verification costs a server more than a request may cost.
const (
	minRSABits = 2048
	maxRSABits = 8192
)

// AlgorithmFor returns the algorithm with which a key signs: RS256 for RSA,
// ES256 for P-256, ES384 for P-384, and nothing for any other key.
func AlgorithmFor(pub crypto.PublicKey) string {
	switch k := pub.(type) {
	case *rsa.PublicKey:
		return "RS256"
	case *ecdsa.PublicKey:
		switch k.Curve {
		case elliptic.P256():
			return "ES256"
		case elliptic.P384():
			return "ES384"
		}
	}

	return ""
}

// algorithmFits reports whether a signature of this algorithm can be made by
// this key, and how long it then is in bytes.
func algorithmFits(alg string, pub crypto.PublicKey) (size int, err error) {
	switch k := pub.(type) {
	case *rsa.PublicKey:
		if alg == "RS256" || alg == "RS384" {
			return k.Size(), nil
		}
	case *ecdsa.PublicKey:
		if AlgorithmFor(k) == alg {
			return 2 * ((k.Curve.Params().BitSize + 7) / 8), nil
		}
	}

	return 0, fmt.Errorf("%s needs %s, the certificate has %s", alg, keyNeeded(alg), keyShown(pub))
}

func keyNeeded(alg string) string {
	switch alg {
	case "ES256":
		return "P-256"
	case "ES384":
		return "P-384"
	}
	return "RSA"
}

func keyShown(pub crypto.PublicKey) string {
	switch k := pub.(type) {
	case *rsa.PublicKey:
		return fmt.Sprintf("RSA-%d", k.N.BitLen())
	case *ecdsa.PublicKey:
		return k.Curve.Params().Name
	}
	return fmt.Sprintf("a key of another kind (%T)", pub)
}

// checkKey is the rule for every key on a path and for every signer: RSA of
// 2048 to 8192 bits with an odd modulus and an exponent of at least 65537, or
// P-256 or P-384.
func checkKey(pub crypto.PublicKey) error {
	switch k := pub.(type) {
	case *rsa.PublicKey:
		return checkRSA(k)
	case *ecdsa.PublicKey:
		if AlgorithmFor(k) == "" {
			return fmt.Errorf("the curve %s is not accepted", k.Curve.Params().Name)
		}
		return nil
	}
	return fmt.Errorf("keys of this kind (%T) are not accepted", pub)
}

func checkRSA(k *rsa.PublicKey) error {
	switch bits := k.N.BitLen(); {
	case bits < minRSABits:
		return fmt.Errorf("RSA key of %d bits; at least %d are needed", bits, minRSABits)
	case bits > maxRSABits:
		return fmt.Errorf("RSA key of %d bits; at most %d are accepted", bits, maxRSABits)
	case k.N.Bit(0) == 0:
		return fmt.Errorf("RSA modulus is even")
	case k.E < 65537 || k.E&1 == 0:
		return fmt.Errorf("RSA exponent %d; an odd one of at least 65537 is needed", k.E)

	case looksLikeROCA(k.N):
		return fmt.Errorf("RSA modulus has the fingerprint of a broken key generator (CVE-2017-15361)")
	}

	return nil
}
