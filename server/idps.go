package server

import (
	"crypto/x509"
	"fmt"
	"slices"
	"strings"

	"fhirdest.example/certs"
	"fhirdest.example/gateway/complaint"
)

// IDP is an identity provider (UDAP Security 2.0, 6): clients name it by its base
// URL in the parameter idp, and no other address is ever asked.
type IDP struct {
	Base      string `yaml:"base"`      // its base URL, byte for byte as clients write it
	Community string `yaml:"community"` // one of communities: that must vouch for it

	Certificate `yaml:",inline"` // ours in that community

	CA string `yaml:"ca,omitempty"` // PEM file of the anchors of its TLS certificate; default: the system's
	// mailto: URI that we register with; default: postmaster at the host of public
	Contact string `yaml:"contact,omitempty"`

	// Match lists claims by which a person of the provider is found among the users
	// here, where none of them is linked to the person's account: all must be equal to
	// those of exactly one user's Patient. Empty: nobody is.
	Match []string `yaml:"match,omitempty"`
}

// matchable are the claims that can be compared with a user's (OpenID Connect
// Core 5.1). An e-mail address is none of them: it shows who reads a mailbox.
var matchable = []string{"given_name", "family_name", "birthdate"}

// checkIDPs checks the identity providers.
func (c Config) checkIDPs(cs *complaint.List) {
	seen := map[string]int{}
	for i, p := range c.IDPs {
		at := fmt.Sprintf("idps[%d]", i)
		checkBase(cs, at+".base", p.Base)
		if first, twice := seen[p.Base]; twice {
			cs.Add(
				"name every provider once",
				"%s.base: %s is already idps[%d]",
				at,
				p.Base,
				first,
			)
		}

		seen[p.Base] = i
		p.check(cs, at, c.Communities)
	}

	if len(c.IDPs) > 0 && c.Users == "" {
		cs.Add(
			"name the file of the people here, with their identities",
			"idps: there is no users: file",
		)
	}
	if len(c.IDPs) > 0 && c.FHIR == "off" {
		cs.Add(
			"remove them: an identity provider signs its people in itself",
			"idps: fhir is off",
		)
	}
}

// idp is what the files of an identity provider's configuration hold.
type idp struct {
	IDP
	own   *certs.Identity
	roots *x509.CertPool // nil: the system's
}

// idps reads the files of the identity providers.
func (l *loader) idps(members []*member) []idp {
	var out []idp
	for i, p := range l.cfg.IDPs {
		at := fmt.Sprintf("idps[%d]", i)
		own, name := l.identity(at, p.Certificate)
		m := slices.IndexFunc(
			l.cfg.Communities,
			func(c Community) bool {
				return c.URI == p.Community
			},
		)
		roots := l.pool(at+".ca", p.CA)
		if own == nil || m < 0 {
			continue
		}

		leaf := own.Leaf()
		l.dates(at, name, leaf)
		if uris, err := certs.RawURIs(leaf); err != nil || len(uris) != 1 {
			l.Add(
				"have the community issue one with one URI in its SAN: we register under it",
				"%s: %s (%s) has the URIs: %s",
				at,
				name,
				certs.Describe(leaf),
				orNone(uris),
			)
		}
		if c := members[m].udap; len(c.Anchors) > 0 && !leadsTo(
			own.Chain,
			c,
			l.now,
		) {
			l.Add(
				"name the chain that this community issued",
				"%s: %s (%s) does not lead to an anchor of %s",
				at,
				name,
				certs.Describe(leaf),
				c.URI,
			)
		}

		out = append(out, idp{
			IDP:   p,
			own:   own,
			roots: roots,
		})
	}

	return out
}

func (p IDP) check(cs *complaint.List, at string, communities []Community) {
	p.Certificate.check(cs, at)
	if !slices.ContainsFunc(communities, func(m Community) bool {
		return m.URI == p.Community
	}) {
		cs.Add(
			"write the URI of one of communities:, with the anchors of the provider's community",
			"%s.community: %q is none of them",
			at,
			p.Community,
		)
	}

	if p.Contact != "" && !(strings.HasPrefix(p.Contact, "mailto:") && strings.Contains(p.Contact, "@")) {
		cs.Add(
			"write a mailto: URI, such as mailto:ops@hospital.example",
			"%s.contact: %q is none",
			at,
			p.Contact,
		)
	}

	for j, claim := range p.Match {
		if !slices.Contains(matchable, claim) {
			cs.Add(
				"write some of: "+strings.Join(matchable, ", "),
				"%s.match[%d]: %q cannot be compared",
				at,
				j,
				claim,
			)
		}
	}

	if len(p.Match) == 1 {
		cs.Add(
			"name two or more: one alone fits many people",
			"%s.match: only %s",
			at,
			p.Match[0],
		)
	}
}
