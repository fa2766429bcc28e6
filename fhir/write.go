package fhir

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"time"

	"fhirdest.example/fhir/label"
	"fhirdest.example/fhir/provenance"
	"fhirdest.example/fhir/scope"
)

// create answers POST [base]/Type (R4 http 3.1.0.8), with If-None-Exist the
// conditional form.
func (s *writer) create(c Change, r *request) (*response, error) {
	if err := r.may(scope.Create, r.in.typ); err != nil {
		return nil, err
	}
	if err := nothingToMatch(r); err != nil {
		return nil, err
	}

	if cond := r.header.Get("If-None-Exist"); cond != "" {
		query, err := s.ifNoneExist(cond, r.in.typ)
		if err != nil {
			return nil, err
		}

		e, n, err := s.matched(c, r, r.in.typ, query)
		if err != nil {
			return nil, err
		}
		if n == 1 {
			return s.found(c, r, e)
		}
	}

	return s.putNew(c, r, scope.Create, r.in.newID, 1)
}

// putNew stores a first version, or the one after a deletion.
func (s *writer) putNew(
	c Change, r *request, p scope.Permission, id string, version uint64,
) (*response, error) {
	e, err := s.version(r, id, version, r.now)
	if err != nil {
		return nil, err
	}

	if e.Doc, _, err = c.Lookup(r.ctx, e.Type, id); err != nil {
		return nil, err
	}
	if err := s.store(c, r, p, scope.Create, e); err != nil {
		return nil, err
	}

	r.notes.change(provenance.Create, e)
	return s.written(c, r, e, http.StatusCreated)
}

// store stores a version that the grant may write; as is what that comes to, whatever
// the interaction: Create or Update.
func (s *writer) store(c Change, r *request, p, as scope.Permission, e Entry) error {
	ok, err := r.access.Stores(r.ctx, source{c}, p, as, resourceOf(e))
	if err != nil {
		return err
	}
	if !ok {
		return forbidden("The token does not allow a resource with this content.")
	}
	if len(r.in.signed) > 0 && !r.in.verified {
		return fail(http.StatusUnprocessableEntity, "security", "The signature was not verified.")
	}

	e.Method = r.method
	doc, err := c.Put(r.ctx, e)
	e.Doc = doc
	r.touch(e)
	return err
}

// found answers a creation whose If-None-Exist found a resource: that discloses
// it, and so the audit record names it.
func (s *writer) found(c Change, r *request, e Entry) (*response, error) {
	r.touch(e)
	r.notes.found = true
	return s.written(c, r, e, http.StatusOK)
}

// written answers a write, with the body that Prefer asks for (R4 http
// 3.1.0.5.3; the whole resource without it).
func (s *writer) written(c Change, r *request, e Entry, status int) (*response, error) {
	seen, err := r.show(source{c}, e)
	if err != nil {
		return nil, err
	}

	resp := &response{
		status:   status,
		tag:      seen.tag,
		modified: e.Updated,
		location: s.versionURL(e.Type, e.ID, e.Version),
		wrote:    true,
	}
	switch {
	case r.prefers("return=minimal"):
	case r.prefers("return=OperationOutcome"):
		resp.body = information("Stored as " + e.Type + "/" + e.ID + ".")

	default:
		resp.body = append([]byte(nil), seen.body...)
	}

	return resp, nil
}

// update answers PUT [base]/Type/id (3.1.0.7): a new version, or a first one
// under the client's own id.
func (s *writer) update(c Change, r *request) (*response, error) {
	if r.in.id != r.path[1] {
		return nil, fail(
			http.StatusBadRequest,
			"invalid",
			"The body's id must be there and be the path's.",
		)
	}
	return s.updateAs(c, r, r.path[1])
}

func (s *writer) updateAs(c Change, r *request, id string) (*response, error) {
	if err := r.may(scope.Update, r.in.typ); err != nil {
		return nil, err
	}

	old, ok, err := current(r.ctx, c, r.in.typ, id)
	if err != nil {
		return nil, err
	}
	if !ok || old.Deleted {
		return s.updateAsCreate(c, r, id, old)
	}
	if err := r.changes(c, old); err != nil {
		if r.hiddenByRule(scope.Update, old.Type) {
			return nil, cmp.Or(nothingToMatch(r), err)
		}
		return nil, err
	}
	if err := preconditions(r, old); err != nil {
		return nil, err
	}

	return s.putNext(c, r, old)
}

// hiddenByRule reports whether what a grant may not change is hidden by its labels or a
// consent, and not by the scopes: the answer is then the one about what is not there. A
// Binary is hidden by its security context, too.
func (r *request) hiddenByRule(p scope.Permission, typ string) bool {
	return typ != "Binary" && r.access.Everything(p, typ)
}

// updateAsCreate stores a resource under an id that the client chose. Tokens
// that see only some resources may not: the answer would reveal which ids
// are taken.
func (s *writer) updateAsCreate(
	c Change, r *request, id string, old Entry,
) (*response, error) {
	if !r.access.Everything(scope.Update, r.in.typ) {
		return nil, notFound()
	}
	if err := nothingToMatch(r); err != nil {
		return nil, err
	}
	if err := unmodifiedSince(r, old); err != nil {
		return nil, err
	}

	r.notes.created = true
	r.now = later(r.now, old)
	return s.putNew(c, r, scope.Update, id, old.Version+1)
}

