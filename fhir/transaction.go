package fhir

import (
	"errors"
	"fmt"
	"net/http"
	"sort"
	"strings"

	"fhirdest.example/fhir/links"
	"fhirdest.example/fhir/search"
	"fhirdest.example/fhir/splice"
	"fhirdest.example/fhir/tree"
	"fhirdest.example/fhir/validate"
)

// prepareTransaction validates every entry before a state of the store is held.
func (s *transactor) prepareTransaction(r *request) error {
	o := validate.Options{
		Conditional: true,
		Types:       entryTypes(r.entries),
	}

	for _, e := range r.entries {
		if e.failed != nil {
			return e.refuse(e.failed)
		}

		sub := e.req
		if sub.method == http.MethodPost && strings.HasPrefix(e.in.name, "$") {
			return e.refuse(fail(http.StatusBadRequest, "not-supported", "A transaction has no operations."))
		}
		if e.in.change != nil && (sub.method == http.MethodPost || sub.method == http.MethodPut) {
			if err := writable(sub.path[0]); err != nil {
				return e.refuse(err)
			}

			in, err := s.readResource(sub.body, r.now, o)
			if err == nil {
				err = e.trueURL(in.typ)
			}
			if err == nil && in.typ != sub.path[0] {
				err = fail(http.StatusBadRequest, "invalid",
					"The resource is a "+in.typ+", the url says "+sub.path[0]+".")
			}
			if err != nil {
				return e.refuse(err)
			}

			if err := s.verifySigned(sub, in); err != nil {
				return e.refuse(err)
			}
			sub.in = in
		} else if e.in.prepare != nil {
			if err := e.in.prepare(sub); err != nil {
				return e.refuse(err)
			}
		}
	}

	return s.draftEntries(r, o.Types)
}

// draftEntries does outside the writer what can be done there of each entry.
func (s *transactor) draftEntries(r *request, types map[string]string) error {
	size := 0
	for _, e := range r.entries {
		if e.in.change == nil {
			continue
		}

		e.req.types = types
		if err := s.prepareDraft(e.req); err != nil {
			return e.refuse(err)
		}
		if e.req.draft == nil || e.req.patch == nil {
			continue
		}
		if size += len(e.req.draft.entry.Body); size > maxDrafted {
			return e.refuse(fail(http.StatusRequestEntityTooLarge, "too-costly",
				fmt.Sprintf("The patches of the transaction make more than %d bytes.", maxDrafted)))
		}
	}

	return nil
}

// entryTypes gives the types of what entries write by their fullUrls:
// references to these are validated by what they will lead to.
func entryTypes(entries []*batchEntry) map[string]string {
	types := map[string]string{}
	for _, e := range entries {
		if e.fullURL != "" && e.failed == nil && e.in.change != nil {
			types[e.fullURL] = e.req.path[0]
		}
	}
	return types
}

// trueURL refuses a fullUrl that names another type than its entry has: what
// refers to it would be validated by the one and lead to the other.
func (e *batchEntry) trueURL(typ string) error {
	parts := strings.Split(e.fullURL, "/")
	if n := len(parts); n > 2 && search.IsType(parts[n-2]) && parts[n-2] != typ {
		return fail(http.StatusBadRequest, "value",
			"The fullUrl names a "+parts[n-2]+", the resource is a "+typ+".")
	}
	return nil
}

// refuse names the entry that a failure of the whole comes from.
func (e *batchEntry) refuse(err error) error {
	f := *asFailure(err)
	f.issues = append([]issue(nil), f.issues...)
	for i := range f.issues {
		at := fmt.Sprintf("Bundle.entry[%d]", e.index)
		if f.issues[i].path != "" {
			_, rest, _ := strings.Cut(f.issues[i].path, ".")
			at += ".resource." + rest
		}
		f.issues[i].path = at
	}

	if f.status == http.StatusNotFound || f.status == http.StatusGone ||
		f.status == http.StatusMethodNotAllowed {
		f.status, f.allow = http.StatusBadRequest, "" // the path of the transaction itself is there
	}
	return &f
}

// transaction is a Bundle of type transaction while it is done.
type transaction struct {
	s        *transactor
	c        Change
	r        *request
	resolver links.Resolver
	found    map[condition]search.Ref // what conditional references have led to
}

// condition is what a conditional reference asks for.
type condition struct{ typ, criteria string }

