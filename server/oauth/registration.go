package oauth

import (
	"crypto/x509"
	"slices"
	"time"

	"fhirdest.example/udap/trace"
)

// Registration is what the server stores of one client. The trust community and
// the client URI identify it: a certificate of another community never reaches
// it. ID is its name in this server's protocol messages.
type Registration struct {
	ID             trace.ClientID     `json:"id"`
	Community      trace.CommunityURI `json:"community"`
	Client         trace.ClientURI    `json:"client"`
	Granted        Parameters         `json:"granted"`
	Statement      string             `json:"statement"`                // the software statement as submitted
	Certifications []string           `json:"certifications,omitempty"` // those accepted, as submitted
	Leaf           []byte             `json:"leaf"`                     // DER of the statement's signer (UDAP DCR 5.1)
	Created        time.Time          `json:"created"`
	Changed        time.Time          `json:"changed"`

	// Epoch grows when a change removes rights. A token of an earlier epoch
	// is dead.
	Epoch uint64 `json:"epoch"`
}

// LeafExpires returns when the certificate that signed the statement expires; the
// zero time if it cannot be read.
func (r *Registration) LeafExpires() time.Time {
	leaf, err := x509.ParseCertificate(r.Leaf)
	if err != nil {
		return time.Time{}
	}
	return leaf.NotAfter
}

// Parameters are registration parameters as granted and echoed (RFC 7591
// 3.2.1): what has no value is left out (UDAP Security 2.0, 3.2.3).
type Parameters struct {
	ClientName              string   `json:"client_name,omitzero"`
	ClientURI               string   `json:"client_uri,omitzero"`
	TosURI                  string   `json:"tos_uri,omitzero"`
	PolicyURI               string   `json:"policy_uri,omitzero"`
	LogoURI                 string   `json:"logo_uri,omitzero"`
	JWKSURI                 string   `json:"jwks_uri,omitzero"` // only where the community's policy follows it
	RedirectURIs            []string `json:"redirect_uris,omitempty"`
	Contacts                []string `json:"contacts,omitempty"`
	GrantTypes              []string `json:"grant_types,omitzero"` // empty, not absent, once cancelled
	ResponseTypes           []string `json:"response_types,omitempty"`
	TokenEndpointAuthMethod string   `json:"token_endpoint_auth_method,omitzero"`
	Scope                   string   `json:"scope,omitzero"` // separated by single spaces
	// no token is issued without a DPoP proof (RFC 9449 5.2)
	DPoPBound bool `json:"dpop_bound_access_tokens,omitzero"`
}

// Succeed returns what a store has to hold when next replaces the registration r of
// the same community and client URI: all of next (UDAP Security 2.0, 3.4: the
// information is replaced, not merged) under r's identifier.
func (r *Registration) Succeed(next Registration) Registration {
	next.ID, next.Created, next.Epoch = r.ID, r.Created, r.Epoch
	if removesRights(r.Granted, next.Granted) {
		next.Epoch++
	}
	return next
}

// removesRights reports whether a change removes a grant type or a scope, or demands
// that tokens are bound to a key: tokens issued before it could hold more than the
// client now has.
func removesRights(old, next Parameters) bool {
	lost := func(had, has []string) bool {
		return slices.ContainsFunc(had, func(s string) bool {
			return !slices.Contains(has, s)
		})
	}
	return next.DPoPBound && !old.DPoPBound ||
		lost(old.GrantTypes, next.GrantTypes) ||
		lost(splitScope(old.Scope), splitScope(next.Scope))
}
