package udap_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"

	"fhirdest.example/certs"
	"fhirdest.example/udap"
	"fhirdest.example/udap/trace"
	"fhirdest.example/udap/udaptest"
)

// unapproved is what a certificate that is not trusted gets. Nothing may be
// asked about revocation for it.
func unapproved(check string) expectation {
	return expectation{code: trace.UnapprovedSoftwareStatement, check: check, offline: true}
}

// checkClient makes good things with a client that the environment made in a chosen
// way, at both endpoints and with both kinds of key.
func checkClient(
	t *testing.T, name string, want expectation, make func(t *testing.T, w *udaptest.Env) *udaptest.Client,
) {
	t.Helper()
	for _, k := range kinds {
		for _, endpoint := range []string{"register", "token"} {
			t.Run(fmt.Sprintf("%s/%s/%s", name, endpoint, k), func(t *testing.T) {
				w := udaptest.New(t, k)
				c := make(t, w)
				checkOne(t, w, c, endpoint, attempt{name, signGood}, want.at(endpoint))
			})
		}
	}
}

func signGood(t *testing.T, w *udaptest.Env, c *udaptest.Client, good udaptest.Claims) string {
	return c.Sign(t, good)
}

// A client with certificates of two communities that takes the wrong one is
// told which it took; a stranger is not.
//
// Covers: case 079, case 143
func TestClientOfAnotherCommunity(t *testing.T) {
	w := udaptest.New(t, "p256")
	for signer, told := range map[*udaptest.Client]bool{
		w.Client(t, w.B.Int, udaptest.Client1URI, nil): true,
		w.Client(t, w.X.Int, udaptest.Client1URI, nil): false,
	} {
		_, tr, err := assertion(w, signer.Sign(t, udaptest.Assertion(clientID, w.Now)))
		expectRefusal(t, tr, err, expectation{code: trace.InvalidClient, check: "chain.path"})
		if got := strings.Contains(err.Error(), "leads to community "+string(udaptest.CommunityB)); got != told {
			t.Errorf("told %v, want %v: %v", got, told, err)
		}
	}
}

// The order after the leaf is free, duplicates and strangers are ignored.
// Covers: case 042
func TestChainForms(t *testing.T) {
	for name, order := range map[string]func(w *udaptest.Env, leaf, sub *x509.Certificate) []*x509.Certificate{
		"leaf alone": func(w *udaptest.Env, leaf, sub *x509.Certificate) []*x509.Certificate {
			return []*x509.Certificate{leaf}
		},
		"leaf, int": func(w *udaptest.Env, leaf, sub *x509.Certificate) []*x509.Certificate {
			return []*x509.Certificate{leaf, w.A.Int.Cert}
		},
		"leaf, int, root": func(w *udaptest.Env, leaf, sub *x509.Certificate) []*x509.Certificate {
			return []*x509.Certificate{leaf, w.A.Int.Cert, w.A.Root.Cert}
		},
		"duplicate int": func(w *udaptest.Env, leaf, sub *x509.Certificate) []*x509.Certificate {
			return []*x509.Certificate{leaf, w.A.Int.Cert, w.A.Int.Cert}
		},
		"unrelated": func(w *udaptest.Env, leaf, sub *x509.Certificate) []*x509.Certificate {
			return []*x509.Certificate{leaf, w.X.Int.Cert, w.A.Int.Cert}
		},
		"root before int": func(w *udaptest.Env, leaf, sub *x509.Certificate) []*x509.Certificate {
			return []*x509.Certificate{leaf, w.A.Root.Cert, w.A.Int.Cert}
		},
		"ten certificates": func(w *udaptest.Env, leaf, sub *x509.Certificate) []*x509.Certificate {
			return []*x509.Certificate{leaf, leaf, leaf, leaf, leaf, leaf, leaf, leaf, w.A.Root.Cert, w.A.Int.Cert}
		},
	} {
		t.Run(name, func(t *testing.T) {
			checkBoth(t,
				attempt{name, func(t *testing.T, w *udaptest.Env, c *udaptest.Client, good udaptest.Claims) string {
					return c.SignChain(t, good, order(w, c.Leaf(), nil)...)
				}}, expectation{})
		})
	}

	w := udaptest.New(t, "p256")
	w.A.Community.Intermediates = nil
	c := w.Client(t, w.A.Int, udaptest.Client1URI, nil)
	_, tr, err := statement(w, c.SignChain(t, c.Statement(w.Now), c.Leaf()))
	expectRefusal(t, tr, err, expectation{code: trace.UnapprovedSoftwareStatement, check: "chain.path", says: "Int A"})
	if _, _, err := statement(w, c.Sign(t, c.Statement(w.Now))); err != nil {
		t.Errorf("an intermediate in x5c does not help: %v", err)
	}
}

