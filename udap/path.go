package udap

import (
	"bytes"
	"crypto/x509"
	"fmt"
	"slices"
	"time"

	"fhirdest.example/udap/jose"
	"fhirdest.example/udap/trace"
)

// Bounds of the search for paths.
const (
	maxPath       = 8  // certificates, leaf and anchor included
	maxPaths      = 8  // acceptable paths that are found, for revocation to choose from
	maxSignatures = 32 // signatures between certificates that one request may cost
)

// signatures verifies signatures between certificates for one request. It bounds
// their number over all communities and everything that was fetched, and
// remembers the failures: whatever certificates a client sends, the work is that
// of at most maxSignatures signatures.
type signatures struct {
	v       *Verifier
	used    int
	failed  map[sigKey]error
	refused bool // a signature was not verified because the budget was used up
}

// errBudget is the answer for a signature beyond the budget.
var errBudget = fmt.Errorf("more than %d signatures between certificates to verify", maxSignatures)

// verify reports whether the key of parent signed child.
func (s *signatures) verify(child, parent *x509.Certificate) error {
	k := sigKeyOf(child, parent)
	if _, ok := s.v.memory.sigs.get(k); ok {
		return nil
	}
	if err, ok := s.failed[k]; ok {
		return err
	}
	if s.used >= maxSignatures {
		s.refused = true
		return errBudget
	}

	s.used++
	err := parent.CheckSignature(child.SignatureAlgorithm, child.RawTBSCertificate, child.Signature)
	if err == nil {
		s.v.memory.sigs.put(k, struct{}{}, maxCachedSigs)
		return nil
	}

	if s.failed == nil {
		s.failed = map[sigKey]error{}
	}
	s.failed[k] = err
	return err
}

// search finds the paths from a leaf to the anchors of one community.
type search struct {
	community *Community
	now       time.Time
	pool      []*x509.Certificate // what the client sent after the leaf, then configured intermediates
	sigs      *signatures

	paths   [][]*x509.Certificate
	nearest *certFault // the fault that stopped the most promising path
	reach   int
}

// findPaths returns every acceptable path, leaf first and anchor last, or the
// fault of the one that came nearest. Revocation is checked later.
func findPaths(s *search, leaf *x509.Certificate) ([][]*x509.Certificate, *certFault) {
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
		if f := checkReserved(leaf, s.community.Policy.Reserved); f != nil {
			s.note(f, 0, leaf, 2000)
			return nil, s.nearest
		}
		return s.paths, nil
	}

	if s.sigs.refused {
		s.note(&certFault{
			check: checkPath,
			expected: fmt.Sprintf("a path found with at most %d signatures between certificates",
				maxSignatures),
			found:  "too many possible issuers in x5c",
			remedy: "send the signer's certificate and the intermediates of its own path only",
			err:    errBudget,
		}, 0, leaf, 2000)
	}

	return nil, s.nearest
}

// HasPath reports whether a certificate, leaf first and its intermediates after it,
// leads to an anchor of the community at a time, by the rules for its members.
// Nothing is fetched, and revocation is not checked.
func (c *Community) HasPath(chain []*x509.Certificate, now time.Time) bool {
	s := &search{
		community: c,
		now:       now,
		pool:      pool(chain[1:], c.Intermediates),
		sigs:      &signatures{v: &Verifier{}},
	}
	paths, _ := findPaths(s, chain[0])
	return len(paths) > 0
}

// note records the fault of the path that reached furthest.
func (s *search) note(f *certFault, index int, cert *x509.Certificate, reach int) {
	if s.nearest != nil && reach <= s.reach {
		return
	}
	if f.cert == nil {
		f.index, f.cert = index, cert
	}
	s.nearest, s.reach = f, reach
}

// extend tries every possible issuer of the last certificate of the path: those
// with the right name, and among them first those whose key it names.
func (s *search) extend(path []*x509.Certificate) {
	child := path[len(path)-1]
	issuer := nameKey(child.RawIssuer)
	named := func(c *x509.Certificate) bool {
		return bytes.Equal(c.RawSubject, child.RawIssuer) || nameKey(c.RawSubject) == issuer
	}

	var anchors, others []*x509.Certificate
	for _, a := range s.community.Anchors {
		if named(a) {
			anchors = append(anchors, a)
		}
	}

	for _, c := range s.pool {
		if named(c) && !contains(path, c) && !isAnchor(s.community, c) {
			others = append(others, c)
		}
	}

	if len(anchors)+len(others) == 0 {
		s.note(s.missingIssuer(child), len(path)-1, child, 10*len(path))
		return
	}

	for _, a := range byKeyID(child, anchors) {
		s.step(path, a, true)
	}

	for _, c := range byKeyID(child, others) {
		s.step(path, c, false)
	}
}

// byKeyID sorts the certificates whose key a child names before the others.
func byKeyID(child *x509.Certificate, issuers []*x509.Certificate) []*x509.Certificate {
	rank := func(c *x509.Certificate) int {
		if len(child.AuthorityKeyId) > 0 && bytes.Equal(child.AuthorityKeyId, c.SubjectKeyId) {
			return 0
		}
		return 1
	}
	slices.SortStableFunc(issuers, func(a, b *x509.Certificate) int {
		return rank(a) - rank(b)
	})

	return issuers
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

	at := len(path)
	if f := s.mayIssue(path, issuer, anchor); f != nil {
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

// mayIssue checks that issuer may have issued the last certificate of a path.
func (s *search) mayIssue(path []*x509.Certificate, issuer *x509.Certificate, anchor bool) *certFault {
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

	if f := checkIssuer(issuer, counted(path[1:])); f != nil {
		return f
	}

	child := path[len(path)-1]
	if err := s.sigs.verify(child, issuer); err != nil {
		return &certFault{
			check:    checkCertSig,
			index:    len(path) - 1,
			cert:     child,
			err:      err,
			expected: "a signature by the key of " + jose.CertName(issuer),
			found:    "a signature by another key" + keyIDs(child, issuer),
			remedy: "the issuer's name is right and its key is not: is this certificate from another hierarchy of " +
				"that name, or from before a key change?",
		}
	}

	return nil
}

// counted returns how many of the CA certificates below an issuer count towards
// its path length: those that are not self-issued (RFC 5280 6.1.4 l).
func counted(below []*x509.Certificate) int {
	n := 0
	for _, c := range below {
		if !selfIssued(c) {
			n++
		}
	}
	return n
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
	if selfIssued(child) {
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
		remedy: "send the missing intermediate in x5c after the leaf; or this certificate belongs to a community " +
			"that is not trusted here",
	}
}

func contains(path []*x509.Certificate, c *x509.Certificate) bool {
	for _, p := range path {
		if bytes.Equal(p.RawSubjectPublicKeyInfo, c.RawSubjectPublicKeyInfo) &&
			SameName(p.RawSubject, c.RawSubject) {
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
