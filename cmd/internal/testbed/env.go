package testbed

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"fhirdest.example/certs"
	"fhirdest.example/certs/netname"
	"fhirdest.example/cmd/internal/authority"
	"fhirdest.example/cmd/internal/supervise"
	"fhirdest.example/gateway/complaint"
)

// The sandbox's own communities. The first two are ordinary; the third looks
// like TEFCA's, so that its SAN fragments can be rehearsed without real
// certificates; the rules of the fourth are those of the guide's first edition; the last is that
// of the identity provider, in which the destination is a client.
const (
	CommunityA        = "urn:example:sandbox:community-a"
	CommunityB        = "urn:example:sandbox:community-b"
	CommunityTEFCA    = "urn:oid:2.16.840.1.113883.3.7204.1.5"
	CommunityEdition1 = "urn:example:sandbox:edition-1"
	CommunityIDP      = "urn:example:sandbox:identity"
)

// plannedCommunity is a community that the sandbox makes.
type plannedCommunity struct {
	file, URI, name, profile string
	key                      certs.KeyKind
}

// Communities are those that the test bed makes.
var Communities = []plannedCommunity{
	{"a", CommunityA, "Sandbox Community A", "ssraa-2", certs.RSA2048},
	{"b", CommunityB, "Sandbox Community B", "ssraa-2", certs.P256},
	{"tefca", CommunityTEFCA, "TEFCA (mock)", "tefca", certs.RSA2048},
	{"edition1", CommunityEdition1, "Sandbox Community, edition 1", "ssraa-1", certs.RSA2048},
	{"idp", CommunityIDP, "Sandbox Identity Federation", "ssraa-2", certs.RSA2048},
}

// member is a client of the manifest.
type member struct {
	name, community, URI string
	key                  certs.KeyKind
	legacy               bool // its PKCS#12 is in the old encryption
}

var members = []member{
	{"a-rsa", CommunityA, "https://a-rsa.client.example/app", certs.RSA2048, false},
	{"a-ec", CommunityA, "https://a-ec.client.example/app", certs.P256, false},
	{"b-rsa", CommunityB, "https://b-rsa.client.example/app", certs.RSA2048, true},
	{"b-ec", CommunityB, "https://b-ec.client.example/app", certs.P256, false},
	{
		"tefca-treat", CommunityTEFCA, "https://qhin.client.example/app#T-TREAT", certs.RSA2048,
		false,
	},
	{"tefca-ias", CommunityTEFCA, "https://qhin.client.example/app#T-IAS", certs.P256, false},
	{
		"edition1-rsa", CommunityEdition1, "https://edition1-rsa.client.example/app",
		certs.RSA2048, true,
	},
	{
		"edition1-ec", CommunityEdition1, "https://edition1-ec.client.example/app", certs.P256,
		false,
	},
}

// auditor may read the audit records of all.
var auditor = member{
	"auditor", CommunityA, "https://auditor.client.example/app", certs.P256, false,
}

// p12Password opens every PKCS#12 file of the manifest; it protects nothing, as
// the same keys stand beside it in PEM.
const p12Password = "sandbox"

// serverLife is how long TLS and server certificates are good: they are issued
// anew at each start.
const serverLife = 90 * 24 * time.Hour

// Env is a directory with all that actors need: keys, certificates, CRLs and configurations.
type Env struct {
	Dir         string
	Host        string
	Ports       supervise.Ports
	Now         time.Time
	authorities map[string]*authority.Authority // by URI
	foreign     []foreignEntry
	database    string // URL of that of two destinations; empty: there is one, with files
}

type foreignEntry struct {
	URI, Anchor, identity, passwordFile string   // paths below dir; identity may be empty
	lists                               []string // origins of its lists
}

func (w *Env) path(parts ...string) string {
	return filepath.Join(append([]string{w.Dir}, parts...)...)
}

// origin is https:// with a host and the port of a role.
func (w *Env) origin(host, role string) string {
	if w.Ports.Number(role) == "443" {
		return "https://" + host
	}
	return "https://" + net.JoinHostPort(host, w.Ports.Number(role))
}

// site is the path below which the destination's servers stand.
const site = "/acme"

func (w *Env) publicOrigin() string {
	return w.origin(w.Host, "public")
}
func (w *Env) publicBase() string {
	return w.publicOrigin() + site + "/fhir"
}
func (w *Env) delegateOrigin() string {
	return w.origin(w.name("delegate"), "delegate")
}
func (w *Env) privateOrigin() string {
	return w.origin(w.name("destination"), "private")
}
func (w *Env) privateBase() string {
	return w.privateOrigin() + site + "/fhir"
}
func (w *Env) listsBase() string {
	return "http://" + net.JoinHostPort(w.Host, w.Ports.Number("crl"))
}

// name is the private name of an actor. An IP address has no names below it.
func (w *Env) name(actor string) string {
	if net.ParseIP(w.Host) != nil {
		return actor + ".localhost"
	}
	return actor + "." + w.Host
}

