package accesstest

import (
	"slices"
	"time"
)

// sure is how sure it is that a criterion is met.
type sure int

const (
	no sure = iota
	maybe
	yes
)

func sureIf(b bool) sure {
	if b {
		return yes
	}
	return no
}

// broader has the next broader purpose of use.
var broader = map[string]string{
	"BTG":    "ETREAT",
	"ETREAT": "TREAT",
}

func within(purpose, of string) bool {
	for ; purpose != ""; purpose = broader[purpose] {
		if purpose == of {
			return true
		}
	}
	return false
}

// asserted are the purposes that count.
func (k *token) asserted() []string {
	switch {
	case len(k.purposes) > 0 || !k.subject:
		return k.purposes
	case kind(k.user) == "Patient":
		return []string{"PATRQT"}
	}
	return []string{"TREAT"}
}

// consented decides by the Consents of all patients to whom a resource belongs; by is
// that a Consent permits it.
func (m *model) consented(k *token, action, typ, id string, body node) (permitted, by bool) {
	switch typ {
	case "Consent", "Group":
		return true, false
	case "Bundle":
		return m.bundled(k, action, body)
	}

	of := patients(typ, id, body)
	if typ == "Device" {
		of = patients("Consent", "", body) // it is in no record, and names a patient
	}

	for _, patient := range of {
		if k.user == "Patient/"+patient {
			continue
		}

		for _, a := range actionsOf(action) {
			ok, named := m.ofPatient(k, patient, asked{k, a, typ, body})
			if !ok && k.emergency && m.passes {
				ok, named = true, false
			}
			if !ok {
				return false, false
			}
			by = by || named
		}
	}

	return true, by
}

// bundled decides about each resource in a Bundle.
func (m *model) bundled(k *token, action string, body node) (permitted, by bool) {
	for _, in := range values(body, "entry", "resource") {
		ok, named := m.consented(k, action, text(in, "resourceType"), text(in, "id"), in.(node))
		if !ok {
			return false, false
		}
		by = by || named
	}
	return true, by
}

func actionsOf(action string) []string {
	switch action {
	case "c":
		return []string{"collect"}
	case "u", "d":
		return []string{"access", "correct"}
	}
	return []string{"access"}
}

// asked is one action on one resource.
type asked struct {
	k           *token
	action, typ string
	body        node
}

// ofPatient joins the Consents of one patient: one that denies overrides.
func (m *model) ofPatient(k *token, patient string, q asked) (permitted, by bool) {
	for _, c := range m.state.of("Consent") {
		body := c.now().body
		if text(body, "patient", "reference") != "Patient/"+patient || text(body, "status") != "active" {
			continue
		}

		switch m.decided(body, q) {
		case "deny":
			return false, false
		case "permit":
			by = true
		}
	}

	if by {
		return true, true
	}
	return !m.byDefault(k), false
}

// byDefault reports whether a purpose is denied that no Consent permits.
func (m *model) byDefault(k *token) bool {
	purposes := k.asserted()
	return m.denied == "*" || m.denied != "" && (len(purposes) == 0 ||
		slices.ContainsFunc(purposes, func(p string) bool { return within(p, m.denied) }))
}

// decided is permit, deny, or nothing.
func (m *model) decided(consent node, q asked) string {
	base := ""
	switch text(consent, "policyRule", "coding", "code") {
	case "OPTIN":
		base = "permit"
	case "OPTOUT":
		base = "deny"
	}

	if base == "" || consent["modifierExtension"] != nil {
		return "deny"
	}

	provision, ok := consent["provision"].(node)
	if !ok {
		return base
	}
	if outcome := m.provision(provision, q); outcome != "" {
		return outcome
	}
	if text(provision, "type") != base {
		return base
	}

	return ""
}

// provision is what a provision decides; exceptions to it are below it.
func (m *model) provision(p node, q asked) string {
	outcome := text(p, "type")
	met := m.met(p, outcome, q)
	if met == no || met == maybe && outcome == "permit" {
		return ""
	}

	for _, below := range values(p, "provision") {
		switch m.provision(below.(node), q) {
		case "deny":
			return "deny"
		case "permit":
			outcome = "permit"
		}
	}

	return outcome
}

