package oauth

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"

	"fhirdest.example/udap/jose"
)

// keySet is the JWK set of the keys that this server signs with (RFC 7517).
// UDAP clients do not need it, as what is signed carries x5c.
type keySet struct {
	Keys []webKey `json:"keys"`
}

type webKey struct {
	jose.WebKey

	Use       string   `json:"use"`
	Algorithm string   `json:"alg"`
	ID        string   `json:"kid"`
	Chain     []string `json:"x5c,omitempty"`
}

// publishKeys makes the document of the keys anew.
func (s openid) publishKeys() error {
	s.keys.Lock()
	defer s.keys.Unlock()

	set := keySet{Keys: s.webKeys()}
	seen := map[string]bool{}
	for _, p := range s.trust.Load().publishers {
		for _, id := range p.member.Identities {
			if k, ok := webKeyOf(id.Chain); ok && !seen[k.ID] {
				seen[k.ID] = true
				set.Keys = append(set.Keys, k)
			}
		}
	}

	d, err := constant(set)
	s.keys.document.Store(&d)
	return err
}

func webKeyOf(chain []*x509.Certificate) (webKey, bool) {
	leaf := chain[0]
	key, err := jose.EncodeKey(leaf.PublicKey)
	if err != nil {
		return webKey{}, false
	}

	sum := sha256.Sum256(leaf.RawSubjectPublicKeyInfo)
	k := webKey{
		WebKey:    key,
		Use:       "sig",
		Algorithm: jose.AlgorithmFor(leaf.PublicKey),
		ID:        base64.RawURLEncoding.EncodeToString(sum[:]),
	}

	for _, c := range chain {
		k.Chain = append(k.Chain, base64.StdEncoding.EncodeToString(c.Raw))
	}
	return k, true
}