// Make creates what is missing in the directory, and everything that names a port anew.
func (w *Env) Make(o Config) error {
	for _, sub := range []string{"tls", "server", "clients", "data", "trusted"} {
		if err := os.MkdirAll(w.path(sub), 0o700); err != nil {
			return err
		}
	}

	if err := w.makeCommunities(); err != nil {
		return err
	}
	return errors.Join(
		w.makeTLS(),
		w.makeClients(),
		w.makeIDP(),
		w.makePeople(),
		w.takeForeign(o),
	)
}

// makeCommunities opens or makes each community, moves it when the address of the CRLs
// is another than before, and renews CRLs that are half over.
func (w *Env) makeCommunities() error {
	w.authorities = map[string]*authority.Authority{}
	for _, p := range Communities {
		a, err := w.community(p)
		if err != nil {
			return fmt.Errorf("community %s: %w", p.URI, err)
		}

		w.authorities[p.URI] = a
		if err := w.makeServerCertificate(p); err != nil {
			return err
		}
	}

	return nil
}

func (w *Env) community(p plannedCommunity) (*authority.Authority, error) {
	prefix, about := w.path(p.file), authority.About{
		URI:  p.URI,
		Name: p.name,
		Base: w.listsBase(),
	}
	if !authority.Exists(prefix) {
		return authority.Create(prefix, about, p.key, w.Now)
	}

	a, err := authority.Open(prefix)
	if err != nil {
		return nil, err
	}
	if a.Base != about.Base {
		return authority.Create(prefix, about, p.key, w.Now)
	}

	return a, a.Renew(w.Now, authority.ListLife)
}

// makeServerCertificate issues the destination's certificate in a community:
// RSA, as signed metadata must be RS256, with the public base as its SAN.
func (w *Env) makeServerCertificate(p plannedCommunity) error {
	return w.issueServer(p, w.path("server", p.file), w.publicBase())
}

// issueServer issues a server's certificate in a community for its base URL.
func (w *Env) issueServer(p plannedCommunity, path, base string) error {
	return w.issue(w.authorities[p.URI], path, certs.RSA2048, certs.Template{
		CommonName:   "Sandbox Destination",
		Organization: p.name,
		URIs:         []string{base},
		NotBefore:    w.Now.Add(-time.Hour),
		NotAfter:     w.Now.Add(serverLife),
	})
}

// issue makes a member's certificate with the key at path, or a new one.
func (w *Env) issue(
	a *authority.Authority, path string, kind certs.KeyKind, t certs.Template,
) error {
	key, err := certs.LoadKey(path + ".key")
	if errors.Is(err, os.ErrNotExist) {
		key, err = certs.NewKey(kind)
	}
	if err != nil {
		return err
	}

	_, err = a.Issue(t, key.Public(), func(chain []*x509.Certificate) error {
		return certs.WriteIdentity(path+".pem", path+".key", &certs.Identity{
			Chain: chain,
			Key:   key,
		})
	})
	return err
}

// makeTLS keeps the CA of the web servers' certificates, which no community
// has to do with, and issues their certificates anew.
func (w *Env) makeTLS() error {
	for _, actor := range []string{"gateway", "delegate", "destination", "idp"} {
		if err := w.makeTLSAt(actor, w.path("tls", actor)); err != nil {
			return err
		}
	}
	return nil
}

// makeTLSAt issues the certificate of one actor's listener, with a new key, to files
// whose names begin with path.
func (w *Env) makeTLSAt(actor, path string) error {
	ca, err := w.tlsCA()
	if err != nil {
		return err
	}

	names := []string{w.name(actor)}
	if public(actor) {
		names = []string{"localhost"}
		if net.ParseIP(w.Host) == nil && w.Host != "localhost" {
			names = []string{w.Host, "localhost"}
		}
	}

	return w.issueTLS(ca, actor, names, path)
}

func (w *Env) tlsCA() (*certs.CA, error) {
	ca, err := certs.LoadCA(w.path("tls", "ca.pem"), w.path("tls", "ca.key"))
	if err == nil || !errors.Is(err, os.ErrNotExist) {
		return ca, err
	}

	key, err := certs.NewKey(certs.P256)
	if err != nil {
		return nil, err
	}

	ca, err = certs.NewRoot(certs.Template{
		CommonName: "Sandbox TLS CA",
		NotBefore:  w.Now.Add(-time.Hour),
		NotAfter:   w.Now.AddDate(10, 0, 0),
	}, key)
	if err != nil {
		return nil, err
	}

	id := &certs.Identity{
		Chain: []*x509.Certificate{ca.Cert},
		Key:   key,
	}
	return ca, certs.WriteIdentity(w.path("tls", "ca.pem"), w.path("tls", "ca.key"), id)
}

