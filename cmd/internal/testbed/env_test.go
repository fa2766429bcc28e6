package testbed

import (
	"crypto/x509"
	"encoding/json"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"fhirdest.example/certs"
	"fhirdest.example/cmd/internal/supervise"
	"fhirdest.example/cmd/internal/yamlfile"
	"fhirdest.example/gateway/complaint"
	"fhirdest.example/server"
)

// testEnv makes an environment in dir, with ports of its own.
func testEnv(t *testing.T, dir string, before map[string]string, edit func(*Config, map[string]string)) *Env {
	t.Helper()
	o, address := Config{Host: "localhost", Patients: 3}, map[string]string{}
	for _, role := range Roles {
		address[role] = "127.0.0.1:0"
	}
	if edit != nil {
		edit(&o, address)
	}

	ps, err := supervise.Open(address, before)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(ps.Close)
	w := &Env{Dir: dir, Host: o.Host, Ports: ps, Now: time.Now()}
	if err := w.Make(o); err != nil {
		t.Fatal(err)
	}

	if err := w.writeConfigs(o.Patients); err != nil {
		t.Fatal(err)
	}
	return w
}

func TestEnv(t *testing.T) {
	w := testEnv(t, t.TempDir(), nil, nil)
	t.Run("the manifest has the keys of the design", func(t *testing.T) { hasKeys(t, w) })
	t.Run("the manifest tells the truth", func(t *testing.T) { tellsTruth(t, w) })
	t.Run("the destination accepts its configuration", func(t *testing.T) {
		if err := configFaults(w); err != nil {
			t.Error(err)
		}
	})
}

func hasKeys(t *testing.T, w *Env) {
	if err := w.Manifest().Write(w.Dir); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(w.path(ManifestName))
	if err != nil {
		t.Fatal(err)
	}
	var m map[string]any
	if err := json.Unmarshal(data, &m); err != nil {
		t.Fatal(err)
	}

	keys := func(v any) string { return strings.Join(slices.Sorted(maps.Keys(v.(map[string]any))), " ") }
	first := func(name string) any { return m[name].([]any)[0] }
	for name, got := range map[string]string{
		"addresses admin auditor clients communities configs evidence gateways idp lab privateBase publicBase tlsCA users version": keys(m),
		"crl delegate idp private public":              keys(m["addresses"]),
		"anchor crl issuer name uri":                   keys(first("communities")),
		"cert key":                                     keys(first("communities").(map[string]any)["issuer"]),
		"chain community key name p12 p12Password uri": keys(first("clients")),
		"fhirUser password patient username":           keys(first("users")),
		"community delegate destination gateway idp":   keys(m["configs"]),
	} {
		if got != name {
			t.Errorf("keys %q, want %q", got, name)
		}
	}

	if m["version"] != 1.0 || m["publicBase"] != "https://localhost:"+w.Ports.Number("public")+"/acme/fhir" ||
		m["privateBase"] != "https://destination.localhost:"+w.Ports.Number("private")+"/acme/fhir" {
		t.Errorf("%v %v %v", m["version"], m["publicBase"], m["privateBase"])
	}
	if !slices.Equal(EvidenceFiles, []string{
		"destination.jsonl",
		"gateway.jsonl",
		"delegate.jsonl",
		"originator.jsonl",
	}) {
		t.Errorf("evidence %v", EvidenceFiles)
	}

	if st, err := os.Stat(w.path(ManifestName)); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("the manifest holds passwords: %v %v", st.Mode(), err)
	}
}

