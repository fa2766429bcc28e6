package answer_test

import (
	"context"
	"crypto/x509"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"fhirdest.example/certs"
	"fhirdest.example/server/servertest"
	"fhirdest.example/udap"
	"fhirdest.example/udap/client"
	"fhirdest.example/udap/fault/answer"
)

// reasons are the checks at which our originator stops for each fault of metadata. A
// fault that is not here has a test of its own.
var reasons = map[string]string{
	"metadata-bad-signature":            "jws.signature",
	"metadata-changed-payload":          "jws.signature",
	"metadata-other-key":                "jws.signature",
	"metadata-key-in-header":            "jws.signature",
	"metadata-algorithm-none":           "jws.form",
	"metadata-algorithm-hs256":          "jws.alg",
	"metadata-algorithm-mismatch":       "jws.signature",
	"metadata-no-x5c":                   "x5c.form",
	"metadata-reversed-x5c":             "jws.signature",
	"metadata-critical-header":          "jws.header",
	"metadata-other-community":          "chain.path",
	"metadata-expired-certificate":      "chain.validity",
	"metadata-future-certificate":       "chain.validity",
	"metadata-unknown-authority":        "chain.path",
	"metadata-self-signed":              "chain.leaf",
	"metadata-leaf-alone":               "chain.path",
	"metadata-other-san":                "metadata.iss",
	"metadata-no-san":                   "metadata.iss",
	"metadata-expired":                  "metadata.exp",
	"metadata-issued-ahead":             "metadata.iat",
	"metadata-long-life":                "metadata.lifetime",
	"metadata-no-exp":                   "metadata.exp",
	"metadata-other-base":               "metadata.base",
	"metadata-other-sub":                "metadata.sub",
	"metadata-no-token-endpoint":        "metadata.endpoints",
	"metadata-no-registration-endpoint": "metadata.endpoints",
	"metadata-http-endpoint":            "metadata.endpoints",
	"metadata-unsigned":                 "metadata.document",
	"metadata-member-twice":             "reply.body",
	"metadata-html":                     "reply.body",
	"metadata-not-found":                "discover.found",
	"metadata-no-community":             "discover.found",
	"hop-metadata-cut":                  "reply.body",
	"hop-metadata-421":                  "discover.found",
}

// Each fault of metadata is noticed for its own reason, and for no other.
//
// Covers: S1-008, S1-015, S1-047, S1-049, S1-050, S1-051, S1-052, S1-053, S1-054, S1-058, S1-059, S2-06, S2-07
func TestMetadataIsRefusedForItsReason(t *testing.T) {
	d := newDestination(t)
	for name, check := range reasons {
		t.Run(name, func(t *testing.T) {
			fault := answer.Find(name)
			if fault == nil {
				t.Fatal("there is no such fault")
			}
			d.choose(fault)
			c := d.Originator(d.A, d.Client(d.A, "https://careful.test/app"))
			if _, err := c.Discover(context.Background()); err == nil || !strings.Contains(err.Error(), check+":") {
				t.Errorf("it ends with %v, not at %s", err, check)
			}
		})
	}
}

// listed is a source of lists that asks where a certificate points, over the front.
type listed struct {
	http *http.Client
	also udap.RevocationSource
}

// CRLs implements udap.RevocationSource.
func (l *listed) CRLs(ctx context.Context, q udap.CRLQuery) []udap.CRLAnswer {
	if len(q.URLs) == 0 || !strings.HasPrefix(q.URLs[0], "https://fhir.test/") {
		return l.also.CRLs(ctx, q)
	}

	out := udap.CRLAnswer{
		URL:     q.URLs[0],
		Fetched: time.Now(),
	}
	res, err := l.http.Get(q.URLs[0])
	if err != nil {
		out.Err = err
		return []udap.CRLAnswer{out}
	}
	defer res.Body.Close()
	der, err := io.ReadAll(res.Body)
	if err == nil {
		out.List, err = x509.ParseRevocationList(der)
	}
	out.Err = err
	return []udap.CRLAnswer{out}
}

// The revoked certificate is on the list to which it points, and no other certificate
// of the issuer is within that list's scope.
func TestRevokedCertificateIsOnItsList(t *testing.T) {
	d := newDestination(t)
	d.choose(answer.Find("metadata-revoked-certificate"))
	_, doc := d.Get(d.Base + "/.well-known/udap")
	if !strings.Contains(doc, "signed_metadata") {
		t.Fatalf("no metadata: %.200s", doc)
	}

	source := &listed{
		http: d.HTTPClient(d.Addr),
		also: d.source(t),
	}
	c := d.originatorWith(t, source)
	if _, err := c.Discover(context.Background()); err == nil ||
		!strings.Contains(err.Error(), "chain.revocation:") || !strings.Contains(err.Error(), ": revoked at") {
		t.Errorf("it ends with %v", err)
	}

	res, err := source.http.Get(d.Issuer + "/lab-revoked.crl")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	der, _ := io.ReadAll(res.Body) // what there is is parsed
	list, err := x509.ParseRevocationList(der)
	if err != nil || list.CheckSignatureFrom(d.A.Issuing.Cert) != nil || len(list.RevokedCertificateEntries) != 1 {
		t.Errorf("the list is %v, %v", list, err)
	}
}

// A fault is in the answers under the private site, too, and a fault for one answer is
// in one of many at once.
func TestFaultUnderThePrivateSite(t *testing.T) {
	tools := idle(nil)
	tools.Private = "https://10.0.0.1:9443/internal/fhir"
	ok := &scripted{parts: []string{"{}"}}
	h := answer.Find("token-429").Apply(ok, tools)
	for i, want := range []int{429, 200, 200} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest("POST", "/internal/oauth/token", nil))
		if w.Code != want {
			t.Errorf("answer %d has %d, want %d", i, w.Code, want)
		}
	}
}

// source is where originators of the destination get lists.
func (d *destination) source(t *testing.T) udap.RevocationSource {
	t.Helper()
	return crls(func(_ context.Context, q udap.CRLQuery) []udap.CRLAnswer {
		ca, name := d.A.Issuing, "/a.crl"
		if q.Issuer.Equal(d.A.Root.Cert) {
			ca, name = d.A.Root, "/a-root.crl"
		}
		der, err := ca.CRL(certs.CRLTemplate{
			Number:     1,
			ThisUpdate: time.Now().Add(-time.Minute),
			NextUpdate: time.Now().Add(time.Hour),
		})
		if err != nil {
			t.Error(err)
		}

		list, err := x509.ParseRevocationList(der)
		return []udap.CRLAnswer{
			{
				URL:     name,
				List:    list,
				Fetched: time.Now(),
				Err:     err,
			},
		}
	})
}

type crls func(context.Context, udap.CRLQuery) []udap.CRLAnswer

func (f crls) CRLs(ctx context.Context, q udap.CRLQuery) []udap.CRLAnswer { return f(ctx, q) }

func (d *destination) originatorWith(t *testing.T, source udap.RevocationSource) *client.Client {
	t.Helper()
	roots := x509.NewCertPool()
	roots.AddCert(d.TLS.Cert)
	c, err := client.New(client.Config{
		Base:      d.Base,
		Community: servertest.URIA,
		TLSRoots:  roots,
		Dial:      d.Addr,
		Now:       d.now,
		Verifier: &udap.Verifier{
			Revocation: source,
			Communities: []*udap.Community{
				{
					URI:     servertest.URIA,
					Anchors: []*x509.Certificate{d.A.Root.Cert},
				},
			},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}
