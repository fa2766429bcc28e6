package fhir

import (
	"bytes"
	"net/http"
	"slices"
	"time"

	"fhirdest.example/fhir/scope"
	"fhirdest.example/fhir/search"
)

// find finds a resource that the grant allows p on. What exists but may not be
// seen is not found; only a client that might have seen it learns that it is
// deleted.
func (r *request) find(sn Snapshot, p scope.Permission, typ, id string) (Entry, error) {
	if err := r.may(p, typ); err != nil {
		return Entry{}, err
	}

	e, ok, err := current(r.ctx, sn, typ, id)
	if err != nil {
		return Entry{}, err
	}
	if !ok {
		r.access.Missed(typ + "/" + id)
		return Entry{}, notFound()
	}
	if err := r.sees(sn, p, e); err != nil {
		return Entry{}, err
	}

	r.touch(e)
	if e.Deleted {
		return e, gone(e)
	}
	return e, nil
}

func gone(e Entry) error {
	return fail(http.StatusGone, "deleted", "The resource was deleted.")
}

// read answers GET [base]/Type/id (R4 http 3.1.0.2).
func (s *reader) read(sn Snapshot, r *request) (*response, error) {
	if r.path[0] == "Patient" {
		expect(sn, r, r.path[1:2], 0, 0)
	}
	e, err := r.find(sn, scope.Read, r.path[0], r.path[1])
	if err != nil {
		return nil, err
	}
	return s.entryResponse(sn, r, e)
}

// entryResponse gives a version's bytes, or 304 when the client has them. What
// is cut down has no ETag: that of the version is for all of it.
func (s *reader) entryResponse(sn Snapshot, r *request, e Entry) (*response, error) {
	q, err := r.cutDown(e.Type)
	if err != nil {
		return nil, err
	}

	seen, err := r.show(source{sn}, e)
	if err != nil {
		return nil, err
	}

	resp := &response{
		status:   http.StatusOK,
		modified: e.Updated,
	}
	if reductionOf(q.Summary, q.Elements) == nil {
		resp.tag = seen.tag
	}
	if unchanged(r, e, resp.tag) {
		resp.status = http.StatusNotModified
		return resp, nil
	}

	body, err := s.view(q, seen.body, "match")
	if err != nil {
		return nil, err
	}

	if r.inner { // its answer becomes part of another
		resp.body = bytes.Clone(body)
	} else {
		resp.copyBody(body)
	}
	if e.Type == "Binary" && !r.inner && r.get("_format") == "" && wantsNative(r.header) {
		return resp, native(resp)
	}
	return resp, nil
}

// cutDown reads what of a resource is asked for.
func (r *request) cutDown(typ string) (*search.Query, error) {
	q := &search.Query{Types: []string{typ}}
	for _, p := range r.query {
		if p.Name == "_summary" || p.Name == "_elements" {
			if err := search.SetShape(q, p.Name, p.Value); err != nil {
				return nil, err
			}
		}
	}

	return q, nil
}

// unchanged evaluates If-None-Match, against the version whose ETag the answer
// would have ("" for none), and If-Modified-Since (R4 http 3.1.0.5.1).
func unchanged(r *request, e Entry, tag string) bool {
	if all := tags(r.header, "If-None-Match"); len(all) > 0 {
		return slices.ContainsFunc(all, func(one string) bool {
			return tag != "" && names(one, tag)
		})
	}

	if !r.since.IsZero() {
		return !e.Updated.After(r.since)
	}
	return unmodified(r.header, e.Updated)
}

// unmodified evaluates If-Modified-Since (RFC 9110 13.1.3).
func unmodified(h http.Header, changed time.Time) bool {
	text := h.Get("If-Modified-Since")
	if text == "" {
		return false
	}
	since, err := http.ParseTime(text)
	return err == nil && !changed.Truncate(time.Second).After(since)
}
