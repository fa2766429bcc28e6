package udap

import (
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"fhirdest.example/udap/jose"
	"fhirdest.example/udap/trace"
)

// certFault is a rule about a certificate that did not hold.
type certFault struct {
	check    trace.Check
	index    int // place on the path, leaf first
	cert     *x509.Certificate
	expected string
	found    string
	remedy   string
	missing  bool // an issuer is missing
	err      error
}

// busy reports whether the fault is this server's and not the certificate's.
func (f *certFault) busy() bool { return f != nil && errors.Is(f.err, ErrUnavailable) }

func (f *certFault) finding() trace.Finding {
	found := f.found
	if f.cert != nil {
		found = fmt.Sprintf("certificate %d of the path, %s: %s", f.index, jose.CertName(f.cert), f.found)
	}

	return trace.Finding{
		Expected: f.expected,
		Found:    found,
		Remedy:   f.remedy,
		Err:      f.err,
	}
}

// certSignatures are the algorithms by which certificates and lists may be
// signed. SHA-1 and MD5 are broken; RSA-PSS and Ed25519 are not among what the
// guide's parties must read.
var certSignatures = []x509.SignatureAlgorithm{
	x509.SHA256WithRSA, x509.SHA384WithRSA, x509.SHA512WithRSA,
	x509.ECDSAWithSHA256, x509.ECDSAWithSHA384, x509.ECDSAWithSHA512,
}

// checkCertificate is the rule of form for every certificate of a path but the
// anchor (RFC 5280 4.1.2.1, 4.1.2.2, 4.2).
func checkCertificate(c *x509.Certificate) *certFault {
	switch {
	case c.Version != 3:
		return &certFault{
			check:    checkCertForm,
			expected: "X.509 version 3",
			found:    fmt.Sprintf("version %d", c.Version),
		}

	case c.SerialNumber.Sign() <= 0 || c.SerialNumber.BitLen() > 159:
		return &certFault{
			check:    checkCertForm,
			expected: "a positive serial of at most 20 octets",
			found:    "serial " + jose.SerialName(c),
		}

	case len(unhandled(c)) > 0:
		return &certFault{
			check:    checkCertForm,
			expected: "no critical extension that is not understood",
			found:    fmt.Sprintf("critical %v", unhandled(c)),
		}

	case !slices.Contains(certSignatures, c.SignatureAlgorithm):
		return &certFault{
			check:    checkCertSig,
			expected: "a signature with RSA PKCS#1 or ECDSA over SHA-256, SHA-384 or SHA-512",
			found:    c.SignatureAlgorithm.String(),
		}
	}

	if err := jose.CheckKey(c.PublicKey); err != nil {
		return &certFault{
			check:    checkCertKey,
			expected: jose.SoundKeys,
			found:    err.Error(),
		}
	}

	return nil
}

var oidKeyUsage = asn1.ObjectIdentifier{2, 5, 29, 15}

// mayUseKey reports whether keyUsage allows a use. Without the extension every
// use is allowed; an extension without the bit, even one without any bit,
// forbids it (RFC 5280 4.2.1.3).
func mayUseKey(c *x509.Certificate, use x509.KeyUsage) bool {
	return c.KeyUsage&use != 0 || c.KeyUsage == 0 && !hasExtension(c, oidKeyUsage)
}

// checkIssuer is the rule for every CA of a path, the anchor included: it may
// sign certificates, with below CA certificates that are not self-issued between
// it and the leaf (RFC 5280 6.1.4 k to n).
func checkIssuer(c *x509.Certificate, below int) *certFault {
	switch {
	case !c.BasicConstraintsValid || !c.IsCA:
		return &certFault{
			check:    checkCertCA,
			expected: "an issuer that is a CA (basicConstraints CA:TRUE)",
			found:    "no CA",
		}

	case !mayUseKey(c, x509.KeyUsageCertSign):
		return &certFault{
			check:    checkCertCA,
			expected: "keyUsage keyCertSign",
			found:    "a CA that may not sign certificates",
		}

	case (c.MaxPathLen > 0 || c.MaxPathLenZero) && below > c.MaxPathLen:
		return &certFault{
			check: checkCertCA,
			expected: fmt.Sprintf("at most %d CA certificates below this one (pathLenConstraint)",
				c.MaxPathLen),
			found: fmt.Sprint(below),
		}
	}

	return nil
}

// CheckAnchor reports why a certificate cannot be an anchor of a community: it
// must be a CA of version 3 with a sound key, within its dates.
func CheckAnchor(c *x509.Certificate, now time.Time) error {
	f := checkIssuer(c, 0)
	if f == nil {
		f = checkDates(c, now)
	}
	if f != nil {
		return fmt.Errorf("anchor %s: expected %s; found %s", jose.CertName(c), f.expected, f.found)
	}
	if c.Version != 3 {
		return fmt.Errorf("anchor %s: X.509 version %d", jose.CertName(c), c.Version)
	}
	if err := jose.CheckKey(c.PublicKey); err != nil {
		return fmt.Errorf("anchor %s: %w", jose.CertName(c), err)
	}

	return nil
}

