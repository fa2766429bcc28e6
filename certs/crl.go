package certs

import (
	"bytes"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"os"
	"time"
)

// RevokedEntry is one line of a revocation list.
type RevokedEntry struct {
	Serial  *big.Int
	Time    time.Time
	Reason  int              // RFC 5280 5.3.1; 0 leaves the reason out
	Further []pkix.Extension // further extensions of the entry
}

// CRLTemplate describes a CRL to sign.
type CRLTemplate struct {
	Number     int64 // the CRL number (RFC 5280 5.2.3)
	ThisUpdate time.Time
	NextUpdate time.Time
	Revoked    []RevokedEntry
	Further    []pkix.Extension // further extensions of the list

	// Mutate, when set, may change anything just before signing.
	Mutate func(*x509.RevocationList)
}

// CRL signs a revocation list and returns its DER.
func (ca *CA) CRL(t CRLTemplate) ([]byte, error) {
	if ca.Key == nil {
		return nil, errors.New("certs: the issuer's key is not at hand")
	}

	l := &x509.RevocationList{
		Number: big.NewInt(t.Number), ThisUpdate: t.ThisUpdate, NextUpdate: t.NextUpdate,
		ExtraExtensions: t.Further,
	}

	for _, r := range t.Revoked {
		l.RevokedCertificateEntries = append(l.RevokedCertificateEntries, x509.RevocationListEntry{
			SerialNumber:    r.Serial,
			RevocationTime:  r.Time,
			ReasonCode:      r.Reason,
			ExtraExtensions: r.Further,
		})
	}

	if t.Mutate != nil {
		t.Mutate(l)
	}
	der, err := x509.CreateRevocationList(rand.Reader, l, ca.Cert, ca.Key)
	if err != nil {
		return nil, fmt.Errorf(
			"certs: sign revocation list of %s: %w",
			ca.Cert.Subject,
			err,
		)
	}

	return der, nil
}

// NextCRL signs the successor of a list: the next number, every entry of the
// old one and those added; an entry that is there already stays as it was. A
// nil list starts at number 1. The new list is due after life.
func (ca *CA) NextCRL(
	old *x509.RevocationList, now time.Time, life time.Duration, add ...RevokedEntry,
) ([]byte, error) {
	t := CRLTemplate{
		Number:     1,
		ThisUpdate: now,
		NextUpdate: now.Add(life),
	}

	seen := map[string]bool{}
	if old != nil {
		if err := old.CheckSignatureFrom(ca.Cert); err != nil {
			return nil, fmt.Errorf(
				"certs: the list at hand is not of %s: %w",
				ca.Cert.Subject,
				err,
			)
		}
		if old.Number == nil || !old.Number.IsInt64() {
			return nil, errors.New("certs: the list at hand has no usable number")
		}

		t.Number = old.Number.Int64() + 1
		for _, e := range old.RevokedCertificateEntries {
			seen[e.SerialNumber.String()] = true
			t.Revoked = append(t.Revoked, RevokedEntry{
				Serial: e.SerialNumber,
				Time:   e.RevocationTime,
				Reason: e.ReasonCode,
			})
		}
	}

	for _, e := range add {
		if !seen[e.Serial.String()] {
			seen[e.Serial.String()] = true
			t.Revoked = append(t.Revoked, e)
		}
	}

	return ca.CRL(t)
}

// UpdateCRL replaces the CRL in a file by its successor (see NextCRL). A file
// that is not there is fs.ErrNotExist: a CRL made without its predecessor would
// forget every revocation.
func (ca *CA) UpdateCRL(
	file string, now time.Time, life time.Duration, add ...RevokedEntry,
) error {
	old, err := LoadCRL(file)
	if err != nil {
		return err
	}

	der, err := ca.NextCRL(old, now, life, add...)
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	return WriteFile(file, der, ModePublic)
}

// StartCRL writes an authority's first CRL to a file, or the first after one
// that was lost. number must be above that of every CRL that the authority has
// signed: others do not go back to a lower one (RFC 5280 5.2.3).
func (ca *CA) StartCRL(file string, number int64, now time.Time, life time.Duration) error {
	der, err := ca.CRL(CRLTemplate{
		Number:     number,
		ThisUpdate: now,
		NextUpdate: now.Add(life),
	})
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}

	return WriteFile(file, der, ModePublic)
}

// LoadCRL reads a file with one list; one that is not there is fs.ErrNotExist.
func LoadCRL(file string) (*x509.RevocationList, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}

	l, err := ParseCRL(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return l, nil
}

// ParseCRL reads a revocation list in DER or PEM; what follows it is refused.
func ParseCRL(data []byte) (*x509.RevocationList, error) {
	if bytes.HasPrefix(data, []byte("-----BEGIN ")) {
		b, rest := pem.Decode(data)
		if b == nil || b.Type != "X509 CRL" || len(bytes.TrimSpace(rest)) > 0 {
			return nil, errors.New("certs: not one PEM block of type X509 CRL")
		}
		data = b.Bytes
	}

	l, err := x509.ParseRevocationList(data)
	if err != nil {
		return nil, fmt.Errorf("certs: revocation list: %w", err)
	}
	if rest := len(data) - len(l.Raw); rest > 0 {
		return nil, fmt.Errorf("certs: %d bytes follow the revocation list", rest)
	}

	return l, nil
}
