package main

import (
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"fhirdest.example/certs"
	"fhirdest.example/gateway/complaint"
	"fhirdest.example/udap"
	"fhirdest.example/udap/client"
	"fhirdest.example/udap/fetch"
	"fhirdest.example/udap/trace"
)

// prepare reads the session and makes one set of options out of it, the
// sandbox's manifest and the flags; flags win.
func (c *call) prepare() (err error) {
	if c.sandbox != "" {
		if err := c.fromSandbox(); err != nil {
			return err
		}
	}

	if c.Base != "" {
		base, community, err := client.ParseBase(c.Base)
		if err != nil {
			return complaint.New(
				strings.TrimPrefix(err.Error(), "client: "),
				"the FHIR base URL of the destination, for example https://localhost:8443/acme/fhir",
			)
		}

		c.Base = base
		if c.Community == "" {
			c.Community = string(community)
		}
	}

	if err := errors.Join(c.absolute(), c.absoluteAnchors()); err != nil {
		return err
	}
	if c.session, err = loadSession(c.options.session); err != nil {
		return err
	}

	c.session.recall(&c.remembered)
	if c.Base == "" && !c.readsFiles() {
		return complaint.New("no destination is named", "give its FHIR base URL (-base URL), or -sandbox DIR")
	}
	return nil
}

// anchor is one -anchor: a file, for every community or for one.
func splitAnchor(text string) (community, file string) {
	if i := strings.LastIndexByte(text, '='); i > 0 {
		return text[:i], text[i+1:]
	}
	return "", text
}

func (c *call) absoluteAnchors() error {
	for i, a := range c.Anchors {
		community, file := splitAnchor(a)
		abs, err := filepath.Abs(file)
		if err != nil {
			return err
		}

		if community != "" {
			abs = community + "=" + abs
		}
		c.Anchors[i] = abs
	}

	for i, l := range c.Lists {
		if strings.HasPrefix(l, "http://") || strings.HasPrefix(l, "https://") {
			continue
		}

		abs, err := filepath.Abs(l)
		if err != nil {
			return err
		}
		c.Lists[i] = abs
	}

	return nil
}

// open makes the originator that the options describe.
func (c *call) open() (*client.Client, error) {
	cfg, err := c.config()
	if err != nil {
		return nil, err
	}

	cl, err := client.New(cfg)
	if err != nil {
		return nil, complaint.New(
			strings.TrimPrefix(err.Error(), "client: "),
			"for a server under development at http://localhost, add -loopback-http",
		)
	}

	return cl, nil
}

// config reads what the options name; all that is wrong with files and flags is
// reported at once.
func (c *call) config() (cfg client.Config, err error) {
	var errs []error
	note := func(err error) {
		if err != nil {
			errs = append(errs, err)
		}
	}

	id, err := c.identity()
	note(err)
	communities, err := c.communities()
	note(err)
	roots, err := c.tlsRoots()
	note(err)
	lists, err := c.revocation(roots)
	note(err)

	wrap, err := c.tap()
	note(err)
	if len(errs) > 0 {
		return cfg, errors.Join(errs...)
	}

	cfg = client.Config{
		Base:      c.Base,
		Community: trace.CommunityURI(c.Community),
		ClientURI: trace.ClientURI(c.URI),
		Algorithm: c.Algorithm,
		Verifier: &udap.Verifier{
			Communities: communities,
			Revocation:  lists,
			Status:      lists,
			Issuers:     lists,
		},
		TLSRoots:     roots,
		Dial:         c.Connect,
		DialName:     c.ConnectName,
		Wrap:         wrap,
		Proofs:       c.proofs,
		LoopbackHTTP: c.LoopbackHTTP,
		Timeout:      c.timeout,
		Now:          c.now,
	}

	c.lists = lists
	if id != nil {
		cfg.Chain, cfg.Key = id.Chain, id.Key
	}
	return cfg, nil
}

func (c *call) identity() (*certs.Identity, error) {
	switch {
	case c.P12 != "" && c.Cert != "":
		return nil, complaint.New("both -p12 and -cert are given", "give one of them")
	case c.P12 != "":
		return c.pkcs12()
	case c.Cert != "" && c.Key == "":
		return nil, complaint.New("-cert is given without -key", "name the file of its private key")
	case c.Cert != "":
		id, err := certs.LoadIdentity(c.Cert, c.Key)
		if err != nil {
			return nil, complaint.New(err.Error(),
				"PEM: the leaf first, then its issuers; the key in a file of "+
					"its own")
		}

		return id, nil
	}

	return nil, nil
}

