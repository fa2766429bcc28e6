package server

import (
	"crypto/x509"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"fhirdest.example/gateway/complaint"
	"fhirdest.example/server/oauth"
	"fhirdest.example/udap"
)

// Profiles are the shipped sets of rules by their names in configuration.
//
//   - ssraa-2: UDAP Security 2.0 to the letter; bare purpose-of-use codes, which
//     it does not prefer, are accepted with a warning (purposeCodes: any);
//   - ssraa-1: the first edition (1.x): bare purpose-of-use codes and http
//     loopback redirects;
//   - tefca: the second edition with the metadata that TEFCA demands, the
//     exchange purposes of its newest edition, each by the URI of its own
//     certificate, and tefca_ias for individual access.
func profiles() map[string]udap.Policy {
	return map[string]udap.Policy{
		"ssraa-2": {
			Edition:      2,
			PurposeCodes: udap.PurposeAny,
		},
		"ssraa-1": {
			Edition:               1,
			AllowLoopbackRedirect: true,
			PurposeCodes:          udap.PurposeAny,
		},
		"tefca": {
			Edition: 2, RequiredMetadata: []string{"client_uri", "tos_uri", "policy_uri"},
			PurposesOfUse: udap.TEFCAEditions()[0].URIs(), PurposeFromSAN: true,
		},
	}
}

// policy returns the community's profile with its departures applied, and adds
// what is wrong with them to cs.
func (m Community) policy(cs *complaint.List, at string) udap.Policy {
	name := m.Profile
	or(&name, "ssraa-2")
	p, ok := profiles()[name]
	if !ok {
		cs.Add(
			"write one of: ssraa-2, ssraa-1, tefca",
			"%s.profile: %q is not known",
			at,
			name,
		)
	}

	m.Policy.check(cs, at+".policy")
	m.Policy.apply(&p)
	return p
}

// check adds what is wrong with the values of a policy: each of them, as one that
// can never be met refuses every client.
func (o Policy) check(cs *complaint.List, at string) {
	if o.Edition != nil && *o.Edition != 1 && *o.Edition != 2 {
		cs.Add("write 2 or 1", "%s.edition: there is no edition %d", at, *o.Edition)
	}
	if o.Skew != nil && *o.Skew > oauth.MaxSkew {
		cs.Add(
			"write 5m or less",
			"%s.skew: %s is as long as an assertion lives",
			at,
			*o.Skew,
		)
	}
	if o.Skew != nil && *o.Skew < 0 {
		cs.Add("write 0s for none", "%s.skew: %s is negative", at, *o.Skew)
	}

	if o.PurposeCodes != nil {
		oneOf(cs, at+".purposeCodes", *o.PurposeCodes, "uri", "any")
	}
	if o.HL7B2BUser != nil {
		oneOf(cs, at+".hl7B2BUser", *o.HL7B2BUser, "optional", "required", "off")
	}
	if o.Revocation != nil {
		oneOf(cs, at+".revocation", *o.Revocation, "required", "soft", "off")
	}

	for i, c := range o.Certifiers {
		where := fmt.Sprintf("%s.certifiers[%d]", at, i)
		if c.URI != udap.SelfCertifier && !isURI(c.URI) {
			cs.Add(
				"write the URI of the certifier's certificate, or self",
				"%s: %q is none",
				where,
				c.URI,
			)
		}

		for _, program := range c.Certifications {
			if !isURI(program) {
				cs.Add("write the URI of the certification program", "%s.certifications: %q is none", where,
					program)
			}
		}
	}

	for _, l := range []struct {
		key    string
		values []string
		good   func(string) bool
		remedy string
	}{
		{"algorithms", o.Algorithms, isAlgorithm, "write some of: RS256, ES256, RS384, ES384"},
		{
			"purposesOfUse",
			o.PurposesOfUse,
			isCode,
			"write SYSTEM#CODE, such as urn:oid:2.16.840.1.113883.5.8#TREAT",
		},
		{
			"organizationIdSchemes",
			o.OrganizationIDSchemes,
			isScheme,
			"write a scheme without its colon, such as https",
		},
		{
			"requiredMetadata",
			o.RequiredMetadata,
			isMetadata,
			"write some of: " + strings.Join(metadataNames, ", "),
		},
		{
			"certifications",
			o.Certifications,
			isURI,
			"write the URI of the certification program",
		},
		{
			"certificationsRequired",
			o.CertificationsNeeded,
			isURI,
			"write the URI of the certification program",
		},
		{
			"extendedKeyUsages",
			o.ExtendedKeyUsages,
			isOID,
			"write a dotted OID, such as 1.3.6.1.5.5.7.3.2",
		},
		{
			"certificatePolicies",
			o.CertificatePolicies,
			isOID,
			"write a dotted OID, such as 2.16.840.1.113883.3.7204.1",
		},
	} {
		for i, v := range l.values {
			if !l.good(v) {
				cs.Add(l.remedy, "%s.%s[%d]: %q is none", at, l.key, i, v)
			}
		}
	}
}

