package client

import (
	"context"
	"crypto/x509"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"fhirdest.example/certs/netname"
	"fhirdest.example/udap"
	"fhirdest.example/udap/trace"
)

// Report is what the doctor found: everything, and not only the first fault.
type Report struct {
	Trace     *trace.Trace `json:"trace"`
	Discovery *Discovery   `json:"-"`
	Wrong     int          `json:"wrong"`    // checks that failed
	Doubtful  int          `json:"doubtful"` // checks that passed with a warning
}

// examiner is a Client that looks for faults instead of stopping at the first.
type examiner struct{ *Client }

// Doctor looks at our own certificate and clock and at the destination's TLS,
// discovery documents and certificates. It registers nothing and sends
// nothing signed.
func (c *Client) Doctor(ctx context.Context) *Report {
	r := &Report{Trace: trace.NewTrace("doctor", c.cfg.Now())}
	r.Trace.Community = c.cfg.Community

	e := &examiner{c}
	e.examineOurselves(ctx, r.Trace)
	e.examineAnchors(r.Trace)
	r.Discovery = e.examineDestination(ctx, r.Trace)

	for _, s := range r.Trace.Steps {
		switch s.Verdict {
		case trace.Refused:
			r.Wrong++
		case trace.Warned:
			r.Doubtful++
		}
	}

	return r
}

// examineOurselves verifies our certificate as a destination of the community
// would: by a software statement that is sent to nobody.
func (c *examiner) examineOurselves(ctx context.Context, tr *trace.Trace) {
	if c.cfg.Key == nil || len(c.cfg.Chain) == 0 {
		tr.Skip(checkIdentity, "no certificate was given")
		return
	}

	c.examineChain(tr)
	uri, err := c.identity(tr)
	if err != nil || c.cfg.Verifier == nil {
		return
	}

	c.examineFragment(tr)
	compact, err := c.sign(c.statementClaims(&Discovery{Registration: nowhere}, specimen(), string(uri)))
	if err != nil {
		_ = stop(tr, checkPosted, "a signature with our key", err.Error(), "")
		return
	}

	v := &udap.Verifier{
		Communities: c.vouching(),
		Revocation:  c.cfg.Verifier.Revocation,
	}
	// its verdict is in the trace
	_, _ = v.Statement(ctx, compact, udap.Expect{
		Now:      c.cfg.Now(),
		Audience: nowhere,
	}, tr)
}

// nowhere is the audience of the doctor's own statement: no real endpoint, so
// that it could not be used if it leaked.
const nowhere = "https://doctor.invalid/register"

func specimen() Registration {
	return Registration{
		ClientName: "doctor",
		Contacts:   []string{"mailto:doctor@doctor.invalid"},
		GrantTypes: []string{grantClientCredentials},
		Scope:      "system/*.rs",
	}
}

// vouching are the communities that matter: the one asked for, else all.
func (c *Client) vouching() []*udap.Community {
	if c.cfg.Verifier == nil {
		return nil
	}
	if c.cfg.Community == "" {
		return c.cfg.Verifier.Communities
	}

	return slices.DeleteFunc(slices.Clone(c.cfg.Verifier.Communities), func(m *udap.Community) bool {
		return m.URI != c.cfg.Community
	})
}

// examineChain names the certificate that is out of order, or the issuer that
// is missing.
func (c *examiner) examineChain(tr *trace.Trace) {
	chain := c.cfg.Chain
	for i, cert := range chain[:len(chain)-1] {
		if err := cert.CheckSignatureFrom(chain[i+1]); err != nil {
			_ = stop(tr, checkOwnChain, fmt.Sprintf("certificate %d issued by certificate %d", i+1, i+2),
				fmt.Sprintf("%s, then %s", cert.Subject,
					chain[i+1].Subject), "order the chain from the leaf to the root, each issued by the next")
			return
		}
	}

	last := chain[len(chain)-1]
	if !c.knows(last) {
		tr.Warn(checkOwnChain, trace.Finding{
			Expected: "a chain up to an anchor that is known here",
			Found:    fmt.Sprintf("the issuer %q with key id %X is missing", last.Issuer, last.AuthorityKeyId),
			Remedy: "append the issuer's certificate to the chain (AIA says it stands at " +
				strings.Join(
					last.IssuingCertificateURL, ", ") + ")",
		})

		return
	}

	tr.Pass(checkOwnChain, "", fmt.Sprintf("%d certificates", len(chain)))
}

// knows reports whether a certificate is, or was issued by, a CA known here.
func (c *examiner) knows(cert *x509.Certificate) bool {
	if c.cfg.Verifier == nil {
		return false
	}

	for _, m := range c.cfg.Verifier.Communities {
		for _, ca := range slices.Concat(m.Anchors, m.Intermediates) {
			if cert.Equal(ca) || cert.CheckSignatureFrom(ca) == nil {
				return true
			}
		}
	}

	return false
}

