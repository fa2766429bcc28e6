package udap

import (
	"bytes"
	"crypto/x509"
	"fmt"
	"time"

	"fhirdest.example/udap/jose"
	"fhirdest.example/udap/trace"
)

// Bounds of the search for paths: whatever certificates a client sends, the
// work stays that of a few signatures.
const (
	maxPath       = 8  // certificates, leaf and anchor included
	maxPaths      = 8  // acceptable paths kept, for revocation to choose from
	maxSignatures = 32 // signatures verified in one search
)

// search finds the paths from a leaf to the anchors of one community.
type search struct {
	community *Community
	now       time.Time
	pool      []*x509.Certificate // what the client sent after the leaf, then configured intermediates
	signed    func(child, parent *x509.Certificate) error
	budget    int

	paths   [][]*x509.Certificate
	nearest *certFault // the fault that stopped the most promising path
	reach   int
}

// findPaths returns every acceptable path, leaf first and anchor last, or the
// fault of the one that came nearest. Revocation is judged later.
func findPaths(s *search, leaf *x509.Certificate) ([][]*x509.Certificate, *certFault) {
	s.budget = maxSignatures
	if f := checkCertificate(leaf); f != nil {
		s.note(f, 0, leaf, 1000)
		return nil, s.nearest
	}
	if f := checkEndEntity(leaf); f != nil {
		s.note(f, 0, leaf, 1000)
		return nil, s.nearest
	}

	s.extend([]*x509.Certificate{leaf})
	if len(s.paths) > 0 {
		return s.paths, nil
	}
	return nil, s.nearest
}

// note keeps the fault of the path that reached furthest.
func (s *search) note(f *certFault, index int, cert *x509.Certificate, reach int) {
	if s.nearest != nil && reach <= s.reach {
		return
	}
	if f.cert == nil {
		f.index, f.cert = index, cert
	}
	s.nearest, s.reach = f, reach
}

// extend tries every possible issuer of the last certificate of the path.
func (s *search) extend(path []*x509.Certificate) {
	child := path[len(path)-1]
	tried := 0
	for _, a := range s.community.Anchors {
		if bytes.Equal(a.RawSubject, child.RawIssuer) {
			tried++
			s.step(path, a, true)
		}
	}

	for _, c := range s.pool {
		if bytes.Equal(c.RawSubject, child.RawIssuer) && !contains(path, c) && !isAnchor(s.community, c) {
			tried++
			s.step(path, c, false)
		}
	}

	if tried == 0 {
		s.note(s.missingIssuer(child), len(path)-1, child, 10*len(path))
	}
}

// step adds one issuer to the path, if it is one, and goes on.
func (s *search) step(path []*x509.Certificate, issuer *x509.Certificate, anchor bool) {
	if len(s.paths) >= maxPaths {
		return
	}
	if len(path) >= maxPath {
		s.note(&certFault{
			check:    checkPath,
			expected: fmt.Sprintf("a path of at most %d certificates, anchor included", maxPath),
			found:    "a longer one",
		}, len(path)-1, path[len(path)-1], 10*len(path)+2)
		return
	}

	at, child := len(path), path[len(path)-1]
	if s.budget--; s.budget < 0 {
		s.note(&certFault{
			check:    checkPath,
			expected: fmt.Sprintf("a path found within %d signatures", maxSignatures),
			found:    "too many possible issuers",
		}, at-1, child, 5)
		return
	}
	if f := s.mayIssue(child, issuer, at, anchor); f != nil {
		s.note(f, at, issuer, 10*at+1)
		return
	}

	next := append(path[:at:at], issuer)
	if !anchor {
		s.extend(next)
		return
	}
	if f := s.whole(next); f != nil {
		s.note(f, at, issuer, 500+at)
		return
	}

	s.paths = append(s.paths, next)
}

// mayIssue judges one edge of the graph.
func (s *search) mayIssue(child, issuer *x509.Certificate, below int, anchor bool) *certFault {
	if !anchor {
		if f := checkCertificate(issuer); f != nil {
			return f
		}
	} else if err := jose.CheckKey(issuer.PublicKey); err != nil {
		return &certFault{
			check:    checkCertKey,
			expected: jose.SoundKeys,
			found:    err.Error(),
		}
	}

	if f := checkIssuer(issuer, below-1); f != nil {
		return f
	}
	if err := s.signed(child, issuer); err != nil {
		return &certFault{
			check:    checkCertSig,
			index:    below - 1,
			cert:     child,
			err:      err,
			expected: "a signature by the key of " + jose.CertName(issuer),
			found:    "a signature by another key" + keyIDs(child, issuer),
			remedy:   "the issuer's name is right and its key is not: is this certificate from another hierarchy of that name, or from before a key change?",
		}
	}

	return nil
}

func keyIDs(child, issuer *x509.Certificate) string {
	if len(child.AuthorityKeyId) == 0 || bytes.Equal(child.AuthorityKeyId, issuer.SubjectKeyId) {
		return ""
	}
	return fmt.Sprintf(" (it names the key %x, the issuer's is %x)", child.AuthorityKeyId, issuer.SubjectKeyId)
}

// whole applies the rules that need the complete path.
func (s *search) whole(path []*x509.Certificate) *certFault {
	for i, c := range path {
		if f := checkDates(c, s.now); f != nil {
			f.index, f.cert = i, c
			return f
		}
	}

	if f := checkNames(path); f != nil {
		return f
	}
	if f := checkExtKeyUsage(path, s.community.Policy.ExtendedKeyUsages); f != nil {
		return f
	}
	if f := checkPolicies(path, s.community.Policy.CertificatePolicies); f != nil {
		return f
	}

	return secondOpinion(path, s.now)
}

func (s *search) missingIssuer(child *x509.Certificate) *certFault {
	id := ""
	if len(child.AuthorityKeyId) > 0 {
		id = fmt.Sprintf(" with key id %x", child.AuthorityKeyId)
	}
	if bytes.Equal(child.RawIssuer, child.RawSubject) {
		return &certFault{
			check:    checkPath,
			expected: "a path to an anchor of the community",
			found:    "it is self-signed and no anchor",
			remedy:   "use a certificate that the community issued",
		}
	}

	return &certFault{
		check:    checkPath,
		expected: "a path to an anchor of the community",
		missing:  true,
		found: fmt.Sprintf("its issuer %q%s is neither in x5c nor among the anchors and intermediates configured",
			trace.Cut(child.Issuer.String(), 200), id),
		remedy: "send the missing intermediate in x5c after the leaf; or this certificate belongs to a community that is not trusted here",
	}
}

func contains(path []*x509.Certificate, c *x509.Certificate) bool {
	for _, p := range path {
		if bytes.Equal(p.RawSubject, c.RawSubject) &&
			bytes.Equal(p.RawSubjectPublicKeyInfo, c.RawSubjectPublicKeyInfo) {
			return true // RFC 5280 6.1: no loops; a cross-certificate of the same name and key adds nothing
		}
	}
	return false
}

func isAnchor(community *Community, c *x509.Certificate) bool {
	for _, a := range community.Anchors {
		if bytes.Equal(a.Raw, c.Raw) {
			return true
		}
	}
	return false
}
