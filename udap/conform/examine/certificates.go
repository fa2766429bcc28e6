package examine

import (
	"crypto/x509"
	"errors"
	"slices"
	"time"

	"fhirdest.example/certs"
	"fhirdest.example/udap"
	"fhirdest.example/udap/forge"
)

// badCertificate is a group of certificates with which nobody may be trusted.
type badCertificate struct {
	name   string
	title  string
	remedy string
	advice bool
	of     []signedBy
}

// signedBy makes a certificate that is wrong, with its key.
type signedBy struct {
	name string
	make func(*examination) (*forge.Client, error)
}

var badCertificates = []badCertificate{
	{
		name:   "stranger",
		title:  "A certificate of a community that is not trusted is refused",
		remedy: "build the path to the anchors of trust communities alone",
		of:     []signedBy{{"a certificate under an unknown root", stranger}},
	},
	{
		name:   "dates",
		title:  "A certificate that has expired, or is not valid yet, is refused",
		remedy: "check the dates of every certificate of the path",
		of: []signedBy{
			{"an expired certificate", dated(-48*time.Hour, -time.Hour)},
			{"a certificate of tomorrow", dated(24*time.Hour, 48*time.Hour)},
		},
	},
	{
		name:   "leaf",
		title:  "A certificate of a CA, or one that may not sign, is refused as that of a client",
		remedy: "the signer's certificate must be an end entity's, with digitalSignature",
		advice: true,
		of: []signedBy{
			{"a CA's certificate", changed(func(c *x509.Certificate) {
				c.IsCA, c.BasicConstraintsValid = true, true
				c.KeyUsage |= x509.KeyUsageCertSign
			})},
			{"a certificate for key encipherment alone", changed(func(c *x509.Certificate) {
				c.KeyUsage = x509.KeyUsageKeyEncipherment
			})},
		},
	},
	{
		name:   "revoked",
		title:  "A revoked certificate is refused",
		remedy: "look at the community's revocation lists for every certificate of the path",
		of:     []signedBy{{"a revoked certificate", revoked}},
	},
}

// dated mints a certificate with these dates, from now.
func dated(from, until time.Duration) func(*examination) (*forge.Client, error) {
	return func(x *examination) (*forge.Client, error) {
		return minted(x, func(t *certs.Template) {
			t.NotBefore, t.NotAfter = x.now().Add(from), x.now().Add(until)
		})
	}
}

// changed mints a certificate with a change.
func changed(mutate func(*x509.Certificate)) func(*examination) (*forge.Client, error) {
	return func(x *examination) (*forge.Client, error) {
		return minted(x, func(t *certs.Template) { t.Mutate = mutate })
	}
}

var errNotRevoked = errors.New("no revoked certificate is at hand (-revoked-cert, -revoked-key)")

func revoked(x *examination) (*forge.Client, error) {
	if x.Revoked == nil {
		return nil, errNotRevoked
	}
	uris, err := udap.RawSANURIs(x.Revoked.Chain[0])
	if err != nil || !slices.Contains(uris, x.self.URI) {
		return nil, errors.New("the revoked certificate has another URI than the member's")
	}
	return &forge.Client{
		URI:   x.self.URI,
		Key:   x.Revoked.Key,
		Chain: x.Revoked.Chain,
	}, nil
}

// certificateChecks send good statements that are signed with a wrong certificate.
func certificateChecks() []Check {
	var out []Check
	for _, b := range badCertificates {
		out = append(out, b.check("statement.certificate.", "S1-105", dcrRules,
			func(x *examination) (*tries, sender) { return x.tries(), x.sendStatement }))
	}
	return out
}

// check makes the check of a group; begin returns what sends its documents.
func (b badCertificate) check(
	prefix, rows, rule string, begin func(*examination) (*tries, sender),
) Check {
	return Check{
		Name:   prefix + b.name,
		Title:  b.title,
		Rows:   rows,
		Rule:   rule + "; RFC 5280 6",
		Remedy: b.remedy,
		Advice: b.advice,
		run: func(x *examination) answer {
			t, send := begin(x)
			for _, s := range b.of {
				c, err := s.make(x)
				if err == nil {
					err = send(t, s.name, c, nil)
				}
				if err != nil {
					return skipped("%v", err)
				}
			}
			return t.answer("signed with: ")
		},
	}
}