// tefca is the community whose URIs carry the exchange purpose as a fragment.
const tefca = "urn:oid:2.16.840.1.113883.3.7204.1.5"

func (c *examiner) examineFragment(tr *trace.Trace) {
	if c.cfg.Community != tefca {
		tr.Skip(checkOwnFragment, "the community does not use fragments")
		return
	}

	uris, _ := udap.RawSANURIs(c.cfg.Chain[0])
	if !slices.ContainsFunc(uris, func(u string) bool {
		return strings.Contains(u, "#T-")
	}) {
		tr.Warn(checkOwnFragment, trace.Finding{
			Expected: "a URI with a fragment such as #T-TREAT",
			Found:    strings.Join(uris, ", "),
			Remedy:   "OpenSSL configuration files cut a URI at # unless it is quoted; cmd/community keeps it",
		})

		return
	}

	tr.Pass(checkOwnFragment, "", strings.Join(uris, ", "))
}

// examineAnchors finds anchors that have run out, and web servers' anchors
// where the community's belong.
func (c *examiner) examineAnchors(tr *trace.Trace) {
	if c.cfg.Verifier == nil || len(c.cfg.Verifier.Communities) == 0 {
		tr.Skip(checkAnchors, "no anchor of a community was given")
		return
	}

	now := c.cfg.Now()
	for _, m := range c.vouching() {
		for _, a := range m.Anchors {
			if now.Before(a.NotBefore) || now.After(a.NotAfter) {
				_ = stop(tr, checkAnchors, "an anchor that counts now",
					fmt.Sprintf("%s counts from %s to %s", a.Subject, trace.Stamp(a.NotBefore),
						trace.Stamp(a.NotAfter)), "ask the community for its present root")
				return
			}
			if servesWebs(a, c.cfg.TLSRoots) {
				tr.Warn(checkAnchors, trace.Finding{
					Found: fmt.Sprintf("%s is given both as the community's anchor and as an anchor of web servers",
						a.Subject),
					Remedy: "is that meant? The two are commonly different",
				})

				return
			}
		}
	}

	if a := twice(c.cfg.Verifier.Communities); a != nil {
		tr.Warn(checkAnchors, trace.Finding{
			Found:  a.Subject.String() + " is the anchor of two communities",
			Remedy: "which one a server belongs to is ambiguous: -community decides",
		})
		return
	}
	tr.Pass(checkAnchors, "", fmt.Sprintf("%d communities", len(c.vouching())))
}

// twice finds an anchor of two communities.
func twice(communities []*udap.Community) *x509.Certificate {
	seen := map[string]bool{}
	for _, m := range communities {
		for _, a := range m.Anchors {
			if seen[string(a.Raw)] {
				return a
			}
			seen[string(a.Raw)] = true
		}
	}

	return nil
}

func servesWebs(a *x509.Certificate, roots *x509.CertPool) bool {
	if roots == nil {
		return false
	}
	with := roots.Clone()
	with.AddCert(a)
	return with.Equal(roots)
}

// examineDestination runs discovery, and then looks closer at what came.
func (c *examiner) examineDestination(ctx context.Context, tr *trace.Trace) *Discovery {
	d := &Discovery{
		Trace: tr,
		URL:   c.cfg.discoveryURL(),
	}
	if c.fetchDocument(ctx, d) != nil {
		return d
	}

	c.examineWeb(tr)
	if c.trustMetadata(ctx, d) == nil {
		d.checkProfiles()
		d.checkNeeds()
		c.examineServer(d)
		if c.cfg.Key != nil {
			_ = d.canUse(tr, grantClientCredentials, c.algorithm(),
				"registration_endpoint_jwt_signing_alg_values_supported")
		}
	}

	d.examineMembers()
	d.examineWords()
	d.examineHosts(c.cfg.Base)
	d.examineTiered()
	c.examineSmart(ctx, d)
	c.examineOpenID(ctx, d)
	c.examineCapability(ctx, tr)

	return d
}

func (c *examiner) examineWeb(tr *trace.Trace) {
	s := c.lastTLS.Load()
	if s == nil || len(s.PeerCertificates) == 0 {
		tr.Skip(checkWeb, "no TLS connection was made")
		return
	}

	leaf := s.PeerCertificates[0]
	found := fmt.Sprintf("%s, issued by %s, until %s", leaf.Subject, leaf.Issuer, trace.Stamp(leaf.NotAfter))
	switch {
	case leaf.NotAfter.Sub(c.cfg.Now()) < expiringWithin:
		tr.Warn(checkWeb, trace.Finding{
			Found:  found,
			Remedy: "the web server's certificate runs out soon",
		})

	case unreached{&c.cfg}.underCommunity(s.PeerCertificates):
		tr.Warn(checkWeb, trace.Finding{
			Found: found,
			Remedy: "it was issued under the trust community's anchor; web servers commonly have certificates of " +
				"another kind",
		})

	default:
		tr.Pass(checkWeb, "", found)
	}
}