// Covers: case 043, case 136
func TestManyCertificates(t *testing.T) {
	w := udaptest.New(t, "p256")
	c := w.Client(t, w.A.Int, udaptest.Client1URI, nil)
	var distinct []*x509.Certificate

	for i := range 100 {
		other := w.Client(t, w.X.Int, fmt.Sprintf("https://other.test/%d", i), nil)
		distinct = append(distinct, other.Leaf())
	}

	copies := make([]*x509.Certificate, 1000)
	for i := range copies {
		copies[i] = w.A.Int.Cert
	}

	for name, more := range map[string][]*x509.Certificate{
		"100 distinct": distinct,
		"10 distinct":  distinct[:10],
		"100 copies":   copies[:100],
		"1000 copies":  copies,
	} {
		compact := c.SignChain(t, c.Statement(w.Now), append([]*x509.Certificate{c.Leaf()}, more...)...)
		var tr *trace.Trace
		var err error
		udaptest.Quick(t, name, 250*time.Millisecond, func() { _, tr, err = statement(w, compact) })
		t.Run(name, func(t *testing.T) { expectRefusal(t, tr, err, badForm("")) })
	}
}

// Nine CAs of one name and different keys: the search ends soon.
// Covers: case 043
func TestMesh(t *testing.T) {
	w := udaptest.New(t, "p256")
	key := udaptest.Key(t, "p256", 30)
	first, err := w.X.Root.NewCA(w.Template("Mesh"), key)
	if err != nil {
		t.Fatal(err)
	}
	c := w.Client(t, first, udaptest.Client1URI, nil)
	chain := []*x509.Certificate{c.Leaf()}

	for i := range 9 {
		ca, err := (&certs.CA{Cert: first.Cert, Key: key}).NewCA(w.Template("Mesh"), udaptest.Key(t, "p256", 31+i))
		if err != nil {
			t.Fatal(err)
		}
		chain = append(chain, ca.Cert)
	}

	compact := c.SignChain(t, c.Statement(w.Now), chain...)
	var tr *trace.Trace
	udaptest.Quick(t, "a mesh", 250*time.Millisecond, func() { _, tr, err = statement(w, compact) })
	expectRefusal(t, tr, err, unapproved(""))
}