func (c *call) pkcs12() (*certs.Identity, error) {
	password := ""
	if c.P12Password != "" {
		data, err := os.ReadFile(c.P12Password)
		if err != nil {
			return nil, complaint.New(err.Error(), "-p12-password-file names the file that holds the password")
		}

		password, _, _ = strings.Cut(string(data), "\n")
		password = strings.TrimSuffix(password, "\r")
	}

	id, err := certs.LoadPKCS12(c.P12, password)
	switch {
	case errors.Is(err, certs.ErrPassword) && c.P12Password == "":
		return nil, complaint.New(err.Error(), "give the file that holds its password with -p12-password-file")
	case errors.Is(err, certs.ErrPassword):
		return nil, complaint.New(err.Error(), "the password is the first line of "+c.P12Password)
	case err != nil:
		return nil, complaint.New(err.Error(), "-p12 names a PKCS#12 file (.p12, .pfx) with a private key and "+
			"its certificate")
	}

	return id, nil
}

// communities are those of the anchors given; an anchor without a community
// is for the one asked for.
func (c *call) communities() ([]*udap.Community, error) {
	rule := udap.RevocationRule(c.Revocation)
	if c.Revocation == "required" {
		rule = udap.RevocationRequired
	}
	if rule != udap.RevocationRequired && rule != udap.RevocationSoft && rule != udap.RevocationOff {
		return nil, complaint.New(fmt.Sprintf("-revocation %q is not known", c.Revocation),
			"one of required, soft, off")
	}

	byURI := map[trace.CommunityURI]*udap.Community{}
	var out []*udap.Community
	for _, a := range c.Anchors {
		name, file := splitAnchor(a)
		if name == "" {
			name = c.Community
		}
		list, err := certs.LoadCertificates(file)
		if err != nil {
			return nil, complaint.New(
				err.Error(),
				"-anchor names a PEM file with the root certificate of a trust community",
			)
		}

		uri := trace.CommunityURI(name)
		if byURI[uri] == nil {
			byURI[uri] = &udap.Community{
				URI:  uri,
				Name: name,
				Policy: udap.Policy{
					Revocation: rule,
					AIA:        c.AIA,
				},
			}

			out = append(out, byURI[uri])
		}

		if err := addAnchors(byURI[uri], file, list); err != nil {
			return nil, err
		}
	}

	return out, nil
}

// addAnchors adds self-signed CAs as anchors and other CAs as intermediates.
func addAnchors(m *udap.Community, file string, list []*x509.Certificate) error {
	for _, c := range list {
		switch {
		case !c.IsCA:
			return complaint.New(
				fmt.Sprintf("%s: %s is no CA certificate", file, certs.Describe(c)),
				"an anchor is the root certificate of the community",
			)

		case certs.SelfSigned(c):
			m.Anchors = append(m.Anchors, c)
		default:
			m.Intermediates = append(m.Intermediates, c)
		}
	}

	if len(m.Anchors) == 0 {
		return complaint.New(
			file+": no certificate in it is self-signed",
			"an anchor is the root certificate of the community",
		)
	}

	return nil
}

func (c *call) tlsRoots() (*x509.CertPool, error) {
	if c.TLSCA == "" {
		return nil, nil
	}

	list, err := certs.LoadCertificates(c.TLSCA)
	if err != nil {
		return nil, complaint.New(err.Error(), "-tls-ca names a PEM file with the anchors of web servers")
	}

	pool := x509.NewCertPool()
	for _, cert := range list {
		pool.AddCert(cert)
	}

	return pool, nil
}

// revocation makes the source of CRLs. Servers of https CRLs are verified like
// every web server, against roots.
func (c *call) revocation(roots *x509.CertPool) (*fetch.Source, error) {
	cfg := fetch.Config{
		Allow: slices.Concat(c.Allow, c.AIA),
		Now:   c.now,
		Roots: roots,
	}

	for _, l := range c.Lists {
		cfg.Configured = append(cfg.Configured, fetch.Configured{Place: l})
	}

	s, err := fetch.New(cfg)
	if err != nil {
		return nil, complaint.New(
			strings.TrimPrefix(err.Error(), "fetch: "),
			"-allow and -aia take scheme://host:port, for example http://localhost:9481",
		)
	}

	return s, nil
}
