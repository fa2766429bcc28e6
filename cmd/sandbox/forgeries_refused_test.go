package main

import (
	"encoding/asn1"
	"encoding/base64"
	"math/big"
	"strings"

	"fhirdest.example/udap/jose"
	"fhirdest.example/udap/udaptest"
)

// forged is a JWT that is wrong in one way.
type forged struct {
	name, check string
	make        func(a *attacker, c *udaptest.Client, claims []byte) string
}

func header(text string) func(*attacker, *udaptest.Client, []byte) string {
	return func(a *attacker, c *udaptest.Client, claims []byte) string {
		var x5c []string
		for _, cert := range c.Chain {
			x5c = append(x5c, `"`+base64.StdEncoding.EncodeToString(cert.Raw)+`"`)
		}
		alg := jose.AlgorithmFor(c.Key.Public())
		text := strings.NewReplacer("ALG", alg, "X5C", "["+strings.Join(x5c, ",")+"]").Replace(text)
		return udaptest.Raw{Alg: alg, Key: c.Key}.Sign(a.t, []byte(text), claims)
	}
}

var forgeries = []forged{
	{"crit empty", "jws.header", header(`{"alg":"ALG","crit":[],"x5c":X5C}`)},
	{"crit exp", "jws.header", header(`{"alg":"ALG","crit":["exp"],"exp":1,"x5c":X5C}`)},
	{"alg in two cases", "jws.form", header(`{"alg":"ALG","Alg":"none","x5c":X5C}`)},
	{"x5c in two cases", "jws.form", header(`{"alg":"ALG","x5C":[],"x5c":X5C}`)},
	{"alg in lower case", "jws.alg", header(`{"alg":"es256","x5c":X5C}`)},
	{"typ of an access token", "jws.header", header(`{"alg":"ALG","typ":"at+jwt","x5c":X5C}`)},
	{"typ of a DPoP proof", "jws.header", header(`{"alg":"ALG","typ":"dpop+jwt","x5c":X5C}`)},
	{"x5c null", "x5c.form", header(`{"alg":"ALG","x5c":null}`)},
	{"another thumbprint", "x5c.thumbprint", header(`{"alg":"ALG","x5t#S256":"x","x5c":X5C}`)},
	{"header of two objects", "jws.form", header(`{"alg":"ALG","x5c":X5C}{}`)},
	{"DER signature, or one byte more", "jws.signature", func(a *attacker, c *udaptest.Client, claims []byte) string {
		alg := jose.AlgorithmFor(c.Key.Public())
		input := udaptest.Segment(udaptest.Header(alg, c.Chain...)) + "." + udaptest.Segment(claims)
		raw := udaptest.Raw{Alg: alg, Key: c.Key}.Signature(a.t, []byte(input))
		if strings.HasPrefix(alg, "ES") {
			der, err := asn1.Marshal(struct{ R, S *big.Int }{
				new(big.Int).SetBytes(raw[:len(raw)/2]),
				new(big.Int).SetBytes(raw[len(raw)/2:]),
			})
			if err != nil {
				a.t.Fatal(err)
			}

			return input + "." + udaptest.Segment(der)
		}

		return input + "." + udaptest.Segment(append(raw, 0))
	}},
	{"algorithm of another curve or key", "jws.signature", func(a *attacker, c *udaptest.Client, claims []byte) string {
		own, other := jose.AlgorithmFor(c.Key.Public()), "ES384"
		if own == other {
			other = "RS256"
		}
		return udaptest.Raw{Alg: own, Key: c.Key}.Sign(a.t, udaptest.Header(other, c.Chain...), claims)
	}},
	{"issuer first", "jws.signature", func(a *attacker, c *udaptest.Client, claims []byte) string {
		alg := jose.AlgorithmFor(c.Key.Public())
		return udaptest.Raw{Alg: alg, Key: c.Key}.Sign(a.t, udaptest.Header(alg, c.Chain[1], c.Chain[0]), claims)
	}},
	{"loose bits in the signature", "jws.form", func(a *attacker, c *udaptest.Client, claims []byte) string {
		alg := jose.AlgorithmFor(c.Key.Public())
		return udaptest.Raw{Alg: alg, Key: c.Key}.Sign(a.t, udaptest.Header(alg, c.Chain...), claims) + "="
	}},
}
