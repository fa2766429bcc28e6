package jose

import (
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/lestrrat-go/jwx/v2/jwa"
	"github.com/lestrrat-go/jwx/v2/jws"
)

// Header is what Sign writes into the header beside alg. Every member is
// optional; a zero Header makes a header with alg alone.
type Header struct {
	Type  string              // typ, for example "dpop+jwt"
	KeyID string              // kid
	Chain []*x509.Certificate // x5c, the signer's certificate first
	JWK   bool                // with jwk, the signer's public key

	// Of signatures of FHIR resources (FHIR R4 signatures.html; ETSI TS 119 182-1).
	Canon      string // canon, the URI of the canonical form that is signed
	SignedAt   string // sigT
	Commitment string // srCms, the URI of the purpose of the signature
}

// Sign returns the compact form of a JWS over claims, which must be one JSON
// object. alg may be empty: then it is AlgorithmFor the key. The key must be
// that of h.Chain[0] if there is a chain.
func Sign(key crypto.Signer, h Header, alg string, claims []byte) (compact string, err error) {
	if _, err := ParseObject(claims); err != nil {
		return "", fmt.Errorf("jose: claims to sign: %w", err)
	}

	header, sig, err := sign(key, h, alg, claims)
	if err != nil {
		return "", err
	}
	return header + "." + base64URL.EncodeToString(claims) + "." + sig, nil
}

// SignDetached is Sign over any content, which is left out of what is returned (RFC
// 7515 appendix F).
func SignDetached(
	key crypto.Signer, h Header, alg string, content []byte,
) (compact string, err error) {
	header, sig, err := sign(key, h, alg, content)
	if err != nil {
		return "", err
	}
	return header + ".." + sig, nil
}

// sign returns the header and the signature of a JWS as they are written.
func sign(
	key crypto.Signer, h Header, alg string, payload []byte,
) (header, signature string, err error) {
	if key == nil {
		return "", "", errors.New("jose: signing needs a key")
	}
	if len(h.Chain) > 0 && !samePublicKey(key.Public(), h.Chain[0].PublicKey) {
		return "", "", fmt.Errorf("jose: the key is not that of the certificate %s", CertName(h.Chain[0]))
	}

	if alg == "" {
		alg = AlgorithmFor(key.Public())
	}
	if _, err := signatureSize(alg, key.Public()); err != nil {
		return "", "", fmt.Errorf("jose: %w", err)
	}

	plain, err := h.encode(alg, key.Public())
	if err != nil {
		return "", "", fmt.Errorf("jose: %w", err)
	}
	s, err := jws.NewSigner(jwa.SignatureAlgorithm(alg))
	if err != nil {
		return "", "", fmt.Errorf("jose: %w", err)
	}

	header = base64URL.EncodeToString(plain)
	sig, err := s.Sign([]byte(header+"."+base64URL.EncodeToString(payload)), key)
	if err != nil {
		return "", "", fmt.Errorf("jose: %w", err)
	}
	return header, base64URL.EncodeToString(sig), nil
}

func (h Header) encode(alg string, pub crypto.PublicKey) ([]byte, error) {
	b := append([]byte(`{"alg":"`), alg...)
	b = append(b, '"')
	for _, m := range []struct{ name, value string }{
		{"typ", h.Type},
		{"kid", h.KeyID},
		{"canon", h.Canon},
		{"sigT", h.SignedAt},
	} {
		if m.value == "" {
			continue
		}

		var err error
		b = append(b, `,"`+m.name+`":`...)
		if b, err = jsontext.AppendQuote(b, m.value); err != nil {
			return nil, fmt.Errorf("%s: %w", m.name, err)
		}
	}

	if h.Commitment != "" {
		id, err := jsontext.AppendQuote(nil, h.Commitment)
		if err != nil {
			return nil, fmt.Errorf("srCms: %w", err)
		}
		b = append(append(append(b, `,"srCms":[{"commId":{"id":`...), id...), "}}]"...)
	}

	if h.JWK {
		key, err := EncodeKey(pub)
		if err != nil {
			return nil, err
		}

		jwk, err := json.Marshal(key)
		if err != nil {
			return nil, err
		}
		b = append(append(b, `,"jwk":`...), jwk...)
	}

	if len(h.Chain) == 0 {
		return append(b, '}'), nil
	}

	b = append(b, `,"x5c":[`...)
	for i, c := range h.Chain {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, '"')
		b = base64Standard.AppendEncode(b, c.Raw)
		b = append(b, '"')
	}

	return append(b, "]}"...), nil
}
