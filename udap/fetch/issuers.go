package fetch

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"time"
)

const (
	maxIssuerPlaces = 256 // places whose certificates are kept
	maxIssuerBytes  = 256 << 10
	maxIssuerCerts  = 8
	// Fetches under way at one time, to one host and to all. They have slots of
	// their own: a stranger can cause them, and must not delay CRLs by them.
	maxIssuerFetches    = 4
	maxAllIssuerFetches = 16
	issuerTimeout       = 4 * time.Second
	issuerLife          = time.Hour
)

// Issuers implements udap.IssuerSource: the certificates at a URL,
// as DER, PEM or a certs-only PKCS#7 (RFC 5280 4.2.2.1). The caller has made
// sure that policy allows the URL.
func (s *Source) Issuers(ctx context.Context, place string) ([]*x509.Certificate, error) {
	certs, _, err := s.issuers.get(ctx, place, place, func() ([]*x509.Certificate, time.Time, error) {
		ctx, cancel := context.WithTimeout(context.Background(), min(s.cfg.Timeout, issuerTimeout))
		defer cancel()
		data, err := s.web.get(ctx, place, "application/pkix-cert, application/pkcs7-mime", maxIssuerBytes)
		if err != nil {
			return nil, time.Time{}, err
		}

		certs, err := parseIssuers(data)
		return certs, s.cfg.Now().Add(issuerLife), err
	})
	return certs, err
}

func parseIssuers(data []byte) ([]*x509.Certificate, error) {
	if bytes.HasPrefix(bytes.TrimLeft(data, " \t\r\n"), []byte("-----BEGIN")) {
		return parsePEM(data)
	}
	if c, err := x509.ParseCertificate(data); err == nil {
		return []*x509.Certificate{c}, nil
	}
	return parsePKCS7(data)
}

func parsePEM(data []byte) ([]*x509.Certificate, error) {
	var out []*x509.Certificate
	for len(out) < maxIssuerCerts {
		var block *pem.Block
		if block, data = pem.Decode(data); block == nil {
			break
		}

		c, err := x509.ParseCertificate(block.Bytes)
		if block.Type != "CERTIFICATE" || err != nil {
			return nil, fmt.Errorf("a PEM block of type %q that is no certificate (%v)", block.Type, err)
		}
		out = append(out, c)
	}

	if len(out) == 0 {
		return nil, errNoCertificate
	}
	return out, nil
}

var (
	errNoCertificate = errors.New("what was fetched is neither a certificate nor a PKCS#7 with some")
	oidSignedData    = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 2}
)

// parsePKCS7 reads the certificates of a SignedData without looking at the
// rest (RFC 2315 9.1).
func parsePKCS7(data []byte) ([]*x509.Certificate, error) {
	var outer struct {
		Type    asn1.ObjectIdentifier
		Content asn1.RawValue `asn1:"explicit,tag:0"`
	}
	var inner struct {
		Version      int
		Digests      asn1.RawValue
		Content      asn1.RawValue
		Certificates asn1.RawValue `asn1:"optional,tag:0"`
		CRLs         asn1.RawValue `asn1:"optional,tag:1"`
		Signers      asn1.RawValue
	}

	if _, err := asn1.Unmarshal(data, &outer); err != nil || !outer.Type.Equal(oidSignedData) {
		return nil, errNoCertificate
	}
	if _, err := asn1.Unmarshal(outer.Content.Bytes, &inner); err != nil {
		return nil, errNoCertificate
	}

	certs, err := x509.ParseCertificates(inner.Certificates.Bytes)
	if err != nil || len(certs) == 0 {
		return nil, errNoCertificate
	}
	return certs[:min(len(certs), maxIssuerCerts)], nil
}
