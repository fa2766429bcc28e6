package doctor

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"fhirdest.example/certs"
	"fhirdest.example/udap/trace"
)

// examineCertificates examines the chain as it was sent.
func (e *examination) examineCertificates(state *tls.ConnectionState) {
	chain := state.PeerCertificates
	leaf := chain[0]

	e.examineKeys(chain)
	if e.examineSignatures(chain) {
		e.examineChain(chain)
	}
	e.examineNames(leaf)
	e.examineDates(chain)
	e.examineRevocation(leaf, state)
}

func (e *examination) examineKeys(chain []*x509.Certificate) {
	for _, c := range chain {
		if text, good := strength(c.PublicKey); !good {
			e.refuse(checkKey, trace.Finding{
				Expected: "RSA of 2048 bits, P-256, or better",
				Found:    text + " of " + name(c),
				Remedy:   "have the certificate issued anew for a stronger key",
			})
			return
		}
	}

	text, _ := strength(chain[0].PublicKey)
	e.trace.Pass(checkKey, "", text)
}

// strength describes a key, and reports whether it is strong enough (RFC 9325, 4.5).
func strength(key crypto.PublicKey) (text string, good bool) {
	const leastRSA, leastEC = 2048, 256
	switch k := key.(type) {
	case *rsa.PublicKey:
		return fmt.Sprintf("RSA %d", k.N.BitLen()), k.N.BitLen() >= leastRSA
	case *ecdsa.PublicKey:
		return k.Curve.Params().Name, k.Curve.Params().BitSize >= leastEC
	case ed25519.PublicKey:
		return "Ed25519", true
	}
	return fmt.Sprintf("%T", key), false
}

// outdatedSignatures are those by digests for which collisions can be made.
var outdatedSignatures = []x509.SignatureAlgorithm{
	x509.MD2WithRSA,
	x509.MD5WithRSA,
	x509.SHA1WithRSA,
	x509.DSAWithSHA1,
	x509.ECDSAWithSHA1,
}

// examineSignatures reports whether the certificates are signed well. The signature
// of a root on itself means nothing.
func (e *examination) examineSignatures(chain []*x509.Certificate) bool {
	for _, c := range chain {
		self := slices.Equal(c.RawIssuer, c.RawSubject)
		if !self && slices.Contains(outdatedSignatures, c.SignatureAlgorithm) {
			e.refuse(checkSignature, trace.Finding{
				Expected: "SHA-256 or better",
				Found:    c.SignatureAlgorithm.String() + " on " + name(c),
				Remedy:   "have the certificate issued anew",
			})
			return false
		}
	}

	e.trace.Pass(checkSignature, "", chain[0].SignatureAlgorithm.String())
	return true
}

// examineChain examines the order of what was sent, and whether that is enough.
func (e *examination) examineChain(chain []*x509.Certificate) {
	for i, c := range chain[:len(chain)-1] {
		if c.CheckSignatureFrom(chain[i+1]) == nil {
			continue
		}

		e.refuse(checkChain, trace.Finding{
			Expected: fmt.Sprintf("certificate %d to be the issuer of certificate %d", i+2, i+1),
			Found:    name(c) + ", then " + name(chain[i+1]),
			Remedy:   "order the file from the leaf to the last intermediate, and remove what is not of the chain",
		})

		return
	}

	pool := x509.NewCertPool()
	for _, c := range chain[1:] {
		pool.AddCert(c)
	}
	_, err := chain[0].Verify(x509.VerifyOptions{
		Roots:         e.Roots,
		Intermediates: pool,
		CurrentTime:   e.within(chain),
	})

	if unknown := (x509.UnknownAuthorityError{}); errors.As(err, &unknown) {
		last := chain[len(chain)-1]
		e.refuse(checkChain, trace.Finding{
			Expected: "a chain to a root that is known here",
			Found:    fmt.Sprintf("the issuer %q of certificate %d, the last, is not known", last.Issuer, len(chain)),
			Remedy: "have the server send its intermediates too; the root of an authority of your own " +
				"can be named (-ca)",
		})

		return
	}
	if err != nil {
		e.refuse(checkChain, trace.Finding{
			Expected: "a chain that counts for a web server",
			Found:    err.Error(),
			Remedy:   "have the certificate issued anew",
		})
		return
	}

	e.trace.Pass(checkChain, "", "sent are: "+names(chain))
}

