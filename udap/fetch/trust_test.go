package fetch

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ocsp"

	"fhirdest.example/certs"
	"fhirdest.example/udap"
	"fhirdest.example/udap/trace"
)

// trust is a hierarchy, a web place for its lists, and a verifier that asks
// there. What stands at each path can be changed.
type trust struct {
	t     *testing.T
	clock *clock
	root  *certs.CA
	inter *certs.CA
	web   *listServer
	mu    sync.Mutex
	at    map[string]http.HandlerFunc
	src   *Source
	ver   *udap.Verifier
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func dates(t certs.Template) certs.Template {
	t.NotBefore, t.NotAfter = epoch.Add(-time.Hour), epoch.AddDate(1, 0, 0)
	return t
}

func newTrust(t *testing.T, policy udap.Policy) *trust { return newTrustWithin(t, policy, patience) }

// newTrustWithin is newTrust with a time limit for each fetch.
func newTrustWithin(t *testing.T, policy udap.Policy, timeout time.Duration) *trust {
	tr := &trust{t: t, clock: newClock(), at: map[string]http.HandlerFunc{}}
	tr.web = newListServer(t, func(w http.ResponseWriter, r *http.Request) {
		tr.mu.Lock()
		h := tr.at[r.URL.Path]
		tr.mu.Unlock()
		if h == nil {
			h = http.NotFound
		}
		h(w, r)
	})

	tr.root = must(certs.NewRoot(dates(certs.Template{CommonName: "Root"}), must(certs.NewKey("p256"))))
	tr.inter = must(tr.root.NewCA(dates(certs.Template{
		CommonName: "Issuing",
		CRL:        []string{tr.web.URL + "/root.crl"},
	}), must(certs.NewKey("p256"))))
	tr.serve("/root.crl", tr.crl(tr.root, 1))
	tr.serve("/int.crl", tr.crl(tr.inter, 1))
	tr.src = newSource(t, tr.clock, Config{Allow: []string{tr.web.URL}, Timeout: timeout})

	tr.ver = &udap.Verifier{
		Communities: []*udap.Community{{URI: "urn:a", Anchors: []*x509.Certificate{tr.root.Cert}, Policy: policy}},
		Revocation:  tr.src,
		Status:      tr.src,
		Issuers:     tr.src,
	}

	return tr
}

func (tr *trust) serve(path string, data []byte) { tr.handle(path, bytesOf(data)) }

func (tr *trust) handle(path string, h http.HandlerFunc) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.at[path] = h
}

func (tr *trust) crl(ca *certs.CA, number int64, revoked ...certs.RevokedEntry) []byte {
	return must(ca.CRL(certs.CRLTemplate{
		Number:     number,
		ThisUpdate: tr.clock.now().Add(-time.Second),
		NextUpdate: tr.clock.now().Add(time.Hour),
		Revoked:    revoked,
	}))
}

// leaf issues a member's certificate under ca; its list is /int.crl.
func (tr *trust) leaf(ca *certs.CA, change func(*certs.Template)) (*x509.Certificate, crypto.Signer) {
	key := must(certs.NewKey("p256"))
	tmpl := dates(certs.Template{
		CommonName: "leaf",
		URIs:       []string{"https://client.test/app"},
		CRL:        []string{tr.web.URL + "/int.crl"},
	})
	if change != nil {
		change(&tmpl)
	}
	return must(ca.Issue(tmpl, key.Public())), key
}

// statement signs a software statement by a chain.
func (tr *trust) statement(key crypto.Signer, chain ...*x509.Certificate) string {
	now := tr.clock.now()
	claims := fmt.Sprintf(`{"iss":"https://client.test/app","sub":"https://client.test/app",
		"aud":"https://as.test/register","exp":%d,"iat":%d,"jti":"%s",
		"client_name":"x","contacts":["mailto:a@client.test"],"grant_types":["client_credentials"],
		"token_endpoint_auth_method":"private_key_jwt","scope":"system/Patient.rs"}`,
		now.Add(time.Minute).Unix(), now.Unix(), rand.Text())
	return must(udap.Sign(key, chain, "", []byte(claims)))
}

