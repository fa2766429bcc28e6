package udap

import (
	"crypto"
	"crypto/x509"
	"errors"

	"fhirdest.example/udap/jose"
)

// Sign returns a compact JWS over claims, which must be one JSON object. Its
// header has alg and x5c, the leaf first, and nothing else (UDAP Security
// 7.1.3). alg may be empty: then it follows from the key. The key must be that
// of chain[0].
func Sign(key crypto.Signer, chain []*x509.Certificate, alg string, claims []byte) (compact string, err error) {
	if len(chain) == 0 {
		return "", errors.New("udap: signing needs the certificate of the key")
	}
	return jose.Sign(key, jose.Header{Chain: chain}, alg, claims)
}
