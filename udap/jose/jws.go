package jose

import (
	"bytes"
	"crypto"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"fhirdest.example/udap/trace"
)

// Bounds of a compact JWS (RFC 7515 7.1), in bytes.
const (
	maxHeader  = 48 << 10 // ten certificates of 3 KB, in base64 twice
	maxPayload = 64 << 10
	maxCompact = maxHeader/3*4 + maxPayload/3*4 + 2048
)

// base64URL is unpadded base64url that refuses loose trailing bits.
var base64URL = base64.RawURLEncoding.Strict()

// DecodeSegment decodes unpadded base64url. Loose trailing bits, padding and
// line breaks are errors.
func DecodeSegment(segment string) ([]byte, error) {
	b, err := base64URL.DecodeString(segment)
	// encoding/base64 skips line breaks
	broken := strings.IndexByte(segment, '\n') >= 0 || strings.IndexByte(segment, '\r') >= 0
	if err == nil && segment != "" && !broken {
		return b, nil
	}
	return nil, segmentFault(segment, err)
}

// JWS is a compact JWS whose segments were decoded. Nothing about it is
// verified until Verify returns nil.
type JWS struct {
	Raw       string // the compact form as received
	Header    Object
	Claims    Object
	Algorithm string // alg; empty until CheckAlgorithm returns nil
	Signature []byte

	input string // what the signature covers
}

const segmentsExpected = "three segments of unpadded base64url, separated by dots (compact JWS)"

// Open decodes a compact JWS (RFC 7515 7.1). UDAP Security 7.1.1 allows no
// other serialization. known, if not nil, returns the header of a segment that
// was decoded before.
func Open(compact string, known func(segment string) (Object, bool)) (*JWS, *Fault) {
	if len(compact) > maxCompact {
		return nil, &Fault{
			Expected: fmt.Sprintf("at most %d bytes", maxCompact),
			Found:    fmt.Sprintf("%d bytes", len(compact)),
		}
	}
	if n := strings.Count(compact, ".") + 1; n != 3 {
		return nil, &Fault{
			Expected: segmentsExpected,
			Found:    segmentsShown(compact, n),
		}
	}

	end := strings.LastIndexByte(compact, '.')
	header, payload, _ := strings.Cut(compact[:end], ".")
	out := &JWS{
		Raw:   compact,
		input: compact[:end],
	}

	var f *Fault
	if f = out.decodeHeader(header, known); f != nil {
		return nil, f
	}
	if out.Claims, f = decodeObject("payload", payload, maxPayload); f != nil {
		return nil, f
	}
	if out.Signature, f = decodePart("signature", compact[end+1:]); f != nil {
		return nil, f
	}

	return out, nil
}

// OpenDetached decodes a compact JWS whose payload was left out, and puts content
// in its place (RFC 7515 appendix F). The JWS has no Claims. known is that of Open.
func OpenDetached(
	compact string, content []byte, known func(segment string) (Object, bool),
) (*JWS, *Fault) {
	if len(compact) > maxCompact {
		return nil, &Fault{
			Expected: fmt.Sprintf("at most %d bytes", maxCompact),
			Found:    fmt.Sprintf("%d bytes", len(compact)),
		}
	}

	header, rest, _ := strings.Cut(compact, ".")
	payload, signature, found := strings.Cut(rest, ".")
	if !found || payload != "" || strings.Contains(signature, ".") {
		return nil, &Fault{
			Expected: "a header and a signature, with two dots between them (detached JWS)",
			Found:    segmentsShown(compact, strings.Count(compact, ".")+1),
			Remedy:   "leave the payload out: it is the canonical form of what is signed",
		}
	}

	out := &JWS{
		Raw:   compact,
		input: header + "." + base64URL.EncodeToString(content),
	}
	var f *Fault
	if f = out.decodeHeader(header, known); f != nil {
		return nil, f
	}
	if out.Signature, f = decodePart("signature", signature); f != nil {
		return nil, f
	}

	return out, nil
}

