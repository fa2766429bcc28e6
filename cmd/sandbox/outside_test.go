package main

import (
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"fhirdest.example/certs"
	"fhirdest.example/cmd/internal/supervise"
	"fhirdest.example/cmd/internal/testbed"
)

// opensslCA is what OpenSSL needs to know to be a community: extensions of each
// kind of certificate, and where its lists stand.
const opensslCA = `
[req]
distinguished_name = dn
[dn]
[root]
basicConstraints = critical, CA:true
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
[issuing]
basicConstraints = critical, CA:true, pathlen:0
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
crlDistributionPoints = URI:LISTS/root.crl
[leaf]
basicConstraints = critical, CA:false
keyUsage = critical, digitalSignature
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
crlDistributionPoints = URI:LISTS/issuing.crl
subjectAltName = ${ENV::SAN}
[ca]
default_ca = lists
[lists]
database = index.txt
crlnumber = number
default_md = sha256
default_crl_days = 1
crl_extensions = list
[list]
authorityKeyIdentifier = keyid
`

// noSAN stands where a certificate has none: the file wants some value.
const noSAN = "URI:urn:none"

// opensslCommunity is a directory in which OpenSSL is a trust community whose
// lists are served from there.
type opensslCommunity struct {
	t   *testing.T
	dir string
}