// issueTLS writes a TLS certificate with a new key to PATH.pem and PATH.key.
func (w *Env) issueTLS(ca *certs.CA, actor string, names []string, path string) error {
	key, err := certs.NewKey(certs.P256)
	if err != nil {
		return err
	}

	t := certs.Template{
		CommonName: names[0], DNS: names, IPs: w.addresses(actor),
		NotBefore: w.Now.Add(-time.Hour), NotAfter: w.Now.Add(serverLife),
	}
	leaf, err := ca.Issue(t, key.Public())
	if err != nil {
		return err
	}

	id := &certs.Identity{
		Chain: ca.Chain(leaf),
		Key:   key,
	}
	return certs.WriteIdentity(path+".pem", path+".key", id)
}

// public reports whether people and clients know an actor by the public name.
func public(actor string) bool {
	return actor == "gateway" || actor == "idp"
}

// addresses are the IP addresses that an actor may be called by: those with the public
// name only, since any could be the host of their base URL.
func (w *Env) addresses(actor string) []net.IP {
	if !public(actor) {
		return nil
	}
	ips := []net.IP{net.IPv4(127, 0, 0, 1)}
	if ip := net.ParseIP(w.Host); ip != nil && !ip.Equal(ips[0]) {
		ips = append(ips, ip)
	}
	return ips
}

// makeClients issues to the clients of the manifest. Their keys are kept; the
// certificates are issued again only when they name another list or end soon.
func (w *Env) makeClients() error {
	for _, m := range append([]member{auditor}, members...) {
		a, path := w.authorities[m.community], w.path("clients", m.name)
		if old, err := certs.LoadIdentity(path+".pem", path+".key"); err == nil &&
			w.current(a, old.Leaf()) {
			continue
		}

		err := w.issue(a, path, m.key, certs.Template{
			CommonName: m.name, Organization: "Sandbox Client", URIs: []string{m.URI},
			NotBefore: w.Now.Add(-time.Hour), NotAfter: w.Now.AddDate(1, 0, 0),
		})
		if err != nil {
			return fmt.Errorf("client %s: %w", m.name, err)
		}
		if err := writeP12(path, m.legacy); err != nil {
			return fmt.Errorf("client %s: %w", m.name, err)
		}
	}

	return nil
}

func (w *Env) current(a *authority.Authority, leaf *x509.Certificate) bool {
	return len(leaf.CRLDistributionPoints) == 1 && leaf.CRLDistributionPoints[0] == a.URL(".crl") &&
		leaf.CheckSignatureFrom(a.Issuing.Cert) == nil && leaf.NotAfter.Sub(w.Now) > 30*24*time.Hour
}

func writeP12(path string, legacy bool) error {
	id, err := certs.LoadIdentity(path+".pem", path+".key")
	if err != nil {
		return err
	}

	data, err := id.PKCS12(p12Password, legacy)
	if err != nil {
		return err
	}
	return certs.WriteFile(path+".p12", data, certs.ModeSecret)
}

// takeForeign copies the anchors and identities of communities from outside, so
// that the directory is whole by itself.
func (w *Env) takeForeign(o Config) error {
	for i, t := range o.Trust {
		f := foreignEntry{
			URI:    t.URI,
			Anchor: fmt.Sprintf("trusted/%d.pem", i),
		}
		anchors, err := certs.LoadCertificates(t.Anchor)
		if err != nil {
			return err
		}
		if err := certs.WriteCertificates(w.path(f.Anchor), anchors...); err != nil {
			return err
		}

		f.addLists(anchors)
		if i < len(o.Identities) {
			if err := w.takeIdentity(&f, i, o); err != nil {
				return err
			}
		}

		w.foreign = append(w.foreign, f)
	}

	return nil
}

// takeIdentity copies our certificate in a community from outside.
func (w *Env) takeIdentity(f *foreignEntry, i int, o Config) error {
	password := ""
	if o.IdentityPassword != "" {
		data, err := os.ReadFile(o.IdentityPassword)
		if err != nil {
			return err
		}

		line, _, _ := strings.Cut(string(data), "\n")
		password = strings.TrimSuffix(line, "\r")
		f.passwordFile = fmt.Sprintf("trusted/%d.password", i)
		if err := copySecret(o.IdentityPassword, w.path(f.passwordFile)); err != nil {
			return err
		}
	}

	id, err := certs.LoadPKCS12(o.Identities[i], password)
	if err != nil {
		return complaint.New(
			"-identity: "+err.Error(),
			"name a PKCS#12 file, and with -identity-password-file the file whose first line opens it",
		)
	}

	f.addLists(id.Chain)
	f.identity = fmt.Sprintf("trusted/%d.p12", i)
	return copySecret(o.Identities[i], w.path(f.identity))
}

// addLists allows the places that the certificates which we were handed name
// for lists: at a connectathon these are often private addresses.
func (f *foreignEntry) addLists(list []*x509.Certificate) {
	for _, c := range list {
		for _, u := range c.CRLDistributionPoints {
			if o := netname.Origin(u); o != "" && !slices.Contains(f.lists, o) {
				f.lists = append(f.lists, o)
			}
		}
	}
}

func copySecret(from, to string) error {
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return certs.WriteFile(to, data, certs.ModeSecret)
}

// HostOf returns the host and port of a URL.
func HostOf(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return ""
	}
	return u.Host
}
