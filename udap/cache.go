package udap

import (
	"crypto/sha256"
	"crypto/x509"
	"slices"
	"strings"
	"sync"
	"time"
	"weak"

	"fhirdest.example/udap/jose"
)

// Bounds of what a verifier remembers.
const (
	maxCachedCerts   = 4096
	maxCachedHeaders = 2048
	maxCachedHeader  = 16 << 10 // bytes of one; three certificates with RSA-4096 keys take 10 KB
	maxCachedSigs    = 4096
	maxCachedPaths   = 4096
	maxCachedLists   = 128
)

// bounded is a map that forgets its older half when full: simple, and an
// attacker who fills it gains only the cost of filling it.
type bounded[K comparable, V any] struct {
	mu       sync.RWMutex
	new, old map[K]V
}

func (b *bounded[K, V]) get(k K) (V, bool) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	v, ok := b.new[k]
	if !ok {
		v, ok = b.old[k]
	}
	return v, ok
}

func (b *bounded[K, V]) put(k K, v V, max int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.new == nil || len(b.new) >= max/2 {
		b.new, b.old = make(map[K]V), b.new
	}
	b.new[k] = v
}

// digest identifies bytes.
type digest [sha256.Size]byte

// crlKey is one CRL and the issuer against which it was checked.
type crlKey struct {
	list   weak.Pointer[x509.RevocationList] // a replaced list is not kept alive
	issuer digest
}

// sigKey is one certificate and the key that may have signed it.
type sigKey struct{ child, issuerKey digest }

// sigKeyOf uses the child's whole DER and the issuer's whole public key, never
// a name.
func sigKeyOf(child, parent *x509.Certificate) sigKey {
	return sigKey{sha256.Sum256(child.Raw), sha256.Sum256(parent.RawSubjectPublicKeyInfo)}
}

// pathKey is all that a search for paths depends on but the time: every
// certificate that was sent, in order, and the community. A Verifier's
// communities do not change under it: a change of trust or policy makes a new
// Verifier, and with it an empty memory.
type pathKey struct {
	sent      digest
	community *Community
}

// foundPaths are acceptable paths, and the time between which every certificate
// on all of them is within its dates.
type foundPaths struct {
	paths       [][]*x509.Certificate
	from, until time.Time
	shown       string // the first one
}

// knownHeader is the decoded header of a signer that proved to be trusted. It
// holds nothing of the message below it.
type knownHeader struct {
	header jose.Object
	alg    string
	certs  []*x509.Certificate
	sent   digest // of certs
	texts  headerTexts
}

// headerTexts describe a header for people.
type headerTexts struct {
	members   string // their names
	certs     string // how many there are
	signature string // the algorithm and the key
}

// certFacts are values of a certificate that are computed once.
type certFacts struct {
	shown    string // its name for people
	key      string // its key, for people
	keyFault error
	uris     []string // URI names
	urisErr  error
	urisList string   // the same, for people
	lists    []string // URLs of its distribution points
}

// memory holds what a verifier may safely remember: nothing in it depends on the
// time, and nothing records that a message was accepted. Only successes are
// remembered.
type memory struct {
	headers bounded[string, *knownHeader] // by their base64url text
	certs   bounded[digest, *x509.Certificate]
	facts   bounded[*x509.Certificate, *certFacts] // of certificates on trusted paths
	sigs    bounded[sigKey, struct{}]
	paths   bounded[pathKey, *foundPaths]
	lists   bounded[crlKey, *checkedCRL]
	cleared bounded[clearedKey, *cleared]
}

// parseCertificate parses DER, or remembers it parsed.
func (v *Verifier) parseCertificate(der []byte) (*x509.Certificate, error) {
	if c, ok := v.memory.certs.get(sha256.Sum256(der)); ok {
		return c, nil
	}
	return x509.ParseCertificate(der)
}

