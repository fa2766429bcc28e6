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

// Indexer unpacks many records and makes their terms. What records of the same agents,
// or of the same kind, have in common it makes once. nil is for one record.
type Indexer struct {
	whos   map[string]Record // by Packed.Who: what that has
	agents map[agentsOf]*Shared
	kinds  map[kindOf]*Shared
	texts  map[textOf][][]byte // terms
}

// NewIndexer returns an Indexer for several records.
func NewIndexer() *Indexer {
	return &Indexer{
		whos:   map[string]Record{},
		agents: map[agentsOf]*Shared{},
		kinds:  map[kindOf]*Shared{},
		texts:  map[textOf][][]byte{},
	}
}

// maxAgents bounds the agents that an Indexer remembers, and the kinds and texts.
const maxAgents = 4096

// keep remembers what a record has of its agents.
func (x *Indexer) keep(who []byte, rec *Record) {
	if len(x.whos) == maxAgents {
		clear(x.whos)
		clear(x.agents)
	}
	x.whos[string(who)] = *rec
}

// Shared are terms that several records have in common. The same term can be in two
// of a record's, and among its own. They must not be changed.
type Shared struct{ Terms [][]byte }

// agentsOf is what the terms of a record's agents are made of.
type agentsOf struct{ base, client, token, address, subject, user, grant string }

// kindOf is what the terms are made of that records of interactions share, whoever
// asked for whatever.
type kindOf struct {
	interaction string
	subtype     string
	outcome     string
	patients    int // 2 for more
	touched     int // 2 for more
	client      bool
	token       bool
	address     bool
	query       bool
	requestID   bool
	trace       bool
	shown       bool
}

func (rec *Record) kind() kindOf {
	return kindOf{
		interaction: rec.Interaction,
		subtype:     rec.Subtype,
		outcome:     rec.Outcome,
		patients:    min(len(rec.Patients), 2),
		touched:     min(len(rec.Touched), 2),
		client:      rec.Client != "",
		token:       rec.TokenID != "",
		address:     rec.Address != "",
		query:       rec.Query != "",
		requestID:   rec.RequestID != "",
		trace:       rec.Trace != "",
		shown:       rec.Shown,
	}
}

// Terms are those of Record.Terms.
func (x *Indexer) Terms(rec *Record, id string) search.Terms {
	b := newBuilder(rec, id)
	x.parts(b, rec, func(s *Shared) {
		b.Again(s.Terms)
	})
	return b.Terms()
}

// Parts calls f for each group of terms that the record shares, and own for every other
// one, which is valid during the call. They are in no order, and the same term can
// come several times.
func (x *Indexer) Parts(rec *Record, id string, f func(*Shared), own func(term []byte)) {
	b := newBuilder(rec, id)
	x.parts(b, rec, f)
	b.Each(own)
}

func newBuilder(rec *Record, id string) *search.Builder {
	return search.NewBuilder("AuditEvent", search.Stamp{
		ID:      id,
		Updated: rec.At,
	})
}

// parts adds the record's own terms, and calls f for each group that it shares.
func (x *Indexer) parts(b *search.Builder, rec *Record, f func(*Shared)) {
	f(x.agentTerms(b, rec))

	if rec.Event != nil {
		x.kindTerms(b, rec)
		for _, e := range rec.Event.Entities {
			identify(b, e.System, e.Value)
		}
	} else {
		f(x.sharedKind(b, rec))
	}

	b.Date("date", rec.At)
	for _, p := range rec.Patients {
		b.Ref("patient", "Patient", p, "")
		b.Ref("entity", "Patient", p, "")
	}

	for _, v := range rec.Touched {
		version := versionOf(v)
		b.Ref("entity", v.Type, v.ID, version)
		if v.Type == "Patient" {
			b.Ref("patient", v.Type, v.ID, version)
		}
	}

	identify(b, "", rec.RequestID)
	identify(b, "", rec.Trace)
}

// identify adds the identifier of an entity, unless that has none.
func identify(b *search.Builder, system, value string) {
	if value != "" {
		b.Identifier("entity", system, value)
	}
}

func (x *Indexer) sharedKind(b *search.Builder, rec *Record) *Shared {
	of := rec.kind()
	if x != nil {
		if made, known := x.kinds[of]; known {
			return made
		}
	}

	from := b.Len()
	x.kindTerms(b, rec)
	made := &Shared{b.Cut(from)}

	if x != nil {
		if len(x.kinds) == maxAgents {
			clear(x.kinds)
		}
		x.kinds[of] = made
	}

	return made
}

// kindTerms adds what a kindOf decides, or an event.
func (x *Indexer) kindTerms(b *search.Builder, rec *Record) {
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
	b.Present("source")

	for _, e := range rec.entities() {
		b.Token("entity-type", e.Type.System, e.Type.Code)
		if e.Role.Code != "" {
			b.Token("entity-role", e.Role.System, e.Role.Code)
		}
		if e.Name != "" {
			x.text(b, "entity-name", e.Name)
		}
	}
}

func (x *Indexer) agentTerms(b *search.Builder, rec *Record) *Shared {
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
			return made
		}
	}

	from := b.Len()
	for _, a := range rec.agents() {
		x.agent(b, a)
	}
	made := &Shared{b.Cut(from)}

	if x != nil {
		x.agents[of] = made
	}

	return made
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

func versionOf(v Version) string {
	if v.Version == 0 {
		return ""
	}
	return strconv.FormatUint(v.Version, 10)
}
