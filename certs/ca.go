package certs

import (
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
)

// CA is an authority that can sign.
type CA struct {
	Cert    *x509.Certificate
	Key     crypto.Signer
	Parents []*x509.Certificate // the next issuer first, the root last; empty for a root
}

// NewRoot makes a self-signed authority.
func NewRoot(t Template, key crypto.Signer) (*CA, error) {
	c, err := t.authority(key.Public())
	if err != nil {
		return nil, err
	}

	cert, err := sign(c, c, key.Public(), key)
	if err != nil {
		return nil, err
	}
	return &CA{
		Cert: cert,
		Key:  key,
	}, nil
}

// NewCA makes an authority under this one.
func (ca *CA) NewCA(t Template, key crypto.Signer) (*CA, error) {
	c, err := t.authority(key.Public())
	if err != nil {
		return nil, err
	}

	cert, err := sign(c, ca.Cert, key.Public(), ca.Key)
	if err != nil {
		return nil, err
	}

	return &CA{
		Cert:    cert,
		Key:     key,
		Parents: append([]*x509.Certificate{ca.Cert}, ca.Parents...),
	}, nil
}

// Issue makes an end-entity certificate. The key usage is digitalSignature;
// with DNS names or addresses it also carries serverAuth, so that a TLS client
// accepts it.
func (ca *CA) Issue(t Template, pub crypto.PublicKey) (*x509.Certificate, error) {
	der, err := ca.IssueDER(t, pub)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

// IssueDER is Issue for certificates that crypto/x509 signs but refuses to
// read back, such as those with a SAN URI that is not a URI.
func (ca *CA) IssueDER(t Template, pub crypto.PublicKey) ([]byte, error) {
	c, err := t.certificate()
	if err != nil {
		return nil, err
	}

	c.KeyUsage = x509.KeyUsageDigitalSignature
	if len(t.DNS)+len(t.IPs) > 0 {
		c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	}
	if c.SubjectKeyId, err = keyID(pub); err != nil {
		return nil, err
	}

	if t.Mutate != nil {
		t.Mutate(c)
	}
	return signDER(c, ca.Cert, pub, ca.Key)
}

// Chain returns what a holder of leaf sends: the leaf, this authority and its
// issuers, without the self-signed root, which the other side must know.
func (ca *CA) Chain(leaf *x509.Certificate) []*x509.Certificate {
	all := append([]*x509.Certificate{leaf, ca.Cert}, ca.Parents...)
	if last := len(all) - 1; SelfSigned(all[last]) {
		all = all[:last]
	}
	return all
}

// Root returns the last issuer.
func (ca *CA) Root() *x509.Certificate {
	if n := len(ca.Parents); n > 0 {
		return ca.Parents[n-1]
	}
	return ca.Cert
}

// SelfSigned reports whether a certificate names itself as issuer and its own
// key made the signature.
func SelfSigned(c *x509.Certificate) bool {
	return string(c.RawSubject) == string(c.RawIssuer) &&
		c.CheckSignature(c.SignatureAlgorithm, c.RawTBSCertificate, c.Signature) == nil
}

// authority turns the template into that of a CA.
func (t Template) authority(pub crypto.PublicKey) (*x509.Certificate, error) {
	c, err := t.certificate()
	if err != nil {
		return nil, err
	}

	c.IsCA = true
	c.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	if c.SubjectKeyId, err = keyID(pub); err != nil {
		return nil, err
	}

	if t.Mutate != nil {
		t.Mutate(c)
	}
	return c, nil
}

// keyID is the first 160 bits of the SHA-256 of the public key (RFC 7093 2,
// method 4 without its leading octets).
func keyID(pub crypto.PublicKey) ([]byte, error) {
	der, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		return nil, fmt.Errorf("certs: public key: %w", err)
	}
	sum := sha256.Sum256(der)
	return sum[:20], nil
}

func sign(
	c, parent *x509.Certificate, pub crypto.PublicKey, key crypto.Signer,
) (*x509.Certificate, error) {
	der, err := signDER(c, parent, pub, key)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

func signDER(
	c, parent *x509.Certificate, pub crypto.PublicKey, key crypto.Signer,
) ([]byte, error) {
	if key == nil {
		return nil, errors.New("certs: the issuer's key is not at hand")
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, pub, key)
	if err != nil {
		return nil, fmt.Errorf("certs: sign certificate %s: %w", c.Subject, err)
	}
	return der, nil
}
