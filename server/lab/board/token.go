package board

import (
	"cmp"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	"fhirdest.example/udap/conform"
	"fhirdest.example/udap/jose"
	"fhirdest.example/udap/trace"
)

// Bounds of what is decoded of one message.
const (
	maxTokens  = 12
	maxMembers = 60
	maxShown   = 4000 // characters of one value
)

// signed is a JWT of a message, decoded.
type signed struct {
	Where     string // the parameter or member that it is
	Raw       string
	Problem   string // why it could not be read; the rest is then as far as it could
	Header    []member
	Claims    []member
	Signature []trace.Step
	Verified  string // what a verification with the key of x5c[0] found
	Good      bool
	Path      *path
}

// member is one member of a header or of the claims.
type member struct {
	Name  string
	Value string
	Means string       // a time in words
	Steps []trace.Step // the checks that looked at it
}

// found is a compact JWT and where it was.
type found struct {
	where, compact string
}

// tokensOf returns the JWTs of a message: values of its form or of its JSON object.
func tokensOf(m *conform.Message, target string) []found {
	var out []found
	put := func(where, value string) {
		if len(out) < maxTokens && isCompact(value) {
			out = append(out, found{
				where:   where,
				compact: value,
			})
		}
	}

	if _, query, ok := strings.Cut(target, "?"); ok {
		putForm(query, put)
	}
	text := strings.TrimSpace(string(m.Body))
	if !strings.HasPrefix(text, "{") {
		putForm(text, put)
		return out
	}

	object, err := jose.ParseObject([]byte(text))
	if err != nil {
		return out
	}

	for _, name := range slices.Sorted(maps.Keys(object)) {
		if value, ok := jose.Text(object[name]); ok {
			put(name, value)
		}
		list, _ := jose.List(object[name])
		for i, value := range list {
			put(fmt.Sprintf("%s[%d]", name, i), value)
		}
	}

	return out
}

func putForm(text string, put func(where, value string)) {
	form, _ := url.ParseQuery(text) // what can be read of it
	for _, name := range slices.Sorted(maps.Keys(form)) {
		for _, value := range form[name] {
			put(name, value)
		}
	}
}

// isCompact reports whether a text has the shape of a JWT.
func isCompact(s string) bool {
	return strings.HasPrefix(s, "eyJ") && strings.Count(s, ".") == 2
}

// kinds are the first parts of the names of checks, by where a JWT is.
var kinds = map[string]string{
	"software_statement": "statement",
	"client_assertion":   "assertion",
	"signed_metadata":    "metadata",
	"certifications":     "certification",
	"id_token":           "id_token",
}

// anchor is a certificate in which a community trusts.
type anchor struct {
	community   string // its name
	certificate *x509.Certificate
}

// anchors are those of the communities of the lab.
func (b *Board) anchors() []anchor {
	var out []anchor
	for _, issuer := range b.Lab.Issuers() {
		for _, c := range issuer.Anchors {
			out = append(out, anchor{
				community:   cmp.Or(issuer.Name, issuer.Community),
				certificate: c,
			})
		}
	}
	return out
}

// decoder decodes what one exchange has.
type decoder struct {
	at      time.Time
	anchors []anchor
	steps   map[string][]trace.Step
}

func newDecoder(x *conform.Exchange, anchors []anchor) *decoder {
	d := &decoder{
		at:      x.Received,
		anchors: anchors,
		steps:   map[string][]trace.Step{},
	}

	for _, t := range x.Traces {
		if t == nil {
			continue
		}
		for _, s := range t.Steps {
			d.steps[s.Check] = append(d.steps[s.Check], s)
		}
	}

	return d
}

// decode takes a JWT apart. It never fails: what cannot be read is shown as it is.
func (d *decoder) decode(f found) *signed {
	out := &signed{
		Where: f.where,
		Raw:   printable([]byte(f.compact)),
	}
	jws, fault := jose.Open(f.compact, nil)
	if fault != nil {
		out.Problem = fault.Error()
		out.Header, out.Claims = loose(f.compact)
		return out
	}

	name, _, _ := strings.Cut(f.where, "[")
	kind := kinds[name]
	out.Header = d.members(jws.Header, headerChecks)
	out.Claims = d.members(jws.Claims, func(claim string) []string {
		return claimChecks(kind, claim)
	})
	out.Signature = d.steps["jws.signature"]
	d.verify(jws, out)

	return out
}

