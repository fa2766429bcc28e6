// Package gatewayd runs a gateway as a YAML file directs: it reads certificates, watches
// files, keeps the evidence file and answers on the admin listener. The gateway
// itself, which does none of this, is package gateway.
//
// The file, with what it may leave out:
//
//	hop: gateway
//	listen: 0.0.0.0:443
//	tls:
//	  - {cert: tls/gateway.pem, key: tls/gateway.key}
//	proxy: [10.0.0.6]
//	admin: {listen: 127.0.0.1:9470}
//	evidence: {file: gateway.jsonl, sync: interval, rotate: 100000000, onFailure: refuse}
//	routes:
//	  - name: acme
//	    hosts: [fhir.example.org, '*.gateway.example.org']
//	    prefixes: [/acme, /.well-known/oauth-authorization-server/acme]
//	    next: https://destination.internal.example.org
//	    dial: [10.0.0.7:9443, 10.0.0.8:9443]
//	    ca: tls/private-ca.pem
//	    cert: tls/client.pem
//	    key: tls/client.key
//	    spares: 4
//	timeouts: {head: 10s, idle: 60s, body: 30s, firstByte: 60s}
//	limits: {memory: 268435456, connectionsPerAddress: 200, requestsPerSecond: 100, burst: 200}
package gatewayd

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"fhirdest.example/certs/netname"
	"fhirdest.example/cmd/internal/yamlfile"
	"fhirdest.example/gateway"
	"fhirdest.example/gateway/complaint"
	"fhirdest.example/gateway/evidence"
)

// Config is the YAML file. Paths are relative to Dir.
type Config struct {
	Dir string `yaml:"-"` // the directory of the file

	Hop    string `yaml:"hop,omitempty"` // name of this hop in evidence; default "gateway"
	Listen string `yaml:"listen"`        // HOST:PORT for clients, TLS
	// TLS lists the certificates of this hop's own names. SNI chooses among them; the
	// first is used when a client sends none.
	TLS []KeyPair `yaml:"tls"`
	// Proxy lists the addresses (IP or CIDR) of the gateways that open each connection
	// with a PROXY protocol v2 header. A connection from one of them without the header
	// is cut; from anyone else the header is a broken handshake.
	Proxy []string `yaml:"proxy,omitempty"`
	// KeyFiles is about a private key that others may read: "refuse" (default); "group"
	// accepts one that its group may read and nobody else; "warn" accepts any.
	KeyFiles string   `yaml:"keyFiles,omitempty"`
	Admin    Admin    `yaml:"admin,omitempty"`
	Log      string   `yaml:"log,omitempty"` // form of the log: "text" (default) or "json"
	Evidence Evidence `yaml:"evidence,omitempty"`
	Routes   []Route  `yaml:"routes"`
	Timeouts Timeouts `yaml:"timeouts,omitempty"`
	Limits   Limits   `yaml:"limits,omitempty"`
}

// KeyPair is two PEM files; a change of either takes effect within a second.
type KeyPair struct {
	Cert string `yaml:"cert"` // leaf first
	Key  string `yaml:"key"`  // unencrypted
}

// Admin is the second listener, plain HTTP: /health, /ready and /metrics, or only the first two.
type Admin struct {
	Listen string `yaml:"listen,omitempty"` // HOST:PORT, loopback only; empty: none
	Health string `yaml:"health,omitempty"` // HOST:PORT, any, for /health and /ready alone; empty: none
}

// Evidence is the file of this hop's lines.
type Evidence struct {
	File   string        `yaml:"file,omitempty"`   // empty: none are written
	Sync   string        `yaml:"sync,omitempty"`   // forced to disk: "none" (default), "interval" or "each"
	Flush  time.Duration `yaml:"flush,omitempty"`  // a line is in memory for so long; default 50ms
	Rotate int64         `yaml:"rotate,omitempty"` // bytes after which a new file begins; 0: never
	// OnFailure is what is done while it cannot be written: "refuse" (default) with 500, or "pass".
	OnFailure string `yaml:"onFailure,omitempty"`
}

// Route sends requests for some hosts and prefixes to one next hop.
type Route struct {
	Name string `yaml:"name"` // in evidence
	// Hosts are the public authorities, as the Host field has them; "*.name" for one label more.
	Hosts    []string `yaml:"hosts"`
	Prefixes []string `yaml:"prefixes,omitempty"` // beginnings of paths; none: every path
	// Next is https://host[:port] of the next hop; a path replaces the prefix, and its authority the Host.
	Next string `yaml:"next"`
	// Dial is the HOST:PORT to connect to instead, or a list of them: each new connection goes
	// to the one with the fewest that accepts it.
	Dial Addresses `yaml:"dial,omitempty"`
	// CA is a PEM file of CAs, to one of which the next hop's certificate must lead; none: the system's.
	CA     string `yaml:"ca,omitempty"`
	Cert   string `yaml:"cert,omitempty"` // client certificate for the next hop, with its key
	Key    string `yaml:"key,omitempty"`
	Proxy  string `yaml:"proxy,omitempty"`  // "v2": the next hop gets the client's address by PROXY protocol
	Spares int    `yaml:"spares,omitempty"` // connections that are kept ready while new clients come
}

