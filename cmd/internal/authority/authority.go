// Package authority keeps a trust community in files: a root and an issuing CA
// with their keys, the lists that both sign, and what was issued. All files of
// one community share a prefix, so that one directory holds several:
//
//	a.json                   URI, name and base URL of the lists
//	a-root.pem  a-root.key   the root, which is the community's anchor
//	a.pem       a.key        the issuing CA, followed by the root
//	a-root.crl  a.crl        what each of them revoked
//	a-root.cer  a.cer        both certificates in DER, for AIA
//	a-issued.pem             every certificate issued
package authority

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"fhirdest.example/certs"
)

// ListLife is for how long a list is good. It is long because lists are signed
// by hand; what is revoked counts as soon as the new list is fetched.
const ListLife = 30 * 24 * time.Hour

// caLife is how long both authorities live.
const caLife = 10 * 365 * 24 * time.Hour

// About is what a community is, apart from its certificates.
type About struct {
	URI  string `json:"uri"`
	Name string `json:"name"`
	Base string `json:"base"` // URL under which the lists are served, without a slash at its end; may be empty
}

// Authority is a community whose files are at hand.
type Authority struct {
	About
	Prefix string // path of its files without their endings
	certs.Community
}

// File is the path of one of the authority's files: File(".crl").
func (a *Authority) File(ending string) string { return a.Prefix + ending }

// URL is where one of the files is served, or empty when nothing is served.
func (a *Authority) URL(ending string) string {
	if a.Base == "" {
		return ""
	}
	return a.Base + "/" + url.PathEscape(filepath.Base(a.Prefix)) + ending
}

// Exists reports whether a community stands at the prefix.
func Exists(prefix string) bool {
	_, err := os.Stat(prefix + ".json")
	return err == nil
}

// Create makes a community at the prefix, with keys of the given kind. Keys
// that stand there already are kept: so a community moves to another base URL
// with new certificates of the same authorities.
func Create(prefix string, about About, kind certs.KeyKind, now time.Time) (*Authority, error) {
	a := &Authority{About: about, Prefix: prefix}
	keys, err := a.keys()
	if err != nil {
		return nil, err
	}

	c, err := certs.NewCommunity(certs.CommunityPlan{
		Name: about.Name, Key: kind, NotBefore: now.Add(-time.Hour), Life: caLife,
		RootCRL: a.URL("-root.crl"), RootCert: a.URL("-root.cer"),
		RootKey: keys[0], IssuingKey: keys[1],
	})
	if err != nil {
		return nil, err
	}

	a.Community = *c
	if err := a.write(); err != nil {
		return nil, err
	}
	return a, a.Renew(now, ListLife)
}

// keys reads the two keys, or leaves them out when there are none yet.
func (a *Authority) keys() ([2]crypto.Signer, error) {
	var out [2]crypto.Signer
	for i, ending := range []string{"-root.key", ".key"} {
		key, err := certs.LoadKey(a.File(ending))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return out, err
		}
		out[i] = key
	}

	return out, nil
}

// write puts keys and certificates in place, the description last: it is what
// Exists looks for.
func (a *Authority) write() error {
	root := &certs.Identity{Chain: []*x509.Certificate{a.Root.Cert}, Key: a.Root.Key}
	issuing := &certs.Identity{
		Chain: []*x509.Certificate{a.Issuing.Cert, a.Root.Cert},
		Key:   a.Issuing.Key,
	}
	about, err := json.MarshalIndent(a.About, "", "  ")
	if err != nil {
		return err
	}

	return errors.Join(
		certs.WriteIdentity(a.File("-root.pem"), a.File("-root.key"), root),
		certs.WriteIdentity(a.File(".pem"), a.File(".key"), issuing),
		certs.WriteFile(a.File("-root.cer"), a.Root.Cert.Raw, certs.ModePublic),
		certs.WriteFile(a.File(".cer"), a.Issuing.Cert.Raw, certs.ModePublic),
		certs.WriteFile(a.File(".json"), append(about, '\n'), certs.ModePublic),
	)
}

