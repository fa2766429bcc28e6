package testbed

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"

	"fhirdest.example/certs"
	"fhirdest.example/gateway/complaint"
)

// ManifestName is the file of a directory that tells programs where everything is.
const ManifestName = "sandbox.json"

// Manifest describes a running test bed to other programs. Paths are relative to its
// directory.
type Manifest struct {
	Version     int               `json:"version"`
	PublicBase  string            `json:"publicBase"`
	PrivateBase string            `json:"privateBase"`
	Gateways    []string          `json:"gateways"` // in the order in which a request meets them
	Admin       string            `json:"admin"`
	Addresses   map[string]string `json:"addresses"`
	TLSCA       string            `json:"tlsCA"`
	IDP         string            `json:"idp"` // base URL of the identity provider
	Lab         string            `json:"lab"` // URL below which sessions of the lab are
	Communities []Community       `json:"communities"`
	Clients     []Client          `json:"clients"`
	Auditor     *Client           `json:"auditor,omitempty"` // may read all audit records
	Users       []User            `json:"users"`
	Configs     map[string]string `json:"configs"`
	Evidence    []string          `json:"evidence"` // destination, gateway, delegate, originator; second destination
}

// Community is a trust community and the issuer of its members.
type Community struct {
	URI    string  `json:"uri"`
	Name   string  `json:"name"`
	Anchor string  `json:"anchor"` // one root
	Issuer KeyPair `json:"issuer"` // the signing CA first
	CRL    string  `json:"crl"`    // distribution point of the issuer's leaves
}

// KeyPair is a certificate with its key.
type KeyPair struct {
	Cert string `json:"cert"`
	Key  string `json:"key"` // unencrypted PKCS#8
}

// Client is a member of a community, for a client under test.
type Client struct {
	Name        string `json:"name"`
	URI         string `json:"uri"`
	Community   string `json:"community"`
	Chain       string `json:"chain"` // leaf first
	Key         string `json:"key"`
	P12         string `json:"p12"`
	P12Password string `json:"p12Password"`
}

// User is a person who can sign in, at the destination and at the identity provider.
type User struct {
	Username string `json:"username"`
	Password string `json:"password"`
	Patient  string `json:"patient"` // empty: any, chosen at sign-in
	FHIRUser string `json:"fhirUser"`
}

// Write puts the manifest in place by rename. It holds passwords.
func (m *Manifest) Write(dir string) error {
	data, err := json.MarshalIndent(m, "", " ")
	if err != nil {
		return err
	}
	return certs.WriteFile(
		filepath.Join(dir, ManifestName),
		append(data, '\n'),
		certs.ModeSecret,
	)
}

// ReadManifest reads the manifest of a sandbox. A member that is missing is a
// complaint: whoever wrote the file is not of our version.
func ReadManifest(dir string) (*Manifest, error) {
	path := filepath.Join(dir, ManifestName)
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}

	m := &Manifest{}
	if err := json.Unmarshal(data, m); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if m.Version != 1 || m.PublicBase == "" || m.IDP == "" || len(m.Communities) < 2 || len(m.Evidence) < 4 ||
		len(m.Gateways) < 2 {
		return nil, complaint.New(
			path+" is not a manifest of version 1",
			"start the sandbox there again",
		)
	}

	return m, nil
}

// RemoveManifest takes away what an earlier run left: the manifest stands only
// while every listener answers, or did when the run ended.
func RemoveManifest(dir string) error {
	err := os.Remove(filepath.Join(dir, ManifestName))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

// PublicHost returns the host of every public URL, without port.
func (m *Manifest) PublicHost() string {
	u, err := url.Parse(m.PublicBase)
	if err != nil {
		return ""
	}
	return u.Hostname()
}
