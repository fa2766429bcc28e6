package examine_test

import (
	"context"
	"crypto"
	"crypto/x509"
	"path/filepath"
	"sync"
	"testing"

	"fhirdest.example/certs"
	"fhirdest.example/server/people/users"
	"fhirdest.example/server/servertest"
	"fhirdest.example/udap"
	"fhirdest.example/udap/client"
	"fhirdest.example/udap/client/forms"
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
	cfg := client.Config{
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
	}
	return examine.Setting{
		NewKey:      newKey,
		Login:       signsIn(cfg),
		Client:      cfg,
		Issuer:      d.A.Issuing,
		OtherIssuer: d.B.Issuing,
		CRL:         d.Lists.URL + "/a.crl",
		OtherCRL:    d.Lists.URL + "/b.crl",
	}
}

const password = "correct horse battery staple"

// withPerson gives a destination somebody who can sign in, and is a patient.
func withPerson(t *testing.T) func(*servertest.Env) {
	t.Helper()
	hash, err := users.Hash(password)
	if err != nil {
		t.Fatal(err)
	}

	return func(w *servertest.Env) {
		w.Config.Users = "users.json"
		err := users.Write(filepath.Join(w.Dir, w.Config.Users), []users.User{{
			Username: "alice",
			Name:     "Alice Patient",
			Subject:  "subject-of-alice",
			FHIRUser: "Patient/p0001",
			Password: hash,
		}})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// signsIn is a login of that person.
func signsIn(cfg client.Config) func(ctx context.Context, target, stop string) (string, error) {
	return func(ctx context.Context, target, stop string) (string, error) {
		c, err := client.New(cfg)
		if err != nil {
			return "", err
		}
		defer c.Close()

		b, err := forms.New(c, stop)
		if err != nil {
			return "", err
		}
		p := &forms.Person{
			Username: "alice",
			Password: password,
		}
		return p.Visit(ctx, b, target)
	}
}

// start starts a destination with a person, after change, where there is a member whose
// certificate was revoked before.
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
	explain := func(w *servertest.Env) { w.Config.Explain = "client" }
	return servertest.Start(t, append(change, withPerson(t), explain, revoke)...), revoked
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

// rsa is made once: that takes longer than an examination.
var rsa = sync.OnceValues(func() (crypto.Signer, error) { return certs.NewKey("rsa2048") })

func newKey(kind certs.KeyKind) (crypto.Signer, error) {
	if kind == "rsa2048" {
		return rsa()
	}
	return certs.NewKey(kind)
}
