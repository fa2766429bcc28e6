package certs

import (
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"
	"net"
	"time"
)

// Template describes a certificate to issue. Dates are required; everything
// else may be empty.
type Template struct {
	CommonName   string
	Organization string
	URIs         []string // written byte for byte into the SAN, fragments and odd characters included
	DNS          []string
	IPs          []net.IP
	Emails       []string
	NotBefore    time.Time
	NotAfter     time.Time
	CRL          []string // distribution points
	OCSP         []string // AIA: responders
	AIA          []string // AIA: the URL of the issuer's certificate

	// Mutate, when set, may change anything just before signing: this is how
	// tests make certificates that are wrong in one chosen way.
	Mutate func(*x509.Certificate)
}

var oidSAN = asn1.ObjectIdentifier{2, 5, 29, 17}

// Tags of GeneralName (RFC 5280 4.2.1.6).
const (
	tagEmail = 1
	tagDNS   = 2
	tagURI   = 6
	tagIP    = 7
)

// certificate turns the template into the form that crypto/x509 signs.
func (t Template) certificate() (*x509.Certificate, error) {
	if t.NotBefore.IsZero() || t.NotAfter.IsZero() {
		return nil, errors.New("certs: a template needs NotBefore and NotAfter")
	}

	serial, err := newSerial()
	if err != nil {
		return nil, err
	}

	c := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               t.subject(),
		NotBefore:             t.NotBefore,
		NotAfter:              t.NotAfter,
		CRLDistributionPoints: t.CRL,
		OCSPServer:            t.OCSP,
		IssuingCertificateURL: t.AIA,
		BasicConstraintsValid: true,
	}

	san, ok, err := t.san()
	if err != nil {
		return nil, err
	}

	if ok {
		c.ExtraExtensions = append(c.ExtraExtensions, san)
	}
	return c, nil
}

func (t Template) subject() pkix.Name {
	n := pkix.Name{CommonName: t.CommonName}
	if t.Organization != "" {
		n.Organization = []string{t.Organization}
	}
	return n
}

// san encodes the alternative names itself: crypto/x509 would pass URIs through
// net/url, which rewrites some of them, and a UDAP identity is its bytes.
func (t Template) san() (pkix.Extension, bool, error) {
	var names []asn1.RawValue
	add := func(tag int, value []byte) {
		names = append(names, asn1.RawValue{
			Class: asn1.ClassContextSpecific,
			Tag:   tag,
			Bytes: value,
		})
	}

	for _, s := range t.Emails {
		add(tagEmail, []byte(s))
	}

	for _, s := range t.DNS {
		add(tagDNS, []byte(s))
	}

	for _, s := range t.URIs {
		add(tagURI, []byte(s))
	}

	for _, ip := range t.IPs {
		if v4 := ip.To4(); v4 != nil {
			ip = v4
		}
		add(tagIP, ip)
	}

	if len(names) == 0 {
		return pkix.Extension{}, false, nil
	}

	der, err := asn1.Marshal(names)
	if err != nil {
		return pkix.Extension{}, false, fmt.Errorf("certs: alternative names: %w", err)
	}

	// RFC 5280 4.1.2.6: critical when the subject is empty.
	return pkix.Extension{
		Id:       oidSAN,
		Critical: t.CommonName == "" && t.Organization == "",
		Value:    der,
	}, true, nil
}

// RawURIs returns the URIs of a certificate's SAN byte for byte, in order. The
// certificate's own URIs field cannot: it holds them as net/url parsed them.
func RawURIs(c *x509.Certificate) ([]string, error) {
	return sanURIs(c.Extensions)
}

func sanURIs(extensions []pkix.Extension) ([]string, error) {
	var out []string
	for _, e := range extensions {
		if !e.Id.Equal(oidSAN) {
			continue
		}

		var names []asn1.RawValue
		rest, err := asn1.Unmarshal(e.Value, &names)
		if err != nil || len(rest) != 0 {
			return nil, errors.New("certs: malformed subject alternative name")
		}

		for _, n := range names {
			if n.Class == asn1.ClassContextSpecific && n.Tag == tagURI {
				out = append(out, string(n.Bytes))
			}
		}
	}

	return out, nil
}

// newSerial makes a positive serial number of 127 random bits (RFC 5280
// 4.1.2.2 allows 20 octets; CAs in the field use 16).
func newSerial() (*big.Int, error) {
	n, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, err
	}
	return n.Add(n, big.NewInt(1)), nil
}
