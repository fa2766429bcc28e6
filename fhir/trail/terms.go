package trail

import (
	"strconv"
	"strings"

	"fhirdest.example/fhir/search"
)

// Terms are the AuditEvent's search terms, those that Extract would find in it.
func (rec *Record) Terms(id string) search.Terms {
	return (*Indexer)(nil).Terms(rec, id)
}

// Indexer unpacks many records and makes their terms. What records of the same agents
// have in common it makes once. nil is for one record.
type Indexer struct {
	whos   map[string]Record     // by Packed.Who: what that has
	agents map[agentsOf][][]byte // terms
	texts  map[textOf][][]byte   // terms
}

// NewIndexer returns an Indexer for several records.
func NewIndexer() *Indexer {
	return &Indexer{
		whos:   map[string]Record{},
		agents: map[agentsOf][][]byte{},
		texts:  map[textOf][][]byte{},
	}
}

// maxAgents bounds the agents that an Indexer remembers, and the texts.
const maxAgents = 4096

// keep remembers what a record has of its agents.
func (x *Indexer) keep(who []byte, rec *Record) {
	if len(x.whos) == maxAgents {
		clear(x.whos)
		clear(x.agents)
	}
	x.whos[string(who)] = *rec
}

// agentsOf is what the terms of a record's agents are made of.
type agentsOf struct{ base, client, token, address, subject, user, grant string }

// Terms are those of Record.Terms.
func (x *Indexer) Terms(rec *Record, id string) search.Terms {
	b := search.NewBuilder("AuditEvent", search.Stamp{
		ID:      id,
		Updated: rec.At,
	})

	for _, p := range rec.profiles() {
		b.URI("_profile", p)
	}
	kind := rest
	if rec.Event != nil {
		kind = rec.Event.Type
	}
	b.Token("type", kind.System, kind.Code)

	for _, c := range rec.subtypes() {
		b.Token("subtype", c.System, c.Code)
	}

	b.Code("action", rec.Action())
	b.Code("outcome", rec.Outcome)
	b.Date("date", rec.At)
	b.Present("source")

	x.agentTerms(b, rec)
	for _, p := range rec.Patients {
		b.Ref("patient", "Patient", p, "")
	}

	for _, v := range rec.Touched {
		if v.Type == "Patient" {
			b.Ref("patient", v.Type, v.ID, versionOf(v))
		}
	}

	x.entityTerms(b, rec)

	return b.Terms()
}

func (x *Indexer) agentTerms(b *search.Builder, rec *Record) {
	of := agentsOf{
		base:    rec.Base,
		client:  rec.Client,
		token:   rec.TokenID,
		address: rec.Address,
		subject: rec.Subject,
		user:    rec.User,
		grant:   rec.Grant,
	}

	if x != nil {
		if made, known := x.agents[of]; known {
			b.Again(made)
			return
		}
	}

	from := b.Len()
	for _, a := range rec.agents() {
		x.agent(b, a)
	}
	if x != nil {
		x.agents[of] = b.Since(from)
	}
}

// textOf is a text and the parameter by which it is found.
type textOf struct{ param, text string }

// text adds the terms of a text that many records have.
func (x *Indexer) text(b *search.Builder, param, text string) {
	if x == nil {
		b.Text(param, text)
		return
	}

	of := textOf{param, text}
	if made, known := x.texts[of]; known {
		b.Again(made)
		return
	}

	from := b.Len()
	b.Text(param, text)
	if len(x.texts) == maxAgents {
		clear(x.texts)
	}
	of.text = strings.Clone(text)
	x.texts[of] = b.Since(from)
}

func (x *Indexer) agent(b *search.Builder, a agent) {
	typ, id, ok := strings.Cut(a.reference, "/")
	if ok {
		b.Ref("agent", typ, id, "")
		if typ == "Patient" {
			b.Ref("patient", typ, id, "")
		}
	}

	if a.value != "" {
		b.Identifier("agent", a.system, a.value)
	} else if !ok {
		b.Present("agent") // by its display
	}

	for _, p := range a.policy {
		b.URI("policy", p)
	}
	if a.name != "" {
		x.text(b, "agent-name", a.name)
	}
	if a.address != "" {
		x.text(b, "address", a.address)
	}
}

func (x *Indexer) entityTerms(b *search.Builder, rec *Record) {
	for _, p := range rec.Patients {
		b.Ref("entity", "Patient", p, "")
	}
	for _, v := range rec.Touched {
		b.Ref("entity", v.Type, v.ID, versionOf(v))
	}

	for _, e := range rec.entities() {
		b.Token("entity-type", e.Type.System, e.Type.Code)
		if e.Role.Code != "" {
			b.Token("entity-role", e.Role.System, e.Role.Code)
		}
		if e.Value != "" {
			b.Identifier("entity", e.System, e.Value)
		}
		if e.Name != "" {
			x.text(b, "entity-name", e.Name)
		}
	}
}

func versionOf(v Version) string {
	if v.Version == 0 {
		return ""
	}
	return strconv.FormatUint(v.Version, 10)
}
