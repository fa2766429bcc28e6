package consent

import (
	"fmt"
	"time"

	"fhirdest.example/fhir/label"
	"fhirdest.example/fhir/search"
	"fhirdest.example/fhir/tree"
)

// Outcome is what a Consent, or all of them together, decide.
type Outcome int

// The outcomes.
const (
	Silent Outcome = iota // nothing is decided
	Permit
	Deny
)

// maxRules bounds the provisions of one Consent. One with more is not evaluated: it
// denies everything.
const maxRules = 500

// privacy is the scope of the Consents that decide here (consentscope).
const privacy = "patient-privacy"

// bases are what the codes of a policyRule make of what no provision decides
// (v3-ActCode, ActConsentDirective).
var bases = map[string]Outcome{
	"OPTIN":   Permit,
	"OPTINR":  Permit,
	"OPTOUT":  Deny,
	"OPTOUTE": Deny,
}

// Consent is a Consent that is in force, compiled. Parse makes it.
type Consent struct {
	ID      string
	Version uint64

	patient    string    // id
	given      time.Time // dateTime
	stored     time.Time
	names      []string // identifiers
	supersedes string   // id of the Consent that it is based on
	base       Outcome
	root       *rule
	unclear    string // why it cannot be understood; empty: it can
	form       form   // all that it decides, without whose it is
}

// rule is one provision.
type rule struct {
	path    string // FHIRPath of the provision
	outcome Outcome
	unclear bool // nothing is known of what it means: it denies

	period     period
	dataPeriod period
	actors     []actor
	actions    []coding
	labels     []coding
	purposes   []coding
	classes    []coding
	codes      []coding
	data       []datum
	rules      []*rule
}

// period is a stretch of time, the end not included; zero times are open ends.
type period struct {
	there    bool
	from, to time.Time
	unclear  bool
}

// coding is a code in a system. One without a code stands for a concept that is a
// text only.
type coding struct{ system, code string }

// actor is one whom a provision is about.
type actor struct {
	role       string
	reference  string
	typ        string // of an actor that is named by its identifier
	identifier coding
}

// datum is a resource that a provision names.
type datum struct {
	meaning string
	ref     search.Ref
}

// parser reads one Consent.
type parser struct {
	bases search.Bases
	rules int
}

// Parse compiles a Consent as it is stored; nil when it is not in force, or of
// another scope, or about nobody. updated is when it was stored.
func Parse(root *tree.Value, updated time.Time, bases search.Bases) *Consent {
	ref := bases.ParseRef(root.At("patient", "reference").Text())
	if root.Get("status").Text() != "active" || ref.Type != "Patient" || !ofPrivacy(root) {
		return nil
	}

	c := &Consent{
		ID:      root.Get("id").Text(),
		patient: ref.ID,
		given:   updated,
		stored:  updated,
	}
	if from, _, ok := search.Instants(root.Get("dateTime").Text()); ok {
		c.given = from
	}
	for _, id := range root.Get("identifier").Each() {
		if value := id.Get("value").Text(); value != "" {
			c.names = append(c.names, id.Get("system").Text()+"|"+value)
		}
	}
	if source := bases.ParseRef(root.At("sourceReference", "reference").Text()); source.Type == "Consent" {
		c.supersedes = source.ID
	}

	p := parser{bases: bases}
	c.base, c.unclear = baseOf(root)
	if v := root.Get("provision"); v != nil {
		c.root = p.rule(v, "Consent.provision")
		c.root.first(c.base)
	}

	switch {
	case root.Get("modifierExtension") != nil:
		c.unclear = "it has a modifierExtension"
	case root.Get("implicitRules") != nil:
		c.unclear = "it has implicitRules"
	case p.rules > maxRules:
		c.unclear = fmt.Sprintf("it has more than %d provisions", maxRules)
	}

	c.form = formOf(c, raw(root.Get("policyRule")), raw(root.Get("provision")))
	return c
}

// raw returns an element as it is written; "" for none.
func raw(v *tree.Value) string {
	if v == nil {
		return ""
	}
	return v.Raw
}

// ofPrivacy reports whether the scope is that of consents to the use of data. One
// that has no code cannot be excluded.
func ofPrivacy(root *tree.Value) bool {
	all := concept(root.Get("scope"))
	for _, c := range all {
		if c.code == privacy || c.code == "" {
			return true
		}
	}
	return len(all) == 0
}

