package server

import (
	"context"
	"slices"

	"fhirdest.example/fhir"
	"fhirdest.example/fhir/search"
	"fhirdest.example/server/tiered"
	"fhirdest.example/udap"
	"fhirdest.example/udap/trace"
)

// newTiered returns what signs people in at other identity providers, or nil when
// none is configured.
func (s *Site) newTiered() (*tiered.Service, error) {
	if len(s.start.idps) == 0 {
		return nil, nil
	}

	cfg := tiered.Config{
		Issuer:   s.cfg.Issuer,
		Name:     s.cfg.Name,
		Store:    s.stores.Trips,
		Verifier: s.verifierOf,
		Users:    s.users.Load,
		Match:    s.match,
		Record:   s.decisions.Record,
		Now:      s.deps.Now,
	}
	for _, p := range s.start.idps {
		cfg.Providers = append(cfg.Providers, tiered.Provider{
			Base:      p.Base,
			Community: trace.CommunityURI(p.Community),
			Chain:     p.own.Chain,
			Key:       p.own.Key,
			Roots:     p.roots,
			Contact:   p.Contact,
			Match:     p.Match,
		})
	}

	return tiered.New(cfg)
}

// verifierOf returns what verifies the members of one community at present.
func (s *Site) verifierOf(uri trace.CommunityURI) *udap.Verifier {
	members := slices.Clone(*s.current.Load())
	return s.newVerifier(slices.DeleteFunc(members, func(m *member) bool {
		return m.udap.URI != uri
	}))
}

// matched are the parameters that search for a claim (OpenID Connect Core 5.1).
var matched = map[string]string{
	"given_name":  "given:exact",
	"family_name": "family:exact",
	"birthdate":   "birthdate",
}

// match returns the subjects of the users who are a patient with these claims. A
// birth date must be whole: a part of one fits many people.
func (s *Site) match(
	ctx context.Context, claims map[string]string,
) (subjects []string, err error) {
	const wholeDate = len("2006-01-02")
	var pairs []search.Pair
	for claim, value := range claims {
		name, known := matched[claim]
		if !known || claim == "birthdate" && (!dateForm.MatchString(value) || len(value) != wholeDate) {
			return nil, nil
		}
		pairs = append(pairs, search.Pair{
			Name:  name,
			Value: escaped(value),
		})
	}

	p := patients{s.stores.Resources, s.deps.Now}
	ids := map[string]bool{}
	err = p.store.View(ctx, func(sn fhir.Snapshot) error {
		docs, err := p.find(ctx, sn, pairs)
		if err != nil {
			return err
		}
		return sn.Entries(ctx, docs, func(e fhir.Entry) bool {
			if !e.Deleted {
				ids["Patient/"+e.ID] = true
			}
			return true
		})
	})
	if err != nil {
		return nil, err
	}

	for _, u := range s.users.Load().All() {
		if ids[u.FHIRUser] {
			subjects = append(subjects, u.Subject)
		}
	}
	return subjects, nil
}
