package server

import (
	"fmt"
	"slices"

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
		"ssraa-2": {Edition: 2, PurposeCodes: udap.PurposeAny},
		"ssraa-1": {Edition: 1, AllowLoopbackRedirect: true, PurposeCodes: udap.PurposeAny},
		"tefca": {
			Edition: 2, RequiredMetadata: []string{"client_uri", "tos_uri", "policy_uri"},
			PurposesOfUse: udap.TEFCAEditions()[0].URIs(), PurposeFromSAN: true,
		},
	}
}

// policy is the community's profile with its departures applied.
func (m Community) policy() (udap.Policy, *complaint.Complaint) {
	name := m.Profile
	or(&name, "ssraa-2")
	p, ok := profiles()[name]
	if !ok {
		return p, complaint.New(
			fmt.Sprintf("profile: %q is not known", name),
			"write one of: ssraa-2, ssraa-1, tefca",
		)
	}
	if err := m.Policy.complain(); err != nil {
		return p, err
	}

	m.Policy.apply(&p)
	return p, nil
}

func (o Policy) complain() *complaint.Complaint {
	switch {
	case o.Edition != nil && *o.Edition != 1 && *o.Edition != 2:
		return complaint.New(
			fmt.Sprintf("policy.edition: there is no edition %d", *o.Edition),
			"write 2 or 1",
		)

	case o.PurposeCodes != nil && *o.PurposeCodes != "uri" && *o.PurposeCodes != "any":
		return complaint.New(
			fmt.Sprintf("policy.purposeCodes: %q is not known", *o.PurposeCodes),
			"write one of: uri, any",
		)

	case o.Revocation != nil && !slices.Contains([]string{"required", "soft", "off"}, *o.Revocation):
		return complaint.New(
			fmt.Sprintf("policy.revocation: %q is not known", *o.Revocation),
			"write one of: required, soft, off",
		)

	case o.Skew != nil && *o.Skew > oauth.MaxSkew:
		return complaint.New(
			fmt.Sprintf("policy.skew: %s is as long as an assertion lives", *o.Skew),
			"write 5m or less",
		)
	}

	for _, alg := range o.Algorithms {
		if !slices.Contains([]string{"RS256", "ES256", "RS384", "ES384"}, alg) {
			return complaint.New(
				fmt.Sprintf("policy.algorithms: %q is not supported", alg),
				"write some of: RS256, ES256, RS384, ES384",
			)
		}
	}

	return nil
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
		p.Certifiers = append(p.Certifiers, udap.Certifier{URI: c.URI, Certifications: c.Certifications})
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