// transaction does all entries or none (R4 http 3.1.0.11.2): deletions, then
// creations, then updates and patches. Conditional references are resolved
// against what these made, and reads come last.
func (s *transactor) transaction(c Change, r *request) (*response, error) {
	r.answered = 0
	originals := make([]*incoming, len(r.entries))
	for i, e := range r.entries {
		originals[i] = e.req.in
		e.req.notes = notes{}
	}
	defer func() { // the whole may be run again: see Store.Update
		for i, e := range r.entries {
			e.req.in = originals[i]
		}
	}()

	targets, err := s.aimAll(c, r)
	if err != nil {
		return nil, err
	}

	t := &transaction{
		s: s,
		c: c,
		r: r,
		resolver: links.Resolver{
			Base:    s.PublicBase,
			Targets: targets,
		},
		found: map[condition]search.Ref{},
	}
	if err := t.run(); err != nil {
		return nil, err
	}
	if err := s.prove(c, r, targetsOf(r.entries)); err != nil {
		return nil, err
	}

	return results(r, "transaction-response"), nil
}

// run does the entries: first those that change something and do not wait for
// others, then those with conditional references, then those that read.
func (t *transaction) run() error {
	var waiting, reads []*batchEntry
	for _, e := range inOrder(t.r.entries) {
		conditional, err := t.link(e)
		if err != nil {
			return e.refuse(err)
		}

		switch {
		case conditional:
			waiting = append(waiting, e)
		case e.in.change == nil:
			reads = append(reads, e)
		default:
			if err := t.do(e); err != nil {
				return e.refuse(err)
			}
		}
	}

	if err := t.doWaiting(waiting); err != nil {
		return err
	}

	for _, e := range reads {
		if err := t.do(e); err != nil {
			return e.refuse(err)
		}
	}

	return nil
}

// do does one entry.
func (t *transaction) do(e *batchEntry) (err error) {
	switch {
	case e.done:
	case e.in.change != nil:
		e.resp, err = e.in.change(t.c, e.req)
	default:
		e.resp, err = e.in.read(t.c, e.req)
	}

	if err == nil {
		err = t.r.count(e)
	}

	if err == nil {
		err = t.s.auditWith(t.c, e.req, e.in)
	}
	return err
}

// link makes an entry's links to other entries lead to what these make, and
// reports whether the entry has conditional references.
func (t *transaction) link(e *batchEntry) (conditional bool, err error) {
	if e.req.method == http.MethodPatch {
		e.req.links = t
		return links.MayBeConditional(e.req.body), nil
	}
	if e.req.in == nil || e.done {
		return false, nil
	}

	from := links.Source{
		FullURL: e.fullURL,
		Type:    e.req.in.typ,
	}
	if e.req.in, err = e.req.in.edited(t.resolver.Rewrite(e.req.in.root, from)); err != nil {
		return false, err
	}
	if !links.MayBeConditional(e.req.in.body) {
		return false, nil
	}

	_ = links.Conditional(e.req.in.root, func(*tree.Value, string, string) error { // f returns no error
		conditional = true
		return nil
	})

	return conditional, nil
}

// errNotYet is a conditional reference that finds nothing, as long as entries
// are left that may make what it asks for.
var errNotYet = fail(http.StatusPreconditionFailed, "not-found", "A conditional reference finds nothing.")

// maxPasses bounds how often doWaiting goes through the entries that wait, in the
// writer, for others that come later in the Bundle.
const maxPasses = 32

// doWaiting does the entries with conditional references, each as soon as what
// it refers to is there. At the end every condition must still lead where it
// led: later entries may have made a second match.
func (t *transaction) doWaiting(waiting []*batchEntry) error {
	for passes := 0; len(waiting) > 0; passes++ {
		if passes == maxPasses {
			return waiting[0].refuse(fail(http.StatusBadRequest, "too-costly", fmt.Sprintf(
				"Conditional references lead from entry to entry over more than %d steps against the order of the "+
					"entries: put first what others refer to, or refer to it by its fullUrl.", maxPasses)))
		}

		var left []*batchEntry
		for _, e := range waiting {
			err := t.resolveAndDo(e)
			if errors.Is(err, errNotYet) {
				left = append(left, e)
			} else if err != nil {
				return e.refuse(err)
			}
		}

		if len(left) == len(waiting) {
			return left[0].refuse(errNotYet)
		}
		waiting = left
	}

	for cond, ref := range t.found {
		now, err := t.search(cond)
		if err == nil && now != ref {
			err = fail(http.StatusPreconditionFailed, "multiple-matches",
				"A conditional reference leads elsewhere once the transaction is done.")
		}
		if err != nil {
			return err
		}
	}

	return nil
}

