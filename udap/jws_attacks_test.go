package udap_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"strings"
	"testing"
	"time"

	"fhirdest.example/udap/jose"
	"fhirdest.example/udap/trace"
	"fhirdest.example/udap/udaptest"
)

// badForm is what every malformed or badly signed thing gets.
func badForm(check string) expectation {
	return expectation{code: trace.InvalidSoftwareStatement, check: check, offline: true}
}

// Covers: S1-002, S1-007, case 016, case 020, case 021, case 012, case 136
func TestAlgorithms(t *testing.T) {
	for _, a := range []any{
		"none", "None", "NONE", "nOnE", "HS256", "PS256", "RS512", "ES512", "EdDSA", "ES256K",
		"ALG", "rs256", "RS256 ", nil, []string{"RS256"}, udaptest.Absent, 7, "",
	} {
		checkBoth(t, attempt{fmt.Sprintf("alg %v", a), withHeader(map[string]any{"alg": a})}, badForm("jws.alg"))
	}

	checkBoth(t, attempt{"ALG alone", withHeader(map[string]any{"alg": udaptest.Absent, "ALG": "RS256"})},
		expectation{code: trace.InvalidSoftwareStatement, check: "jws.alg", says: "ALG", offline: true})
	checkBoth(t,
		attempt{"none with an empty signature", func(t *testing.T, w *udaptest.Env, c *udaptest.Client, good udaptest.Claims) string {
			return udaptest.Segment(udaptest.Header("none", c.Chain...)) + "." + udaptest.Segment(good.JSON(t)) + "."
		}}, badForm("jws.form"))
}

// Signatures that are good, by a trusted leaf, under an algorithm that is not
// advertised.
// Covers: case 020, case 054
func TestAlgorithmsOfOtherKeys(t *testing.T) {
	w := udaptest.New(t, "p256")
	_, ed, _ := ed25519.GenerateKey(rand.Reader)
	p521, _ := ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	p224, _ := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	rsa := udaptest.Key(t, "rsa2048", 10)
	for _, c := range []struct {
		alg  string
		key  crypto.Signer
		code trace.Code
	}{
		{"EdDSA", ed, trace.InvalidSoftwareStatement}, {"ES512", p521, trace.InvalidSoftwareStatement}, {"PS256", rsa, trace.InvalidSoftwareStatement}, {"RS512", rsa, trace.InvalidSoftwareStatement},
		{"ES256", p521, trace.UnapprovedSoftwareStatement}, {"ES256", p224, trace.UnapprovedSoftwareStatement},
	} {
		t.Run(c.alg+" "+jose.KeyName(c.key.Public()), func(t *testing.T) {
			client := w.ClientWith(t, w.A.Int, udaptest.Client1URI, c.key, nil)
			compact := udaptest.Raw{
				Alg: c.alg,
				Key: c.key,
			}.Sign(t, udaptest.Header(c.alg, client.Chain...), client.Statement(w.Now).JSON(t))
			_, tr, err := statement(w, compact)
			expectRefusal(t, tr, err, expectation{code: c.code})
		})
	}
}

// Covers: case 017, case 136
func TestHMACWithThePublicKey(t *testing.T) {
	secrets := map[string]func(*x509.Certificate) []byte{
		"SPKI DER": func(c *x509.Certificate) []byte { return c.RawSubjectPublicKeyInfo },
		"SPKI PEM": func(c *x509.Certificate) []byte { return pemOf("PUBLIC KEY", c.RawSubjectPublicKeyInfo) },
		"SPKI PEM without LF": func(c *x509.Certificate) []byte {
			return bytes.TrimSpace(pemOf("PUBLIC KEY", c.RawSubjectPublicKeyInfo))
		},
		"x5c[0] DER": func(c *x509.Certificate) []byte { return c.Raw },
		"x5c[0] base64": func(c *x509.Certificate) []byte {
			return []byte(base64.StdEncoding.EncodeToString(c.Raw))
		},
		"certificate PEM": func(c *x509.Certificate) []byte { return pemOf("CERTIFICATE", c.Raw) },
	}
	for name, secret := range secrets {
		t.Run(name, func(t *testing.T) {
			for _, headerAlg := range []string{"HS256", "RS256", "ES256"} {
				checkBoth(t,
					attempt{name + " as " +
						headerAlg, func(t *testing.T, w *udaptest.Env, c *udaptest.Client, good udaptest.Claims) string {
						input := udaptest.Segment(
							udaptest.Header(headerAlg, c.Chain...)) + "." + udaptest.Segment(good.JSON(t))
						m := hmac.New(sha256.New, secret(c.Leaf()))
						m.Write([]byte(input))
						return input + "." + udaptest.Segment(m.Sum(nil))
					}}, badForm(""))
			}
		})
	}
}