// Covers: S1-176, case 044, case 045, case 046, case 079, case 136
func TestStrangers(t *testing.T) {
	checkClient(t, "root of the same name",
		unapproved("chain.signature"), func(t *testing.T, w *udaptest.Env) *udaptest.Client {
			root := newRoot(t, w, "Root A", udaptest.Key(t, w.Kind, 4), func(c *x509.Certificate) {
				c.SubjectKeyId = w.A.Root.Cert.SubjectKeyId
			})
			issuing := newCA(t, w, root, "Int A", udaptest.Key(t, w.Kind, 5), func(c *x509.Certificate) {
				c.SubjectKeyId = w.A.Int.Cert.SubjectKeyId
			})
			c := w.Client(t, issuing, udaptest.Client1URI, nil)
			c.Chain = []*x509.Certificate{c.Leaf(), issuing.Cert, root.Cert}

			return c
		})

	checkClient(t, "root supplied", unapproved("chain.path"), func(t *testing.T, w *udaptest.Env) *udaptest.Client {
		c := w.Client(t, w.X.Int, udaptest.Client1URI, nil)
		c.Chain = append(c.Chain, w.X.Root.Cert)
		return c
	})

	checkClient(t, "self-signed", unapproved("chain.path"), func(t *testing.T, w *udaptest.Env) *udaptest.Client {
		key := udaptest.Key(t, w.Kind, 6)
		tpl := w.Template("Victim")
		tpl.URIs = []string{udaptest.Client1URI}
		self := &certs.CA{
			Cert: &x509.Certificate{Subject: pkix.Name{CommonName: "Victim"}, PublicKey: key.Public()},
			Key:  key,
		}
		leaf, err := self.Issue(tpl, key.Public())
		if err != nil {
			t.Fatal(err)
		}

		return &udaptest.Client{URI: udaptest.Client1URI, Key: key, Chain: []*x509.Certificate{leaf}}
	})

	w := udaptest.New(t, "p256")
	b := w.Client(t, w.B.Int, udaptest.Client1URI, nil)
	s, _, err := statement(w, b.Sign(t, b.Statement(w.Now)))
	if err != nil || s.Community.URI != udaptest.CommunityB {
		t.Errorf("a leaf of community B is taken as %+v, %v", s, err)
	}
	_, tr, err := assertion(w, b.Sign(t, udaptest.Assertion(clientID, w.Now)))
	expectRefusal(t, tr, err, expectation{code: trace.InvalidClient, check: "chain.path"})
}

