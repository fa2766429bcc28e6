package oauth

import (
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"math/big"

	"fhirdest.example/udap/jose"
)

// keySet is the JWK set of the keys that this server signs with (RFC 7517).
// UDAP clients do not need it, as what is signed carries x5c.
type keySet struct {
	Keys []webKey `json:"keys"`
}

type webKey struct {
	Type      string   `json:"kty"`
	Use       string   `json:"use"`
	Algorithm string   `json:"alg"`
	ID        string   `json:"kid"`
	N         string   `json:"n,omitzero"`
	E         string   `json:"e,omitzero"`
	Curve     string   `json:"crv,omitzero"`
	X         string   `json:"x,omitzero"`
	Y         string   `json:"y,omitzero"`
	Chain     []string `json:"x5c"`
}

func (t *trust) keySet() keySet {
	set := keySet{Keys: []webKey{}}
	seen := map[string]bool{}
	for _, p := range t.publishers {
		for _, id := range p.member.Identities {
			if k, ok := webKeyOf(id.Chain); ok && !seen[k.ID] {
				seen[k.ID] = true
				set.Keys = append(set.Keys, k)
			}
		}
	}

	return set
}

func webKeyOf(chain []*x509.Certificate) (webKey, bool) {
	leaf := chain[0]
	k := webKey{
		Use:       "sig",
		Algorithm: jose.AlgorithmFor(leaf.PublicKey),
	}
	sum := sha256.Sum256(leaf.RawSubjectPublicKeyInfo)
	k.ID = base64.RawURLEncoding.EncodeToString(sum[:])

	for _, c := range chain {
		k.Chain = append(k.Chain, base64.StdEncoding.EncodeToString(c.Raw))
	}

	switch key := leaf.PublicKey.(type) {
	case *rsa.PublicKey:
		k.Type, k.N, k.E = "RSA", segment(key.N.Bytes()), segment(big.NewInt(int64(key.E)).Bytes())
	case *ecdsa.PublicKey:
		point, err := key.Bytes() // 0x04, x, y
		if err != nil {
			return k, false
		}

		half := (len(point) - 1) / 2
		k.Type, k.Curve, k.X, k.Y = "EC", key.Params().Name, segment(point[1:1+
			half]), segment(point[1+half:])

	default:
		return k, false
	}

	return k, true
}

func segment(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }
