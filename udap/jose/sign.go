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
}

// Sign returns the compact form of a JWS over claims, which must be one JSON
// object. alg may be empty: then it is AlgorithmFor the key. The key must be
// that of h.Chain[0] if there is a chain.
func Sign(key crypto.Signer, h Header, alg string, claims []byte) (compact string, err error) {
	if key == nil {
		return "", errors.New("jose: signing needs a key")
	}
	if len(h.Chain) > 0 && !samePublicKey(key.Public(), h.Chain[0].PublicKey) {
		return "", fmt.Errorf("jose: the key is not that of the certificate %s", CertName(h.Chain[0]))
	}

	if alg == "" {
		alg = AlgorithmFor(key.Public())
	}
	if _, err := signatureSize(alg, key.Public()); err != nil {
		return "", fmt.Errorf("jose: %w", err)
	}
	if _, err := ParseObject(claims); err != nil {
		return "", fmt.Errorf("jose: claims to sign: %w", err)
	}

	header, err := h.encode(alg, key.Public())
	if err != nil {
		return "", fmt.Errorf("jose: %w", err)
	}

	input := base64URL.EncodeToString(header) + "." + base64URL.EncodeToString(claims)
	s, err := jws.NewSigner(jwa.SignatureAlgorithm(alg))
	if err != nil {
		return "", fmt.Errorf("jose: %w", err)
	}

	sig, err := s.Sign([]byte(input), key)
	if err != nil {
		return "", fmt.Errorf("jose: %w", err)
	}
	return input + "." + base64URL.EncodeToString(sig), nil
}

func (h Header) encode(alg string, pub crypto.PublicKey) ([]byte, error) {
	b := append([]byte(`{"alg":"`), alg...)
	b = append(b, '"')
	for _, m := range []struct{ name, value string }{{"typ", h.Type}, {"kid", h.KeyID}} {
		if m.value == "" {
			continue
		}

		var err error
		b = append(b, `,"`+m.name+`":`...)
		if b, err = jsontext.AppendQuote(b, m.value); err != nil {
			return nil, fmt.Errorf("%s: %w", m.name, err)
		}
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
