package server_test

import (
	"bytes"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"fhirdest.example/certs"
	"fhirdest.example/server/lab"
	"fhirdest.example/server/servertest"
)

// A tester downloads what the destination's lab names, and gets a certificate of the
// community for a key of one's own.
func TestTestersBringAClient(t *testing.T) {
	d := servertest.Start(t, servertest.Lab, func(w *servertest.Env) {
		w.Config.Lab.TLS = w.Config.Communities[1].Anchors[0]
	})
	s := d.OpenLab(lab.OpenRequest{Name: "first"})
	root := d.Admin + "/lab/" + s.Session.ID + "/"

	authority, err := os.ReadFile(filepath.Join(d.Dir, d.Config.Lab.TLS))
	if err != nil {
		t.Fatal(err)
	}
	if got := labText(t, http.MethodGet, root+"bring/tls.pem", nil); got != string(authority) {
		t.Errorf("the authority of TLS is %s", got)
	}

	key, err := certs.NewKey(certs.RSA2048)
	if err != nil {
		t.Fatal(err)
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		t.Fatal(err)
	}

	chain := labText(t, http.MethodPost, root+"certificate?name=mine", pem.EncodeToMemory(&pem.Block{
		Type:  "CERTIFICATE REQUEST",
		Bytes: csr,
	}))
	list, err := certs.ParseCertificates([]byte(chain))
	if err != nil {
		t.Fatal(err)
	}

	if err := list[0].CheckSignatureFrom(d.A.Issuing.Cert); err != nil {
		t.Error(err)
	}
	if uri := list[0].URIs[0].String(); uri != s.Session.Page+"client/mine" ||
		!strings.Contains(labText(t, http.MethodGet, root+"bring?name=mine", nil), uri) {
		t.Errorf("the certificate is of %s", uri)
	}
}

// labText returns the body of an answer that succeeded.
func labText(t *testing.T, method, url string, body []byte) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()

	text, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("%s %s: %d %s %v", method, url, res.StatusCode, text, err)
	}
	return string(text)
}

// A file of authorities that cannot be read is complained about before the start.
func TestLabNamesTheAuthoritiesOfTLS(t *testing.T) {
	w := servertest.NewEnv(t)
	servertest.Lab(w)
	w.Config.Lab.TLS = "nothing.pem"
	if err := w.Config.Check(time.Now()); err == nil || !strings.Contains(err.Error(), "lab.tls") {
		t.Errorf("the complaint is %v", err)
	}
}
