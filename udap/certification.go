package udap

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"fhirdest.example/udap/jose"
	"fhirdest.example/udap/trace"
)

// Bounds of certifications: three years (UDAP Security 7.4), and how many one
// request may carry.
const (
	maxCertificationLife = 3 * 366 * 24 * time.Hour
	maxCertifications    = 20
)

var certificationChecks = claimChecks{
	iss:      trace.NewCheck("certification.iss", "iss is a URI name of the certifier's certificate", "S2-17"),
	sub:      trace.NewCheck("certification.sub", "sub is the URI of the client that registers", "S2-17"),
	aud:      trace.NewCheck("certification.aud", "aud, where present, names this server", "S2-17"),
	exp:      trace.NewCheck("certification.exp", "The certification has not expired", "S2-17"),
	iat:      trace.NewCheck("certification.iat", "The certification was not issued in the future", "S2-17"),
	lifetime: trace.NewCheck("certification.lifetime", "exp is after iat by three years at most", "S2-17"),
	nbf:      trace.NewCheck("certification.nbf", "The certification is valid already", "S2-17"),
	jti:      trace.NewCheck("certification.jti", "jti is a non-empty string", "S2-17"),
}

var (
	checkCertURIs = trace.NewCheck("certification.uris",
		"certification_name and certification_uris name what is certified", "S2-17")
	checkCertParams = trace.NewCheck("certification.parameters",
		"The registration asks for nothing that the certification contradicts", "S2-17")
	checkCertifier = trace.NewCheck("certification.certifier",
		"The certifier is one that the community's policy names", "S2-17")
	checkCertified = trace.NewCheck("certification.accepted",
		"Certifications are verified; those not supported are ignored", "S1-116 S2-17")
	checkCertNeeded = trace.NewCheck("certification.required",
		"The certifications that the community requires are there", "S1-117 S1-118")
)

var certificationKind = kind{
	name:      "certification",
	malformed: trace.InvalidCertification,
	untrusted: trace.UnapprovedCertification,
	claims:    trace.InvalidCertification,
	checks:    certificationChecks,
	life:      maxCertificationLife,
	lifeShown: lifeRule(maxCertificationLife),
}

// Certification is a verified certification or endorsement of a client (UDAP
// certifications profile; UDAP Security 7.4).
type Certification struct {
	Verified
	Name       string
	URIs       []string
	SelfSigned bool // the client certified itself
}

// Certifications verifies the certifications that a registration request has beside
// its software statement. Those whose URIs the community neither supports nor requires are
// ignored; a bad one is left out of the result, so that it is never echoed; if
// the community requires one and it is missing or bad, the refusal is an *Error
// with invalid_client_metadata, invalid_certification or unapproved_certification.
// No address that a certification names is ever followed.
func (v *Verifier) Certifications(
	ctx context.Context, list []string, ss *SoftwareStatement, exp Expect, tr *trace.Trace,
) ([]Certification, error) {
	if tr == nil {
		tr = trace.NewTrace("register", exp.Now)
	}
	p := ss.Community.Policy
	if len(list) > maxCertifications {
		return nil, tr.Refuse(checkCertified, trace.InvalidClientMetadata, trace.Finding{
			Expected: fmt.Sprintf("at most %d certifications", maxCertifications),
			Found:    fmt.Sprint(len(list)),
		})
	}

	var good []Certification
	bad := map[string]*trace.Error{} // by certification URI
	sigs := &signatures{v: v}        // of all certifications of the request

	for i, compact := range list {
		c, uris, err := v.certification(ctx, compact, ss, exp, sigs)
		switch {
		case err == nil:
			good = append(good, *c)
			tr.Pass(checkCertified, "a certification of the client",
				fmt.Sprintf("%d: %s by %s", i, c.Name, c.Client))
			if len(p.Certifiers) == 0 {
				tr.Warn(checkCertifier, trace.Finding{
					Expected: "a certifier that the community's policy names",
					Found:    string(c.Client) + "; the policy names none",
					Remedy:   "it shows no more than that a member of the community signed it",
				})
			}

		case uris == nil && err.Code == "":
			tr.Skip(checkCertified, fmt.Sprintf("%d: %s", i, err.Detail))

		case err.Code == trace.TemporarilyUnavailable:
			// Left out, it would be missing from the registration for good.
			return nil, tr.Refuse(checkCertified, err.Code, trace.Finding{
				Expected: "a valid certification",
				Found:    fmt.Sprintf("%d: %s: %s", i, err.Check, err.Detail),
				Err:      err,
			})

		default:
			for _, u := range uris {
				bad[u] = err
			}

			tr.Warn(checkCertified, trace.Finding{
				Expected: "a valid certification",
				Found:    fmt.Sprintf("%d: %s: %s", i, err.Check, err.Detail),
				Remedy:   "it is left out of the registration",
				Err:      err,
			})
		}
	}

	return good, requireCertifications(p.CertificationsNeeded, good, bad, tr)
}

