package examine

import (
	"crypto/x509"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"fhirdest.example/udap"
	"fhirdest.example/udap/jose"
	"fhirdest.example/udap/trace"
)

const wellKnown = "/.well-known/udap"

// metadata is the discovery document, as it came.
type metadata struct {
	*reply
	signed *jose.JWS // nil: there is no signed_metadata that can be decoded
	chain  []*x509.Certificate
	fault  string // why signed is nil

	verified bool // the signature was made by the key of the first certificate
}

// metadataURL returns the URL of the discovery document for a community.
func (x *examination) metadataURL(community trace.CommunityURI) string {
	u := x.Client.Base + wellKnown
	if community != "" {
		u += "?community=" + url.QueryEscape(string(community))
	}
	return u
}

func (x *examination) fetchMetadata(community trace.CommunityURI) *metadata {
	m := &metadata{reply: x.get(x.metadataURL(community))}
	compact, ok := m.object.Text("signed_metadata")
	if !ok {
		m.fault = m.object.Show("signed_metadata")
		return m
	}

	jws, f := jose.Open(compact, nil)
	if f != nil {
		m.fault = f.Found
		return m
	}
	m.signed = jws
	m.chain, _ = jose.DecodeX5C(jws.Header, x509.ParseCertificate) // nil: a check finds that
	if len(m.chain) > 0 && jws.CheckAlgorithm() == nil {
		m.verified = jws.Verify(m.chain) == nil
	}
	return m
}

// endpoint returns a signed endpoint, else the plain one.
func (m *metadata) endpoint(name string) string {
	if m.verified {
		if s, ok := m.signed.Claims.Text(name); ok {
			return s
		}
	}
	return m.text(name)
}

// has reports whether an array has a string among its elements, of which others may
// be of another kind.
func (m *metadata) has(name, value string) bool {
	list, err := jose.Elements(m.object[name], maxElements)
	if err != nil {
		return false
	}
	for _, e := range list {
		if s, ok := jose.Text(e); ok && s == value {
			return true
		}
	}
	return false
}

const maxElements = 10_000

// offers reports whether a grant type is offered.
func (x *examination) offers(grant string) bool {
	return x.meta.has("grant_types_supported", grant)
}

// The sections in which most rules of this file are.
const (
	requiredMetadata = "UDAP Security, Discovery: Required UDAP Metadata"
	signedElements   = "UDAP Security, Discovery: Signed Metadata Elements"
)

var openChecks = []Check{
	{
		Name:   "metadata.open",
		Title:  "The UDAP metadata is there for everybody",
		Rows:   "S1-013 S1-014",
		Rule:   "UDAP Security, Discovery: Discovery of Endpoints",
		Remedy: "answer BASE/.well-known/udap with 200, without registration and without credentials",
		run: func(x *examination) answer {
			x.meta = x.fetchMetadata(x.Client.Community)
			if x.meta.status == 0 {
				return skipped("%s", x.meta.reply)
			}
			return held(x.meta.err == nil && x.meta.status == http.StatusOK,
				"200 without credentials", "%s", x.meta.reply).
				after("GET %s", x.metadataURL(x.Client.Community))
		},
	},
	{
		Name:   "metadata.json",
		Title:  "The UDAP metadata is one JSON object",
		Rows:   "S1-012 S1-015",
		Rule:   "UDAP Security, Discovery: Discovery of Endpoints; UDAP Server Metadata 1",
		Remedy: "answer with one JSON object, no member twice, as application/json",
		run: func(x *examination) answer {
			if x.meta.err != nil || x.meta.status != http.StatusOK {
				return skipped("there is no metadata")
			}
			found := fmt.Sprintf("%d bytes of %s, members %s",
				len(x.meta.body), x.meta.header.Get("Content-Type"), x.meta.object.Names())
			return held(x.meta.object != nil && x.meta.json(),
				"one JSON object of application/json", "%s", found)
		},
	},
}

