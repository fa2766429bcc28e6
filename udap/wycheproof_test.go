package udap

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
)

// jwkVector is a public key as Wycheproof writes it.
type jwkVector struct {
	Kty, Use, Crv, N, E, X, Y string
	KeyOps                    []string `json:"key_ops"`
	Alg                       string
}

// certificate stands for the certificate that would carry the key: what a JWK
// says with use and key_ops, a certificate says with keyUsage.
func (k jwkVector) certificate() (*x509.Certificate, error) {
	pub, err := k.public()
	if err != nil {
		return nil, err
	}
	c := &x509.Certificate{PublicKey: pub, KeyUsage: x509.KeyUsageDigitalSignature}
	if k.Use == "enc" || k.KeyOps != nil && !slices.Contains(k.KeyOps, "verify") {
		c.KeyUsage = x509.KeyUsageKeyEncipherment
	}
	return c, nil
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

// verifyVector runs a compact JWS through every step that our verifier takes
// before claims, with the key of a certificate in the place of x5c[0]. The
// payload of the vectors is no JSON object, so that one step is left out.
func verifyVector(compact string, cert *x509.Certificate) error {
	parts := strings.Split(compact, ".")
	if len(parts) != 3 {
		return errors.New("segments")
	}

	e := &envelope{signed: parts[0] + "." + parts[1], certs: []*x509.Certificate{cert}}
	var f *fault
	if e.header, f = openObject("header", parts[0], maxHeader); f != nil {
		return errors.New(f.found)
	}
	if _, f = openSegment("payload", parts[1]); f != nil && parts[1] != "" {
		return errors.New(f.found)
	}
	if e.signature, f = openSegment("signature", parts[2]); f != nil {
		return errors.New(f.found)
	}

	for _, step := range []func() *fault{e.checkHeader, e.checkAlg} {
		if f := step(); f != nil {
			return errors.New(f.found)
		}
	}

	return verifyEnvelope(e)
}

func verifyEnvelope(e *envelope) error {
	if err := checkKey(e.certs[0].PublicKey); err != nil {
		return err
	}
	if f := checkEndEntity(e.certs[0]); f != nil {
		return errors.New(f.found)
	}
	if f := e.verifySignature(); f != nil {
		return errors.New(f.found)
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
	readVectors(t, filepath.Join(moduleDir(t, wycheproofModule), "testvectors_v1", "json_web_signature_test.json"),
		&file)

	var d differences
	for _, g := range file.TestGroups {
		cert, err := g.Public.certificate()
		for _, v := range g.Tests {
			ok := err == nil && verifyVector(v.JWS, cert) == nil
			d.judge(fmt.Sprintf("jws %d", v.TcID), v.Result == "valid", ok)
		}
	}

	d.compare(t, "wycheproof-jws", 401)
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
	readVectors(t, filepath.Join(moduleDir(t, wycheproofModule), "testvectors_v1", "json_web_key_test.json"), &file)

	var d differences
	for _, g := range file.TestGroups {
		for _, v := range g.Tests {
			ok := false
			if len(g.Public.Keys) == 1 {
				cert, err := g.Public.Keys[0].certificate()
				ok = err == nil && verifyVector(v.JWS, cert) == nil
			}
			d.judge(fmt.Sprintf("jwk %d", v.TcID), v.Result == "valid", ok)
		}
	}

	d.compare(t, "wycheproof-jwk", 26)
}

// The signature vectors for bare keys, judged as the JWS algorithm that they
// belong to.
// Covers: case 022, case 023, case 054
func TestWycheproofSignatures(t *testing.T) {
	dir := filepath.Join(moduleDir(t, wycheproofModule), "testvectors_v1")
	var d differences
	for name, alg := range map[string]string{
		"rsa_signature_2048_sha256_test.json": "RS256", "rsa_signature_3072_sha256_test.json": "RS256", "rsa_signature_4096_sha256_test.json": "RS256", "rsa_signature_8192_sha256_test.json": "RS256",
		"rsa_signature_2048_sha384_test.json": "RS384", "rsa_signature_3072_sha384_test.json": "RS384", "rsa_signature_4096_sha384_test.json": "RS384", "rsa_signature_8192_sha384_test.json": "RS384",
		"ecdsa_secp256r1_sha256_p1363_test.json": "ES256", "ecdsa_secp384r1_sha384_p1363_test.json": "ES384",
	} {
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
		readVectors(t, filepath.Join(dir, name), &file)

		for _, g := range file.TestGroups {
			der, err := hex.DecodeString(g.PublicKeyDer)
			if err != nil {
				t.Fatal(err)
			}
			pub, keyErr := x509.ParsePKIXPublicKey(der)

			for _, v := range g.Tests {
				msg, _ := hex.DecodeString(v.Msg)
				sig, _ := hex.DecodeString(v.Sig)
				cert := &x509.Certificate{PublicKey: pub, KeyUsage: x509.KeyUsageDigitalSignature}
				ok := keyErr == nil && verifyEnvelope(&envelope{
					alg:       alg,
					signed:    string(msg),
					signature: sig,
					certs:     []*x509.Certificate{cert},
				}) == nil
				d.judge(fmt.Sprintf("%s %d", strings.TrimSuffix(name, "_test.json"), v.TcID), v.Result == "valid", ok)
			}
		}
	}

	d.compare(t, "wycheproof-signatures", 2000)
}
