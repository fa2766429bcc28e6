package label

import (
	"context"
	"slices"

	"fhirdest.example/fhir/access"
	"fhirdest.example/fhir/scope"
	"fhirdest.example/fhir/search"
	"fhirdest.example/udap/trace"
)

// The checks on labels.
var (
	checkLabels = trace.NewCheck("access.labels",
		"the token is cleared for the resource's security labels, for its purpose of use",
		"FS-701 FS-703 FS-704 FS-708")
	checkGlass = trace.NewCheck("access.breakGlass",
		"emergency access is stated with a token whose purposes of use have BTG or ETREAT", "FS-308 FS-309")
	checkRelabel = trace.NewCheck("access.relabel",
		"labels are lowered or removed only with a clearance to relabel", "FS-707")
)

// Why a label denies access.
const (
	notCleared access.Reason = "its security labels take a clearance that the token does not have"
	noPurpose  access.Reason = "its security labels take a purpose of use that the token does not have"
)

// Holder is the holder of a grant as security labels bind it. It is made for one
// request.
type Holder struct {
	l       *Labeler
	level   Level
	cleared map[string]bool // sensitivity codes; "*" for all
	relabel bool
	purpose bool // the purposes of use let clearances count
	glass   bool // the request is an emergency
}

// Holder returns what a grant is cleared for. emergency is that the request states
// emergency access and may have it.
func (l *Labeler) Holder(g *access.Grant, emergency bool) *Holder {
	h := &Holder{
		l:     l,
		level: Normal,
		glass: emergency && l.glass > 0,
	}

	level, cleared, relabel := l.clearance(g)
	h.relabel = relabel
	h.purpose = l.anyone || ownRecord(g) || slices.ContainsFunc(g.Purposes, func(p string) bool {
		return slices.Contains(l.purposes, p)
	})
	if h.purpose {
		h.level, h.cleared = level, cleared
	}

	return h
}

// ownRecord reports whether a grant is that of a person who reaches the records of
// their own patients alone: a patient, or who acts for one. No restricted label keeps
// a record from them.
func ownRecord(g *access.Grant) bool {
	return g.Subject != "" && !g.AllPatients
}

// Check implements access.Rule.
func (h *Holder) Check() trace.Check { return checkLabels }

// opens reports whether an emergency opens an action: it opens reading alone.
func (h *Holder) opens(p scope.Permission) bool {
	return h.glass && p&^(scope.Read|scope.Search) == 0
}

// opensAll reports whether an emergency opens even what takes the express consent of a
// patient. One that opens less leaves that to those who are cleared for it otherwise.
func (h *Holder) opensAll(p scope.Permission) bool {
	return h.opens(p) && h.l.glass == VeryRestricted
}

// reads returns up to which level an action is allowed.
func (h *Holder) reads(p scope.Permission) Level {
	if h.opens(p) {
		return max(h.level, h.l.glass)
	}
	return h.level
}

// holds reports whether the holder is cleared for a sensitivity code.
func (h *Holder) holds(p scope.Permission, code string) bool {
	return h.opens(p) || h.cleared[code] || h.cleared["*"]
}

// masked are the elements that a label which the holder is not cleared for masks in
// resources of a type; none if such a resource is hidden.
func (l *Labeler) masked(typ, mark string) (elements []string) {
	for i := range l.masks {
		m := &l.masks[i]
		if slices.Contains(m.labels, mark) && slices.Contains(m.types, typ) {
			elements = append(elements, m.elements...)
		}
	}
	return elements
}

// Clauses implements access.Rule. What takes the express consent of a patient is not
// decided by the index.
func (h *Holder) Clauses(p scope.Permission, typ string) (all []search.Clause, exact bool) {
	top := h.reads(p)
	if h.opensAll(p) {
		return nil, true
	}

	from := levelMark(top + 1)
	hides := func(mark string) bool {
		if mark[:1] == sensitiveMark && h.holds(p, mark[1:]) {
			return false
		}
		return len(h.l.masked(typ, mark)) == 0
	}

	return []search.Clause{search.Unmarked(typ, from, hides)}, top < VeryRestricted
}

// Decide implements access.Rule.
func (h *Holder) Decide(
	_ context.Context, src access.Source, p scope.Permission, v access.Resource,
) (d access.Decision, err error) {
	labels, _, err := h.l.labelsOf(src, v)
	if err != nil {
		return d, err
	}

	deny := func(mark string) {
		elements := h.l.masked(v.Type, mark)
		d.Mask(v.Type, elements)
		if len(elements) == 0 {
			d.Reason = notCleared
			if !h.purpose {
				d.Reason = noPurpose
			}
			d.Remedy = "ask for a clearance, and for a token with a purpose of use for which it counts"
		}
	}

	top := h.reads(p)
	if labels.Level > top {
		deny(levelMark(labels.Level))
	}

	for _, code := range labels.Sensitive {
		if !h.holds(p, code) {
			deny(sensitiveMark + code)
		}
	}

	d.NeedsPermit = labels.Level == VeryRestricted && d.Reason == access.Visible && !h.opensAll(p)
	h.maskTypes(&d, top)
	return d, nil
}

// maskTypes adds the elements that are masked in all resources of their types.
func (h *Holder) maskTypes(d *access.Decision, top Level) {
	for i := range h.l.masks {
		m := &h.l.masks[i]
		if len(m.labels) > 0 || top >= m.level {
			continue
		}
		for _, typ := range m.types {
			d.Mask(typ, m.elements)
		}
	}
}

// Masked implements access.Masker: what may be masked in some resource of a type.
func (h *Holder) Masked(typ string) (elements []string) {
	top := h.reads(scope.Read)
	for i := range h.l.masks {
		m := &h.l.masks[i]
		if slices.Contains(m.types, typ) && h.mayMask(m, top) {
			elements = append(elements, m.elements...)
		}
	}
	return elements
}

func (h *Holder) mayMask(m *mask, top Level) bool {
	if len(m.labels) == 0 {
		return top < m.level
	}
	return slices.ContainsFunc(m.labels, func(mark string) bool {
		if mark[:1] == sensitiveMark {
			return !h.holds(scope.Read, mark[1:])
		}
		return levelMark(top) < mark
	})
}

// labelsOf returns the labels of a version, from the index if it has them; implied
// reports whether rules imply some that it does not have.
func (l *Labeler) labelsOf(src access.Source, v access.Resource) (labels Labels, implied bool, err error) {
	if len(v.Terms) > 0 {
		labels, implied = marked(v.Type, v.Terms)
		return labels, implied, nil
	}
	if !l.mayHave(v.Body) {
		return Labels{}, false, nil
	}

	root, err := src.Parse(v)
	if err != nil {
		return Labels{}, false, err
	}

	labels = l.Read(v.Type, root)
	return labels, len(labels.Implied) > 0, nil
}

// MasksAny implements access.Masker.
func (h *Holder) MasksAny() bool {
	return len(h.l.masks) > 0
}

// Labels returns how confidential a version is, 0 if no label of it has a level, and
// the labels that rules imply and that it does not have.
func (h *Holder) Labels(src access.Source, v access.Resource) (Level, []search.Coding, error) {
	labels, implied, err := h.l.labelsOf(src, v)
	if err != nil || !implied {
		return labels.Level, nil, err
	}

	root, err := src.Parse(v)
	if err != nil {
		return labels.Level, nil, err
	}
	return labels.Level, h.l.Read(v.Type, root).Implied, nil
}
