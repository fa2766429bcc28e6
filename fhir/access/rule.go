package access

import (
	"context"
	"slices"

	"fhirdest.example/fhir/scope"
	"fhirdest.example/fhir/search"
	"fhirdest.example/udap/trace"
)

// Rule is what a grant must meet besides its scopes: security labels, consents. A
// Rule is made for one request and has what it needs of the grant: the purposes
// that the request is made for, the client and its organisation.
//
// Rules narrow and never widen: all of them must allow what the scopes allow. None
// is asked about AuditEvents, which have a scope of their own.
type Rule interface {
	// Check is the rule's name in traces.
	Check() trace.Check
	// Clauses returns what must hold of every current resource of typ that the rule
	// allows p on, by index terms alone: searches look up no others. exact reports
	// whether the clauses decide by themselves; otherwise Decide is asked about each
	// resource that a search finds, as well.
	Clauses(p scope.Permission, typ string) (all []search.Clause, exact bool)
	// Decide returns what the rule allows of one version of a resource, which is not
	// a deletion. A version that is not the current one has no Terms: the rule is
	// then asked about the current one too, and both answers hold.
	Decide(ctx context.Context, src Source, p scope.Permission, v Resource) (Decision, error)
}

// Screen is a Rule that also decides about what a search has found, many resources
// at once. Its Clauses are exact.
type Screen interface {
	Rule
	// Screen returns those of docs, current resources of typ, that the rule allows p
	// on, in their order. It may change docs.
	Screen(
		ctx context.Context, ix search.Index, src Source, p scope.Permission, typ string, docs []uint64,
	) ([]uint64, error)
}

// Preparer is a Rule that reads further resources of the patients to whom a resource
// belongs.
type Preparer interface {
	Rule
	// Ahead returns the clauses of these resources, unless they are known in a state.
	Ahead(ctx context.Context, src Source, patients []string) []search.Clause
}

// Ahead returns the clauses of what the rules will read to decide about resources of
// some patients.
func (r *Reader) Ahead(ctx context.Context, src Source, patients []string) (all []search.Clause) {
	for _, rule := range r.rules {
		if p, ok := rule.(Preparer); ok {
			all = append(all, p.Ahead(ctx, src, patients)...)
		}
	}
	return all
}

// screen returns those of docs that every Screen among the rules allows.
func (r *Reader) screen(
	ctx context.Context, ix search.Index, src Source, typ string, docs []uint64,
) (left []uint64, err error) {
	left = docs
	for _, rule := range r.rules {
		if s, ok := rule.(Screen); ok && len(left) > 0 && err == nil {
			left, err = s.Screen(ctx, ix, src, r.sought(typ), typ, left)
		}
	}
	return left, err
}

// Decision is what is allowed of a version of a resource. The zero value allows
// all of it.
type Decision struct {
	// Reason is why it is denied; Visible when it is allowed.
	Reason Reason
	// Remedy is what to do about a denial; "" for a scope that covers it.
	Remedy string
	// Masks are the elements that must not be shown, of the resource and of those
	// that are in it.
	Masks Masks
	// NeedsPermit reports that the rule allows this only if another rule permits it
	// expressly, as the consent of a patient does; Permits that this one does.
	NeedsPermit, Permits bool
}

// Masks lists elements by the type of resource, as paths below it: "address",
// "name.family".
type Masks map[string][]string

// Masker is a Rule about what readers see of resources that are stored, which may mask
// elements. It is not asked about what is being stored.
type Masker interface {
	Rule
	// Masked returns the elements that may be masked in some resource of a type. What
	// they hold must not be learnt by searching for it.
	Masked(typ string) []string
	// MasksAny reports whether anything may be masked at all.
	MasksAny() bool
}

func masksAny(r Rule) bool {
	m, ok := r.(Masker)
	return ok && m.MasksAny()
}

// Mask adds elements of a type to those that must not be shown.
func (d *Decision) Mask(typ string, elements []string) {
	if len(elements) == 0 {
		return
	}
	if d.Masks == nil {
		d.Masks = Masks{}
	}
	d.Masks[typ] = append(d.Masks[typ], elements...)
}

