package access

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"fhirdest.example/fhir/scope"
	"fhirdest.example/fhir/search"
	"fhirdest.example/fhir/tree"
)

// Resource is one version of a resource, as far as access depends on it.
type Resource struct {
	Doc      uint64
	Type, ID string
	Version  uint64
	Updated  time.Time
	Deleted  bool
	Terms    search.Terms // of a current version only
	Body     []byte
}

// Source looks up the resources that a decision depends on besides the one that
// it is about.
type Source interface {
	// Current returns a resource's current version, deletions included.
	Current(ctx context.Context, typ, id string) (Resource, bool, error)
	// Version returns a version of the resource with that number.
	Version(ctx context.Context, doc, version uint64) (Resource, bool, error)
	// Resource returns the current version of the resource with that number.
	Resource(ctx context.Context, doc uint64) (Resource, error)
	// Resources calls f with the current version of each of docs, in that order, until
	// f returns false. Callers ask for many at once.
	Resources(ctx context.Context, docs []uint64, f func(Resource) bool) error
	// Parse parses a stored body; its error means that the store is damaged.
	Parse(Resource) (*tree.Value, error)
	// Having calls f with each current resource of which the index has a term of a
	// clause (search.Clause.Each), until f returns false.
	Having(ctx context.Context, c search.Clause, f func(doc uint64) bool) error
	// Prepare is called before Having is asked about several clauses, and Resources
	// about what that finds: a store behind a network then reads all of it at once.
	Prepare(ctx context.Context, clauses []search.Clause) error
	// State identifies a state that does not change; nil for one that is being
	// changed.
	State() any
	// Consents identifies the state of all Consents: it is the same as long as none of
	// them has changed. nil: unknown.
	Consents() any
}

// Reason is why a resource may not be seen.
type Reason string

// The reasons.
const (
	Visible Reason = ""
	NoScope Reason = "no scope of the token allows this on the type"
	Outside Reason = "the scopes that allow this on the type do not cover the resource"
	Context Reason = "the Binary's security context may not be read"
	Erased  Reason = "what was deleted may not be seen"
	Beyond  Reason = "it is in the record of a further patient, whom the scopes do not reach"
	Target  Reason = "a resource that the Provenance is about may not be read"
	Unknown Reason = "there is no such resource"
	// Unpermitted is that nothing permits expressly what needs that.
	Unpermitted Reason = "its security label needs the express consent of the patient"
)

// Sees reports whether the grant allows p on a version of a resource, and why
// not: Decide without what must be masked.
func (r *Reader) Sees(
	ctx context.Context, src Source, p scope.Permission, v Resource,
) (bool, Reason, error) {
	d, err := r.Decide(ctx, src, p, v)
	return err == nil && d.Reason == Visible, d.Reason, err
}

// Decide returns what the grant allows of p on a version of a resource: first by
// its scopes, then by each Rule. A version is decided by its own content, a
// deletion by what it deleted, and a Binary also by its security context.
func (r *Reader) Decide(
	ctx context.Context, src Source, p scope.Permission, v Resource,
) (Decision, error) {
	reason, err := r.reason(ctx, src, r.filter(p, v.Type), &v)
	if err != nil {
		return Decision{Reason: reason}, err
	}
	if reason == Visible && !v.Deleted && !r.confined(p, v.Type, v.ID, v.Terms) {
		reason = Beyond
	}

	d, by := Decision{Reason: reason}, checkResource
	if reason == Visible {
		if d, by, err = r.ruled(ctx, src, p, &v); err != nil {
			return Decision{Reason: Unknown}, err
		}
	}

	r.record(step{
		check:  by,
		passed: d.Reason == Visible,
		typ:    v.Type,
		id:     v.ID,
		reason: d.Reason,
		remedy: d.Remedy,
	})

	return d, nil
}

// Finds reports whether the grant both reads a version of a resource and finds it, as
// what is taken out of the store without its id being known must be. Rules decide the
// same about both, and are asked once.
func (r *Reader) Finds(ctx context.Context, src Source, v Resource) (bool, error) {
	d, err := r.Decide(ctx, src, scope.Read, v)
	if err != nil || d.Reason != Visible {
		return false, err
	}

	noteShown(r, src, &v)
	filter := r.filter(scope.Search, v.Type)
	if filter.All() { // all else is decided
		return true, nil
	}

	reason, err := r.reason(ctx, src, filter, &v)
	if err == nil && reason != Visible {
		r.record(step{
			check:  checkResource,
			typ:    v.Type,
			id:     v.ID,
			reason: reason,
		})
	}
	return err == nil && reason == Visible, err
}