// judge has the verifier decide about a software statement signed by a chain.
func (tr *trust) judge(key crypto.Signer, chain ...*x509.Certificate) (*trace.Trace, error) {
	decision := trace.NewTrace("register", tr.clock.now())
	_, err := tr.ver.Statement(context.Background(), tr.statement(key, chain...), udap.Expect{
		Now:      tr.clock.now(),
		Audience: "https://as.test/register",
	}, decision)
	return decision, err
}

func (tr *trust) want(check string, decision *trace.Trace, err error) {
	tr.t.Helper()
	var e *trace.Error
	switch {
	case check == "" && err != nil:
		tr.t.Fatalf("refused: %v", err)
	case check == "":
	case !errors.As(err, &e) || e.Check != check || e.Code != trace.UnapprovedSoftwareStatement:
		tr.t.Fatalf("error %v, want unapproved_software_statement by %s", err, check)
	}
}

func TestRevoked(t *testing.T) {
	// Covers: case 068, case 069, case 070
	tr := newTrust(t, udap.Policy{})
	leaf, key := tr.leaf(tr.inter, nil)
	trace, err := tr.judge(key, leaf, tr.inter.Cert)
	tr.want("", trace, err)

	for i, reason := range []int{1, 5, 6} {
		tr.serve("/int.crl", tr.crl(tr.inter, int64(10+i), certs.RevokedEntry{
			Serial: leaf.SerialNumber,
			Time:   epoch,
			Reason: reason,
		}))

		tr.src.Refresh(context.Background())
		trace, err = tr.judge(key, leaf, tr.inter.Cert)
		tr.want("chain.revocation", trace, err)
		tr.serve("/int.crl", tr.crl(tr.inter, int64(10+i)))
		tr.src.Refresh(context.Background())
		trace, err = tr.judge(key, leaf, tr.inter.Cert)
		tr.want("", trace, err)
	}

	tr.serve("/root.crl", tr.crl(tr.root, 2, certs.RevokedEntry{Serial: tr.inter.Cert.SerialNumber, Time: epoch}))
	tr.src.Refresh(context.Background())
	trace, err = tr.judge(key, leaf, tr.inter.Cert)
	tr.want("chain.revocation", trace, err)
}

func TestListIsNotTheTruth(t *testing.T) {
	// Covers: case 071, case 072, case 074, case 075, D-13
	stranger := must(certs.NewRoot(dates(certs.Template{CommonName: "Issuing"}), must(certs.NewKey("p256"))))
	extended := func(tr *trust, ext ...pkix.Extension) []byte {
		return must(tr.inter.CRL(certs.CRLTemplate{
			Number:     2,
			ThisUpdate: epoch,
			NextUpdate: epoch.Add(time.Hour),
			Further:    ext,
		}))
	}

	scope := func(content ...byte) pkix.Extension {
		return pkix.Extension{
			Id:       asn1.ObjectIdentifier{2, 5, 29, 28},
			Critical: true,
			Value:    append([]byte{0x30, byte(len(content))}, content...),
		}
	}
	for name, serve := range map[string]func(*trust) http.HandlerFunc{
		"404":         func(*trust) http.HandlerFunc { return http.NotFound },
		"times out":   func(*trust) http.HandlerFunc { return slow },
		"endless":     func(*trust) http.HandlerFunc { return endless },
		"another key": func(tr *trust) http.HandlerFunc { return bytesOf(tr.crl(stranger, 1)) },
		"of the root": func(tr *trust) http.HandlerFunc { return bytesOf(tr.crl(tr.root, 1)) },
		"run out": func(tr *trust) http.HandlerFunc {
			return bytesOf(must(tr.inter.CRL(certs.CRLTemplate{
				Number:     1,
				ThisUpdate: epoch.Add(-2 * time.Hour),
				NextUpdate: epoch.Add(-time.Hour),
			})))
		},
		"not yet": func(tr *trust) http.HandlerFunc {
			return bytesOf(must(tr.inter.CRL(certs.CRLTemplate{
				Number:     1,
				ThisUpdate: epoch.Add(time.Hour),
				NextUpdate: epoch.Add(2 * time.Hour),
			})))
		},
		"unknown critical": func(tr *trust) http.HandlerFunc {
			return bytesOf(extended(tr, pkix.Extension{
				Id:       asn1.ObjectIdentifier{1, 2, 3},
				Critical: true,
				Value:    []byte{5, 0},
			}))
		},
		"delta": func(tr *trust) http.HandlerFunc {
			return bytesOf(extended(tr, pkix.Extension{
				Id:       asn1.ObjectIdentifier{2, 5, 29, 27},
				Critical: true,
				Value:    []byte{2, 1, 1},
			}))
		},
		"CA certificates only": func(tr *trust) http.HandlerFunc {
			return bytesOf(extended(tr, scope(0x82, 1, 0xff)))
		},
		"some reasons": func(tr *trust) http.HandlerFunc {
			return bytesOf(extended(tr, scope(0x83, 2, 6, 0x40)))
		},
		"empty reasons": func(tr *trust) http.HandlerFunc { return bytesOf(extended(tr, scope(0x83, 0))) },
		"indirect": func(tr *trust) http.HandlerFunc {
			return bytesOf(extended(tr, scope(0x84, 1, 0xff)))
		},
		"unknown critical in an entry": func(tr *trust) http.HandlerFunc {
			return bytesOf(tr.crl(tr.inter, 2, certs.RevokedEntry{
				Serial:  big.NewInt(9),
				Time:    epoch,
				Further: []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 2, 3}, Critical: true, Value: []byte{5, 0}}},
			}))
		},
	} {
		t.Run(name, func(t *testing.T) {
			timeout := patience
			if name == "times out" {
				timeout = 2 * time.Second
			}
			tr := newTrustWithin(t, udap.Policy{}, timeout)
			tr.handle("/int.crl", serve(tr))
			leaf, key := tr.leaf(tr.inter, nil)
			trace, err := tr.judge(key, leaf, tr.inter.Cert)
			tr.want("chain.revocation", trace, err)

			hits := tr.web.hits.Load()
			trace, err = tr.judge(key, leaf, tr.inter.Cert)
			tr.want("chain.revocation", trace, err)
			if tr.web.hits.Load() != hits {
				t.Fatal("the list was fetched again for the next request")
			}
		})
	}
}