// putNext stores the version after old.
func (s *writer) putNext(c Change, r *request, old Entry) (*response, error) {
	sent := r.in
	defer func() { r.in = sent }() // the change may be run again: see Store.Update
	var err error
	if r.in, err = r.keepLabels(sent, old); err != nil {
		return nil, err
	}

	e, err := s.version(r, old.ID, old.Version+1, later(r.now, old))
	if err != nil {
		return nil, err
	}

	e.Doc = old.Doc
	if err := s.store(c, r, scope.Update, scope.Update, e); err != nil {
		return nil, err
	}

	leave(r, old) // the patient whose record it leaves
	r.notes.change(provenance.Update, e)
	return s.written(c, r, e, http.StatusOK)
}

// kept is what an update stores of the resource that it brings, with the labels of the
// version that it follows.
type kept struct {
	doc, follows uint64
	sent, in     *incoming
}

// keepLabels carries the labels of a version over to the one after it, or refuses to
// lose them (R4 resource.html, "Tag updates").
func (r *request) keepLabels(in *incoming, old Entry) (*incoming, error) {
	if r.patch != nil || !label.MayHave(old.Body) {
		return in, nil
	}
	if k := r.kept; k != nil && k.doc == old.Doc && k.follows == old.Version && k.sent == in {
		return k.in, nil
	}

	before, err := stored(old)
	if err != nil {
		return nil, err
	}
	now, err := in.parsed()
	if err != nil {
		return nil, err
	}

	edits, err := r.labels.Keep(before, now.root, true)
	if err != nil {
		return nil, r.lowered(err)
	}

	out := in
	if len(edits) > 0 {
		if out, err = now.edited(edits); err != nil {
			return nil, err
		}
	}

	r.kept = &kept{
		doc:     old.Doc,
		follows: old.Version,
		sent:    in,
		in:      out,
	}
	return out, nil
}

// lowered refuses a change that takes labels away.
func (r *request) lowered(err error) error {
	var l *label.Lowered
	if !errors.As(err, &l) {
		return err
	}

	r.access.Refuse(l.Finding())
	return forbidden(l.Error())
}

// later keeps lastUpdated growing, should the clock step back.
func later(now time.Time, old Entry) time.Time {
	now = now.Truncate(time.Millisecond)
	if !now.After(old.Updated) {
		return old.Updated.Add(time.Millisecond)
	}
	return now
}

func current(ctx context.Context, sn Snapshot, typ, id string) (Entry, bool, error) {
	doc, ok, err := sn.Lookup(ctx, typ, id)
	if err != nil || !ok {
		return Entry{}, false, err
	}
	return sn.Entry(ctx, doc)
}

// delete answers DELETE [base]/Type/id (3.1.0.7.1): 204, again and again.
func (s *writer) delete(c Change, r *request) (*response, error) {
	if err := writable(r.path[0]); err != nil {
		return nil, err
	}

	if err := r.may(scope.Delete, r.path[0]); err != nil {
		return nil, err
	}

	old, ok, err := current(r.ctx, c, r.path[0], r.path[1])
	if err != nil {
		return nil, err
	}
	if ok {
		if ok, err = r.shows(c, scope.Delete, old); err != nil {
			return nil, err
		}
		if !ok && !r.hiddenByRule(scope.Delete, old.Type) {
			return nil, notFound()
		}
	}
	if !ok || old.Deleted {
		return nothingToDelete(r, old, ok)
	}
	if err := preconditions(r, old); err != nil {
		return nil, err
	}

	return s.remove(c, r, old)
}

// nothingToDelete answers the deletion of what is not there, is deleted already, or
// may not be seen.
func nothingToDelete(r *request, old Entry, seen bool) (*response, error) {
	if !r.access.Everything(scope.Delete, r.path[0]) || !seen && r.path[0] == "Binary" {
		return nil, notFound() // as for a Binary whose security context hides it
	}
	if !seen {
		return deleted(r, 0), nil
	}
	return deleted(r, old.Version), nil
}

func (s *writer) remove(c Change, r *request, old Entry) (*response, error) {
	e := Entry{
		Doc:     old.Doc,
		Type:    old.Type,
		ID:      old.ID,
		Version: old.Version + 1,
		Updated: later(r.now, old),
		Deleted: true,
	}

	r.touch(old)
	_, err := c.Put(r.ctx, e)
	e.Terms = old.Terms
	r.notes.change(provenance.Delete, e)
	return deleted(r, e.Version), err
}

// deleted answers a deletion: 204, or 200 with an OperationOutcome if that is
// preferred (R4 http 3.1.0.7.1).
func deleted(r *request, version uint64) *response {
	resp := &response{
		status: http.StatusNoContent,
		wrote:  true,
	}
	if version > 0 {
		resp.tag = etag(version)
	}

	if r.prefers("return=OperationOutcome") {
		resp.status, resp.body = http.StatusOK, information("Deleted.")
	}
	return resp
}
