package udap

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"slices"
	"time"

	"fhirdest.example/udap/trace"
)

var (
	oidAuthorityKeyID   = asn1.ObjectIdentifier{2, 5, 29, 35}
	oidCRLNumber        = asn1.ObjectIdentifier{2, 5, 29, 20}
	oidDeltaIndicator   = asn1.ObjectIdentifier{2, 5, 29, 27}
	oidIssuingDistPoint = asn1.ObjectIdentifier{2, 5, 29, 28}
	oidReasonCode       = asn1.ObjectIdentifier{2, 5, 29, 21}
	oidInvalidityDate   = asn1.ObjectIdentifier{2, 5, 29, 24}
	knownListExtensions = []asn1.ObjectIdentifier{
		oidAuthorityKeyID,
		oidCRLNumber,
		oidIssuingDistPoint,
	}
	knownEntryExtensions = []asn1.ObjectIdentifier{oidReasonCode, oidInvalidityDate}
)

// crlSkew is how far an issuer's clock may be ahead when a list or a response
// of its begins.
const crlSkew = time.Minute

// CheckCRL checks a CRL by itself: made and signed by issuer, whose
// key may sign lists; within thisUpdate and nextUpdate; no critical extension
// that is not understood; no delta and no indirect list (RFC 5280 5 and 6.3.3).
// A CRL that fails clears no certificate.
func CheckCRL(list *x509.RevocationList, issuer *x509.Certificate, now time.Time) error {
	if list == nil || issuer == nil {
		return errors.New("no list or no issuer")
	}
	if err := checkCRLDates(list, now); err != nil {
		return err
	}
	return checkCRLForm(list, issuer)
}

func checkCRLDates(list *x509.RevocationList, now time.Time) error {
	switch {
	case list.ThisUpdate.After(now.Add(crlSkew)):
		return fmt.Errorf("the list begins at %s, now it is %s", trace.Stamp(list.ThisUpdate), trace.Stamp(now))
	case list.NextUpdate.IsZero():
		return errors.New("the list has no nextUpdate")
	case now.After(list.NextUpdate):
		return fmt.Errorf("the list ended at %s, now it is %s", trace.Stamp(list.NextUpdate), trace.Stamp(now))
	}

	return nil
}

func checkCRLForm(list *x509.RevocationList, issuer *x509.Certificate) error {
	if !SameName(list.RawIssuer, issuer.RawSubject) {
		return fmt.Errorf("the list is by %q, the certificate's issuer is %q",
			trace.Cut(list.Issuer.String(), 150),
			trace.Cut(issuer.Subject.String(), 150))
	}
	if !mayUseKey(issuer, x509.KeyUsageCRLSign) {
		return errors.New("the issuer's key may not sign lists (keyUsage without cRLSign)")
	}
	if !slices.Contains(certSignatures, list.SignatureAlgorithm) {
		return fmt.Errorf("the list is signed with %s", list.SignatureAlgorithm)
	}
	if err := issuer.CheckSignature(list.SignatureAlgorithm, list.RawTBSRevocationList,
		list.Signature); err != nil {
		return fmt.Errorf("the list is not signed by the issuer's key: %w", err)
	}

	return checkCRLExtensions(list)
}

// checkCRLExtensions refuses what makes a list less than the whole truth.
func checkCRLExtensions(list *x509.RevocationList) error {
	// RFC 5280 5.2.3. A CRL without a number is not refused here, so that what
	// it revokes is revoked; it clears no certificate (Verifier.findInCRL).
	if n := list.Number; n != nil && (n.Sign() < 0 || n.BitLen() > 159) {
		return errors.New("the CRL number is not one of at most 20 octets")
	}

	for i, e := range list.Extensions {
		same := func(o pkix.Extension) bool { return o.Id.Equal(e.Id) }
		if slices.ContainsFunc(list.Extensions[:i], same) {
			return fmt.Errorf("the list has the extension %v twice", e.Id)
		}
		if e.Id.Equal(oidDeltaIndicator) {
			return errors.New("it is a delta list, which has only the changes")
		}
		if e.Critical && !slices.ContainsFunc(knownListExtensions, e.Id.Equal) {
			return fmt.Errorf("the list has the critical extension %v, which is not understood", e.Id)
		}
	}

	if _, err := scopeOf(list); err != nil {
		return err
	}

	for i := range list.RevokedCertificateEntries {
		for _, e := range list.RevokedCertificateEntries[i].Extensions {
			if e.Critical && !slices.ContainsFunc(knownEntryExtensions, e.Id.Equal) {
				return fmt.Errorf("an entry of the list has the critical extension %v, which is not understood", e.Id)
			}
		}
	}

	return nil
}

