package fhir

import (
	"bytes"
	"net/http"
	"strings"
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
	if !ok || !filter.Passes(e.ID, e.Terms) {
		return Entry{}, notFound()
	}
	if !e.Deleted && !s.contextAllows(sn, r, e, nil) {
		return Entry{}, notFound()
	}
	r.notes.touch(e)
	if e.Deleted {
		return e, gone(e)
	}
	return e, nil
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
	if tags := r.header.Values("If-None-Match"); len(tags) > 0 {
		for _, tag := range strings.Split(strings.Join(tags, ","), ",") {
			if tag = strings.TrimSpace(tag); tag == "*" || sameTag(tag, e.Version) {
				return true
			}
		}
		return false
	}
	since, err := http.ParseTime(r.header.Get("If-Modified-Since"))
	return err == nil && !e.Updated.Truncate(time.Second).After(since)
}

// sameTag compares weakly; an unquoted version is taken too.
func sameTag(tag string, version uint64) bool {
	want := etag(version)
	return tag == want || tag == want[2:] || tag == strings.Trim(want[2:], `"`)
}
