package udap

import (
	"bytes"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/lestrrat-go/jwx/v2/jwa"
	"github.com/lestrrat-go/jwx/v2/jws"

	"fhirdest.example/udap/trace"
)

// Bounds of a compact JWS (RFC 7515 7.1), in bytes.
const (
	maxHeader  = 48 << 10 // ten certificates of 3 KB, in base64 twice
	maxPayload = 64 << 10
	maxCompact = maxHeader/3*4 + maxPayload/3*4 + 2048
)

// maxCerts bounds x5c before anything is parsed or verified.
const maxCerts = 10

// envelope is a compact JWS taken apart, nothing about it believed yet.
type envelope struct {
	raw       string
	header    object
	claims    object
	alg       string
	signed    string // what the signature covers
	signature []byte
	certs     []*x509.Certificate // x5c, signer first
	leaf      *certFacts          // of certs[0]
	known     *knownHeader        // the header's own, when it is that of a trusted signer seen before
}

// fault is a rule of form that did not hold.
type fault struct {
	expected, found, remedy string
	err                     error
}

func (f *fault) finding() trace.Finding {
	return trace.Finding{Expected: f.expected, Found: f.found, Remedy: f.remedy, Err: f.err}
}

// strict64 is unpadded base64url that refuses loose trailing bits.
var strict64 = base64.RawURLEncoding.Strict()

const segmentsExpected = "three segments of unpadded base64url, separated by dots (compact JWS)"

// openCompact takes the three segments apart. RFC 7515 7.1; UDAP Security
// 7.1.1 allows no other serialization. A header that m knows is not read again.
func openCompact(compact string, m *memory) (*envelope, *fault) {
	if len(compact) > maxCompact {
		return nil, &fault{
			expected: fmt.Sprintf("at most %d bytes", maxCompact),
			found:    fmt.Sprintf("%d bytes", len(compact)),
		}
	}
	if n := strings.Count(compact, ".") + 1; n != 3 {
		return nil, &fault{expected: segmentsExpected, found: segmentsShown(compact, n)}
	}

	end := strings.LastIndexByte(compact, '.')
	header, payload, _ := strings.Cut(compact[:end], ".")
	e := &envelope{raw: compact, signed: compact[:end]}
	var f *fault
	if known, ok := m.headers.get(header); ok {
		e.known, e.header = known, known.header
	} else if e.header, f = openObject("header", header, maxHeader); f != nil {
		return nil, f
	}

	if e.claims, f = openObject("payload", payload, maxPayload); f != nil {
		return nil, f
	}
	if e.signature, f = openSegment("signature", compact[end+1:]); f != nil {
		return nil, f
	}

	return e, nil
}

func segmentsShown(compact string, n int) string {
	switch {
	case strings.HasPrefix(strings.TrimSpace(compact), "{"):
		return "a JSON object (the JSON serialization is not accepted)"
	case n == 5:
		return "five segments (an encrypted JWE)"
	case compact == "":
		return "nothing"
	}
	return fmt.Sprintf("%d segment(s)", n)
}

func openSegment(name, segment string) ([]byte, *fault) {
	b, err := strict64.DecodeString(segment)
	// encoding/base64 skips these
	broken := strings.IndexByte(segment, '\n') >= 0 || strings.IndexByte(segment, '\r') >= 0
	if err == nil && segment != "" && !broken {
		return b, nil
	}

	err = wrongSegment(segment, err)
	return nil, &fault{
		expected: segmentsExpected,
		found:    fmt.Sprintf("the %s: %v", name, err),
		err:      err,
	}
}

// wrongSegment says why a text is no segment.
func wrongSegment(s string, err error) error {
	switch {
	case s == "":
		return errors.New("it is empty")
	case strings.ContainsAny(s, "\r\n"):
		return errors.New("it has a line break")
	case strings.ContainsAny(s, "+/"):
		return errors.New("it is base64, not base64url (it has + or /)")
	case strings.Contains(s, "="):
		return errors.New("it is padded with =")
	}

	return fmt.Errorf("not base64url: %w", err)
}

func openObject(name, segment string, limit int) (object, *fault) {
	data, f := openSegment(name, segment)
	if f != nil {
		return nil, f
	}
	if len(data) > limit {
		return nil, &fault{
			expected: fmt.Sprintf("a %s of at most %d bytes", name, limit),
			found:    fmt.Sprintf("%d bytes", len(data)),
		}
	}

	o, err := parseObject(data)
	if err != nil {
		return nil, &fault{
			expected: "a " + name + " that is one JSON object with each member once",
			found:    "in the " + name + ": " + err.Error(),
			err:      err,
		}
	}

	return o, nil
}

// forbiddenHeaders change what is signed or how it is read; no JWT of this
// guide may carry them (RFC 7519 5.3, RFC 7797 6, RFC 7516).
var forbiddenHeaders = []string{"crit", "b64", "zip", "enc"}

// textHeaders are strings where they appear (RFC 7515 4.1). None of them ever
// names the key: that is x5c[0] alone (RFC 8725 3.10).
var textHeaders = []string{"typ", "cty", "kid", "jku", "x5u", "x5t", "x5t#S256"}