// resolveAndDo does an entry with its conditional references resolved.
func (t *transaction) resolveAndDo(e *batchEntry) error {
	if e.req.in == nil { // a patch: what it makes is resolved when it is applied
		return t.do(e)
	}

	in, err := t.resolve(e.req.in)
	if err != nil {
		return err
	}

	e.req.in = in
	return t.do(e)
}

// resolve puts references in the place of conditional ones.
func (t *transaction) resolve(in *incoming) (*incoming, error) {
	var edits []splice.Edit
	err := links.Conditional(in.root, func(v *tree.Value, typ, criteria string) error {
		cond := condition{typ, criteria}
		ref, known := t.found[cond]
		if !known {
			var err error
			if ref, err = t.search(cond); err != nil {
				return err
			}
			t.found[cond] = ref
		}

		edits = append(edits, links.Edit(v, ref.Type+"/"+ref.ID))
		return nil
	})
	if err != nil {
		return nil, err
	}

	return in.edited(edits)
}

// search finds the one resource that a conditional reference leads to.
func (t *transaction) search(cond condition) (search.Ref, error) {
	found, n, err := t.s.matchOne(t.c, t.r, cond.typ, cond.criteria)
	if err == nil && n == 0 {
		err = errNotYet
	}
	return search.Ref{
		Type: found.Type,
		ID:   found.ID,
	}, err
}

// patched links what a patch has made of a resource. A reference that the patch
// adds is a search only if there is a "?" in the patch, which may be escaped.
func (t *transaction) patched(in *incoming, patch []byte) (*incoming, error) {
	conditional := links.MayBeConditional(patch)
	if len(t.resolver.Targets) == 0 && !conditional {
		return in, nil
	}

	whole, err := in.parsed()
	if err != nil {
		return nil, err
	}

	linked, err := whole.edited(t.resolver.Rewrite(whole.root, links.Source{
		Type:    in.typ,
		Patched: true,
	}))
	if err == nil && conditional {
		linked, err = t.resolve(linked)
	}
	if err != nil {
		return nil, err
	}
	if linked == whole {
		return in, nil // the draft is what will be stored
	}

	return linked, nil
}

// edited is a resource with some of its values replaced.
func (in *incoming) edited(edits []splice.Edit) (*incoming, error) {
	if len(edits) == 0 {
		return in, nil
	}

	out := *in
	out.body, out.root = splice.Apply(in.body, edits...), nil
	whole, err := out.parsed()
	if err != nil || len(in.signed) == 0 {
		return whole, err
	}
	if signsContent(in.signed) || whole.root.Get("target").Raw != in.root.Get("target").Raw {
		err = fail(http.StatusUnprocessableEntity, "security",
			"What is signed is stored as it was signed: it cannot lead to other entries.")
	}
	return whole, err
}

// inOrder sorts entries as the specification does them.
func inOrder(entries []*batchEntry) []*batchEntry {
	rank := map[string]int{
		http.MethodDelete: 0,
		http.MethodPost:   1,
		http.MethodPut:    2,
		http.MethodPatch:  2,
	}

	sorted := append([]*batchEntry(nil), entries...)
	sort.SliceStable(sorted, func(i, j int) bool {
		return order(rank, sorted[i]) < order(rank, sorted[j])
	})
	return sorted
}

func order(rank map[string]int, e *batchEntry) int {
	if e.in.change == nil { // a search may be a POST
		return len(rank)
	}
	return rank[e.req.method]
}

// aimAll finds what each write is about, refuses two writes of one resource,
// and returns what links to the entries' fullUrls lead to.
func (s *transactor) aimAll(c Change, r *request) (map[string]links.Target, error) {
	targets, seen := map[string]links.Target{}, map[search.Ref]*batchEntry{}
	urls, conditions := map[string]bool{}, map[string]bool{}
	for _, e := range r.entries {
		e.resp, e.done, e.req.match = nil, false, nil
		to, err := s.aim(c, e)
		if err == nil {
			err = e.alone(conditions)
		}
		if err != nil {
			return nil, e.refuse(err)
		}
		if to.Type == "" {
			continue
		}

		ref := search.Ref{
			Type: to.Type,
			ID:   to.ID,
		}
		if other := seen[ref]; other != nil && clash(other, e) {
			return nil, e.refuse(fail(http.StatusBadRequest, "duplicate",
				"Two entries write the same resource."))
		}

		if seen[ref] == nil || !e.done {
			seen[ref] = e
		}

		if e.fullURL == "" {
			continue
		}
		if urls[e.fullURL] { // R4 bundle.html, bdl-7
			return nil, e.refuse(fail(http.StatusBadRequest, "duplicate", "Two entries have the same fullUrl."))
		}

		urls[e.fullURL] = true
		if e.req.method != http.MethodDelete {
			targets[e.fullURL] = to
		}
	}

	return targets, nil
}

