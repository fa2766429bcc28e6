package main

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

const manifestName = "sandbox.json"

// manifest tells every program what stands where. Paths are relative to its
// directory.
type manifest struct {
	Version     int               `json:"version"`
	PublicBase  string            `json:"publicBase"`
	PrivateBase string            `json:"privateBase"`
	Gateways    []string          `json:"gateways"` // in the order in which a request meets them
	Admin       string            `json:"admin"`
	Addresses   map[string]string `json:"addresses"`
	TLSCA       string            `json:"tlsCA"`
	Communities []communityEntry  `json:"communities"`
	Clients     []clientEntry     `json:"clients"`
	Users       []userEntry       `json:"users"`
	Configs     map[string]string `json:"configs"`
	Evidence    []string          `json:"evidence"` // destination, gateway, delegate, originator
}

type communityEntry struct {
	URI    string  `json:"uri"`
	Name   string  `json:"name"`
	Anchor string  `json:"anchor"` // one root
	Issuer keyPair `json:"issuer"` // the signing CA first
	CRL    string  `json:"crl"`    // distribution point of the issuer's leaves
}

type keyPair struct {
	Cert string `json:"cert"`
	Key  string `json:"key"` // unencrypted PKCS#8
}

type clientEntry struct {
	Name        string `json:"name"`
	URI         string `json:"uri"`
	Community   string `json:"community"`
	Chain       string `json:"chain"` // leaf first
	Key         string `json:"key"`
	P12         string `json:"p12"`
	P12Password string `json:"p12Password"`
}

type userEntry struct {
	Username string `json:"username"`
	Password string `json:"password"`
	Patient  string `json:"patient"`
}

// write puts the manifest in place by rename. It holds passwords.
func (m *manifest) write(dir string) error {
	data, err := json.MarshalIndent(m, "", " ")
	if err != nil {
		return err
	}
	return certs.WriteFile(filepath.Join(dir, manifestName), append(data, '\n'), certs.ModeSecret)
}

// readManifest reads the manifest of a sandbox. A member that is missing is a
// complaint: whoever wrote the file is not of our version.
func readManifest(dir string) (*manifest, error) {
	path := filepath.Join(dir, manifestName)
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}

	m := &manifest{}
	if err := json.Unmarshal(data, m); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if m.Version != 1 || m.PublicBase == "" || len(m.Communities) < 2 || len(m.Evidence) < 4 || len(m.Gateways) < 2 {
		return nil, complaint.New(path+" is not a manifest of version 1", "start the sandbox there again")
	}

	return m, nil
}

// removeManifest takes away what an earlier run left: the manifest stands only
// while every listener answers, or did when the run ended.
func removeManifest(dir string) error {
	err := os.Remove(filepath.Join(dir, manifestName))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

// publicHost returns the host of every public URL, without port.
func (m *manifest) publicHost() string {
	u, err := url.Parse(m.PublicBase)
	if err != nil {
		return ""
	}
	return u.Hostname()
}
