package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"fhirdest.example/certs"
	"fhirdest.example/scripts/process"
)

const (
	community = "urn:oid:2.16.840.1.113883.3.9999.1"
	host      = "fhir.test"
	base      = "https://" + host + "/acme/fhir"
	tokenURL  = "https://" + host + "/acme/oauth/token"
)

// env is what all destinations have in common.
type env struct {
	options
	dir      string
	members  *certs.Community
	key      certKey // of every client and of TLS: making keys is no part of this
	lists    *http.Server
	listsURL string
	roots    *x509.CertPool // of TLS
	sides    []*side
}

// side is a destination of one size.
type side struct {
	*env
	dir                      string
	registrations, resources int
	patients                 int
	address, admin           string
	process                  *process.Process
	token                    string // for all resources
	deep                     string // target of a page far behind
	http                     *http.Client
}

// name returns the name of the side by what a case is about.
func (s *side) name(of int) string {
	switch {
	case of >= 1e6 && of%1e6 == 0:
		return fmt.Sprintf("%d,000,000", of/1e6)
	case of >= 1000 && of%1000 == 0:
		return fmt.Sprintf("%d,000", of/1000)
	}
	return fmt.Sprint(of)
}

func newEnv(o options) (e *env, err error) {
	e = &env{
		options: o,
		dir:     o.dir,
		roots:   x509.NewCertPool(),
	}
	if e.dir == "" {
		if e.dir, err = os.MkdirTemp("", "growthbench"); err != nil {
			return e, err
		}
	} else if err := os.MkdirAll(e.dir, 0o700); err != nil {
		return e, err
	}

	return e, e.certify()
}

// close ends everything, and removes the populations unless they are to be kept.
func (e *env) close() error {
	for _, s := range e.sides {
		if s.process != nil {
			s.process.Kill()
		}
	}

	if e.lists != nil {
		_ = e.lists.Close() // nobody asks any more
	}
	if e.options.dir != "" {
		return nil
	}

	return os.RemoveAll(e.dir)
}

func (e *env) path(name string) string { return filepath.Join(e.dir, name) }

// dates are those of all certificates.
func dates(t certs.Template) certs.Template {
	t.NotBefore = time.Now().Add(-time.Hour)
	if t.NotAfter.IsZero() {
		t.NotAfter = time.Now().AddDate(1, 0, 0)
	}
	return t
}

// issue makes a certificate for the key that all have.
func (e *env) issue(ca *certs.CA, t certs.Template) (*certs.Identity, error) {
	leaf, err := ca.Issue(dates(t), e.key.Public())
	if err != nil {
		return nil, err
	}
	return &certs.Identity{
		Chain: ca.Chain(leaf),
		Key:   e.key,
	}, nil
}

// member makes a certificate of a member of the community.
func (e *env) member(uri string, until time.Time) (*certs.Identity, error) {
	return e.issue(e.members.Issuing, certs.Template{
		CommonName: uri,
		URIs:       []string{uri},
		CRL:        []string{e.listsURL + "/members.crl"},
		NotAfter:   until,
	})
}

// certify makes the trust community, its lists, and what TLS needs.
func (e *env) certify() error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}

	e.listsURL = "http://" + l.Addr().String()
	if e.key, err = certs.NewKey(certs.P256); err != nil {
		return err
	}

	e.members, err = certs.NewCommunity(certs.CommunityPlan{
		Name:      "Growth",
		Key:       certs.P256,
		NotBefore: time.Now().Add(-time.Hour),
		Life:      5 * 365 * 24 * time.Hour,
		RootCRL:   e.listsURL + "/root.crl",
	})
	if err != nil {
		return err
	}
	if e.lists, err = process.ServeLists(l, e.members); err != nil {
		return err
	}

	root, err := certs.NewRoot(dates(certs.Template{CommonName: "TLS"}), e.key)
	if err != nil {
		return err
	}

	e.roots.AddCert(root.Cert)
	pair, err := e.issue(root, certs.Template{
		CommonName: host,
		DNS:        []string{host},
	})
	if err != nil {
		return err
	}

	own, err := e.own()
	if err != nil {
		return err
	}

	return errors.Join(
		certs.WriteIdentity(e.path("tls.pem"), e.path("tls.key"), pair),
		certs.WriteIdentity(e.path("own.pem"), e.path("own.key"), own),
		certs.WriteCertificates(e.path("anchor.pem"), e.members.Root.Cert),
	)
}

// own makes the certificate that the destinations sign their metadata with: RSA, as the
// guide demands.
func (e *env) own() (*certs.Identity, error) {
	key, err := certs.NewKey(certs.RSA2048)
	if err != nil {
		return nil, err
	}
	of := *e
	of.key = key
	return of.member(base, time.Time{})
}

const configuration = `public: %[1]s
private: %[1]s
listen: %[2]s
tls: {cert: %[5]s/tls.pem, key: %[5]s/tls.key}
admin: {listen: %[3]s, open: true}
data: '%[4]s'
explain: client
writable: true
patients: 0
revocation: {refresh: 1m, allow: ['%[6]s']}
communities:
  - uri: '%[7]s'
    name: Growth
    anchors: [%[5]s/anchor.pem]
    certificates: [{chain: %[5]s/own.pem, key: %[5]s/own.key}]
`

// start starts the destination. Each time it has other addresses.
func (s *side) start() (err error) {
	if s.address, err = freeAddress(); err != nil {
		return err
	}
	if s.admin, err = freeAddress(); err != nil {
		return err
	}

	config := s.path("destination.yaml")
	text := fmt.Sprintf(configuration, base, s.address, s.admin, s.path("data"), s.env.dir, s.listsURL, community)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return err
	}

	s.process, err = process.Start(s.path("log"), s.program, "-config", config)
	return err
}

func (s *side) path(name string) string { return filepath.Join(s.dir, name) }

func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

// dial returns a connection to the destination.
func (s *side) dial(ctx context.Context) (net.Conn, error) {
	d := tls.Dialer{Config: &tls.Config{
		RootCAs:    s.roots,
		ServerName: host,
		NextProtos: []string{"http/1.1"},
		MinVersion: tls.VersionTLS13,
	}}
	return d.DialContext(ctx, "tcp", s.address)
}
