package udaptest

import (
	"context"
	"crypto"
	"crypto/x509"
	"fmt"
	"math/big"
	"sync"
	"testing"
	"time"

	"fhirdest.example/certs"
	"fhirdest.example/udap"
	"fhirdest.example/udap/forge"
	"fhirdest.example/udap/trace"
)

// The communities and the URLs of every environment.
const (
	CommunityA = trace.CommunityURI("urn:example:community:a")
	CommunityB = trace.CommunityURI("urn:example:community:b")

	Base         = "https://fhir.test/fhir"
	Registration = "https://fhir.test/oauth/register"
	Token        = "https://fhir.test/oauth/token"

	Client1URI = "https://client1.test/app"
	Client2URI = "https://client2.test/app"
)

// Now is the time in every environment.
var Now = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// Env is two trust communities, A and B, that a verifier knows, and X, which
// no verifier trusts.
type Env struct {
	Now     time.Time
	Kind    certs.KeyKind
	A, B, X *Hierarchy

	mu    sync.Mutex
	lists map[string]func() []udap.CRLAnswer // by the issuer's DER
	asked []udap.CRLQuery
}

// Hierarchy is one community's certificates: a root and an issuing CA.
type Hierarchy struct {
	Community *udap.Community
	Root, Int *certs.CA
}

// New makes an environment whose keys are all of one kind.
func New(t testing.TB, kind certs.KeyKind) *Env {
	t.Helper()
	w := &Env{
		Now:   Now,
		Kind:  kind,
		lists: map[string]func() []udap.CRLAnswer{},
	}
	w.A = w.hierarchy(t, CommunityA, "A", 0)
	w.B = w.hierarchy(t, CommunityB, "B", 2)

	w.X = w.hierarchy(t, "urn:example:stranger", "X", 4)
	return w
}

func (w *Env) hierarchy(t testing.TB, uri trace.CommunityURI, name string, key int) *Hierarchy {
	t.Helper()
	root, err := certs.NewRoot(w.Template("Root "+name), Key(t, w.Kind, key))
	must(t, err)
	issuing, err := root.NewCA(w.Template("Int "+name), Key(t, w.Kind, key+1))
	must(t, err)
	h := &Hierarchy{Root: root, Int: issuing, Community: &udap.Community{
		URI:           uri,
		Name:          name,
		Anchors:       []*x509.Certificate{root.Cert},
		Intermediates: []*x509.Certificate{issuing.Cert},
	}}

	w.Publish(t, root)
	w.Publish(t, issuing)
	return h
}

// Template is a certificate that is valid from a day ago for a year.
func (w *Env) Template(name string) certs.Template {
	return certs.Template{
		CommonName: name,
		NotBefore:  w.Now.Add(-24 * time.Hour),
		NotAfter:   w.Now.Add(365 * 24 * time.Hour),
	}
}

// Verifier knows communities A and B and asks the environment about revocation.
func (w *Env) Verifier() *udap.Verifier {
	return &udap.Verifier{
		Communities: []*udap.Community{w.A.Community, w.B.Community},
		Revocation:  w,
	}
}

// Client is a certificate with its key, and the chain that its holder sends.
type Client forge.Client

// Client issues a leaf with this URI under an authority. edit, when not nil,
// may change the template.
func (w *Env) Client(t testing.TB, ca *certs.CA, uri string, edit func(*certs.Template)) *Client {
	t.Helper()
	return w.ClientWith(t, ca, uri, Key(t, w.Kind, 10), edit)
}

// ClientWith is Client with a key of the caller's choice.
func (w *Env) ClientWith(
	t testing.TB, ca *certs.CA, uri string, key crypto.Signer, edit func(*certs.Template),
) *Client {
	t.Helper()
	tpl := w.Template("Leaf " + uri)
	tpl.URIs = []string{uri}
	tpl.CRL = []string{"http://crl.test/" + ca.Cert.Subject.CommonName + ".crl"}
	if edit != nil {
		edit(&tpl)
	}
	leaf, err := ca.Issue(tpl, key.Public())
	must(t, err)

	return &Client{
		URI:   uri,
		Key:   key,
		Chain: ca.Chain(leaf),
	}
}

// Leaf is the client's own certificate.
func (c *Client) Leaf() *x509.Certificate { return c.Chain[0] }

// Publish makes an authority's list current, with these serials revoked.
func (w *Env) Publish(t testing.TB, ca *certs.CA, revoked ...*big.Int) {
	t.Helper()
	tpl := certs.CRLTemplate{
		Number:     7,
		ThisUpdate: w.Now.Add(-time.Hour),
		NextUpdate: w.Now.Add(24 * time.Hour),
	}

	for _, serial := range revoked {
		tpl.Revoked = append(tpl.Revoked, certs.RevokedEntry{
			Serial: serial,
			Time:   w.Now.Add(-time.Minute),
			Reason: 1,
		})
	}

	w.PublishList(t, ca, tpl)
}

// PublishList makes a list from a template the authority's only one.
func (w *Env) PublishList(t testing.TB, ca *certs.CA, tpl certs.CRLTemplate) {
	t.Helper()
	der, err := ca.CRL(tpl)
	must(t, err)
	list, err := x509.ParseRevocationList(der)
	must(t, err)
	w.Answer(ca, udap.CRLAnswer{
		URL:     "http://crl.test/list",
		List:    list,
		Fetched: w.Now,
	})
}

// Answer sets the answers of the environment about certificates of an issuer.
func (w *Env) Answer(ca *certs.CA, answers ...udap.CRLAnswer) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lists[string(ca.Cert.Raw)] = func() []udap.CRLAnswer { return answers }
}

// CRLs implements udap.RevocationSource.
func (w *Env) CRLs(_ context.Context, q udap.CRLQuery) []udap.CRLAnswer {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.asked = append(w.asked, q)
	if f := w.lists[string(q.Issuer.Raw)]; f != nil {
		return f()
	}
	return []udap.CRLAnswer{{Err: fmt.Errorf("no list of %s in this environment", q.Issuer.Subject)}}
}

// Asked returns how often the environment was asked about revocation.
func (w *Env) Asked() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.asked)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
