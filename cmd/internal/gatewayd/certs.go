package gatewayd

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync/atomic"

	"fhirdest.example/certs/disk"
	"fhirdest.example/cmd/internal/yamlfile"
	"fhirdest.example/gateway/complaint"
)

// names finds the certificate for a name; the zero value has none.
type names struct {
	by      map[string]*tls.Certificate // in lower case; wildcards begin with "*."
	address map[netip.Addr]*tls.Certificate
	first   *tls.Certificate
}

// holder is the certificates in force.
type holder struct{ atomic.Pointer[names] }

// tls is the configuration of the clients' side. A name that no certificate has is
// refused with unrecognized_name, which crypto/tls sends when there is nothing to
// choose from.
func (h *holder) tls() *tls.Config {
	t := baseTLS()
	t.GetCertificate = func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
		n := h.Load()
		if hello.ServerName == "" {
			return n.dialled(hello.Conn.LocalAddr()), nil // an address is no server name (RFC 6066, 3)
		}
		return n.find(hello.ServerName), nil
	}

	// A resumed session asks for no certificate, and may name another host than the
	// one it was made for (RFC 8446, 4.6.1 leaves the check to the server).
	t.VerifyConnection = func(state tls.ConnectionState) error {
		if h.Load().find(state.ServerName) == nil {
			return errors.New("gatewayd: the name asked for in the handshake is not served here")
		}
		return nil
	}

	return t
}

// find returns the certificate for a name, or nil; no name gets the first one.
func (n *names) find(name string) *tls.Certificate {
	if name == "" {
		return n.first
	}

	name = strings.ToLower(name)
	if c := n.by[name]; c != nil {
		return c
	}

	_, parent, _ := strings.Cut(name, ".")
	return n.by["*."+parent]
}

// dialled returns the certificate that has the address that a client has connected to,
// or else the first.
func (n *names) dialled(a net.Addr) *tls.Certificate {
	if tcp, ok := a.(*net.TCPAddr); ok {
		if c := n.address[tcp.AddrPort().Addr().Unmap().WithZone("")]; c != nil {
			return c
		}
	}
	return n.first
}

// covers reports whether a certificate is for a host, which may be a wildcard or an
// address.
func (n *names) covers(host string) bool {
	if a, err := netip.ParseAddr(host); err == nil {
		return n.address[a.Unmap()] != nil
	}
	return n.by[strings.ToLower(host)] != nil || n.find(host) != nil
}

// certificates reads every pair, or returns all complaints.
func (c *Config) certificates() (*names, error) {
	n := &names{
		by:      map[string]*tls.Certificate{},
		address: map[netip.Addr]*tls.Certificate{},
	}
	var errs []error
	if len(c.TLS) == 0 {
		errs = append(errs, complaint.New(
			"tls: no certificate",
			"list at least one {cert: FILE, key: FILE} under tls:",
		))
	}

	for i, p := range c.TLS {
		pair, err := c.load(p)
		if err != nil {
			errs = append(errs, fmt.Errorf("tls[%d]: %w", i, err))
			continue
		}

		if n.first == nil {
			n.first = pair
		}

		for _, name := range pair.Leaf.DNSNames {
			if name = strings.ToLower(name); n.by[name] == nil {
				n.by[name] = pair
			}
		}

		for _, ip := range pair.Leaf.IPAddresses {
			if a, ok := netip.AddrFromSlice(ip); ok && n.address[a.Unmap()] == nil {
				n.address[a.Unmap()] = pair
			}
		}
	}

	return n, errors.Join(errs...)
}

// load reads one pair, and complains of a key that others can read.
func (c *Config) load(p KeyPair) (*tls.Certificate, error) {
	cert, key := c.path(p.Cert), c.path(p.Key)
	for _, f := range []string{cert, key} {
		if _, err := os.Stat(f); err != nil {
			return nil, complaint.New(
				fmt.Sprintf("cannot read %q: %v", f, yamlfile.Cause(err)),
				"name two PEM files, cert and key",
			)
		}
	}
	if c.exposed(key) {
		return nil, complaint.New(
			fmt.Sprintf("the private key %s can be read by others", key),
			"chmod 600 "+key+"; keyFiles: group accepts a file that its group may read, keyFiles: warn any",
		)
	}

	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		return nil, complaint.New(
			fmt.Sprintf("%s and %s: %v", cert, key, err),
			"the certificate's file must have the leaf first, and the key must be its own, in PEM, unencrypted",
		)
	}

	return &pair, nil
}

// exposed reports whether others may use a private key whom keyFiles does not
// allow.
func (c *Config) exposed(key string) bool {
	switch c.KeyFiles {
	case "warn":
		return false
	case "group":
		return !disk.GroupOnly(key)
	}
	return disk.Shared(key) != 0
}
