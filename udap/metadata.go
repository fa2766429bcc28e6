package udap

import (
	"context"
	"errors"
	"slices"
	"time"

	"fhirdest.example/udap/jose"
	"fhirdest.example/udap/trace"
)

// UntrustedMetadata is the code of an originator's refusal of a server's
// metadata. It is in traces only and never goes over the wire.
const UntrustedMetadata trace.Code = "untrusted_metadata"

// maxMetadataLife is how long signed metadata may live: one year (UDAP Security
// 2.3), counted generously for leap years.
const maxMetadataLife = 366 * 24 * time.Hour

// maxMetadata bounds a metadata document, in bytes.
const maxMetadata = 512 << 10

var metadataChecks = claimChecks{
	iss:      trace.NewCheck("metadata.iss", "iss is a URI name of the server's certificate", "S1-048 S1-049"),
	sub:      trace.NewCheck("metadata.sub", "sub equals iss", "S1-051"),
	exp:      trace.NewCheck("metadata.exp", "The signed metadata has not expired", "S1-052"),
	iat:      trace.NewCheck("metadata.iat", "The signed metadata was not issued in the future", "S1-054"),
	lifetime: trace.NewCheck("metadata.lifetime", "exp is after iat by one year at most", "S1-053"),
	nbf:      trace.NewCheck("metadata.nbf", "The signed metadata is valid already", "S1-001"),
	jti:      trace.NewCheck("metadata.jti", "jti is a non-empty string", "S1-055"),
}

// The further checks on a server's metadata.
var (
	checkDocument = trace.NewCheck("metadata.document",
		"The metadata is one JSON object with signed_metadata in it",
		"S1-015 S1-046 S1-047")
	checkMetaAlg  = trace.NewCheck("metadata.alg", "signed_metadata is signed with RS256", "S2-06")
	checkMetaBase = trace.NewCheck("metadata.base", "iss is the base URL that was asked for",
		"S1-048 S1-050 S2-07")
	checkEndpoints = trace.NewCheck("metadata.endpoints",
		"The endpoints are https URLs and signed; signed values count", "S1-057 S1-058 S1-059 S2-06 S2-07")
)

var metadataKind = kind{
	name:      "server metadata",
	malformed: UntrustedMetadata,
	untrusted: UntrustedMetadata,
	claims:    UntrustedMetadata,
	checks:    metadataChecks,
	life:      maxMetadataLife,
	lifeShown: lifeRule(maxMetadataLife),
}

// ExpectMetadata is what an originator knows before it reads metadata.
type ExpectMetadata struct {
	Now       time.Time
	Base      string             // the FHIR base URL that was asked for
	Community trace.CommunityURI // the only one that may vouch for the server; empty: any configured

	LoopbackHTTP bool // endpoints may be http URLs of a loopback host
}

// ServerMetadata is the verified metadata of a server (UDAP Security 2.2, 2.3).
// Endpoints are the signed ones. The lists come from the plain part, which TLS
// alone protects.
type ServerMetadata struct {
	Verified
	Base                  string
	TokenEndpoint         string
	RegistrationEndpoint  string
	AuthorizationEndpoint string // empty when the server has none

	GrantTypes             []string
	Scopes                 []string
	Profiles               []string
	ExtensionsSupported    []string
	ExtensionsRequired     []string
	CertificationsNeeded   []string
	TokenAlgorithms        []string
	RegistrationAlgorithms []string
}

// metadataValidation is the validation of a server's metadata.
type metadataValidation struct{ *validation }

// Metadata verifies the document at BASE/.well-known/udap: its signed_metadata
// must verify, in full, before an originator sends anything (UDAP Security 2.3).
// A refusal is an *Error with the code untrusted_metadata.
func (v *Verifier) Metadata(
	ctx context.Context, document []byte, exp ExpectMetadata, tr *trace.Trace,
) (*ServerMetadata, error) {
	val := &metadataValidation{v.begin(ctx, metadataKind, Expect{Now: exp.Now}, tr)}
	plain, compact, err := val.document(document)
	if err != nil {
		return nil, err
	}

	e, err := val.open(compact)
	if err != nil {
		return nil, err
	}
	if e.Algorithm != "RS256" {
		return nil, val.refuseClaim(checkMetaAlg, trace.Finding{
			Expected: "RS256",
			Found:    e.Algorithm,
		})
	}

	val.tr.Pass(checkMetaAlg, "RS256", e.Algorithm)
	verified, err := val.trust(e, v.vouching(exp.Community))
	if err != nil {
		return nil, err
	}
	if err := val.metadataClaims(e, exp.Base, &verified); err != nil {
		return nil, err
	}

	m := &ServerMetadata{
		Verified: verified,
		Base:     exp.Base,
	}
	m.readLists(plain)

	return m, val.endpoints(plain, e.Claims, m, exp.LoopbackHTTP)
}

