package consent

import (
	"context"
	"slices"
	"strings"
	"time"

	"fhirdest.example/fhir/search"
	"fhirdest.example/fhir/tree"
)

// certainty is how sure it is that a criterion is met, in the order of that.
type certainty int

const (
	no certainty = iota
	maybe
	yes
)

// question is one action on one resource while it is decided.
type question struct {
	*Decider
	resource *Resource
	action   Action

	root   *tree.Value
	labels []string
	read   bool // labels were read
	looked bool // the resource was looked at: the answer is about it alone
	err    error
}

// body returns the parsed resource; nil with an error.
func (q *question) body() *tree.Value {
	if q.root == nil && q.err == nil {
		q.root, q.err = q.resource.Parse()
	}
	return q.root
}

// applies reports whether all criteria of a rule are met: as sure as the least sure
// one. outcome is what the rule would decide.
func (q *question) applies(ctx context.Context, r *rule, outcome Outcome) certainty {
	return q.concerns(r, outcome,
		func() certainty {
			return anyOf(r.actors, func(a actor) certainty { return q.isActor(ctx, a) })
		},
		func() certainty { return q.isAbout(ctx, r, outcome) },
	)
}

// mayApply is applies where nothing is known of the resource: it may meet what is
// about it.
func (q *question) mayApply(ctx context.Context, r *rule, outcome Outcome) bool {
	return q.concerns(r, outcome, func() certainty {
		return anyOf(r.actors, func(a actor) certainty {
			if slices.Contains(sources, a.role) {
				return maybe
			}
			return q.isActor(ctx, a)
		})
	}) != no
}

// concerns compares the moment, the action and the purposes with those of a rule, and
// then asks further criteria, until one is not met.
func (q *question) concerns(r *rule, outcome Outcome, further ...func() certainty) certainty {
	sure := min(r.period.contains(q.Now), anyOf(r.actions, q.isAction), q.hasPurpose(r.purposes, outcome))
	for _, criterion := range further {
		if sure == no || q.err != nil {
			return no
		}
		sure = min(sure, criterion())
	}
	return sure
}

// isAbout reports whether the criteria are met that are about the resource.
func (q *question) isAbout(ctx context.Context, r *rule, outcome Outcome) certainty {
	if len(r.classes)+len(r.labels)+len(r.codes)+len(r.data) == 0 && !r.dataPeriod.there {
		return yes
	}

	q.looked = true
	sure := anyOf(r.classes, q.ofClass)
	for _, criterion := range []func() certainty{
		func() certainty {
			return anyOf(r.labels, func(c coding) certainty { return q.hasLabel(c, outcome) })
		},
		func() certainty { return anyOf(r.codes, q.hasCode) },
		func() certainty { return q.within(r.dataPeriod) },
		func() certainty {
			return anyOf(r.data, func(d datum) certainty { return q.isData(ctx, d) })
		},
	} {
		if sure == no || q.err != nil {
			return no
		}
		sure = min(sure, criterion())
	}
	return sure
}

// anyOf is how sure it is that one of several is met; a criterion that a rule does
// not have is met.
func anyOf[T any](all []T, is func(T) certainty) certainty {
	if len(all) == 0 {
		return yes
	}

	sure := no
	for _, one := range all {
		if sure = max(sure, is(one)); sure == yes {
			break
		}
	}
	return sure
}

func sureIf(holds bool) certainty {
	if holds {
		return yes
	}
	return no
}

// contains reports whether a moment is in a period.
func (p period) contains(at time.Time) certainty {
	switch {
	case p.unclear:
		return maybe
	case !p.from.IsZero() && at.Before(p.from), !p.to.IsZero() && !at.Before(p.to):
		return no
	}
	return yes
}

// meanings are how sure it is that an action of a provision includes one of ours.
var meanings = map[string]map[Action]certainty{
	"access":   {Access: yes},
	"disclose": {Access: yes},
	"use":      {Access: maybe},
	"collect":  {Collect: yes},
	"correct":  {Correct: yes},
}

func (q *question) isAction(c coding) certainty {
	known, ok := meanings[c.code]
	if !ok {
		return maybe
	}
	return known[q.action]
}

// hasPurpose compares the asserted purposes with those of a rule: one that denies
// applies when one of them is among its purposes, one that permits when all are.
func (q *question) hasPurpose(of []coding, outcome Outcome) certainty {
	asserted := q.Asker.purposes()
	switch {
	case len(of) == 0:
		return yes
	case len(asserted) == 0:
		return maybe
	}

	least, most := yes, no
	for _, purpose := range asserted {
		sure := anyOf(of, func(c coding) certainty {
			code := c.code
			if c.system != "" {
				code = Purpose(c.system + "#" + c.code)
			}
			switch {
			case Is(purpose, code):
				return yes
			case KnownPurpose(purpose) && KnownPurpose(code):
				return no
			}
			return maybe
		})
		least, most = min(least, sure), max(most, sure)
	}

	if outcome == Permit {
		return least
	}
	return most
}

// Systems of codes that a class can be in.
const (
	resourceTypes = "http://hl7.org/fhir/resource-types"
	uriSystem     = "urn:ietf:rfc:3986"
	mediaTypes    = "urn:ietf:bcp:13"
)