// remember stores the header and the certificates of a signer that proved to be
// trusted: clients send the same ones again and again. Those of strangers are
// not stored, because strangers could fill the memory. Nor are very long headers
// and certificates that are on no path.
func (v *Verifier) remember(e *envelope, path []*x509.Certificate) {
	if e.known != nil || !e.Header.Has("x5c") {
		return
	}

	segment, _, _ := strings.Cut(e.Raw, ".")
	if len(segment) <= maxCachedHeader && e.Claims != nil { // a detached signature's is never seen again
		known := &knownHeader{
			header: e.Header,
			alg:    e.Algorithm,
			certs:  e.certs,
			sent:   digestOf(e.certs),
			texts:  e.texts,
		}
		v.memory.headers.put(strings.Clone(segment), known, maxCachedHeaders)
	}

	for _, c := range path {
		if slices.Contains(e.certs, c) {
			v.memory.certs.put(sha256.Sum256(c.Raw), c, maxCachedCerts)
		}
		if _, ok := v.memory.facts.get(c); !ok {
			v.memory.facts.put(c, readFacts(c), maxCachedCerts)
		}
	}
}

// factsOf returns the facts of a certificate, computed or remembered.
func (v *Verifier) factsOf(c *x509.Certificate) *certFacts {
	if f, ok := v.memory.facts.get(c); ok {
		return f
	}
	return readFacts(c)
}

func readFacts(c *x509.Certificate) *certFacts {
	f := &certFacts{
		shown:    jose.CertName(c),
		key:      jose.KeyName(c.PublicKey),
		keyFault: jose.CheckKey(c.PublicKey),
		lists:    crlURLs(c),
	}
	f.uris, f.urisErr = RawSANURIs(c)
	f.urisList = list(f.uris)
	return f
}

// pathsTo finds the paths from the first certificate to a community, or
// remembers them. Dates are looked at again each time; outside of them the
// search is repeated, so that its fault names what is wrong. A path that needed
// fetched issuers is not remembered: each use of that leniency is a warning.
func (val *validation) pathsTo(c *Community, e *envelope) (*foundPaths, *certFault, int) {
	m, now, sent := &val.v.memory.paths, val.exp.Now, e.certs
	k := pathKey{sent: e.sent(), community: c}
	if f, ok := m.get(k); ok && !now.Before(f.from) && !now.After(f.until) {
		return f, nil, 0
	}

	s := &search{
		community: c,
		now:       now,
		pool:      pool(sent[1:], c.Intermediates),
		sigs:      val.sigs,
	}
	known := len(s.pool)
	paths, f := val.pathsWithin(s, sent[0])
	if len(paths) == 0 {
		return nil, f, s.reach
	}

	found := withDates(paths)
	found.shown = val.pathShown(c, paths[0])
	if len(s.pool) == known {
		m.put(k, found, maxCachedPaths)
	}

	return found, nil, s.reach
}

// sent identifies the certificates of a JWT.
func (e *envelope) sent() digest {
	if e.known != nil {
		return e.known.sent
	}
	return digestOf(e.certs)
}

// digestOf identifies certificates in their order.
func digestOf(certs []*x509.Certificate) digest {
	h := sha256.New()
	for _, c := range certs {
		sum := sha256.Sum256(c.Raw)
		h.Write(sum[:])
	}
	return digest(h.Sum(nil))
}

func withDates(paths [][]*x509.Certificate) *foundPaths {
	f := &foundPaths{
		paths: paths,
		from:  paths[0][0].NotBefore,
		until: paths[0][0].NotAfter,
	}

	for _, path := range paths {
		for _, c := range path {
			if c.NotBefore.After(f.from) {
				f.from = c.NotBefore
			}
			if c.NotAfter.Before(f.until) {
				f.until = c.NotAfter
			}
		}
	}

	return f
}

func (v *Verifier) checkedCRL(list *x509.RevocationList, issuer *x509.Certificate) *checkedCRL {
	k := crlKey{weak.Make(list), sha256.Sum256(issuer.Raw)}
	if j, ok := v.memory.lists.get(k); ok {
		return j
	}
	j := checkCRLOnce(list, issuer)
	v.memory.lists.put(k, j, maxCachedLists)
	return j
}
