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

// SignatureHeader is what a signature of FHIR resources names in its header.
type SignatureHeader struct {
	Canon      string // canon: the URI of the canonical form that is signed
	SignedAt   string // sigT: an instant
	Commitment string // srCms: the URI of the purpose of the signature
}

// SignDetached returns a compact JWS without the content that it signs (RFC 7515
// appendix F), with alg, typ, x5c and what h names in its header. The key must be that
// of chain[0].
func SignDetached(
	key crypto.Signer, chain []*x509.Certificate, h SignatureHeader, content []byte,
) (compact string, err error) {
	if len(chain) == 0 {
		return "", errors.New("udap: signing needs the certificate of the key")
	}

	header := jose.Header{
		Type:       "JOSE",
		Chain:      chain,
		Canon:      h.Canon,
		SignedAt:   h.SignedAt,
		Commitment: h.Commitment,
	}
	return jose.SignDetached(key, header, "", content)
}
