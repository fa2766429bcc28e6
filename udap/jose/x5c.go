package jose

import (
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"fhirdest.example/udap/trace"
)

// base64Standard is padded base64 that refuses loose trailing bits; RFC 7515
// 4.1.6 wants this alphabet for x5c, not base64url.
var base64Standard = base64.StdEncoding.Strict()

const (
	maxCerts   = 10       // certificates of x5c
	maxCertDER = 16 << 10 // bytes of one certificate
)

const x5cExpected = "x5c as an array of certificates in base64 DER, the signer's first (RFC 7515 4.1.6)"

// DecodeX5C returns the certificates of the x5c member of a header or of a JWK,
// the signer's first: one to ten of at most 16 KiB each. parse parses one DER
// certificate; nil means x509.ParseCertificate. Nothing about the certificates
// is verified.
func DecodeX5C(header Object, parse func(der []byte) (*x509.Certificate, error)) ([]*x509.Certificate, *Fault) {
	if parse == nil {
		parse = x509.ParseCertificate
	}
	list, ok := header.List("x5c")
	if !ok || len(list) == 0 {
		return nil, &Fault{
			Expected: x5cExpected,
			Found:    header.Show("x5c"),
			Remedy:   x5cRemedy(header),
		}
	}
	if len(list) > maxCerts {
		return nil, &Fault{
			Expected: fmt.Sprintf("at most %d certificates in x5c", maxCerts),
			Found:    fmt.Sprint(len(list)),
			Remedy:   "send the signer's certificate and its intermediates only",
		}
	}

	out := make([]*x509.Certificate, len(list))
	for i, s := range list {
		cert, err := decodeCert(s, parse)
		if err != nil {
			return nil, &Fault{
				Expected: x5cExpected,
				Found:    fmt.Sprintf("x5c[%d]: %v", i, err),
				Err:      err,
			}
		}

		out[i] = cert
	}

	return out, nil
}

func x5cRemedy(h Object) string {
	if h.Has("jku") || h.Has("x5u") {
		return "put the certificates themselves into x5c; x5u is never followed, and jku only in an authentication " +
			"token, where the community's policy allows it and it is the registered jwks_uri"
	}
	return "put the client's certificate, then its intermediates, into the x5c header"
}

func decodeCert(s string, parse func([]byte) (*x509.Certificate, error)) (*x509.Certificate, error) {
	if err := checkX5CText(s); err != nil {
		return nil, err
	}

	der, err := base64Standard.DecodeString(s)
	if err != nil {
		return nil, fmt.Errorf("not base64: %w", err)
	}
	if len(der) > maxCertDER {
		return nil, fmt.Errorf("a certificate of %d bytes, more than %d", len(der), maxCertDER)
	}

	cert, err := parse(der)
	if err != nil {
		return nil, fmt.Errorf("not one DER certificate: %w", err)
	}
	return cert, nil
}

// checkX5CText names the encodings that are sent by mistake (RFC 7515 4.1.6).
func checkX5CText(s string) error {
	switch {
	case s == "":
		return errors.New("it is empty")
	case len(s) > maxCertDER*2:
		return fmt.Errorf("%d characters, too long for a certificate", len(s))
	case strings.Contains(s, "-----BEGIN"):
		return errors.New("it is PEM; leave the BEGIN and END lines and the line breaks out")
	case strings.ContainsAny(s, "\r\n"):
		return errors.New("it has line breaks")

	case strings.ContainsAny(s, "-_"):
		return errors.New("it is base64url; x5c wants base64 with + and /")
	case strings.ContainsAny(s, " \t"):
		return errors.New("it has white space")
	case len(s)%4 != 0:
		return errors.New("it is not padded base64")
	}

	return nil
}

// CertName names a certificate for people: its subject, and its serial number
// in hexadecimal and decimal.
func CertName(c *x509.Certificate) string {
	return fmt.Sprintf("%q (serial %s)", trace.Cut(c.Subject.String(), 150), SerialName(c))
}

// SerialName returns the serial number of a certificate in hexadecimal and decimal.
func SerialName(c *x509.Certificate) string {
	return fmt.Sprintf("%x, decimal %s", c.SerialNumber, c.SerialNumber)
}