func TestNothingIsFetchedBeforeTrust(t *testing.T) {
	// Covers: case 076
	tr := newTrust(t, udap.Policy{AIA: []string{"https://ca.example"}})
	c := newCanary(t)
	url := "http://127.0.0.1:" + c.port() + "/x"
	tr.src = newSource(t, tr.clock, Config{Allow: []string{"http://127.0.0.1:" + c.port()}})
	tr.ver.Revocation, tr.ver.Status, tr.ver.Issuers = tr.src, tr.src, tr.src
	everywhere := func(t *certs.Template) { t.CRL, t.OCSP, t.AIA = []string{url}, []string{url}, []string{url} }
	stranger := must(certs.NewRoot(dates(certs.Template{CommonName: "Root"}), must(certs.NewKey("p256"))))
	leaf, key := tr.leaf(stranger, everywhere)
	trace, err := tr.judge(key, leaf)
	tr.want("chain.signature", trace, err)

	leaf, key = tr.leaf(tr.inter, everywhere) // its issuer is not sent, and AIA is not at an allowed origin
	trace, err = tr.judge(key, leaf)
	tr.want("chain.path", trace, err)
	if n := c.accepts.Load(); n != 0 {
		t.Fatalf("the canary saw %d connections", n)
	}
}

func TestIssuersAreFetched(t *testing.T) {
	// Covers: case 077, D-12
	dir := t.TempDir()
	for name, form := range map[string]func(*testing.T, *x509.Certificate) []byte{
		"DER": func(_ *testing.T, c *x509.Certificate) []byte { return c.Raw },
		"PEM": func(_ *testing.T, c *x509.Certificate) []byte { return certs.CertificatesPEM(c) },
		"PKCS#7": func(t *testing.T, c *x509.Certificate) []byte {
			file := filepath.Join(dir, "c.pem")
			if err := certs.WriteCertificates(file, c); err != nil {
				t.Fatal(err)
			}
			out, err := exec.Command("openssl", "crl2pkcs7", "-nocrl", "-certfile", file, "-outform", "DER").Output()
			if err != nil {
				t.Fatalf("openssl: %v", err)
			}

			return out
		},
	} {
		t.Run(name, func(t *testing.T) {
			tr := newTrust(t, udap.Policy{})
			tr.ver.Communities[0].Policy.AIA = []string{tr.web.URL}
			tr.serve("/int.cer", form(t, tr.inter.Cert))
			leaf, key := tr.leaf(tr.inter, func(t *certs.Template) {
				t.AIA = []string{"ldap://x/y", tr.web.URL + "/none.cer", tr.web.URL + "/int.cer"}
			})
			trace, err := tr.judge(key, leaf)
			tr.want("", trace, err)

			if w := trace.Warnings(); len(w) != 1 || w[0].Check != "chain.aia" ||
				!strings.Contains(w[0].Found, "/none.cer: not available") {
				t.Fatalf("warnings %+v: want one that says what was fetched", w)
			}
			tr.ver.Communities[0].Policy.AIA = nil
			trace, err = tr.judge(key, leaf)
			tr.want("chain.path", trace, err)
			if !strings.Contains(err.Error(), "nothing was fetched: the community's policy") {
				t.Errorf("that nothing was fetched is not told: %v", err)
			}
		})
	}
}

