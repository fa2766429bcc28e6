package udap

import (
	"bytes"
	"context"
	"crypto"

	// CertID names issuers by SHA-1 nearly everywhere (RFC 6960 4.1.1); no decision depends on it
	_ "crypto/sha1"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/ocsp"

	"fhirdest.example/udap/jose"
	"fhirdest.example/udap/trace"
)

const (
	maxResponders = 4
	// unboundedLife is how long a response without nextUpdate counts. RFC 6960
	// 4.2.2.1: newer information may be had at any time.
	unboundedLife = 5 * time.Minute
)

var oidNoCheck = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 48, 1, 5}

// CheckOCSP checks an OCSP response by itself: made for this certificate,
// signed by its issuer or by a responder that the issuer certified for that,
// and within its dates. It returns when the response stops counting.
func CheckOCSP(response []byte, cert, issuer *x509.Certificate, now time.Time) (until time.Time, err error) {
	_, until, err = parseOCSP(response, cert, issuer, now)
	return until, err
}

func parseOCSP(der []byte, cert, issuer *x509.Certificate, now time.Time) (*ocsp.Response, time.Time, error) {
	if cert == nil || issuer == nil {
		return nil, time.Time{}, errors.New("no certificate or no issuer")
	}

	bare, embedded, err := splitResponse(der)
	if err != nil {
		return nil, time.Time{}, err
	}

	r, err := ocsp.ParseResponseForCert(bare, cert, nil)
	if err != nil {
		return nil, time.Time{}, err
	}
	if !slices.Contains(certSignatures, r.SignatureAlgorithm) {
		return nil, time.Time{}, fmt.Errorf("the response is signed with %s", r.SignatureAlgorithm)
	}
	if err := checkCertID(r, cert, issuer); err != nil {
		return nil, time.Time{}, err
	}
	if err := checkSigner(r, embedded, issuer, now); err != nil {
		return nil, time.Time{}, err
	}

	until, err := statusDates(r, now)
	return r, until, err
}

// statusDates returns when a response stops counting.
func statusDates(r *ocsp.Response, now time.Time) (time.Time, error) {
	until := r.NextUpdate
	if until.IsZero() {
		until = r.ThisUpdate.Add(unboundedLife)
	}

	switch {
	case r.ThisUpdate.After(now.Add(crlSkew)):
		return until, fmt.Errorf("the response begins at %s, now it is %s", trace.Stamp(r.ThisUpdate),
			trace.Stamp(now))
	case now.After(until):
		return until, fmt.Errorf("the response ended at %s, now it is %s", trace.Stamp(until), trace.Stamp(now))
	}

	return until, nil
}

// wireResponse and the types below it are an OCSPResponse as far as its
// certificates are concerned (RFC 6960 4.2.1).
type wireResponse struct {
	Status asn1.Enumerated
	Bytes  wireBytes `asn1:"explicit,tag:0,optional"`
}

type wireBytes struct {
	Type     asn1.ObjectIdentifier
	Response []byte
}

type wireBasic struct {
	Data         asn1.RawValue
	Algorithm    asn1.RawValue
	Signature    asn1.RawValue
	Certificates []asn1.RawValue `asn1:"explicit,tag:0,optional"`
}

// splitResponse returns a response without its certificates, and those. The
// library uses the first certificate as the signer's, whatever it is.
func splitResponse(der []byte) (bare []byte, embedded []asn1.RawValue, err error) {
	var outer wireResponse
	rest, err := asn1.Unmarshal(der, &outer)
	if err != nil || len(rest) > 0 {
		return nil, nil, fmt.Errorf("the content is not one OCSP response (%v)", err)
	}
	if outer.Bytes.Response == nil {
		return der, nil, nil // an error, which has no signature
	}

	var basic wireBasic
	rest, err = asn1.Unmarshal(outer.Bytes.Response, &basic)
	if err != nil || len(rest) > 0 {
		return nil, nil, fmt.Errorf("the content is not one basic OCSP response (%v)", err)
	}

	embedded, basic.Certificates = basic.Certificates, nil
	if outer.Bytes.Response, err = asn1.Marshal(basic); err != nil {
		return nil, nil, err
	}

	bare, err = asn1.Marshal(outer)
	return bare, embedded, err
}

// maxEmbedded bounds the certificates of a response that are looked at.
const maxEmbedded = 4

// checkSigner accepts a response signed by the issuer itself, or by a responder
// that the issuer certified for that, whichever certificates come with it and in
// whatever order (RFC 6960 4.2.2.2).
func checkSigner(r *ocsp.Response, embedded []asn1.RawValue, issuer *x509.Certificate, now time.Time) error {
	bySigner := r.CheckSignatureFrom(issuer)
	if bySigner == nil {
		return nil
	}

	var refused error
	for _, raw := range embedded[:min(len(embedded), maxEmbedded)] {
		delegate, err := x509.ParseCertificate(raw.FullBytes)
		if err != nil || delegate.Equal(issuer) || r.CheckSignatureFrom(delegate) != nil {
			continue
		}
		if refused = checkResponder(delegate, issuer, now); refused == nil {
			return nil
		}
	}

	if refused != nil {
		return refused
	}
	return fmt.Errorf("bad OCSP signature: neither the issuer nor a certificate in the response made it: %w",
		bySigner)
}