func requireCertifications(needed []string, good []Certification, bad map[string]*trace.Error, tr *trace.Trace) error {
	for _, uri := range needed {
		if slices.ContainsFunc(good, func(c Certification) bool {
			return slices.Contains(c.URIs, uri)
		}) {
			tr.Pass(checkCertNeeded, uri, "present")
			continue
		}

		f := trace.Finding{
			Expected: "the certification " + uri,
			Found:    "none",
			Remedy:   "send it in the certifications array of the request",
		}

		code := trace.InvalidClientMetadata
		if e := bad[uri]; e != nil {
			f.Found, f.Remedy, f.Err, code = e.Check+": "+e.Detail, "", e, e.Code
		}
		return tr.Refuse(checkCertNeeded, code, f)
	}

	return nil
}

// certification verifies one. If it is to be ignored, the error has no code.
// Its steps go to a trace of their own: a bad certification is no refusal yet.
func (v *Verifier) certification(
	ctx context.Context, compact string, ss *SoftwareStatement, exp Expect, sigs *signatures,
) (*Certification, []string, *trace.Error) {
	val := v.begin(ctx, certificationKind, exp, trace.NewTrace("certification", exp.Now))
	val.sigs = sigs
	p := ss.Community.Policy
	known := slices.Concat(p.Certifications, p.CertificationsNeeded)
	e, f := openCompact(compact, &v.memory)
	if f != nil {
		return nil, nil, asError(val.tr.Refuse(checkForm, trace.InvalidCertification, f.Finding()))
	}

	uris, _ := e.Claims.List("certification_uris")
	if !slices.ContainsFunc(uris, func(u string) bool {
		return slices.Contains(known, u)
	}) {
		return nil, nil, &trace.Error{Detail: "not supported here, ignored: " + list(uris)}
	}

	e, err := val.open(compact)
	if err != nil {
		return nil, uris, asError(err)
	}

	verified, err := val.trust(e, []*Community{ss.Community})
	if err != nil {
		return nil, uris, asError(err)
	}

	c := &Certification{
		Verified: verified,
		URIs:     uris,
	}
	if err := val.certificationClaims(e, ss, c); err != nil {
		return nil, uris, asError(err)
	}
	if err := val.certifier(c, p); err != nil {
		return nil, uris, asError(err)
	}

	return c, uris, nil
}

// certifier checks that the policy lets the signer certify at least one of the
// certification URIs; those that it may not assert are left out. Any member of a
// community can sign a certification, of itself too: without this rule a
// requirement would require nothing.
func (val *validation) certifier(c *Certification, p Policy) error {
	required := slices.ContainsFunc(c.URIs, func(u string) bool {
		return slices.Contains(p.CertificationsNeeded, u)
	})
	if len(p.Certifiers) == 0 && !required {
		return nil // Certifications warns
	}

	asserted := slices.DeleteFunc(slices.Clone(c.URIs), func(u string) bool {
		return !p.certifies(c, u)
	})
	if len(asserted) == 0 {
		return val.tr.Refuse(checkCertifier, val.kind.untrusted, trace.Finding{
			Expected: "one of the certifiers that the community's policy names: " +
				list(certifierNames(p)),
			Found:  string(c.Client) + " for " + list(c.URIs),
			Remedy: certifierRemedy(c, p),
		})
	}

	c.URIs = asserted
	val.tr.Pass(checkCertifier, "a certifier of the community", string(c.Client))
	return nil
}

func certifierNames(p Policy) []string {
	var out []string
	for _, c := range p.Certifiers {
		out = append(out, c.URI)
	}
	return out
}

func certifierRemedy(c *Certification, p Policy) string {
	switch {
	case len(p.Certifiers) == 0:
		return "the operator must name the certifiers of the certifications that the policy requires"
	case c.SelfSigned:
		return "a client may not certify itself here; have a certifier of the community sign the certification"
	}
	return "have one of them sign the certification"
}

func asError(err error) *trace.Error {
	if e, ok := err.(*trace.Error); ok {
		return e
	}
	return &trace.Error{
		Code:   trace.InvalidCertification,
		Detail: err.Error(),
		Err:    err,
	}
}