func TestIssuersAreNotTrusted(t *testing.T) {
	// Covers: case 077, D-12
	for name, serve := range map[string][]byte{
		"nothing": nil, "no certificate": []byte("x"), "too long": make([]byte, maxIssuerBytes+1),
		"a root of the right name": must(certs.NewRoot(dates(certs.Template{
			CommonName: "Issuing",
		}), must(certs.NewKey("p256")))).Cert.Raw,
		"other PEM":         []byte("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"),
		"PKCS#7 of nothing": {0x30, 0x03, 0x06, 0x01, 0x2a},
	} {
		t.Run(name, func(t *testing.T) {
			tr := newTrust(t, udap.Policy{})
			tr.ver.Communities[0].Policy.AIA = []string{tr.web.URL}
			tr.serve("/int.cer", serve)
			leaf, key := tr.leaf(tr.inter, func(t *certs.Template) { t.AIA = []string{tr.web.URL + "/int.cer"} })
			_, err := tr.judge(key, leaf)
			if err == nil {
				t.Fatal("accepted")
			}

			if text := err.Error(); strings.Contains(text, "neither in x5c") &&
				!strings.Contains(text, "fetched (AIA), and no path came of it: "+tr.web.URL) {
				t.Errorf("what became of the fetch is not told: %v", err)
			}
		})
	}
}

func TestIssuerLoop(t *testing.T) {
	// Covers: case 077
	tr := newTrust(t, udap.Policy{})
	tr.ver.Communities[0].Policy.AIA = []string{tr.web.URL}
	// A thousand CAs, each of which says that the next one issued it.
	ca := must(certs.NewRoot(dates(certs.Template{CommonName: "CA 0"}), must(certs.NewKey("p256"))))
	for i := 1; i <= 20; i++ {
		next := must(ca.NewCA(dates(certs.Template{
			CommonName: fmt.Sprintf("CA %d", i),
			AIA:        []string{fmt.Sprintf("%s/%d.cer", tr.web.URL, i-1)},
		}), must(certs.NewKey("p256"))))
		tr.serve(fmt.Sprintf("/%d.cer", i), next.Cert.Raw)
		ca = next
	}

	leaf, key := tr.leaf(ca, func(t *certs.Template) { t.AIA = []string{tr.web.URL + "/20.cer"} })
	trace, err := tr.judge(key, leaf)
	tr.want("chain.path", trace, err)
	if n := tr.web.hits.Load(); n != 3 {
		t.Fatalf("%d fetches, want 3", n)
	}

	// One that points to itself.
	tr.serve("/self.cer", leaf.Raw)
	leaf, key = tr.leaf(ca, func(t *certs.Template) { t.AIA = []string{tr.web.URL + "/self.cer"} })
	tr.serve("/self.cer", leaf.Raw)
	if _, err := tr.judge(key, leaf); err == nil || tr.web.hits.Load() > 6 {
		t.Fatalf("error %v after %d fetches", err, tr.web.hits.Load())
	}

	// A place that never ends does not hold a request for more than the budget.
	hasty := newTrustWithin(t, udap.Policy{}, 500*time.Millisecond)
	hasty.ver.Communities[0].Policy.AIA = []string{hasty.web.URL}
	hasty.handle("/slow.cer", slow)
	leaf, key = hasty.leaf(hasty.inter, func(t *certs.Template) { t.AIA = []string{hasty.web.URL + "/slow.cer"} })
	if _, err := hasty.judge(key, leaf); err == nil {
		t.Fatal("accepted")
	}
}