// Missed records that a resource is not there. It looks like one that may not be
// seen: the answers to both are the same.
func (r *Reader) Missed(path string) {
	r.record(step{
		check:  checkResource,
		typ:    path,
		reason: Unknown,
	})
}

// Covers reports whether the grant allows p on a resource with these terms,
// that is not stored yet.
func (r *Reader) Covers(p scope.Permission, typ, id string, terms search.Terms) bool {
	covered := r.filter(p, typ).Passes(id, terms) && r.confined(p, typ, id, terms)
	if !covered {
		r.record(step{
			check:  checkResource,
			typ:    typ,
			id:     id,
			reason: Outside,
		})
	}
	return covered
}

// Stores reports whether the grant allows p to store a version, which comes to as: an
// update may create a resource, or change it. Its scopes cover it,
// and no Rule denies it but those about reading: whoever may write may write what it
// may not read afterwards.
func (r *Reader) Stores(
	ctx context.Context, src Source, p, as scope.Permission, v Resource,
) (bool, error) {
	if !r.Covers(p, v.Type, v.ID, v.Terms) {
		return false, nil
	}

	d, by, err := r.ask(ctx, src, as, &v, func(rule Rule) bool {
		_, reading := rule.(Masker)
		return !reading
	})
	if err != nil {
		return false, err
	}
	if d.Reason != Visible {
		r.record(step{
			check:  by,
			typ:    v.Type,
			id:     v.ID,
			reason: d.Reason,
		})
	}
	return d.Reason == Visible, nil
}

// confined reports whether a change stays within the records that the grant
// reaches. A resource may be in the records of several patients: of an Observation's
// subject, and of its performer. Each of them must be in reach of one scope, or a
// patient could write into the record of another one.
func (r *Reader) confined(p scope.Permission, typ, id string, terms search.Terms) bool {
	const changes = scope.Create | scope.Update | scope.Delete
	if p&changes == 0 || r.filter(p, typ).All() {
		return true
	}

	return slices.ContainsFunc(r.grant.Scopes.For(typ, p), func(sc scope.Scope) bool {
		further, ok := r.conditions(sc, typ)
		if !ok || !(search.Filter{}).Or(further).Passes(id, terms) {
			return false
		}

		patients, everyone := r.patients(sc.Context)
		within := true
		search.Patients(typ, terms, func(patient []byte) {
			within = within && slices.Contains(patients, string(patient))
		})
		return everyone || within
	})
}

func (r *Reader) reason(
	ctx context.Context, src Source, filter search.Filter, v *Resource,
) (Reason, error) {
	switch {
	case filter.Empty():
		return NoScope, nil
	case filter.All() && !depends(v.Type):
		return Visible, nil
	case v.Deleted:
		return r.reasonDeleted(ctx, src, filter, v)
	}

	var root *tree.Value
	terms := v.Terms
	if v.Type == "Binary" || len(terms) == 0 {
		var err error
		if root, err = src.Parse(*v); err != nil {
			return Unknown, err
		}
	}

	if len(terms) == 0 {
		x := search.Extractor{Bases: r.bases}
		var err error
		if terms, err = x.Extract(v.Type, root, search.Stamp{
			ID:      v.ID,
			Updated: v.Updated,
		}); err != nil {
			return Unknown, err
		}
	}

	if !filter.Passes(v.ID, terms) {
		return Outside, nil
	}
	return r.contextReason(ctx, src, v.Type, root, terms)
}

// reasonDeleted decides a deletion by the version before it.
func (r *Reader) reasonDeleted(
	ctx context.Context, src Source, filter search.Filter, v *Resource,
) (Reason, error) {
	before, ok, err := src.Version(ctx, v.Doc, v.Version-1)
	if err != nil || !ok || before.Deleted {
		return Erased, err
	}

	reason, err := r.reason(ctx, src, filter, &before)
	if err == nil && reason != Visible {
		reason = Erased
	}
	return reason, err
}

// depends reports whether a resource of a type is decided by other resources too: a
// Binary by its security context, and a Provenance by what it is about, since it shows
// that it is there.
func depends(typ string) bool {
	return typ == "Binary" || typ == "Provenance"
}

