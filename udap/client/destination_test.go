package client_test

import (
	"context"
	"crypto/x509"
	"strings"
	"testing"
	"time"

	"fhirdest.example/certs"
	"fhirdest.example/server/servertest"
	"fhirdest.example/udap"
	"fhirdest.example/udap/client"
	"fhirdest.example/udap/fetch"
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
		Base: d.Base, Community: servertest.URIA, Chain: id.Chain, Key: id.Key, TLSRoots: roots, Dial: d.Addr, Now: time.Now,
		Verifier: &udap.Verifier{Revocation: src, Communities: []*udap.Community{{URI: servertest.URIA, Anchors: []*x509.Certificate{d.A.Root.Cert}}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func clean(t *testing.T, tr *udap.Trace, err error) {
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
	reg, err := c.Register(ctx, found, client.Registration{ClientName: "Test", Contacts: []string{"mailto:a@example.org"}, Scope: "system/Patient.rs"})
	clean(t, reg.Trace, err)
	tok, err := c.Token(ctx, found, client.TokenRequest{ClientID: reg.ClientID, Scope: reg.Scope, B2B: &client.B2B{
		OrganizationID: "https://example.org/fhir/Organization/1", PurposeOfUse: []string{"urn:oid:2.16.840.1.113883.5.8#TREAT"},
	}})
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
	gone, err := c.Cancel(ctx, found, client.Registration{ClientName: "Test", Contacts: []string{"mailto:a@example.org"}})
	clean(t, gone.Trace, err)
	if !gone.Cancelled {
		t.Fatalf("%+v", gone)
	}
}

func TestDoctorAtTheDestination(t *testing.T) {
	// Covers: diagnostics rows 23, 25, 40
	d := servertest.Start(t)
	r := originator(t, d, d.Client(d.A, "https://client.example/app")).Doctor(context.Background())
	if r.Wrong != 0 || r.Doubtful != 0 {
		t.Fatalf("%d wrong, %d doubtful: %+v", r.Wrong, r.Doubtful, r.Trace.Steps)
	}
}

func TestStrangerAtTheDestination(t *testing.T) {
	d := servertest.Start(t)
	ctx := context.Background()
	stranger, err := certs.NewCommunity(certs.CommunityPlan{Name: "X", Key: "p256", NotBefore: time.Now().Add(-time.Hour), Life: 24 * time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	id := d.Client(d.A, "https://client.example/app")
	leaf, err := stranger.Issuing.Issue(certs.Template{URIs: []string{"https://x.example"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}, id.Key.Public())
	if err != nil {
		t.Fatal(err)
	}
	id.Chain = []*x509.Certificate{leaf, stranger.Issuing.Cert}
	c := originator(t, d, id)
	found, err := c.Discover(ctx)
	clean(t, found.Trace, err)
	reg, err := c.Register(ctx, found, client.Registration{ClientName: "X", Contacts: []string{"mailto:a@example.org"}, Scope: "system/Patient.rs"})
	if err == nil || reg.Refusal.Code != udap.UnapprovedSoftwareStatement || reg.Refusal.TraceID == "" || reg.Refusal.Page == "" {
		t.Fatalf("error %v, refusal %+v", err, reg.Refusal)
	}
}
