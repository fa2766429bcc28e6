package main

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"fmt"
	"os"
	"path/filepath"

	"github.com/goccy/go-yaml"

	"fhirdest.example/certs"
)

// material is what an intermediary must not hold: the certificates and the keys of
// trust communities and of their members, by whose they are.
type material struct {
	cas  []owned
	keys []owned
}

// owned is a certificate or a public key, and whose it is.
type owned struct {
	cert  *x509.Certificate // of a CA
	key   []byte            // a public key in DER
	owner string
}

// trustMaterial reads it from the files that the manifest names.
func (d *demo) trustMaterial() (*material, error) {
	m := &material{}
	for _, c := range d.manifest.Communities {
		for _, file := range []string{c.Anchor, c.Issuer.Cert} {
			list, err := certs.LoadCertificates(d.file(file))
			if err != nil {
				return nil, err
			}

			for _, ca := range list {
				m.cas = append(m.cas, owned{
					cert:  ca,
					owner: c.URI,
				})
				m.keys = append(m.keys, owned{
					key:   ca.RawSubjectPublicKeyInfo,
					owner: c.URI,
				})
			}
		}
	}

	for _, c := range d.manifest.Clients {
		list, err := certs.LoadCertificates(d.file(c.Chain))
		if err != nil {
			return nil, err
		}
		m.keys = append(m.keys, owned{
			key:   list[0].RawSubjectPublicKeyInfo,
			owner: c.URI,
		})
	}

	if d.main != nil {
		m.keys = append(m.keys, owned{
			key:   d.main.identity.Leaf().RawSubjectPublicKeyInfo,
			owner: d.main.uri,
		})
	}

	return m, nil
}

// notIn reads every file that a gateway's configuration names, and finds nothing of it
// there.
func (m *material) notIn(config string) error {
	data, err := os.ReadFile(config)
	if err != nil {
		return err
	}

	var tree any
	if err := yaml.Unmarshal(data, &tree); err != nil {
		return err
	}

	for _, name := range texts(tree) {
		if !filepath.IsAbs(name) {
			name = filepath.Join(filepath.Dir(config), name)
		}
		if what := m.found(name); what != "" {
			return fmt.Errorf(
				"%s names %s, which holds %s",
				filepath.Base(config),
				name,
				what,
			)
		}
	}

	return nil
}

// found says what a file holds; nothing where it is none, or none with certificates or
// a key.
func (m *material) found(file string) string {
	list, _ := certs.LoadCertificates(file)
	for _, c := range list {
		for _, ca := range m.cas {
			if c.Equal(ca.cert) || c.CheckSignatureFrom(ca.cert) == nil {
				return "a certificate of " + ca.owner
			}
		}

		if owner := m.ownerOf(c.RawSubjectPublicKeyInfo); owner != "" {
			return "a certificate with the key of " + owner
		}
	}

	if key, err := certs.LoadKey(file); err == nil {
		if owner := m.ownerOfKey(key); owner != "" {
			return "the key of " + owner
		}
	}

	return ""
}

func (m *material) ownerOfKey(key crypto.Signer) string {
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return ""
	}
	return m.ownerOf(public)
}

// ownerOf says whose a public key is.
func (m *material) ownerOf(public []byte) string {
	for _, k := range m.keys {
		if bytes.Equal(k.key, public) {
			return k.owner
		}
	}
	return ""
}