func (c *examiner) examineServer(d *Discovery) {
	now := c.cfg.Now()
	uris, _ := udap.RawSANURIs(d.signer)
	found := fmt.Sprintf("%s with %s, until %s; metadata until %s", d.signer.Subject, strings.Join(uris, ", "),
		trace.Stamp(d.signer.NotAfter), trace.Stamp(d.Expires))
	if d.signer.NotAfter.Sub(now) < expiringWithin || d.Expires.Sub(now) < time.Minute {
		d.Trace.Warn(checkServerCert, trace.Finding{
			Found:  found,
			Remedy: "it runs out soon: tell the destination's operator",
		})
		return
	}

	d.Trace.Pass(checkServerCert, "", found)
}

// required are the members that UDAP Security 2.0 2.2 asks for, and their types.
var required = []struct {
	name string
	list bool
}{
	{"udap_versions_supported", true}, {"udap_profiles_supported", true},
	{"udap_authorization_extensions_supported", true},
	{"udap_certifications_supported", true}, {"grant_types_supported", true}, {"scopes_supported", true},
	{"token_endpoint", false}, {"token_endpoint_auth_methods_supported", true}, {
		"token_endpoint_auth_signing_alg_values_supported",
		true,
	},
	{"registration_endpoint", false}, {
		"registration_endpoint_jwt_signing_alg_values_supported",
		true,
	}, {"signed_metadata", false},
}

func (d *Discovery) examineMembers() {
	var faults []string
	for _, m := range required {
		v, ok := d.doc[m.name]
		want := byte('"')
		if m.list {
			want = '['
		}

		switch {
		case !ok:
			faults = append(faults, m.name+" is absent")
		case byte(v.Kind()) != want:
			faults = append(faults, m.name+" has the wrong type")
		}
	}

	if len(faults) > 0 {
		d.Trace.Warn(checkMembers, trace.Finding{
			Found:  strings.Join(faults, ", "),
			Remedy: "edition 2 requires them all; the destination's operator should know",
		})
		return
	}
	d.Trace.Pass(checkMembers, "", fmt.Sprintf("%d members", len(d.doc)))
}

// misspelt are wrong names seen in the field, and what was meant.
var misspelt = map[string]string{
	"authorize_endpoint": "authorization_endpoint", "register_endpoint": "registration_endpoint",
	"scopes":          "scopes_supported",
	"scope_supported": "scopes_supported", "grant_types": "grant_types_supported",
	"udap_profiles":  "udap_profiles_supported",
	"signedMetadata": "signed_metadata", "udap_version_supported": "udap_versions_supported",
}

func (d *Discovery) examineWords() {
	var found []string
	for name := range d.doc {
		if meant, ok := misspelt[name]; ok {
			found = append(found, fmt.Sprintf("%q: did they mean %q?", name, meant))
		}
	}

	if len(found) == 0 {
		d.Trace.Pass(checkWords, "", "")
		return
	}

	slices.Sort(found)
	d.Trace.Warn(checkWords, trace.Finding{
		Found:  strings.Join(found, "; "),
		Remedy: "clients will not find these members",
	})
}

func (d *Discovery) examineHosts(base string) {
	var found []string
	for _, name := range []string{
		"registration_endpoint",
		"token_endpoint",
		"authorization_endpoint",
	} {
		if u := d.doc.text(name); u != "" && netname.Origin(u) != netname.Origin(base) {
			found = append(found, name+" is at "+netname.Origin(u))
		}
	}

	if len(found) > 0 {
		d.Trace.Warn(checkHosts, trace.Finding{
			Expected: netname.Origin(base),
			Found:    strings.Join(found, ", "),
			Remedy:   "allowed, but often a server that writes its private name: is it reachable from here?",
		})

		return
	}

	d.Trace.Pass(checkHosts, "", netname.Origin(base))
}

// examineTiered looks for scope names that are commonly wrong.
func (d *Discovery) examineTiered() {
	scopes, profiles := d.List("scopes_supported"), d.List("udap_profiles_supported")
	var found []string
	for _, s := range scopes {
		if s != "fhirUser" && strings.EqualFold(s, "fhirUser") {
			found = append(found, fmt.Sprintf("%q, where fhirUser is meant", s))
		}
	}

	if slices.Contains(profiles, "udap_to") {
		for _, s := range []string{"openid", "udap"} {
			if !slices.Contains(scopes, s) {
				found = append(found, "udap_to without the scope "+s)
			}
		}
	}

	if len(found) > 0 {
		d.Trace.Warn(checkTiered, trace.Finding{Found: strings.Join(found, ", ")})
		return
	}
	d.Trace.Pass(checkTiered, "", "")
}

