package jose_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"

	"fhirdest.example/udap/jose"
)

// A modulus and exponent, and the key of RFC 9449 6.1 with its thumbprint.
const (
	rsaExample = `{"kty":"RSA","alg":"RS256","kid":"2011-04-29","e":"AQAB","n":"0vx7agoebGcQSuuPiLJXZptN9nndrQmbX` +
		`EPtiYAKQMkjIgDFpjFdmOFbcIGr9Z2dQmLBaJrmdQ7CQAQ6hiwS3uIoL6oRjLsVVjAyBpGqA6ZyXo7XJsiiCNN64SHIpCAjm8eOfEnNx` +
		`iFm8Gd8ry0tZl0_BkPDW8fVEYIJHXqDMJOUHAsXeVqQcYdMdYzCYLhAMUPNHJWPbTKcYBQGmOFOVqzxQYTnLxQe-jSYDCMmWUpXIGxnX` +
		`sTXNPYtfmZMt2PnHkEfdgwvuTB4hNHCbBC6LLnDzlqT-1S1KPZVkQLHEB5NBvGDTFLLyWRVONwhNoJrIGRYBEPZqyZPjQ"}`
	ecExample = `{"kty":"EC","x":"l8tFrhx-34tV3hRICRDY9zCkDlpBhF42UQUfWVAWBFs",` +
		`"y":"9VE4jf_Ok_o64zbTTlcuNJajHmt6v9TDVrU0CdvGRDA","crv":"P-256"}`
	ecThumbprint = "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"
)

func parsed(t *testing.T, text string) jose.Object {
	t.Helper()
	o, err := jose.ParseObject([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// TestThumbprint compares with the example of RFC 9449.
func TestThumbprint(t *testing.T) {
	pub, f := jose.DecodeKey(parsed(t, ecExample))
	if f != nil {
		t.Fatal(f)
	}
	key, err := jose.EncodeKey(pub)
	if err != nil {
		t.Fatal(err)
	}

	if got := key.Thumbprint(); got != ecThumbprint {
		t.Errorf("thumbprint %s, want %s", got, ecThumbprint)
	}
}

// TestKeysSurviveEncoding decodes what was encoded, for each kind of key.
func TestKeysSurviveEncoding(t *testing.T) {
	for name, key := range map[string]crypto.Signer{
		"RSA":   must(rsa.GenerateKey(rand.Reader, 2048)),
		"P-256": must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)),
		"P-384": must(ecdsa.GenerateKey(elliptic.P384(), rand.Reader)),
	} {
		t.Run(name, func(t *testing.T) {
			encoded, err := jose.EncodeKey(key.Public())
			if err != nil {
				t.Fatal(err)
			}
			text, err := json.Marshal(encoded)
			if err != nil {
				t.Fatal(err)
			}

			pub, f := jose.DecodeKey(parsed(t, string(text)))
			if f != nil {
				t.Fatal(f)
			}
			if !key.Public().(interface{ Equal(crypto.PublicKey) bool }).Equal(pub) {
				t.Error("another key came out")
			}
		})
	}

	small := must(ecdsa.GenerateKey(elliptic.P521(), rand.Reader))
	if _, err := jose.EncodeKey(small.Public()); err == nil {
		t.Error("a key on P-521 was encoded")
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// TestKeysRefused damages a good key in one place.
func TestKeysRefused(t *testing.T) {
	for name, change := range map[string][2]string{
		"private":        {`"crv"`, `"d":"AAAA","crv"`},
		"symmetric":      {`"crv"`, `"k":"AAAA","crv"`},
		"for encryption": {`"crv"`, `"use":"enc","crv"`},
		"no type":        {`"kty":"EC",`, ``},
		"octets":         {`"EC"`, `"oct"`},
		"OKP":            {`"EC"`, `"OKP"`},
		"another curve":  {`P-256`, `P-384`},
		"unknown curve":  {`P-256`, `secp256k1`},
		"no x":           {`"x"`, `"z"`},
		"x as a number":  {`"l8tFrhx-34tV3hRICRDY9zCkDlpBhF42UQUfWVAWBFs"`, `7`},
		"x of 31 bytes": {
			`l8tFrhx-34tV3hRICRDY9zCkDlpBhF42UQUfWVAWBFs`,
			`l8tFrhx-34tV3hRICRDY9zCkDlpBhF42UQUfWVAWBA`,
		},
		"loose bits": {
			`l8tFrhx-34tV3hRICRDY9zCkDlpBhF42UQUfWVAWBFs`,
			`l8tFrhx-34tV3hRICRDY9zCkDlpBhF42UQUfWVAWBFt`,
		},
		"not on the curve":  {`l8tF`, `m8tF`},
		"padded":            {`WBFs"`, `WBFs="`},
		"standard alphabet": {`Fs"`, `+s"`},
	} {
		t.Run(name, func(t *testing.T) {
			text := strings.Replace(ecExample, change[0], change[1], 1)
			if text == ecExample {
				t.Fatal("the change changes nothing")
			}
			if _, f := jose.DecodeKey(parsed(t, text)); f == nil {
				t.Error("accepted")
			}
		})
	}

	for name, text := range map[string]string{
		"short modulus":  `{"kty":"RSA","n":"AQAB","e":"AQAB"}`,
		"leading zero":   `{"kty":"RSA","n":"AAEB","e":"AQAB"}`,
		"long exponent":  strings.Replace(rsaExample, `"AQAB"`, `"AQABAQAB"`, 1),
		"exponent three": strings.Replace(rsaExample, `"AQAB"`, `"Aw"`, 1),
	} {
		t.Run(name, func(t *testing.T) {
			if _, f := jose.DecodeKey(parsed(t, text)); f == nil {
				t.Error("accepted")
			}
		})
	}
}
