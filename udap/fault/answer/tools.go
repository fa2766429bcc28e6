package answer

import (
	"crypto"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"fhirdest.example/certs"
	"fhirdest.example/udap/trace"
)

// Tools are what faults are made with: the addresses and the keys of one session.
type Tools struct {
	Base    string // public FHIR base URL
	Private string // the same under the private site; empty: there is none
	Issuer  string // public URL of the authorization server, beside the base
	Now     func() time.Time

	// Communities are those in which the session has a certificate; metadata that
	// asks for none is signed by the first.
	Communities []Community

	Elsewhere string // another origin whose requests are seen; empty: there is none
	Listener  bool   // there is a listener with faulty TLS

	// Applied is called once for each answer that has the fault, before its first
	// byte; nil: nobody wants to know. The request is that of the decorator.
	Applied func(r *http.Request, fault string)
}

// Community is a trust community that can issue certificates for the session.
type Community struct {
	URI     trace.CommunityURI
	Issuing *certs.CA
	CRL     string          // distribution point of what Issuing issues; empty: none
	Own     *certs.Identity // signs the session's metadata; its key is RSA
}

// workshop is where one decorator makes what its fault needs. Certificates are made
// once, at the first answer that needs them.
type workshop struct {
	Tools

	mu     sync.Mutex
	issued map[string]*certs.Identity // guarded by mu, like revoked
	// revoked are the serials on the list at revokedPath.
	revoked []certs.RevokedEntry
}

func newWorkshop(t Tools) *workshop {
	return &workshop{
		Tools:  t,
		issued: map[string]*certs.Identity{},
	}
}

// life is how long certificates made here are valid.
const life = 30 * 24 * time.Hour

// certificate returns a certificate that a community issued for its own key, made
// at the first call and changed before it was signed.
func (w *workshop) certificate(
	c *Community, name string, change func(*certs.Template),
) (*certs.Identity, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if id := w.issued[name]; id != nil {
		return id, nil
	}

	now := w.Now()
	t := certs.Template{
		CommonName: "lab " + name,
		URIs:       []string{w.Base},
		NotBefore:  now.Add(-time.Hour),
		NotAfter:   now.Add(life),
	}
	if c.CRL != "" {
		t.CRL = []string{c.CRL}
	}
	change(&t)

	leaf, err := c.Issuing.Issue(t, c.Own.Key.Public())
	if err != nil {
		return nil, err
	}
	id := &certs.Identity{
		Chain: c.Issuing.Chain(leaf),
		Key:   c.Own.Key,
	}
	w.issued[name] = id

	return id, nil
}

// revokedPath is where the list is on which a revoked certificate is.
const revokedPath = "/lab-revoked.crl"

// revoke puts a certificate on the list of this decorator.
func (w *workshop) revoke(c *x509.Certificate) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, r := range w.revoked {
		if r.Serial.Cmp(c.SerialNumber) == 0 {
			return
		}
	}

	w.revoked = append(w.revoked, certs.RevokedEntry{
		Serial: new(big.Int).Set(c.SerialNumber),
		Time:   w.Now().Add(-time.Minute),
		Reason: 1, // keyCompromise
	})
}

// list returns the list with all that was revoked; nil if nothing was.
func (w *workshop) list() ([]byte, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.revoked) == 0 {
		return nil, nil
	}

	scope, err := onlyAt(w.Issuer + revokedPath)
	if err != nil {
		return nil, err
	}
	now := w.Now()
	return w.Communities[0].Issuing.CRL(certs.CRLTemplate{
		Number:     now.Unix(),
		ThisUpdate: now.Add(-time.Minute),
		NextUpdate: now.Add(24 * time.Hour),
		Revoked:    w.revoked,
		Further:    []pkix.Extension{scope},
	})
}

// onlyAt returns the extension that limits a list to the certificates with one
// distribution point (RFC 5280 5.2.5): it does not count as the issuer's list of all
// others.
func onlyAt(place string) (pkix.Extension, error) {
	type name struct {
		Full []asn1.RawValue `asn1:"optional,tag:0"`
	}
	type scope struct {
		Point name `asn1:"optional,tag:0"`
	}

	value, err := asn1.Marshal(scope{
		Point: name{
			Full: []asn1.RawValue{
				{
					Class: asn1.ClassContextSpecific,
					Tag:   6, // uniformResourceIdentifier
					Bytes: []byte(place),
				},
			},
		},
	})
	return pkix.Extension{
		Id:       asn1.ObjectIdentifier{2, 5, 29, 28},
		Critical: true,
		Value:    value,
	}, err
}

// foreignCommunity is a community that nobody configured.
var foreignCommunity = sync.OnceValues(func() (*certs.Community, error) {
	return certs.NewCommunity(certs.CommunityPlan{
		Name:      "Nobody's",
		Key:       certs.P256,
		NotBefore: time.Unix(1767225600, 0), // 2026-01-01
		Life:      20 * 365 * 24 * time.Hour,
	})
})

// foreignKey is an RSA key that no certificate has.
var foreignKey = sync.OnceValues(func() (crypto.Signer, error) {
	return certs.NewKey(certs.RSA2048)
})

// publicPath returns the path that a request would have under the public site.
func (w *workshop) publicPath(r *http.Request) string {
	at := r.URL.EscapedPath()
	if w.Private == "" {
		return at
	}

	site := strings.TrimSuffix(path(w.Private), "/fhir")
	rest, ok := strings.CutPrefix(at, site+"/")
	if !ok {
		return at
	}
	return strings.TrimSuffix(path(w.Base), "/fhir") + "/" + rest
}

// path returns the path of a URL, as requests have it.
func path(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return ""
	}
	return u.EscapedPath()
}

// origin returns scheme and authority of a URL.
func origin(text string) string {
	i := strings.Index(text, "://")
	if i < 0 {
		return text
	}
	if j := strings.IndexByte(text[i+3:], '/'); j >= 0 {
		return text[:i+3+j]
	}
	return text
}
