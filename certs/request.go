package certs

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
)

// Request is a certificate signing request (PKCS#10, RFC 2986) whose signature
// shows that the applicant holds the key.
type Request struct {
	Key        crypto.PublicKey
	CommonName string
	URIs       []string // of the requested SAN, byte for byte
	DNS        []string
}

// LoadRequest reads a file with one request, PEM or DER.
func LoadRequest(file string) (*Request, error) {
	data, err := readFile(file)
	if err != nil {
		return nil, err
	}

	r, err := ParseRequest(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return r, nil
}

// ParseRequest reads one request in DER or PEM and verifies its signature.
func ParseRequest(data []byte) (*Request, error) {
	if !isDER(data) {
		block, rest := pem.Decode(data)
		if block == nil || len(bytes.TrimSpace(rest)) > 0 ||
			block.Type != "CERTIFICATE REQUEST" && block.Type != "NEW CERTIFICATE REQUEST" {
			return nil, errors.New("certs: not one PEM block of type CERTIFICATE REQUEST")
		}
		data = block.Bytes
	}

	csr, err := x509.ParseCertificateRequest(data)
	if err != nil {
		return nil, fmt.Errorf("certs: certificate request: %w", err)
	}
	if err := csr.CheckSignature(); err != nil {
		return nil, fmt.Errorf("certs: the request is not signed by its own key: %w", err)
	}

	uris, err := sanURIs(csr.Extensions)
	if err != nil {
		return nil, err
	}

	return &Request{
		Key:        csr.PublicKey,
		CommonName: csr.Subject.CommonName,
		URIs:       uris,
		DNS:        csr.DNSNames,
	}, nil
}
