package lab

import (
	"cmp"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"encoding/base32"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"fhirdest.example/certs"
	"fhirdest.example/udap/jose"
)

// ClientRequest asks for a certificate for a client under test. Its URI is always
// below the pages of the session, so that no such certificate names a member of the
// community that is not of the session.
type ClientRequest struct {
	Community string `json:"community,omitempty"` // URI of that of an issuer; default the first
	Name      string `json:"name,omitempty"`      // end of the URI: letters, digits, hyphens; default a number
	Purpose   string `json:"purpose,omitempty"`   // fragment of the client's URI, such as T-TREAT of TEFCA
	Key       string `json:"key,omitempty"`       // rsa (default) or ec; without CSR
	CSR       string `json:"csr,omitempty"`       // PEM; then the key is the tester's, and the names in it are not used
}

// Client is a certificate that was issued to a tester. Nothing of it is kept.
type Client struct {
	Community string    `json:"community"`
	URI       string    `json:"uri"`
	Chain     string    `json:"chain"`             // PEM, leaf first
	Key       string    `json:"key,omitempty"`     // PEM, PKCS#8; not with a CSR
	PKCS12    []byte    `json:"pkcs12,omitempty"`  // both; not with a CSR
	Password  string    `json:"password,omitzero"` // opens the PKCS#12 file
	Anchors   string    `json:"anchors"`           // PEM: what signed metadata of the session leads to
	Expires   time.Time `json:"expires"`
}

// issuing issues the certificates of sessions and of their testers.
type issuing struct{ cfg Config }

// maxClients is how many certificates testers of one session get.
const maxClients = 100

var errClients = &RequestError{
	Member: "client",
	Text:   fmt.Sprintf("a session has at most %d certificates: open another one", maxClients),
}

// IssueClient issues a certificate to a tester. It returns a *RequestError for what
// cannot be issued.
func (s *Service) IssueClient(ctx context.Context, id string, req ClientRequest) (*Client, error) {
	l, err := s.find(id)
	switch {
	case err != nil:
		return nil, err
	case id == Plain:
		return nil, &RequestError{
			Member: "client",
			Text:   "no certificate of the lab counts at the destination itself: open a session",
		}
	}

	by := issuing{s.cfg}
	issuer, err := by.issuer(req.Community)
	if err != nil {
		return nil, err
	}
	if err := req.check(); err != nil {
		return nil, err
	}
	if l.state().Counts.Clients >= maxClients {
		return nil, errClients
	}
	key, pub, err := req.keys()
	if err != nil {
		return nil, err
	}

	var n int
	if err := l.change(ctx, func(session *Session) {
		session.Counts.Clients++
		n = session.Counts.Clients
	}); err != nil {
		return nil, err
	}
	if n > maxClients { // others were issued meanwhile
		return nil, errClients
	}

	session := l.state()
	uri := session.Page + "client/" + cmp.Or(req.Name, fmt.Sprint(n))
	if req.Purpose != "" {
		uri += "#" + req.Purpose
	}
	leaf, err := by.issue(session, issuer, "Client under test", uri, pub)
	if err != nil {
		return nil, err
	}

	return newClient(issuer, leaf, key)
}

// newClient returns a certificate in the forms that a tester gets; key may be nil.
func newClient(issuer *Issuer, leaf *x509.Certificate, key crypto.Signer) (*Client, error) {
	chain := issuer.CA.Chain(leaf)
	c := &Client{
		Community: issuer.Community,
		URI:       leaf.URIs[0].String(),
		Chain:     string(certs.CertificatesPEM(chain...)),
		Anchors:   string(certs.CertificatesPEM(issuer.Anchors...)),
		Expires:   leaf.NotAfter,
	}

	if key == nil {
		return c, nil
	}
	return c, c.add(&certs.Identity{Chain: chain, Key: key})
}

// keys returns a new private key and its public part, or the public key of the
// certificate request alone.
func (r ClientRequest) keys() (crypto.Signer, crypto.PublicKey, error) {
	if r.CSR != "" {
		csr, err := certs.ParseRequest([]byte(r.CSR))
		if err != nil {
			return nil, nil, &RequestError{
				Member: "csr",
				Text:   strings.TrimPrefix(err.Error(), "certs: "),
			}
		}
		if err := jose.CheckKey(csr.Key); err != nil {
			return nil, nil, &RequestError{
				Member: "csr",
				Text:   fmt.Sprintf("no destination accepts this key: %v; make one of %s", err, jose.SoundKeys),
			}
		}
		return nil, csr.Key, nil
	}

	key, err := certs.NewKey(r.kind())
	if err != nil {
		return nil, nil, err
	}
	return key, key.Public(), nil
}