func newRoot(
	t *testing.T, w *udaptest.Env, name string, key crypto.Signer, mutate func(*x509.Certificate),
) *certs.CA {
	t.Helper()
	tpl := w.Template(name)
	tpl.Mutate = mutate
	ca, err := certs.NewRoot(tpl, key)
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

func newCA(
	t *testing.T, w *udaptest.Env, parent *certs.CA, name string, key crypto.Signer, mutate func(*x509.Certificate),
) *certs.CA {
	t.Helper()
	tpl := w.Template(name)
	tpl.Mutate = mutate
	ca, err := parent.NewCA(tpl, key)
	if err != nil {
		t.Fatal(err)
	}
	if ca.Cert.KeyUsage&x509.KeyUsageCRLSign != 0 {
		w.Publish(t, ca)
	}

	return ca
}

// under is a client of an intermediate that was made in a chosen way.
func under(
	mutate func(*x509.Certificate), edit func(*certs.Template),
) func(*testing.T, *udaptest.Env) *udaptest.Client {
	return func(t *testing.T, w *udaptest.Env) *udaptest.Client {
		return w.Client(t, newCA(t, w, w.A.Root, "Int 2", udaptest.Key(t, w.Kind, 7), mutate), udaptest.Client1URI,
			edit)
	}
}

// leaf is a client of the ordinary intermediate with a changed certificate.
func leaf(edit func(*certs.Template)) func(*testing.T, *udaptest.Env) *udaptest.Client {
	return func(t *testing.T, w *udaptest.Env) *udaptest.Client {
		return w.Client(t, w.A.Int, udaptest.Client1URI, edit)
	}
}

func mutated(f func(*x509.Certificate)) func(*testing.T, *udaptest.Env) *udaptest.Client {
	return leaf(func(t *certs.Template) { t.Mutate = f })
}

// Covers: case 047, case 136
func TestLeafAmongAnchors(t *testing.T) {
	checkClient(t, "leaf as anchor", unapproved("chain.path"), func(t *testing.T, w *udaptest.Env) *udaptest.Client {
		c := w.Client(t, w.X.Int, udaptest.Client1URI, nil)
		w.A.Community.Anchors = append(w.A.Community.Anchors, c.Leaf())
		if err := udap.CheckAnchor(c.Leaf(), w.Now); err == nil {
			t.Error("a leaf passes as an anchor")
		}
		return c
	})

	w := udaptest.New(t, "p256")
	if err := udap.CheckAnchor(w.A.Root.Cert, w.Now); err != nil {
		t.Errorf("a root does not pass as an anchor: %v", err)
	}
	if err := udap.CheckAnchor(w.A.Root.Cert, w.Now.Add(2*365*24*time.Hour)); err == nil {
		t.Error("an expired root passes as an anchor")
	}
}

// Covers: case 048, case 049, case 050, case 136
func TestIssuersAndLeaves(t *testing.T) {
	checkClient(t, "issued by a leaf", unapproved("chain.ca"), func(t *testing.T, w *udaptest.Env) *udaptest.Client {
		evil := w.ClientWith(t, w.A.Int, udaptest.Client2URI, udaptest.Key(t, w.Kind, 21), nil)
		return w.Client(t, &certs.CA{
			Cert:    evil.Leaf(),
			Key:     evil.Key,
			Parents: []*x509.Certificate{w.A.Int.Cert, w.A.Root.Cert},
		}, udaptest.Client1URI, nil)
	})

	for name, mutate := range map[string]func(*x509.Certificate){
		"no basicConstraints":    func(c *x509.Certificate) { c.BasicConstraintsValid, c.IsCA = false, false },
		"CA:FALSE":               func(c *x509.Certificate) { c.IsCA = false },
		"keyCertSign without CA": func(c *x509.Certificate) { c.IsCA, c.KeyUsage = false, x509.KeyUsageCertSign },
		"CA without keyCertSign": func(c *x509.Certificate) {
			c.KeyUsage = x509.KeyUsageDigitalSignature | x509.KeyUsageCRLSign
		},
		"CA that may only sign CRLs": func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageCRLSign },
	} {
		t.Run(name, func(t *testing.T) {
			checkClient(t, name, unapproved("chain.ca"), under(mutate, nil))
		})
	}

	checkClient(t, "CA as leaf", unapproved("chain.leaf"), mutated(func(c *x509.Certificate) { c.IsCA = true }))
	checkClient(t, "keyEncipherment only", unapproved("chain.leaf"), mutated(func(c *x509.Certificate) {
		c.KeyUsage = x509.KeyUsageKeyEncipherment
	}))
	checkClient(t, "keyCertSign only", unapproved("chain.leaf"), mutated(func(c *x509.Certificate) {
		c.KeyUsage = x509.KeyUsageCertSign
	}))
	checkClient(t, "no keyUsage", expectation{}, mutated(func(c *x509.Certificate) { c.KeyUsage = 0 }))
}

// Covers: case 051
func TestExtendedKeyUsage(t *testing.T) {
	usages := map[string]func(*x509.Certificate){
		"none": nil,
		"clientAuth": func(c *x509.Certificate) {
			c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
		},
		"serverAuth": func(c *x509.Certificate) {
			c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
		},
		"emailProtection": func(c *x509.Certificate) {
			c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageEmailProtection}
		},
		"unknown": func(c *x509.Certificate) { c.UnknownExtKeyUsage = []asn1.ObjectIdentifier{{1, 2, 3, 4}} },
		"any":     func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageAny} },
	}
	for name, mutate := range usages {
		t.Run(name, func(t *testing.T) {
			checkClient(t, name, expectation{}, mutated(mutate))
			want := unapproved("chain.usage")
			if name == "clientAuth" {
				want = expectation{}
			}
			checkClient(t, name+" where clientAuth is asked for",
				want, func(t *testing.T, w *udaptest.Env) *udaptest.Client {
					w.A.Community.Policy.ExtendedKeyUsages = []string{"1.3.6.1.5.5.7.3.2"}
					return mutated(mutate)(t, w)
				})
		})
	}
}