// list checks a member that must be an array of strings.
func list(name, title, rows, remedy string, holds func([]string) bool) Check {
	return Check{
		Name:   "metadata." + strings.TrimSuffix(name, "_supported"),
		Title:  title,
		Rows:   rows,
		Rule:   requiredMetadata,
		Remedy: remedy,
		run: func(x *examination) answer {
			l, ok := x.meta.object.List(name)
			return held(ok && holds(l), title, "%s", x.meta.object.Show(name))
		},
	}
}

func any0([]string) bool { return true }

func any1(l []string) bool { return len(l) >= 1 }

// listChecks are the checks on the plain members that are arrays.
var listChecks = []Check{
	list("udap_versions_supported", `udap_versions_supported is ["1"]`, "S1-022",
		`write "udap_versions_supported": ["1"]`,
		func(l []string) bool { return slices.Equal(l, []string{"1"}) }),
	list("udap_profiles_supported", "udap_profiles_supported is an array of two or more strings", "S1-023",
		"list every core profile that the server has, at least udap_dcr and udap_authn",
		func(l []string) bool { return len(l) >= 2 }),
	profile("udap_dcr", "S1-024", "registers clients", func(x *examination) bool {
		return x.meta.endpoint("registration_endpoint") != ""
	}),
	profile("udap_authn", "S1-025", "authenticates clients by JWT", func(x *examination) bool {
		return x.meta.endpoint("token_endpoint") != ""
	}),
	profile("udap_authz", "S1-026", "has the grant type client_credentials", func(x *examination) bool {
		return x.offers(clientCredentials)
	}),
	profile("udap_to", "S1-027", "has the scope udap", func(x *examination) bool {
		return x.meta.has("scopes_supported", "udap")
	}),
	{
		Name:   "metadata.scope_udap",
		Title:  "A server with Tiered OAuth has the scope udap",
		Rows:   "S2-23",
		Rule:   "UDAP Security 2.0, Tiered OAuth for User Authentication",
		Remedy: "list the scope udap in scopes_supported",
		run: func(x *examination) answer {
			if !x.meta.has("udap_profiles_supported", "udap_to") {
				return skipped("the destination does not list the profile udap_to")
			}
			return held(x.meta.has("scopes_supported", "udap"),
				"the scope udap beside the profile udap_to",
				"%s", x.meta.object.Show("scopes_supported"))
		},
	},
	list("udap_authorization_extensions_supported", "udap_authorization_extensions_supported is an array of strings",
		"S1-028", "write the array, empty if there is none", any0),
	list("udap_certifications_supported", "udap_certifications_supported is an array of strings",
		"S1-033", "write the array, empty if there is none", any0),
	list("grant_types_supported", "grant_types_supported is an array of one or more strings",
		"S1-036", "list the grant types that can be used", any1),
	list("token_endpoint_auth_methods_supported",
		`token_endpoint_auth_methods_supported is ["private_key_jwt"]`, "S1-041",
		"clients of UDAP authenticate by private_key_jwt alone",
		func(l []string) bool { return slices.Equal(l, []string{"private_key_jwt"}) }),
	list("token_endpoint_auth_signing_alg_values_supported",
		"token_endpoint_auth_signing_alg_values_supported lists algorithms", "S1-042",
		"list the algorithms that are accepted in authentication tokens", any1),
	list("scopes_supported", "scopes_supported is an array of one or more strings", "S2-03",
		"edition 2 requires it: list every scope, those with wildcards too", any1),
	{
		Name:   "metadata.refresh",
		Title:  "refresh_token is offered only beside authorization_code",
		Rows:   "S1-037",
		Rule:   requiredMetadata,
		Remedy: "leave refresh_token out of grant_types_supported, or offer authorization_code",
		run: func(x *examination) answer {
			return held(!x.offers("refresh_token") || x.offers(authorizationCode),
				"authorization_code beside refresh_token",
				"%s", x.meta.object.Show("grant_types_supported"))
		},
	},
	algorithm("metadata.rs256", "RS256", "S1-004", false),
	algorithm("metadata.es256", "ES256", "S1-005", true),
	{
		Name:   "metadata.registration_algorithms.present",
		Title:  "registration_endpoint_jwt_signing_alg_values_supported is there",
		Rows:   "S1-044 S2-04",
		Rule:   requiredMetadata + " (recommended in edition 1, required in edition 2)",
		Remedy: "list the algorithms that are accepted in software statements",
		run: func(x *examination) answer {
			const name = "registration_endpoint_jwt_signing_alg_values_supported"
			return held(x.meta.object.Has(name), "the member", "%s", x.meta.object.Show(name))
		},
	},
	whereThere("registration_endpoint_jwt_signing_alg_values_supported", "S1-045",
		"registration_algorithms", "an array of one or more algorithms", any1),
	required("extensions", "udap_authorization_extensions", "S1-031"),
	whereThere("udap_authorization_extensions_required", "S1-030",
		"extensions.required.form", "an array of strings", any0),
	subset("extensions", "udap_authorization_extensions"),
	required("certifications", "udap_certifications", "S1-035"),
	whereThere("udap_certifications_required", "S1-034",
		"certifications.required.form", "an array of strings", any0),
	subset("certifications", "udap_certifications"),
}