// ofClass reports whether the resource is of a class: of a type, of a profile, or a
// document of a kind.
func (q *question) ofClass(c coding) certainty {
	switch {
	case c.code == "":
		return maybe
	case c.system == resourceTypes:
		return sureIf(c.code == q.resource.Type)
	case c.system == uriSystem:
		return sureIf(slices.ContainsFunc(q.body().At("meta", "profile").Each(), func(v tree.Value) bool {
			return v.Text() == c.code
		}))
	case !isDocument(q.resource.Type):
		return no
	}

	if c.system == mediaTypes {
		return sureIf(slices.ContainsFunc(q.body().Get("content").Each(), func(v tree.Value) bool {
			return v.At("attachment", "contentType").Text() == c.code
		}))
	}
	return sureIf(slices.Contains(concepts(q.body().Get("type")), c))
}

// isDocument reports whether resources of a type have a kind of document.
func isDocument(typ string) bool {
	return typ == "Composition" || typ == "DocumentReference" || typ == "DocumentManifest"
}

const confidentiality = "http://terminology.hl7.org/CodeSystem/v3-Confidentiality"

// levels are the codes of confidentiality, the least confidential first.
var levels = []string{"U", "L", "M", "N", "R", "V"}

// hasLabel compares the resource's labels with one of a rule. A level of
// confidentiality includes the higher ones for a rule that denies, and the lower
// ones for a rule that permits. A resource without a level is N. A code without its
// system may be that of any system.
func (q *question) hasLabel(c coding, outcome Outcome) certainty {
	if c.code == "" {
		return maybe
	}

	labels := q.securityLabels()
	at := slices.Index(levels, c.code)
	if c.system == "" && at < 0 {
		if slices.ContainsFunc(labels, func(l string) bool { return strings.HasSuffix(l, "|"+c.code) }) {
			return maybe
		}
		return no
	}
	if c.system != confidentiality && c.system != "" || at < 0 {
		return sureIf(slices.Contains(labels, c.system+"|"+c.code))
	}

	level := slices.Index(levels, "N")
	for i, code := range levels {
		if slices.Contains(labels, confidentiality+"|"+code) {
			level = i
		}
	}
	if outcome == Permit {
		return sureIf(level <= at)
	}
	return sureIf(level >= at)
}

func (q *question) securityLabels() []string {
	if q.read || q.err != nil {
		return q.labels
	}

	q.read = true
	if q.resource.Labels != nil {
		q.labels, q.err = q.resource.Labels()
		return q.labels
	}
	for _, c := range labelsOf(q.body().At("meta", "security")) {
		q.labels = append(q.labels, c.system+"|"+c.code)
	}
	return q.labels
}

// hasCode reports whether the resource has a code: surely when it is about that,
// perhaps when the code is elsewhere in it, or when the provision has a text only.
func (q *question) hasCode(c coding) certainty {
	if c.code == "" {
		return maybe
	}

	body := q.body()
	for _, name := range subjects {
		for _, has := range concepts(body.Get(name)) {
			if has.code == c.code && (has.system == c.system || c.system == "") {
				return yes
			}
		}
	}
	if contains(body, c) || body.Get("medicationReference") != nil {
		return maybe
	}
	return no
}

// subjects are the elements that have what a resource is about.
var subjects = []string{
	"code", "type", "category", "class", "vaccineCode", "medicationCodeableConcept", "serviceType", "specialty",
}

// contains reports whether a code is anywhere in a value.
func contains(v *tree.Value, c coding) bool {
	if v == nil {
		return false
	}
	if v.Get("code").Text() == c.code && (c.system == "" || v.Get("system").Text() == c.system) {
		return true
	}
	for i := range v.Items {
		if v.Items[i].Items != nil && contains(&v.Items[i], c) {
			return true
		}
	}
	return false
}

// times are the elements that have when what a resource is about happened, or when
// it was recorded.
var times = []string{
	"effectiveDateTime", "effectiveInstant", "effectivePeriod", "onsetDateTime", "onsetPeriod",
	"abatementDateTime", "performedDateTime", "performedPeriod", "occurrenceDateTime", "occurrencePeriod",
	"authoredOn", "recordedDate", "recorded", "issued", "date", "dateTime", "period", "created", "started",
	"billablePeriod", "servicedDate", "servicedPeriod", "whenPrepared", "whenHandedOver", "receivedTime",
	"start", "dateWritten", "assertedDate", "lastOccurrence",
}

// within reports whether what the resource is about was in a period. It is not known
// of a resource without a time, but for a patient's demographics, which have none.
func (q *question) within(p period) certainty {
	switch {
	case !p.there:
		return yes
	case p.unclear:
		return maybe
	case q.resource.Type == "Patient":
		return no
	}

	found, outside, inside := 0, 0, 0
	for _, name := range times {
		for _, v := range q.body().Get(name).Each() {
			from, to, ok := stretch(&v)
			if !ok {
				continue
			}

			found++
			switch {
			case ended(to, p.from) || ended(p.to, from):
				outside++
			case !before(from, p.from) && !before(p.to, to):
				inside++
			}
		}
	}

	switch found {
	case 0:
		return maybe
	case outside:
		return no
	case inside:
		return yes
	}
	return maybe
}

// ended reports whether a stretch that ends at an instant, which is not in it, is over
// when another begins. Zero times are unknown, and are nothing's bound.
func ended(end, begin time.Time) bool {
	return !end.IsZero() && !begin.IsZero() && !end.After(begin)
}

// before reports whether x is before y, with zero times as above.
func before(x, y time.Time) bool {
	return !x.IsZero() && !y.IsZero() && x.Before(y)
}

// stretch reads a date or a Period.
func stretch(v *tree.Value) (from, to time.Time, ok bool) {
	if v.Kind == tree.String {
		return search.Instants(v.Text())
	}
	p := periodOf(v)
	return p.from, p.to, !p.unclear && (!p.from.IsZero() || !p.to.IsZero())
}
