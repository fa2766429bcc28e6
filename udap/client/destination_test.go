package client_test

import (
	"context"
	"crypto/x509"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/crypto/ocsp"

	"fhirdest.example/certs"
	"fhirdest.example/server/servertest"
	"fhirdest.example/udap"
	"fhirdest.example/udap/client"
	"fhirdest.example/udap/fetch"
	"fhirdest.example/udap/trace"
)

// originator makes an originator of community A in front of a destination.
func originator(t *testing.T, d *servertest.Destination, id *certs.Identity) *client.Client {
	t.Helper()
	roots := x509.NewCertPool()
	roots.AddCert(d.TLS.Cert)
	src, err := fetch.New(fetch.Config{Allow: []string{d.Lists.URL}, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	c, err := client.New(client.Config{
		Base:      d.Base,
		Community: servertest.URIA,
		Chain:     id.Chain,
		Key:       id.Key,
		TLSRoots:  roots,
		Dial:      d.Addr,
		Now:       time.Now,
		Verifier: &udap.Verifier{
			Revocation:  src,
			Communities: []*udap.Community{{URI: servertest.URIA, Anchors: []*x509.Certificate{d.A.Root.Cert}}},
		},
	})
	if err != nil {
		t.Fatal(err)
	}

	t.Cleanup(c.Close)
	return c
}

func clean(t *testing.T, tr *trace.Trace, err error) {
	t.Helper()
	if err != nil || len(tr.Warnings()) > 0 {
		t.Fatalf("error %v, warnings %+v", err, tr.Warnings())
	}
}

func TestSessionAtTheDestination(t *testing.T) {
	// Covers: S2-07, S2-11, S2-20, S1-066, S1-067, S1-223, ER-21, case 333
	d := servertest.Start(t)
	ctx := context.Background()
	c := originator(t, d, d.Client(d.A, "https://client.example/app"))
	found, err := c.Discover(ctx)
	clean(t, found.Trace, err)
	reg, err := c.Register(ctx, found, client.Registration{
		ClientName: "Test",
		Contacts:   []string{"mailto:a@example.org"},
		Scope:      "system/Patient.rs",
	})
	clean(t, reg.Trace, err)

	tok, err := c.Token(ctx, found, client.TokenRequest{
		ClientID: reg.ClientID,
		Scope:    reg.Scope,
		B2B: &client.B2B{
			OrganizationID: "https://example.org/fhir/Organization/1",
			PurposeOfUse:   []string{"urn:oid:2.16.840.1.113883.5.8#TREAT"},
		},
	})
	clean(t, tok.Trace, err)

	read, err := c.Get(ctx, "Patient?_count=2", tok.Access)
	clean(t, read.Trace, err)
	if !strings.Contains(string(read.Reply.Body), `"searchset"`) {
		t.Fatalf("read %.200s", read.Reply.Body)
	}
	other, err := c.Get(ctx, "Observation?_count=2", tok.Access)
	if err == nil || other.Refusal == nil || other.Refusal.Hint == "" {
		t.Fatalf("Observation without its scope: %v, %+v", err, other.Refusal)
	}

	gone, err := c.Cancel(ctx, found, client.Registration{
		ClientName: "Test",
		Contacts:   []string{"mailto:a@example.org"},
	})
	clean(t, gone.Trace, err)
	if !gone.Cancelled {
		t.Fatalf("%+v", gone)
	}
}

func TestDoctorAtTheDestination(t *testing.T) {
	// Covers: D-23, D-25, D-40
	d := servertest.Start(t)
	r := originator(t, d, d.Client(d.A, "https://client.example/app")).Doctor(context.Background())
	if r.Wrong != 0 || r.Doubtful != 0 {
		t.Fatalf("%d wrong, %d doubtful: %+v", r.Wrong, r.Doubtful, r.Trace.Steps)
	}
}

func TestStrangerAtTheDestination(t *testing.T) {
	d := servertest.Start(t)
	ctx := context.Background()
	stranger, err := certs.NewCommunity(certs.CommunityPlan{
		Name:      "X",
		Key:       "p256",
		NotBefore: time.Now().Add(-time.Hour),
		Life:      24 * time.Hour,
	})
	if err != nil {
		t.Fatal(err)
	}

	id := d.Client(d.A, "https://client.example/app")
	leaf, err := stranger.Issuing.Issue(certs.Template{
		URIs:      []string{"https://x.example"},
		NotBefore: time.Now().Add(-time.Hour),
		NotAfter:  time.Now().Add(time.Hour),
	}, id.Key.Public())
	if err != nil {
		t.Fatal(err)
	}

	id.Chain = []*x509.Certificate{leaf, stranger.Issuing.Cert}
	c := originator(t, d, id)
	found, err := c.Discover(ctx)
	clean(t, found.Trace, err)
	reg, err := c.Register(ctx, found, client.Registration{
		ClientName: "X",
		Contacts:   []string{"mailto:a@example.org"},
		Scope:      "system/Patient.rs",
	})
	if err == nil || reg.Refusal.Code != trace.UnapprovedSoftwareStatement || reg.Refusal.TraceID == "" ||
		reg.Refusal.Page == "" {
		t.Fatalf("error %v, refusal %+v", err, reg.Refusal)
	}
}

// memberOf issues a P-256 member certificate under community A, as changed.
func memberOf(t *testing.T, d *servertest.Destination, change func(*certs.Template)) *certs.Identity {
	t.Helper()
	key := d.Key("p256")
	tmpl := certs.Template{
		CommonName: "m",
		URIs:       []string{"https://client.example/app"},
		NotBefore:  time.Now().Add(-time.Hour),
		NotAfter:   time.Now().AddDate(0, 3, 0),
		CRL:        []string{d.Lists.URL + "/a.crl"},
	}
	change(&tmpl)

	leaf, err := d.A.Issuing.Issue(tmpl, key.Public())
	if err != nil {
		t.Fatal(err)
	}
	return &certs.Identity{Chain: []*x509.Certificate{leaf, d.A.Issuing.Cert}, Key: key}
}

func registerAt(t *testing.T, d *servertest.Destination, id *certs.Identity) (*client.Registered, error) {
	t.Helper()
	c := originator(t, d, id)
	found, err := c.Discover(context.Background())
	clean(t, found.Trace, err)
	return c.Register(context.Background(), found, client.Registration{
		ClientName: "M",
		Contacts:   []string{"mailto:a@example.org"},
		Scope:      "system/Patient.rs",
	})
}

func TestDestinationFetchesIssuersByPolicy(t *testing.T) {
	// Covers: case 077, D-12
	for _, allowed := range []bool{true, false} {
		d := servertest.Start(t, func(w *servertest.Env) {
			if allowed {
				w.Config.Communities[0].AIA = []string{w.Lists.URL}
			}
		})
		other, err := d.A.Root.NewCA(certs.Template{
			CommonName: "Another issuing CA",
			NotBefore:  time.Now().Add(-time.Hour),
			NotAfter:   time.Now().AddDate(1, 0, 0),
			CRL:        []string{d.Lists.URL + "/a-root.crl"},
		}, d.Key("p256"))
		if err != nil {
			t.Fatal(err)
		}

		d.Publish("a-other", other)
		d.Lists.Set("/a-other.cer", other.Cert.Raw)
		key := d.Key("p256")
		leaf, err := other.Issue(certs.Template{
			CommonName: "m",
			URIs:       []string{"https://client.example/app"},
			NotBefore:  time.Now().Add(-time.Hour),
			NotAfter:   time.Now().AddDate(0, 3, 0),
			CRL:        []string{d.Lists.URL + "/a-other.crl"},
			AIA:        []string{d.Lists.URL + "/a-other.cer"},
		}, key.Public())
		if err != nil {
			t.Fatal(err)
		}

		_, err = registerAt(t, d, &certs.Identity{Chain: []*x509.Certificate{leaf}, Key: key})
		if (err == nil) != allowed {
			t.Errorf("aia allowed %v: %v", allowed, err)
		}
		if asked := d.Lists.Asked("/a-other.cer"); (asked > 0) != allowed {
			t.Errorf("aia allowed %v: asked %d times", allowed, asked)
		}
	}
}

func TestDestinationAsksResponders(t *testing.T) {
	// Covers: case 068, case 071
	var status atomic.Int64
	d := servertest.Start(t)
	responder := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		q, err := ocsp.ParseRequest(body)
		if err != nil {
			t.Error(err)
			return
		}

		der, err := ocsp.CreateResponse(d.A.Issuing.Cert, d.A.Issuing.Cert, ocsp.Response{
			Status:       int(status.Load()),
			SerialNumber: q.SerialNumber,
			ThisUpdate:   time.Now().Add(-time.Minute),
			NextUpdate:   time.Now().Add(time.Hour),
			RevokedAt:    time.Now().Add(-time.Hour),
		}, d.A.Issuing.Key)
		if err != nil {
			t.Error(err)
		}

		_, _ = w.Write(der)
	}))
	defer responder.Close()

	byResponder := func(tmpl *certs.Template) { tmpl.CRL, tmpl.OCSP = nil, []string{responder.URL} }
	if _, err := registerAt(t, d, memberOf(t, d, byResponder)); err == nil ||
		!strings.Contains(err.Error(), "not a public address") {
		t.Fatalf("a responder at a private address was asked: %v", err)
	}
	d.Stop()
	d = servertest.Start(t, func(w *servertest.Env) {
		w.Config.Revocation.Allow = append(w.Config.Revocation.Allow, responder.URL)
	})
	if _, err := registerAt(t, d, memberOf(t, d, byResponder)); err != nil {
		t.Fatal(err)
	}

	status.Store(ocsp.Revoked)
	if _, err := registerAt(t, d, memberOf(t, d, byResponder)); err == nil ||
		!strings.Contains(err.Error(), "revoked") {
		t.Fatalf("a revoked certificate: %v", err)
	}
}