// Covers: case 052
func TestPathLength(t *testing.T) {
	zero := func(c *x509.Certificate) { c.MaxPathLen, c.MaxPathLenZero = 0, true }
	checkClient(t, "pathlen 0 and a CA below",
		unapproved("chain.ca"), func(t *testing.T, w *udaptest.Env) *udaptest.Client {
			one := newCA(t, w, w.A.Root, "Int 2", udaptest.Key(t, w.Kind, 7), zero)
			return w.Client(t, newCA(t, w, one, "Int 3", udaptest.Key(t, w.Kind, 8), nil), udaptest.Client1URI, nil)
		})

	// RFC 5280 6.1.4 l: a self-issued CA, as in a change of keys, does not count.
	checkClient(t, "pathlen 0 and a self-issued CA below",
		expectation{}, func(t *testing.T, w *udaptest.Env) *udaptest.Client {
			one := newCA(t, w, w.A.Root, "Int 2", udaptest.Key(t, w.Kind, 7), zero)
			return w.Client(t, newCA(t, w, one, "Int 2", udaptest.Key(t, w.Kind, 8), nil), udaptest.Client1URI, nil)
		})

	checkClient(t, "pathlen 0, a self-issued CA and another below",
		unapproved("chain.ca"), func(t *testing.T, w *udaptest.Env) *udaptest.Client {
			one := newCA(t, w, w.A.Root, "Int 2", udaptest.Key(t, w.Kind, 7), zero)
			self := newCA(t, w, one, "Int 2", udaptest.Key(t, w.Kind, 8), nil)
			return w.Client(t, newCA(t, w, self, "Int 3", udaptest.Key(t, w.Kind, 9), nil), udaptest.Client1URI, nil)
		})

	checkClient(t, "pathlen 0 and the leaf below", expectation{}, under(zero, nil))
	checkClient(t, "pathlen 1 and a CA below", expectation{}, func(t *testing.T, w *udaptest.Env) *udaptest.Client {
		one := newCA(t, w, w.A.Root, "Int 2", udaptest.Key(t, w.Kind, 7), func(c *x509.Certificate) {
			c.MaxPathLen = 1
		})
		return w.Client(t, newCA(t, w, one, "Int 3", udaptest.Key(t, w.Kind, 8), nil), udaptest.Client1URI, nil)
	})
}

// A chain may be long, but not without end; what is too long is told as that.
//
// Covers: case 043, case 052
func TestLongChains(t *testing.T) {
	chainOf := func(n int) func(t *testing.T, w *udaptest.Env) *udaptest.Client {
		return func(t *testing.T, w *udaptest.Env) *udaptest.Client {
			ca := w.A.Root
			for i := range n {
				ca = newCA(t, w, ca, fmt.Sprintf("Int %d", i), udaptest.Key(t, w.Kind, 7+i%2), nil)
			}
			return w.Client(t, ca, udaptest.Client1URI, nil)
		}
	}
	checkClient(t, "eight certificates", expectation{}, chainOf(6))

	want := unapproved("chain.path")
	want.says = "a path of at most 8 certificates"
	checkClient(t, "nine certificates", want, chainOf(7))
}

// Covers: case 053, S1-105
func TestValidity(t *testing.T) {
	past, ahead := udaptest.Now.Add(-time.Second), udaptest.Now.Add(time.Second)
	for name, make := range map[string]func(*testing.T, *udaptest.Env) *udaptest.Client{
		"leaf expired":       leaf(func(t *certs.Template) { t.NotAfter = past }),
		"leaf not yet valid": leaf(func(t *certs.Template) { t.NotBefore = ahead }),
		"int expired":        under(func(c *x509.Certificate) { c.NotAfter = past }, nil),
		"int not yet valid":  under(func(c *x509.Certificate) { c.NotBefore = ahead }, nil),
		"root expired": func(t *testing.T, w *udaptest.Env) *udaptest.Client {
			root := newRoot(t, w, "Old root", udaptest.Key(t, w.Kind, 9), func(c *x509.Certificate) {
				c.NotAfter = past
			})
			w.A.Community.Anchors = []*x509.Certificate{root.Cert}
			return w.Client(t, newCA(t, w, root, "Int 2", udaptest.Key(t, w.Kind, 7), nil), udaptest.Client1URI, nil)
		},
	} {
		t.Run(name, func(t *testing.T) {
			checkClient(t, name, unapproved("chain.validity"), make)
		})
	}

	checkClient(t, "leaf outlives int", expectation{}, leaf(func(t *certs.Template) {
		t.NotAfter = t.NotAfter.Add(1000 * time.Hour)
	}))
	checkClient(t, "last second", expectation{}, leaf(func(t *certs.Template) { t.NotAfter = udaptest.Now }))
}