// and joins the decisions of two rules, or of one rule about two versions.
func (d Decision) and(other Decision) Decision {
	if d.Reason == Visible {
		d.Reason, d.Remedy = other.Reason, other.Remedy
	}
	d.NeedsPermit = d.NeedsPermit || other.NeedsPermit
	d.Permits = d.Permits || other.Permits

	if len(d.Masks) == 0 {
		d.Masks = other.Masks
		return d
	}

	both := d
	both.Masks = nil
	for _, masks := range []Masks{d.Masks, other.Masks} {
		for typ, elements := range masks {
			both.Mask(typ, elements)
		}
	}

	return both
}

// Masks reports whether a rule may mask what a search parameter is answered from.
func (r *Reader) Masks(p *search.Param) bool {
	for _, rule := range r.rules {
		m, ok := rule.(Masker)
		if ok && slices.ContainsFunc(m.Masked(p.Type), p.Reads) {
			return true
		}
	}
	return false
}

// narrowed is which resources of a type the scopes and the rules allow something
// on, as far as index terms decide.
type narrowed struct {
	filter search.Filter
	exact  bool // nothing else must be asked
}

// narrow returns which resources of typ the scopes and all rules allow p on.
func (r *Reader) narrow(p scope.Permission, typ string) narrowed {
	q := question{typ, p}
	if n, ok := r.narrowed[q]; ok {
		return n
	}

	n := narrowed{
		filter: r.filter(p, typ),
		exact:  true,
	}
	if typ != "AuditEvent" {
		for _, rule := range r.rules {
			clauses, exact := rule.Clauses(p, typ)
			n.filter = n.filter.And(clauses)
			n.exact = n.exact && exact
		}
	}

	if r.narrowed == nil {
		r.narrowed = map[question]narrowed{}
	}
	r.narrowed[q] = n
	return n
}

// ruled asks the rules about a version that the scopes cover: about what was
// deleted if it is a deletion, and also about the resource as it is now. Labels
// that a resource has got since hide what it was before.
func (r *Reader) ruled(
	ctx context.Context, src Source, p scope.Permission, v *Resource,
) (d Decision, by trace.Check, err error) {
	if len(r.rules) == 0 || v.Type == "AuditEvent" {
		return Decision{}, checkResource, nil
	}

	v, ok, err := live(ctx, src, v)
	if err != nil || !ok {
		return Decision{}, checkResource, err
	}

	if d, by, err = r.ask(ctx, src, p, v, all); err != nil || len(v.Terms) > 0 || v.Doc == 0 {
		return d, by, err
	}

	current, err := src.Resource(ctx, v.Doc)
	now := &current
	if err == nil {
		now, ok, err = live(ctx, src, now)
	}
	if err != nil || !ok || now.Version == v.Version {
		return d, by, err
	}

	since, sinceBy, err := r.ask(ctx, src, p, now, all)
	if d.Reason == Visible {
		by = sinceBy
	}
	return d.and(since), by, err
}

// live returns the version that a deletion has deleted, and any other as it is.
func live(ctx context.Context, src Source, v *Resource) (*Resource, bool, error) {
	if !v.Deleted {
		return v, true, nil
	}
	before, ok, err := src.Version(ctx, v.Doc, v.Version-1)
	return &before, ok && !before.Deleted, err
}

func all(Rule) bool { return true }

// ask joins what the rules that are concerned decide about one version, and returns
// which of them has denied it.
func (r *Reader) ask(
	ctx context.Context, src Source, p scope.Permission, v *Resource, concerned func(Rule) bool,
) (all Decision, by trace.Check, err error) {
	by = checkResource
	for _, rule := range r.rules {
		if !concerned(rule) {
			continue
		}

		d, err := rule.Decide(ctx, src, p, *v)
		if err != nil {
			return d, by, err
		}

		if d.Reason != Visible && all.Reason == Visible || d.NeedsPermit {
			by = rule.Check()
		}
		all = all.and(d)
	}

	if all.Reason == Visible && all.NeedsPermit && !all.Permits {
		all.Reason = Unpermitted
	}
	all.NeedsPermit = all.NeedsPermit && !all.Permits
	return all, by, nil
}
