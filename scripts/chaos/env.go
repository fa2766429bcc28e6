package main

import (
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"fhirdest.example/certs"
	"fhirdest.example/scripts/process"
	"fhirdest.example/server/people/users"
	"fhirdest.example/server/postgres"
	"fhirdest.example/server/postgres/local"
	"fhirdest.example/udap"
)

const (
	community = "urn:oid:2.16.840.1.113883.3.9999.1"
	host      = "fhir.test"
	inside    = "destination.test"
	base      = "https://" + host + "/acme/fhir"

	issuer       = "https://" + host + "/acme/oauth"
	registerURL  = issuer + "/register"
	tokenURL     = issuer + "/token"
	revokeURL    = issuer + "/revoke"
	authorizeURL = issuer + "/authorize"
	grantsURL    = issuer + "/grants"

	username = "doctor"
	password = "correct horse battery staple"
)

// env is two destinations on one PostgreSQL, behind one gateway.
type env struct {
	dir      string
	programs string // directory of the binaries
	lists    *http.Server
	listsURL string
	members  *certs.Community
	tls      *certs.CA
	roots    *x509.CertPool // of TLS

	database     *local.Server
	databasePort int
	destinations [2]*destination
	gateway      *process.Process
	address      string // of the gateway
	admin        string
}

// destination is one of the two.
type destination struct {
	name    string
	address string
	admin   string
	link    *link // to PostgreSQL
	config  string
	process *process.Process
}

// newEnv builds the programs, makes every file and starts everything.
func newEnv(ctx context.Context, dir string) (*env, error) {
	e := &env{
		dir:      dir,
		programs: filepath.Join(dir, "bin"),
		roots:    x509.NewCertPool(),
	}
	for _, step := range []func(context.Context) error{
		e.build,
		e.certify,
		e.startDatabase,
		e.migrate,
		e.prepareDestinations,
		e.startGateway,
	} {
		if err := step(ctx); err != nil {
			return e, err
		}
	}
	return e, nil
}

func (e *env) path(name string) string { return filepath.Join(e.dir, name) }

// build builds the programs that are to be killed, as they are.
func (e *env) build(ctx context.Context) error {
	c := exec.CommandContext(ctx, "go", "build", "-o", e.programs+string(filepath.Separator),
		"fhirdest.example/cmd/destination", "fhirdest.example/cmd/gateway")
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("go build: %w\n%s", err, out)
	}
	return nil
}

// dates are those of all certificates.
func dates(t certs.Template) certs.Template {
	t.NotBefore = time.Now().Add(-time.Hour)
	t.NotAfter = time.Now().AddDate(0, 6, 0)
	return t
}

// certify makes the trust community, its lists, and what TLS needs.
func (e *env) certify(context.Context) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	e.listsURL = "http://" + l.Addr().String()

	e.members, err = certs.NewCommunity(certs.CommunityPlan{
		Name:      "Chaos",
		Key:       certs.P256,
		NotBefore: time.Now().Add(-time.Hour),
		Life:      365 * 24 * time.Hour,
		RootCRL:   e.listsURL + "/root.crl",
	})
	if err != nil {
		return err
	}
	if e.lists, err = process.ServeLists(l, e.members); err != nil {
		return err
	}

	tlsKey, err := certs.NewKey(certs.P256)
	if err != nil {
		return err
	}
	e.tls, err = certs.NewRoot(dates(certs.Template{CommonName: "TLS"}), tlsKey)
	if err != nil {
		return err
	}
	e.roots.AddCert(e.tls.Cert)

	pair, err := issue(e.tls, certs.P256, certs.Template{
		CommonName: host,
		DNS:        []string{host, inside},
	})
	if err != nil {
		return err
	}
	own, err := e.member(certs.RSA2048, base)
	if err != nil {
		return err
	}

	return errors.Join(
		e.writeUsers(),
		certs.WriteIdentity(e.path("tls.pem"), e.path("tls.key"), pair),
		certs.WriteCertificates(e.path("tls-ca.pem"), e.tls.Cert),
		certs.WriteIdentity(e.path("own.pem"), e.path("own.key"), own),
		certs.WriteCertificates(e.path("anchor.pem"), e.members.Root.Cert),
	)
}

// writeUsers writes the file of those who can sign in.
func (e *env) writeUsers() error {
	hash, err := users.Hash(password)
	if err != nil {
		return err
	}
	return users.Write(e.path("users.json"), []users.User{{
		Username: username,
		Subject:  "subject-of-" + username,
		FHIRUser: "Practitioner/1",
		Password: hash,
	}})
}

// issue makes a key and a certificate.
func issue(ca *certs.CA, kind certs.KeyKind, t certs.Template) (*certs.Identity, error) {
	key, err := certs.NewKey(kind)
	if err != nil {
		return nil, err
	}
	return issueFor(ca, key, t)
}

func issueFor(ca *certs.CA, key crypto.Signer, t certs.Template) (*certs.Identity, error) {
	leaf, err := ca.Issue(dates(t), key.Public())
	if err != nil {
		return nil, err
	}
	return &certs.Identity{Chain: ca.Chain(leaf), Key: key}, nil
}

