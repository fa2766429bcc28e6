package certs

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"

	"software.sslmate.com/src/go-pkcs12"
)

// ErrPassword is returned for a PKCS#12 file that its password does not open.
var ErrPassword = errors.New("the password is wrong")

// ParsePKCS12 reads a PKCS#12 file in modern (PBES2, AES) or legacy (3DES,
// RC2-40) encryption. The leaf is the certificate that the key belongs to,
// whatever the file's order, and its issuers follow it in order; unrelated
// certificates are left out.
func ParsePKCS12(data []byte, password string) (*Identity, error) {
	if len(data) > maxFile {
		return nil, fmt.Errorf("is larger than %d bytes", maxFile)
	}

	key, first, others, err := pkcs12.DecodeChain(data, password)
	if errors.Is(err, pkcs12.ErrIncorrectPassword) {
		return nil, ErrPassword
	}
	if err != nil {
		return nil, fmt.Errorf("not a readable PKCS#12 file%s: %w", otherFormat(data), err)
	}

	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("holds a %T, which cannot sign", key)
	}

	id := &Identity{
		Key:   signer,
		Chain: append([]*x509.Certificate{first}, others...),
	}
	i := id.owner()
	if i < 0 {
		return nil, errors.New("none of its certificates belongs to its private key")
	}

	id.Chain = inOrder(id.Chain[i], id.Chain)
	return id, nil
}

// inOrder follows issuers from leaf through the certificates at hand.
func inOrder(leaf *x509.Certificate, all []*x509.Certificate) []*x509.Certificate {
	chain := []*x509.Certificate{leaf}
	for len(chain) <= len(all) {
		last := chain[len(chain)-1]
		next := issuerOf(last, all)
		if next == nil || next.Equal(last) {
			break
		}
		chain = append(chain, next)
	}

	return chain
}

func issuerOf(c *x509.Certificate, all []*x509.Certificate) *x509.Certificate {
	for _, x := range all {
		if string(x.RawSubject) == string(c.RawIssuer) && c.CheckSignatureFrom(x) == nil {
			return x
		}
	}
	return nil
}

// PKCS12 writes the identity with its password: AES-256 with PBES2 and a
// SHA-256 MAC, or, for old software, 3DES with a SHA-1 MAC. Key and leaf carry
// the same localKeyID, so that readers which look for one find the leaf.
func (id *Identity) PKCS12(password string, legacy bool) ([]byte, error) {
	if err := id.Check(); err != nil {
		return nil, fmt.Errorf("certs: PKCS#12: %w", err)
	}

	enc := pkcs12.Modern2023
	if legacy {
		enc = pkcs12.LegacyDES
	}
	out, err := enc.Encode(id.Key, id.Chain[0], id.Chain[1:], password)
	if err != nil {
		return nil, fmt.Errorf("certs: PKCS#12: %w", err)
	}

	return out, nil
}

// LoadPKCS12 reads an identity from a PKCS#12 file.
func LoadPKCS12(file, password string) (*Identity, error) {
	data, err := readFile(file)
	if err != nil {
		return nil, err
	}

	id, err := ParsePKCS12(data, password)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return id, nil
}

// otherFormat names the format of a file that is not PKCS#12, where it is known.
func otherFormat(data []byte) string {
	switch {
	case bytes.HasPrefix(bytes.TrimSpace(data), []byte("-----BEGIN ")):
		return ", but PEM"
	case len(data) == 0:
		return ", but empty"
	}

	if _, err := x509.ParseCertificate(data); err == nil {
		return ", but a certificate in DER"
	}
	return ""
}