func checkDates(c *x509.Certificate, now time.Time) *certFault {
	switch {
	case now.Before(c.NotBefore):
		return &certFault{
			check:    checkCertDates,
			expected: "a certificate that is valid already",
			found:    "valid from " + trace.Stamp(c.NotBefore) + ", now it is " + trace.Stamp(now),
		}

	case now.After(c.NotAfter):
		return &certFault{
			check:    checkCertDates,
			expected: "a certificate that is still valid",
			found:    "expired at " + trace.Stamp(c.NotAfter) + ", now it is " + trace.Stamp(now),
			remedy:   "renew the certificate; the same URI name keeps the registration",
		}
	}

	return nil
}

// checkEndEntity is the rule for the signer's own certificate.
func checkEndEntity(c *x509.Certificate) *certFault {
	switch {
	case c.IsCA && selfIssued(c):
		return &certFault{
			check:    checkLeaf,
			expected: "an end-entity certificate that a trust community issued",
			found:    "a self-signed CA certificate",
			remedy:   "have a certificate issued by the community: one that the client made itself proves nothing",
		}

	case c.IsCA:
		return &certFault{
			check:    checkLeaf,
			expected: "an end-entity certificate",
			found:    "a CA certificate",
			remedy:   "x5c[0] must be the client's own certificate, not its issuer's",
		}

	case !mayUseKey(c, x509.KeyUsageDigitalSignature):
		return &certFault{
			check:    checkLeaf,
			expected: "keyUsage digitalSignature (RFC 5280 4.2.1.3)",
			found:    "a certificate whose key may not sign",
			remedy:   "have a certificate issued with the digitalSignature bit",
		}

	case c.KeyUsage&x509.KeyUsageCertSign != 0:
		return &certFault{
			check:    checkLeaf,
			expected: "no keyUsage keyCertSign in a certificate that is not a CA's (RFC 5280 4.2.1.9)",
			found:    "keyCertSign",
			remedy:   "have a certificate issued without the keyCertSign bit",
		}

	case c.MaxPathLen > 0 || c.MaxPathLenZero:
		return &certFault{
			check:    checkLeaf,
			expected: "no pathLenConstraint in a certificate that is not a CA's (RFC 5280 4.2.1.9)",
			found:    fmt.Sprintf("pathLenConstraint %d", c.MaxPathLen),
		}

	case hasExtension(c, oidNameConstraints):
		return &certFault{
			check:    checkLeaf,
			expected: "no name constraints in a certificate that is not a CA's (RFC 5280 4.2.1.10)",
			found:    "name constraints",
		}
	}

	uris, err := RawSANURIs(c)
	if err != nil {
		return &certFault{
			check:    checkCertForm,
			expected: "a readable Subject Alternative Name",
			found:    err.Error(),
		}
	}

	for _, u := range uris {
		if err := checkSANURI(u); err != nil {
			return &certFault{
				check:    checkCertForm,
				expected: "URI names of printable ASCII without user information",
				found:    err.Error(),
			}
		}
	}

	return nil
}

// checkReserved refuses a leaf that was issued for another place. It has been through
// checkEndEntity, so its names can be read.
func checkReserved(leaf *x509.Certificate, reserved Reserved) *certFault {
	uris, _ := RawSANURIs(leaf)
	uri := reserved.first(uris)
	if uri == "" {
		return nil
	}
	return &certFault{
		check:    checkPlace,
		expected: "a certificate that the community issued to a member",
		found:    "one that a lab issued to a tester, for " + trace.Cut(uri, 150),
		remedy:   "use it in the session of the lab that issued it: it counts nowhere else",
	}
}

var (
	oidExtKeyUsage    = asn1.ObjectIdentifier{2, 5, 29, 37}
	oidAnyExtKeyUsage = "2.5.29.37.0"
)

// checkExtKeyUsage applies the community's list, if it has one: the leaf must
// carry one of them, and no CA above may be limited to others.
func checkExtKeyUsage(path []*x509.Certificate, wanted []string) *certFault {
	if len(wanted) == 0 {
		return nil
	}

	for i, c := range path[:len(path)-1] {
		have, err := extKeyUsages(c)
		ok := slices.ContainsFunc(have, func(oid string) bool {
			return slices.Contains(wanted, oid) || i > 0 && oid == oidAnyExtKeyUsage
		})
		if err != nil || !ok && (i == 0 || len(have) > 0) {
			return &certFault{
				check:    checkUsage,
				index:    i,
				cert:     c,
				expected: "an extended key usage among " + strings.Join(wanted, ", "),
				found:    "extended key usages [" + strings.Join(have, ", ") + "]",
				err:      err,
			}
		}
	}

	return nil
}

func extKeyUsages(c *x509.Certificate) ([]string, error) {
	value, err := extensionValue(c, oidExtKeyUsage)
	if err != nil || value == nil {
		return nil, err
	}

	var oids []asn1.ObjectIdentifier
	if _, err := asn1.Unmarshal(value, &oids); err != nil {
		return nil, err
	}

	var out []string
	for _, o := range oids {
		out = append(out, o.String())
	}

	return out, nil
}
