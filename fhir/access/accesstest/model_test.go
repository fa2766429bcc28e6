package accesstest

import (
	"maps"
	"slices"
	"strings"
)

// The systems of codes.
const (
	levelSystem  = "http://terminology.hl7.org/CodeSystem/v3-Confidentiality"
	actSystem    = "http://terminology.hl7.org/CodeSystem/v3-ActCode"
	reasonSystem = "http://terminology.hl7.org/CodeSystem/v3-ActReason"
	loinc        = "http://loinc.org"
)

// levels are the codes of confidentiality, the least confidential first.
var levels = []string{"U", "L", "M", "N", "R", "V"}

const (
	normal         = 3
	restricted     = 4
	veryRestricted = 5
)

// grant is a scope as the model sees it.
type grant struct {
	context, typ, actions string // typ may be "*"
	name, value           string // a restriction by a code; "" for none
}

// token is whoever asks.
type token struct {
	text      string // as the environment reads it
	grants    []grant
	patient   string // id of the patient in context
	everyone  bool
	subject   bool   // a person granted it
	user      string // reference of that person
	purposes  []string
	party     string
	org       string
	named     string
	emergency bool // its requests state an emergency
}

// header is what its requests have.
func (k *token) header() []string {
	if k.emergency {
		return []string{"Purpose-Of-Use", "BTG"}
	}
	return nil
}

// model decides about one resource after another, by the README alone.
type model struct {
	state      state
	rules      bool   // codes imply labels
	glass      int    // what an emergency opens; 0: nothing
	denied     string // a purpose that Consents must permit; "*" for all
	passes     bool   // emergency access passes Consents
	masking    bool
	clearances []clearance
}

type clearance struct {
	party, org string
	level      int
	codes      []string // "*" for all
}

// shows is what may be seen of something.
type shows int

const (
	hidden shows = iota
	masked
	whole
)

// reads decides about reading a version: by its own content and, for a former one, by
// the labels and Consents of what the resource is now, too.
func (m *model) reads(k *token, r *record, n uint64) shows {
	body := r.live(n)
	if body == nil || !m.granted(k, "r", r.typ, r.id, body) {
		return hidden
	}

	sees := m.ruled(k, "r", r, body)
	if n != r.now().n {
		if now := r.live(r.now().n); now != nil {
			sees = min(sees, m.ruled(k, "r", r, now))
		}
	}

	return sees
}

// may decides about an action on the current version: r, u, d; or about making it: c.
func (m *model) may(k *token, action string, r *record) shows {
	body := r.live(r.now().n)
	if body == nil || !m.granted(k, action, r.typ, r.id, body) {
		return hidden
	}
	return m.ruled(k, action, r, body)
}

// ruled decides by labels and Consents.
func (m *model) ruled(k *token, action string, r *record, body node) shows {
	sees, express := m.labelled(k, action, r.typ, body)
	permitted, by := m.consented(k, action, r.typ, r.id, body)
	if !permitted || express && !by {
		return hidden
	}

	if context := text(body, "securityContext", "reference"); context != "" {
		in := m.state[context]
		if in == nil || !m.granted(k, "r", in.typ, in.id, in.live(in.now().n)) || !m.rulesShow(k, in) {
			return hidden
		}
	}
	for _, target := range texts(body, "target", "reference") {
		ref, _, _ := strings.Cut(target, "/_history")
		if in := m.state[ref]; in != nil && !m.rulesShow(k, in) {
			return hidden
		}
	}
	return sees
}

// rulesShow reports whether labels and Consents let a token read what a resource is now,
// and the context of a Binary, whatever the scopes.
func (m *model) rulesShow(k *token, r *record) bool {
	body := r.live(r.now().n)
	sees, express := m.labelled(k, "r", r.typ, body)
	permitted, by := m.consented(k, "r", r.typ, r.id, body)
	if sees == hidden || !permitted || express && !by {
		return false
	}
	in := m.state[text(body, "securityContext", "reference")]
	return in == nil || m.rulesShow(k, in)
}

func kind(ref string) string {
	typ, _, _ := strings.Cut(ref, "/")
	return typ
}

// places are the elements that place a resource in a patient's record.
var places = map[string][]string{
	"Observation":       {"subject", "performer"},
	"Encounter":         {"subject"},
	"Condition":         {"subject", "asserter"},
	"DocumentReference": {"subject", "author"},
	"MedicationRequest": {"subject"},
	"Consent":           {"patient"},
	"Provenance":        {"target", "extension.valueReference"},
}

