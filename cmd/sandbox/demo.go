package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/url"
	"path"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"fhirdest.example/certs"
	"fhirdest.example/certs/netname"
	"fhirdest.example/cmd/internal/supervise"
	"fhirdest.example/cmd/internal/testbed"
	"fhirdest.example/gateway/evidence"
	"fhirdest.example/gateway/wire"
	"fhirdest.example/udap"
	"fhirdest.example/udap/client"
	"fhirdest.example/udap/fetch"
	"fhirdest.example/udap/trace"
)

// originator is the demonstration's own originator: the clients that it makes,
// what they trust, and the record of what they sent.
type originator struct {
	dir      string
	manifest *testbed.Manifest
	now      func() time.Time
	run      string // distinguishes this run's client URIs from those of others

	verifier *udap.Verifier
	roots    *x509.CertPool // of web servers
	log      *evidence.Log  // its evidence

	clients int // made so far
	traces  []*trace.Trace

	mu       sync.Mutex      // guards the fields below
	straight map[string]bool // connections past the intermediaries, as the evidence names them
	asked    map[place]asked
}

// demo is one demonstration: an originator, and how the actors between it and
// the destination are observed.
type demo struct {
	originator

	marks      map[string]int64
	revokeTime time.Duration // how long a new CRL may take to count
	quietTime  time.Duration // without new evidence, after which it is complete
	settleTime time.Duration // how long expected evidence may take to come

	// What the demonstration does to the actors; it differs between actors of
	// its own and those that run already.
	replaceGateway  func(context.Context) (dial string, err error)
	gatewayPrograms []string // none when no gateway program can be read
	gatewayReason   string   // why there are none, or how they relate to this run
	newKey          func() (*client.Proofs, error)
	unwanted        string // the purpose of use that a patient denies
	auditorDial     string // empty: the public listener
	verifyAudit     verifier
	mistakenAud     func(*client.Discovery) string // of the assertion of the client that makes a mistake

	compared *comparison // nil until hops were compared

	// What one claim leaves for the next.
	main       *party
	discovery  *client.Discovery
	registered *client.Registered
	token      *client.Token
	patient    string
	body       []byte // of the patient, as first read
}

// party is a client of the demonstration.
type party struct {
	uri      string
	identity *certs.Identity
	client   *client.Client
}

func newDemo(dir string, m *testbed.Manifest, now func() time.Time) (*demo, error) {
	d := &demo{
		originator: originator{
			dir:      dir,
			manifest: m,
			now:      now,
			run:      runID(),
			straight: map[string]bool{},
			asked:    map[place]asked{},
		},
		revokeTime: time.Minute,
		quietTime:  restTime,
		settleTime: settleTime,
		newKey:     client.NewProofs,
		unwanted:   "HMARKT",

		verifyAudit: verifyAudit,
		mistakenAud: func(found *client.Discovery) string { return found.Base },
	}
	if err := d.loadTrust(); err != nil {
		return nil, err
	}

	var err error
	if d.marks, err = d.sizes(); err != nil {
		return nil, err
	}

	d.log, err = evidence.Open(
		d.file(m.Evidence[3]),
		"originator",
		evidence.Options{Now: now},
	)
	return d, err
}

func (d *originator) close() error { return d.log.Close() }

func runID() string {
	var b [6]byte
	_, _ = rand.Read(b[:]) // crypto/rand.Read never fails (Go 1.24)
	return hex.EncodeToString(b[:])
}

// file is the path of a file that the manifest names.
func (d *originator) file(name string) string {
	if name = filepath.FromSlash(name); filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(d.dir, name)
}

// loadTrust reads what an originator is given: the anchors of its communities,
// and apart from them the anchor of web servers.
func (d *originator) loadTrust() error {
	d.verifier = &udap.Verifier{}
	for _, c := range d.manifest.Communities {
		anchors, err := certs.LoadCertificates(d.file(c.Anchor))
		if err != nil {
			return err
		}
		d.verifier.Communities = append(d.verifier.Communities, &udap.Community{
			URI:     trace.CommunityURI(c.URI),
			Name:    c.Name,
			Anchors: anchors,
		})
	}

	source, err := fetch.New(fetch.Config{
		Allow:   d.listOrigins(),
		Refresh: time.Second,
		Now:     d.now,
	})
	if err != nil {
		return err
	}

	d.verifier.Revocation = source
	web, err := certs.LoadCertificates(d.file(d.manifest.TLSCA))
	if err != nil {
		return err
	}

	d.roots = x509.NewCertPool()
	for _, c := range web {
		d.roots.AddCert(c)
	}

	return nil
}

// listOrigins are where the communities' lists stand; on this machine, mostly.
func (d *originator) listOrigins() []string {
	var out []string
	for _, c := range d.manifest.Communities {
		if o := netname.Origin(c.CRL); o != "" && !slices.Contains(out, o) {
			out = append(out, o)
		}
	}
	return out
}

// newParty mints a certificate for a URI from a community's issuer and makes a
// client with it that connects to the given listener.
func (d *originator) newParty(
	c testbed.Community, name string, kind certs.KeyKind,
) (*party, error) {
	return d.partyFor(c, "https://originator.example/"+d.run+"/"+name, kind)
}

func (d *originator) partyFor(
	c testbed.Community, uri string, kind certs.KeyKind,
) (*party, error) {
	id, err := d.mint(c, uri, kind)
	if err != nil {
		return nil, err
	}
	p := &party{
		uri:      uri,
		identity: id,
	}
	p.client, err = d.newClient(c, p, "public", "")
	return p, err
}

