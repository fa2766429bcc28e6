package server_test

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"fhirdest.example/certs"
	"fhirdest.example/gateway/complaint"
	"fhirdest.example/server"
	"fhirdest.example/server/servertest"
)

func write(t *testing.T, w *servertest.Env, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(w.Dir, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, w *servertest.Env, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(w.Dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// issue writes NAME.pem and NAME.key, a certificate of community A after
// change has had its way with the template.
func issue(t *testing.T, w *servertest.Env, kind certs.KeyKind, change func(*certs.Template)) {
	t.Helper()
	key := w.Key(kind)
	now := time.Now()
	tpl := certs.Template{
		CommonName: "own",
		URIs:       []string{servertest.Base},
		NotBefore:  now.Add(-time.Hour),
		NotAfter:   now.Add(time.Hour),
	}
	change(&tpl)

	leaf, err := w.A.Issuing.Issue(tpl, key.Public())
	if err != nil {
		t.Fatal(err)
	}
	w.WriteIdentity("a", &certs.Identity{Chain: w.A.Issuing.Chain(leaf), Key: key})
}

// inCapitals is the DER of a name with its common name in capitals.
func inCapitals(t *testing.T, name pkix.Name) []byte {
	t.Helper()
	name.CommonName = strings.ToUpper(name.CommonName)
	der, err := asn1.Marshal(name.ToRDNSequence())
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// A fileCase is a material that is wrong in one way.
type fileCase struct {
	name string
	bad  func(*testing.T, *servertest.Env)
	want string // part of the one complaint; empty: none
	hint string // part of its remedy
}

// Every file that is wrong in one way gets one complaint that names it, and
// nothing of a key is printed.
func (c fileCase) check(t *testing.T) {
	w := servertest.NewEnv(t)
	l := w.Listen()
	defer l.Close()

	w.Config.Listen = "127.0.0.1:0"
	c.bad(t, w)
	err := w.Config.CheckFiles(time.Now())
	if c.want == "" {
		if err != nil {
			t.Fatalf("complaints: %v", err)
		}
		return
	}

	one := only(t, err)
	if !strings.Contains(one.Problem, c.want) || !strings.Contains(one.Remedy, c.hint) || one.Remedy == "" {
		t.Errorf("problem %q\nremedy  %q\nwant    %q, %q", one.Problem, one.Remedy, c.want, c.hint)
	}
	if strings.Contains(one.Problem+one.Remedy, "PRIVATE KEY") {
		t.Error("the complaint quotes a key")
	}
}

// Covers: case 007, case 324, case 326
func TestCheckFilesOfCertificates(t *testing.T) {
	for _, c := range []fileCase{
		{"nothing wrong", func(*testing.T, *servertest.Env) {}, "", ""},
		{"no such anchor", func(_ *testing.T, w *servertest.Env) {
			w.Config.Communities[0].Anchors[0] = "none.pem"
		}, "communities[0].anchors[0]: there is no file", "correct the path"},
		{"anchor is a leaf", func(_ *testing.T, w *servertest.Env) {
			w.Config.Communities[0].Intermediates = []string{"a.pem"}
		}, "is not a CA", "name the certificate of the authority"},
		{"anchor file with a key", func(t *testing.T, w *servertest.Env) {
			write(t, w, "a-anchor.pem", read(t, w, "a-anchor.pem")+read(t, w, "a.key"))
		}, "holds a private key", "name a PEM or DER file"},
		{"anchor in two communities", func(_ *testing.T, w *servertest.Env) {
			w.Config.Communities[1].Anchors = append(w.Config.Communities[1].Anchors, "a-anchor.pem")
		}, "is an anchor of communities[0] too", "sharedAnchors: true"},
		{"allowed in two", func(_ *testing.T, w *servertest.Env) {
			w.Config.Communities[1].Anchors = append(w.Config.Communities[1].Anchors, "a-anchor.pem")
			w.Config.Communities[1].SharedAnchors = true
		}, "", ""},
		{"an anchor with a short key", func(t *testing.T, w *servertest.Env) {
			shortAnchor(t, w)
		}, "RSA key of 1024 bits", "use the community's present root"},
		{"leaf not first", func(t *testing.T, w *servertest.Env) {
			chain, err := certs.LoadCertificates(filepath.Join(w.Dir, "a.pem"))
			if err != nil {
				t.Fatal(err)
			}
			if err := certs.WriteCertificates(filepath.Join(w.Dir, "a.pem"), chain[1], chain[0]); err != nil {
				t.Fatal(err)
			}
		}, "put the leaf first", "name the chain"},
		{"no URI of ours", func(t *testing.T, w *servertest.Env) {
			issue(t, w, "rsa2048", func(t *certs.Template) { t.URIs = []string{"https://other.test/x", "urn:y"} })
		}, "does not name the public base URL https://fhir.test/acme/fhir; the URIs of its SAN: https://other.test/x, urn:y", "have the community issue one"},
		{"no URI at all", func(t *testing.T, w *servertest.Env) {
			issue(t, w, "rsa2048", func(t *certs.Template) { t.URIs = nil })
		}, "the URIs of its SAN: none", ""},
		{"URI with a slash", func(t *testing.T, w *servertest.Env) {
			issue(t, w, "rsa2048", func(t *certs.Template) { t.URIs = []string{servertest.Base + "/"} })
		}, "does not name the public base URL", "only the slash at the end differs"},
		{"URI in capitals", func(t *testing.T, w *servertest.Env) {
			issue(t, w, "rsa2048", func(t *certs.Template) { t.URIs = []string{"https://FHIR.test/acme/fhir"} })
		}, "does not name the public base URL", "only the case of letters differs"},
		{"URI with a port", func(t *testing.T, w *servertest.Env) {
			issue(t, w, "rsa2048", func(t *certs.Template) { t.URIs = []string{"https://fhir.test:443/acme/fhir"} })
		}, "does not name the public base URL", "only the port differs"},
		{"expired", func(t *testing.T, w *servertest.Env) {
			issue(t, w, "rsa2048", func(t *certs.Template) { t.NotAfter = time.Now().Add(-time.Minute) })
		}, "expired on", "have it issued anew"},
		{"not valid yet", func(t *testing.T, w *servertest.Env) {
			issue(t, w, "rsa2048", func(t *certs.Template) { t.NotBefore = time.Now().Add(time.Minute) })
		}, "counts only from", "look at this machine's clock"},
		{"EC key only", func(t *testing.T, w *servertest.Env) {
			issue(t, w, "p256", func(*certs.Template) {})
		}, "none has an RSA key", "add one with an RSA key"},
		{"chain of another community", func(_ *testing.T, w *servertest.Env) {
			w.Config.Communities[0].Certificates[0] = server.Certificate{Chain: "b.pem", Key: "b.key"}
		}, "does not lead to an anchor of " + servertest.URIA, "name the chain that this community issued"},
		{"chain that writes its issuer in another way", func(t *testing.T, w *servertest.Env) {
			issuing := *w.A.Issuing
			cert := *issuing.Cert
			cert.RawSubject = inCapitals(t, cert.Subject)
			issuing.Cert = &cert
			key := w.Key("rsa2048")
			leaf, err := issuing.Issue(certs.Template{
				CommonName: "own",
				URIs:       []string{servertest.Base},
				NotBefore:  time.Now().Add(-time.Hour),
				NotAfter:   time.Now().Add(time.Hour),
			}, key.Public())
			if err != nil {
				t.Fatal(err)
			}

			w.WriteIdentity("a", &certs.Identity{Chain: w.A.Issuing.Chain(leaf), Key: key})
		}, "", ""},
		{"TLS for another name", func(_ *testing.T, w *servertest.Env) {
			w.WriteTLS("other.test")
		}, "tls.cert: tls.pem is not valid for destination.test, the host of private; it names other.test", "use a certificate for that name"},
		{"no TLS", func(_ *testing.T, w *servertest.Env) {
			w.Config.TLS = server.TLS{}
		}, "tls: cert or key is not given", "name the PEM files"},
		{"client CA is a leaf", func(_ *testing.T, w *servertest.Env) {
			w.Config.TLS.ClientCA = "tls.pem"
		}, "tls.clientCA: tls.pem", "name the certificate of the authority"},
		{"no such list", func(_ *testing.T, w *servertest.Env) {
			w.Config.Communities[0].Lists = []string{"none.crl"}
		}, "communities[0].lists[0]: there is no file", "name the file of a CRL"},
	} {
		t.Run(c.name, c.check)
	}
}

// Covers: case 322, case 324
func TestCheckFilesOfKeys(t *testing.T) {
	for _, c := range []fileCase{
		{"key of another", func(_ *testing.T, w *servertest.Env) {
			w.Config.Communities[0].Certificates[0].Key = "b.key"
		}, "the private key does not belong to", "name the chain, leaf first"},
		{"no key file", func(_ *testing.T, w *servertest.Env) {
			w.Config.Communities[0].Certificates[0].Key = "none.key"
		}, "there is no file", "correct the path"},
		{"empty key", func(t *testing.T, w *servertest.Env) {
			write(t, w, "a.key", "")
		}, "is empty", "name the chain"},
		{"key with a byte order mark", func(t *testing.T, w *servertest.Env) {
			write(t, w, "a.key", "\ufeff"+read(t, w, "a.key"))
		}, "byte order mark", "name the chain"},
		{"trailing junk", func(t *testing.T, w *servertest.Env) {
			write(t, w, "a.key", read(t, w, "a.key")+"junk")
		}, "further text after its last PEM block", "name the chain"},
		{"two keys in one file", func(t *testing.T, w *servertest.Env) {
			write(t, w, "a.key", read(t, w, "a.key")+read(t, w, "b.key"))
		}, "has 2 private keys", "name the chain"},
		{"line ends of another system", func(t *testing.T, w *servertest.Env) {
			write(t, w, "a.key", strings.ReplaceAll(read(t, w, "a.key"), "\n", "\r\n"))
		}, "", ""},
		{"an encrypted key", func(t *testing.T, w *servertest.Env) {
			write(t, w, "a.key", "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n")
		}, "is an encrypted private key", "name the chain"},
		{"a key in PKCS#1", func(t *testing.T, w *servertest.Env) { reencode(t, w, "a.key") }, "", ""},
		{"a key in SEC1", func(t *testing.T, w *servertest.Env) { reencode(t, w, "tls.key") }, "", ""},
		{"key that others may read", func(t *testing.T, w *servertest.Env) {
			chmod(t, w, "a.key", 0o644)
		}, "others may read it (mode 0644)", "keyFiles: warn"},
		{"key of the group", func(t *testing.T, w *servertest.Env) {
			chmod(t, w, "a.key", 0o640)
		}, "others may read it (mode 0640)", "keyFiles: warn"},
		{"link to such a key", func(t *testing.T, w *servertest.Env) {
			chmod(t, w, "a.key", 0o644)
			if err := os.Symlink("a.key", filepath.Join(w.Dir, "link.key")); err != nil {
				t.Fatal(err)
			}
			w.Config.Communities[0].Certificates[0].Key = "link.key"
		}, "link.key holds a private key and others may read it", "keyFiles: warn"},
		{"readable and accepted", func(t *testing.T, w *servertest.Env) {
			chmod(t, w, "a.key", 0o644)
			w.Config.KeyFiles = "warn"
		}, "", ""},
		{"readable by its group and accepted", func(t *testing.T, w *servertest.Env) {
			chmod(t, w, "a.key", 0o440)
			w.Config.KeyFiles = "group"
		}, "", ""},
		{"writable by its group", func(t *testing.T, w *servertest.Env) {
			chmod(t, w, "a.key", 0o660)
			w.Config.KeyFiles = "group"
		}, "others may read it (mode 0660)", "keyFiles: group"},
		{"readable by all, where the group may", func(t *testing.T, w *servertest.Env) {
			chmod(t, w, "a.key", 0o444)
			w.Config.KeyFiles = "group"
		}, "others may read it (mode 0444)", "keyFiles: group"},
		{"PKCS#12 with the wrong password", func(t *testing.T, w *servertest.Env) {
			p12(t, w, "right", "wrong\n")
		}, "communities[0].certificates[0].p12", "first line of passwordFile"},
		{"PKCS#12", func(t *testing.T, w *servertest.Env) { p12(t, w, "right", "right\nsecond line\n") }, "", ""},
	} {
		t.Run(c.name, c.check)
	}
}

func only(t *testing.T, err error) *complaint.Complaint {
	t.Helper()
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok || len(joined.Unwrap()) != 1 {
		t.Fatalf("want one complaint, have: %v", err)
	}
	return joined.Unwrap()[0].(*complaint.Complaint)
}

func chmod(t *testing.T, w *servertest.Env, name string, mode os.FileMode) {
	t.Helper()
	if err := os.Chmod(filepath.Join(w.Dir, name), mode); err != nil {
		t.Fatal(err)
	}
}

// p12 replaces community A's PEM files by a PKCS#12 file and a password file.
func p12(t *testing.T, w *servertest.Env, password, passwordFile string) {
	t.Helper()
	id, err := certs.LoadIdentity(filepath.Join(w.Dir, "a.pem"), filepath.Join(w.Dir, "a.key"))
	if err != nil {
		t.Fatal(err)
	}
	data, err := id.PKCS12(password, false)
	if err != nil {
		t.Fatal(err)
	}

	write(t, w, "a.p12", string(data))
	write(t, w, "a.password", passwordFile)
	w.Config.Communities[0].Certificates[0] = server.Certificate{P12: "a.p12", PasswordFile: "a.password"}
}

// reencode writes a PKCS#8 key file as PKCS#1 or SEC1.
func reencode(t *testing.T, w *servertest.Env, name string) {
	t.Helper()
	key, err := certs.LoadKey(filepath.Join(w.Dir, name))
	if err != nil {
		t.Fatal(err)
	}
	block := &pem.Block{}

	switch k := key.(type) {
	case *rsa.PrivateKey:
		block.Type, block.Bytes = "RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(k)
	case *ecdsa.PrivateKey:
		block.Type = "EC PRIVATE KEY"
		if block.Bytes, err = x509.MarshalECPrivateKey(k); err != nil {
			t.Fatal(err)
		}
	}

	write(t, w, name, string(pem.EncodeToMemory(block)))
}

// shortAnchor adds an anchor with a key that nobody should trust any more.
func shortAnchor(t *testing.T, w *servertest.Env) {
	t.Helper()
	t.Setenv("GODEBUG", "rsa1024min=0")
	key, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	root, err := certs.NewRoot(certs.Template{
		CommonName: "old",
		NotBefore:  time.Now().Add(-time.Hour),
		NotAfter:   time.Now().Add(time.Hour),
	}, key)
	if err != nil {
		t.Fatal(err)
	}

	if err := certs.WriteCertificates(filepath.Join(w.Dir, "old.pem"), root.Cert); err != nil {
		t.Fatal(err)
	}
	w.Config.Communities[0].Anchors = append(w.Config.Communities[0].Anchors, "old.pem")
}
