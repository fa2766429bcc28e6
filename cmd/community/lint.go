package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"
	"time"

	"fhirdest.example/certs"
)

// checkURI refuses a SAN URI that no reader accepts: a certificate with one
// fails elsewhere, and without a reason.
func checkURI(s string) error {
	switch {
	case s == "":
		return errors.New("is empty")
	case strings.ContainsFunc(s, func(r rune) bool {
		return r <= ' ' || r > '~'
	}):
		return errors.New("has characters other than printable ASCII; a SAN is IA5String (percent-encode them)")
	}

	u, err := url.Parse(s)
	if err != nil || u.Scheme == "" {
		return errors.New("is not an absolute URI such as https://client.example/app")
	}
	return nil
}

// lint returns what is unusual about a member's certificate, each with a remedy.
// An empty result is no promise of trust.
func lint(c *x509.Certificate, now time.Time) []string {
	var out []string
	say := func(format string, args ...any) {
		out = append(out, fmt.Sprintf(format, args...))
	}
	uris, err := certs.RawURIs(c)
	switch {
	case err != nil:
		say("the SAN cannot be read: %v", err)
	case c.IsCA:
		say("it is a CA: a member's own certificate must come first in a chain")
	case len(uris) == 0 && len(c.DNSNames) == 0:
		say("it has no SAN URI: nobody is known by it; UDAP compares iss with that URI")
	case len(uris) > 1:
		say("it has %d SAN URIs: iss must name one of them, and each can register once (client_credentials and "+
			"authorization_code may so be kept apart)", len(uris))
	}

	for _, u := range uris {
		out = append(out, lintURI(u)...)
	}

	out = append(out, lintKey(c.PublicKey)...)
	if !c.IsCA && len(c.DNSNames) == 0 && len(c.CRLDistributionPoints) == 0 {
		say("it has no CRL distribution point: its revocation status is known only to those who hold the list by " +
			"other means")
	}

	switch left := c.NotAfter.Sub(now); {
	case now.Before(c.NotBefore):
		say("it is not valid before %s", c.NotBefore.Format(time.RFC3339))
	case left < 0:
		say("it expired at %s", c.NotAfter.Format(time.RFC3339))
	case left < 30*24*time.Hour:
		say("it expires in %d days, at %s: renew it with the same SAN, no registration is lost",
			int(left.Hours()/24),
			c.NotAfter.Format(time.RFC3339))
	}

	return out
}

func lintURI(s string) []string {
	var out []string
	say := func(format string, args ...any) {
		out = append(out, fmt.Sprintf("SAN URI "+format, args...))
	}
	if err := checkURI(s); err != nil {
		say("%q %v", s, err)
		return out
	}

	u, _ := url.Parse(s) // checkURI has parsed it
	if strings.HasSuffix(s, "/") {
		say("%s ends in a slash: iss must have it too", s)
	}
	if strings.Contains(s, "#") {
		say("%s has a fragment: it is part of the identity; an OpenSSL configuration file would have cut it off "+
			"at the #", s)
	}

	if u.Scheme == "http" {
		say("%s is http: a client URI is https", s)
	}

	if u.Scheme+u.Host != strings.ToLower(u.Scheme+u.Host) || !strings.HasPrefix(s, u.Scheme) {
		say("%s has capitals in scheme or host: SANs are compared byte for byte", s)
	}
	if u.Scheme == "https" && u.Port() == "443" {
		say("%s names the default port: SANs are compared byte for byte", s)
	}

	return out
}

func lintKey(key crypto.PublicKey) []string {
	switch k := key.(type) {
	case *rsa.PublicKey:
		if k.N.BitLen() < 2048 {
			return []string{
				fmt.Sprintf("its key is RSA of %d bits; at least 2048 are needed", k.N.BitLen()),
			}
		}

	case *ecdsa.PublicKey:
		if n := k.Curve.Params().Name; n != "P-256" && n != "P-384" {
			return []string{"its key is EC " + n + "; ES256 needs P-256, ES384 needs P-384"}
		}

	default:
		return []string{fmt.Sprintf("its key is a %T; only RSA and EC are used in UDAP", k)}
	}

	return nil
}

func printLints(w io.Writer, lints []string) {
	for _, l := range lints {
		fmt.Fprintf(w, "  note: %s\n", l)
	}
}
