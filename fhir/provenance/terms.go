package provenance

import (
	"strconv"
	"strings"

	"fhirdest.example/fhir/search"
)

// Terms are the search terms of Body, those that Extract would find in it.
func (r *Record) Terms() search.Terms {
	b := search.NewBuilder("Provenance", search.Stamp{
		ID:      r.ID,
		Updated: r.At,
	})
	b.URI("_profile", Profile)
	for _, l := range r.Labels {
		b.Token("_security", l.System, l.Code)
	}
	b.Marks(r.Marks)
	b.Date("recorded", r.At)

	for _, t := range r.Targets {
		version := strconv.FormatUint(t.Version, 10)
		b.Ref("target", t.Type, t.ID, version)
		if t.Type == "Patient" {
			b.Ref("patient", t.Type, t.ID, version)
		}
	}

	for _, id := range r.Patients {
		b.Ref("patient", "Patient", id, "")
	}

	r.Party.agentTerms(b)
	return b.Terms()
}

// agentTerms are those of what appendAgents writes.
func (p *Party) agentTerms(b *search.Builder) {
	b.Token("agent-type", usCoreSystem, "transmitter")
	b.Identifier("agent", p.Base, p.Client)

	switch {
	case p.Subject != "":
		if typ, id, ok := strings.Cut(p.User, "/"); ok {
			b.Ref("agent", typ, id, "")
		}
		b.Identifier("agent", p.Base, p.Subject)

	case p.SubjectID != "":
		b.Identifier("agent", "", p.SubjectID)
	case p.SubjectName != "":
		b.Present("agent")
	case p.Organization != "":
		b.Identifier("agent", URISystem, p.Organization)
	default:
		return
	}

	b.Token("agent-type", participantSystem, "author")
}
