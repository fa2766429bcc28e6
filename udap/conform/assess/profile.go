package assess

import (
	"cmp"
	"slices"

	"fhirdest.example/udap/conform"
	"fhirdest.example/udap/trace"
)

// of returns the profile that binds the members of a community.
func (a *Assessor) of(community trace.CommunityURI) conform.Profile {
	if a.set.Profile != "" {
		return a.set.Profile
	}
	for _, c := range a.set.Communities {
		if c.URI == community {
			return cmp.Or(c.Profile, conform.SSRAA2)
		}
	}
	return conform.SSRAA2
}

// profile returns the profile that binds the client of a request: by the community
// that the destination verified, else by the one whose metadata was read.
func (a *Assessor) profile(r *request) conform.Profile {
	community, _ := verified(r)
	if community == "" {
		community = r.lane.Community
	}
	known := community != ""

	if !known && r.query.Has("community") {
		community = trace.CommunityURI(r.query.Get("community"))
	} else if m := r.lane.announced; !known && m != nil {
		community = m.community
	}

	profile := a.of(community)
	if known {
		a.meets(profile)
	}
	return profile
}

// meets takes note of a client's profile. The rows of a profile have those of the one
// before it among them, so the widest has all.
func (a *Assessor) meets(p conform.Profile) {
	all := conform.Profiles()
	if slices.Index(all, p) > slices.Index(all, a.widest) {
		a.widest = p
	}
}
