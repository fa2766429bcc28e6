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
	"slices"
	"strings"
	"time"

	"fhirdest.example/certs"
	"fhirdest.example/certs/disk"
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
func (a *Authority) File(ending string) string {
	return a.Prefix + ending
}

// URL is where one of the files is served, or empty when nothing is served.
func (a *Authority) URL(ending string) string {
	if a.Base == "" {
		return ""
	}
	return a.Base + "/" + url.PathEscape(filepath.Base(a.Prefix)) + ending
}

// Exists reports whether there is a community at the prefix.
func Exists(prefix string) bool {
	_, err := os.Stat(prefix + ".json")
	return err == nil
}

// Create makes a community at the prefix, with keys of the given kind. Keys and
// CRLs that are there already are kept: so a community moves to another base
// URL with new certificates of the same authorities. ErrNoCRL is returned when the CRLs of
// a community that has issued certificates are not there.
func Create(
	prefix string, about About, kind certs.KeyKind, now time.Time,
) (*Authority, error) {
	a := &Authority{
		About:  about,
		Prefix: prefix,
	}
	keys, err := a.keys()
	if err != nil {
		return nil, err
	}
	if err := a.keepsCRLs(); err != nil {
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
	if err := errors.Join(a.write(), a.start(now, ListLife, 1)); err != nil {
		return nil, err
	}
	return a, a.describe()
}

// keepsCRLs returns ErrNoCRL when a CRL is not there that may have had entries.
func (a *Authority) keepsCRLs() error {
	if members, err := a.Issued(); err != nil || len(members) == 0 {
		return err
	}

	for _, ending := range []string{"-root.crl", ".crl"} {
		if _, err := os.Stat(a.File(ending)); errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("%s: %w", a.File(ending), ErrNoCRL)
		}
	}

	return nil
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

// write puts keys and certificates in place.
func (a *Authority) write() error {
	root := &certs.Identity{
		Chain: []*x509.Certificate{a.Root.Cert},
		Key:   a.Root.Key,
	}
	issuing := &certs.Identity{
		Chain: []*x509.Certificate{a.Issuing.Cert, a.Root.Cert},
		Key:   a.Issuing.Key,
	}

	return errors.Join(
		certs.WriteIdentity(a.File("-root.pem"), a.File("-root.key"), root),
		certs.WriteIdentity(a.File(".pem"), a.File(".key"), issuing),
		certs.WriteFile(a.File("-root.cer"), a.Root.Cert.Raw, certs.ModePublic),
		certs.WriteFile(a.File(".cer"), a.Issuing.Cert.Raw, certs.ModePublic),
	)
}

// describe writes the description. It comes last, as it is what Exists looks for: what was
// interrupted before is made again.
func (a *Authority) describe() error {
	about, err := json.MarshalIndent(a.About, "", "  ")
	if err != nil {
		return err
	}
	return certs.WriteFile(a.File(".json"), append(about, '\n'), certs.ModePublic)
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
// distribution point and issuer address. It is recorded once store has stored
// the chain; a nil store stores nothing.
func (a *Authority) Issue(
	t certs.Template, pub crypto.PublicKey, store func(chain []*x509.Certificate) error,
) ([]*x509.Certificate, error) {
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

	chain := a.Issuing.Chain(leaf)
	if store != nil {
		if err := store(chain); err != nil {
			return nil, err
		}
	}

	return chain, a.record(leaf)
}

// lock keeps other programs from changing the lists and the record meanwhile: of two that
// revoke at once, one would forget what the other has revoked.
func (a *Authority) lock() (unlock func(), err error) {
	f, err := os.Open(a.File(".json"))
	if err != nil {
		return nil, err
	}
	if err := disk.Lock(f); err != nil {
		f.Close()
		return nil, fmt.Errorf("%s: %w", f.Name(), err)
	}

	return func() { f.Close() }, nil
}

// record appends a certificate to the file of those issued.
func (a *Authority) record(leaf *x509.Certificate) error {
	unlock, err := a.lock()
	if err != nil {
		return err
	}
	defer unlock()

	old, err := os.ReadFile(a.File("-issued.pem"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return certs.WriteFile(
		a.File("-issued.pem"),
		append(old, certs.CertificatesPEM(leaf)...),
		certs.ModePublic,
	)
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

// Renew signs both CRLs anew, with the same entries and the next number.
func (a *Authority) Renew(now time.Time, life time.Duration) error {
	unlock, err := a.lock()
	if err != nil {
		return err
	}
	defer unlock()

	return errors.Join(
		a.update(a.Root, "-root.crl", now, life),
		a.update(a.Issuing, ".crl", now, life),
	)
}

// Restart signs both CRLs anew, and starts one whose file is lost without
// entries, under a number taken from the clock: above that of every CRL that
// was counted from 1.
func (a *Authority) Restart(now time.Time, life time.Duration) error {
	unlock, err := a.lock()
	if err != nil {
		return err
	}
	defer unlock()

	return a.start(now, life, now.Unix())
}

// start is Renew, but makes a CRL that is not there, with the given number.
func (a *Authority) start(now time.Time, life time.Duration, number int64) error {
	var errs []error
	for ending, ca := range map[string]*certs.CA{
		"-root.crl": a.Root,
		".crl":      a.Issuing,
	} {
		err := a.update(ca, ending, now, life)
		if errors.Is(err, ErrNoCRL) {
			err = ca.StartCRL(a.File(ending), number, now, life)
		}
		errs = append(errs, err)
	}

	return errors.Join(errs...)
}

// ErrNoCRL is returned when the file of an authority's CRL is not there. To go
// on without it would forget what it revoked.
var ErrNoCRL = errors.New("the CRL is not there")

func (a *Authority) update(
	ca *certs.CA, ending string, now time.Time, life time.Duration, add ...certs.RevokedEntry,
) error {
	err := ca.UpdateCRL(a.File(ending), now, life, add...)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s: %w", a.File(ending), ErrNoCRL)
	}
	return err
}

// Revoke puts a certificate on the CRL of the authority that issued it: the
// issuing CA's own serial goes on the root's CRL, every other on the issuing
// CA's. A serial that this community has no record of is refused unless issued
// is true: then the caller has seen the certificate.
func (a *Authority) Revoke(serial *big.Int, issued bool, reason int, now time.Time) error {
	unlock, err := a.lock()
	if err != nil {
		return err
	}
	defer unlock()

	ca := a.Issuing
	ending := ".crl"
	if serial.Cmp(a.Issuing.Cert.SerialNumber) == 0 {
		ca = a.Root
		ending = "-root.crl"
		issued = true
	}

	if !issued {
		members, err := a.Issued()
		if err != nil {
			return err
		}
		if !slices.ContainsFunc(members, func(c *x509.Certificate) bool {
			return c.SerialNumber.Cmp(serial) == 0
		}) {
			return fmt.Errorf("serial 0x%x: %w", serial, ErrUnknownSerial)
		}
	}

	return a.update(ca, ending, now, ListLife, certs.RevokedEntry{
		Serial: serial,
		Time:   now,
		Reason: reason,
	})
}

// ErrUnknownSerial is returned for a serial number that the community has not
// issued, as far as its record goes.
var ErrUnknownSerial = errors.New("no certificate with this serial number was issued here")

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