// profile checks that a profile is listed by a server that has what it is for.
func profile(name, row, has string, applies func(*examination) bool) Check {
	return Check{
		Name:   "metadata.profile." + name,
		Title:  fmt.Sprintf("A server that %s lists the profile %s", has, name),
		Rows:   row,
		Rule:   requiredMetadata,
		Remedy: fmt.Sprintf("add %q to udap_profiles_supported", name),
		run: func(x *examination) answer {
			if !applies(x) {
				return skipped("by its metadata the destination is none that %s", has)
			}
			return held(x.meta.has("udap_profiles_supported", name),
				fmt.Sprintf("%q in udap_profiles_supported", name),
				"%s", x.meta.object.Show("udap_profiles_supported"))
		},
	}
}

// algorithm checks that an algorithm is listed for authentication tokens.
func algorithm(name, alg, row string, advice bool) Check {
	return Check{
		Name:   name,
		Title:  alg + " is supported",
		Rows:   row,
		Rule:   "UDAP Security, General: Signature Algorithm Identifiers",
		Remedy: "accept " + alg + " in software statements and authentication tokens",
		Advice: advice,
		run: func(x *examination) answer {
			seen := 0
			for _, member := range []string{
				"token_endpoint_auth_signing_alg_values_supported",
				"registration_endpoint_jwt_signing_alg_values_supported",
			} {
				if l, err := jose.Elements(x.meta.object[member], maxElements); err != nil || len(l) == 0 {
					continue
				}
				if seen++; !x.meta.has(member, alg) {
					return violated(alg+" in "+member, "%s", x.meta.object.Show(member))
				}
			}
			if seen == 0 {
				return skipped("the destination lists no algorithm")
			}
			return shown("%s is listed", alg)
		},
	}
}

// whereThere checks the form of a member that need not be there.
func whereThere(member, row, name, expected string, holds func([]string) bool) Check {
	return Check{
		Name:   "metadata." + name,
		Title:  member + ", where it is there, is " + expected,
		Rows:   row,
		Rule:   requiredMetadata,
		Remedy: "write " + expected,
		run: func(x *examination) answer {
			if !x.meta.object.Has(member) {
				return skipped("the metadata has no %s", member)
			}
			l, ok := x.meta.object.List(member)
			return held(ok && holds(l), expected, "%s", x.meta.object.Show(member))
		},
	}
}

