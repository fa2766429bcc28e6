package jose

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"fhirdest.example/udap/internal/vectors"
)

// jwkVector is a public key as Wycheproof writes it.
type jwkVector struct {
	Kty, Use, Crv, N, E, X, Y string
	KeyOps                    []string `json:"key_ops"`
	Alg                       string
}

// signer returns the key if it may verify signatures. What a JWK declares with
// use and key_ops, a certificate declares with keyUsage.
func (k jwkVector) signer() (crypto.PublicKey, error) {
	if k.Use == "enc" || k.KeyOps != nil && !slices.Contains(k.KeyOps, "verify") {
		return nil, errors.New("not a key for signatures")
	}
	return k.public()
}

func (k jwkVector) public() (crypto.PublicKey, error) {
	num := func(s string) *big.Int {
		b, _ := base64.RawURLEncoding.DecodeString(s)
		return new(big.Int).SetBytes(b)
	}

	switch k.Kty {
	case "RSA":
		return &rsa.PublicKey{N: num(k.N), E: int(num(k.E).Int64())}, nil
	case "EC":
		curve := map[string]elliptic.Curve{
			"P-256": elliptic.P256(),
			"P-384": elliptic.P384(),
			"P-521": elliptic.P521(),
		}[k.Crv]
		if curve == nil {
			return nil, errors.New("curve " + k.Crv)
		}

		n := (curve.Params().BitSize + 7) / 8
		x, y := num(k.X), num(k.Y)
		if x.BitLen() > 8*n || y.BitLen() > 8*n {
			return nil, errors.New("coordinates")
		}

		return ecdsa.ParseUncompressedPublicKey(curve,
			slices.Concat([]byte{4}, x.FillBytes(make([]byte, n)), y.FillBytes(make([]byte, n))))
	}

	return nil, errors.New("a key that no certificate of a client can hold: " + k.Kty)
}

// verifyVector applies to a compact JWS every step of this package, with one key.
// The payload of the vectors is not a JSON object, so that step is left out.
func verifyVector(compact string, key crypto.PublicKey) error {
	parts := strings.Split(compact, ".")
	if len(parts) != 3 {
		return errors.New("segments")
	}

	s := &JWS{input: parts[0] + "." + parts[1]}
	var f *Fault
	if s.Header, f = decodeObject("header", parts[0], maxHeader); f != nil {
		return f
	}
	if _, f = decodePart("payload", parts[1]); f != nil && parts[1] != "" {
		return f
	}
	if s.Signature, f = decodePart("signature", parts[2]); f != nil {
		return f
	}
	if f := s.CheckHeader(HeaderRules{}); f != nil {
		return f
	}
	if f := s.CheckAlgorithm(); f != nil {
		return f
	}

	return verifyBy(s, key)
}

func verifyBy(s *JWS, key crypto.PublicKey) error {
	if err := CheckKey(key); err != nil {
		return err
	}
	if f := s.Verify([]*x509.Certificate{{PublicKey: key}}); f != nil {
		return f
	}
	return nil
}

// Covers: case 016, case 022, case 023, case 031, case 054
func TestWycheproofJWS(t *testing.T) {
	var file struct {
		TestGroups []struct {
			Comment string
			Public  jwkVector
			Tests   []struct {
				TcID        int
				JWS, Result string
			}
		}
	}
	vectors.Read(t,
		filepath.Join(vectors.ModuleDir(t, vectors.Wycheproof), "testvectors_v1", "json_web_signature_test.json"),
		&file)

	var d vectors.Differences
	for _, g := range file.TestGroups {
		key, err := g.Public.signer()
		for _, v := range g.Tests {
			ok := err == nil && verifyVector(v.JWS, key) == nil
			d.Record(fmt.Sprintf("jws %d", v.TcID), v.Result == "valid", ok)
		}
	}

	d.Compare(t, "wycheproof-jws", 401)
}

// A set of keys is judged as x5c would be: exactly one key may be there.
// Covers: case 027, case 054
func TestWycheproofJWK(t *testing.T) {
	var file struct {
		TestGroups []struct {
			Public struct{ Keys []jwkVector }
			Tests  []struct {
				TcID        int
				JWS, Result string
			}
		}
	}
	vectors.Read(t,
		filepath.Join(vectors.ModuleDir(t, vectors.Wycheproof), "testvectors_v1", "json_web_key_test.json"), &file)

	var d vectors.Differences
	for _, g := range file.TestGroups {
		for _, v := range g.Tests {
			ok := false
			if len(g.Public.Keys) == 1 {
				key, err := g.Public.Keys[0].signer()
				ok = err == nil && verifyVector(v.JWS, key) == nil
			}
			d.Record(fmt.Sprintf("jwk %d", v.TcID), v.Result == "valid", ok)
		}
	}

	d.Compare(t, "wycheproof-jwk", 26)
}

// The signature vectors for bare keys, judged as the JWS algorithm that they
// belong to.
// Covers: case 022, case 023, case 054
func TestWycheproofSignatures(t *testing.T) {
	dir := filepath.Join(vectors.ModuleDir(t, vectors.Wycheproof), "testvectors_v1")
	var d vectors.Differences
	for name, alg := range map[string]string{
		"rsa_signature_2048_sha256_test.json": "RS256", "rsa_signature_3072_sha256_test.json": "RS256", "rsa_signature_4096_sha256_test.json": "RS256", "rsa_signature_8192_sha256_test.json": "RS256",
		"rsa_signature_2048_sha384_test.json": "RS384", "rsa_signature_3072_sha384_test.json": "RS384", "rsa_signature_4096_sha384_test.json": "RS384", "rsa_signature_8192_sha384_test.json": "RS384",
		"ecdsa_secp256r1_sha256_p1363_test.json": "ES256", "ecdsa_secp384r1_sha384_p1363_test.json": "ES384",
	} {
		t.Run(name, func(t *testing.T) {
			var file struct {
				TestGroups []struct {
					PublicKey    struct{ Uncompressed string }
					PublicKeyDer string
					Tests        []struct {
						TcID             int
						Msg, Sig, Result string
					}
				}
			}
			vectors.Read(t, filepath.Join(dir, name), &file)

			for _, g := range file.TestGroups {
				der, err := hex.DecodeString(g.PublicKeyDer)
				if err != nil {
					t.Fatal(err)
				}
				pub, keyErr := x509.ParsePKIXPublicKey(der)

				for _, v := range g.Tests {
					msg, _ := hex.DecodeString(v.Msg)
					sig, _ := hex.DecodeString(v.Sig)
					ok := keyErr == nil && verifyBy(&JWS{
						Algorithm: alg,
						input:     string(msg),
						Signature: sig,
					}, pub) == nil
					d.Record(fmt.Sprintf("%s %d", strings.TrimSuffix(name, "_test.json"), v.TcID), v.Result == "valid",
						ok)
				}
			}
		})
	}

	d.Compare(t, "wycheproof-signatures", 2000)
}