// baseOf reads policyRule.
func baseOf(root *tree.Value) (base Outcome, unclear string) {
	v := root.Get("policyRule")
	if v == nil {
		return Silent, ""
	}

	for _, c := range concept(v) {
		if base, ok := bases[c.code]; ok {
			return base, ""
		}
	}
	return Deny, "its policyRule is none of OPTIN, OPTINR, OPTOUT and OPTOUTE"
}

func (p *parser) rule(v *tree.Value, path string) *rule {
	r := &rule{path: path}
	if p.rules++; p.rules > maxRules {
		return r
	}

	switch v.Get("type").Text() {
	case "permit":
		r.outcome = Permit
	case "deny":
		r.outcome = Deny
	}

	r.unclear = v.Get("modifierExtension") != nil
	r.period = periodOf(v.Get("period"))
	r.dataPeriod = periodOf(v.Get("dataPeriod"))
	r.actions = concepts(v.Get("action"))
	r.codes = concepts(v.Get("code"))
	r.labels = labelsOf(v.Get("securityLabel"))
	r.purposes = codings(v.Get("purpose"))
	r.classes = codings(v.Get("class"))

	for _, a := range v.Get("actor").Each() {
		r.unclear = r.unclear || a.Get("modifierExtension") != nil
		r.actors = append(r.actors, actorOf(&a))
	}
	for _, d := range v.Get("data").Each() {
		r.unclear = r.unclear || d.Get("modifierExtension") != nil
		r.data = append(r.data, datum{
			meaning: d.Get("meaning").Text(),
			ref:     p.bases.ParseRef(d.At("reference", "reference").Text()),
		})
	}

	for i, below := range v.Get("provision").Each() {
		next := p.rule(&below, fmt.Sprintf("%s.provision[%d]", path, i))
		if next.outcome == Silent {
			next.unclear = true
		}
		r.rules = append(r.rules, next)
	}
	return r
}

// first gives the first provision its meaning, which needs no type (see the
// package's comment).
func (r *rule) first(base Outcome) {
	if r.outcome != Silent || base == Silent && !r.about() {
		return
	}

	r.outcome = Deny
	if base == Permit && (!r.about() || r.onlyDenies()) {
		r.outcome = Permit
	}
}

// about reports whether a rule has criteria other than its period.
func (r *rule) about() bool {
	n := len(r.actors) + len(r.actions) + len(r.labels) + len(r.purposes) +
		len(r.classes) + len(r.codes) + len(r.data)
	return n > 0 || r.dataPeriod.there || r.unclear
}

// onlyDenies reports whether a rule has exceptions, all of which deny.
func (r *rule) onlyDenies() bool {
	for _, below := range r.rules {
		if below.outcome != Deny {
			return false
		}
	}
	return len(r.rules) > 0
}

func actorOf(v *tree.Value) actor {
	a := actor{
		reference: v.At("reference", "reference").Text(),
		typ:       v.At("reference", "type").Text(),
		identifier: coding{
			system: v.At("reference", "identifier", "system").Text(),
			code:   v.At("reference", "identifier", "value").Text(),
		},
	}
	for _, c := range concept(v.Get("role")) {
		a.role = c.code
	}
	return a
}

func periodOf(v *tree.Value) period {
	p := period{there: v != nil}
	for name, set := range map[string]func(from, to time.Time){
		"start": func(from, _ time.Time) { p.from = from },
		"end":   func(_, to time.Time) { p.to = to },
	} {
		text := v.Get(name).Text()
		if text == "" {
			continue
		}

		from, to, ok := search.Instants(text)
		if !ok {
			p.unclear = true
			continue
		}
		set(from, to)
	}
	return p
}

// concept returns the codings of a CodeableConcept. One that is a text only gives a
// coding without a code.
func concept(v *tree.Value) []coding {
	if v == nil {
		return nil
	}
	all := codings(v.Get("coding"))
	if len(all) == 0 {
		all = append(all, coding{})
	}
	return all
}

func concepts(v *tree.Value) []coding {
	var all []coding
	for _, c := range v.Each() {
		all = append(all, concept(&c)...)
	}
	return all
}

// labelsOf returns security labels under the present names of their systems.
func labelsOf(v *tree.Value) []coding {
	all := codings(v)
	for i := range all {
		all[i].system = label.System(all[i].system)
	}
	return all
}

func codings(v *tree.Value) []coding {
	var all []coding
	for _, c := range v.Each() {
		all = append(all, coding{
			system: c.Get("system").Text(),
			code:   c.Get("code").Text(),
		})
	}
	return all
}
