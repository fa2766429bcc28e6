package certs

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// openssl runs the openssl program: what we write must be readable for it and
// the reverse, as members of a community hold files that both have touched.
func openssl(t *testing.T, dir string, args ...string) string {
	t.Helper()
	cmd := exec.Command("openssl", args...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("openssl %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

func TestOpenSSLReadsOurs(t *testing.T) {
	// Covers: case 324, D-19
	dir := t.TempDir()
	for _, kind := range []KeyKind{RSA2048, P256} {
		c := testCommunity(t, kind)
		id := testIdentity(t, c, kind, "https://client1.test/app#T-TREAT")
		crl, err := c.Issuing.NextCRL(nil, now, time.Hour, RevokedEntry{
			Serial: id.Leaf().SerialNumber,
			Time:   now,
			Reason: 1,
		})
		if err != nil {
			t.Fatal(err)
		}

		modern, err := id.PKCS12("secret", false)
		if err != nil {
			t.Fatal(err)
		}
		legacy, err := id.PKCS12("secret", true)
		if err != nil {
			t.Fatal(err)
		}

		for name, data := range map[string][]byte{
			"root.pem": CertificatesPEM(c.Root.Cert), "ca.pem": CertificatesPEM(
				c.Issuing.Cert), "leaf.pem": CertificatesPEM(id.Leaf()),
			"ca.crl": crl, "modern.p12": modern, "legacy.p12": legacy,
		} {
			if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
				t.Fatal(err)
			}
		}

		openssl(t, dir, "verify", "-attime", "1772366400", "-CAfile", "root.pem", "-untrusted", "ca.pem", "leaf.pem")
		if got := openssl(t, dir, "x509", "-in", "leaf.pem", "-noout",
			"-text"); !strings.Contains(got, "URI:https://client1.test/app#T-TREAT") {
			t.Errorf("%s: openssl does not see the SAN:\n%s", kind, got)
		}
		text := openssl(t, dir, "crl", "-in", "ca.crl", "-inform", "DER", "-CAfile", "ca.pem", "-noout", "-text")
		if !strings.Contains(text, "verify OK") || !strings.Contains(text, "Key Compromise") ||
			!strings.Contains(text, "X509v3 CRL Number") {
			t.Errorf("%s: openssl reads the list as\n%s", kind, text)
		}

		for _, name := range []string{"modern.p12", "legacy.p12"} {
			got := openssl(t, dir, "pkcs12", "-in", name, "-passin", "pass:secret", "-nodes")
			if strings.Count(got, "BEGIN CERTIFICATE") != 2 || strings.Count(got, "localKeyID") != 2 ||
				!strings.Contains(got, "BEGIN PRIVATE KEY") {
				t.Errorf("%s %s: openssl reads\n%s", kind, name, got)
			}

			// What openssl writes from it, bag attributes and all, is read by us.
			pair := filepath.Join(dir, "pair.pem")
			if err := os.WriteFile(pair, []byte(got), 0o600); err != nil {
				t.Fatal(err)
			}
			if back, err := LoadIdentity(pair, pair); err != nil || !back.Leaf().Equal(id.Leaf()) {
				t.Errorf("%s %s: %v", kind, name, err)
			}
		}
	}
}

func TestWeReadOpenSSLs(t *testing.T) {
	// Covers: case 324, D-19
	dir := t.TempDir()
	openssl(t, dir, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "ca.key", "-out", "ca.pem", "-subj",
		"/CN=Foreign CA", "-days", "30")
	openssl(t, dir, "genrsa", "-traditional", "-out", "p1.key", "2048")
	openssl(t, dir, "ecparam", "-name", "prime256v1", "-genkey", "-out", "sec1.key")
	openssl(t, dir, "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384", "-out", "p8.key")

	for _, name := range []string{"p1", "sec1", "p8"} {
		openssl(t, dir, "req", "-new", "-key", name+".key", "-out", name+".csr", "-subj", "/CN="+name)
		ext := "subjectAltName=URI:https://foreign.test/" + name
		if err := os.WriteFile(filepath.Join(dir, "ext"), []byte(ext), 0o600); err != nil {
			t.Fatal(err)
		}
		openssl(t, dir, "x509", "-req", "-in", name+".csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
			"-days", "1", "-extfile", "ext", "-out", name+".pem")
		id, err := LoadIdentity(filepath.Join(dir, name+".pem"), filepath.Join(dir, name+".key"))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}

		if got, err := RawURIs(id.Leaf()); err != nil || !slices.Equal(got, []string{"https://foreign.test/" + name}) {
			t.Errorf("%s: %q %v", name, got, err)
		}

		// The CA comes first in this file: the key, not the order, says which is the leaf.
		for _, mode := range [][]string{{}, {"-legacy"}, {"-descert"}} {
			args := append([]string{
				"pkcs12", "-export", "-inkey", name + ".key", "-in", name + ".pem", "-certfile",
				"ca.pem", "-out", "out.p12", "-passout", "pass:pw", "-name", "x",
			}, mode...)
			openssl(t, dir, args...)
			got, err := LoadPKCS12(filepath.Join(dir, "out.p12"), "pw")
			if err != nil || len(got.Chain) != 2 || !got.Leaf().Equal(id.Leaf()) {
				t.Errorf("%s %v: %v", name, mode, err)
			}
		}
	}

	openssl(t, dir, "pkcs8", "-topk8", "-in", "p8.key", "-out", "enc.key", "-passout", "pass:x")
	if _, err := LoadKey(filepath.Join(dir, "enc.key")); err == nil ||
		!strings.Contains(err.Error(), "encrypted private key") {
		t.Errorf("an encrypted key: %v", err)
	}
}