func TestCrossSignedIssuer(t *testing.T) {
	// Covers: case 078
	tr := newTrust(t, udap.Policy{})
	good := must(certs.NewRoot(dates(certs.Template{CommonName: "Root 2"}), must(certs.NewKey("p256"))))
	tr.serve("/root2.crl", tr.crl(good, 1))
	sign := func(ca *certs.CA, list string, change func(*certs.Template)) *x509.Certificate {
		tmpl := dates(certs.Template{CommonName: "Issuing", CRL: []string{tr.web.URL + list}})
		change(&tmpl)
		return must(ca.NewCA(tmpl, tr.inter.Key)).Cert
	}
	expired := sign(tr.root, "/root.crl", func(t *certs.Template) { t.NotAfter = epoch.Add(-time.Minute) })

	cross := sign(good, "/root2.crl", func(*certs.Template) {})
	tr.ver.Communities[0].Anchors = append(tr.ver.Communities[0].Anchors, good.Cert)
	leaf, key := tr.leaf(tr.inter, nil)
	for _, chain := range [][]*x509.Certificate{{leaf, expired, cross}, {leaf, cross, expired}} {
		trace, err := tr.judge(key, chain...)
		tr.want("", trace, err)
	}

	// Revocation is judged per path: the first path's issuer is revoked.
	tr.serve("/root.crl", tr.crl(tr.root, 2, certs.RevokedEntry{Serial: tr.inter.Cert.SerialNumber, Time: epoch}))
	trace, err := tr.judge(key, leaf, tr.inter.Cert, cross)
	tr.want("", trace, err)
	tr.serve("/root2.crl", tr.crl(good, 2, certs.RevokedEntry{Serial: cross.SerialNumber, Time: epoch}))
	tr.src.Refresh(context.Background())
	trace, err = tr.judge(key, leaf, tr.inter.Cert, cross)
	tr.want("chain.revocation", trace, err)
}

// responder answers OCSP requests with a template that a test may change.
func (tr *trust) responder(
	signer crypto.Signer, delegate *x509.Certificate, change func(*ocsp.Response),
) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		q, err := ocsp.ParseRequest(body)
		if err != nil || r.Header.Get("Content-Type") != "application/ocsp-request" {
			tr.t.Errorf("request %x: %v", body, err)
			return
		}

		answer := ocsp.Response{
			Status:       ocsp.Good,
			SerialNumber: q.SerialNumber,
			ThisUpdate:   epoch.Add(-time.Minute),
			NextUpdate:   epoch.Add(time.Hour),
			Certificate:  delegate,
		}
		change(&answer)

		by := tr.inter.Cert
		if delegate != nil {
			by = delegate
		}
		issuer := tr.inter.Cert
		if answer.RevocationReason == otherIssuer {
			issuer, answer.RevocationReason = tr.root.Cert, 0
		}

		der, err := ocsp.CreateResponse(issuer, by, answer, signer)
		if err != nil {
			tr.t.Error(err)
		}
		_, _ = w.Write(der)
	}
}

// embedding replaces the certificates that come with a response.
func embedding(h http.HandlerFunc, list ...*x509.Certificate) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		rec := httptest.NewRecorder()
		h(rec, r)

		var outer struct {
			Status asn1.Enumerated
			Bytes  struct {
				Type     asn1.ObjectIdentifier
				Response []byte
			} `asn1:"explicit,tag:0"`
		}
		must(asn1.Unmarshal(rec.Body.Bytes(), &outer))

		var basic struct {
			Data, Algorithm, Signature asn1.RawValue
			Certificates               []asn1.RawValue `asn1:"explicit,tag:0,optional"`
		}
		must(asn1.Unmarshal(outer.Bytes.Response, &basic))
		basic.Certificates = nil
		for _, c := range list {
			basic.Certificates = append(basic.Certificates, asn1.RawValue{FullBytes: c.Raw})
		}

		outer.Bytes.Response = must(asn1.Marshal(basic))
		_, _ = w.Write(must(asn1.Marshal(outer)))
	}
}

