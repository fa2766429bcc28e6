package certs

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

type pkixExtension = pkix.Extension

func pemCRL(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der})
}

func block(t *testing.T, kind string, der []byte, err error) []byte {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

func cat(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

func TestParseKey(t *testing.T) {
	// Covers: case 324
	id := testIdentity(t, testCommunity(t, P256), P256, "https://a.test")
	ec, rs := id.Key.(*ecdsa.PrivateKey), mustKey(t, RSA2048).(*rsa.PrivateKey)
	p8der, err := x509.MarshalPKCS8PrivateKey(ec)
	p8 := block(t, "PRIVATE KEY", p8der, err)
	sec1der, err := x509.MarshalECPrivateKey(ec)
	sec1 := block(t, "EC PRIVATE KEY", sec1der, err)
	p1 := block(t, "RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(rs), nil)
	cert := CertificatesPEM(id.Chain...)

	encrypted := pem.EncodeToMemory(&pem.Block{
		Type:    "RSA PRIVATE KEY",
		Headers: map[string]string{"Proc-Type": "4,ENCRYPTED", "DEK-Info": "AES-128-CBC,00"},
		Bytes:   []byte("x"),
	})
	tests := []struct {
		name string
		data []byte
		want string // part of the complaint; empty: is read
	}{
		{"pkcs8", p8, ""},
		{"sec1", sec1, ""},
		{"pkcs1", p1, ""},
		{"sec1 after its parameters", cat(block(t, "EC PARAMETERS", []byte{6, 1, 1}, nil), sec1), ""},
		{"wrong label", block(t, "PRIVATE KEY", sec1der, nil), ""},
		{"der", p8der, ""},
		{"crlf", bytes.ReplaceAll(p8, []byte("\n"), []byte("\r\n")), ""},
		{"text before", cat([]byte("Bag Attributes\n  localKeyID: 01\n"), p8), ""},
		{"beside certificates", cat(cert, p8), ""},
		{"empty", []byte(" \n"), "is empty"},
		{"byte order mark", cat([]byte("\xEF\xBB\xBF"), p8), "byte order mark"},
		{"two keys", cat(p8, p1), "2 private keys"},
		{"no key", cert, "0 private keys"},
		{"trailing junk", cat(p8, []byte("junk")), "further text after"},
		{"damaged second block", cat(p8, p1[:200]), "block is damaged"},
		{"encrypted pkcs8", block(t, "ENCRYPTED PRIVATE KEY", []byte("x"), nil), "encrypted"},
		{"encrypted pkcs1", encrypted, "encrypted"},
		{"trailing bytes inside", block(t, "PRIVATE KEY", append(bytes.Clone(p8der), 0), nil), "is not a private key"},
		{"public key", block(t, "PUBLIC KEY", p8der, nil), `"PUBLIC KEY"`},
		{"neither", []byte("hello"), "neither PEM nor DER"},
		{"huge", make([]byte, maxFile+1), "empty"},
	}
	tests[len(tests)-1].data = bytes.Repeat([]byte("a"), maxFile+1)

	tests[len(tests)-1].want = "larger than"
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			key, err := ParseKey(tt.data)
			if tt.want == "" && (err != nil || key == nil) || tt.want != "" && (err == nil ||
				!strings.Contains(err.Error(), tt.want)) {
				t.Errorf("%s: got %v, want %q", tt.name, err, tt.want)
			}
			if err != nil && bytes.Contains([]byte(err.Error()), p8[40:80]) {
				t.Errorf("%s: the complaint shows key material", tt.name)
			}
		})
	}
}

func TestParseCertificates(t *testing.T) {
	// Covers: case 324
	id := testIdentity(t, testCommunity(t, P256), P256, "https://a.test")
	chain := CertificatesPEM(id.Chain...)
	key, err := KeyPEM(id.Key)
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name string
		data []byte
		n    int
		want string
	}{
		{"chain", chain, 2, ""},
		{"der", id.Chain[0].Raw, 1, ""},
		{"crlf", bytes.ReplaceAll(chain, []byte("\n"), []byte("\r\n")), 2, ""},
		{
			"text before each",
			cat([]byte("subject=CN = x\n"), CertificatesPEM(id.Chain[0]), []byte("issuer=y\n"),
				CertificatesPEM(id.Chain[1])),
			2,
			"",
		},
		{"empty", nil, 0, "is empty"},
		{"byte order mark", cat([]byte("\xEF\xBB\xBF"), chain), 0, "byte order mark"},
		{"a key in it", cat(chain, key), 0, "private key"},
		{"trailing junk", cat(chain, []byte("x")), 0, "further text"},
		{"trailing byte in der", append(bytes.Clone(id.Chain[0].Raw), 0), 0, "DER"},
		{"damaged base64", bytes.Replace(chain, []byte("MII"), []byte("M!I"), 1), 0, "damaged"},
		{"damaged der", block(t, "CERTIFICATE", id.Chain[0].Raw[:100], nil), 0, "certificate 1"},
		{"a request", block(t, "CERTIFICATE REQUEST", id.Chain[0].Raw, nil), 0, "no certificate"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := ParseCertificates(tt.data)
			if len(got) != tt.n || (err == nil) != (tt.want == "") || err != nil &&
				!strings.Contains(err.Error(), tt.want) {
				t.Errorf("%s: %d certificates, %v; want %d, %q", tt.name, len(got), err, tt.n, tt.want)
			}
		})
	}
}