// verify verifies the signature anew, and draws the path of its certificates.
func (d *decoder) verify(jws *jose.JWS, out *signed) {
	if !jws.Header.Has("x5c") {
		out.Verified = "there is no x5c, so this page has no key to verify it with"
		return
	}

	certs, fault := jose.DecodeX5C(jws.Header, nil)
	if fault != nil {
		out.Verified = "x5c could not be read: " + fault.Error()
		return
	}

	out.Path = d.path(certs)

	if i := strings.LastIndexByte(jws.Raw, '.'); strings.HasPrefix(jws.Raw[i+1:], conform.MaskedSignature) {
		out.Verified = "not shown, as this JWT was not used up; the checks have what was found about it"
		return
	}

	if fault = jws.CheckAlgorithm(); fault == nil {
		fault = jws.Verify(certs)
	}
	if fault != nil {
		out.Verified = fault.Error()
		return
	}

	out.Good = true
	out.Verified = "made by the key of x5c[0], " + jose.CertName(certs[0])
}

// headerChecks returns the names of the checks of a header member.
func headerChecks(name string) []string {
	switch name {
	case "alg":
		return []string{"jws.alg"}
	case "x5c":
		return []string{"x5c.form", "x5c.key"}
	case "x5t", "x5t#S256":
		return []string{"x5c.thumbprint"}
	case "jku":
		return []string{"x5c.jku"}
	}

	return []string{"jws.header"}
}

// claimChecks returns the names of the checks of a claim in one kind of JWT.
func claimChecks(kind, claim string) []string {
	names := []string{kind + "." + claim}
	switch {
	case claim == "exp":
		names = append(names, kind+".lifetime", "id_token.times")
	case claim == "jti":
		names = append(names, "register.jti", "client.jti")
	case claim == "extensions":
		names = append(names, extensionChecks()...)
	case kind == "statement":
		names = append(
			names,
			"registration."+claim,
			"register."+strings.TrimSuffix(claim, "_types"),
		)
	}

	return names
}

// extensionChecks returns the names of the checks of authorization extensions.
func extensionChecks() []string {
	names := []string{"token.hl7-b2b", "token.extension"}
	for _, c := range trace.Checks() {
		kind, _, _ := strings.Cut(c.Name, ".")
		if slices.Contains([]string{"b2b", "ias", "user"}, kind) {
			names = append(names, c.Name)
		}
	}
	return names
}

// members returns the members of an object, those that checks know first.
func (d *decoder) members(o jose.Object, checks func(string) []string) []member {
	var out []member
	for _, name := range slices.Sorted(maps.Keys(o)) {
		m := member{
			Name:  shorten(name, 200),
			Value: valueText(name, o[name]),
			Means: d.means(name, o[name]),
		}

		for _, check := range checks(name) {
			m.Steps = append(m.Steps, d.steps[check]...)
		}
		out = append(out, m)
	}

	slices.SortStableFunc(out, func(a, b member) int {
		return rank(a.Name) - rank(b.Name)
	})
	return out[:min(len(out), maxMembers)]
}

// claimOrder is the order in which people read claims.
var claimOrder = []string{"alg", "typ", "iss", "sub", "aud", "iat", "nbf", "exp", "jti"}

func rank(name string) int {
	if i := slices.Index(claimOrder, name); i >= 0 {
		return i
	}
	if name == "x5c" { // long, so last
		return len(claimOrder) + 1
	}
	return len(claimOrder)
}

// valueText returns a JSON value as people read it.
func valueText(name string, v jsontext.Value) string {
	if list, ok := jose.List(v); ok && name == "x5c" {
		return plural(len(list), "certificate", "certificates") + ", shown below"
	}
	if s, ok := jose.Text(v); ok {
		return printable([]byte(shorten(s, maxShown)))
	}

	pretty := v.Clone()
	if kind := v.Kind(); kind == '{' || kind == '[' {
		if err := pretty.Indent(jsontext.WithIndent("  ")); err != nil {
			pretty = v
		}
	}

	return printable([]byte(shorten(string(pretty), maxShown)))
}

// means returns what a claim that is a time means.
func (d *decoder) means(name string, v jsontext.Value) string {
	if !slices.Contains([]string{"iat", "nbf", "exp", "auth_time"}, name) {
		return ""
	}
	seconds, err := strconv.ParseFloat(string(v), 64)
	if err != nil || seconds < 0 || seconds > 1e11 {
		return "not a time in seconds"
	}

	t := time.Unix(int64(seconds), 0).UTC()
	return t.Format("2006-01-02 15:04:05Z") + ", " + distance(t.Sub(d.at)) + " its receipt"
}

// distance returns a duration between two moments in words.
func distance(d time.Duration) string {
	word := "after"
	if d < 0 {
		d, word = -d, "before"
	}

	switch {
	case d < 10*time.Minute:
		return fmt.Sprintf("%d s %s", int(d.Seconds()), word)
	case d < 2*time.Hour:
		return fmt.Sprintf("%d min %s", int(d.Minutes()), word)
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h %s", int(d.Hours()), word)
	}

	return fmt.Sprintf("%d days %s", int(d.Hours()/24), word)
}