// patients are the ids of those in whose record a resource is.
func patients(typ, id string, body node) (ids []string) {
	if typ == "Patient" {
		return []string{id}
	}

	for _, place := range places[typ] {
		for _, ref := range texts(body, append(strings.Split(place, "."), "reference")...) {
			rest, ok := strings.CutPrefix(ref, "Patient/")
			rest, _, _ = strings.Cut(rest, "/")
			if ok && !slices.Contains(ids, rest) {
				ids = append(ids, rest)
			}
		}
	}

	return ids
}

var shared = []string{"Practitioner", "Organization"}

// granted decides by the scopes.
func (m *model) granted(k *token, action, typ, id string, body node) bool {
	return body != nil && slices.ContainsFunc(k.grants, func(g grant) bool {
		if g.typ != "*" && g.typ != typ || !strings.Contains(g.actions, action) {
			return false
		}
		if g.name != "" && !slices.ContainsFunc(codes(body, g.name, "coding"), func(c code) bool {
			return c.code == g.value
		}) && text(body, g.name) != g.value {
			return false
		}

		if g.context == "system" || g.context == "user" && k.everyone {
			return true
		}
		if g.context == "user" {
			return false
		}

		of := patients(typ, id, body)
		switch {
		case slices.Contains(shared, typ):
			return action == "r"
		case typ == "Group" || !slices.Contains(of, k.patient):
			return false
		}

		return action == "r" || len(of) == 1 // no change in the record of a further patient
	})
}

// labels are those that decide; all has the resource's own with those that are implied.
func (m *model) labels(typ string, body node) (level int, sensitive map[string]bool, all []code) {
	all = codes(body, "meta", "security")
	if m.rules {
		all = append(all, implied(typ, body)...)
	}

	sensitive = map[string]bool{}
	for _, c := range all {
		at := slices.Index(levels, c.code)
		switch {
		case c.system == levelSystem && at >= 0:
			level = max(level, at)
		case c.system == levelSystem:
			level = max(level, restricted)
		case c.system != actSystem || c.code == "DELAU":
		case c.code == "HIV" || c.code == "PSY":
			sensitive[c.code] = true
		default:
			level = max(level, restricted)
		}
	}

	for _, in := range append(values(body, "contained"), values(body, "entry", "resource")...) {
		l, s, _ := m.labels(text(in, "resourceType"), in.(node))
		level = max(level, l)
		maps.Copy(sensitive, s)
	}

	return level, sensitive, all
}

// has reports whether a code is anywhere in a resource, but not in its meta or in the
// resources in it.
func has(v any, c code) bool {
	switch v := v.(type) {
	case []any:
		return slices.ContainsFunc(v, func(one any) bool { return has(one, c) })
	case node:
		if text(v, "system") == c.system && text(v, "code") == c.code {
			return true
		}

		for name, one := range v {
			if in, ok := one.(node); name != "meta" && !(ok && in["resourceType"] != nil) && has(one, c) {
				return true
			}
		}
	}

	return false
}

// implied are the labels of the rules of every policy of these tests: what has the code
// of a test for HIV is restricted and HIV, and a MedicationRequest is HTEST.
func implied(typ string, body node) (all []code) {
	if has(body, code{loinc, hivTest}) {
		all = append(all, code{levelSystem, "R"}, code{actSystem, "HIV"})
	}
	if typ == "MedicationRequest" {
		all = append(all, code{reasonSystem, "HTEST"})
	}
	return all
}

// cleared is up to which level, and for which codes, a token is cleared.
func (m *model) cleared(k *token) (level int, codes []string) {
	own := k.subject && !k.everyone
	level = normal
	if !own && !slices.Contains(k.purposes, "TREAT") && !slices.Contains(k.purposes, "ETREAT") {
		return level, nil
	}

	if own {
		level, codes = restricted, []string{"*"}
	}

	for _, c := range m.clearances {
		if (c.party == "" || c.party == k.party) && (c.org == "" || c.org == k.org) {
			level = max(level, c.level)
			codes = append(codes, c.codes...)
		}
	}

	return level, codes
}

// labelled decides by the labels. express is that a Consent must permit it.
func (m *model) labelled(k *token, action, typ string, body node) (sees shows, express bool) {
	level, sensitive, _ := m.labels(typ, body)
	if action == "c" {
		return whole, false
	}

	top, cleared := m.cleared(k)
	opens := k.emergency && m.glass > 0 && action == "r"
	if opens {
		top = max(top, m.glass)
		cleared = []string{"*"}
	}

	sees = whole
	if m.masking && typ == "Patient" && top < restricted {
		sees = masked
	}
	if level > top {
		return hidden, false
	}

	for c := range sensitive {
		switch {
		case slices.Contains(cleared, c) || slices.Contains(cleared, "*"):
		case m.masking && typ == "Observation" && c == "PSY":
			sees = masked
		default:
			return hidden, false
		}
	}

	return sees, level == veryRestricted && !(opens && m.glass == veryRestricted)
}
