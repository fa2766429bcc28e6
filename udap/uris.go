package udap

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"

	"fhirdest.example/udap/trace"
)

// plainURL parses a URL of the given schemes that every reader reads alike:
// printable ASCII (a host in another script is written in punycode), a host,
// no user information, no backslash, no empty or impossible port.
func plainURL(s string, schemes ...string) (*url.URL, error) {
	if s == "" {
		return nil, errors.New("it is empty; leave out what has no value")
	}
	if len(s) > maxURI {
		return nil, fmt.Errorf("%d bytes, more than %d", len(s), maxURI)
	}

	for i := range len(s) {
		if s[i] <= 0x20 || s[i] >= 0x7f {
			return nil, errors.New("it has white space, a control or a character outside ASCII")
		}
	}

	if strings.ContainsAny(s, "\\\"<>^`{|}") {
		return nil, errors.New("it has a character that no URL may have (RFC 3986)")
	}

	u, err := url.Parse(s)
	if err != nil {
		return nil, fmt.Errorf("not a URL: %w", err)
	}
	if !slices.Contains(schemes, u.Scheme) || !strings.HasPrefix(s, u.Scheme+"://") {
		return nil, fmt.Errorf("it must begin with %s://", strings.Join(schemes, ":// or "))
	}
	if strings.Contains(uriAuthority(s), "@") {
		return nil, errors.New("it has user information")
	}

	return u, checkHost(u)
}

func checkHost(u *url.URL) error {
	host := u.Hostname()
	if host == "" {
		return errors.New("it has no host")
	}
	if strings.HasSuffix(u.Host, ":") {
		return errors.New("its port is empty")
	}

	if p := u.Port(); p != "" {
		if n, err := strconv.Atoi(p); err != nil || n < 1 || n > 65535 {
			return fmt.Errorf("port %s", p)
		}
	}

	if strings.HasPrefix(u.Host, "[") {
		if a, err := netip.ParseAddr(host); err != nil || a.Zone() != "" {
			return errors.New("its host is no IPv6 address")
		}
		return nil
	}

	return checkHostName(host)
}

// checkHostName accepts letters, digits and hyphens in labels. A last label that
// is a number makes an address in some readers (0x7f.1 is 127.0.0.1), so it must
// then be a plain dotted address.
func checkHostName(host string) error {
	if len(host) > 253 {
		return errors.New("its host name is too long")
	}

	labels := strings.Split(host, ".")
	for _, l := range labels {
		if l == "" || len(l) > 63 || l[0] == '-' || l[len(l)-1] == '-' {
			return fmt.Errorf("its host %q is not a plain name", trace.Cut(host, 100))
		}

		for i := range len(l) {
			if b := l[i] | 0x20; (b < 'a' || b > 'z') && (l[i] < '0' || l[i] > '9') && l[i] != '-' {
				return fmt.Errorf("its host %q is not a plain name", trace.Cut(host, 100))
			}
		}
	}

	if last := labels[len(labels)-1]; last[0] >= '0' && last[0] <= '9' {
		if _, err := netip.ParseAddr(host); err != nil {
			return fmt.Errorf("its host %q reads as a number", trace.Cut(host, 100))
		}
	}

	return nil
}

// hostIsAddress reports whether the host is an IP address, and whether it is
// this machine's.
func hostIsAddress(u *url.URL) (address, loopback bool) {
	host := strings.ToLower(u.Hostname())
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return false, true
	}
	a, err := netip.ParseAddr(host)
	return err == nil, err == nil && a.Unmap().IsLoopback()
}

// checkRedirectURI is the rule for redirect URIs (UDAP Security 3.1; RFC 6749
// 3.1.2; RFC 9700 2.1): they are compared byte for byte later, so nothing may
// be in them that a browser reads differently.
func checkRedirectURI(s string, loopback bool) error {
	schemes := []string{"https"}
	if loopback && !strings.HasPrefix(s, "https:") {
		schemes = []string{"http"}
	}
	if strings.Contains(s, "#") {
		return errors.New("it has a fragment")
	}
	if strings.Contains(s, "*") {
		return errors.New("it has a wildcard")
	}

	u, err := plainURL(s, schemes...)
	if err != nil {
		return err
	}

	address, local := hostIsAddress(u)
	switch {
	case local && !loopback:
		return errors.New("its host is this machine; the community's policy does not allow that")
	case address && !local:
		return errors.New("its host is an IP address")
	case u.Scheme == "http" && !local:
		return errors.New("http is for this machine only")
	}

	return checkDotSegments(u)
}

// checkDotSegments refuses . and .. in a path, written plainly or encoded.
func checkDotSegments(u *url.URL) error {
	for _, raw := range strings.Split(u.EscapedPath(), "/") {
		seg, err := url.PathUnescape(raw)
		if err != nil || seg == "." || seg == ".." || strings.ContainsAny(seg, "/\\") {
			return errors.New("its path has a . or .. segment or an encoded slash")
		}
	}
	return nil
}

// checkLogoURI is the rule for logo_uri. sure is false when the path does not
// show the kind of image. Nothing is fetched.
func checkLogoURI(s string) (sure bool, err error) {
	u, err := plainURL(s, "https")
	if err != nil {
		return false, err
	}
	if address, local := hostIsAddress(u); address || local &&
		!strings.HasSuffix(u.Hostname(), "localhost") {
		return false, errors.New("its host is an IP address")
	}

	switch ext := strings.ToLower(path.Ext(u.Path)); ext {
	case ".png", ".jpg", ".jpeg", ".gif":
		return true, nil
	case "":
		return false, nil
	default:
		return false, fmt.Errorf("%s is not PNG, JPG or GIF", trace.Cut(ext, 20))
	}
}

func checkWebURI(s string, https bool) error {
	schemes := []string{"https", "http"}
	if https {
		schemes = schemes[:1]
	}
	_, err := plainURL(s, schemes...)
	return err
}

// checkContact accepts mailto, tel and web addresses.
func checkContact(s string) (mail bool, err error) {
	scheme, rest, _ := strings.Cut(s, ":")
	switch strings.ToLower(scheme) {
	case "mailto":
		return true, checkMailbox(rest)
	case "tel":
		if rest == "" || len(rest) > 40 || strings.Trim(rest, "+0123456789-.()") != "" {
			return false, errors.New("not a telephone number")
		}
		return false, nil

	case "https", "http":
		return false, checkWebURI(s, false)
	}

	return false, errors.New("a contact is a mailto:, tel:, https: or http: URI")
}

// checkMailbox accepts one plain address, without the header fields that RFC
// 6068 lets a mailto carry, and without percent-encoding, which could hide them.
func checkMailbox(s string) error {
	local, domain, ok := strings.Cut(s, "@")
	if !ok || local == "" || len(s) > 254 {
		return errors.New("not a mail address")
	}

	for i := range len(local) {
		b := local[i]
		if (b|0x20 < 'a' || b|0x20 > 'z') && (b < '0' || b > '9') &&
			!strings.ContainsRune("._+-'=~", rune(b)) {
			return fmt.Errorf("the character %q is not accepted in a mail address", b)
		}
	}

	return checkHostName(domain)
}
