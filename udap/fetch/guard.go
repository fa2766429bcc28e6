package fetch

import (
	"fmt"
	"net/netip"
	"net/url"
	"strings"

	"fhirdest.example/certs/netname"
)

// special are the blocks of the IANA special-purpose registries (and what
// embeds IPv4 addresses in IPv6 ones) that no list is fetched from.
var special = prefixes(
	"0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12",
	"192.0.0.0/24", "192.0.2.0/24", "192.31.196.0/24", "192.52.193.0/24", "192.88.99.0/24", "192.168.0.0/16",
	"192.175.48.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
	"2001::/23", "2001:db8::/32", "2002::/16", "2620:4f:8000::/48", "3fff::/20",
)

// unicast is the only block of IPv6 in public use (RFC 4291 2.4).
var unicast = netip.MustParsePrefix("2000::/3")

func prefixes(texts ...string) []netip.Prefix {
	out := make([]netip.Prefix, len(texts))
	for i, t := range texts {
		out[i] = netip.MustParsePrefix(t)
	}
	return out
}

// public reports whether an address may be dialled without being named in
// the configuration.
func public(a netip.Addr) bool {
	a = a.Unmap()
	if !a.IsValid() || a.Zone() != "" || a.Is6() && !unicast.Contains(a) {
		return false
	}

	for _, p := range special {
		if p.Contains(a) {
			return false
		}
	}

	return true
}

const maxURL = 2048 // bytes

// target parses a URL and refuses those at which nothing may be fetched.
func target(text string) (*url.URL, error) {
	if len(text) > maxURL {
		return nil, fmt.Errorf("the URL is longer than %d bytes", maxURL)
	}

	u, err := url.Parse(text)
	switch {
	case err != nil:
		return nil, fmt.Errorf("no URL: %w", err)
	case u.Scheme != "http" && u.Scheme != "https":
		return nil, fmt.Errorf("the scheme %q is not fetched, only http and https", u.Scheme)
	case u.Hostname() == "":
		return nil, fmt.Errorf("the URL names no host")
	case u.User != nil:
		return nil, fmt.Errorf("the URL holds a user name")

	case u.Fragment != "":
		return nil, fmt.Errorf("the URL has a fragment")
	}

	return u, nil
}

// origins reads the list of exact origins that configuration allows.
func origins(texts []string) (map[string]bool, error) {
	out := map[string]bool{}
	for _, t := range texts {
		u, err := target(t)
		if err != nil {
			return nil, fmt.Errorf("fetch: allow %q: %w", t, err)
		}
		if strings.Trim(u.Path, "/") != "" || u.RawQuery != "" {
			return nil, fmt.Errorf("fetch: allow %q: write scheme://host:port and nothing after it", t)
		}
		out[netname.Origin(u.String())] = true
	}

	return out, nil
}

// isURL distinguishes a URL from a file's path; the scheme may be in upper case (RFC
// 3986 3.1).
func isURL(place string) bool {
	u, err := url.Parse(place)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https")
}