// vouching returns the communities that may vouch for a server.
func (v *Verifier) vouching(uri trace.CommunityURI) []*Community {
	if uri == "" {
		return v.Communities
	}

	var out []*Community
	for _, c := range v.Communities {
		if c.URI == uri {
			out = append(out, c)
		}
	}

	return out
}

func (val *metadataValidation) document(document []byte) (jose.Object, string, error) {
	const expected = "one JSON object with signed_metadata as a string"
	if len(document) > maxMetadata {
		return nil, "", val.refuseClaim(checkDocument, trace.Finding{
			Expected: expected,
			Found:    "a document that is too long",
		})
	}

	o, err := jose.ParseObject(document)
	if err != nil {
		return nil, "", val.refuseClaim(checkDocument, trace.Finding{
			Expected: expected,
			Found:    err.Error(),
			Err:      err,
		})
	}

	compact, ok := o.Text("signed_metadata")
	if !ok {
		return nil, "", val.refuseClaim(checkDocument, trace.Finding{
			Expected: expected,
			Found:    o.Show("signed_metadata"),
		})
	}

	val.tr.Pass(checkDocument, expected, o.Members())
	return o, compact, nil
}

func (val *metadataValidation) metadataClaims(e *envelope, base string, out *Verified) error {
	if err := val.statementNames(e, out); err != nil {
		return err
	}
	if string(out.Client) != base || base == "" {
		return val.refuseClaim(checkMetaBase, trace.Finding{
			Expected: base,
			Found:    string(out.Client),
			Remedy: difference(base,
				string(out.Client)) + "; ask at the base URL that the server's certificate names",
		})
	}

	val.tr.Pass(checkMetaBase, base, string(out.Client))
	if err := val.times(e, out); err != nil {
		return err
	}
	return val.identifier(e, out)
}

// endpoints reads the signed endpoints; where the plain ones differ, the signed
// ones count, with a warning (UDAP Security 2.3).
func (val *metadataValidation) endpoints(plain, signed jose.Object, m *ServerMetadata, loopbackHTTP bool) error {
	for _, f := range []struct {
		name   string
		into   *string
		needed bool
	}{
		{"token_endpoint", &m.TokenEndpoint, true},
		{"registration_endpoint", &m.RegistrationEndpoint, true},
		{
			"authorization_endpoint",
			&m.AuthorizationEndpoint,
			plain.Has("authorization_endpoint"),
		},
	} {
		if !f.needed && !signed.Has(f.name) {
			continue
		}

		url, ok := signed.Text(f.name)
		if !ok {
			return val.refuseClaim(checkEndpoints, trace.Finding{
				Expected: f.name + " in signed_metadata",
				Found:    signed.Show(f.name),
			})
		}
		if err := checkEndpoint(url, loopbackHTTP); err != nil {
			return val.refuseClaim(checkEndpoints, trace.Finding{
				Expected: f.name + " as an https URL",
				Found:    url + ": " + err.Error(),
			})
		}

		*f.into = url
		if text, _ := plain.Text(f.name); text != url {
			val.tr.Warn(checkEndpoints, trace.Finding{
				Expected: f.name + " " + url + " in the plain part too",
				Found:    plain.Show(f.name),
				Remedy:   "the signed value counts",
			})

			continue
		}

		val.tr.Pass(checkEndpoints, f.name+" signed", url)
	}

	if m.AuthorizationEndpoint == "" && slices.Contains(m.GrantTypes, "authorization_code") {
		val.tr.Warn(checkEndpoints, trace.Finding{
			Expected: "authorization_endpoint, signed, as the grant type authorization_code is supported",
			Found:    "none",
			Remedy:   "other grant types can be used",
		})
	}

	return nil
}

// checkEndpoint accepts https URLs, and http ones of a loopback host if allowed.
func checkEndpoint(text string, loopbackHTTP bool) error {
	schemes := []string{"https"}
	if loopbackHTTP {
		schemes = append(schemes, "http")
	}
	u, err := plainURL(text, schemes...)
	if err != nil {
		return err
	}
	if _, loopback := hostIsAddress(u); u.Scheme == "http" && !loopback {
		return errors.New("http is accepted at loopback addresses only")
	}

	return nil
}

func (m *ServerMetadata) readLists(plain jose.Object) {
	for name, into := range map[string]*[]string{
		"grant_types_supported":                                  &m.GrantTypes,
		"scopes_supported":                                       &m.Scopes,
		"udap_profiles_supported":                                &m.Profiles,
		"udap_authorization_extensions_supported":                &m.ExtensionsSupported,
		"udap_authorization_extensions_required":                 &m.ExtensionsRequired,
		"udap_certifications_required":                           &m.CertificationsNeeded,
		"token_endpoint_auth_signing_alg_values_supported":       &m.TokenAlgorithms,
		"registration_endpoint_jwt_signing_alg_values_supported": &m.RegistrationAlgorithms,
	} {
		*into, _ = plain.List(name)
	}
}