// otherIssuer, as a reason, makes the responder speak of another issuer.
const otherIssuer = 99

// delegate returns a key to which the issuing CA has delegated OCSP signing, and its
// certificate, whose template change may alter.
func (tr *trust) delegate(change func(*x509.Certificate)) (crypto.Signer, *x509.Certificate) {
	key := must(certs.NewKey("p256"))
	tmpl := dates(certs.Template{CommonName: "responder"})
	tmpl.Mutate = func(c *x509.Certificate) {
		c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageOCSPSigning}
		c.ExtraExtensions = append(c.ExtraExtensions, pkix.Extension{
			Id:    asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 48, 1, 5},
			Value: []byte{5, 0},
		})
		change(c)
	}

	return key, must(tr.inter.Issue(tmpl, key.Public()))
}

func fit(*x509.Certificate)    {} // a delegate without a fault
func unchanged(*ocsp.Response) {} // a response without a fault

// A responderCase is one answer of an OCSP responder.
type responderCase struct {
	name  string
	serve func(*trust) http.HandlerFunc
	text  string // why not; empty when it is good
}

func (tc responderCase) run(t *testing.T) {
	timeout := patience
	if tc.name == "slow" {
		timeout = 2 * time.Second
	}
	tr := newTrustWithin(t, udap.Policy{}, timeout)
	tr.handle("/ocsp", tc.serve(tr))
	leaf, key := tr.leaf(tr.inter, func(t *certs.Template) {
		t.CRL, t.OCSP = nil, []string{tr.web.URL + "/ocsp"}
	})

	for range 2 {
		trace, err := tr.judge(key, leaf, tr.inter.Cert)
		if tc.text == "" {
			tr.want("", trace, err)
			continue
		}

		tr.want("chain.revocation", trace, err)
		if found := trace.Steps[len(trace.Steps)-1].Found; !strings.Contains(found, tc.text) {
			t.Fatalf("%q does not contain %q", found, tc.text)
		}
	}

	asked := int64(1)
	if tc.text == "" {
		asked = 2 // the issuing CA's own list too
	}
	if n := tr.web.hits.Load(); n != asked {
		t.Fatalf("%d fetches for two verifications, want %d", n, asked)
	}
}

func TestResponderStatuses(t *testing.T) {
	// Covers: case 068, case 071
	for _, tc := range []responderCase{
		{"good", func(tr *trust) http.HandlerFunc { return tr.responder(tr.inter.Key, nil, unchanged) }, ""},
		{"no next update, fresh", func(tr *trust) http.HandlerFunc {
			return tr.responder(tr.inter.Key, nil, func(r *ocsp.Response) { r.NextUpdate = time.Time{} })
		}, ""},
		{"no next update, old", func(tr *trust) http.HandlerFunc {
			return tr.responder(tr.inter.Key, nil, func(r *ocsp.Response) {
				r.NextUpdate, r.ThisUpdate = time.Time{}, epoch.Add(-time.Hour)
			})
		}, "ended at"},
		{"revoked", func(tr *trust) http.HandlerFunc {
			return tr.responder(tr.inter.Key, nil, func(r *ocsp.Response) {
				r.Status, r.RevokedAt = ocsp.Revoked, epoch.Add(-time.Hour)
			})
		}, "revoked on"},
		{"unknown", func(tr *trust) http.HandlerFunc {
			return tr.responder(tr.inter.Key, nil, func(r *ocsp.Response) { r.Status = ocsp.Unknown })
		}, "does not know"},
		{"run out", func(tr *trust) http.HandlerFunc {
			return tr.responder(tr.inter.Key, nil, func(r *ocsp.Response) {
				r.ThisUpdate, r.NextUpdate = epoch.Add(-2*time.Hour), epoch.Add(-time.Hour)
			})
		}, "ended at"},
		{"not yet", func(tr *trust) http.HandlerFunc {
			return tr.responder(tr.inter.Key, nil, func(r *ocsp.Response) {
				r.ThisUpdate = epoch.Add(2 * time.Minute)
			})
		}, "begins at"},
		{"clock a little ahead", func(tr *trust) http.HandlerFunc {
			return tr.responder(tr.inter.Key, nil, func(r *ocsp.Response) {
				r.ThisUpdate = epoch.Add(30 * time.Second)
			})
		}, ""},
		{"another certificate", func(tr *trust) http.HandlerFunc {
			return tr.responder(tr.inter.Key, nil, func(r *ocsp.Response) { r.SerialNumber = big.NewInt(7) })
		}, "no response matching"},
		{"another issuer's certificate", func(tr *trust) http.HandlerFunc {
			return tr.responder(tr.inter.Key, nil, func(r *ocsp.Response) { r.RevocationReason = otherIssuer })
		}, "of another issuer"},
		{"not there", func(*trust) http.HandlerFunc { return http.NotFound }, "answered 404"},
		{"slow", func(*trust) http.HandlerFunc { return slow }, "deadline"},
		{"too long", func(*trust) http.HandlerFunc {
			return bytesOf(bytes.Repeat([]byte{0x30}, maxStatusBytes+1))
		}, "longer than"},
		{"try later", func(*trust) http.HandlerFunc { return bytesOf(ocsp.TryLaterErrorResponse) }, "try later"},
	} {
		t.Run(tc.name, tc.run)
	}
}