func TestLoadIdentityNamesTheFile(t *testing.T) {
	// Covers: case 324
	dir := t.TempDir()
	c := testCommunity(t, P256)
	id, other := testIdentity(t, c, P256, "https://a.test"), testIdentity(t, c, P256, "https://b.test")
	chain, key := filepath.Join(dir, "a.pem"), filepath.Join(dir, "a.key")
	if err := WriteIdentity(chain, key, id); err != nil {
		t.Fatal(err)
	}
	otherKey, both, p12 := filepath.Join(dir, "b.key"), filepath.Join(dir, "both.pem"), filepath.Join(dir, "a.p12")
	if err := WriteIdentity(filepath.Join(dir, "b.pem"), otherKey, other); err != nil {
		t.Fatal(err)
	}

	keyPEM, _ := os.ReadFile(key)
	if err := WriteFile(both, append(keyPEM, CertificatesPEM(id.Chain...)...), ModeSecret); err != nil {
		t.Fatal(err)
	}
	data, err := id.PKCS12("pw", false)
	if err != nil {
		t.Fatal(err)
	}

	if err := WriteFile(p12, data, ModeSecret); err != nil {
		t.Fatal(err)
	}

	for name, load := range map[string]func() (*Identity, error){
		"two files": func() (*Identity, error) { return LoadIdentity(chain, key) },
		"one file":  func() (*Identity, error) { return LoadIdentity(both, both) },
		"pkcs12":    func() (*Identity, error) { return LoadPKCS12(p12, "pw") },
	} {
		t.Run(name, func(t *testing.T) {
			got, err := load()
			if err != nil || !got.Leaf().Equal(id.Leaf()) || len(got.TLS().Certificate) != 2 {
				t.Errorf("%s: %v", name, err)
			}
		})
	}

	for name, bad := range map[string]struct{ chain, key, want string }{
		"other key":  {chain, otherKey, otherKey},
		"no chain":   {filepath.Join(dir, "none.pem"), key, "none.pem"},
		"no key":     {chain, filepath.Join(dir, "none.key"), "none.key"},
		"directory":  {dir, key, "not a regular file"},
		"swapped":    {key, chain, key},
		"pkcs12 pem": {p12, key, p12},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := LoadIdentity(bad.chain, bad.key); err == nil || !strings.Contains(err.Error(), bad.want) {
				t.Errorf("%s: %v does not name %s", name, err, bad.want)
			}
		})
	}

	if _, err := LoadCA(chain, key); err == nil || !strings.Contains(err.Error(), "is not a CA") {
		t.Errorf("a leaf as CA: %v", err)
	}
	if _, err := LoadPKCS12(chain, "pw"); err == nil || !strings.Contains(err.Error(), chain) {
		t.Errorf("a PEM file as PKCS#12: %v", err)
	}
}

func TestLoadCA(t *testing.T) {
	dir := t.TempDir()
	c := testCommunity(t, P256)
	certFile, keyFile := filepath.Join(dir, "ca.pem"), filepath.Join(dir, "ca.key")
	id := &Identity{Chain: append([]*x509.Certificate{c.Issuing.Cert}, c.Issuing.Parents...), Key: c.Issuing.Key}
	if err := WriteIdentity(certFile, keyFile, id); err != nil {
		t.Fatal(err)
	}
	ca, err := LoadCA(certFile, keyFile)
	if err != nil || !ca.Root().Equal(c.Root.Cert) {
		t.Fatalf("%v", err)
	}

	if _, err := ca.Issue(leafTemplate("https://a.test"), mustKey(t, RSA2048).Public()); err != nil {
		t.Error(err)
	}
}