// Addresses is one address, or a list.
type Addresses []string

// UnmarshalYAML decodes a text or a list of texts. An empty text is no address.
func (a *Addresses) UnmarshalYAML(decode func(any) error) error {
	var list []string
	if decode(&list) == nil {
		*a = list
		return nil
	}

	var one string
	if err := decode(&one); err != nil {
		return err
	}

	if one != "" {
		*a = Addresses{one}
	}
	return nil
}

// KindName is how a complaint calls what is missing.
func (*Addresses) KindName() string { return "HOST:PORT, or a list of them" }

// Timeouts have the defaults of gateway.Times.
type Timeouts struct {
	Handshake time.Duration `yaml:"handshake,omitempty"` // 10s
	Head      time.Duration `yaml:"head,omitempty"`      // 10s
	Idle      time.Duration `yaml:"idle,omitempty"`      // 60s; keep it below the next hop's
	Body      time.Duration `yaml:"body,omitempty"`      // 30s
	Connect   time.Duration `yaml:"connect,omitempty"`   // 10s
	Retry     time.Duration `yaml:"retry,omitempty"`     // 10s; of an address of several that did not accept
	FirstByte time.Duration `yaml:"firstByte,omitempty"` // 60s
	Stall     time.Duration `yaml:"stall,omitempty"`     // 10m
	Write     time.Duration `yaml:"write,omitempty"`     // 60s
	Drain     time.Duration `yaml:"drain,omitempty"`     // 30s
}

// Limits are gateway.Limits; 0 sets none but where a default is given.
type Limits struct {
	// Memory is what the process should stay within, in bytes; default 256 MiB; -1: no ceiling.
	Memory                int64   `yaml:"memory,omitempty"`
	Connections           int     `yaml:"connections,omitempty"` // default: what memory and descriptors have room for
	ConnectionsPerAddress int     `yaml:"connectionsPerAddress,omitempty"`
	RequestsPerSecond     float64 `yaml:"requestsPerSecond,omitempty"` // of one address; those beyond wait
	Burst                 int     `yaml:"burst,omitempty"`
	// Bytes per second below which a body makes no progress, and a client does not read.
	BodyRate   int64 `yaml:"bodyRate,omitempty"`
	AnswerRate int64 `yaml:"answerRate,omitempty"`
}

// Read reads the file and checks all that is in it.
func Read(path string) (Config, error) {
	l, err := load(path)
	return l.Config, err
}

// loaded is what is in the file, and in the files that it names: each is read once, so
// that what was checked is what is put in force, whoever replaces them meanwhile.
type loaded struct {
	Config
	certs   *names
	gateway gateway.Config // all but TLS, Evidence, Now and Log
}

func load(path string) (loaded, error) {
	s := loaded{Config: Config{Dir: filepath.Dir(path)}}
	form := yamlfile.Read(path, &s.Config)
	if form != nil && s.Listen == "" && s.Routes == nil {
		return s, form
	}
	return s, errors.Join(form, s.check())
}

// Check returns every complaint, joined, each with its remedy.
func (c *Config) Check() error {
	return (&loaded{Config: *c}).check()
}

// check is Check, and keeps what is in the files that the configuration names.
func (c *loaded) check() error {
	var certs, routes error
	c.certs, certs = c.certificates()
	c.gateway, routes = c.Config.gateway()
	ready := c.gateway
	ready.Routes = slices.Clone(ready.Routes)
	ready.TLS, ready.Now = &tls.Config{}, func() time.Time {
		return time.Time{}
	}

	for i := range ready.Routes { // what could not be read has been complained about
		if ready.Routes[i].TLS == nil {
			ready.Routes[i].TLS = &tls.Config{}
		}
	}

	return errors.Join(c.words(), certs, routes,
		hinted(ready.Check(), "see the routes in the package documentation"))
}

// hinted gives each of joined errors a remedy.
func hinted(err error, remedy string) error {
	if err == nil {
		return nil
	}

	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return complaint.New(err.Error(), remedy)
	}

	var out []error
	for _, e := range joined.Unwrap() {
		out = append(out, complaint.New(e.Error(), remedy))
	}

	return errors.Join(out...)
}

