package udap

import (
	"context"
	"crypto/x509"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"fhirdest.example/udap/trace"
)

// Verifier verifies what others signed. The zero value refuses everything. It may
// be used by many goroutines. Its communities do not change under it: a change
// of anchors, intermediates or policy makes a new Verifier, whose memory is empty.
type Verifier struct {
	Communities []*Community     // in configuration order; the first that a leaf leads to counts
	Revocation  RevocationSource // nil: every status is unknown
	Status      StatusSource     // OCSP, for certificates that have no list; nil: not asked
	Issuers     IssuerSource     // AIA, by a community's policy; nil: nothing is fetched
	KeySets     KeySetSource     // jku, by a community's policy; nil: nothing is fetched

	memory memory // of certificates, paths and lists; a Verifier is not copied after its first use
}

// RevocationSource returns CRLs. An implementation may use the
// network; it is asked only about certificates whose path already leads to an
// anchor, so that a stranger cannot make it fetch anything, and must itself be
// bounded in time and size.
type RevocationSource interface {
	CRLs(ctx context.Context, q CRLQuery) []CRLAnswer
}

// CRLQuery asks for the CRLs that cover Certificate.
type CRLQuery struct {
	Community   trace.CommunityURI
	Certificate *x509.Certificate
	Issuer      *x509.Certificate // its issuer on the path that is being checked
	URLs        []string          // http(s) URLs of the certificate's distribution points
}

// CRLAnswer is one CRL, or why there is none. The verifier itself checks
// signature, dates, extensions and entries.
type CRLAnswer struct {
	URL     string
	List    *x509.RevocationList // nil when Err is set
	Fetched time.Time
	Err     error
}

// Expect is what the caller knows about a signed thing before reading it.
type Expect struct {
	Now       time.Time
	Audience  string            // the one URL that aud must name
	Tolerated []string          // further URLs of ours that aud may name instead, with a warning (RFC 7523 3)
	OurURLs   map[string]string // our other URLs and what each is, for hints: URL to "token endpoint"

	// Further checks what a refused software statement asks for, so that its
	// trace has those mistakes too; what it refuses is added there. nil: nothing.
	Further func(ClientMetadata, *trace.Trace) error
}

// Verified is what is known about any accepted JWT. Only a Verifier makes one.
type Verified struct {
	Community *Community
	Client    trace.ClientURI // the SAN URI that iss named (statement), or the registration's (assertion)
	JTI       string
	IssuedAt  time.Time
	Expires   time.Time
	Leaf      *x509.Certificate
	Chain     []*x509.Certificate // leaf first, anchor last
	Algorithm string
	Raw       string // the compact form as received
}

// SoftwareStatement is a verified software statement (UDAP DCR 4).
type SoftwareStatement struct {
	Verified
	Metadata ClientMetadata
}

// ClientMetadata are the registration parameters of a software statement, as
// asked for and well-formed. Absent members are nil or empty.
type ClientMetadata struct {
	ClientName              string
	ClientURI               string
	TosURI                  string
	PolicyURI               string
	LogoURI                 string
	JWKSURI                 string // experimental (S2-24)
	RedirectURIs            []string
	Contacts                []string
	GrantTypes              []string // nil when absent, empty to cancel
	ResponseTypes           []string
	TokenEndpointAuthMethod string
	DPoPBound               bool // dpop_bound_access_tokens (RFC 9449 5.2)
	Scope                   []string
}

// Cancels reports whether the statement asks to cancel a registration
// (grant_types is an empty array).
func (m ClientMetadata) Cancels() bool {
	return m.GrantTypes != nil && len(m.GrantTypes) == 0
}

// Binding is the part of a stored registration that identifies a client.
type Binding struct {
	Community trace.CommunityURI
	Client    trace.ClientURI
	JWKSURI   string // registered jwks_uri; empty: none
}

// AuthenticationToken is a verified authentication token (UDAP JWT-based
// client authentication 6): the client named by ClientID signed it.
type AuthenticationToken struct {
	Verified
	ClientID   trace.ClientID
	Extensions map[string]jsontext.Value // the extensions claim, not checked yet; nil when absent
	Scope      []string                  // the scope claim; nil when absent
	Resources  bool                      // a resources claim is present

	extensionsKind string // what extensions was, if not an object of objects
	misplacedB2B   string // where a B2B object was found instead, for the hint
}
