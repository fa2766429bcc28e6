package examine

import (
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
	"time"

	"fhirdest.example/certs"
	"fhirdest.example/udap"
	"fhirdest.example/udap/forge"
)

// member is a certificate with its key, under whose URI something is registered.
type member struct {
	*forge.Client
	left  bool // a registration of it may be there
	known bool // and is, by what the destination answered
}

// furnish makes the member that everything is registered for: with an issuer at hand
// one with a new URI, so that no other registration is touched.
func furnish(x *examination) error {
	uri := string(x.Client.ClientURI)
	if uri == "" {
		uris, err := udap.RawSANURIs(x.Client.Chain[0])
		if err != nil || len(uris) != 1 {
			return fmt.Errorf("the certificate has %d URIs: one of them must be chosen", len(uris))
		}
		uri = uris[0]
	}

	x.self = &member{Client: &forge.Client{
		URI:   uri,
		Key:   x.Client.Key,
		Chain: x.Client.Chain,
	}}
	if x.Issuer == nil {
		return nil
	}

	uri = renamed(uri)
	if x.Revoked != nil { // the same, so that nothing but the revocation is wrong
		if uris, err := udap.RawSANURIs(x.Revoked.Chain[0]); err == nil && len(uris) > 0 {
			uri = uris[0]
		}
	}
	c, err := x.mint(x.Issuer, uri, nil)
	if err != nil {
		return err
	}
	x.self.Client = c
	return nil
}

// renamed returns a URI that nobody has registered, below another one.
func renamed(uri string) string {
	at, fragment, found := strings.Cut(uri, "#")
	at = strings.TrimSuffix(at, "/") + "/examination/" + forge.JTI()[:12]
	if found {
		return at + "#" + fragment
	}
	return at
}

// mint has an authority issue a certificate for the examination's key. change may
// change the template.
func (x *examination) mint(
	ca *certs.CA, uri string, change func(*certs.Template),
) (*forge.Client, error) {
	t := x.template(ca, uri)
	if change != nil {
		change(&t)
	}

	return issue(ca, t, x.Client.Key)
}

// issue has an authority issue a certificate for a key.
func issue(ca *certs.CA, t certs.Template, key crypto.Signer) (*forge.Client, error) {
	leaf, err := ca.Issue(t, key.Public())
	if err != nil {
		return nil, err
	}
	return &forge.Client{
		URI:   t.URIs[0],
		Key:   key,
		Chain: ca.Chain(leaf),
	}, nil
}

// template is a certificate of a member, with the distribution point of its issuer.
func (x *examination) template(ca *certs.CA, uri string) certs.Template {
	now := x.now()
	t := certs.Template{
		CommonName: "Examination of a destination",
		URIs:       []string{uri},
		NotBefore:  now.Add(-5 * time.Minute),
		NotAfter:   now.Add(24 * time.Hour),
	}

	list := ""
	switch ca {
	case x.Issuer:
		list = x.CRL
	case x.OtherIssuer:
		list = x.OtherCRL
	}
	if list != "" {
		t.CRL = []string{list}
	}
	return t
}

// stranger makes a member of a community that nobody trusts.
func stranger(x *examination) (*forge.Client, error) {
	now := x.now()
	t := certs.Template{
		CommonName: "Nobody's Root",
		NotBefore:  now.Add(-time.Hour),
		NotAfter:   now.Add(48 * time.Hour),
	}
	key, err := x.NewKey("p256")
	if err != nil {
		return nil, err
	}
	root, err := certs.NewRoot(t, key)
	if err != nil {
		return nil, err
	}

	t.CommonName = "Nobody's Issuing CA"
	between, err := x.NewKey("p256")
	if err != nil {
		return nil, err
	}
	ca, err := root.NewCA(t, between)
	if err != nil {
		return nil, err
	}
	return x.mint(ca, x.self.URI, nil)
}

// borrowed is the member's certificate with a key that is not its own.
func borrowed(x *examination) (*forge.Client, error) {
	kind := certs.KeyKind("p256")
	if x.self.Chain[0].PublicKeyAlgorithm == x509.RSA {
		kind = "rsa2048"
	}
	key, err := x.NewKey(kind)
	if err != nil {
		return nil, err
	}
	return &forge.Client{
		URI:   x.self.URI,
		Key:   key,
		Chain: x.self.Chain,
	}, nil
}

var errNoIssuer = errors.New("no key of an issuer is at hand to make the certificate (-issuer-cert, -issuer-key)")

// minted is a certificate of the member's URI that is wrong in one way.
func minted(x *examination, change func(*certs.Template)) (*forge.Client, error) {
	if x.Issuer == nil {
		return nil, errNoIssuer
	}
	return x.mint(x.Issuer, x.self.URI, change)
}