func newOpenSSLCommunity(t *testing.T) opensslCommunity {
	t.Helper()
	c := opensslCommunity{t, t.TempDir()}
	lists := httptest.NewServer(http.FileServer(http.Dir(c.dir)))
	t.Cleanup(lists.Close)

	for name, text := range map[string]string{
		"ca.cnf":    strings.ReplaceAll(opensslCA, "LISTS", lists.URL),
		"index.txt": "",
		"number":    "01\n",
		"password":  "of the outside\n",
	} {
		if err := os.WriteFile(filepath.Join(c.dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}

	c.run(noSAN,
		"req -x509 -newkey rsa:2048 -nodes -keyout root.key -out root.pem -days 30 -subj /CN=Outside.Root -config ca.cnf -extensions root")
	c.certify("issuing", "rsa:2048", "root", "issuing", noSAN)
	c.run(noSAN, "ca -gencrl -config ca.cnf -keyfile root.key -cert root.pem -out root.crl")
	c.run(noSAN, "ca -gencrl -config ca.cnf -keyfile issuing.key -cert issuing.pem -out issuing.crl")

	return c
}

// run runs one OpenSSL command; san is what the SAN of a leaf would be.
func (c opensslCommunity) run(san, command string) {
	c.t.Helper()
	cmd := exec.Command("openssl", strings.Fields(command)...)
	cmd.Dir, cmd.Env = c.dir, append(os.Environ(), "SAN="+san)
	if out, err := cmd.CombinedOutput(); err != nil {
		c.t.Fatalf("openssl %s: %v\n%s", command, err, out)
	}
}

// certify makes NAME.key and NAME.pem, signed by a CA.
func (c opensslCommunity) certify(name, key, ca, extensions, san string) {
	c.t.Helper()
	c.run(san,
		fmt.Sprintf("req -new -newkey %s -nodes -keyout %s.key -out %s.csr -subj /CN=Outside.%s -config ca.cnf", key,
			name, name, name))
	c.run(san,
		fmt.Sprintf("x509 -req -in %s.csr -CA %s.pem -CAkey %s.key -CAcreateserial -days 20 -extfile ca.cnf -extensions %s -out %s.pem", name, ca, ca, extensions, name))
}

// identity makes NAME.p12 with a certificate for a URI and returns it.
func (c opensslCommunity) identity(name, key, uri string) *certs.Identity {
	c.t.Helper()
	c.certify(name, key, "issuing", "leaf", "URI:"+uri)
	c.run(noSAN,
		fmt.Sprintf("pkcs12 -export -inkey %s.key -in %s.pem -certfile issuing.pem -passout file:password -out %s.p12",
			name, name, name))
	id, err := certs.LoadPKCS12(c.file(name+".p12"), "of the outside")
	if err != nil {
		c.t.Fatal(err)
	}
	return id
}

func (c opensslCommunity) file(name string) string { return filepath.Join(c.dir, name) }

// An operator who was given an anchor and a certificate by a community that
// knows nothing but OpenSSL has a destination that serves its members, and a
// sheet to hand to them.
//
// Covers: D-49
func TestCommunityMadeByOpenSSL(t *testing.T) {
	ownTemp(t)
	public := heldAddress(t)
	theirs := newOpenSSLCommunity(t)
	base := "https://localhost" + public[strings.LastIndexByte(public, ':'):] + "/acme/fhir"
	theirs.identity("ours", "rsa:2048", base)
	const uri = "urn:example:outside"
	_, d := bedAt(t, testbed.Config{
		Trust:            []testbed.Foreign{{URI: uri, Anchor: theirs.file("root.pem")}},
		Identities:       []string{theirs.file("ours.p12")},
		IdentityPassword: theirs.file("password"),
	}, map[string]string{"public": public}, nil)

	entry := testbed.Community{URI: uri, Anchor: theirs.file("root.pem"), CRL: listOf(t, theirs.file("ca.cnf"))}
	d.manifest.Communities = append(d.manifest.Communities, entry)
	if err := d.loadTrust(); err != nil {
		t.Fatal(err)
	}

	for name, key := range map[string]string{"rsa": "rsa:2048", "ec": "ec -pkeyopt ec_paramgen_curve:P-256"} {
		p := &party{uri: "https://" + name + ".outside.example/app"}
		p.identity = theirs.identity(name, key, p.uri)
		var err error
		if p.client, err = d.newClient(entry, p, "public", ""); err != nil {
			t.Fatal(err)
		}
		j, err := d.join(t.Context(), p)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}

		tok, err := d.askToken(t.Context(), p.client, j.found, j.reg.ClientID, "system/Patient.rs")
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if got, err := d.get(t.Context(), p.client, "Patient?_count=1", tok.Access); err != nil ||
			got.Reply.Status != 200 {
			t.Errorf("%s: reading: %v", name, err)
		}
	}

	anchor, err := certs.LoadCertificates(theirs.file("root.pem"))
	if err != nil {
		t.Fatal(err)
	}
	sheet := fetchText(t, d.manifest.Admin+"/sheet")

	for _, want := range []string{
		"FHIR base       " + base + "\n", "Community       " + uri +
			"\n", "Anchor          CN=Outside.Root\n", "SAN URIs      " + base + "\n",
		"  SHA-256       " + strings.ReplaceAll(fmt.Sprintf("% X", sha256.Sum256(anchor[0].Raw)), " ", ":") + "\n",
	} {
		if !strings.Contains(sheet, want) {
			t.Errorf("the sheet lacks %q:\n%s", want, sheet)
		}
	}
}

// heldAddress is an address at which nobody listens, and which nobody else gets:
// the base URL must be known before a certificate for it can be made.
func heldAddress(t *testing.T) string {
	t.Helper()
	p, err := supervise.OpenOne("127.0.0.1:0", "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	if err := p.Release(); err != nil {
		t.Fatal(err)
	}
	return p.Address
}

// listOf is the distribution point of leaves in an OpenSSL configuration.
func listOf(t *testing.T, config string) string {
	t.Helper()
	for _, line := range strings.Split(mustRead(t, config), "\n") {
		if at, ok := strings.CutPrefix(line, "crlDistributionPoints = URI:"); ok &&
			strings.HasSuffix(at, "issuing.crl") {
			return at
		}
	}
	t.Fatal("no distribution point")
	return ""
}

func fetchText(t *testing.T, url string) string {
	t.Helper()
	res, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()

	b, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != 200 {
		t.Fatalf("%s: %s %v", url, res.Status, err)
	}
	return string(b)
}
