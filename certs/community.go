package certs

import (
	"crypto"
	"crypto/x509"
	"fmt"
	"time"
)

// Community is the certificate side of a trust community: a root, the anchor of
// all trust in it, and one authority under it that issues to members.
type Community struct {
	Root    *CA
	Issuing *CA
}

// CommunityPlan describes a community to make. CRL and certificate URLs may be
// empty.
type CommunityPlan struct {
	Name      string // goes into both CAs' common names
	Key       KeyKind
	NotBefore time.Time
	Life      time.Duration // of the root; the issuing CA lives as long
	RootCRL   string        // URL of the list that the root signs
	RootCert  string        // URL of the root's certificate

	RootKey    crypto.Signer // nil: a new one
	IssuingKey crypto.Signer // nil: a new one
}

// NewCommunity makes both authorities. The issuing CA points at
// the root's list, and so does the root itself: some clients refuse any
// certificate of a chain that has no distribution point.
func NewCommunity(p CommunityPlan) (*Community, error) {
	rootKey, err := keyOrNew(p.RootKey, p.Key)
	if err != nil {
		return nil, err
	}

	issuingKey, err := keyOrNew(p.IssuingKey, p.Key)
	if err != nil {
		return nil, err
	}

	t := Template{
		CommonName: p.Name + " Root CA", Organization: p.Name,
		NotBefore: p.NotBefore, NotAfter: p.NotBefore.Add(p.Life), CRL: some(p.RootCRL),
	}
	root, err := NewRoot(t, rootKey)
	if err != nil {
		return nil, err
	}

	t.CommonName, t.AIA = p.Name+" Issuing CA", some(p.RootCert)
	t.Mutate = func(c *x509.Certificate) {
		c.MaxPathLen = 0
		c.MaxPathLenZero = true
	}
	issuing, err := root.NewCA(t, issuingKey)
	if err != nil {
		return nil, fmt.Errorf("certs: community %s: %w", p.Name, err)
	}

	return &Community{
		Root:    root,
		Issuing: issuing,
	}, nil
}

func keyOrNew(key crypto.Signer, kind KeyKind) (crypto.Signer, error) {
	if key != nil {
		return key, nil
	}
	return NewKey(kind)
}

func some(s string) []string {
	if s == "" {
		return nil
	}
	return []string{s}
}