// crlScope is what an issuing distribution point limits a list to (RFC 5280 5.2.5).
type crlScope struct {
	present          bool
	names            []string // URIs of the distribution point
	named            bool     // a distribution point is given
	onlyUser, onlyCA bool
}

// scopeOf reads the issuing distribution point. Lists for some reasons only,
// indirect ones and those of attribute certificates are refused.
func scopeOf(list *x509.RevocationList) (crlScope, error) {
	var out crlScope
	for _, e := range list.Extensions {
		if !e.Id.Equal(oidIssuingDistPoint) {
			continue
		}
		if out.present {
			return out, errors.New("the list has two issuing distribution points")
		}

		out.present = true
		parts, err := elements(e.Value)
		if err != nil {
			return out, fmt.Errorf("the list's issuing distribution point cannot be read: %w", err)
		}

		for i, p := range parts {
			if i > 0 && p.Tag <= parts[i-1].Tag {
				return out, errors.New("the list's issuing distribution point has a field twice or out of order")
			}
			if err := out.add(p); err != nil {
				return out, err
			}
		}
	}

	return out, nil
}

// add reads one field of an issuing distribution point, by its tag.
func (s *crlScope) add(field asn1.RawValue) error {
	isTrue := len(field.Bytes) == 1 && field.Bytes[0] != 0
	switch {
	case field.Class != asn1.ClassContextSpecific:
		return errors.New("the list's issuing distribution point has a field of another kind")
	case field.Tag == 0:
		return s.addNames(field.Bytes)
	case field.Tag == 1:
		s.onlyUser = isTrue
	case field.Tag == 2:
		s.onlyCA = isTrue

	case field.Tag == 3 || isTrue:
		return errors.New("the list is partitioned (for some reasons only, indirect, or of attribute certificates)")
	}

	return nil
}

func (s *crlScope) addNames(der []byte) error {
	var full asn1.RawValue
	rest, err := asn1.Unmarshal(der, &full)
	if err != nil || len(rest) > 0 || full.Class != asn1.ClassContextSpecific || full.Tag != 0 {
		return errors.New("the list's distribution point has no full name")
	}

	s.named = true
	for left := full.Bytes; len(left) > 0; {
		var n asn1.RawValue
		if left, err = asn1.Unmarshal(left, &n); err != nil {
			return fmt.Errorf("the list's distribution point: %w", err)
		}
		if n.Class == asn1.ClassContextSpecific && n.Tag == 6 {
			s.names = append(s.names, string(n.Bytes))
		}
	}

	return nil
}

// elements returns the elements of a DER SEQUENCE.
func elements(der []byte) ([]asn1.RawValue, error) {
	var seq asn1.RawValue
	rest, err := asn1.Unmarshal(der, &seq)
	if err != nil || len(rest) > 0 || seq.Class != asn1.ClassUniversal || seq.Tag != asn1.TagSequence ||
		!seq.IsCompound {
		return nil, errors.New("it is no sequence")
	}

	var out []asn1.RawValue
	for left := seq.Bytes; len(left) > 0; {
		var v asn1.RawValue
		if left, err = asn1.Unmarshal(left, &v); err != nil {
			return nil, err
		}
		out = append(out, v)
	}

	return out, nil
}

// covers returns why a CRL of this scope does not cover a certificate:
// its kind, and one of its distribution points (RFC 5280 6.3.3 b).
func (s crlScope) covers(cert *x509.Certificate) error {
	switch {
	case s.onlyUser && cert.IsCA:
		return errors.New("the list is of end-entity certificates only")
	case s.onlyCA && !cert.IsCA:
		return errors.New("the list is of CA certificates only")
	case s.named && !slices.ContainsFunc(s.names, func(n string) bool {
		return slices.Contains(cert.CRLDistributionPoints, n)
	}):
		return fmt.Errorf("the list is for the distribution point %q, which the certificate does not name",
			s.names)
	}

	return nil
}