// checkHeader judges the members of the header other than alg and x5c.
func (e *envelope) checkHeader() *fault {
	for _, name := range forbiddenHeaders {
		if e.header.has(name) {
			return &fault{expected: "no " + name + " header", found: e.header.shown(name)}
		}
	}

	for _, name := range textHeaders {
		if _, ok := e.header.text(name); e.header.has(name) && !ok {
			return &fault{expected: name + " as a string", found: e.header.shown(name)}
		}
	}

	return e.checkType()
}

// checkType refuses a JWT that says it is of another kind: an access token, a
// DPoP proof (RFC 8725 3.11). Those of this guide name no kind; the one that
// draft-ietf-oauth-rfc7523bis gives to client assertions is let through.
func (e *envelope) checkType() *fault {
	typ, _ := e.header.text("typ")
	kind := strings.TrimPrefix(strings.ToLower(typ), "application/")
	if !strings.HasSuffix(kind, "+jwt") || kind == "client-authentication+jwt" {
		return nil
	}
	return &fault{
		expected: "typ JWT, or none",
		found:    trace.Cut(typ, 100),
		remedy:   "that names a JWT of another kind",
	}
}

// checkAlg judges alg against the list of all algorithms; the community's own
// list is judged once the community is known.
func (e *envelope) checkAlg() *fault {
	alg, ok := e.header.text("alg")
	if !ok || !slices.Contains(signatureAlgorithms, alg) {
		return &fault{
			expected: "alg as one of " + strings.Join(signatureAlgorithms, ", "),
			found:    e.header.shown("alg"),
			remedy:   "sign with RS256 or ES256 and the private key of x5c[0]",
		}
	}
	e.alg = alg
	return nil
}

// checkThumbprints refuses x5t and x5t#S256 that name another certificate than
// x5c[0] (RFC 7515 4.1.7 and 4.1.8).
func (e *envelope) checkThumbprints() *fault {
	one, sum := sha1.Sum(e.certs[0].Raw), sha256.Sum256(e.certs[0].Raw)
	for name, want := range map[string][]byte{"x5t": one[:], "x5t#S256": sum[:]} {
		got, ok := e.header.text(name)
		if !ok {
			continue
		}
		if b, err := strict64.DecodeString(got); err != nil || !bytes.Equal(b, want) {
			return &fault{
				expected: name + " of x5c[0]: " + strict64.EncodeToString(want),
				found:    trace.Cut(got, 100),
				remedy:   "leave " + name + " out, or compute it over the DER of x5c[0]",
			}
		}
	}

	return nil
}

// verifySignature asks jwx whether the key of x5c[0], and no other, made the
// signature with the one algorithm that the header names and the key fits.
func (e *envelope) verifySignature() *fault {
	size, err := algorithmFits(e.alg, e.certs[0].PublicKey)
	if err != nil {
		return &fault{
			expected: "an algorithm that fits the key of x5c[0]",
			found:    err.Error() + e.otherOrder(),
		}
	}
	if len(e.signature) != size {
		return &fault{
			expected: fmt.Sprintf("a signature of %d bytes for %s with %s", size, e.alg,
				keyShown(e.certs[0].PublicKey)),
			found: fmt.Sprintf("%d bytes%s", len(e.signature), derHint(e.alg, e.signature)),
		}
	}
	if err := verifyWith(e.alg, e.signed, e.signature, e.certs[0]); err != nil {
		return &fault{
			expected: "a signature by the key of x5c[0], " + certShown(e.certs[0]),
			found:    e.whoSigned(),
			remedy:   "sign the exact bytes of header.payload with the private key of the certificate that stands first in x5c",
			err:      err,
		}
	}

	return nil
}

// rooms hold what is verified while jwx reads it.
var rooms = sync.Pool{New: func() any { return new([]byte) }}

func verifyWith(alg, signed string, signature []byte, cert *x509.Certificate) error {
	v, err := jws.NewVerifier(jwa.SignatureAlgorithm(alg))
	if err != nil {
		return err
	}
	room := rooms.Get().(*[]byte)
	defer rooms.Put(room)
	*room = append((*room)[:0], signed...)
	return v.Verify(*room, signature, cert.PublicKey)
}

// otherOrder recognises an x5c whose signer does not stand first, where the
// first one's key cannot have signed at all.
func (e *envelope) otherOrder() string {
	if signer := e.whoSigned(); e.certs[0].IsCA || strings.HasPrefix(signer, "a signature made by") {
		return ": " + signer
	}
	return ""
}

// whoSigned explains a signature that x5c[0] did not make, by trying the other
// certificates. What it finds is told, never believed.
func (e *envelope) whoSigned() string {
	first := ""
	if e.certs[0].IsCA {
		first = "; x5c[0] is a CA: the order is probably reversed, the leaf stands first"
	}

	for i, c := range e.certs[1:] {
		if checkKey(c.PublicKey) != nil {
			continue
		}
		if size, err := algorithmFits(e.alg, c.PublicKey); err != nil || size != len(e.signature) {
			continue
		}
		if verifyWith(e.alg, e.signed, e.signature, c) == nil {
			return fmt.Sprintf("a signature made by the key of x5c[%d], %s%s", i+1, certShown(c), first)
		}
	}

	return "a signature that no key of x5c made, or content that changed after signing" + first
}

func derHint(alg string, sig []byte) string {
	if strings.HasPrefix(alg, "ES") && len(sig) > 8 && sig[0] == 0x30 {
		return " (it looks like an ASN.1 DER signature; JWS wants r and s side by side, RFC 7518 3.4)"
	}
	return ""
}