// Covers: case 054, case 136
func TestWeakKeys(t *testing.T) {
	small := func(bits int) crypto.Signer {
		k, err := rsa.GenerateKey(rand.Reader, bits)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}

	p224, _ := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	p521, _ := ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	_, ed, _ := ed25519.GenerateKey(rand.Reader)
	w := udaptest.New(t, "rsa2048")

	for name, key := range map[string]crypto.Signer{
		"RSA-1024": small(1024),
		"RSA-1536": small(1536),
		"RSA-2047": small(2047),
	} {
		c := w.ClientWith(t, w.A.Int, udaptest.Client1URI, key, nil)
		_, tr, err := statement(w, udaptest.Raw{
			Alg: "RS256",
			Key: key,
		}.Sign(t, udaptest.Header("RS256", c.Chain...), c.Statement(w.Now).JSON(t)))
		t.Run(name, func(t *testing.T) { expectRefusal(t, tr, err, unapproved("x5c.key")) })
		c = w.Client(t, newCA(t, w, w.A.Root, "Weak", key, nil), udaptest.Client1URI, nil)
		_, tr, err = statement(w, c.Sign(t, c.Statement(w.Now)))
		t.Run(name+" of a CA", func(t *testing.T) { expectRefusal(t, tr, err, unapproved("chain.key")) })
	}

	for name, key := range map[string]crypto.Signer{"P-224": p224, "P-521": p521, "Ed25519": ed} {
		c := w.Client(t, newCA(t, w, w.A.Root, "Weak", key, nil), udaptest.Client1URI, nil)
		_, tr, err := statement(w, c.Sign(t, c.Statement(w.Now)))
		t.Run(name+" of a CA", func(t *testing.T) { expectRefusal(t, tr, err, unapproved("")) })
	}

	n := udaptest.Key(t, "rsa2048", 10).Public().(*rsa.PublicKey).N
	for name, pub := range map[string]*rsa.PublicKey{
		"e=3": {N: n, E: 3}, "e=17": {N: n, E: 17}, "even modulus": {
			N: new(big.Int).Add(n, big.NewInt(1)),
			E: 65537,
		}, "even exponent": {N: n, E: 65538},
		"too long": {
			N: new(big.Int).SetBit(new(big.Int).Lsh(n, 8000), 0, 1),
			E: 65537,
		}, "ROCA": {N: rocaModulus(), E: 65537},
	} {
		c := w.Client(t, w.A.Int, udaptest.Client1URI, nil)
		tpl := w.Template("weak")
		tpl.URIs = []string{udaptest.Client1URI}
		bad, err := w.A.Int.IssueDER(tpl, pub)
		if err != nil {
			t.Fatal(err)
		}
		header := udaptest.HeaderWith("RS256", map[string]any{"x5c": []string{base64.StdEncoding.EncodeToString(bad)}})
		_, tr, err := statement(w, signer(c).Sign(t, header, c.Statement(w.Now).JSON(t)))
		t.Run(name, func(t *testing.T) {
			var refusal = expectation{code: trace.UnapprovedSoftwareStatement, check: "x5c.key", offline: true}
			if tr.Code == trace.InvalidSoftwareStatement { // crypto/x509 does not read such a key at all
				refusal = badForm("x5c.form")
			}
			expectRefusal(t, tr, err, refusal)
		})
	}
}

