// Package netname reads the names of hosts, origins and networks as they are
// written in configurations and URLs.
package netname

import (
	"net/netip"
	"net/url"
	"strings"
)

// Loopback reports whether a host, a name or an address without port, can be
// reached from this machine only.
func Loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	a, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil && a.Unmap().IsLoopback()
}

// Prefix parses a range of addresses such as 10.0.0.0/24, or one address, as the
// range that has it alone. Bits beyond the length are dropped.
func Prefix(s string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(s); err == nil {
		a = a.Unmap().WithZone("")
		return a.Prefix(a.BitLen())
	}
	p, err := netip.ParsePrefix(s)
	return p.Masked(), err
}

// Origin returns the origin of an http or https URL as scheme://host:port, in
// lower case and with the port always written (RFC 6454 4), for comparison. It is
// empty for any other text and for a URL with a user.
func Origin(text string) string {
	u, err := url.Parse(text)
	if err != nil || u.Hostname() == "" || u.User != nil {
		return ""
	}

	port := u.Port()
	switch {
	case u.Scheme != "http" && u.Scheme != "https":
		return ""
	case port == "" && u.Scheme == "https":
		port = "443"
	case port == "":
		port = "80"
	}

	host := strings.ToLower(u.Hostname())
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	return u.Scheme + "://" + host + ":" + port
}
