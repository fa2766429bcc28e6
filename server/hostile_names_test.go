package server_test

import (
	"net/http"
	"strings"
	"testing"

	"fhirdest.example/certs"
	"fhirdest.example/server/servertest"
	"fhirdest.example/udap/client"
)

// A distribution point of bytes that are no URL is none: it breaks neither
// readiness nor metrics, which show places as text.
//
// Covers: case 056, case 279
func TestDistributionPointThatIsNoText(t *testing.T) {
	d := servertest.Start(t)
	key := d.Key("p256")
	leaf, err := d.A.Issuing.Issue(certs.Template{
		CommonName: "x",
		URIs:       []string{"https://client1.test/app"},
		CRL:        []string{d.Lists.URL + "/a.crl?\xff"},
		NotBefore:  d.A.Root.Cert.NotBefore,
		NotAfter:   d.A.Root.Cert.NotAfter,
	}, key.Public())
	if err != nil {
		t.Fatal(err)
	}

	o := d.Originator(d.A, &certs.Identity{Chain: d.A.Issuing.Chain(leaf), Key: key})
	at, err := o.Discover(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	got, err := o.Register(t.Context(), at, client.Registration{
		ClientName: "HTEST",
		Contacts:   []string{"mailto:a@client.test"},
		Scope:      "system/*.read",
	})
	if err == nil || !strings.Contains(got.Refusal.Description, "no http distribution point") {
		t.Errorf("a distribution point that is no URL: %v", err)
	}

	for _, page := range []string{"/ready", "/metrics"} {
		res, err := http.Get(d.Admin + page)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		if res.StatusCode != http.StatusOK {
			t.Errorf("%s: %d", page, res.StatusCode)
		}
	}
}