// rocaModulus is a number of 2048 bits that is 1 modulo each prime of the
// fingerprint, as a power of 65537 is.
func rocaModulus() *big.Int {
	m := big.NewInt(1)
	for p := int64(2); p < 168; p++ {
		if big.NewInt(p).ProbablyPrime(10) {
			m.Mul(m, big.NewInt(p))
		}
	}
	n := new(big.Int).Lsh(big.NewInt(1), 2047)
	n.Div(n, m)
	n.Add(n, big.NewInt(2))
	return n.Mul(n, m).Add(n, big.NewInt(1))
}

// Covers: case 055
func TestWeakCertificateSignatures(t *testing.T) {
	w := udaptest.New(t, "rsa2048")
	for name, sig := range map[string]x509.SignatureAlgorithm{"RSA-PSS": x509.SHA256WithRSAPSS} {
		c := mutated(func(c *x509.Certificate) { c.SignatureAlgorithm = sig })(t, w)
		_, tr, err := statement(w, c.Sign(t, c.Statement(w.Now)))
		t.Run(name, func(t *testing.T) { expectRefusal(t, tr, err, unapproved("chain.signature")) })
	}

	for name, oid := range map[string]asn1.ObjectIdentifier{
		"SHA-1": {1, 2, 840, 113549, 1, 1, 5},
		"MD5":   {1, 2, 840, 113549, 1, 1, 4},
	} {
		c := w.Client(t, w.A.Int, udaptest.Client1URI, nil)
		weak, err := x509.ParseCertificate(replaceAll(c.Leaf().Raw, mustDER(asn1.ObjectIdentifier{
			1, 2, 840, 113549, 1, 1, 11,
		}), mustDER(oid)))
		if err != nil {
			t.Fatal(err)
		}
		_, tr, err := statement(w, c.SignChain(t, c.Statement(w.Now), weak, w.A.Int.Cert))
		t.Run(name, func(t *testing.T) { expectRefusal(t, tr, err, unapproved("chain.signature")) })
	}
}

func mustDER(v any) []byte {
	b, err := asn1.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b
}

func replaceAll(b, old, new []byte) []byte {
	return []byte(strings.ReplaceAll(string(b), string(old), string(new)))
}