// decodeHeader decodes the header, unless it is known.
func (s *JWS) decodeHeader(
	segment string, known func(segment string) (Object, bool),
) (f *Fault) {
	have := false
	if known != nil {
		s.Header, have = known(segment)
	}
	if !have {
		s.Header, f = decodeObject("header", segment, maxHeader)
	}
	return f
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

func decodePart(name, segment string) ([]byte, *Fault) {
	b, err := DecodeSegment(segment)
	if err == nil {
		return b, nil
	}

	return nil, &Fault{
		Expected: segmentsExpected,
		Found:    fmt.Sprintf("the %s: %v", name, err),
		Err:      err,
	}
}

// segmentFault returns why a text is not a segment.
func segmentFault(s string, err error) error {
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

func decodeObject(name, segment string, limit int) (Object, *Fault) {
	data, f := decodePart(name, segment)
	if f != nil {
		return nil, f
	}
	if len(data) > limit {
		return nil, &Fault{
			Expected: fmt.Sprintf("a %s of at most %d bytes", name, limit),
			Found:    fmt.Sprintf("%d bytes", len(data)),
		}
	}

	o, err := parseObject(data)
	if err != nil {
		return nil, &Fault{
			Expected: "a " + name + " that is one JSON object with each member once",
			Found:    "in the " + name + ": " + err.Error(),
			Err:      err,
		}
	}

	return o, nil
}

// HeaderRules are the rules about a header that differ between kinds of JWT.
type HeaderRules struct {
	// Types are the values of typ that are accepted among those that name a
	// kind of JWT, in lower case and without "application/", for example
	// "dpop+jwt". A typ that names another kind is refused (RFC 8725 3.11).
	Types []string
	// TypeRequired refuses a JWT without one of Types. If it is false, a typ
	// that names no kind, such as JWT, and an absent one are accepted.
	TypeRequired bool
	// Forbidden are members that must be absent, beside those that change what
	// is signed or how it is read: crit, b64, zip and enc.
	Forbidden []string
}

// forbiddenMembers change what is signed or how it is read (RFC 7519 5.3, RFC
// 7797 6, RFC 7516).
var forbiddenMembers = []string{"crit", "b64", "zip", "enc"}

// textMembers are strings if they are present (RFC 7515 4.1).
var textMembers = []string{"typ", "cty", "kid", "jku", "x5u", "x5t", "x5t#S256"}

// CheckHeader checks the members of the header other than alg and x5c. None of
// them ever chooses the key (RFC 8725 3.10): that is for the caller.
func (s *JWS) CheckHeader(rules HeaderRules) *Fault {
	for _, names := range [][]string{forbiddenMembers, rules.Forbidden} {
		for _, name := range names {
			if s.Header.Has(name) {
				return &Fault{
					Expected: "no " + name + " header",
					Found:    s.Header.Show(name),
				}
			}
		}
	}

	for _, name := range textMembers {
		if _, ok := s.Header.Text(name); s.Header.Has(name) && !ok {
			return &Fault{
				Expected: name + " as a string",
				Found:    s.Header.Show(name),
			}
		}
	}

	return s.checkType(rules)
}

func (s *JWS) checkType(rules HeaderRules) *Fault {
	typ, _ := s.Header.Text("typ")
	kind := strings.TrimPrefix(strings.ToLower(typ), "application/")
	if slices.Contains(rules.Types, kind) || !rules.TypeRequired && !strings.HasSuffix(kind, "+jwt") {
		return nil
	}

	if rules.TypeRequired {
		return &Fault{
			Expected: "typ " + strings.Join(rules.Types, " or "),
			Found:    s.Header.Show("typ"),
		}
	}

	return &Fault{
		Expected: "typ JWT, or none",
		Found:    trace.Cut(typ, 100),
		Remedy:   "that names a JWT of another kind",
	}
}

// CheckAlgorithm checks alg against Algorithms and sets s.Algorithm. Whether it
// fits the key is for Verify.
func (s *JWS) CheckAlgorithm() *Fault {
	alg, ok := s.Header.Text("alg")
	if !ok || !slices.Contains(algorithms, alg) {
		return &Fault{
			Expected: "alg as one of " + algorithmsShown,
			Found:    s.Header.Show("alg"),
			Remedy:   "sign with RS256 or ES256 and the private key of x5c[0]",
		}
	}

	s.Algorithm = alg
	return nil
}

// CheckThumbprints refuses x5t and x5t#S256 that are not those of the signer's
// certificate (RFC 7515 4.1.7 and 4.1.8).
func (s *JWS) CheckThumbprints(signer *x509.Certificate) *Fault {
	one, sum := sha1.Sum(signer.Raw), sha256.Sum256(signer.Raw)
	for name, want := range map[string][]byte{
		"x5t":      one[:],
		"x5t#S256": sum[:],
	} {
		got, ok := s.Header.Text(name)
		if !ok {
			continue
		}
		if b, err := base64URL.DecodeString(got); err != nil || !bytes.Equal(b, want) {
			return &Fault{
				Expected: name + " of x5c[0]: " + base64URL.EncodeToString(want),
				Found:    trace.Cut(got, 100),
				Remedy:   "leave " + name + " out, or compute it over the DER of x5c[0]",
			}
		}
	}

	return nil
}

// Verify reports whether the key of certs[0], and no other, made the signature
// with s.Algorithm, which the key must fit. The other certificates serve to
// explain a refusal only: which of their keys made the signature.
func (s *JWS) Verify(certs []*x509.Certificate) *Fault {
	key := certs[0].PublicKey
	size, err := signatureSize(s.Algorithm, key)
	if err != nil {
		return &Fault{
			Expected: "an algorithm that fits the key of x5c[0]",
			Found:    err.Error() + s.otherOrder(certs),
		}
	}
	if len(s.Signature) != size {
		return &Fault{
			Expected: fmt.Sprintf("a signature of %d bytes for %s with %s", size, s.Algorithm, KeyName(key)),
			Found:    fmt.Sprintf("%d bytes%s", len(s.Signature), derHint(s.Algorithm, s.Signature)),
		}
	}
	if err := s.verifyWith(key); err != nil {
		return &Fault{
			Expected: "a signature by the key of x5c[0], " + CertName(certs[0]),
			Found:    s.otherSigner(certs),
			Remedy: "sign the exact bytes of header.payload with the private key of the certificate that is first " +
				"in x5c",
			Err: err,
		}
	}

	return nil
}

// scratch holds buffers for the bytes that a signature covers.
var scratch = sync.Pool{New: func() any { return new([]byte) }}

func (s *JWS) verifyWith(key crypto.PublicKey) error {
	if len(s.input) > maxCompact { // of a detached payload: not kept
		return verifySignature(s.Algorithm, key, []byte(s.input), s.Signature)
	}

	buf := scratch.Get().(*[]byte)
	defer scratch.Put(buf)
	*buf = append((*buf)[:0], s.input...)
	return verifySignature(s.Algorithm, key, *buf, s.Signature)
}

// otherOrder recognises an x5c whose signer is not first, where the key of the
// first certificate cannot have signed at all.
func (s *JWS) otherOrder(certs []*x509.Certificate) string {
	if signer := s.otherSigner(certs); certs[0].IsCA ||
		strings.HasPrefix(signer, "a signature made by") {
		return ": " + signer
	}
	return ""
}

// otherSigner explains a signature that the key of x5c[0] did not make, by
// trying the other certificates. The result is shown and never relied on.
func (s *JWS) otherSigner(certs []*x509.Certificate) string {
	first := ""
	if certs[0].IsCA {
		first = "; x5c[0] is a CA: the order is probably reversed, the leaf comes first"
	}

	for i, c := range certs[1:] {
		if CheckKey(c.PublicKey) != nil {
			continue
		}
		if size, err := signatureSize(s.Algorithm, c.PublicKey); err != nil ||
			size != len(s.Signature) {
			continue
		}
		if s.verifyWith(c.PublicKey) == nil {
			return fmt.Sprintf("a signature made by the key of x5c[%d], %s%s", i+1, CertName(c), first)
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
