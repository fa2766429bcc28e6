package client

import (
	"context"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"fhirdest.example/certs/netname"
	"fhirdest.example/udap"
	"fhirdest.example/udap/trace"
)

// Discovery is what is known about a destination. Its endpoints are set only
// when the signed metadata was verified, and then hold the signed values.
type Discovery struct {
	Trace    *trace.Trace `json:"trace"`
	Reply    *Reply       `json:"reply,omitempty"`
	Refusal  *Refusal     `json:"refusal,omitempty"`
	URL      string       `json:"url"`
	Verified bool         `json:"verified"`
	Base     string       `json:"base,omitempty"`   // that the certificate names: ours, or ours with a slash
	Expires  time.Time    `json:"expires,omitzero"` // of the signed metadata

	Registration  string `json:"registrationEndpoint,omitempty"`
	Token         string `json:"tokenEndpoint,omitempty"`
	Authorization string `json:"authorizationEndpoint,omitempty"`

	doc    object
	signer *x509.Certificate // the leaf that signed the metadata, once verified
}

// List gives an array of the discovery document, which is not signed.
func (d *Discovery) List(name string) []string {
	l, _ := d.doc.list(name)
	return l
}

// Members gives the names that the discovery document has.
func (d *Discovery) Members() []string {
	var out []string
	for name := range d.doc {
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}

// discoveryURL is the URL of the discovery document (UDAP Security 2.0, discovery 2.1 and 2.4).
func (cfg Config) discoveryURL() string {
	u := cfg.Base + wellKnown
	if cfg.Community != "" {
		u += "?community=" + url.QueryEscape(string(cfg.Community))
	}
	return u
}

// Discover fetches the discovery document and verifies its signed metadata.
func (c *Client) Discover(ctx context.Context) (*Discovery, error) {
	d := &Discovery{
		Trace: trace.NewTrace("discover", c.cfg.Now()),
		URL:   c.cfg.discoveryURL(),
	}
	d.Trace.Community = c.cfg.Community
	if err := c.fetchDocument(ctx, d); err != nil {
		return d, err
	}
	if err := c.trustMetadata(ctx, d); err != nil {
		return d, err
	}

	d.checkProfiles()
	d.checkNeeds()
	return d, nil
}

func (c *Client) fetchDocument(ctx context.Context, d *Discovery) (err error) {
	req, err := http.NewRequest(http.MethodGet, d.URL, nil)
	if err != nil {
		return stop(d.Trace, checkFound, "a URL", err.Error(), "")
	}

	req.Header.Set("Accept", "application/json")
	if d.Reply, err = c.send(ctx, d.Trace, req, maxAnswer); err != nil {
		return err
	}
	if err := c.found(d); err != nil {
		return err
	}

	d.doc, err = readObject(d.Trace, d.Reply)
	return err
}

// found reads the status (S1-016; discovery 2.4 for 204).
func (c *Client) found(d *Discovery) error {
	switch d.Reply.Status {
	case http.StatusOK:
		d.Trace.Pass(checkFound, "200", "200")
		return nil
	case http.StatusNoContent:
		return stop(d.Trace, checkFound, "200", "204 No Content",
			fmt.Sprintf("the destination has no certificate for the community %q: ask without community to see "+
				"its default, or ask its operator", c.cfg.Community))
	case http.StatusNotFound:
		d.Refusal, _ = refused(trace.NewTrace("", c.cfg.Now()), checkFound, d.Reply, "")
		return stop(d.Trace, checkFound, "200", d.Refusal.String(),
			"no UDAP at this base URL, or the wrong base URL; under edition 1 it may also mean an unknown community")
	}

	var err error
	d.Refusal, err = refused(d.Trace, checkFound, d.Reply, "200")
	return err
}

// trustMetadata verifies the signed metadata and accepts its endpoints.
func (c *Client) trustMetadata(ctx context.Context, d *Discovery) error {
	if c.cfg.Verifier == nil || len(c.cfg.Verifier.Communities) == 0 {
		return stop(d.Trace, checkSigned, "an anchor of a trust community", "none configured",
			"give the anchor of the trust community")
	}

	m, err := c.cfg.Verifier.Metadata(ctx, d.Reply.Body, udap.ExpectMetadata{
		Now: c.cfg.Now(), Base: d.canonicalBase(c.cfg.Base), Community: c.cfg.Community,
		LoopbackHTTP: c.cfg.LoopbackHTTP,
	}, d.Trace)
	if err != nil {
		return err
	}

	d.Verified, d.Expires, d.Base, d.signer = true, m.Expires, m.Base, m.Leaf
	d.Registration, d.Token, d.Authorization = m.RegistrationEndpoint, m.TokenEndpoint, m.AuthorizationEndpoint
	d.Trace.Pass(checkSigned, "", "verified until "+trace.Stamp(m.Expires))
	d.checkEndpoints()
	return nil
}

// checkEndpoints warns of a destination that would have a client registered at one
// server and ask for tokens at another: the client_id may be one that
// the second server knows, and its token would be sent to the first (mix-up, RFC
// 9700 4.4). UDAP does not forbid two servers.
func (d *Discovery) checkEndpoints() {
	if netname.Origin(d.Registration) == netname.Origin(d.Token) {
		d.Trace.Pass(checkEndpoints, "", netname.Origin(d.Token))
		return
	}
	d.Trace.Warn(checkEndpoints, trace.Finding{
		Expected: "both at one origin",
		Found: "registration at " + netname.Origin(d.Registration) + ", token at " +
			netname.Origin(d.Token),
		Remedy: "ask the destination's operator whether both are theirs: a token for the one would be shown to " +
			"the other",
	})
}

// canonicalBase is the base URL that must be in the certificate: ours, or ours
// with a slash at its end where the destination writes it so (the same
// resource; the certificate still has to name it).
func (d *Discovery) canonicalBase(base string) string {
	slashed := base + "/"
	if unverifiedIssuer(d.doc.text("signed_metadata")) != slashed {
		return base
	}

	d.Trace.Warn(checkSlash, trace.Finding{
		Expected: base,
		Found:    slashed,
		Remedy:   "the destination's canonical base URL ends in a slash",
	})

	return slashed
}

// unverifiedIssuer peeks at iss of a compact JWS, for comparison only.
func unverifiedIssuer(compact string) string {
	parts := strings.Split(compact, ".")
	if len(parts) != 3 {
		return ""
	}

	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return ""
	}

	o, err := parseObject(payload)
	if err != nil {
		return ""
	}
	return o.text("iss")
}