func (d *originator) mint(
	c testbed.Community, uri string, kind certs.KeyKind,
) (*certs.Identity, error) {
	ca, err := certs.LoadCA(d.file(c.Issuer.Cert), d.file(c.Issuer.Key))
	if err != nil {
		return nil, err
	}

	key, err := certs.NewKey(kind)
	if err != nil {
		return nil, err
	}

	leaf, err := ca.Issue(certs.Template{
		CommonName: "Sandbox Originator", URIs: []string{uri}, CRL: []string{c.CRL},
		NotBefore: d.now().Add(-time.Minute), NotAfter: d.now().Add(24 * time.Hour),
	}, key.Public())
	if err != nil {
		return nil, err
	}

	return &certs.Identity{
		Chain: ca.Chain(leaf),
		Key:   key,
	}, nil
}

// newClient makes the originator's client. It asks for the public URLs whatever
// it dials: role says which listener that is, dial another address.
func (d *originator) newClient(
	c testbed.Community, p *party, role, dial string,
) (*client.Client, error) {
	return client.New(d.clientConfig(c, p, role, dial))
}

func (d *originator) clientConfig(
	c testbed.Community, p *party, role, dial string,
) client.Config {
	d.clients++
	cfg := client.Config{
		Base: d.manifest.PublicBase, Community: trace.CommunityURI(c.URI),
		Chain: p.identity.Chain, Key: p.identity.Key, ClientURI: trace.ClientURI(p.uri),
		Verifier: d.verifier, TLSRoots: d.roots, Now: d.now, Timeout: time.Minute,
		Dial: cmp.Or(dial, supervise.Dialable(d.manifest.Addresses[role])), Wrap: d.tap,
		UserAgent: fmt.Sprintf("sandbox/%s-%d", d.run, d.clients), // so that no two clients' requests are alike
	}

	if role == "private" {
		cfg.DialName, cfg.Wrap = d.privateName(), d.tapStraight
	}
	return cfg
}

// privateName is the name under which the destination's listener is known.
func (d *originator) privateName() string {
	u, err := url.Parse(d.manifest.PrivateBase)
	if err != nil {
		return ""
	}
	return u.Hostname()
}

// tap writes the originator's evidence of one connection, and notes what is asked for.
func (d *originator) tap(conn net.Conn) net.Conn {
	id := d.log.ConnID()
	return d.ask(id, wire.Client(conn, id, d.now, d.log.Tap))
}

// tapStraight is tap for a connection past the intermediaries.
func (d *originator) tapStraight(conn net.Conn) net.Conn {
	id := d.log.ConnID()
	d.mu.Lock()
	defer d.mu.Unlock()

	d.straight[id] = true
	return d.ask(id, wire.Client(conn, id, d.now, func(m *wire.Message) {
		marked := *m
		marked.Route = evidence.RouteStraight
		d.log.Tap(&marked)
	}))
}

// ask notes what is asked for on a connection, which the evidence does not have.
func (d *originator) ask(id string, conn net.Conn) net.Conn {
	seq := uint64(0)
	return &asking{Conn: conn, note: func(a asked) {
		seq++
		d.mu.Lock()
		defer d.mu.Unlock()
		d.asked[place{id, seq}] = a
	}}
}

// wentStraight reports whether a connection of ours went past the intermediaries.
func (d *originator) wentStraight(conn string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.straight[conn]
}

// keep remembers a trace for the report.
func (d *originator) keep(tr *trace.Trace) {
	if tr != nil {
		d.traces = append(d.traces, tr)
	}
}

func (d *originator) discover(
	ctx context.Context, c *client.Client,
) (*client.Discovery, error) {
	out, err := c.Discover(ctx)
	d.keep(out.Trace)
	return out, err
}

func (d *originator) register(
	ctx context.Context, c *client.Client, found *client.Discovery, scope string,
) (*client.Registered, error) {
	out, err := c.Register(ctx, found, registration(scope))
	d.keep(out.Trace)
	return out, err
}

func (d *originator) cancel(
	ctx context.Context, c *client.Client, found *client.Discovery,
) (*client.Registered, error) {
	out, err := c.Cancel(ctx, found, registration(""))
	d.keep(out.Trace)
	return out, err
}

func (d *originator) askToken(
	ctx context.Context, c *client.Client, found *client.Discovery, id trace.ClientID, scope string,
) (*client.Token, error) {
	out, err := c.Token(ctx, found, client.TokenRequest{
		ClientID: id,
		Scope:    scope,
		B2B: &client.B2B{
			OrganizationID:   "https://originator.example/organization",
			OrganizationName: "Sandbox Originator",
			PurposeOfUse:     []string{"urn:oid:2.16.840.1.113883.5.8#TREAT"},
		},
	})
	d.keep(out.Trace)

	return out, err
}

func (d *originator) get(
	ctx context.Context, c *client.Client, path, token string,
) (*client.Read, error) {
	out, err := c.Get(ctx, path, token)
	d.keep(out.Trace)
	return out, err
}

func registration(scope string) client.Registration {
	return client.Registration{
		ClientName: "Sandbox Originator",
		Contacts:   []string{"mailto:sandbox@originator.example"},
		Scope:      scope,
	}
}

// code is the error code with which the destination refused, or why there is none.
func code(err error) string {
	var refusal *trace.Error
	if errors.As(err, &refusal) {
		return string(refusal.Code)
	}
	return fmt.Sprint(err)
}

// listFile is the file behind a distribution point.
func (d *originator) listFile(c testbed.Community) (string, error) {
	u, err := url.Parse(c.CRL)
	if err != nil {
		return "", err
	}
	return d.file(path.Base(u.Path)), nil
}
