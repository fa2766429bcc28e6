package server

import (
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"fhirdest.example/certs"
	"fhirdest.example/certs/disk"
	"fhirdest.example/gateway/complaint"
	"fhirdest.example/server/lab"
	"fhirdest.example/server/people/users"
	"fhirdest.example/udap"
	"fhirdest.example/udap/fetch"
	"fhirdest.example/udap/trace"
)

// material is what the files named in a configuration hold.
type material struct {
	tls         *certs.Identity
	clientCAs   *x509.CertPool // nil: callers need no certificate
	communities []*member
	idps        []idp
	users       *users.Directory // nil: nobody can sign in
	lists       []fetch.Configured
	lab         []lab.Issuer
	labTLS      []*x509.Certificate // authorities of the public site's TLS
	warnings    []string            // what was accepted by policy and should be looked at
	labFaulty   *certs.CA           // of listeners with faulty TLS; nil: there is none
}

// member is a community and what this destination holds in it: nothing where
// it only trusts the community's members, else at least one RSA key.
type member struct {
	udap *udap.Community
	own  []*certs.Identity
}

// loader reads files, gathering what is wrong and going on.
type loader struct {
	cfg Config // with defaults
	now time.Time
	complaint.List
	warnings []string
}

// load reads every file that the configuration names. The material is whole
// only when there are no complaints.
func (c Config) load(now time.Time) (*material, error) {
	l := &loader{
		cfg: c,
		now: now,
	}
	m := &material{}
	m.tls = l.tlsIdentity()
	m.clientCAs = l.pool("tls.clientCA", c.TLS.ClientCA)
	l.trust(m)
	return m, l.Err()
}

// loadTrust reads the files of the communities only.
func (c Config) loadTrust(now time.Time) (*material, error) {
	l := &loader{
		cfg: c,
		now: now,
	}
	m := &material{}
	l.trust(m)
	return m, l.Err()
}

func (l *loader) trust(m *material) {
	m.communities = l.members()
	m.idps = l.idps(m.communities)
	m.users = l.users()
	l.checkIDTokenKeys()
	if name := l.cfg.Postgres.PasswordFile; name != "" {
		l.private("postgres.passwordFile", name)
	}
	l.collectors()
	m.lab = l.lab(m.communities)
	m.labTLS = l.labTLS()
	m.labFaulty = l.labAuthority()
	for i, c := range l.cfg.Communities {
		m.lists = append(m.lists, l.lists(fmt.Sprintf("communities[%d]", i), c)...)
	}
	m.warnings = l.warnings
}

// members reads the files of every trust community.
func (l *loader) members() []*member {
	var out []*member
	anchors := map[string]int{}
	for i, cc := range l.cfg.Communities {
		at := fmt.Sprintf("communities[%d]", i)
		m := l.member(at, cc)
		if !cc.SharedAnchors {
			l.shared(at, i, m.udap.Anchors, anchors)
		}
		out = append(out, m)
	}

	return out
}

// CheckFiles checks the files that the configuration names: part of
// Check, for programs that write a configuration. now dates certificates.
func (c Config) CheckFiles(now time.Time) error {
	_, err := c.withDefaults().load(now)
	return err
}

func (l *loader) tlsIdentity() *certs.Identity {
	id := l.pair("tls", l.cfg.TLS.Cert, l.cfg.TLS.Key)
	if id == nil {
		return nil
	}

	l.dates("tls.cert", l.cfg.TLS.Cert, id.Leaf())
	u, err := url.Parse(l.cfg.Private)
	if err == nil && id.Leaf().VerifyHostname(u.Hostname()) != nil {
		l.Add("use a certificate for that name: the next hop checks it (exchange routing: each hop's certificate "+
			"names its "+
			"own private URL)", "tls.cert: %s is not valid for %s, the host of private; it names %s",
			l.cfg.TLS.Cert, u.Hostname(), hostNames(id.Leaf()))
	}

	return id
}

func hostNames(c *x509.Certificate) string {
	names := slices.Clone(c.DNSNames)
	for _, ip := range c.IPAddresses {
		names = append(names, ip.String())
	}
	return orNone(names)
}

