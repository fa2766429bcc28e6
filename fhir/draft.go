package fhir

import (
	"errors"
	"net/http"
	"time"

	"fhirdest.example/fhir/scope"
	"fhirdest.example/fhir/tree"
)

// maxDrafted bounds, in bytes, what the patches of one transaction make: a few
// bytes of patch may make much of large resources.
const maxDrafted = 32 << 20

// draft is what a write will most likely store, made before the writer is
// entered: all writers wait while one is in it. Inside, it counts only if the
// version that it follows is still the current one.
type draft struct {
	doc, follows uint64    // the resource and its version; 0 for a first one
	in           *incoming // of a patch: what it made, not parsed
	err          error     // of a patch: why it makes nothing
	root         *tree.Value
	entry        Entry
}

// prepareDraft makes the draft of a write. It finds no fault with the request:
// what it cannot foresee is done in the writer.
func (s *writer) prepareDraft(r *request) error {
	if !drafts(r) {
		return nil
	}
	if r.method == http.MethodPost {
		return s.draftFirst(r)
	}

	return s.Store.View(r.ctx, func(sn Snapshot) error {
		return s.draftIn(sn, r)
	})
}

// drafts reports whether a write has something to draft.
func drafts(r *request) bool {
	typ := r.path[0]
	return (r.in != nil || r.patch != nil) &&
		(r.access.Can(scope.Update, typ) || r.access.Can(scope.Create, typ))
}

// draftIn makes the draft of a write that drafts, in a state.
func (s *writer) draftIn(sn Snapshot, r *request) error {
	if r.method == http.MethodPost {
		return s.draftFirst(r)
	}

	old, ok, err := s.draftTarget(sn, r)
	switch {
	case err != nil:
		return err
	case !ok:
		return s.draftFirst(r)
	case r.patch != nil:
		return s.draftPatch(r, old)
	}

	return s.draftNext(r, r.in, old)
}

// draftTarget returns the version that a write will follow, if there is one.
func (s *writer) draftTarget(sn Snapshot, r *request) (Entry, bool, error) {
	if len(r.path) == 2 {
		return current(r.ctx, sn, r.path[0], r.path[1])
	}
	e, n, err := s.matchOne(sn, r, r.path[0], r.criteria())
	if f := (*failure)(nil); errors.As(err, &f) { // the writer finds out again, and answers
		return Entry{}, false, nil
	}
	return e, n == 1, err
}

// draftFirst drafts a first version, under the id that a creation will give.
func (s *writer) draftFirst(r *request) error {
	if r.in == nil {
		return nil
	}

	id := r.in.newID
	if len(r.path) == 2 {
		id = r.path[1]
	}
	e, err := s.entry(r.in.root, r.in.body, r.in.typ, id, 1, r.now)
	r.draft = &draft{
		root:  r.in.root,
		entry: e,
	}

	return err
}

func (s *writer) draftNext(r *request, in *incoming, old Entry) error {
	in, err := r.keepLabels(in, old)
	if err != nil { // the writer finds out again, and answers
		return nil
	}

	e, err := s.entry(in.root, in.body, old.Type, old.ID, old.Version+1, later(r.now, old))
	r.draft = &draft{
		doc:     old.Doc,
		follows: old.Version,
		root:    in.root,
		entry:   e,
	}
	return err
}

// draftPatch applies a patch. The tree of what it makes is not kept: a small
// transaction may patch many large resources.
func (s *writer) draftPatch(r *request, old Entry) error {
	if old.Deleted {
		return nil
	}

	in, err := s.patched(r, old)
	if err != nil {
		r.draft = &draft{
			doc:     old.Doc,
			follows: old.Version,
			err:     err,
		}

		return nil
	}
	if err := s.draftNext(r, in, old); err != nil {
		return err
	}

	unparsed := *in
	unparsed.root = nil
	r.draft.in, r.draft.root = &unparsed, nil
	return nil
}

// drafted returns what the drafted patch made of a version: neither a resource
// nor an error when another version was drafted.
func (r *request) drafted(old Entry) (*incoming, error) {
	if d := r.draft; d != nil && d.doc == old.Doc && d.follows == old.Version {
		return d.in, d.err
	}
	return nil, nil
}

// version returns the version to store of the request's resource: the draft, if
// that is what it would be.
func (s *writer) version(
	r *request, id string, version uint64, now time.Time,
) (Entry, error) {
	if d := r.draft; d != nil && d.err == nil && d.root == r.in.root && d.entry.ID == id &&
		d.entry.Version == version && d.entry.Updated.Equal(now.Truncate(time.Millisecond)) {
		return d.entry, nil
	}

	in, err := r.in.parsed()
	if err != nil {
		return Entry{}, err
	}
	return s.entry(in.root, in.body, in.typ, id, version, now)
}

// parsed is a resource with its tree.
func (in *incoming) parsed() (*incoming, error) {
	if in.root != nil {
		return in, nil
	}
	out := *in
	var err error
	out.root, err = tree.Parse(out.body)
	return &out, err
}
