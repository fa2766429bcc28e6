package udap

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"fmt"

	"github.com/lestrrat-go/jwx/v2/jwa"
	"github.com/lestrrat-go/jwx/v2/jws"
)

// Sign makes a compact JWS over claims, which must be one JSON object. Its
// header holds alg and x5c, leaf first, and nothing else (UDAP Security 7.1.3).
// alg may be empty: then it follows from the key. The key must be that of
// chain[0].
func Sign(key crypto.Signer, chain []*x509.Certificate, alg string, claims []byte) (compact string, err error) {
	if key == nil || len(chain) == 0 {
		return "", errors.New("udap: signing needs a key and its certificate")
	}
	if !samePublicKey(key.Public(), chain[0].PublicKey) {
		return "", fmt.Errorf("udap: the key is not that of the certificate %s", certShown(chain[0]))
	}

	if alg == "" {
		alg = AlgorithmFor(key.Public())
	}
	if _, err := algorithmFits(alg, key.Public()); err != nil {
		return "", fmt.Errorf("udap: %w", err)
	}
	if _, err := parseObject(claims); err != nil {
		return "", fmt.Errorf("udap: claims to sign: %w", err)
	}

	input := strict64.EncodeToString(writeHeader(alg, chain)) + "." + strict64.EncodeToString(claims)
	s, err := jws.NewSigner(jwa.SignatureAlgorithm(alg))
	if err != nil {
		return "", fmt.Errorf("udap: %w", err)
	}

	sig, err := s.Sign([]byte(input), key)
	if err != nil {
		return "", fmt.Errorf("udap: %w", err)
	}
	return input + "." + strict64.EncodeToString(sig), nil
}

func writeHeader(alg string, chain []*x509.Certificate) []byte {
	b := append([]byte(`{"alg":"`), alg...)
	b = append(b, `","x5c":[`...)
	for i, c := range chain {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, '"')
		b = standard64.AppendEncode(b, c.Raw)
		b = append(b, '"')
	}

	return append(b, "]}"...)
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
