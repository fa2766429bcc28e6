package udap_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"fmt"
	"math/big"
	"strings"
	"testing"

	"fhirdest.example/certs"
	"fhirdest.example/udap"
	"fhirdest.example/udap/udaptest"
)

// BenchmarkAssertion judges authentication tokens of one client: everything but
// the token's own signature may be remembered. "bare" is that signature alone.
func BenchmarkAssertion(b *testing.B) {
	for _, k := range kinds {
		w := udaptest.New(b, k)
		c := w.Client(b, w.A.Int, udaptest.Client1URI, nil)
		compact := c.Sign(b, udaptest.Assertion(clientID, w.Now))
		exp := udap.Expect{Now: w.Now, Audience: udaptest.Token}
		b.Run(string(k)+"/warm", func(b *testing.B) {
			v := w.Verifier()
			for b.Loop() {
				if _, err := v.Assertion(ctx, compact, "", exp, lookup, nil); err != nil {
					b.Fatal(err)
				}
			}
		})

		b.Run(string(k)+"/cold", func(b *testing.B) {
			for b.Loop() {
				if _, err := w.Verifier().Assertion(ctx, compact, "", exp, lookup, nil); err != nil {
					b.Fatal(err)
				}
			}
		})

		b.Run(string(k)+"/bare", func(b *testing.B) { benchBare(b, compact, c.Leaf()) })
	}
}

func benchBare(b *testing.B, compact string, leaf *x509.Certificate) {
	p := strings.Split(compact, ".")
	sig, err := decode64(p[2])
	if err != nil {
		b.Fatal(err)
	}

	for b.Loop() {
		sum := sha256.Sum256([]byte(p[0] + "." + p[1]))
		ok := false
		switch k := leaf.PublicKey.(type) {
		case *rsa.PublicKey:
			ok = rsa.VerifyPKCS1v15(k, crypto.SHA256, sum[:], sig) == nil
		case *ecdsa.PublicKey:
			ok = ecdsa.Verify(k, sum[:], new(big.Int).SetBytes(sig[:32]), new(big.Int).SetBytes(sig[32:]))
		}

		if !ok {
			b.Fatal("bad signature")
		}
	}
}

// BenchmarkStatement judges first registrations of many clients of one
// community: each leaf is new, the issuing CA is known.
func BenchmarkStatement(b *testing.B) {
	for _, k := range []certs.KeyKind{"p256", "rsa2048"} {
		w := udaptest.New(b, k)
		exp := udap.Expect{Now: w.Now, Audience: udaptest.Registration}
		var compact []string

		for i := range 64 {
			c := w.Client(b, w.A.Int, fmt.Sprintf("https://client%d.test/app", i), nil)
			compact = append(compact, c.Sign(b, c.Statement(w.Now)))
		}

		b.Run(string(k)+"/new leaf", func(b *testing.B) {
			v := w.Verifier()
			for i := 0; b.Loop(); i++ {
				if i%len(compact) == 0 {
					v = w.Verifier()
				}
				if _, err := v.Statement(ctx, compact[i%len(compact)], exp, nil); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkSign makes authentication tokens.
func BenchmarkSign(b *testing.B) {
	for _, k := range kinds {
		w := udaptest.New(b, k)
		c := w.Client(b, w.A.Int, udaptest.Client1URI, nil)
		claims := udaptest.Assertion(clientID, w.Now).JSON(b)
		b.Run(string(k), func(b *testing.B) {
			for b.Loop() {
				if _, err := udap.Sign(c.Key, c.Chain, "", claims); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