// Covers: case 056
func TestOddCertificates(t *testing.T) {
	critical := pkix.Extension{Id: asn1.ObjectIdentifier{1, 2, 3, 4}, Critical: true, Value: []byte{5, 0}}
	for name, c := range map[string]struct {
		want expectation
		make func(*testing.T, *udaptest.Env) *udaptest.Client
	}{
		"critical extension": {unapproved("chain.form"), mutated(func(c *x509.Certificate) {
			c.ExtraExtensions = append(c.ExtraExtensions, critical)
		})},
		"critical of a CA": {unapproved("chain.form"), under(func(c *x509.Certificate) {
			c.ExtraExtensions = append(c.ExtraExtensions, critical)
		}, nil)},
		"unknown extension": {expectation{}, mutated(func(c *x509.Certificate) {
			c.ExtraExtensions = append(c.ExtraExtensions, pkix.Extension{
				Id:    asn1.ObjectIdentifier{1, 2, 3, 4},
				Value: []byte{5, 0},
			})
		})},
		"serial of 20 octets, high bit": {unapproved("chain.form"), mutated(func(c *x509.Certificate) {
			c.SerialNumber = new(big.Int).Lsh(big.NewInt(1), 159)
		})},
	} {
		t.Run(name, func(t *testing.T) {
			checkClient(t, name, c.want, c.make)
		})
	}

	w := udaptest.New(t, "p256")
	c := w.Client(t, w.A.Int, udaptest.Client1URI, nil)
	san := c.Leaf().Extensions[len(c.Leaf().Extensions)-1]

	for name, mutate := range map[string]func(*x509.Certificate){
		"two SAN": func(c *x509.Certificate) {
			c.ExtraExtensions = append(c.ExtraExtensions, c.ExtraExtensions[0])
		},
		"duplicate extension": func(c *x509.Certificate) {
			c.ExtraExtensions = append(c.ExtraExtensions, critical, critical)
		},
		"empty SAN":           func(c *x509.Certificate) { c.ExtraExtensions[0].Value = []byte{0x30, 0} },
		"SAN no sequence":     func(c *x509.Certificate) { c.ExtraExtensions[0].Value = []byte{5, 0} },
		"serial of 21 octets": func(c *x509.Certificate) { c.SerialNumber = new(big.Int).Lsh(big.NewInt(1), 166) },
	} {
		tpl := w.Template("odd")
		tpl.URIs = []string{udaptest.Client1URI}
		tpl.Mutate = mutate
		der, err := w.A.Int.IssueDER(tpl, c.Key.Public())
		if err != nil {
			t.Logf("%s: crypto/x509 does not make it (%v); SAN is %v", name, err, san.Id)
			continue
		}

		header := udaptest.HeaderWith("ES256", map[string]any{"x5c": []string{base64.StdEncoding.EncodeToString(der)}})
		_, tr, err := statement(w, signer(c).Sign(t, header, c.Statement(w.Now).JSON(t)))
		t.Run(name, func(t *testing.T) {
			expectRefusal(t, tr, err, expectation{code: tr.Code, offline: true})
			oneOfBoth(t, tr.Code)
		})
	}

	for name, patch := range map[string][2][]byte{
		"version 1":       {{0xa0, 0x03, 0x02, 0x01, 0x02}, {0xa0, 0x03, 0x02, 0x01, 0x00}},
		"version 2":       {{0xa0, 0x03, 0x02, 0x01, 0x02}, {0xa0, 0x03, 0x02, 0x01, 0x01}},
		"negative serial": {mustDER(c.Leaf().SerialNumber), negative(mustDER(c.Leaf().SerialNumber))},
	} {
		der := replaceAll(c.Leaf().Raw, patch[0], patch[1])
		header := udaptest.HeaderWith("ES256", map[string]any{"x5c": []string{base64.StdEncoding.EncodeToString(der)}})
		_, tr, err := statement(w, signer(c).Sign(t, header, c.Statement(w.Now).JSON(t)))
		t.Run(name, func(t *testing.T) {
			expectRefusal(t, tr, err, expectation{code: tr.Code, offline: true})
			oneOfBoth(t, tr.Code)
		})
	}
}

func negative(der []byte) []byte {
	out := append([]byte(nil), der...)
	out[2] |= 0x80
	return out
}

func oneOfBoth(t *testing.T, code trace.Code) {
	t.Helper()
	if code != trace.UnapprovedSoftwareStatement && code != trace.InvalidSoftwareStatement {
		t.Errorf("refused with %q", code)
	}
}

// Covers: case 078
func TestCrossSigned(t *testing.T) {
	for _, endpoint := range []string{"register", "token"} {
		for _, k := range kinds {
			w := udaptest.New(t, k)
			dead := newRoot(t, w, "Dead root", udaptest.Key(t, k, 8), func(c *x509.Certificate) {
				c.NotAfter = w.Now.Add(-time.Hour)
			})
			key := udaptest.Key(t, k, 7)
			one := newCA(t, w, dead, "Cross", key, nil)
			two := newCA(t, w, w.A.Root, "Cross", key, nil)
			w.A.Community.Anchors = append([]*x509.Certificate{dead.Cert}, w.A.Community.Anchors...)

			c := w.Client(t, one, udaptest.Client1URI, nil)
			c.Chain = []*x509.Certificate{c.Leaf(), one.Cert, two.Cert}
			w.Publish(t, two)
			checkOne(t, w, c, endpoint, attempt{"", signGood}, expectation{})
		}
	}
}