func orNone(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}

func (l *loader) member(at string, c Community) *member {
	policy := c.policy(new(complaint.List), at) // checkSite has complained
	policy.AIA = c.AIA
	policy.Reserved = labReserved(l.cfg)
	m := &member{udap: &udap.Community{
		URI:    trace.CommunityURI(c.URI),
		Name:   c.Name,
		Policy: policy,
	}}
	or(&m.udap.Name, c.URI)

	for i, f := range c.Anchors {
		m.udap.Anchors = append(m.udap.Anchors, l.anchors(fmt.Sprintf("%s.anchors[%d]", at, i), f)...)
	}

	for i, f := range c.Intermediates {
		m.udap.Intermediates = append(m.udap.Intermediates,
			l.authorities(fmt.Sprintf("%s.intermediates[%d]", at, i), f)...)
	}

	for i, o := range c.Certificates {
		where := fmt.Sprintf("%s.certificates[%d]", at, i)
		if id := l.own(where, o, m.udap); id != nil {
			m.own = append(m.own, id)
			m.udap.Intermediates = append(m.udap.Intermediates, between(id.Chain, m.udap)...)
		}
	}

	if len(m.own) == len(c.Certificates) && len(m.own) > 0 && !slices.ContainsFunc(m.own, hasRSA) {
		l.Add("add one with an RSA key of 2048 bits or more",
			"%s.certificates: none has an RSA key, and signed metadata must be RS256 (UDAP Security 2.0, 2.3)", at)
	}
	return m
}

// between is the CAs of a chain of ours that are not known yet. Originators of
// the same issuers often send their leaf alone, and their paths can be built
// without a fetch; a CA that is known is not trusted for that.
func between(chain []*x509.Certificate, c *udap.Community) []*x509.Certificate {
	var out []*x509.Certificate
	for _, ca := range chain[1:] {
		if ca.IsCA && !slices.ContainsFunc(slices.Concat(out, c.Anchors, c.Intermediates), ca.Equal) {
			out = append(out, ca)
		}
	}
	return out
}

func hasRSA(id *certs.Identity) bool {
	_, ok := id.Leaf().PublicKey.(*rsa.PublicKey)
	return ok
}

// authorities reads a file of CA certificates that count now.
func (l *loader) authorities(at, name string) []*x509.Certificate {
	list, err := certs.LoadCertificates(l.cfg.file(name))
	if err != nil {
		l.unreadable(at, name, err, "name a PEM or DER file of CA certificates")
		return nil
	}

	for _, c := range list {
		l.dates(at, name, c)
		if !c.BasicConstraintsValid || !c.IsCA {
			l.Add("name the certificate of the authority that issues, not one that it issued",
				"%s: %s (%s) is not a CA", at, name, certs.Describe(c))
		}
	}

	return list
}

// anchors reads a file of CA certificates that package udap would trust.
func (l *loader) anchors(at, name string) []*x509.Certificate {
	before := len(l.List)
	list := l.authorities(at, name)
	for _, a := range list {
		if err := udap.CheckAnchor(a, l.now); err != nil && len(l.List) == before {
			l.Add("use the community's present root, with a key of RSA 2048, P-256 or better", "%s: %s: %v",
				at, name,
				err)
		}
	}

	return list
}

// shared complains about an anchor of two communities: a
// certificate under it would belong to whichever is configured first.
func (l *loader) shared(at string, i int, anchors []*x509.Certificate, seen map[string]int) {
	for _, a := range anchors {
		if first, twice := seen[string(a.Raw)]; twice && first != i {
			l.Add("remove it from one, or write sharedAnchors: true there: clients then belong to the first "+
				"unless they name the community that they mean",
				"%s.anchors: %s is an anchor of communities[%d] too", at, certs.Describe(a), first)
		} else {
			seen[string(a.Raw)] = i
		}
	}
}

