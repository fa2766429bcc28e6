package fhir

import (
	"bytes"
	"net/http"
	"slices"
	"time"

	"fhirdest.example/fhir/scope"
	"fhirdest.example/fhir/search"
)

// allowed finds a resource that the grant allows p on. What exists but may
// not be seen is not found; only who might have seen it learns that it is
// deleted.
func (s *service) allowed(sn Snapshot, r *request, typ, id string, p scope.Permission) (Entry, error) {
	filter, err := s.need(r, typ, p)
	if err != nil {
		return Entry{}, err
	}
	doc, ok := sn.Lookup(typ, id)
	if !ok {
		return Entry{}, notFound()
	}
	e, ok := sn.Entry(doc)
	if !ok || !s.covers(sn, r, filter, e) {
		return Entry{}, notFound()
	}
	r.notes.touch(e)
	if e.Deleted {
		return e, gone(e)
	}
	return e, nil
}

// covers reports whether a filter lets a current version through and, if it is
// a Binary, its context may be read: who may not see a resource may not change
// it either. The deletion of a Binary is judged by what it deleted.
func (s *service) covers(sn Snapshot, r *request, filter search.Filter, e Entry) bool {
	if !filter.Passes(e.ID, e.Terms) {
		return false
	}
	if e.Deleted {
		return e.Type != "Binary" || s.visible(sn, r, filter, e)
	}
	return s.contextAllows(sn, r, e, nil)
}

func gone(e Entry) error {
	return fail(http.StatusGone, "deleted", "The resource was deleted.")
}

// read answers GET [base]/Type/id (R4 http 3.1.0.2).
func (s *service) read(sn Snapshot, r *request) (*response, error) {
	e, err := s.allowed(sn, r, r.path[0], r.path[1], scope.Read)
	if err != nil {
		return nil, err
	}
	return s.entryResponse(r, e)
}

// entryResponse gives a version's bytes, or 304 when the client has them.
func (s *service) entryResponse(r *request, e Entry) (*response, error) {
	resp := &response{status: http.StatusOK, version: e.Version, modified: e.Updated}
	if unchanged(r, e) {
		resp.status = http.StatusNotModified
		return resp, nil
	}
	var err error
	if resp.body, err = s.shown(r, e); err != nil {
		return nil, err
	}
	if e.Type == "Binary" && !r.inner && r.get("_format") == "" && wantsNative(r.header) {
		return resp, native(resp)
	}
	return resp, nil
}

// shown is a copy of the bytes, cut down to what was asked for.
func (s *service) shown(r *request, e Entry) ([]byte, error) {
	if len(r.query) == 0 {
		return bytes.Clone(e.Body), nil
	}
	q := &search.Query{Types: []string{e.Type}}
	for _, p := range r.query {
		if p.Name == "_summary" || p.Name == "_elements" {
			if err := search.SetShape(q, p.Name, p.Value); err != nil {
				return nil, err
			}
		}
	}
	body, err := s.view(q, e)
	return bytes.Clone(body), err
}

// unchanged judges If-None-Match and If-Modified-Since (R4 http 3.1.0.5.1).
func unchanged(r *request, e Entry) bool {
	if all := tags(r.header, "If-None-Match"); len(all) > 0 {
		return slices.ContainsFunc(all, func(tag string) bool { return sameTag(tag, e.Version) })
	}
	since, err := http.ParseTime(r.header.Get("If-Modified-Since"))
	return err == nil && !e.Updated.Truncate(time.Second).After(since)
}