// metadataNames are the members of a software statement that a community may
// require (RFC 7591 2, UDAP DCR 4.1).
var metadataNames = []string{
	"client_name", "client_uri", "contacts", "dpop_bound_access_tokens",
	"grant_types", "jwks_uri", "logo_uri", "policy_uri", "redirect_uris",
	"response_types", "scope", "software_id", "software_version",
	"token_endpoint_auth_method", "tos_uri",
}

func isMetadata(s string) bool {
	return slices.Contains(metadataNames, s)
}

func isAlgorithm(s string) bool {
	return slices.Contains([]string{"RS256", "ES256", "RS384", "ES384"}, s)
}

func isOID(s string) bool {
	_, err := x509.ParseOID(s)
	return err == nil
}

func isURI(s string) bool {
	u, err := url.Parse(s)
	return err == nil && u.IsAbs() && (u.Host != "" || u.Opaque != "") && !strings.ContainsAny(
		s,
		" \t",
	)
}

// isCode reports whether s is a code with its system, as purpose_of_use has it.
func isCode(s string) bool {
	system, code, ok := strings.Cut(s, "#")
	return ok && isURI(system) && code != "" && !strings.ContainsAny(code, "# ")
}

// isScheme reports whether s is a URI scheme in lower case (RFC 3986 3.1).
func isScheme(s string) bool {
	return s != "" && s[0] >= 'a' && s[0] <= 'z' &&
		strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789+-.") == ""
}

func (o Policy) apply(p *udap.Policy) {
	set(&p.Edition, o.Edition)
	set(&p.AllowLoopbackRedirect, o.AllowLoopbackRedirect)
	set(&p.B2BOptional, o.B2BOptional)
	set(&p.ScopeRequired, o.ScopeRequired)
	set(&p.JKU, o.JKU)
	set(&p.UDAPNumber, o.UDAPNumber)
	setList(&p.Algorithms, o.Algorithms)
	setList(&p.PurposesOfUse, o.PurposesOfUse)

	set(&p.PurposeFromSAN, o.PurposeFromSAN)

	setList(&p.OrganizationIDSchemes, o.OrganizationIDSchemes)
	setList(&p.RequiredMetadata, o.RequiredMetadata)
	setList(&p.Certifications, o.Certifications)
	setList(&p.CertificationsNeeded, o.CertificationsNeeded)

	for _, c := range o.Certifiers {
		p.Certifiers = append(p.Certifiers, udap.Certifier{
			URI:            c.URI,
			Certifications: c.Certifications,
		})
	}

	setList(&p.ExtendedKeyUsages, o.ExtendedKeyUsages)
	setList(&p.CertificatePolicies, o.CertificatePolicies)
	if o.Skew != nil {
		p.Skew = *o.Skew
		if p.Skew == 0 {
			p.Skew = -1 // udap.Policy: 0 means the default, negative none
		}
	}

	if o.PurposeCodes != nil {
		p.PurposeCodes = map[string]udap.PurposeRule{
			"uri": udap.PurposeURI,
			"any": udap.PurposeAny,
		}[*o.PurposeCodes]
	}

	if o.HL7B2BUser != nil {
		p.B2BUser = map[string]udap.UserRule{
			"optional": udap.UserOptional,
			"required": udap.UserRequired,
			"off":      udap.UserOff,
		}[*o.HL7B2BUser]
	}

	if o.Revocation != nil {
		p.Revocation = map[string]udap.RevocationRule{
			"required": udap.RevocationRequired,
			"soft":     udap.RevocationSoft,
			"off":      udap.RevocationOff,
		}[*o.Revocation]
	}
}

func set[T any](p *T, to *T) {
	if to != nil {
		*p = *to
	}
}

func setList(p *[]string, to []string) {
	if to != nil {
		*p = to
	}
}