func TestResponderSigners(t *testing.T) {
	// Covers: case 072
	for _, tc := range []responderCase{
		{"good, by a delegate", func(tr *trust) http.HandlerFunc {
			key, cert := tr.delegate(fit)
			return tr.responder(key, cert, unchanged)
		}, ""},
		{"good, with the issuer's own certificate", func(tr *trust) http.HandlerFunc {
			return embedding(tr.responder(tr.inter.Key, nil, unchanged), tr.inter.Cert)
		}, ""},
		{"good, with the issuer's and the root's", func(tr *trust) http.HandlerFunc {
			return embedding(tr.responder(tr.inter.Key, nil, unchanged), tr.inter.Cert, tr.root.Cert)
		}, ""},
		{"good, the delegate's certificate second", func(tr *trust) http.HandlerFunc {
			key, cert := tr.delegate(fit)
			return embedding(tr.responder(key, cert, unchanged), tr.inter.Cert, cert)
		}, ""},
		{"signed by a stranger, with the issuer's certificate", func(tr *trust) http.HandlerFunc {
			return embedding(tr.responder(must(certs.NewKey("p256")), nil, unchanged), tr.inter.Cert)
		}, "bad OCSP signature"},
		{"signed by an unfit delegate that comes second", func(tr *trust) http.HandlerFunc {
			key, cert := tr.delegate(func(c *x509.Certificate) { c.ExtKeyUsage = nil })
			return embedding(tr.responder(key, cert, unchanged), tr.inter.Cert, cert)
		}, "not for OCSP signing"},
		{"signed with SHA-1", func(tr *trust) http.HandlerFunc {
			return tr.responder(tr.inter.Key, nil, func(r *ocsp.Response) {
				r.SignatureAlgorithm = x509.ECDSAWithSHA1
			})
		}, "signed with ECDSA-SHA1"},
		{"another key", func(tr *trust) http.HandlerFunc {
			return tr.responder(must(certs.NewKey("p256")), nil, unchanged)
		}, "bad OCSP signature"},
		{"delegate not for OCSP", func(tr *trust) http.HandlerFunc {
			key, cert := tr.delegate(func(c *x509.Certificate) { c.ExtKeyUsage = nil })
			return tr.responder(key, cert, unchanged)
		}, "not for OCSP signing"},
		{"delegate without nocheck", func(tr *trust) http.HandlerFunc {
			key, cert := tr.delegate(func(c *x509.Certificate) {
				c.ExtraExtensions = c.ExtraExtensions[:len(c.ExtraExtensions)-1]
			})
			return tr.responder(key, cert, unchanged)
		}, "ocsp-nocheck"},
		{"delegate run out", func(tr *trust) http.HandlerFunc {
			key, cert := tr.delegate(func(c *x509.Certificate) { c.NotAfter = epoch.Add(-time.Minute) })
			return tr.responder(key, cert, unchanged)
		}, "counts from"},
		{"delegate of another issuer", func(tr *trust) http.HandlerFunc {
			key := must(certs.NewKey("p256"))
			cert := must(tr.root.Issue(dates(certs.Template{CommonName: "r"}), key.Public()))
			return tr.responder(key, cert, unchanged)
		}, "by another issuer"},
	} {
		t.Run(tc.name, tc.run)
	}
}

