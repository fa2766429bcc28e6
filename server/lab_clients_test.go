package server_test

import (
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"

	"fhirdest.example/certs"
	"fhirdest.example/server/lab"
	"fhirdest.example/server/servertest"
	"fhirdest.example/udap/client"
)

// clientOf asks for a certificate at the public site.
func clientOf(t *testing.T, s *servertest.LabSession, req lab.ClientRequest, status int) (c lab.Client) {
	t.Helper()
	text, err := json.Marshal(req)
	if err != nil {
		t.Fatal(err)
	}
	res := s.Do(http.MethodPost, s.Session.Page+"api/client", strings.NewReader(string(text)),
		"Content-Type", "application/json")
	if res.StatusCode != status {
		t.Fatalf("%s, want %d", res.Status, status)
	}

	if status == http.StatusCreated {
		if err := json.UnmarshalRead(res.Body, &c); err != nil {
			t.Fatal(err)
		}
	}

	return c
}

// A tester gets a certificate with its key, as PEM and PKCS#12, that the session
// accepts.
func TestTestersGetCertificates(t *testing.T) {
	d := servertest.Start(t, servertest.Lab)
	s := d.OpenLab(lab.OpenRequest{})
	for _, kind := range []string{"rsa", "ec"} {
		c := clientOf(t, s, lab.ClientRequest{Community: servertest.URIA, Key: kind}, http.StatusCreated)
		id, err := certs.ParsePKCS12(c.PKCS12, c.Password)
		if err != nil {
			t.Fatal(err)
		}
		key, err := certs.ParseKey([]byte(c.Key))
		if err != nil || !certs.SameKey(key.Public(), id.Key.Public()) {
			t.Errorf("%s: the key in PEM: %v", kind, err)
		}

		if !strings.HasPrefix(c.URI, s.Session.Page) {
			t.Errorf("%s: URI %s", kind, c.URI)
		}
		s.Destination.Session(d.A, id, "system/Patient.rs")
	}
}

// Whatever a tester asks for, the certificate names nobody but a client of the session.
func TestTestersActAsNobodyElse(t *testing.T) {
	d := servertest.Start(t, servertest.Lab)
	s := d.OpenLab(lab.OpenRequest{})
	key := d.Key(certs.P256)
	other, err := url.Parse("https://client.test/a")
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{
		URIs:     []*url.URL{other},
		DNSNames: []string{"fhir.test"},
	}, key)
	if err != nil {
		t.Fatal(err)
	}

	csr := string(pem.EncodeToMemory(&pem.Block{
		Type:  "CERTIFICATE REQUEST",
		Bytes: der,
	}))

	c := clientOf(t, s, lab.ClientRequest{CSR: csr, Name: "mine"}, http.StatusCreated)
	chain, err := certs.ParseCertificates([]byte(c.Chain))
	if err != nil {
		t.Fatal(err)
	}
	uris, err := certs.RawURIs(chain[0])
	if err != nil || len(uris) != 1 || uris[0] != s.Session.Page+"client/mine" || chain[0].IsCA ||
		len(chain[0].DNSNames) > 0 {
		t.Errorf("URIs %q, names %q, %v", uris, chain[0].DNSNames, err)
	}

	if c.Key != "" || c.PKCS12 != nil {
		t.Error("a key comes with the answer to a CSR")
	}

	for _, req := range []lab.ClientRequest{
		{Name: "../other"},
		{Name: "a/b"},
		{Name: "a#b"},
		{Purpose: "a/../b"},
		{Key: "dsa"},
		{CSR: "x"},
		{CSR: csr + csr},
		{Community: "urn:none"},
		{Name: strings.Repeat("a", 41)},
	} {
		clientOf(t, s, req, http.StatusBadRequest)
	}
}

// Whoever asks gets a certificate of the lab. It counts in its own session: neither in
// another one, nor at the destination, nor when the destination has no lab any more.
func TestCertificatesOfTestersCountInTheirSessionAlone(t *testing.T) {
	d := servertest.Start(t, servertest.OnFiles("two destinations, each with its own"), servertest.Lab)
	s, other := d.OpenLab(lab.OpenRequest{}), d.OpenLab(lab.OpenRequest{Mode: lab.Observe})
	without := d.Config
	without.Lab, without.Data = nil, "without"

	for _, community := range []string{servertest.URIA, servertest.URIB} {
		of := d.A
		if community == servertest.URIB {
			of = d.B
		}
		c := clientOf(t, s, lab.ClientRequest{Community: community, Purpose: "T-TREAT"}, http.StatusCreated)
		id, err := certs.ParsePKCS12(c.PKCS12, c.Password)
		if err != nil {
			t.Fatal(err)
		}
		s.Destination.Session(of, id, "system/Patient.rs")

		for name, there := range map[string]*servertest.Destination{
			"another session": other.Destination,
			"the destination": d,
		} {
			refusedAt(t, name, there.Originator(of, id))
		}
	}

	d.Stop()
	c := d.Client(d.A, s.Session.Page+"client/1")
	d.Env.Config = without
	refusedAt(t, "the destination without a lab", d.Env.Start(d.Listen()).Originator(d.A, c))
}

// refusedAt sees that no client is registered.
func refusedAt(t *testing.T, name string, o *client.Client) {
	t.Helper()
	found, err := o.Discover(t.Context())
	if err != nil {
		t.Fatal(err)
	}

	_, err = o.Register(t.Context(), found, client.Registration{
		ClientName: "stranger",
		Contacts:   []string{"mailto:a@client.test"},
		Scope:      "system/Patient.rs",
	})
	if err == nil || !strings.Contains(err.Error(), "unapproved_software_statement") {
		t.Errorf("%s: registration: %v", name, err)
	}
}

// The plain session is the destination, so it has no certificates for testers.
func TestPlainSessionIssuesNothing(t *testing.T) {
	d := servertest.Start(t, servertest.Lab)
	d.Plain().API(http.MethodPost, "client", lab.ClientRequest{}, http.StatusBadRequest, nil)
}