// Open reads the community at the prefix.
func Open(prefix string) (*Authority, error) {
	a := &Authority{Prefix: prefix}
	data, err := os.ReadFile(a.File(".json"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("no community at %s: %s.json is not there", prefix, prefix)
	}
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(data, &a.About); err != nil {
		return nil, fmt.Errorf("%s: %w", a.File(".json"), err)
	}
	if a.Root, err = certs.LoadCA(a.File("-root.pem"), a.File("-root.key")); err != nil {
		return nil, err
	}
	if a.Issuing, err = certs.LoadCA(a.File(".pem"), a.File(".key")); err != nil {
		return nil, err
	}

	return a, nil
}

// Issue makes a member's certificate for a public key, with this community's
// distribution point and issuer address, and records it.
func (a *Authority) Issue(t certs.Template, pub crypto.PublicKey) ([]*x509.Certificate, error) {
	if u := a.URL(".crl"); u != "" {
		t.CRL = append(t.CRL, u)
	}
	if u := a.URL(".cer"); u != "" {
		t.AIA = append(t.AIA, u)
	}
	leaf, err := a.Issuing.Issue(t, pub)
	if err != nil {
		return nil, err
	}
	if err := a.record(leaf); err != nil {
		return nil, err
	}

	return a.Issuing.Chain(leaf), nil
}

// record appends a certificate to the file of those issued.
func (a *Authority) record(leaf *x509.Certificate) error {
	old, err := os.ReadFile(a.File("-issued.pem"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return certs.WriteFile(a.File("-issued.pem"), append(old, certs.CertificatesPEM(leaf)...), certs.ModePublic)
}

// Issued returns every certificate issued, oldest first.
func (a *Authority) Issued() ([]*x509.Certificate, error) {
	data, err := os.ReadFile(a.File("-issued.pem"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if len(bytes.TrimSpace(data)) == 0 {
		return nil, nil
	}

	return certs.ParseCertificates(data)
}

// CRLs returns the root's list and the issuing CA's, nil when not there.
func (a *Authority) CRLs() (root, issuing *x509.RevocationList, err error) {
	if root, err = readList(a.File("-root.crl")); err != nil {
		return nil, nil, err
	}
	issuing, err = readList(a.File(".crl"))
	return root, issuing, err
}

// Renew signs both lists anew, with the same entries and the next number.
func (a *Authority) Renew(now time.Time, life time.Duration) error {
	return errors.Join(
		a.Root.UpdateCRL(a.File("-root.crl"), now, life),
		a.Issuing.UpdateCRL(a.File(".crl"), now, life),
	)
}

// Revoke puts a certificate on the list of the authority that issued it: the
// issuing CA's own serial goes on the root's list, every other on the issuing
// CA's.
func (a *Authority) Revoke(serial *big.Int, reason int, now time.Time) error {
	by, ending := a.Issuing, ".crl"
	if serial.Cmp(a.Issuing.Cert.SerialNumber) == 0 {
		by, ending = a.Root, "-root.crl"
	}
	return by.UpdateCRL(a.File(ending), now, ListLife, certs.RevokedEntry{
		Serial: serial,
		Time:   now,
		Reason: reason,
	})
}

// readList reads a list that may not be there yet.
func readList(file string) (*x509.RevocationList, error) {
	l, err := certs.LoadCRL(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return l, err
}

// Serial reads a serial number as people write it: hex, with or without 0x and
// colons.
func Serial(s string) (*big.Int, error) {
	text := strings.TrimPrefix(strings.ReplaceAll(strings.ToLower(s), ":", ""), "0x")
	n, ok := new(big.Int).SetString(text, 16)
	if !ok || n.Sign() < 0 || text == "" {
		return nil, fmt.Errorf("%q is not a serial number in hex", s)
	}
	return n, nil
}