// met is how sure it is that all criteria of a provision are met.
func (m *model) met(p node, outcome string, q asked) sure {
	all := yes
	criterion := func(name string, is func(v any) sure) {
		given := values(p, name)
		if len(given) == 0 {
			return
		}

		best := no
		for _, v := range given {
			best = max(best, is(v))
		}
		all = min(all, best)
	}

	criterion("period", func(v any) sure { return inPeriod(v, time.Now()) })
	criterion("action", func(v any) sure { return sureIf(text(v, "coding", "code") == q.action) })
	criterion("actor", func(v any) sure { return m.actor(v, q) })
	criterion("class", func(v any) sure { return sureIf(text(v, "code") == q.typ) })
	criterion("dataPeriod", func(v any) sure { return q.happened(v) })
	criterion("securityLabel", func(v any) sure { return m.hasLabel(v, outcome, q) })
	criterion("code", func(v any) sure {
		return sureIf(slices.Contains(codes(q.body, "code", "coding"), codes(v, "coding")[0]))
	})

	if of := texts(p, "purpose", "code"); len(of) > 0 {
		all = min(all, hasPurpose(q.k.asserted(), of, outcome))
	}
	return all
}

// hasPurpose compares: each purpose must be permitted, and one is enough to deny.
func hasPurpose(asserted, of []string, outcome string) sure {
	if len(asserted) == 0 {
		return maybe
	}

	n := 0
	for _, purpose := range asserted {
		if slices.ContainsFunc(of, func(c string) bool { return within(purpose, c) }) {
			n++
		}
	}

	return sureIf(n == len(asserted) || n > 0 && outcome == "deny")
}

// inPeriod reports whether a moment is in a period, whose bounds are days.
func inPeriod(v any, at time.Time) sure {
	day := at.Format(time.DateOnly)
	start, end := text(v, "start"), text(v, "end")
	return sureIf(start <= day && (end == "" || day <= end))
}

// happened reports whether a resource is about something in a period.
func (q asked) happened(v any) sure {
	if q.typ == "Patient" {
		return no
	}

	for _, name := range []string{"effectiveDateTime", "recordedDate", "authoredOn", "date", "recorded"} {
		if at, err := time.Parse(time.RFC3339, text(q.body, name)); err == nil {
			return inPeriod(v, at)
		}
	}
	return maybe
}

// hasLabel compares the resource's labels, implied ones too, with one of a provision.
func (m *model) hasLabel(v any, outcome string, q asked) sure {
	level, _, all := m.labels(q.typ, q.body)
	want := code{text(v, "system"), text(v, "code")}
	if want.system != levelSystem {
		return sureIf(slices.Contains(all, want))
	}
	if level == 0 {
		level = normal
	}
	at := slices.Index(levels, want.code)
	if outcome == "permit" {
		return sureIf(level <= at)
	}

	return sureIf(level >= at)
}

// origins are the elements with the source of a resource.
var origins = []string{"performer", "author", "asserter", "requester", "recorder", "participant"}

// actor reports whether a provision's actor is the one who asks, or the data's source.
func (m *model) actor(v any, q asked) sure {
	ref := text(v, "reference", "reference")
	if text(v, "role", "coding", "code") == "CST" {
		return q.from(ref)
	}

	switch kind(ref) {
	case "Organization":
		if q.k.org == "" {
			return maybe
		}
		return sureIf(slices.Contains(texts(m.state.body(ref), "identifier", "value"), q.k.org))
	case "Device":
		return sureIf(slices.Contains(texts(m.state.body(ref), "identifier", "value"), q.k.party))
	}

	switch {
	case q.k.user == ref:
		return yes
	case q.k.user == "" && q.k.named == "":
		return maybe
	}

	return sureIf(slices.Contains(texts(m.state.body(ref), "identifier", "value"), q.k.named))
}

// from reports whether a resource names an actor as its source.
func (q asked) from(ref string) sure {
	found := 0
	for _, name := range origins {
		for _, of := range texts(q.body, name, "reference") {
			found++
			if of == ref {
				return yes
			}
		}
	}

	if found == 0 && q.typ != "Patient" {
		return maybe
	}
	return no
}
