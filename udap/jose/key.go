package jose

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"fmt"
	"slices"
	"strings"
)

// algorithms are all that UDAP Security 7.1.2 names, RS256 first.
var algorithms = []string{"RS256", "ES256", "RS384", "ES384"}

// Algorithms returns the signature algorithms that are accepted, in the order
// in which metadata lists them (UDAP Security 7.1.2): RS256 first.
func Algorithms() []string { return slices.Clone(algorithms) }

// algorithmsShown is that list for people.
var algorithmsShown = strings.Join(algorithms, ", ")

// Bounds of RSA keys. Below 2048 bits RFC 7518 3.3 forbids them; above 8192
// one verification costs a server more than a request may cost.
const (
	minRSABits = 2048
	maxRSABits = 8192
)

// SoundKeys describes the keys that CheckKey accepts.
const SoundKeys = "RSA of 2048 bits or more, P-256 or P-384"

// AlgorithmFor returns the algorithm with which a key signs: RS256 for RSA,
// ES256 for P-256, ES384 for P-384, and an empty string for any other key.
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

// signatureSize returns the length in bytes of a signature by this algorithm
// and key, or an error if the key cannot sign with the algorithm.
func signatureSize(alg string, pub crypto.PublicKey) (size int, err error) {
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

	return 0, fmt.Errorf("%s needs %s, the certificate has %s", alg, keyNeeded(alg), KeyName(pub))
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

// KeyName returns the kind and size of a key for people, for example RSA-2048
// or P-256.
func KeyName(pub crypto.PublicKey) string {
	switch k := pub.(type) {
	case *rsa.PublicKey:
		return fmt.Sprintf("RSA-%d", k.N.BitLen())
	case *ecdsa.PublicKey:
		return k.Curve.Params().Name
	}
	return fmt.Sprintf("a key of another kind (%T)", pub)
}

// CheckKey returns why a public key is not acceptable, for a signer or for any
// certificate of a chain. It accepts RSA of 2048 to 8192 bits with an odd
// modulus and an odd exponent of at least 65537, P-256 and P-384.
func CheckKey(pub crypto.PublicKey) error {
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

func samePublicKey(a, b crypto.PublicKey) bool {
	switch k := a.(type) {
	case *rsa.PublicKey:
		return k.Equal(b)
	case *ecdsa.PublicKey:
		return k.Equal(b)
	}
	return false
}