// contextReason decides a Provenance, of which it needs the terms, by its targets. It
// decides a Binary, of which it needs the content, by its security context: it is
// treated as if it were contained in that resource (R4 binary.html).
func (r *Reader) contextReason(
	ctx context.Context, src Source, typ string, root *tree.Value, terms search.Terms,
) (Reason, error) {
	switch typ {
	case "Binary":
	case "Provenance":
		if shown, err := showsTargets(ctx, r, src, terms); err != nil || !shown {
			return Target, err
		}
		return Visible, nil
	default:
		return Visible, nil
	}

	reference := root.At("securityContext", "reference").Text()
	if reference == "" {
		if root.Get("securityContext") == nil {
			return Visible, nil
		}
		return Context, nil
	}

	ref := r.bases.ParseRef(reference)
	if ref.Type == "" || ref.Type == "Binary" {
		return Context, nil
	}

	readers := r.filter(scope.Read, ref.Type)
	if readers.All() && len(r.rules) == 0 { // whatever the context holds, or held before it was deleted
		return Visible, nil
	}

	in, ok, err := src.Current(ctx, ref.Type, ref.ID)
	switch {
	case err != nil:
		return Context, err
	case readers.All() && !ok:
		return Visible, nil
	case !readers.All() && (!ok || in.Deleted || !readers.Passes(in.ID, in.Terms)):
		return Context, nil
	}

	d, _, err := r.ruled(ctx, src, scope.Read, &in)
	if err != nil || d.Reason != Visible {
		return Context, err
	}
	return Visible, nil
}

// target is a resource that a Provenance is about.
type target struct{ typ, id string }

// maxTargets bounds the targets of which a Reader remembers whether they are shown.
const maxTargets = 10_000

// showsTargets reports whether the rules allow showing that all targets of a
// Provenance are there, as they are now: what labels or Consents hide since it was made
// has no Provenance either. It asks once about each, as long as the state is the same.
func showsTargets(
	ctx context.Context, r *Reader, src Source, terms search.Terms,
) (shown bool, err error) {
	if len(r.rules) == 0 {
		return true, nil
	}
	if state := src.State(); r.targets == nil || state == nil || state != r.targetsOf ||
		len(r.targets) >= maxTargets {
		forgetTargets(r, state)
	}

	shown = true
	search.References("Provenance", "target", terms, func(typ, id string) {
		if !shown || err != nil {
			return
		}

		of := target{typ, id}
		known := false
		if shown, known = r.targets[of]; known {
			return
		}
		if shown, err = mayShow(ctx, r, src, typ, id); err == nil {
			r.targets[of] = shown
		}
	})
	return shown && err == nil, err
}

// forgetTargets makes what is known of targets that of another state.
func forgetTargets(r *Reader, state any) {
	if r.targets == nil {
		r.targets = map[target]bool{}
	}
	clear(r.targets)
	r.targetsOf = state
}

// noteShown remembers of a version that may be read, if it is the current one, that a
// Provenance about it may be shown: exports meet most targets before the Provenance. A
// Binary is left out, as its security context counts too.
func noteShown(r *Reader, src Source, v *Resource) {
	state := src.State()
	if len(r.rules) == 0 || state == nil || len(v.Terms) == 0 || v.Type == "Binary" {
		return
	}
	if state != r.targetsOf || len(r.targets) >= maxTargets {
		forgetTargets(r, state)
	}
	r.targets[target{v.Type, v.ID}] = true
}

// mayShow reports whether the rules allow showing that a resource is there. What is not
// here is not hidden.
func mayShow(ctx context.Context, r *Reader, src Source, typ, id string) (bool, error) {
	if typ == "" {
		return true, nil
	}
	of, ok, err := src.Current(ctx, typ, id)
	if err != nil || !ok {
		return err == nil, err
	}

	d, _, err := r.ruled(ctx, src, scope.Read, &of)
	if err != nil || d.Reason != Visible || typ != "Binary" {
		return err == nil && d.Reason == Visible, err
	}
	return contextShows(ctx, r, src, &of)
}