// member makes the identity of a member of the community.
func (e *env) member(kind certs.KeyKind, uri string) (*certs.Identity, error) {
	return issue(e.members.Issuing, kind, certs.Template{
		CommonName: uri,
		URIs:       []string{uri},
		CRL:        []string{e.listsURL + "/members.crl"},
	})
}

// verifier is what an originator trusts.
func (e *env) verifier(source udap.RevocationSource) *udap.Verifier {
	return &udap.Verifier{
		Revocation: source,
		Communities: []*udap.Community{{
			URI:     community,
			Anchors: []*x509.Certificate{e.members.Root.Cert},
		}},
	}
}

// tlsConfig is that of a client.
func (e *env) tlsConfig() *tls.Config {
	return &tls.Config{
		RootCAs:    e.roots,
		ServerName: host,
		NextProtos: []string{"http/1.1"},
	}
}

// startDatabase starts PostgreSQL on a port of the loopback interface. What it has
// acknowledged is on disk.
func (e *env) startDatabase(ctx context.Context) (err error) {
	if e.databasePort == 0 {
		if e.databasePort, err = freePort(); err != nil {
			return err
		}
	}
	e.database, err = local.Start(ctx, e.path("postgres"), local.Options{
		Port:    e.databasePort,
		Durable: true,
	})
	return err
}

func (e *env) migrate(ctx context.Context) error {
	_, err := postgres.Migrate(ctx, postgres.Config{URL: e.databaseURL(e.databaseAddress())})
	return err
}

func (e *env) databaseAddress() string { return fmt.Sprintf("127.0.0.1:%d", e.databasePort) }

func (e *env) databaseURL(address string) string {
	return "postgres://" + local.Account + "@" + address + "/postgres?sslmode=disable"
}

// freePort returns a port that nothing uses. No system gives it to another program while
// its own is killed: those that are given begin at 32768.
func freePort() (port int, err error) {
	for range 100 {
		port = 20_000 + rand.IntN(12_000)
		var l net.Listener
		if l, err = net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port)); err == nil {
			return port, l.Close()
		}
	}
	return 0, err
}

func freeAddress() (string, error) {
	port, err := freePort()
	return fmt.Sprintf("127.0.0.1:%d", port), err
}

const destinationYAML = `public: %[1]s
private: https://destination.test/acme/fhir
listen: %[2]s
tls: {cert: tls.pem, key: tls.key}
admin: {listen: %[3]s, open: true}
data: '%[4]s'
postgres: {name: %[5]s}
explain: client
writable: true
patients: 0
users: users.json
revocation: {refresh: 1m, allow: ['%[6]s']}
communities:
  - uri: '%[7]s'
    name: Chaos
    anchors: [anchor.pem]
    certificates: [{chain: own.pem, key: own.key}]
`

// prepareDestinations writes their configurations, each with a link of its own to
// PostgreSQL, and starts them.
func (e *env) prepareDestinations(context.Context) error {
	for i, name := range []string{"a", "b"} {
		d := &destination{
			name:   name,
			config: e.path(name + ".yaml"),
		}
		var errs [3]error
		d.address, errs[0] = freeAddress()
		d.admin, errs[1] = freeAddress()
		d.link, errs[2] = newLink(e.databaseAddress())
		if err := errors.Join(errs[:]...); err != nil {
			return err
		}
		e.destinations[i] = d

		text := fmt.Sprintf(destinationYAML, base, d.address, d.admin, e.databaseURL(d.link.address()),
			name, e.listsURL, community)
		if err := os.WriteFile(d.config, []byte(text), 0o600); err != nil {
			return err
		}
		if err := e.startDestination(d); err != nil {
			return err
		}
	}
	return nil
}

func (e *env) startDestination(d *destination) (err error) {
	d.process, err = process.Start(e.path(d.name+".log"), filepath.Join(e.programs, "destination"), "-config", d.config)
	return err
}

const gatewayYAML = `listen: %s
tls: [{cert: tls.pem, key: tls.key}]
admin: {listen: %s}
evidence: {file: gateway.jsonl}
routes:
  - name: acme
    hosts: [fhir.test]
    prefixes: [/acme, /.well-known/oauth-authorization-server/acme]
    next: https://destination.test
    dial: [%s]
    ca: tls-ca.pem
timeouts: {connect: 5s, retry: 500ms}
`

func (e *env) startGateway(context.Context) (err error) {
	if e.address, err = freeAddress(); err != nil {
		return err
	}
	if e.admin, err = freeAddress(); err != nil {
		return err
	}

	dial := []string{e.destinations[0].address, e.destinations[1].address}
	text := fmt.Sprintf(gatewayYAML, e.address, e.admin, strings.Join(dial, ", "))
	if err := os.WriteFile(e.path("gateway.yaml"), []byte(text), 0o600); err != nil {
		return err
	}
	e.gateway, err = process.Start(e.path("gateway.log"), filepath.Join(e.programs, "gateway"),
		"-config", e.path("gateway.yaml"))
	return err
}

// close ends everything.
func (e *env) close() {
	if e.gateway != nil {
		e.gateway.Kill()
	}
	for _, d := range e.destinations {
		if d != nil && d.process != nil {
			d.process.Kill()
		}
		if d != nil {
			d.link.close()
		}
	}
	if e.database != nil {
		_ = e.database.Kill() // nothing of it is needed
	}
	if e.lists != nil {
		e.lists.Close()
	}
}
