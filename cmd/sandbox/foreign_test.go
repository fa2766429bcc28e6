package main

import (
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"fhirdest.example/certs"
	"fhirdest.example/cmd/internal/authority"
	"fhirdest.example/cmd/internal/testbed"
)

// outside is a trust community that the sandbox did not make, with its lists on
// a server of its own.
type outside struct {
	entry testbed.Community
	dir   string
}

func newOutside(t *testing.T) outside {
	t.Helper()
	o := outside{dir: t.TempDir()}
	lists := httptest.NewServer(http.FileServer(http.Dir(o.dir)))
	t.Cleanup(lists.Close)
	now := time.Now()
	a, err := authority.Create(filepath.Join(o.dir, "theirs"), authority.About{
		URI:  "urn:example:theirs",
		Name: "Theirs",
		Base: lists.URL,
	}, certs.RSA2048, now)
	if err != nil {
		t.Fatal(err)
	}

	o.entry = testbed.Community{
		URI:    a.URI,
		Name:   a.Name,
		Anchor: a.File("-root.pem"),
		Issuer: testbed.KeyPair{Cert: a.File(".pem"), Key: a.File(".key")},
		CRL:    a.URL(".crl"),
	}

	return o
}

// identity writes a PKCS#12 file with a certificate of this community for a
// server's base URL, and its password.
func (o outside) identity(t *testing.T, base string) (p12, password string) {
	t.Helper()
	d := &originator{now: time.Now}
	id, err := d.mint(o.entry, base, certs.RSA2048)
	if err != nil {
		t.Fatal(err)
	}
	data, err := id.PKCS12("secret", true)
	if err != nil {
		t.Fatal(err)
	}

	p12, password = filepath.Join(o.dir, "ours.p12"), filepath.Join(o.dir, "password")
	for file, content := range map[string][]byte{p12: data, password: []byte("secret\n")} {
		if err := certs.WriteFile(file, content, certs.ModeSecret); err != nil {
			t.Fatal(err)
		}
	}

	return p12, password
}

func TestForeignOriginatorIsServed(t *testing.T) {
	// Covers: D-49
	ownTemp(t)
	public := heldAddress(t)
	theirs := newOutside(t)
	p12, password := theirs.identity(t, "https://localhost:"+public[strings.LastIndexByte(public, ':')+1:]+"/acme/fhir")
	_, d := bedAt(t, testbed.Config{
		Trust:            []testbed.Foreign{{URI: theirs.entry.URI, Anchor: theirs.entry.Anchor}},
		Identities:       []string{p12},
		IdentityPassword: password,
	}, map[string]string{"public": public}, nil)
	d.manifest.Communities = append(d.manifest.Communities, theirs.entry)

	if err := d.loadTrust(); err != nil {
		t.Fatal(err)
	}
	p, err := d.partyFor(theirs.entry, "https://foreign.example/app", certs.P256)
	if err != nil {
		t.Fatal(err)
	}
	j, err := d.join(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}

	if _, err := d.askToken(t.Context(), p.client, j.found, j.reg.ClientID, "system/Patient.rs"); err != nil {
		t.Error(err)
	}
}