// contextShows reports whether the rules allow showing that the security context of a
// Binary is there, whatever the scopes.
func contextShows(ctx context.Context, r *Reader, src Source, v *Resource) (bool, error) {
	v, ok, err := live(ctx, src, v)
	if err != nil || !ok {
		return err == nil, err
	}
	root, err := src.Parse(*v)
	if err != nil {
		return false, err
	}

	ref := r.bases.ParseRef(root.At("securityContext", "reference").Text())
	if ref.Type == "Binary" {
		return true, nil
	}
	return mayShow(ctx, r, src, ref.Type, ref.ID)
}

// visibleProvenance returns those of docs, resources of the type Provenance, whose
// targets the rules allow showing.
func visibleProvenance(
	ctx context.Context, r *Reader, ix search.Index, src Source, docs []uint64,
) ([]uint64, error) {
	var failed error
	left := docs[:0]
	asked := slices.Clone(docs)
	err := ix.Terms(ctx, asked, func(doc uint64, _ string, terms search.Terms) bool {
		var shown bool
		shown, failed = showsTargets(ctx, r, src, terms)
		if shown {
			left = append(left, doc)
		}
		return failed == nil
	})
	return left, cmp.Or(failed, err)
}

// Restrict returns a Finder over one state of the store that finds, and brings
// along, only what the grant allows.
func (r *Reader) Restrict(ctx context.Context, ix search.Index, src Source) *search.Finder {
	f := search.NewFinder(ctx, ix,
		func(typ string) search.Filter {
			return r.narrow(scope.Search, typ).filter
		},
		func(typ string) search.Filter {
			return r.narrow(scope.Read, typ).filter
		})
	f.Masked = r.Masker()
	f.Visible = func(typ string, docs []uint64) ([]uint64, error) {
		return r.visible(ctx, ix, src, typ, docs)
	}
	return f
}

// visible returns those of the resources of a type that may be seen, of those that
// passed its filter.
func (r *Reader) visible(
	ctx context.Context, ix search.Index, src Source, typ string, docs []uint64,
) ([]uint64, error) {
	exact := r.narrow(scope.Search, typ).exact && r.narrow(scope.Read, typ).exact
	if exact && typ != "AuditEvent" {
		var err error
		if docs, err = r.screen(ctx, ix, src, typ, docs); err != nil {
			return nil, err
		}
	}
	if exact && typ == "Provenance" {
		return visibleProvenance(ctx, r, ix, src, docs)
	}
	if exact && !depends(typ) {
		return docs, nil
	}

	seen := docs[:0]
	for _, doc := range docs {
		ok, err := r.finds(ctx, src, typ, doc, exact)
		if err != nil {
			return nil, err
		}
		if ok {
			seen = append(seen, doc)
		}
	}
	return seen, nil
}

// finds reports whether one resource that passed its filter may be found. exact is
// whether the rules have decided.
func (r *Reader) finds(ctx context.Context, src Source, typ string, doc uint64, exact bool) (bool, error) {
	v, err := src.Resource(ctx, doc)
	if err != nil {
		return false, err
	}
	if !exact {
		d, _, err := r.ruled(ctx, src, r.sought(typ), &v)
		if err != nil || d.Reason != Visible || !depends(typ) {
			return err == nil && d.Reason == Visible, err
		}
	}

	var root *tree.Value
	if typ == "Binary" {
		if root, err = src.Parse(v); err != nil {
			return false, err
		}
	}
	reason, err := r.contextReason(ctx, src, typ, root, v.Terms)
	return reason == Visible, err
}

// Masker returns Masks, nil when no rule masks anything for the grant.
func (r *Reader) Masker() func(*search.Param) bool {
	if !r.masks {
		return nil
	}
	return r.Masks
}

// MasksOf returns the elements that must not be shown of a version which the grant
// allows reading.
func (r *Reader) MasksOf(ctx context.Context, src Source, v Resource) (Masks, error) {
	if !r.masks {
		return nil, nil
	}
	d, _, err := r.ruled(ctx, src, r.sought(v.Type), &v)
	return d.Masks, err
}

// sought is what rules are asked about a resource that a search finds or brings
// along: the one of both actions that the scopes allow.
func (r *Reader) sought(typ string) scope.Permission {
	if r.filter(scope.Read, typ).Empty() {
		return scope.Search
	}
	return scope.Read
}

// Refusal is that no resource of a type could pass.
type Refusal struct {
	Type   string
	Scopes []string // each of them would allow it
}

func (f *Refusal) Error() string {
	return fmt.Sprintf("The token's scopes do not allow this on %s.", f.Type)
}