// own reads a key pair of ours and checks that clients would accept it.
func (l *loader) own(at string, o Certificate, c *udap.Community) *certs.Identity {
	id, name := l.identity(at, o)
	if id == nil {
		return nil
	}

	leaf := id.Leaf()
	l.dates(at, name, leaf)
	l.names(at, name, leaf)
	if len(c.Anchors) > 0 && !leadsTo(id.Chain, c, l.now) {
		l.Add("name the chain that this community issued, or the community's own anchor; intermediates go behind the "+
			"leaf or under intermediates:",
			"%s: %s (%s) does not lead to an anchor of %s", at, name, certs.Describe(leaf), c.URI)
	}

	return id
}

// names complains unless the public base URL is a URI of the certificate's
// SAN, byte for byte: clients stop otherwise (UDAP Security 2.0, 2.3).
func (l *loader) names(at, name string, leaf *x509.Certificate) {
	uris, err := certs.RawURIs(leaf)
	if err != nil {
		l.Add("have it issued anew", "%s: the SAN of %s cannot be read: %v", at, name, err)
		return
	}
	if slices.Contains(uris, l.cfg.Public) {
		return
	}

	remedy := "have the community issue one with that URI in its SAN, or set public to the URL that it names"
	for _, u := range uris {
		if d := difference(l.cfg.Public, u); d != "" {
			remedy = fmt.Sprintf(
				"only the %s differs from %s: make them equal byte for byte",
				d,
				u,
			)
		}
	}

	l.Add(remedy, "%s: %s does not name the public base URL %s; the URIs of its SAN: %s", at, name,
		l.cfg.Public,
		orNone(uris))
}

// difference returns the single respect in which two URLs differ; empty when in none
// or in more.
func difference(a, b string) string {
	switch {
	case strings.TrimRight(a, "/") == strings.TrimRight(b, "/"):
		return "slash at the end"
	case strings.EqualFold(a, b):
		return "case of letters"
	}

	u, err1 := url.Parse(a)
	v, err2 := url.Parse(b)
	if err1 != nil || err2 != nil {
		return ""
	}

	switch {
	case u.Host == v.Host && u.Path == v.Path && u.Scheme != v.Scheme:
		return "scheme"
	case u.Hostname() == v.Hostname() && u.Path == v.Path && u.Scheme == v.Scheme:
		return "port"
	case u.Host == v.Host && u.Scheme == v.Scheme:
		return "path"
	}

	return ""
}

func leadsTo(chain []*x509.Certificate, c *udap.Community, now time.Time) bool {
	roots, between := x509.NewCertPool(), x509.NewCertPool()
	for _, a := range c.Anchors {
		roots.AddCert(a)
	}

	for _, i := range slices.Concat(chain[1:], c.Intermediates) {
		between.AddCert(i)
	}

	then := within(chain[0], now)
	_, err := chain[0].Verify(x509.VerifyOptions{
		Roots:         roots,
		Intermediates: between,
		CurrentTime:   then,
		KeyUsages:     []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	})
	// Go compares names byte for byte and knows no constraints on directory names:
	// what it refuses may be good (RFC 5280 7.1, 4.2.1.10).
	return err == nil || c.HasPath(chain, then)
}

// within is a moment at which c counts, so that an expired certificate is
// complained about once, as expired.
func within(c *x509.Certificate, now time.Time) time.Time {
	if now.After(c.NotAfter) || now.Before(c.NotBefore) {
		return c.NotAfter.Add(-time.Second)
	}
	return now
}

// identity reads the key pair o, and returns the name of the file to complain about.
func (l *loader) identity(at string, o Certificate) (*certs.Identity, string) {
	if o.P12 == "" {
		return l.pair(at, o.Chain, o.Key), o.Chain
	}

	password, ok := l.password(at, o.PasswordFile)
	if !ok || !l.private(at, o.P12) {
		return nil, o.P12
	}

	id, err := certs.LoadPKCS12(l.cfg.file(o.P12), password)
	if err == nil {
		err = id.Check()
	}
	if err != nil {
		l.unreadable(at+".p12", o.P12, err,
			"check the file, and that the first line of passwordFile is its password")
		return nil, o.P12
	}

	return id, o.P12
}