func pemOf(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

// Covers: case 018, case 136
func TestAlgorithmAndKeyDisagree(t *testing.T) {
	checkBoth(t,
		attempt{"the other family", func(t *testing.T, w *udaptest.Env, c *udaptest.Client, good udaptest.Claims) string {
			other := map[string]string{"RS256": "ES256", "ES256": "RS256"}[alg(c)]
			return udaptest.Raw{Alg: alg(c), Key: c.Key}.Sign(t, udaptest.Header(other, c.Chain...), good.JSON(t))
		}}, badForm("jws.signature"))

	w := udaptest.New(t, "p384")
	c := w.Client(t, w.A.Int, udaptest.Client1URI, nil)
	_, tr, err := statement(w, udaptest.Raw{
		Alg: "ES256",
		Key: c.Key,
	}.Sign(t, udaptest.Header("ES256", c.Chain...), c.Statement(w.Now).JSON(t)))
	expectRefusal(t, tr, err, expectation{
		code:  trace.InvalidSoftwareStatement,
		check: "jws.signature",
		says:  "ES256 needs P-256, the certificate has P-384",
	})
}

// Covers: case 025, case 029, case 136
func TestHeaders(t *testing.T) {
	other := base64.RawURLEncoding.EncodeToString(make([]byte, 32))
	for name, h := range map[string]map[string]any{
		"crit b64":   {"crit": []string{"b64"}, "b64": false},
		"b64 false":  {"b64": false},
		"crit empty": {"crit": []string{}},
		"typ object": {"typ": map[string]any{}},
		"a logout token": {
			"typ": "application/Logout+JWT",
		},
	} {
		t.Run(name, func(t *testing.T) {
			checkBoth(t, attempt{name, withHeader(h)}, badForm("jws.header"))
		})
	}

	for name, h := range map[string]map[string]any{
		"x5t#S256": {"x5t#S256": other}, "x5t": {"x5t": other}, "x5t no base64": {"x5t": "!"},
	} {
		t.Run(name, func(t *testing.T) {
			checkBoth(t, attempt{name, withHeader(h)}, badForm("x5c.thumbprint"))
		})
	}

	checkBoth(t,
		attempt{"unencoded payload", func(t *testing.T, w *udaptest.Env, c *udaptest.Client, good udaptest.Claims) string {
			input := udaptest.Segment(udaptest.HeaderWith(alg(c), map[string]any{
				"crit": []string{"b64"},
				"b64":  false,
			}, c.Chain...)) + "." + string(good.JSON(t))
			return signer(c).SignInput(t, input)
		}}, badForm("jws.form"))
}

// What names a key is ignored, and the right thumbprints are welcome.
// Covers: case 027, case 028, case 029
func TestHarmlessHeaders(t *testing.T) {
	evil := udaptest.Key(t, "p256", 99).Public().(*ecdsa.PublicKey)
	x, _ := evil.ECDH()
	jwk := map[string]any{
		"kty": "EC",
		"crv": "P-256",
		"x":   udaptest.Segment(x.Bytes()[1:33]),
		"y":   udaptest.Segment(x.Bytes()[33:]),
	}
	for name, h := range map[string]map[string]any{
		"typ": {"typ": "JWT"}, "typ of rfc7523bis": {
			"typ": "client-authentication+jwt",
		}, "typ empty": {"typ": ""}, "kid": {
			"kid": "../../etc/passwd",
		}, "kid SQL": {"kid": "' OR 1=1 --"}, "cty": {"cty": "JWT"},
		"jku": {
			"jku": "http://127.0.0.1:9/jwks",
		}, "x5u": {"x5u": "http://169.254.169.254/"}, "jku file": {"jku": "file:///etc/passwd"},
		"jwk": {"jwk": jwk}, "unknown": {"foo": map[string]any{"bar": 1}},
	} {
		t.Run(name, func(t *testing.T) {
			checkBoth(t, attempt{name, withHeader(h)}, expectation{})
		})
	}

	checkBoth(t,
		attempt{"thumbprints", func(t *testing.T, w *udaptest.Env, c *udaptest.Client, good udaptest.Claims) string {
			sum := sha256.Sum256(c.Leaf().Raw)
			return signer(c).Sign(t, udaptest.HeaderWith(alg(c), map[string]any{
				"x5t#S256": udaptest.Segment(sum[:]),
			}, c.Chain...), good.JSON(t))
		}}, expectation{})

	checkBoth(t,
		attempt{"signed by the key of jwk", func(t *testing.T, w *udaptest.Env, c *udaptest.Client, good udaptest.Claims) string {
			return udaptest.Raw{
				Alg: "ES256",
				Key: udaptest.Key(t, "p256", 99),
			}.Sign(t, udaptest.HeaderWith("ES256", map[string]any{"jwk": jwk}, c.Chain...), good.JSON(t))
		}}, badForm("jws.signature"))

	for _, name := range []string{"jku", "x5u"} {
		checkBoth(t, attempt{
			name + " without x5c",
			withHeader(map[string]any{name: "http://127.0.0.1:9/", "x5c": udaptest.Absent}),
		}, badForm("x5c.form"))
	}
}

// Covers: S1-003, case 026, case 031, case 034, case 136
func TestSerialization(t *testing.T) {
	edit := func(f func(parts []string) string) func(*testing.T, *udaptest.Env, *udaptest.Client, udaptest.Claims) string {
		return func(t *testing.T, w *udaptest.Env, c *udaptest.Client, good udaptest.Claims) string {
			return f(strings.Split(c.Sign(t, good), "."))
		}
	}

	general := func(sigs ...map[string]any) func(p []string) string {
		return func(p []string) string {
			for i := range sigs {
				sigs[i]["protected"], sigs[i]["signature"] = p[0], p[2]
			}
			b, _ := json.Marshal(map[string]any{"payload": p[1], "signatures": sigs})
			return string(b)
		}
	}
	for name, f := range map[string]func([]string) string{
		"nothing":       func(p []string) string { return "" },
		"one segment":   func(p []string) string { return p[0] },
		"two segments":  func(p []string) string { return p[0] + "." + p[1] },
		"four segments": func(p []string) string { return strings.Join(append(p, p[2]), ".") },
		"five segments": func(p []string) string {
			return strings.Join([]string{p[0], p[1], p[2], p[1], p[2]}, ".")
		},
		"trailing dot":      func(p []string) string { return strings.Join(p, ".") + "." },
		"empty header":      func(p []string) string { return "." + p[1] + "." + p[2] },
		"empty payload":     func(p []string) string { return p[0] + ".." + p[2] },
		"empty signature":   func(p []string) string { return p[0] + "." + p[1] + "." },
		"padding":           func(p []string) string { return p[0] + "." + p[1] + "." + p[2] + "==" },
		"line break":        func(p []string) string { return p[0] + "." + p[1][:8] + "\n" + p[1][8:] + "." + p[2] },
		"space around":      func(p []string) string { return " " + strings.Join(p, ".") },
		"standard alphabet": func(p []string) string { return p[0] + "." + p[1] + "." + p[2][:len(p[2])-2] + "+/" },
		"flattened": func(p []string) string {
			return `{"protected":"` + p[0] + `","payload":"` + p[1] + `","signature":"` + p[2] + `"}`
		},
		"general":        general(map[string]any{}),
		"general of two": general(map[string]any{"header": map[string]any{"alg": "none"}}, map[string]any{}),
	} {
		t.Run(name, func(t *testing.T) {
			checkBoth(t, attempt{name, edit(f)}, badForm("jws.form"))
		})
	}

	checkBoth(t,
		attempt{"loose bits in the signature", func(t *testing.T, w *udaptest.Env, c *udaptest.Client, good udaptest.Claims) string {
			s := c.Sign(t, good)
			const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
			i := strings.IndexByte(alphabet, s[len(s)-1])
			return s[:len(s)-1] + string(alphabet[i|1])
		}}, badForm("jws.form"))
}

// Covers: S1-001, case 032, case 034, case 136
func TestHeaderAndPayloadBytes(t *testing.T) {
	for name, change := range map[string]func(string) string{
		"array":            func(s string) string { return "[" + s + "]" },
		"string":           func(s string) string { return `"` + udaptest.Segment([]byte(s)) + `"` },
		"null":             func(s string) string { return "null" },
		"two objects":      func(s string) string { return s + s },
		"trailing text":    func(s string) string { return s + "x" },
		"byte order mark":  func(s string) string { return "\ufeff" + s },
		"invalid UTF-8":    func(s string) string { return `{"kid":"` + "\xff" + `",` + s[1:] },
		"lone surrogate":   func(s string) string { return `{"kid":"\ud800",` + s[1:] },
		"NaN":              func(s string) string { return `{"n":NaN,` + s[1:] },
		"comment":          func(s string) string { return "/**/" + s },
		"trailing comma":   func(s string) string { return s[:len(s)-1] + ",}" },
		"nested duplicate": func(s string) string { return `{"o":{"a":1,"a":2},` + s[1:] },
		"nested variant":   func(s string) string { return `{"o":[{"a":1,"A":2}],` + s[1:] },
		"deep": func(s string) string {
			return `{"o":` + strings.Repeat("[", 10001) + strings.Repeat("]", 10001) + `,` + s[1:]
		},
		"kelvin":            func(s string) string { return `{"k":1,"` + "\u212a" + `":2,` + s[1:] },
		"escaped duplicate": func(s string) string { return `{"x":1,"\u0078":2,` + s[1:] },
	} {
		t.Run(name, func(t *testing.T) {
			for _, part := range []string{"header", "payload"} {
				checkBoth(t,
					attempt{part + " " +
						name, func(t *testing.T, w *udaptest.Env, c *udaptest.Client, good udaptest.Claims) string {
						h, p := udaptest.Header(alg(c), c.Chain...), good.JSON(t)
						if part == "header" {
							h = []byte(change(string(h)))
						} else {
							p = []byte(change(string(p)))
						}
						return signer(c).Sign(t, h, p)
					}}, badForm("jws.form"))
			}
		})
	}
}

// Covers: case 032
func TestDuplicateHeaderMembers(t *testing.T) {
	for _, extra := range []string{
		`"alg":"none"`, `"alg":"RS256"`, `"alg":"ES256"`, `"Alg":"none"`, `"x5c":["MIIB"]`,
		`"x5\u0063":["MIIB"]`, `"X5c":["MIIB"]`,
	} {
		for _, first := range []bool{true, false} {
			checkBoth(t,
				attempt{fmt.Sprintf("%s first %v", extra,
					first), func(t *testing.T, w *udaptest.Env, c *udaptest.Client, good udaptest.Claims) string {
					h := string(udaptest.Header(alg(c), c.Chain...))
					if first {
						h = "{" + extra + "," + h[1:]
					} else {
						h = h[:len(h)-1] + "," + extra + "}"
					}
					return signer(c).Sign(t, []byte(h), good.JSON(t))
				}}, badForm("jws.form"))
		}
	}
}

// Covers: case 035
func TestSizeAndDepth(t *testing.T) {
	big := func(n int) map[string]any { return map[string]any{"kid": strings.Repeat("A", n)} }
	cases := map[string]func(*testing.T, *udaptest.Env, *udaptest.Client, udaptest.Claims) string{
		"header of 1 MiB":  withHeader(big(1 << 20)),
		"payload of 5 MiB": withClaim("x", strings.Repeat("A", 5<<20)),
		"a million members": func(t *testing.T, w *udaptest.Env, c *udaptest.Client, good udaptest.Claims) string {
			var b strings.Builder
			for i := range 1_000_000 {
				fmt.Fprintf(&b, `"%d":0,`, i)
			}
			return signer(c).Sign(t, udaptest.Header(alg(c), c.Chain...),
				[]byte("{"+b.String()+string(good.JSON(t))[1:]))
		},
		"5000 members": func(t *testing.T, w *udaptest.Env, c *udaptest.Client, good udaptest.Claims) string {
			var b strings.Builder
			for i := range 5000 {
				fmt.Fprintf(&b, `"%d":0,`, i)
			}
			return signer(c).Sign(t, udaptest.Header(alg(c), c.Chain...),
				[]byte("{"+b.String()+string(good.JSON(t))[1:]))
		},
		"nested 100,000": func(t *testing.T, w *udaptest.Env, c *udaptest.Client, good udaptest.Claims) string {
			deep := strings.Repeat(`{"a":`, 100_000) + "1" + strings.Repeat("}", 100_000)
			return signer(c).Sign(t, udaptest.Header(alg(c), c.Chain...),
				[]byte(`{"o":`+deep+`,`+string(good.JSON(t))[1:]))
		},
		"nested 25": func(t *testing.T, w *udaptest.Env, c *udaptest.Client, good udaptest.Claims) string {
			deep := strings.Repeat(`{"a":`, 25) + "1" + strings.Repeat("}", 25)
			return signer(c).Sign(t, udaptest.Header(alg(c), c.Chain...),
				[]byte(`{"o":`+deep+`,`+string(good.JSON(t))[1:]))
		},
		"escapes": func(t *testing.T, w *udaptest.Env, c *udaptest.Client, good udaptest.Claims) string {
			return signer(c).Sign(t, udaptest.Header(alg(c), c.Chain...),
				[]byte(`{"o":"`+strings.Repeat(`\u0041`, 1_000_000)+`",`+string(good.JSON(t))[1:]))
		},
	}

	w := udaptest.New(t, "p256")
	c := w.Client(t, w.A.Int, udaptest.Client1URI, nil)
	for name, make := range cases {
		t.Run(name, func(t *testing.T) {
			compact := make(t, w, c, c.Statement(w.Now))
			var tr *trace.Trace
			var err error
			udaptest.Quick(t, name, time.Second, func() { _, tr, err = statement(w, compact) })
			expectRefusal(t, tr, err, badForm("jws.form"))
		})
	}
}

// Covers: case 036
func TestTokensForOtherPurposes(t *testing.T) {
	w := udaptest.New(t, "rsa2048")
	c := w.Client(t, w.A.Int, udaptest.Client1URI, nil)
	server := w.Client(t, w.A.Int, udaptest.Base, nil)
	id := udaptest.Claims{
		"iss": udaptest.Client1URI,
		"sub": "user",
		"aud": "client-1",
		"iat": w.Now.Unix(),
		"exp": w.Now.Add(time.Minute).Unix(),
		"jti": "1",
	}

	certification := c.Statement(w.Now).With("aud", udaptest.Absent).With("exp",
		w.Now.Add(1000*time.Hour).Unix()).With("certification_name", "x")
	for name, compact := range map[string]string{
		"authentication token": c.Sign(t, udaptest.Assertion(clientID, w.Now)),
		"signed metadata":      server.Sign(t, udaptest.MetadataClaims(udaptest.Base, w.Now)),
		"ID token":             c.Sign(t, id),
		"certification":        c.Sign(t, certification),
	} {
		_, tr, err := statement(w, compact)
		t.Run(name, func(t *testing.T) {
			expectRefusal(t, tr, err, expectation{code: trace.InvalidSoftwareStatement})
		})
	}

	_, tr, err := assertion(w, c.Sign(t, c.Statement(w.Now)))
	expectRefusal(t, tr, err, expectation{code: trace.InvalidClient, says: "client's URI"})
}

// Covers: S1-073, S1-074, S1-173, S1-174, case 037, case 038, case 136
func TestSignedByAnother(t *testing.T) {
	by := func(key func(t *testing.T, w *udaptest.Env) crypto.Signer) func(*testing.T, *udaptest.Env, *udaptest.Client, udaptest.Claims) string {
		return func(t *testing.T, w *udaptest.Env, c *udaptest.Client, good udaptest.Claims) string {
			other := *c
			other.Key = key(t, w)
			return other.SignChain(t, good, append(c.Chain, w.A.Root.Cert)...)
		}
	}

	want := badForm("jws.signature")
	want.says = "x5c[1]"
	checkBoth(t, attempt{"intermediate", by(func(t *testing.T, w *udaptest.Env) crypto.Signer {
		return w.A.Int.Key
	})}, want)
	want.says = "x5c[2]"
	checkBoth(t, attempt{"anchor", by(func(t *testing.T, w *udaptest.Env) crypto.Signer {
		return w.A.Root.Key
	})}, want)

	want.says = "no key of x5c"
	checkBoth(t, attempt{"unrelated", by(func(t *testing.T, w *udaptest.Env) crypto.Signer {
		return udaptest.Key(t, w.Kind, 42)
	})}, want)

	for name, change := range map[string]func(string) string{
		"space inserted":    func(s string) string { return "{ " + s[1:] },
		"members reordered": func(s string) string { return `{"zz":1,` + s[1:] },
		"another jti":       func(s string) string { return strings.Replace(s, `"jti":"`, `"jti":"0`, 1) },
	} {
		t.Run(name, func(t *testing.T) {
			checkBoth(t,
				attempt{name, func(t *testing.T, w *udaptest.Env, c *udaptest.Client, good udaptest.Claims) string {
					p := strings.Split(c.Sign(t, good), ".")
					return p[0] + "." + udaptest.Segment([]byte(change(string(good.JSON(t))))) + "." + p[2]
				}}, badForm("jws.signature"))
		})
	}
}

// Covers: case 023
func TestECDSASignatureForms(t *testing.T) {
	w := udaptest.New(t, "p256")
	c := w.Client(t, w.A.Int, udaptest.Client1URI, nil)
	n := elliptic.P256().Params().N
	good := strings.Split(c.Sign(t, c.Statement(w.Now)), ".")
	sig, _ := base64.RawURLEncoding.DecodeString(good[2])
	zero, one := make([]byte, 32), append(make([]byte, 31), 1)
	der, _ := c.Key.Sign(rand.Reader, make([]byte, 32), crypto.SHA256)
	minus := n.Bytes()
	minus[31]--

	for name, s := range map[string][]byte{
		"r and s zero": append(bytes.Clone(zero), zero...), "r zero": append(bytes.Clone(zero),
			sig[32:]...), "s zero": append(bytes.Clone(sig[:32]), zero...),
		"one and one": append(bytes.Clone(one), one...), "n and n": append(n.Bytes(), n.Bytes()...), "n-1": append(
			bytes.Clone(minus), minus...), "r is n": append(n.Bytes(), sig[32:]...),
		"63 bytes": sig[:63], "65 bytes": append(bytes.Clone(sig), 0), "66 bytes": append([]byte{0, 0},
			sig...), "trailing zeros": append(bytes.Clone(sig), 0, 0), "DER": der,
	} {
		_, tr, err := statement(w, good[0]+"."+good[1]+"."+udaptest.Segment(s))
		t.Run(name, func(t *testing.T) { expectRefusal(t, tr, err, badForm("jws.signature")) })
	}
}