// loose decodes as much of a malformed JWT as has a meaning to a reader.
func loose(compact string) (header, claims []member) {
	parts := strings.Split(compact, ".")
	read := func(i int) []member {
		if i >= len(parts) {
			return nil
		}

		text := strings.TrimRight(parts[i], "=")
		text = strings.NewReplacer("+", "-", "/", "_").Replace(text)
		data, err := base64.RawURLEncoding.DecodeString(text)
		if err != nil || !utf8.Valid(data) {
			return nil
		}

		return []member{{
			Name:  "as it is",
			Value: printable([]byte(shorten(string(data), maxShown))),
		}}
	}

	return read(0), read(1)
}

// path is the way from a signer's certificate to an anchor.
type path struct {
	Links   []link
	Reaches string       // name of the community whose anchor it ends at; empty: none
	Steps   []trace.Step // the checks of the path
}

// link is one certificate of a path, and how the next one vouches for it.
type link struct {
	Role        string
	Name        string
	Issuer      string
	Serial      string
	Key         string
	URIs        []string
	From, Until time.Time
	Dates       string // empty: valid at receipt
	Lists       []string
	Fingerprint string
	Signed      string // how the certificate above signed this one; empty at the end
	Good        bool
}

// path draws the certificates in the order in which they were sent, and the anchor
// to which they lead.
func (d *decoder) path(certs []*x509.Certificate) *path {
	p := &path{}
	anchor, community := d.anchorOf(certs[len(certs)-1])
	chain := certs
	if anchor != nil && !anchor.Equal(certs[len(certs)-1]) {
		chain = append(slices.Clone(certs), anchor)
	}
	p.Reaches = community

	for i, c := range chain {
		l := d.link(c)
		switch {
		case anchor != nil && i == len(chain)-1:
			l.Role = "anchor of " + community
		case i == 0:
			l.Role = "x5c[0], the signer"
		default:
			l.Role = fmt.Sprintf("x5c[%d]", i)
		}

		if i+1 < len(chain) {
			l.Signed, l.Good = signedBy(c, chain[i+1])
		}
		p.Links = append(p.Links, l)
	}

	for _, name := range slices.Sorted(maps.Keys(d.steps)) {
		if strings.HasPrefix(name, "chain.") {
			p.Steps = append(p.Steps, d.steps[name]...)
		}
	}

	return p
}

// anchorOf returns the anchor that signed a certificate, or that it is.
func (d *decoder) anchorOf(c *x509.Certificate) (*x509.Certificate, string) {
	for _, a := range d.anchors {
		if a.certificate.Equal(c) {
			return a.certificate, a.community
		}
	}

	for _, a := range d.anchors {
		if _, ok := signedBy(c, a.certificate); ok {
			return a.certificate, a.community
		}
	}

	return nil, ""
}

func (d *decoder) link(c *x509.Certificate) link {
	l := link{
		Name:        shorten(cmp.Or(c.Subject.CommonName, c.Subject.String()), 120),
		Issuer:      shorten(cmp.Or(c.Issuer.CommonName, c.Issuer.String()), 120),
		Serial:      shorten(jose.SerialName(c), 120),
		Key:         jose.KeyName(c.PublicKey),
		From:        c.NotBefore.UTC(),
		Until:       c.NotAfter.UTC(),
		Fingerprint: fingerprint(c),
	}
	switch {
	case d.at.Before(c.NotBefore):
		l.Dates = "not valid yet at receipt"
	case d.at.After(c.NotAfter):
		l.Dates = "expired at receipt"
	}

	for _, u := range c.URIs {
		l.URIs = append(l.URIs, shorten(u.String(), 300))
	}
	for _, list := range c.CRLDistributionPoints {
		l.Lists = append(l.Lists, shorten(list, 300))
	}
	l.URIs = l.URIs[:min(len(l.URIs), maxMembers)]
	l.Lists = l.Lists[:min(len(l.Lists), maxMembers)]

	return l
}

// signedBy reports in words whether the key of one certificate signed another.
func signedBy(c, by *x509.Certificate) (string, bool) {
	if err := jose.CheckKey(by.PublicKey); err != nil {
		return "the key of the certificate above is not accepted: " + err.Error(), false
	}
	if err := c.CheckSignatureFrom(by); err != nil {
		return "not signed by " + shorten(cmp.Or(by.Subject.CommonName, by.Subject.String()), 120), false
	}
	return "signed by", true
}

// fingerprint returns the SHA-256 of a certificate in hexadecimal.
func fingerprint(c *x509.Certificate) string {
	sum := sha256.Sum256(c.Raw)
	return hex.EncodeToString(sum[:])
}