func (val *validation) certificationClaims(e *envelope, ss *SoftwareStatement, c *Certification) error {
	iss, err := val.issuerInSAN(e)
	if err != nil {
		return err
	}

	c.Client, c.SelfSigned = trace.ClientURI(iss), iss == string(ss.Client)
	if sub, ok := e.Claims.Text("sub"); !ok || sub != string(ss.Client) {
		return val.refuseClaim(certificationChecks.sub, trace.Finding{
			Expected: string(ss.Client),
			Found:    e.Claims.Show("sub"),
		})
	}
	if err := val.certificationAudience(e); err != nil {
		return err
	}
	if err := val.times(e, &c.Verified); err != nil {
		return err
	}
	if err := val.identifier(e, &c.Verified); err != nil {
		return err
	}

	name, ok := e.Claims.Text("certification_name")
	if !ok || strings.TrimSpace(name) == "" {
		return val.refuseClaim(checkCertURIs, trace.Finding{
			Expected: "certification_name",
			Found:    e.Claims.Show("certification_name"),
		})
	}

	c.Name = name
	return val.certifiedParameters(e.Claims, ss)
}

// certificationAudience checks aud, which is optional; if it is present, one of
// its values must be a URL of this server.
func (val *validation) certificationAudience(e *envelope) error {
	if !e.Claims.Has("aud") {
		return nil
	}

	auds, ok := e.Claims.List("aud")
	if s, isText := e.Claims.Text("aud"); isText {
		auds, ok = []string{s}, true
	}
	ours := func(a string) bool {
		return a == val.exp.Audience || val.exp.OurURLs[a] != ""
	}
	if !ok || !slices.ContainsFunc(auds, ours) {
		return val.refuseClaim(certificationChecks.aud, trace.Finding{
			Expected: "no aud, or one that names " + val.exp.Audience,
			Found:    e.Claims.Show("aud"),
		})
	}

	return nil
}

// certifiedNames are registration parameters that a certification may fix.
var certifiedNames = []string{
	"client_name", "client_uri", "logo_uri", "tos_uri", "policy_uri", "jwks_uri", "token_endpoint_auth_method",
	"redirect_uris", "contacts", "grant_types", "response_types", "scope", dpopBound,
}

// certifiedParameters compares the statement's own claims with what is certified:
// texts must be equal, lists within the certified ones.
func (val *validation) certifiedParameters(certified jose.Object, ss *SoftwareStatement) error {
	statement, f := openCompact(ss.Raw, &val.v.memory)
	if f != nil {
		return val.refuseClaim(checkCertParams, f.Finding())
	}

	for _, name := range certifiedNames {
		want, got := certified[name], statement.Claims[name]
		if isAbsent(want) || isAbsent(got) || agrees(name, want, got) {
			continue
		}

		return val.refuseClaim(checkCertParams, trace.Finding{
			Expected: name + " within " + trace.Cut(string(want), 200),
			Found:    trace.Cut(string(got), 200),
		})
	}

	val.tr.Pass(checkCertParams, "", "")
	return nil
}

// isAbsent reports whether a parameter has no value: it is absent or null.
func isAbsent(v jsontext.Value) bool { return v == nil || v.Kind() == 'n' }

// equal reports whether two JSON values are the same, however they are escaped and
// spaced.
func equal(a, b jsontext.Value) bool {
	a, b = a.Clone(), b.Clone()
	return a.Canonicalize() == nil && b.Canonicalize() == nil && bytes.Equal(a, b)
}

func agrees(name string, certified, asked jsontext.Value) bool {
	allowed, ok := jose.List(certified)
	values, ok2 := jose.List(asked)
	if name == "scope" {
		a, isText := jose.Text(certified)
		b, isText2 := jose.Text(asked)
		allowed, values, ok, ok2 = strings.Fields(a), strings.Fields(b), isText, isText2
	}

	if !ok || !ok2 {
		return equal(certified, asked)
	}

	for _, v := range values {
		if !slices.ContainsFunc(allowed, func(a string) bool {
			return a == v || name == "redirect_uris" && matchesWildcard(a, v)
		}) {
			return false
		}
	}

	return true
}

// matchesWildcard: a certified redirect URI whose last path component is * lets
// that one component vary, and nothing else (UDAP certifications 1).
func matchesWildcard(certified, uri string) bool {
	prefix, ok := strings.CutSuffix(certified, "/*")
	if !ok || strings.Contains(prefix, "*") || strings.Count(prefix, "/") < 2 {
		return false
	}
	rest, ok := strings.CutPrefix(uri, prefix+"/")
	return ok && rest != "" && !strings.ContainsAny(rest, "/?#\\%") && rest != "." && rest != ".."
}