func TestStatusOfOldRunsOut(t *testing.T) {
	// Covers: case 070, case 071
	tr := newTrust(t, udap.Policy{})
	tr.handle("/ocsp", tr.responder(tr.inter.Key, nil, func(*ocsp.Response) {}))
	leaf, key := tr.leaf(tr.inter, func(t *certs.Template) { t.CRL, t.OCSP = nil, []string{tr.web.URL + "/ocsp"} })
	trace, err := tr.judge(key, leaf, tr.inter.Cert)
	tr.want("", trace, err)
	tr.handle("/ocsp", http.NotFound)
	tr.clock.move(30 * time.Minute)
	trace, err = tr.judge(key, leaf, tr.inter.Cert)
	tr.want("", trace, err)

	tr.serve("/root.crl", must(tr.root.CRL(certs.CRLTemplate{
		Number:     5,
		ThisUpdate: epoch,
		NextUpdate: epoch.Add(9 * time.Hour),
	})))

	tr.src.Refresh(context.Background())
	tr.clock.move(31 * time.Minute)
	trace, err = tr.judge(key, leaf, tr.inter.Cert)
	tr.want("chain.revocation", trace, err)
}

func TestCacheIsBounded(t *testing.T) {
	c := newCache[int](Config{Now: newClock().now, Refresh: time.Minute}, 3, newSlots(1, 1))
	ctx := context.Background()
	one := func() (int, time.Time, error) { return 1, epoch.Add(time.Hour), nil }

	for i := range 10 {
		if v, _, err := c.get(ctx, fmt.Sprint(i), "http://a", one); v != 1 || err != nil {
			t.Fatal(v, err)
		}
	}

	if len(c.items) != 3 {
		t.Fatalf("%d items kept, want 3", len(c.items))
	}

	release := make(chan struct{})
	short, cancel := context.WithCancel(ctx)
	held := func() (int, time.Time, error) { cancel(); <-release; return 2, epoch.Add(time.Hour), nil }
	if _, _, err := c.get(short, "held", "http://a", held); err == nil {
		t.Fatal("an answer before the fetch ended")
	}
	close(release)
}

// A responder is asked about a certificate for which the configured lists are of no
// use: those of other issuers, and those that cannot be had.
// Covers: case 071
func TestResponderBesideConfiguredLists(t *testing.T) {
	for _, tc := range []struct {
		name   string
		lists  func(*trust) string // the configured place
		status int                 // the responder's
		check  string              // that refuses; empty: accepted
	}{
		{"another issuer's, good", func(tr *trust) string { return tr.web.URL + "/root.crl" }, ocsp.Good, ""},
		{
			"another issuer's, revoked",
			func(tr *trust) string { return tr.web.URL + "/root.crl" }, ocsp.Revoked, "chain.revocation",
		},
		{"not there, good", func(tr *trust) string { return tr.web.URL + "/none.crl" }, ocsp.Good, ""},
		{
			"not there, unknown",
			func(tr *trust) string { return tr.web.URL + "/none.crl" }, ocsp.Unknown, "chain.revocation",
		},
		{"the issuer's own", func(tr *trust) string { return tr.web.URL + "/int.crl" }, ocsp.Unknown, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tr := newTrust(t, udap.Policy{})
			tr.src = newSource(t, tr.clock, Config{
				Allow:      []string{tr.web.URL},
				Configured: []Configured{{"urn:a", tc.lists(tr)}},
			})
			tr.ver.Revocation, tr.ver.Status = tr.src, tr.src
			tr.handle("/ocsp", tr.responder(tr.inter.Key, nil, func(r *ocsp.Response) { r.Status = tc.status }))

			leaf, key := tr.leaf(tr.inter, func(t *certs.Template) {
				t.CRL, t.OCSP = nil, []string{tr.web.URL + "/ocsp"}
			})
			decision, err := tr.judge(key, leaf, tr.inter.Cert)
			tr.want(tc.check, decision, err)
		})
	}
}