// checkProfiles checks the version and the profiles that the document claims
// (UDAP Security 2.2). An absent list is a fault of the document and gives a
// warning; a list without what is needed, an empty one too, ends a workflow in
// canUse.
func (d *Discovery) checkProfiles() {
	var found []string
	for _, n := range neededProfiles {
		have, err := d.doc.list(n.member)
		switch {
		case err != nil || have == nil:
			found = append(found, n.member+" is absent or not an array")
		case !slices.Contains(have, n.value):
			found = append(found, fmt.Sprintf("%s %v lacks %q", n.member, have, n.value))
		}
	}

	if len(found) > 0 {
		d.Trace.Warn(checkProfiles, trace.Finding{
			Expected: `version "1", and the profiles udap_dcr and udap_authn`,
			Found:    strings.Join(found, "; "),
			Remedy:   "ask the destination's operator: its metadata does not claim what this client needs",
		})

		return
	}

	d.Trace.Pass(checkProfiles, "", strings.Join(d.List("udap_profiles_supported"), " "))
}

// neededProfiles are the version and profiles for registering and for getting
// tokens.
var neededProfiles = []struct{ action, member, value string }{
	{"", "udap_versions_supported", "1"},
	{"register", "udap_profiles_supported", "udap_dcr"},
	{"token", "udap_profiles_supported", "udap_authn"},
}

// checkNeeds warns about what is required and must be given.
func (d *Discovery) checkNeeds() {
	certs, ext := d.List("udap_certifications_required"), d.List("udap_authorization_extensions_required")
	unknown := slices.DeleteFunc(slices.Clone(ext), func(s string) bool {
		return s == "hl7-b2b"
	})
	if len(certs) == 0 && len(unknown) == 0 {
		d.Trace.Pass(checkNeeds, "", "extension objects: "+strings.Join(ext, " "))
		return
	}

	d.Trace.Warn(checkNeeds, trace.Finding{
		Found:  fmt.Sprintf("certifications %v, extension objects %v are required", certs, ext),
		Remedy: "give them with the registration or the token request, or it will be refused",
	})
}

// canUse stops a workflow that the destination does not claim to support: its
// metadata has the list, and the list lacks the value. An empty list supports
// nothing (UDAP Security 2.2).
func (d *Discovery) canUse(tr *trace.Trace, grant, algorithm, algorithmList string) error {
	for _, n := range neededProfiles {
		if have, err := d.doc.list(n.member); n.action == "" || n.action == tr.Action {
			if err == nil && have != nil && !slices.Contains(have, n.value) {
				return stop(tr, checkProfiles, fmt.Sprintf("%q in %s", n.value, n.member), fmt.Sprint(have),
					"the destination does not support it, by its own metadata")
			}
		}
	}

	grants, err := d.doc.list("grant_types_supported")
	if grant != "" && err == nil && grants != nil && !slices.Contains(grants, grant) {
		return stop(tr, checkGrant, grant+" in grant_types_supported", fmt.Sprint(grants),
			"the destination does not offer this grant type")
	}

	if grants == nil {
		tr.Warn(checkGrant, trace.Finding{
			Expected: "grant_types_supported",
			Found:    "none",
		})
	} else {
		tr.Pass(checkGrant, "", grant)
	}

	algs, err := d.doc.list(algorithmList)
	if err != nil || algs == nil {
		tr.Skip(checkAlgorithm, algorithmList+" is absent")
		return nil
	}
	if !slices.Contains(algs, algorithm) {
		return stop(tr, checkAlgorithm, fmt.Sprintf("one of %v", algs), algorithm,
			"use a certificate with a key for one of these")
	}

	tr.Pass(checkAlgorithm, fmt.Sprintf("one of %v", algs), algorithm)
	return nil
}

func isHTTPS(text string) bool {
	u, err := url.Parse(text)
	return err == nil && u.Scheme == "https" && u.Host != "" && u.Fragment == "" && u.User == nil
}

// difference describes how two URLs differ, by name where it is a usual mistake.
func difference(a, b string) string {
	switch {
	case a == b:
		return "they are the same"
	case strings.TrimSuffix(a, "/") == strings.TrimSuffix(b, "/"):
		return "they differ only by the slash at the end"
	case strings.EqualFold(a, b):
		return "they differ only in upper and lower case"
	case strings.TrimPrefix(a, "http://") == strings.TrimPrefix(b,
		"https://"), strings.TrimPrefix(a, "https://") == strings.TrimPrefix(b, "http://"):
		return "they differ only in the scheme"
	}

	n := 0
	for n < min(len(a), len(b)) && a[n] == b[n] {
		n++
	}

	return fmt.Sprintf("they part at character %d", n+1)
}