func (l *loader) pair(at, chain, key string) *certs.Identity {
	if chain == "" || key == "" {
		if at == "tls" {
			l.Add(
				"name the PEM files of the TLS certificate and its key",
				"tls: cert or key is not given",
			)
		}
		return nil
	}
	if !l.private(at, key) {
		return nil
	}

	id, err := certs.LoadIdentity(l.cfg.file(chain), l.cfg.file(key))
	if err != nil {
		l.unreadable(at, chain+" with "+key, err,
			"name the chain, leaf first, and the unencrypted private key of the leaf")
		return nil
	}

	return id
}

func (l *loader) password(at, name string) (string, bool) {
	if name == "" {
		return "", true
	}
	if !l.private(at+".passwordFile", name) {
		return "", false
	}

	data, err := os.ReadFile(l.cfg.file(name))
	if err != nil {
		l.unreadable(
			at+".passwordFile",
			name,
			err,
			"name a file whose first line is the password",
		)
		return "", false
	}

	first, _, _ := strings.Cut(string(data), "\n")
	return strings.TrimSuffix(first, "\r"), true
}

// private reports whether a secret file may be used: it belongs to this
// account or root, and nobody else may read it.
func (l *loader) private(at, name string) bool {
	path := l.cfg.file(name)
	why := certs.ExposedKey(path)
	if l.cfg.KeyFiles == "group" && disk.GroupOnly(path) {
		why = ""
	}
	if why == "" {
		why = foreign(path)
	}

	switch {
	case why == "":
		return true
	case l.cfg.KeyFiles == "warn":
		l.warnings = append(l.warnings, at+": "+why)
		return true
	}

	l.Add("run the command it names; keyFiles: group accepts a file that its group may read, keyFiles: warn any",
		"%s: %s", at, why)
	return false
}

// foreign describes a file that belongs to another account; it is empty for ours.
func foreign(path string) string {
	uid, foreign := disk.Foreign(path)
	if !foreign {
		return ""
	}
	return fmt.Sprintf(
		"%s belongs to another account (uid %d); chown it to the server's",
		path,
		uid,
	)
}

func (l *loader) pool(at, name string) *x509.CertPool {
	if name == "" {
		return nil
	}
	pool := x509.NewCertPool()
	for _, c := range l.authorities(at, name) {
		pool.AddCert(c)
	}
	return pool
}

func (l *loader) lists(at string, c Community) []fetch.Configured {
	var out []fetch.Configured
	for i, place := range c.Lists {
		if !strings.Contains(place, "://") {
			if st, err := os.Stat(l.cfg.file(place)); err != nil || !st.Mode().IsRegular() {
				l.unreadable(fmt.Sprintf("%s.lists[%d]", at, i), place, err,
					"name the file of a CRL, or its http URL")
				continue
			}
			place, _ = filepath.Abs(l.cfg.file(place))
		}

		out = append(out, fetch.Configured{
			Community: trace.CommunityURI(c.URI),
			Place:     place,
		})
	}

	return out
}

// dates complains about a certificate that does not count today.
func (l *loader) dates(at, name string, c *x509.Certificate) {
	switch {
	case l.now.After(c.NotAfter):
		l.Add("have it issued anew", "%s: %s (%s) expired on %s", at, name, certs.Describe(c),
			c.NotAfter.UTC().Format(time.RFC3339))
	case l.now.Before(c.NotBefore):
		l.Add("wait, or look at this machine's clock", "%s: %s (%s) counts only from %s on", at, name,
			certs.Describe(c), c.NotBefore.UTC().Format(time.RFC3339))
	}
}

func (l *loader) unreadable(at, name string, err error, remedy string) {
	if errors.Is(err, fs.ErrNotExist) {
		l.Add("correct the path: it starts at the directory of the configuration file; "+remedy,
			"%s: there is no file %s", at, missing(err, name))
		return
	}

	if err == nil {
		err = errors.New("is not a regular file")
	}
	l.Add(remedy, "%s: %v", at, err)
}

func missing(err error, name string) string {
	if pe := (*fs.PathError)(nil); errors.As(err, &pe) {
		return pe.Path
	}
	return name
}
