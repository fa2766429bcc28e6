package udap

import (
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"fhirdest.example/udap/trace"
)

// standard64 is padded base64 that refuses loose trailing bits; RFC 7515 4.1.6
// wants this alphabet for x5c, not base64url.
var standard64 = base64.StdEncoding.Strict()

// maxCertDER bounds one certificate.
const maxCertDER = 16 << 10

const x5cExpected = "x5c as an array of certificates in base64 DER, the signer's first (RFC 7515 4.1.6)"

// checkX5C reads the certificates of the header.
func (e *envelope) checkX5C(parse func([]byte) (*x509.Certificate, error)) *fault {
	list, ok := e.header.list("x5c")
	if !ok || len(list) == 0 {
		return &fault{
			expected: x5cExpected,
			found:    e.header.shown("x5c"),
			remedy:   x5cRemedy(e.header),
		}
	}
	if len(list) > maxCerts {
		return &fault{
			expected: fmt.Sprintf("at most %d certificates in x5c", maxCerts),
			found:    fmt.Sprint(len(list)),
			remedy:   "send the signer's certificate and its intermediates only",
		}
	}

	for i, s := range list {
		cert, err := decodeX5C(s, parse)
		if err != nil {
			return &fault{
				expected: x5cExpected,
				found:    fmt.Sprintf("x5c[%d]: %v", i, err),
				err:      err,
			}
		}

		e.certs = append(e.certs, cert)
	}

	return nil
}

func x5cRemedy(h object) string {
	if h.has("jku") || h.has("x5u") {
		return "put the certificates themselves into x5c; x5u is never followed, and jku only in an authentication token, where the community's policy has it and it is the registered jwks_uri"
	}
	return "put the client's certificate, then its intermediates, into the x5c header"
}

func decodeX5C(s string, parse func([]byte) (*x509.Certificate, error)) (*x509.Certificate, error) {
	if err := x5cAlphabet(s); err != nil {
		return nil, err
	}

	der, err := standard64.DecodeString(s)
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

// x5cAlphabet names the encodings that are sent by mistake (RFC 7515 4.1.6).
func x5cAlphabet(s string) error {
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

// certShown names a certificate for people: subject, serial in hex and decimal.
func certShown(c *x509.Certificate) string {
	return fmt.Sprintf("%q (serial %s)", trace.Cut(c.Subject.String(), 150), serialShown(c))
}

func serialShown(c *x509.Certificate) string {
	return fmt.Sprintf("%x, decimal %s", c.SerialNumber, c.SerialNumber)
}
