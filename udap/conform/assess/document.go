package assess

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"slices"
	"strconv"
	"strings"

	"fhirdest.example/udap/jose"
	"fhirdest.example/udap/trace"
)

// kind is what a JWT is for.
type kind string

const (
	statement kind = "software statement"
	assertion kind = "authentication token"
)

// document is a JWT that a client sent, decoded and not verified.
type document struct {
	kind  kind
	raw   string
	jws   *jose.JWS
	fault *jose.Fault // why jws is nil

	certs     []*x509.Certificate
	certFault *jose.Fault
	thumb     string // SHA-256 of the leaf, in hex
}

// decode decodes a JWT of a client.
func decode(k kind, compact string) *document {
	d := &document{
		kind: k,
		raw:  compact,
	}
	d.jws, d.fault = jose.Open(compact, nil)
	if d.jws == nil {
		return d
	}

	d.certs, d.certFault = jose.DecodeX5C(d.jws.Header, nil)
	if d.certFault == nil {
		sum := sha256.Sum256(d.certs[0].Raw)
		d.thumb = hex.EncodeToString(sum[:])
	}
	return d
}

// text returns a claim that is a string; empty if it is not.
func (d *document) text(claim string) string {
	if d == nil || d.jws == nil {
		return ""
	}
	s, _ := d.jws.Claims.Text(claim)
	return s
}

// header returns a member of the header that is a string, also where the rest of the
// JWT cannot be decoded; empty if it is not.
func (d *document) header(member string) string {
	segment, _, _ := strings.Cut(d.raw, ".")
	decoded, err := base64.RawURLEncoding.DecodeString(segment)
	if err != nil {
		return ""
	}
	o, _ := jose.ParseObject(decoded)
	s, _ := o.Text(member)
	return s
}

// has reports whether a claim is present.
func (d *document) has(claim string) bool {
	return d != nil && d.jws != nil && d.jws.Claims.Has(claim)
}

// cancels reports whether a statement has empty grant types.
func (d *document) cancels() bool {
	if !d.has("grant_types") {
		return false
	}
	grants, ok := d.jws.Claims.List("grant_types")
	return ok && len(grants) == 0
}

// number returns a NumericDate (RFC 7519 2), and whether the claim is one.
func (d *document) number(claim string) (seconds float64, ok bool) {
	v := d.jws.Claims[claim]
	if len(v) == 0 || v.Kind() != '0' {
		return 0, false
	}
	n, err := strconv.ParseFloat(string(v), 64)
	return n, err == nil
}

// list returns a claim that is an array of strings, and whether it is one.
func (d *document) list(claim string) ([]string, bool) {
	return d.jws.Claims.List(claim)
}

// names returns the URI names of the leaf.
func (d *document) names() []string {
	var out []string
	if len(d.certs) == 0 {
		return nil
	}
	for _, u := range d.certs[0].URIs {
		out = append(out, u.String())
	}
	return out
}

// shown returns a claim as a finding has it.
func (d *document) shown(claim string) string {
	if !d.has(claim) {
		return "no " + claim
	}
	return trace.Cut(d.jws.Claims.Show(claim), maxShown)
}

// notList describes a member that is no array of strings, or an empty one.
func notList(o jose.Object, member string) string {
	switch list, ok := o.List(member); {
	case o.Kind(member) != "array":
		return member + " is " + kindOf(o, member) + ", not an array"
	case !ok:
		return member + " has an element that is not a string"
	case len(list) == 0:
		return member + " is an empty array"
	}
	return ""
}

// kindOf returns the kind of a member's value with its article.
func kindOf(o jose.Object, member string) string {
	switch kind := o.Kind(member); kind {
	case "null":
		return kind
	case "object", "array":
		return "an " + kind
	default:
		return "a " + kind
	}
}

// maxShown bounds what a finding repeats of a client, in bytes.
const maxShown = 160

// quote bounds and quotes what a client sent.
func quote(s string) string {
	return strconv.Quote(trace.Cut(s, maxShown))
}

// words splits a list with spaces between.
func words(s string) []string {
	return slices.DeleteFunc(strings.Split(s, " "), func(w string) bool { return w == "" })
}