// alone refuses a second entry that would create a resource unless one matches
// the same criteria: the criteria would then match both.
func (e *batchEntry) alone(conditions map[string]bool) error {
	if e.req.match == nil || e.req.match.n > 0 || e.req.in == nil {
		return nil
	}

	key := e.req.in.typ + "?" + e.req.match.criteria
	if conditions[key] {
		return fail(http.StatusBadRequest, "duplicate",
			"Two entries create a resource under the same criteria.")
	}

	conditions[key] = true
	return nil
}

// clash reports whether two entries about one resource cannot both be done: two
// writes, or a deletion of what If-None-Exist found (R4 http 3.1.0.11.2).
func clash(a, b *batchEntry) bool {
	if a.done && b.done {
		return false
	}
	return !a.done && !b.done || a.req.method == http.MethodDelete || b.req.method == http.MethodDelete
}

// aim returns the version that an entry will make, or the one that
// If-None-Exist finds; the zero Target for an entry that makes none.
func (s *transactor) aim(c Change, e *batchEntry) (links.Target, error) {
	sub := e.req
	switch {
	case e.in.change == nil:
		return links.Target{}, nil
	case sub.method == http.MethodPost:
		return s.aimCreate(c, e)
	case len(sub.path) == 2:
		old, _, err := current(sub.ctx, c, sub.path[0], sub.path[1])
		return links.Target{
			Type:    sub.path[0],
			ID:      sub.path[1],
			Version: old.Version + 1,
		}, err
	}

	found, n, err := s.match(c, sub, sub.path[0], sub.criteria())
	if err != nil || n == 1 {
		return links.Target{
			Type:    found.Type,
			ID:      found.ID,
			Version: found.Version + 1,
		}, err
	}
	if sub.in == nil {
		return links.Target{}, nil
	}
	if sub.in.id == "" {
		return links.Target{
			Type:    sub.in.typ,
			ID:      sub.in.newID,
			Version: 1,
		}, nil
	}

	old, _, err := current(sub.ctx, c, sub.in.typ, sub.in.id)
	return links.Target{
		Type:    sub.in.typ,
		ID:      sub.in.id,
		Version: old.Version + 1,
	}, err
}

// match finds what an entry's criteria match, and keeps it for when the entry
// is done: by then other entries may have changed what they would match.
func (s *transactor) match(c Change, sub *request, typ, query string) (Entry, int, error) {
	e, n, err := s.matchOne(c, sub, typ, query)
	if err == nil {
		sub.match = &match{e.Doc, n, query}
	}
	return e, n, err
}

// aimCreate returns the first version under a new id, or the resource that
// If-None-Exist finds.
func (s *transactor) aimCreate(c Change, e *batchEntry) (links.Target, error) {
	sub := e.req
	if cond := sub.header.Get("If-None-Exist"); cond != "" {
		query, err := s.ifNoneExist(cond, sub.in.typ)
		if err != nil {
			return links.Target{}, err
		}

		found, n, err := s.match(c, sub, sub.in.typ, query)
		if err != nil {
			return links.Target{}, err
		}
		if n == 1 {
			e.resp, err = s.found(c, sub, found)
			e.done = true
			return links.Target{
				Type:    found.Type,
				ID:      found.ID,
				Version: found.Version,
			}, err
		}
	}

	return links.Target{
		Type:    sub.in.typ,
		ID:      sub.in.newID,
		Version: 1,
	}, nil
}

// eachString calls f with every string in a value.
func eachString(v *tree.Value, f func(*tree.Value) error) error {
	if v.Kind == tree.String {
		return f(v)
	}

	for i := range v.Items {
		if err := eachString(&v.Items[i], f); err != nil {
			return err
		}
	}

	return nil
}
