package udap

import (
	"bytes"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"slices"
	"strings"

	"fhirdest.example/udap/trace"
)

var oidSubjectAltName = asn1.ObjectIdentifier{2, 5, 29, 17}

// Bounds of the Subject Alternative Name, in bytes: of the extension, and of one
// URI name of a leaf.
const (
	maxSAN    = 12 << 10
	maxSANURI = 2048
)

// RawSANURIs returns the uniformResourceIdentifier entries of the certificate's
// Subject Alternative Name, byte for byte as the certificate has them. The
// parsed form (cert.URIs[i].String()) may differ from those bytes, and iss is
// compared as a string (UDAP Security 7.1.5).
func RawSANURIs(cert *x509.Certificate) ([]string, error) {
	value, err := extensionValue(cert, oidSubjectAltName)
	if err != nil || value == nil {
		return nil, err
	}

	if len(value) > maxSAN {
		return nil, fmt.Errorf("a Subject Alternative Name of %d bytes, more than %d", len(value), maxSAN)
	}

	names, err := elements(value)
	if err != nil {
		return nil, fmt.Errorf("the Subject Alternative Name: %w", err)
	}

	var uris []string
	for _, n := range names {
		if n.Class == asn1.ClassContextSpecific && n.Tag == 6 && !n.IsCompound {
			uris = append(uris, string(n.Bytes))
		}
	}

	return uris, nil
}

// extensionValue returns the value of an extension; nil when it is absent.
func extensionValue(cert *x509.Certificate, oid asn1.ObjectIdentifier) (value []byte, err error) {
	for _, e := range cert.Extensions {
		if !e.Id.Equal(oid) {
			continue
		}
		if value != nil {
			return nil, fmt.Errorf("the extension %v is present twice", oid)
		}
		value = bytes.Clone(e.Value)
	}

	return value, nil
}

// hasExtension reports whether a certificate has an extension.
func hasExtension(c *x509.Certificate, oid asn1.ObjectIdentifier) bool {
	return slices.ContainsFunc(c.Extensions, func(e pkix.Extension) bool {
		return e.Id.Equal(oid)
	})
}

// checkSANURI is the rule for each URI name of a leaf: plain printable ASCII,
// of bounded length, without user information (which name constraints do not
// see, so that a host could be forged in front of it).
func checkSANURI(uri string) error {
	if len(uri) == 0 || len(uri) > maxSANURI {
		return fmt.Errorf("a URI name of %d bytes", len(uri))
	}

	for i := range len(uri) {
		if uri[i] <= 0x20 || uri[i] >= 0x7f {
			return fmt.Errorf("the URI name %q has the byte %#x", trace.Cut(uri, 100), uri[i])
		}
	}

	if strings.Contains(uriAuthority(uri), "@") {
		return fmt.Errorf("the URI name %q has user information before its host", trace.Cut(uri, 100))
	}
	return nil
}

// uriAuthority returns the text between // and the next /, ? or #, or
// nothing when the URI has no authority (RFC 3986 3.2).
func uriAuthority(uri string) string {
	_, rest, ok := strings.Cut(uri, ":")
	if !ok || !strings.HasPrefix(rest, "//") {
		return ""
	}

	rest = rest[2:]
	if i := strings.IndexAny(rest, "/?#\\"); i >= 0 {
		rest = rest[:i]
	}
	return rest
}
