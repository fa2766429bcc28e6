// Package client is an originator: it discovers what a destination offers,
// trusts it only after its signed metadata has been verified, registers, gets
// tokens with authentication tokens that it signs, and reads data.
//
// Every method returns a result whose Trace names each thing that was checked,
// and an error as soon as one of them failed; the result is never nil, so that
// the trace can be shown in both cases. Nothing is sent to a destination whose
// metadata was not verified (UDAP Security 2.0, discovery 2.3).
package client

import (
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"fhirdest.example/certs/netname"
	"fhirdest.example/udap"
	"fhirdest.example/udap/trace"
)

// Config is what an originator holds. Verifier and Now are always needed,
// Chain and Key for everything but discovery and reading.
type Config struct {
	Base      string             // FHIR base URL of the destination, as ParseBase gives it
	Community trace.CommunityURI // asked for in discovery; empty asks for none

	Chain     []*x509.Certificate // of this client, leaf first
	Key       crypto.Signer       // of Chain[0]
	ClientURI trace.ClientURI     // one of the leaf's SAN URIs; empty when it has only one
	Algorithm string              // JWS algorithm; empty: the one that fits Key

	Verifier *udap.Verifier // communities whose servers are trusted
	Proofs   *Proofs        // that bind access tokens to a key; nil: they are bearer tokens
	TLSRoots *x509.CertPool // anchors of web servers; nil: the system's. Not the community's.

	Dial     string                    // host:port to connect to in place of the base URL's authority; empty: none
	DialName string                    // TLS server name to ask for there; empty: the URL's host
	Wrap     func(c net.Conn) net.Conn // what reads along on a connection, inside TLS; nil: nothing

	LoopbackHTTP bool // speak http where the URL is http and its host a loopback address: for servers under development

	UserAgent string // of every request; empty: Go's own

	Timeout time.Duration // for one request; 0 means 30 s
	Now     func() time.Time
	NewJTI  func() string // nil: 128 random bits
}

// Client is an originator in front of one destination.
type Client struct {
	cfg     Config
	http    *http.Client
	lastTLS atomic.Pointer[tls.ConnectionState] // of the last connection made; a wrapped one does not expose it
}

const defaultTimeout = 30 * time.Second

// New makes a Client. It sends nothing.
func New(cfg Config) (*Client, error) {
	if cfg.Now == nil {
		return nil, errors.New("client: no clock was given")
	}
	if err := goodBase(cfg.Base); err != nil {
		return nil, err
	}
	if strings.HasPrefix(cfg.Base, "http:") && !cfg.LoopbackHTTP {
		return nil, fmt.Errorf("client: the base URL %q is not an https URL", cfg.Base)
	}

	if cfg.Timeout <= 0 {
		cfg.Timeout = defaultTimeout
	}
	if cfg.NewJTI == nil {
		cfg.NewJTI = randomJTI
	}
	c := &Client{cfg: cfg}
	c.http = c.newHTTP()

	return c, nil
}

const wellKnown = "/.well-known/udap"

// ParseBase reads a FHIR base URL as people write it: with a slash at its end,
// or as the whole URL of the discovery document, community and all.
func ParseBase(text string) (base string, community trace.CommunityURI, err error) {
	u, err := url.Parse(strings.TrimSpace(text))
	if err != nil {
		return "", "", fmt.Errorf("client: no URL: %w", err)
	}

	values, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return "", "", fmt.Errorf("client: %q: %w", text, err)
	}

	community = trace.CommunityURI(values.Get("community"))
	u.RawQuery, u.ForceQuery = "", false
	base = strings.TrimRight(u.String(), "/")
	base = strings.TrimRight(strings.TrimSuffix(base, wellKnown), "/")
	return base, community, goodBase(base)
}

func goodBase(base string) error {
	u, err := url.Parse(base)
	switch {
	case err != nil:
		return fmt.Errorf("client: base URL: %w", err)
	case u.Host == "" || u.Scheme != "https" && (u.Scheme != "http" || !netname.Loopback(u.Hostname())):
		return fmt.Errorf("client: the base URL %q is not an https URL", base)
	case u.RawQuery != "" || u.Fragment != "" || u.User != nil:
		return fmt.Errorf("client: the base URL %q holds more than scheme, host and path", base)
	case strings.HasSuffix(base, "/"):
		return fmt.Errorf("client: the base URL %q ends in a slash; its canonical form has none", base)
	}

	return nil
}