// words returns the complaints about values that need no file.
func (c *Config) words() error {
	var errs []error
	complain := func(remedy, format string, a ...any) {
		errs = append(errs, complaint.New(fmt.Sprintf(format, a...), remedy))
	}
	if _, _, err := net.SplitHostPort(c.Listen); err != nil {
		complain("write listen: 127.0.0.1:8443", "listen: %q is not HOST:PORT", c.Listen)
	}
	if a := c.Admin.Listen; a != "" && !loopback(a) {
		complain(
			"write admin: {listen: 127.0.0.1:9470}",
			"admin.listen: %q is not a loopback HOST:PORT",
			a,
		)
	}

	if a := c.Admin.Health; a != "" {
		if _, _, err := net.SplitHostPort(a); err != nil {
			complain(
				"write admin: {health: 0.0.0.0:9471}",
				"admin.health: %q is not HOST:PORT",
				a,
			)
		}
	}

	for _, w := range []struct {
		key, value string
		choices    []string
	}{
		{"keyFiles", c.KeyFiles, []string{"refuse", "group", "warn"}},
		{"log", c.Log, []string{"text", "json"}},
		{"evidence.onFailure", c.Evidence.OnFailure, []string{"refuse", "pass"}},
	} {
		if w.value != "" && !slices.Contains(w.choices, w.value) {
			complain(
				"write "+strings.Join(w.choices, " or "),
				"%s: %q is not known",
				w.key,
				w.value,
			)
		}
	}

	switch evidence.SyncPolicy(c.Evidence.Sync) {
	case "", evidence.SyncNone, evidence.SyncInterval, evidence.SyncEach:
	default:
		complain(
			"write none, interval or each",
			"evidence.sync: %q is not known",
			c.Evidence.Sync,
		)
	}

	if m := c.Limits.Memory; m > 0 && m < leastMemory {
		complain(
			"write bytes, as 268435456 for 256 MiB",
			"limits.memory: %d is too little to serve anybody",
			m,
		)
	}

	for i, p := range c.Proxy {
		if _, err := netname.Prefix(p); err != nil {
			complain(
				"write an IP address or a range such as 10.0.0.0/24",
				"proxy[%d]: %q is neither",
				i,
				p,
			)
		}
	}

	for i, r := range c.Routes {
		if r.Proxy != "" && r.Proxy != "v2" {
			complain(
				"write proxy: v2, or leave it out",
				"routes[%d].proxy: %q is not known",
				i,
				r.Proxy,
			)
		}
	}

	return errors.Join(errs...)
}

// leastMemory is what the process needs beside all clients, in bytes, and some more for a
// few of them.
const leastMemory = 16 << 20

func loopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	return err == nil && netname.Loopback(host)
}

// path makes a path of the file relative to it.
func (c *Config) path(p string) string {
	if p == "" || filepath.IsAbs(p) {
		return p
	}
	return filepath.Join(c.Dir, p)
}

// LogHandler returns what writes the log to w in the form that is configured.
func (c *Config) LogHandler(w io.Writer) slog.Handler {
	if c.Log == "json" {
		return slog.NewJSONHandler(w, nil)
	}
	return slog.NewTextHandler(w, nil)
}

// hop is the name in evidence.
func (c *Config) hop() string {
	if c.Hop == "" {
		return "gateway"
	}
	return c.Hop
}

// gateway turns what is in the file into the gateway's own configuration, all but
// TLS, Evidence, Now and Log.
func (c *Config) gateway() (gateway.Config, error) {
	g := gateway.Config{
		PassWithoutEvidence: c.Evidence.OnFailure == "pass",
		Times:               gateway.Times(c.Timeouts),
		Limits:              gateway.Limits(c.Limits),
	}

	for _, text := range c.Proxy {
		if p, err := netname.Prefix(text); err == nil { // words complains about others
			g.Proxies = append(g.Proxies, p)
		}
	}

	var errs []error
	for i, r := range c.Routes {
		t, err := c.upstreamTLS(r)
		if err != nil {
			errs = append(errs, fmt.Errorf("routes[%d]: %w", i, err))
		}
		g.Routes = append(g.Routes, gateway.Route{
			Name:     r.Name,
			Hosts:    r.Hosts,
			Prefixes: r.Prefixes,
			Next:     r.Next,
			Dial:     r.Dial,
			TLS:      t,
			Proxy:    r.Proxy == "v2",
			Spares:   r.Spares,
		})
	}

	return g, errors.Join(errs...)
}

// upstreamTLS verifies one next hop.
func (c *Config) upstreamTLS(r Route) (*tls.Config, error) {
	t := baseTLS()
	t.ClientSessionCache = tls.NewLRUClientSessionCache(256)
	// The default's post-quantum part costs 0.1 to 0.5 ms a handshake, and this leg
	// is made anew for each client.
	t.CurvePreferences = []tls.CurveID{tls.X25519, tls.CurveP256}
	if r.CA != "" {
		pem, err := os.ReadFile(c.path(r.CA))
		if err != nil {
			return nil, complaint.New(
				fmt.Sprintf("ca: cannot read %s: %v", c.path(r.CA), yamlfile.Cause(err)),
				"name a PEM file of the CA certificates",
			)
		}

		t.RootCAs = x509.NewCertPool()
		if !t.RootCAs.AppendCertsFromPEM(pem) {
			return nil, complaint.New(
				fmt.Sprintf("ca: %s holds no certificate", c.path(r.CA)),
				"name a PEM file of the CA certificates",
			)
		}
	}

	if r.Cert != "" || r.Key != "" {
		pair, err := c.load(KeyPair{r.Cert, r.Key})
		if err != nil {
			return nil, err
		}
		t.Certificates = []tls.Certificate{*pair}
	}

	return t, nil
}

// baseTLS is what both sides speak: TLS 1.3, and of 1.2 what has forward secrecy and
// authenticated encryption (RFC 9325).
func baseTLS() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, CipherSuites: []uint16{
		tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
		tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
		tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
	}}
}
