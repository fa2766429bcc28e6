package udap_test

import (
	"crypto/rand"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"

	"fhirdest.example/udap/udaptest"
)

// Covers: S1-008, case 039, case 136
func TestX5CMissing(t *testing.T) {
	for _, v := range []any{
		udaptest.Absent, []string{}, nil, map[string]any{}, "str", []int{1}, []string{""},
		[]any{nil},
	} {
		checkBoth(t, attempt{fmt.Sprintf("x5c %v", v), withHeader(map[string]any{"x5c": v})}, badForm("x5c.form"))
	}
}

// Covers: S1-008, case 040, case 136
func TestX5CEncodings(t *testing.T) {
	b64 := base64.StdEncoding.EncodeToString
	lines := func(s string) string { return s[:64] + "\n" + s[64:] }
	for _, c := range []struct {
		name, says string
		encode     func(c *x509.Certificate) string
	}{
		{"base64url", "base64url", func(c *x509.Certificate) string {
			return base64.URLEncoding.EncodeToString(append(c.Raw, 0xfb, 0xff, 0xfe))
		}},
		{"unpadded", "", func(c *x509.Certificate) string {
			return base64.RawStdEncoding.EncodeToString(append(c.Raw, make([]byte, 3-(len(c.Raw)+1)%3)...)) + "A"
		}},
		{"PEM", "PEM", func(c *x509.Certificate) string { return string(pemOf("CERTIFICATE", c.Raw)) }},
		{"line breaks", "line breaks", func(c *x509.Certificate) string { return lines(b64(c.Raw)) }},
		{"white space", "white space", func(c *x509.Certificate) string { return " " + b64(c.Raw) }},
		{"hex", "DER", func(c *x509.Certificate) string { h := hex.EncodeToString(c.Raw); return h[:len(h)/4*4] }},
		{"trailing byte", "DER", func(c *x509.Certificate) string {
			return b64(append(c.Raw[:len(c.Raw):len(c.Raw)], 0))
		}},
		{"two in one", "DER", func(c *x509.Certificate) string {
			return b64(append(c.Raw[:len(c.Raw):len(c.Raw)], c.Raw...))
		}},
		{"a request", "DER", func(*x509.Certificate) string {
			der, _ := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{},
				udaptest.Key(t, "p256", 10))
			return b64(der)
		}},
		{"PKCS#7", "DER", func(c *x509.Certificate) string {
			der, _ := asn1.Marshal(struct {
				T asn1.ObjectIdentifier
				C asn1.RawValue `asn1:"tag:0,explicit"`
			}{asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 2}, asn1.RawValue{FullBytes: c.Raw}})
			return b64(der)
		}},
		{"cut short", "not padded", func(c *x509.Certificate) string {
			return strings.TrimRight(b64(append(c.Raw, make([]byte, 3-(len(c.Raw)+1)%3)...)), "=")
		}},
		{"no base64", "not base64", func(*x509.Certificate) string { return "!!!!" }},
		{"17 KiB", "more than 16384", func(*x509.Certificate) string { return b64(make([]byte, 17<<10)) }},
		{"10 KiB of A", "DER", func(*x509.Certificate) string { return strings.Repeat("A", 10<<10) }},
		{"40 KiB of A", "too long", func(*x509.Certificate) string { return strings.Repeat("A", 40<<10) }},
		{"10 MiB of A", "at most", func(*x509.Certificate) string { return strings.Repeat("A", 10<<20) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, position := range []int{0, 1} {
				want := badForm("x5c.form")
				if c.name == "10 MiB of A" {
					want.check = "jws.form"
				}
				want.says = c.says
				checkBoth(t,
					attempt{fmt.Sprintf("%s at %d", c.name,
						position), func(t *testing.T, w *udaptest.Env, cl *udaptest.Client, good udaptest.Claims) string {
						list := []string{b64(cl.Chain[0].Raw), b64(cl.Chain[1].Raw)}
						list[position] = c.encode(cl.Chain[position])
						return signer(cl).Sign(t, udaptest.HeaderWith(alg(cl), map[string]any{
							"x5c": list,
						}), good.JSON(t))
					}}, want)
			}
		})
	}
}

// Covers: case 041, case 136
func TestLeafNotFirst(t *testing.T) {
	chain := func(order func(w *udaptest.Env, c *udaptest.Client) []*x509.Certificate) func(*testing.T, *udaptest.Env, *udaptest.Client, udaptest.Claims) string {
		return func(t *testing.T, w *udaptest.Env, c *udaptest.Client, good udaptest.Claims) string {
			return c.SignChain(t, good, order(w, c)...)
		}
	}

	want := badForm("jws.signature")
	want.says = "x5c[0] is a CA"
	checkBoth(t, attempt{"intermediate first", chain(func(w *udaptest.Env, c *udaptest.Client) []*x509.Certificate {
		return []*x509.Certificate{w.A.Int.Cert, c.Leaf()}
	})}, want)
	checkBoth(t, attempt{"reversed", chain(func(w *udaptest.Env, c *udaptest.Client) []*x509.Certificate {
		return []*x509.Certificate{w.A.Root.Cert, w.A.Int.Cert, c.Leaf()}
	})}, want)

	want.says = "x5c[1]"
	checkBoth(t,
		attempt{"another trusted leaf first", func(t *testing.T, w *udaptest.Env, c *udaptest.Client, good udaptest.Claims) string {
			other := w.ClientWith(t, w.A.Int, udaptest.Client1URI, udaptest.Key(t, w.Kind, 20), nil)
			return c.SignChain(t, good, other.Leaf(), c.Leaf())
		}}, want)
}

// Where the first certificate's key could not have signed at all, the order is
// named all the same.
//
// Covers: case 041
func TestReversedChainOfOtherKeys(t *testing.T) {
	w := udaptest.New(t, "rsa2048")
	c := w.ClientWith(t, w.A.Int, udaptest.Client1URI, udaptest.Key(t, "p256", 10), nil)
	_, tr, err := statement(w, c.SignChain(t, c.Statement(w.Now), w.A.Int.Cert, c.Leaf()))
	want := badForm("jws.signature")
	want.says = "ES256 needs P-256, the certificate has RSA-2048: a signature made by the key of x5c[1]"
	expectRefusal(t, tr, err, want)
	if !strings.Contains(err.Error(), "x5c[0] is a CA: the order is probably reversed") {
		t.Error(err)
	}
}