// within is a moment at which all of a chain counts, if there is one: dates have a
// check of their own.
func (e *examination) within(chain []*x509.Certificate) time.Time {
	now := e.Now()
	for _, c := range chain {
		if now.After(c.NotAfter) {
			now = c.NotAfter.Add(-time.Second)
		}
	}

	for _, c := range chain {
		if now.Before(c.NotBefore) {
			now = c.NotBefore
		}
	}

	return now
}

func (e *examination) examineNames(leaf *x509.Certificate) {
	names := slices.Clone(leaf.DNSNames)
	for _, ip := range leaf.IPAddresses {
		names = append(names, ip.String())
	}

	if leaf.VerifyHostname(e.host) != nil {
		found := strings.Join(names, ", ")
		if found == "" {
			found = "no names in the SAN"
		}
		e.refuse(checkNames, trace.Finding{
			Expected: e.host,
			Found:    found,
			Remedy:   "have a certificate issued for that name: each hop's certificate has its own (exchange routing)",
		})

		return
	}

	e.trace.Pass(checkNames, "", strings.Join(names, ", "))
}

func (e *examination) examineDates(chain []*x509.Certificate) {
	now := e.Now()
	last := chain[0]
	for _, c := range chain {
		if now.Before(c.NotBefore) || now.After(c.NotAfter) {
			e.refuse(checkDates, trace.Finding{
				Expected: "certificates that count on " + trace.Stamp(now),
				Found: fmt.Sprintf("%s counts from %s to %s", name(c), trace.Stamp(c.NotBefore),
					trace.Stamp(c.NotAfter)),
				Remedy: "replace it, or look at the clocks of both machines",
			})
			return
		}

		if c.NotAfter.Before(last.NotAfter) {
			last = c
		}
	}

	left := last.NotAfter.Sub(now)
	text := fmt.Sprintf("until %s: %d days", trace.Stamp(last.NotAfter), int(left.Hours()/24))
	if certs.EndsSoon(last, now) {
		e.trace.Warn(checkDates, trace.Finding{
			Expected: "30 days, or a third of its life",
			Found:    name(last) + " counts " + text,
			Remedy:   "replace it soon; the file is read again when it changes",
		})
		return
	}

	e.trace.Pass(checkDates, "", text)
}

// shortLife is for how long a certificate may live without a word about its
// revocation (CA/Browser Forum, 4.9.11; RFC 9608).
const shortLife = 10 * 24 * time.Hour

// mustStaple is the TLS feature extension, with status_request (RFC 7633).
var mustStaple = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 1, 24}

func (e *examination) examineRevocation(leaf *x509.Certificate, state *tls.ConnectionState) {
	staples := false
	for _, x := range leaf.Extensions {
		staples = staples || x.Id.Equal(mustStaple)
	}

	places := slices.Concat(leaf.OCSPServer, leaf.CRLDistributionPoints)
	switch {
	case staples && len(state.OCSPResponse) == 0:
		e.refuse(checkRevocation, trace.Finding{
			Expected: "a stapled OCSP answer, which the certificate demands",
			Found:    "none",
			Remedy:   "have it issued anew without the demand, or staple",
		})

	case len(places) == 0 && leaf.NotAfter.Sub(leaf.NotBefore) > shortLife:
		e.trace.Warn(checkRevocation, trace.Finding{
			Expected: "a distribution point of a CRL, or an OCSP server",
			Found:    "neither, in a certificate of more than ten days",
			Remedy:   "have the authority name one, or issue certificates that live for days",
		})

	case len(places) == 0:
		e.trace.Pass(checkRevocation, "", "neither is needed in a certificate of ten days or less")
	default:
		e.trace.Pass(checkRevocation, "", strings.Join(places, ", "))
	}
}

func names(chain []*x509.Certificate) string {
	var out []string
	for _, c := range chain {
		out = append(out, name(c))
	}
	return strings.Join(out, "; ")
}

// name is a certificate's name for people.
func name(c *x509.Certificate) string {
	if s := c.Subject.String(); s != "" {
		return s
	}
	return fmt.Sprintf("the certificate with serial %x", c.SerialNumber)
}
