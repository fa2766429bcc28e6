package udap

import (
	"crypto/x509"
	"slices"
	"strings"
	"time"

	"fhirdest.example/udap/jose"
	"fhirdest.example/udap/trace"
)

// Community is a trust community as this party sees it: the anchors it
// accepts, intermediates it knows, and the rules that bind its members.
// No certificate leads to a community without an anchor.
type Community struct {
	URI           trace.CommunityURI
	Name          string
	Anchors       []*x509.Certificate
	Intermediates []*x509.Certificate
	Policy        Policy
}

// Policy is a community's profile. The zero value is UDAP Security 2.0; every
// field softens or narrows one named rule, and each use of a softening is
// flagged in the trace.
type Policy struct {
	Edition               int           // 2 (also 0) or 1
	Algorithms            []string      // accepted signature algorithms; empty: RS256 ES256 RS384 ES384
	Skew                  time.Duration // allowance for clocks; 0 means 60 s, negative none
	AllowLoopbackRedirect bool          // http://127.0.0.1 and http://localhost redirect URIs
	B2BOptional           bool          // hl7-b2b may be absent for client_credentials
	B2BUser               UserRule      // whether requests have hl7-b2b-user
	PurposeCodes          PurposeRule   // accepted forms of purpose_of_use
	ScopeRequired         bool          // a token request without scope is refused, not given the registered ones
	PurposesOfUse         []string      // accepted codes as system#code URIs; empty: any
	// TEFCA: one purpose_of_use, equal to the fragment of the client's URI; tefca_ias for T-IAS
	PurposeFromSAN        bool
	OrganizationIDSchemes []string // accepted URI schemes of organization_id; empty: any absolute URI
	RequiredMetadata      []string // further metadata that registrations must carry, e.g. client_uri
	Certifications        []string // certification URIs supported
	CertificationsNeeded  []string // certification URIs required
	// Certifiers may certify clients. A required certification counts only if one
	// of them made it. Empty: a requirement cannot be met, and a certification that
	// is not required is accepted from any member of the community, with a warning.
	Certifiers        []Certifier
	ExtendedKeyUsages []string // OIDs of which a leaf must carry one; empty: any or none
	// OIDs of certificate policies of which a path must be valid for one; empty: any
	CertificatePolicies []string
	// origins (scheme://host:port) from which missing issuers may be fetched; empty: none
	AIA        []string
	Revocation RevocationRule
	JKU        bool // experimental: an authentication token may carry jku and kid in place of x5c
	UDAPNumber bool // "udap": 1 as a number is accepted with a warning
	Reserved   Reserved
}

// Reserved are the URIs of certificates that count in one place alone, although an
// authority of the community issued them: those that a lab issues to whoever asks. A
// certificate with a name that begins with Below is refused, unless the name begins
// with Own as well. The zero value reserves nothing.
type Reserved struct {
	Below string // such as https://fhir.example/lab/
	Own   string // such as https://fhir.example/lab/1/; empty: there is no exception
}

// first returns the first of some URI names that is reserved for another place; empty:
// none is.
func (r Reserved) first(uris []string) string {
	for _, uri := range uris {
		own := r.Own != "" && strings.HasPrefix(uri, r.Own)
		if r.Below != "" && strings.HasPrefix(uri, r.Below) && !own {
			return uri
		}
	}
	return ""
}

// SelfCertifier in place of a certifier's URI lets each client certify itself.
const SelfCertifier = "self"

// Certifier is a member of the community whose certifications count.
type Certifier struct {
	URI            string   // a URI name of its certificate, or SelfCertifier
	Certifications []string // certification URIs that it may assert; empty: all
}

// certifies reports whether the policy lets a certifier assert a certification.
func (p Policy) certifies(c *Certification, certification string) bool {
	name := string(c.Client)
	if c.SelfSigned {
		name = SelfCertifier
	}
	return slices.ContainsFunc(p.Certifiers, func(by Certifier) bool {
		return by.URI == name && (len(by.Certifications) == 0 ||
			slices.Contains(by.Certifications, certification))
	})
}

// PurposeRule is the form of purpose_of_use codes that is accepted.
type PurposeRule string

// The forms of purpose_of_use.
const (
	PurposeURI PurposeRule = ""    // system#code URIs only
	PurposeAny PurposeRule = "any" // bare codes too, with a warning
)

// RevocationRule is what happens if the revocation status of a certificate is
// unknown.
type RevocationRule string

// The rules for unknown revocation status.
const (
	RevocationRequired RevocationRule = "" // refuse
	// accept with a warning; a certificate known to be revoked is still refused
	RevocationSoft RevocationRule = "soft"
	RevocationOff  RevocationRule = "off" // not looked at; a warning each time
)

// SignatureAlgorithms returns the signature algorithms that the policy accepts,
// in the order in which metadata lists them.
func (p Policy) SignatureAlgorithms() []string {
	return slices.DeleteFunc(jose.Algorithms(), func(a string) bool { return !p.accepts(a) })
}

// accepts reports whether the policy accepts one of the algorithms that package jose
// knows.
func (p Policy) accepts(alg string) bool {
	return len(p.Algorithms) == 0 || slices.Contains(p.Algorithms, alg)
}

// ClockSkew returns how far the clocks of a signer and of the verifier may be
// apart: 60 seconds unless the policy has another value. A JWT is accepted from
// iat less the skew until exp plus the skew, so its jti must be remembered for
// at least that long.
func (p Policy) ClockSkew() time.Duration {
	switch {
	case p.Skew == 0:
		return time.Minute
	case p.Skew < 0:
		return 0
	}
	return p.Skew
}
