package certs

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
)

// maxFile bounds every file this package reads: a chain and its key need a few
// kilobytes.
const maxFile = 1 << 20

var bom = []byte{0xEF, 0xBB, 0xBF}

// ParseCertificates reads one or more certificates in PEM, or one in DER.
// Explanatory text before a block is accepted (RFC 7468 2); private keys, other
// blocks and anything after the last block are refused.
func ParseCertificates(data []byte) ([]*x509.Certificate, error) {
	if isDER(data) {
		c, err := x509.ParseCertificate(data)
		if err != nil {
			return nil, fmt.Errorf("not a certificate in DER: %w", err)
		}
		return []*x509.Certificate{c}, nil
	}

	blocks, err := readPEM(data)
	if err != nil {
		return nil, err
	}

	for _, b := range blocks {
		if isKeyBlock(b.Type) {
			return nil, errors.New("holds a private key; a file of certificates is public and must not")
		}
	}

	return certificatesOf(blocks)
}

// ParseKey reads exactly one unencrypted private key: PKCS#8, PKCS#1 or SEC1,
// in PEM or DER. Certificates beside it in the same PEM file are passed over.
func ParseKey(data []byte) (crypto.Signer, error) {
	if isDER(data) {
		return keyOfDER(data)
	}
	blocks, err := readPEM(data)
	if err != nil {
		return nil, err
	}
	return keyOf(blocks)
}

// parsePair reads a file that holds a chain and its key together.
func parsePair(data []byte) ([]*x509.Certificate, crypto.Signer, error) {
	blocks, err := readPEM(data)
	if err != nil {
		return nil, nil, err
	}

	chain, err := certificatesOf(blocks)
	if err != nil {
		return nil, nil, err
	}

	key, err := keyOf(blocks)
	return chain, key, err
}

// readPEM splits a file into blocks. encoding/pem skips what it cannot
// read; a file that somebody configured must be wholly understood instead.
func readPEM(data []byte) ([]*pem.Block, error) {
	switch {
	case len(bytes.TrimSpace(data)) == 0:
		return nil, errors.New("is empty")
	case len(data) > maxFile:
		return nil, fmt.Errorf("is larger than %d bytes", maxFile)
	case bytes.HasPrefix(data, bom):
		return nil, errors.New("begins with a byte order mark; save it as plain text without one")
	}

	var blocks []*pem.Block
	rest := data
	for {
		b, after := pem.Decode(rest)
		if b == nil {
			break
		}
		blocks, rest = append(blocks, b), after
	}

	if begins := bytes.Count(data, []byte("-----BEGIN ")); begins != len(blocks) {
		return nil, fmt.Errorf("has %d BEGIN lines and %d readable PEM blocks; a block is damaged", begins,
			len(blocks))
	}
	if len(blocks) == 0 {
		return nil, errors.New("is neither PEM nor DER")
	}
	if len(bytes.TrimSpace(rest)) > 0 {
		return nil, errors.New("has further text after its last PEM block; remove it")
	}

	return blocks, nil
}

func certificatesOf(blocks []*pem.Block) ([]*x509.Certificate, error) {
	var out []*x509.Certificate
	for _, b := range blocks {
		switch {
		case b.Type == "CERTIFICATE" || b.Type == "X509 CERTIFICATE":
			c, err := x509.ParseCertificate(b.Bytes)
			if err != nil {
				return nil, fmt.Errorf("certificate %d: %w", len(out)+1, err)
			}
			out = append(out, c)

		case isKeyBlock(b.Type) || b.Type == "EC PARAMETERS":
		default:
			return nil, fmt.Errorf(
				"has a PEM block of type %q, which is no certificate",
				b.Type,
			)
		}
	}

	if len(out) == 0 {
		return nil, errors.New("has no certificate")
	}
	return out, nil
}

func keyOf(blocks []*pem.Block) (crypto.Signer, error) {
	var keys []*pem.Block
	for _, b := range blocks {
		switch {
		case isKeyBlock(b.Type):
			keys = append(keys, b)
		case b.Type == "CERTIFICATE" || b.Type == "EC PARAMETERS": // `openssl ecparam -genkey` writes parameters first
		default:
			return nil, fmt.Errorf(
				"has a PEM block of type %q, which is no private key",
				b.Type,
			)
		}
	}

	if len(keys) != 1 {
		return nil, fmt.Errorf("has %d private keys, expected exactly one", len(keys))
	}

	b := keys[0]
	if b.Type == "ENCRYPTED PRIVATE KEY" || b.Headers["DEK-Info"] != "" {
		return nil, errors.New(
			"is an encrypted private key; decrypt it first (openssl pkey -in FILE -out PLAIN.key), or use a " +
				"PKCS#12 file and its password")
	}

	return keyOfDER(b.Bytes)
}

// keyOfDER tries the three encodings in turn: files with the wrong label occur
// in the field, and the bytes cannot be mistaken for one another.
func keyOfDER(der []byte) (crypto.Signer, error) {
	// The parsers of crypto/x509 pass over what follows a key.
	if rest, err := asn1.Unmarshal(der, new(asn1.RawValue)); err != nil || len(rest) > 0 {
		return nil, errors.New("is not a private key: its DER is damaged or something follows it")
	}

	key, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		if k, err1 := x509.ParsePKCS1PrivateKey(der); err1 == nil {
			return k, nil
		}
		if k, err1 := x509.ParseECPrivateKey(der); err1 == nil {
			return k, nil
		}

		return nil, errors.New("is not a private key in PKCS#8, PKCS#1 or SEC1")
	}

	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("holds a %T, which cannot sign", key)
	}
	return signer, nil
}

func isKeyBlock(t string) bool {
	switch t {
	case "PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY", "ENCRYPTED PRIVATE KEY":
		return true
	}
	return false
}

// isDER reports whether data begins as an ASN.1 SEQUENCE with a long length, as
// every certificate and key does, and no text.
func isDER(data []byte) bool {
	return len(data) > 2 && data[0] == 0x30 && data[1]&0x80 != 0
}

// CertificatesPEM writes certificates as PEM, in the order given.
func CertificatesPEM(chain ...*x509.Certificate) []byte {
	var out []byte
	for _, c := range chain {
		out = append(out, pem.EncodeToMemory(&pem.Block{
			Type:  "CERTIFICATE",
			Bytes: c.Raw,
		})...)
	}
	return out
}

// KeyPEM writes a private key as unencrypted PKCS#8.
func KeyPEM(key crypto.Signer) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("certs: private key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{
		Type:  "PRIVATE KEY",
		Bytes: der,
	}), nil
}