// checkResponder verifies a delegated responder (RFC 6960 4.2.2.2). One without
// ocsp-nocheck would have to be asked about in turn: it is refused.
func checkResponder(delegate, issuer *x509.Certificate, now time.Time) error {
	noCheck := slices.ContainsFunc(delegate.Extensions, func(e pkix.Extension) bool {
		return e.Id.Equal(oidNoCheck)
	})
	switch {
	case !SameName(delegate.RawIssuer, issuer.RawSubject):
		return errors.New("the responder's certificate is by another issuer")
	case issuer.CheckSignature(delegate.SignatureAlgorithm, delegate.RawTBSCertificate,
		delegate.Signature) != nil:
		return errors.New("bad OCSP signature: the issuer did not sign the responder's certificate")
	case !slices.Contains(delegate.ExtKeyUsage, x509.ExtKeyUsageOCSPSigning):
		return errors.New("the responder's certificate is not for OCSP signing")
	case !mayUseKey(delegate, x509.KeyUsageDigitalSignature):
		return errors.New("the responder's key may not sign (keyUsage without digitalSignature)")

	case now.Before(delegate.NotBefore) || now.After(delegate.NotAfter):
		return fmt.Errorf("the responder's certificate counts from %s to %s", trace.Stamp(delegate.NotBefore),
			trace.Stamp(delegate.NotAfter))
	case !slices.Contains(certSignatures, delegate.SignatureAlgorithm):
		return fmt.Errorf("the responder's certificate is signed with %s", delegate.SignatureAlgorithm)

	case !noCheck:
		return errors.New("the responder's certificate has no ocsp-nocheck, so its own status is unknown")
	}

	return jose.CheckKey(delegate.PublicKey)
}

// certID names the certificate that one status is about (RFC 6960 4.1.1).
type certID struct {
	HashAlgorithm pkix.AlgorithmIdentifier
	NameHash      []byte
	KeyHash       []byte
	Serial        *big.Int
}

// statusData is the part of ResponseData that is read a second time: the
// library picks a status by serial alone.
type statusData struct {
	Raw         asn1.RawContent
	Version     int `asn1:"optional,default:0,explicit,tag:0"`
	ResponderID asn1.RawValue
	ProducedAt  time.Time `asn1:"generalized"`
	Responses   []asn1.RawValue
	Extensions  []pkix.Extension `asn1:"explicit,tag:1,optional"`
}

// checkCertID makes sure that the status read is of this issuer's certificate,
// not of another issuer's with the same serial.
func checkCertID(r *ocsp.Response, cert, issuer *x509.Certificate) error {
	var data statusData
	if rest, err := asn1.Unmarshal(r.TBSResponseData, &data); err != nil || len(rest) > 0 {
		return fmt.Errorf("the response's data cannot be read (%v)", err)
	}

	for _, e := range data.Extensions {
		if e.Critical {
			return fmt.Errorf("the response has the critical extension %v", e.Id)
		}
	}

	for _, single := range data.Responses {
		var id certID
		if _, err := asn1.Unmarshal(single.Bytes, &id); err != nil {
			return fmt.Errorf("a status of the response cannot be read: %w", err)
		}
		if id.Serial.Cmp(cert.SerialNumber) == 0 {
			return id.names(cert, issuer, r.IssuerHash)
		}
	}

	return errors.New("the response is about another certificate")
}

// names returns why the identifier is not that of a certificate of this issuer.
// The name in it is the issuer's as the certificate has it (RFC 6960 4.1.1), or
// as the issuer has it: the two may be encoded differently.
func (id certID) names(cert, issuer *x509.Certificate, h crypto.Hash) error {
	var spki struct {
		Algorithm pkix.AlgorithmIdentifier
		Key       asn1.BitString
	}
	if _, err := asn1.Unmarshal(issuer.RawSubjectPublicKeyInfo, &spki); err != nil {
		return err
	}
	if !h.Available() || !bytes.Equal(id.KeyHash, digestBy(h, spki.Key.RightAlign())) ||
		!bytes.Equal(id.NameHash, digestBy(h, issuer.RawSubject)) &&
			!bytes.Equal(id.NameHash, digestBy(h, cert.RawIssuer)) {
		return errors.New("the response is about a certificate of another issuer")
	}

	return nil
}

func digestBy(h crypto.Hash, data []byte) []byte {
	w := h.New()
	w.Write(data)
	return w.Sum(nil)
}

// byResponder asks the responders of a certificate that has no list: any
// usable response with the status revoked counts before any with good.
func (v *Verifier) byResponder(ctx context.Context, cert, issuer *x509.Certificate, now time.Time) status {
	urls := webURLs(cert.OCSPServer, maxResponders)
	out := status{text: "no response from " + strings.Join(urls, ", ")}
	var texts []string

	for _, a := range v.Status.Status(ctx, StatusQuery{
		Certificate: cert,
		Issuer:      issuer,
		URLs:        urls,
	}) {
		texts = append(texts, trace.Cut(a.URL, 200)+": "+out.add(a, cert, issuer, now))
	}

	if len(texts) > 0 {
		out.text = strings.Join(texts, "; ")
	}
	return out
}

// add adds one answer to the status and returns its description.
func (s *status) add(a StatusAnswer, cert, issuer *x509.Certificate, now time.Time) string {
	if a.Err != nil {
		s.err = errors.Join(s.err, a.Err)
		return fmt.Sprintf("not available (%v)", a.Err)
	}

	r, until, err := parseOCSP(a.Response, cert, issuer, now)
	switch {
	case err != nil:
		s.err = errors.Join(s.err, err)
		return "not usable: " + err.Error()
	case r.Status == ocsp.Revoked:
		s.known, s.revoked = true, true
		return fmt.Sprintf("OCSP response of %s: revoked on %s (reason %d)", trace.Stamp(r.ThisUpdate),
			trace.Stamp(r.RevokedAt),
			r.RevocationReason)

	case r.Status == ocsp.Good:
		s.known = true
		return fmt.Sprintf("OCSP response of %s, until %s: good", trace.Stamp(r.ThisUpdate), trace.Stamp(until))
	}

	return "the responder does not know the certificate"
}