// add adds the private key in its forms.
func (c *Client) add(id *certs.Identity) error {
	key, err := certs.KeyPEM(id.Key)
	if err != nil {
		return err
	}

	var random [10]byte
	_, _ = rand.Read(random[:])
	c.Key = string(key)
	c.Password = strings.ToLower(base32.StdEncoding.EncodeToString(random[:]))
	c.PKCS12, err = id.PKCS12(c.Password, false)
	return err
}

func (r ClientRequest) kind() certs.KeyKind {
	if r.Key == "ec" {
		return certs.P256
	}
	return certs.RSA2048
}

const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"

// check returns a *RequestError, or nil.
func (r ClientRequest) check() error {
	switch {
	case len(r.Name) > 40 || strings.Trim(r.Name, letters+"0123456789-") != "":
		return &RequestError{
			Member: "name",
			Text:   "a name has at most 40 letters, digits and hyphens",
		}

	case len(r.Purpose) > 20 || strings.Trim(r.Purpose, letters+"-") != "":
		return &RequestError{
			Member: "purpose",
			Text:   "a purpose is a code such as T-TREAT",
		}

	case r.Key != "" && r.Key != "rsa" && r.Key != "ec":
		return &RequestError{
			Member: "key",
			Text:   "the kinds of keys are rsa and ec",
		}

	case len(r.CSR) > 16<<10:
		return &RequestError{
			Member: "csr",
			Text:   "a certificate request has at most 16 KiB",
		}
	}

	return nil
}

// issuer returns that of a community; of none, the first.
func (s issuing) issuer(community string) (*Issuer, error) {
	for i := range s.cfg.Issuers {
		if community == "" || s.cfg.Issuers[i].Community == community {
			return &s.cfg.Issuers[i], nil
		}
	}
	return nil, &RequestError{
		Member: "community",
		Text:   "the lab has no issuer in this community",
	}
}

// issue issues a certificate that lives as long as its session.
func (s issuing) issue(
	session Session, issuer *Issuer, name, uri string, pub crypto.PublicKey,
) (*x509.Certificate, error) {
	t := certs.Template{
		CommonName:   name,
		Organization: "Lab session " + session.ID[:min(8, len(session.ID))],
		URIs:         []string{uri},
		NotBefore:    s.cfg.Now().Add(-time.Minute),
		NotAfter:     session.Expires.Add(time.Hour),
	}

	if session.Expires.IsZero() {
		t.NotAfter = s.cfg.Now().Add(s.cfg.Settings.Keep)
	}
	if end := issuer.CA.Cert.NotAfter; t.NotAfter.After(end) {
		t.NotAfter = end
	}
	if begin := issuer.CA.Cert.NotBefore; t.NotBefore.Before(begin) {
		t.NotBefore = begin
	}

	if issuer.CRL != "" {
		t.CRL = []string{issuer.CRL}
	}
	return issuer.CA.Issue(t, pub)
}

// identities returns the certificates of a session's own, and issues those that are
// not there yet.
func (s issuing) identities(session Session, dir string) ([]Identity, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}

	var all []Identity
	for i := range s.cfg.Issuers {
		issuer := &s.cfg.Issuers[i]
		id := Identity{
			Community: issuer.Community,
			Chain:     filepath.Join(dir, fmt.Sprintf("own-%d.pem", i)),
			Key:       filepath.Join(dir, fmt.Sprintf("own-%d.key", i)),
		}
		if !s.usable(issuer, id) {
			if err := s.identity(session, issuer, id); err != nil {
				return nil, err
			}
		}

		all = append(all, id)
	}

	return all, nil
}

// usable reports whether the files of an identity are there, of this issuer, and valid.
func (s issuing) usable(issuer *Issuer, id Identity) bool {
	found, err := certs.LoadIdentity(id.Chain, id.Key)
	return err == nil &&
		found.Leaf().CheckSignatureFrom(issuer.CA.Cert) == nil &&
		s.cfg.Now().Before(found.Leaf().NotAfter)
}

func (s issuing) identity(session Session, issuer *Issuer, id Identity) error {
	key, err := certs.NewKey(certs.RSA2048)
	if err != nil {
		return err
	}

	leaf, err := s.issue(session, issuer, "Destination of a lab session", session.Base, key.Public())
	if err != nil {
		return err
	}

	return certs.WriteIdentity(id.Chain, id.Key, &certs.Identity{
		Chain: issuer.CA.Chain(leaf),
		Key:   key,
	})
}