// required checks that PREFIX_required is there where PREFIX_supported lists any.
func required(name, prefix, row string) Check {
	return Check{
		Name:   "metadata." + name + ".required",
		Title:  prefix + "_required is there where any is supported",
		Rows:   row,
		Rule:   requiredMetadata,
		Remedy: "write " + prefix + "_required, an empty array if none is required",
		run: func(x *examination) answer {
			l, err := jose.Elements(x.meta.object[prefix+"_supported"], maxElements)
			if err != nil || len(l) == 0 {
				return skipped("%s_supported lists none", prefix)
			}
			return held(x.meta.object.Has(prefix+"_required"), "the member",
				"%s", x.meta.object.Show(prefix+"_required"))
		},
	}
}

// subset checks that everything required is supported.
func subset(name, prefix string) Check {
	return Check{
		Name:   "metadata." + name + ".subset",
		Title:  "What is in " + prefix + "_required is in " + prefix + "_supported too",
		Rows:   "S2-05",
		Rule:   requiredMetadata + " (edition 2)",
		Remedy: "list what is required among what is supported",
		run: func(x *examination) answer {
			l, ok := x.meta.object.List(prefix + "_required")
			if !ok {
				return skipped("there is no list %s_required", prefix)
			}
			for _, s := range l {
				if !x.meta.has(prefix+"_supported", s) {
					return violated("a subset of "+prefix+"_supported", "%q is required and not supported", s)
				}
			}
			return shown("%d required", len(l))
		},
	}
}

// endpointChecks are the checks on the plain members that are URLs.
var endpointChecks = []Check{
	{
		Name:   "metadata.authorization_endpoint.present",
		Title:  "authorization_endpoint is there where people sign in",
		Rows:   "S1-009 S1-039",
		Rule:   requiredMetadata,
		Remedy: "write authorization_endpoint, or do not offer authorization_code",
		run: func(x *examination) answer {
			if !x.offers(authorizationCode) {
				return skipped("the destination does not offer authorization_code")
			}
			return held(x.meta.object.Has("authorization_endpoint"), "the member",
				"%s", x.meta.object.Show("authorization_endpoint"))
		},
	},
	{
		Name:   "metadata.authorization_endpoint",
		Title:  "authorization_endpoint is an absolute URL",
		Rows:   "S1-038",
		Rule:   requiredMetadata,
		Remedy: "write the whole URL, with https",
		run: func(x *examination) answer {
			if !x.meta.object.Has("authorization_endpoint") {
				return skipped("the metadata has no authorization_endpoint")
			}
			return absolute(x, "authorization_endpoint")
		},
	},
	endpoint("token_endpoint", "S1-010 S1-040"),
	endpoint("registration_endpoint", "S1-011 S1-043"),
}

func endpoint(name, rows string) Check {
	return Check{
		Name:   "metadata." + name,
		Title:  name + " is there, and is an absolute URL",
		Rows:   rows,
		Rule:   requiredMetadata,
		Remedy: "write the whole URL, with https",
		run:    func(x *examination) answer { return absolute(x, name) },
	}
}

// reachable reports whether an endpoint is one to which something may be sent.
func (x *examination) reachable(name string) bool { return x.secure(x.meta.endpoint(name)) }

func (x *examination) secure(text string) bool {
	u, err := url.Parse(text)
	return err == nil && u.Host != "" && u.Fragment == "" &&
		(u.Scheme == "https" || u.Scheme == "http" && x.Client.LoopbackHTTP)
}

func absolute(x *examination, name string) answer {
	return held(x.secure(x.meta.text(name)), "an absolute https URL", "%s", x.meta.object.Show(name))
}

// verify verifies the signed metadata as an originator of a community does.
func (x *examination) verify(m *metadata, community trace.CommunityURI) (*trace.Trace, error) {
	tr := trace.NewTrace("examine", x.now())
	_, err := x.Client.Verifier.Metadata(x.ctx, m.body, udap.ExpectMetadata{
		Now:          x.now(),
		Base:         x.Client.Base,
		Community:    community,
		LoopbackHTTP: x.Client.LoopbackHTTP,
	}, tr)
	return tr, err
}
