package certs

import (
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
	"unicode"
)

// Identity is a certificate chain and the private key of its leaf.
type Identity struct {
	Chain []*x509.Certificate // leaf first
	Key   crypto.Signer
}

// Leaf returns the first certificate, or nil.
func (id *Identity) Leaf() *x509.Certificate {
	if id == nil || len(id.Chain) == 0 {
		return nil
	}
	return id.Chain[0]
}

// TLS returns the identity as crypto/tls wants it.
func (id *Identity) TLS() tls.Certificate {
	c := tls.Certificate{
		PrivateKey: id.Key,
		Leaf:       id.Leaf(),
	}
	for _, x := range id.Chain {
		c.Certificate = append(c.Certificate, x.Raw)
	}
	return c
}

// Check reports whether the key belongs to the first certificate and each
// certificate was issued by the next. It checks neither dates nor trust.
func (id *Identity) Check() error {
	if id.Key == nil {
		return errors.New("has no private key")
	}
	if len(id.Chain) == 0 {
		return errors.New("has no certificate")
	}
	if i := id.owner(); i != 0 {
		leaf := Describe(id.Chain[0])
		if i < 0 {
			return fmt.Errorf(
				"the private key does not belong to certificate 1 (%s)",
				leaf,
			)
		}
		return fmt.Errorf("the private key belongs to certificate %d (%s), not to the first (%s); put the leaf first",
			i+1, Describe(id.Chain[i]), leaf)
	}

	for i, c := range id.Chain[:len(id.Chain)-1] {
		if err := c.CheckSignatureFrom(id.Chain[i+1]); err != nil {
			return fmt.Errorf("certificate %d (%s) was not issued by certificate %d (%s); order the chain from "+
				"leaf to issuer",
				i+1, Describe(c), i+2, Describe(id.Chain[i+1]))
		}
	}

	return nil
}

// owner returns the index of the certificate whose key this is, or -1.
func (id *Identity) owner() int {
	for i, c := range id.Chain {
		if SameKey(id.Key.Public(), c.PublicKey) {
			return i
		}
	}
	return -1
}

// LoadIdentity reads a chain and its key from PEM or DER files, which may be
// one and the same, and checks that they belong together.
func LoadIdentity(chainFile, keyFile string) (*Identity, error) {
	id, err := loadPair(chainFile, keyFile)
	if err != nil {
		return nil, err
	}
	if err := id.Check(); err != nil {
		return nil, fmt.Errorf("%s with %s: %w", chainFile, keyFile, err)
	}
	return id, nil
}

func loadPair(chainFile, keyFile string) (*Identity, error) {
	if filepath.Clean(chainFile) == filepath.Clean(keyFile) {
		data, err := readFile(chainFile)
		if err != nil {
			return nil, err
		}

		chain, key, err := parsePair(data)
		if err != nil {
			return nil, fmt.Errorf("%s %w", chainFile, err)
		}

		return &Identity{
			Chain: chain,
			Key:   key,
		}, nil
	}

	chain, err := LoadCertificates(chainFile)
	if err != nil {
		return nil, err
	}

	key, err := LoadKey(keyFile)
	if err != nil {
		return nil, err
	}
	return &Identity{
		Chain: chain,
		Key:   key,
	}, nil
}

// LoadCertificates reads a file of certificates.
func LoadCertificates(file string) ([]*x509.Certificate, error) {
	data, err := readFile(file)
	if err != nil {
		return nil, err
	}

	out, err := ParseCertificates(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return out, nil
}

// LoadKey reads a file with one private key.
func LoadKey(file string) (crypto.Signer, error) {
	data, err := readFile(file)
	if err != nil {
		return nil, err
	}

	key, err := ParseKey(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return key, nil
}

// LoadCA reads an authority: its certificate first, its issuers after it.
func LoadCA(certFile, keyFile string) (*CA, error) {
	id, err := LoadIdentity(certFile, keyFile)
	if err != nil {
		return nil, err
	}
	if !id.Leaf().IsCA {
		return nil, fmt.Errorf(
			"%s: certificate 1 (%s) is not a CA",
			certFile,
			Describe(id.Leaf()),
		)
	}

	return &CA{
		Cert:    id.Chain[0],
		Key:     id.Key,
		Parents: id.Chain[1:],
	}, nil
}

// Describe names a certificate for people: subject and serial in hex and decimal.
func Describe(c *x509.Certificate) string {
	return fmt.Sprintf(
		"%s, serial 0x%x = %d",
		Printable(c.Subject.String()),
		c.SerialNumber,
		c.SerialNumber,
	)
}

// soon is how long before its end a certificate should be replaced.
const soon = 30 * 24 * time.Hour

// EndsSoon reports whether a certificate has run out, or will within 30 days and a third
// of its life.
func EndsSoon(c *x509.Certificate, now time.Time) bool {
	left := c.NotAfter.Sub(now)
	return left < soon && left < c.NotAfter.Sub(c.NotBefore)/3
}

// Printable shows a text from a certificate or a list without what could move a
// terminal's cursor, turn the direction of writing or begin a line of its own.
func Printable(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return unicode.ReplacementChar
		}
		return r
	}, s)
}

// readFile reads a small regular file.
func readFile(file string) ([]byte, error) {
	st, err := os.Stat(file)
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: is not a regular file", file)
	}
	if st.Size() > maxFile {
		return nil, fmt.Errorf("%s: is larger than %d bytes", file, maxFile)
	}

	return os.ReadFile(file)
}