func tellsTruth(t *testing.T, w *Env) {
	m := w.Manifest()
	read := func(name string) []*x509.Certificate {
		t.Helper()
		list, err := certs.LoadCertificates(filepath.Join(w.Dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return list
	}
	if read(m.Communities[0].Anchor)[0].Equal(read(m.Communities[1].Anchor)[0]) {
		t.Error("the first two communities have one anchor")
	}

	byURI := map[string]Community{}
	for _, c := range m.Communities {
		byURI[c.URI] = c
		anchor := read(c.Anchor)
		if len(anchor) != 1 || !certs.SelfSigned(anchor[0]) || len(anchor[0].CRLDistributionPoints) != 1 {
			t.Errorf("%s: the anchor is not one root with a distribution point", c.URI)
		}
		ca, err := certs.LoadCA(w.path(c.Issuer.Cert), w.path(c.Issuer.Key))
		if err != nil || ca.Cert.CheckSignatureFrom(anchor[0]) != nil {
			t.Errorf("%s: issuer.cert does not begin with the signing CA: %v", c.URI, err)
		}

		if keyPEM, _ := os.ReadFile(w.path(c.Issuer.Key)); !strings.HasPrefix(string(keyPEM),
			"-----BEGIN PRIVATE KEY-----") {
			t.Errorf("%s: the key is not PKCS#8", c.URI)
		}
		l, err := certs.LoadCRL(filepath.Join(w.Dir, filepath.Base(c.CRL)))
		if err != nil || l.CheckSignatureFrom(ca.Cert) != nil ||
			!strings.HasPrefix(c.CRL, "http://localhost:"+w.Ports.Number("crl")+"/") {
			t.Errorf("%s: %s is not where the list stands: %v", c.URI, c.CRL, err)
		}
	}

	kinds := map[string]int{}
	for _, c := range m.Clients {
		id, err := certs.LoadIdentity(w.path(c.Chain), w.path(c.Key))
		if err != nil {
			t.Fatal(err)
		}
		uris, err := certs.RawURIs(id.Leaf())
		if err != nil || !slices.Equal(uris, []string{c.URI}) {
			t.Errorf("%s: SAN %q %v", c.Name, uris, err)
		}

		if got := id.Leaf().CRLDistributionPoints; !slices.Equal(got, []string{byURI[c.Community].CRL}) {
			t.Errorf("%s: distribution points %q, manifest %q", c.Name, got, byURI[c.Community].CRL)
		}
		p12, err := certs.LoadPKCS12(w.path(c.P12), c.P12Password)
		if err != nil || !p12.Leaf().Equal(id.Leaf()) {
			t.Errorf("%s: %v", c.Name, err)
		}
		kinds[c.Community+" "+id.Leaf().PublicKeyAlgorithm.String()]++
	}

	for _, want := range []string{
		CommunityA + " RSA",
		CommunityA + " ECDSA",
		CommunityB + " RSA",
		CommunityB + " ECDSA",
	} {
		if kinds[want] == 0 {
			t.Errorf("no client of %s", want)
		}
	}

	if m.Communities[2].URI != "urn:oid:2.16.840.1.113883.3.7204.1.5" ||
		!slices.ContainsFunc(m.Clients, func(c Client) bool {
			return strings.HasSuffix(c.URI, "#T-TREAT")
		}) {
		t.Error("no mock of TEFCA with SAN fragments") // D-48
	}
}

func configFaults(w *Env) error {
	var c server.Config
	if err := yamlfile.Read(w.path("destination.yaml"), &c); err != nil {
		return err
	}
	c.Dir = w.Dir
	letGo(w.Ports)
	return c.Check(time.Now())
}

// letGo lets others listen, and keeps the ports from who would take any.
func letGo(ps supervise.Ports) {
	for _, p := range ps {
		_ = p.Release() // nothing was served on it
	}
}

func TestDirectoryIsUsedAgain(t *testing.T) {
	dir := t.TempDir()
	one := testEnv(t, dir, nil, nil)
	before := addresses(one.Ports)
	clientBefore := mustRead(t, one.path("clients", "a-rsa.pem"))
	rootBefore, tlsBefore := mustRead(t, one.path("a-root.pem")), mustRead(t, one.path("tls", "ca.pem"))
	serverBefore, gatewayBefore := mustRead(t, one.path("server", "a.pem")), mustRead(t, one.path("tls", "gateway.key"))
	letGo(one.Ports)

	two := testEnv(t, dir, before, nil)
	if !maps.Equal(addresses(two.Ports), before) {
		t.Errorf("ports %v, were %v", addresses(two.Ports), before)
	}
	same := func(name, was string, want bool) {
		t.Helper()
		if got := mustRead(t, two.path(filepath.FromSlash(name))); (got == was) != want {
			t.Errorf("%s unchanged: %v, want %v", name, got == was, want)
		}
	}
	same("clients/a-rsa.pem", clientBefore, true)

	same("a-root.pem", rootBefore, true)
	same("tls/ca.pem", tlsBefore, true)
	same("server/a.pem", serverBefore, false)
	same("tls/gateway.key", gatewayBefore, false)

	// With another address for the lists, certificates name it, and keys stay.
	keyBefore := mustRead(t, two.path("clients", "a-rsa.key"))
	two.Ports.Close()
	three := testEnv(t, dir, nil, nil)
	id, err := certs.LoadIdentity(three.path("clients", "a-rsa.pem"), three.path("clients", "a-rsa.key"))
	if err != nil {
		t.Fatal(err)
	}
	if three.Ports.Number("crl") != two.Ports.Number("crl") {
		if got := id.Leaf().CRLDistributionPoints[0]; got != three.listsBase()+"/a.crl" {
			t.Errorf("distribution point %s, lists stand at %s", got, three.listsBase())
		}
	}

	if mustRead(t, three.path("clients", "a-rsa.key")) != keyBefore {
		t.Error("the client has another key")
	}
	if l, err := certs.LoadCRL(three.path("a.crl")); err != nil || l.Number.Int64() < 3 {
		t.Errorf("the list's number went back: %v", err)
	}
}

func mustRead(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestHostInNames(t *testing.T) {
	w := testEnv(t, t.TempDir(), nil, func(o *Config, _ map[string]string) { o.Host = "lab.example" })
	if w.publicBase() != "https://lab.example:"+w.Ports.Number("public")+"/acme/fhir" ||
		w.name("delegate") != "delegate.lab.example" {
		t.Errorf("%s %s", w.publicBase(), w.name("delegate"))
	}
	id, err := certs.LoadIdentity(w.path("tls", "gateway.pem"), w.path("tls", "gateway.key"))
	if err != nil || id.Leaf().VerifyHostname("lab.example") != nil || id.Leaf().VerifyHostname("localhost") != nil ||
		id.Leaf().VerifyHostname("127.0.0.1") != nil {
		t.Errorf("%v %v", id.Leaf().DNSNames, err)
	}

	ip := &Env{Host: "10.1.2.3"}
	if ip.name("destination") != "destination.localhost" {
		t.Error(ip.name("destination"))
	}
}

// Whatever the public host is, an IP address included, each listener's
// certificate is good for its own name and for no other's.
func TestListenersNamesAreTheirOwn(t *testing.T) {
	// Covers: ER-09, ER-10
	for _, host := range []string{"localhost", "lab.example", "127.0.0.1", "10.1.2.3", "::1"} {
		w := &Env{Dir: t.TempDir(), Host: host, Now: time.Now()}
		if err := errors.Join(os.Mkdir(w.path("tls"), 0o700), w.makeTLS()); err != nil {
			t.Fatal(err)
		}
		names := map[string]string{
			"gateway":     host,
			"delegate":    w.name("delegate"),
			"destination": w.name("destination"),
		}
		for actor := range names {
			id, err := certs.LoadIdentity(w.path("tls", actor+".pem"), w.path("tls", actor+".key"))
			if err != nil {
				t.Fatal(err)
			}

			for other, name := range names {
				if err := id.Leaf().VerifyHostname(name); (err == nil) != (other == actor) {
					t.Errorf("host %s: the certificate of the %s for %s: %v", host, actor, name, err)
				}
			}
		}
	}
}

func TestForeignCommunityIsTakenIn(t *testing.T) {
	theirs, err := certs.NewCommunity(certs.CommunityPlan{
		Name:      "Theirs",
		Key:       certs.P256,
		NotBefore: time.Now().Add(-time.Hour),
		Life:      time.Hour * 99,
	})
	if err != nil {
		t.Fatal(err)
	}

	anchor := filepath.Join(t.TempDir(), "their.pem")
	if err := certs.WriteCertificates(anchor, theirs.Root.Cert); err != nil {
		t.Fatal(err)
	}
	w := testEnv(t, t.TempDir(), nil, func(o *Config, _ map[string]string) {
		o.Trust = []Foreign{{"urn:example:theirs", anchor}}
	})
	if err := configFaults(w); err != nil {
		t.Error(err)
	}

	if text := mustRead(t, w.path("destination.yaml")); !strings.Contains(text, "uri: 'urn:example:theirs'") {
		t.Error(text)
	}
}

// addresses returns the address of each role.
func addresses(ps supervise.Ports) map[string]string {
	out := map[string]string{}
	for role, p := range ps {
		out[role] = p.Address
	}
	return out
}

func TestProgramsThatCannotBeBuilt(t *testing.T) {
	err := unbuilt(errors.New("no Go here"))
	if c := (*complaint.Complaint)(nil); !errors.As(err, &c) ||
		!strings.Contains(c.Remedy, "go build -o bin/ ./cmd/...") ||
		!strings.Contains(c.Problem, "cannot be built here: no Go here") {
		t.Errorf("%v", err)
	}
}