// examineSmart compares the two discovery documents of the FHIR server.
func (c *examiner) examineSmart(ctx context.Context, d *Discovery) {
	o := quietly(ctx, c.Client, d.Trace, "/.well-known/smart-configuration")
	if o == nil {
		d.Trace.Skip(checkSmart, "there is no SMART configuration")
		return
	}

	var found []string
	theirs, _ := o.list("scopes_supported")
	ours := d.List("scopes_supported")
	if more := without(ours, theirs); theirs != nil && len(more) > 0 {
		found = append(found, "scopes in the UDAP metadata only: "+strings.Join(more, " "))
	}
	if more := without(theirs, ours); len(more) > 0 {
		found = append(found, "scopes in the SMART configuration only: "+strings.Join(more, " "))
	}

	if t := o.text("token_endpoint"); t != "" && t != d.doc.text("token_endpoint") {
		found = append(found,
			fmt.Sprintf("token endpoint %s here, %s there: %s", d.doc.text("token_endpoint"), t,
				difference(d.doc.text("token_endpoint"), t)))
	}

	if len(found) > 0 {
		d.Trace.Warn(checkSmart, trace.Finding{
			Found:  strings.Join(found, "; "),
			Remedy: "one source for both would be better; the UDAP metadata counts here",
		})
		return
	}
	d.Trace.Pass(checkSmart, "", "the same")
}

// examineOpenID looks at what a client needs for signing people in: an issuer whose
// metadata names the signed endpoints.
func (c *examiner) examineOpenID(ctx context.Context, d *Discovery) {
	if !d.Verified || d.Authorization == "" {
		d.Trace.Skip(checkPeople, "people do not sign in there")
		return
	}

	p, err := c.OpenIDOf(ctx, d)
	switch {
	case err != nil:
		d.Trace.Warn(checkPeople, trace.Finding{
			Expected: "OpenID Connect metadata of the signed endpoints",
			Found:    err.Error(),
			Remedy:   "clients cannot verify who signed in, nor recognise the answer of another server",
		})
	case !p.AnnouncesIssuer:
		d.Trace.Warn(checkPeople, trace.Finding{
			Expected: "authorization_response_iss_parameter_supported (RFC 9207)",
			Found:    "none",
			Remedy:   "without iss in its answers, clients of several servers can be led to mix them up",
		})
	default:
		d.Trace.Pass(checkPeople, "", "issuer "+p.Issuer)
	}
}

// examineCapability asks for the CapabilityStatement, which needs no token.
func (c *examiner) examineCapability(ctx context.Context, tr *trace.Trace) {
	o := quietly(ctx, c.Client, tr, "/metadata")
	var implementation struct {
		URL string `json:"url"`
	}
	switch {
	case o == nil || o.text("resourceType") != "CapabilityStatement":
		tr.Warn(checkCapability, trace.Finding{
			Expected: "a CapabilityStatement at " + c.cfg.Base + "/metadata",
			Found:    "none",
			Remedy:   "is this the FHIR base URL?",
		})

		return

	case o["implementation"] == nil || json.Unmarshal(o["implementation"], &implementation) != nil:
		tr.Pass(checkCapability, "", "a CapabilityStatement that does not name its URL")
		return

	case implementation.URL != c.cfg.Base:
		tr.Warn(checkCapability, trace.Finding{
			Expected: c.cfg.Base,
			Found:    implementation.URL,
			Remedy:   difference(c.cfg.Base, implementation.URL),
		})

		return
	}

	tr.Pass(checkCapability, "", implementation.URL)
}

// quietly fetches one more document under the base; nil when there is none.
func quietly(ctx context.Context, c *Client, tr *trace.Trace, path string) object {
	req, err := http.NewRequest(http.MethodGet, c.cfg.Base+path, nil)
	if err != nil {
		return nil
	}

	req.Header.Set("Accept", "application/json, application/fhir+json")
	r, err := c.send(ctx, trace.NewTrace(tr.Action, tr.Time), req, maxAnswer)
	if err != nil || r.Status != http.StatusOK {
		return nil
	}

	o, err := parseObject(r.Body)
	if err != nil {
		return nil
	}
	return o
}

func without(have, other []string) []string {
	return slices.DeleteFunc(slices.Clone(have), func(s string) bool {
		return slices.Contains(other, s)
	})
}
