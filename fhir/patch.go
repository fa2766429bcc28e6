package fhir

import (
	"errors"
	"net/http"

	"fhirdest.example/fhir/patch"
	"fhirdest.example/fhir/scope"
	"fhirdest.example/fhir/validate"
)

// preparePatch parses the body as a JSON Patch (RFC 6902).
func (s *writer) preparePatch(r *request) (err error) {
	if err := writable(r.path[0]); err != nil {
		return err
	}
	if err := bodyType(r.header, "application/json-patch+json", "application/json"); err != nil {
		return err
	}
	r.patch, err = patch.Parse(r.body)
	return err
}

// patch answers PATCH [base]/Type/id (R4 http 3.1.0.8... JSON Patch).
func (s *writer) patch(c Change, r *request) (*response, error) {
	if err := r.may(scope.Update, r.path[0]); err != nil {
		return nil, err
	}

	old, ok, err := current(r.ctx, c, r.path[0], r.path[1])
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, notFound()
	}
	if err := r.changes(c, old); err != nil {
		return nil, err
	}
	if old.Deleted {
		return nil, gone(old)
	}

	return s.patchEntry(c, r, old)
}

// conditionalPatch answers PATCH [base]/Type?criteria.
func (s *writer) conditionalPatch(c Change, r *request) (*response, error) {
	if err := r.may(scope.Update, r.path[0]); err != nil {
		return nil, err
	}

	e, n, err := s.matched(c, r, r.path[0], r.criteria())
	if err != nil {
		return nil, err
	}
	if n == 0 {
		return nil, notFound()
	}
	if err := r.changes(c, e); err != nil {
		return nil, err
	}

	return s.patchEntry(c, r, e)
}

// patchEntry applies the patch to a version that the grant may change. Whoever
// may not read the resource may not test it, and learns nothing of it: neither
// by the answer's body nor by why the patch does not fit.
func (s *writer) patchEntry(c Change, r *request, old Entry) (*response, error) {
	if err := preconditions(r, old); err != nil {
		return nil, err
	}

	readable, err := r.shows(c, scope.Read, old)
	if err != nil {
		return nil, err
	}
	if readable {
		r.notes.shown = !r.prefers("return=minimal") && !r.prefers("return=OperationOutcome")
		return s.patchWith(c, r, old)
	}
	if r.patch.Tests() {
		return nil, forbidden("A patch that tests needs a scope to read.")
	}

	resp, err := s.patchWith(c, r, old)
	if f := (*failure)(nil); errors.As(err, &f) && f.status == http.StatusUnprocessableEntity {
		return nil, fail(f.status, "processing",
			"The patch does not fit the resource. To be told why needs a scope to read.")
	}

	if err == nil && !r.prefers("return=OperationOutcome") {
		resp.body = nil
	}
	return resp, err
}

// patchWith applies the patch to a version, and stores what it makes.
func (s *writer) patchWith(c Change, r *request, old Entry) (*response, error) {
	in, err := r.drafted(old)
	if in == nil && err == nil {
		in, err = s.patched(r, old)
	}
	if err == nil && r.links != nil {
		in, err = r.links.patched(in, r.body)
	}
	if err != nil {
		return nil, err
	}

	r.in = in
	return s.putNext(c, r, old)
}

// patched returns what the patch makes of a version.
func (s *writer) patched(r *request, old Entry) (*incoming, error) {
	root, err := stored(old)
	if err != nil {
		return nil, err
	}

	body, err := r.patch.Apply(root)
	if err != nil {
		return nil, err
	}

	in, err := s.readResource(body, r.now, validate.Options{
		Conditional: r.inner,
		Types:       r.types,
	})
	if err != nil {
		f := asFailure(err)
		f.status = http.StatusUnprocessableEntity
		return nil, f
	}
	if in.typ != old.Type || in.id != old.ID {
		return nil, fail(http.StatusUnprocessableEntity, "business-rule",
			"A patch cannot change resourceType or id.")
	}
	if len(in.signed) > 0 {
		return nil, fail(http.StatusUnprocessableEntity, "security",
			"A patch cannot make a resource with a signature: send it whole.")
	}

	if _, err := r.labels.Keep(root, in.root, false); err != nil {
		return nil, r.lowered(err)
	}
	return in, nil
}
