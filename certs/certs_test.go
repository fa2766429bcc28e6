package certs

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func mustKey(t *testing.T, kind KeyKind) crypto.Signer {
	t.Helper()
	key, err := NewKey(kind)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func testCommunity(t *testing.T, kind KeyKind) *Community {
	t.Helper()
	c, err := NewCommunity(CommunityPlan{
		Name: "Test", Key: kind, NotBefore: now.Add(-time.Hour), Life: 24 * time.Hour,
		RootCRL: "http://localhost/root.crl", RootCert: "http://localhost/root.cer",
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func leafTemplate(uris ...string) Template {
	return Template{
		CommonName: "leaf",
		URIs:       uris,
		NotBefore:  now.Add(-time.Hour),
		NotAfter:   now.Add(time.Hour),
		CRL:        []string{"http://localhost/ca.crl"},
		AIA:        []string{"http://localhost/ca.cer"},
		OCSP:       []string{"http://localhost/ocsp"},
	}
}

func testIdentity(t *testing.T, c *Community, kind KeyKind, uris ...string) *Identity {
	t.Helper()
	key := mustKey(t, kind)
	leaf, err := c.Issuing.Issue(leafTemplate(uris...), key.Public())
	if err != nil {
		t.Fatal(err)
	}
	return &Identity{Chain: c.Issuing.Chain(leaf), Key: key}
}

func TestCommunityVerifies(t *testing.T) {
	for _, kind := range []KeyKind{RSA2048, P256, P384} {
		t.Run(string(kind), func(t *testing.T) {
			c := testCommunity(t, kind)
			id := testIdentity(t, c, kind, "https://client1.test/app")
			roots, mid := x509.NewCertPool(), x509.NewCertPool()
			roots.AddCert(c.Root.Cert)
			mid.AddCert(c.Issuing.Cert)
			_, err := id.Leaf().Verify(x509.VerifyOptions{
				Roots:         roots,
				Intermediates: mid,
				CurrentTime:   now,
				KeyUsages:     []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
			})
			if err != nil {
				t.Fatal(err)
			}

			if got := c.Root.Cert.CRLDistributionPoints; !slices.Equal(got, []string{"http://localhost/root.crl"}) {
				t.Errorf("the root's distribution points: %q", got)
			}
			if got := c.Issuing.Cert.IssuingCertificateURL; !slices.Equal(got, []string{"http://localhost/root.cer"}) {
				t.Errorf("the issuing CA's AIA: %q", got)
			}
			if len(id.Chain) != 2 || SelfSigned(id.Chain[1]) {
				t.Errorf("the chain must be leaf and issuing CA without the root, has %d certificates", len(id.Chain))
			}
		})
	}
}

func TestRawURIsKeepEveryByte(t *testing.T) {
	// Covers: case 324, D-17: '#' and odd bytes survive
	c := testCommunity(t, P256)
	uris := []string{
		"https://a.test/x#T-TREAT", "https://a.test/%7Eb/../c", "HTTPS://A.TEST/",
		"urn:oid:1.2.3#T-IAS", "https://a.test/?q=1#",
	}
	tpl := leafTemplate(uris...)
	tpl.DNS, tpl.IPs, tpl.Emails = []string{"localhost"}, []net.IP{net.IPv4(127, 0, 0,
		1), net.IPv6loopback}, []string{"x@a.test"}

	cert, err := c.Issuing.Issue(tpl, mustKey(t, P256).Public())
	if err != nil {
		t.Fatal(err)
	}
	got, err := RawURIs(cert)
	if err != nil || !slices.Equal(got, uris) {
		t.Errorf("got %q (%v), want %q", got, err, uris)
	}

	if len(cert.DNSNames) != 1 || len(cert.IPAddresses) != 2 || len(cert.EmailAddresses) != 1 {
		t.Errorf("other names: %v %v %v", cert.DNSNames, cert.IPAddresses, cert.EmailAddresses)
	}
	if len(cert.ExtKeyUsage) != 1 || cert.ExtKeyUsage[0] != x509.ExtKeyUsageServerAuth {
		t.Errorf("a certificate with DNS names must be for servers, is for %v", cert.ExtKeyUsage)
	}
}

func TestIssueDERWritesWhatGoRefuses(t *testing.T) {
	c := testCommunity(t, P256)
	pub := mustKey(t, P256).Public()
	bad := leafTemplate("https://a.test/\x7f%zz")
	der, err := c.Issuing.IssueDER(bad, pub)
	if err != nil || !bytes.Contains(der, []byte("https://a.test/\x7f%zz")) {
		t.Fatalf("the SAN is not in the certificate (%v)", err)
	}
	if _, err := c.Issuing.Issue(bad, pub); err == nil {
		t.Error("Issue returned a certificate that it cannot have read")
	}
}

func TestTemplateNeedsDates(t *testing.T) {
	c := testCommunity(t, P256)
	if _, err := c.Issuing.Issue(Template{
		CommonName: "x",
	}, mustKey(t, P256).Public()); err == nil || !strings.Contains(err.Error(), "NotBefore") {
		t.Errorf("no complaint about the dates: %v", err)
	}

	if _, err := (&CA{Cert: c.Root.Cert}).Issue(leafTemplate(), mustKey(t, P256).Public()); err == nil {
		t.Error("an authority without a key issued")
	}
	if _, err := NewKey("rsa1"); err == nil || !strings.Contains(err.Error(), "known:") {
		t.Errorf("unknown kind: %v", err)
	}
}

func TestSubjectlessSANIsCritical(t *testing.T) {
	// RFC 5280 4.1.2.6.
	c := testCommunity(t, P256)
	tpl := leafTemplate("https://a.test/")
	tpl.CommonName = ""
	cert, err := c.Issuing.Issue(tpl, mustKey(t, P256).Public())
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(cert.Extensions, func(e pkixExtension) bool { return e.Id.Equal(oidSAN) })
	if i < 0 || !cert.Extensions[i].Critical {
		t.Error("the SAN of a certificate without subject must be critical")
	}
}

func TestMutate(t *testing.T) {
	c := testCommunity(t, P256)
	tpl := leafTemplate()
	tpl.Mutate = func(x *x509.Certificate) { x.IsCA, x.SerialNumber = true, big.NewInt(7) }
	cert, err := c.Issuing.Issue(tpl, mustKey(t, P256).Public())
	if err != nil || !cert.IsCA || cert.SerialNumber.Int64() != 7 {
		t.Errorf("the mutation is not in the certificate: %v", err)
	}
}

func TestLists(t *testing.T) {
	c := testCommunity(t, RSA2048)
	first, err := c.Issuing.NextCRL(nil, now, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	l1, err := ParseCRL(first)
	if err != nil {
		t.Fatal(err)
	}

	add := RevokedEntry{Serial: big.NewInt(99), Time: now, Reason: 1}
	second, err := c.Issuing.NextCRL(l1, now.Add(time.Minute), time.Hour, add, add)
	if err != nil {
		t.Fatal(err)
	}
	l2, err := ParseCRL(pemCRL(second))
	if err != nil {
		t.Fatal(err)
	}

	if err := l2.CheckSignatureFrom(c.Issuing.Cert); err != nil {
		t.Error(err)
	}
	if l1.Number.Int64() != 1 || l2.Number.Int64() != 2 || len(l2.RevokedCertificateEntries) != 1 ||
		l2.RevokedCertificateEntries[0].ReasonCode != 1 {
		t.Errorf("numbers %v, %v; entries %v", l1.Number, l2.Number, l2.RevokedCertificateEntries)
	}
	if !l2.NextUpdate.Equal(now.Add(time.Minute + time.Hour)) {
		t.Errorf("next update %v", l2.NextUpdate)
	}

	third, err := c.Issuing.NextCRL(l2, now, time.Hour, add)
	if err != nil {
		t.Fatal(err)
	}
	l3, err := ParseCRL(third)
	if err != nil || len(l3.RevokedCertificateEntries) != 1 || l3.Number.Int64() != 3 {
		t.Errorf("entries doubled or number wrong: %v (%v)", l3, err)
	}

	if _, err := c.Root.NextCRL(l2, now, time.Hour); err == nil {
		t.Error("the root continued the issuing CA's list")
	}
	if _, err := ParseCRL(append(pemCRL(second), "junk"...)); err == nil {
		t.Error("a list with text after it was read")
	}
}

func TestPKCS12(t *testing.T) {
	// Covers: case 324, D-19
	for _, kind := range []KeyKind{RSA2048, P256} {
		id := testIdentity(t, testCommunity(t, kind), kind, "https://client1.test/app#x")
		for _, legacy := range []bool{false, true} {
			data, err := id.PKCS12("secret", legacy)
			if err != nil {
				t.Fatal(err)
			}
			got, err := ParsePKCS12(data, "secret")
			if err != nil {
				t.Fatal(err)
			}

			if len(got.Chain) != 2 || !got.Chain[0].Equal(id.Chain[0]) || !SameKey(got.Key.Public(), id.Key.Public()) {
				t.Errorf("%s legacy=%v: chain of %d", kind, legacy, len(got.Chain))
			}
			if _, err := ParsePKCS12(data, "wrong"); err == nil || !strings.Contains(err.Error(), "password is wrong") {
				t.Errorf("wrong password: %v", err)
			}
		}
	}

	if _, err := ParsePKCS12([]byte("junk"), ""); err == nil {
		t.Error("junk was read")
	}
}

func TestIdentityCheck(t *testing.T) {
	// Covers: case 324, D-11
	c := testCommunity(t, P256)
	good := testIdentity(t, c, P256, "https://a.test")
	other := testIdentity(t, c, P256, "https://b.test")
	foreign := testCommunity(t, P256)
	tests := []struct {
		name, want string
		id         *Identity
	}{
		{"good", "", good},
		{"no key", "no private key", &Identity{Chain: good.Chain}},
		{"no certificate", "no certificate", &Identity{Key: good.Key}},
		{"other key", "does not belong", &Identity{Chain: good.Chain, Key: other.Key}},
		{
			"reversed",
			"put the leaf first",
			&Identity{Chain: []*x509.Certificate{good.Chain[1], good.Chain[0]}, Key: good.Key},
		},
		{
			"gap",
			"was not issued by",
			&Identity{Chain: []*x509.Certificate{good.Chain[0], foreign.Issuing.Cert}, Key: good.Key},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := tt.id.Check()
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%s: got %v, want %q", tt.name, err, tt.want)
			}
		})
	}
}

func TestFilesAreAtomicAndPrivate(t *testing.T) {
	// Covers: case 323
	dir := t.TempDir()
	victim, target := filepath.Join(dir, "victim"), filepath.Join(dir, "key.pem")
	if err := os.WriteFile(victim, []byte("untouched"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(victim, target); err != nil {
		t.Fatal(err)
	}

	if err := WriteFile(target, []byte("secret"), ModeSecret); err != nil {
		t.Fatal(err)
	}
	if got, _ := os.ReadFile(victim); string(got) != "untouched" {
		t.Error("a planted symlink was followed")
	}
	st, err := os.Lstat(target)
	if err != nil || !st.Mode().IsRegular() || st.Mode().Perm() != 0o600 {
		t.Errorf("%v (%v)", st, err)
	}

	if err := WriteFile(filepath.Join(dir, "missing", "x"), nil, ModePublic); err == nil {
		t.Error("wrote into a directory that is not there")
	}
	if left, _ := filepath.Glob(filepath.Join(dir, ".*.tmp")); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

func TestExposedKey(t *testing.T) {
	// Covers: case 322
	dir := t.TempDir()
	file, link := filepath.Join(dir, "a.key"), filepath.Join(dir, "b.key")
	if err := WriteFile(file, []byte("k"), ModeSecret); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(file, link); err != nil {
		t.Fatal(err)
	}

	if got := ExposedKey(link); got != "" {
		t.Errorf("0600: %q", got)
	}

	for _, mode := range []os.FileMode{0o644, 0o640} {
		if err := os.Chmod(file, mode); err != nil {
			t.Fatal(err)
		}

		for _, path := range []string{file, link} {
			if got := ExposedKey(path); !strings.Contains(got, "chmod 600") {
				t.Errorf("%v %s: %q", mode, path, got)
			}
		}
	}
}
