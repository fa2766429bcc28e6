package examine_test

import (
	"crypto/x509"
	"testing"

	"fhirdest.example/certs"
	"fhirdest.example/server/servertest"
	"fhirdest.example/udap"
	"fhirdest.example/udap/client"
	"fhirdest.example/udap/conform"
	"fhirdest.example/udap/conform/examine"
	"fhirdest.example/udap/fetch"
)

// memberURI is that of the member who examines.
const memberURI = "https://examiner.test/app"

// setting is that of a member of community A, with both issuers at hand. address is
// where the destination is reached.
func setting(t *testing.T, d *servertest.Destination, address string) examine.Setting {
	t.Helper()
	source, err := fetch.New(fetch.Config{
		Allow: []string{d.Lists.URL},
		Now:   d.Now,
	})
	if err != nil {
		t.Fatal(err)
	}

	roots := x509.NewCertPool()
	roots.AddCert(d.TLS.Cert)
	id := d.Client(d.A, memberURI)
	return examine.Setting{
		Issuer:      d.A.Issuing,
		OtherIssuer: d.B.Issuing,
		CRL:         d.Lists.URL + "/a.crl",
		OtherCRL:    d.Lists.URL + "/b.crl",
		Client: client.Config{
			Base:      d.Base,
			Community: servertest.URIA,
			Chain:     id.Chain,
			Key:       id.Key,
			TLSRoots:  roots,
			Dial:      address,
			Now:       d.Now,
			Verifier: &udap.Verifier{
				Revocation: source,
				Communities: []*udap.Community{{
					URI:     servertest.URIA,
					Anchors: []*x509.Certificate{d.A.Root.Cert},
				}},
			},
		},
	}
}

// start starts a destination with change, where there is a member whose certificate
// was revoked before.
func start(
	t *testing.T, change ...func(*servertest.Env),
) (d *servertest.Destination, revoked *certs.Identity) {
	t.Helper()
	revoke := func(w *servertest.Env) {
		revoked = w.Client(w.A, memberURI+"/revoked")
		w.Publish("a", w.A.Issuing, certs.RevokedEntry{
			Serial: revoked.Chain[0].SerialNumber,
			Time:   w.Now(),
			Reason: 1,
		})
	}
	return servertest.Start(t, append(change, revoke)...), revoked
}

// failed returns the findings that are violated, or warnings.
func failed(r *examine.Report) (out []examine.Finding) {
	for _, f := range r.Findings {
		if f.Verdict == conform.Violated || f.Verdict == conform.Warned {
			out = append(out, f)
		}
	}
	return out
}
