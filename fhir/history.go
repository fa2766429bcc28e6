package fhir

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"fhirdest.example/fhir/scope"
	"fhirdest.example/fhir/search"
	"fhirdest.example/fhir/tree"
)

// vread answers GET [base]/Type/id/_history/version (R4 http 3.1.0.3).
func (s *reader) vread(sn Snapshot, r *request) (*response, error) {
	typ, id := r.path[0], r.path[1]
	if err := r.may(scope.Read, typ); err != nil {
		return nil, err
	}

	version, err := strconv.ParseUint(r.path[3], 10, 64)
	if err != nil || r.path[3][0] == '0' {
		return nil, notFound()
	}

	e, ok, err := versionOf(r.ctx, sn, typ, id, version)
	if ok && err == nil {
		ok, err = r.shows(sn, scope.Read, e)
	}
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, notFound()
	}

	r.touch(e)
	if e.Deleted {
		return nil, gone(e)
	}
	return s.entryResponse(sn, r, e)
}

func versionOf(
	ctx context.Context, sn Snapshot, typ, id string, version uint64,
) (Entry, bool, error) {
	doc, ok, err := sn.Lookup(ctx, typ, id)
	if err != nil || !ok {
		return Entry{}, false, err
	}
	return sn.Version(ctx, doc, version)
}

// stored parses a stored body: one that does not parse is damaged.
func stored(e Entry) (*tree.Value, error) {
	root, err := tree.ParseStored(e.Body)
	if err != nil {
		return nil, fmt.Errorf(
			"%w: body of %s/%s version %d: %v",
			ErrDamaged,
			e.Type,
			e.ID,
			e.Version,
			err,
		)
	}
	return root, nil
}

// window is which versions a history is asked for.
type window struct {
	since    time.Time
	from, to time.Time // _at; to zero for none
	count    int
	before   uint64 // change or version number to go on below; 0 from the newest
}

func (s *reader) historyWindow(r *request, at lookup) (window, error) {
	w := window{count: search.DefaultCount}
	pairs, m, err := s.openPage(r, at)
	if err != nil {
		return w, err
	}

	if len(m.position) == 8 {
		w.before = binary.BigEndian.Uint64(m.position)
	}

	for _, p := range pairs {
		ok := true
		switch p.Name {
		case "_count":
			w.count, err = strconv.Atoi(p.Value)
			ok = err == nil && w.count >= 0
			w.count = min(max(w.count, 1), search.MaxCount)
		case "_since":
			w.since, _, ok = search.Instants(strings.ReplaceAll(p.Value, " ", "+"))
		case "_at":
			w.from, w.to, ok = search.Instants(strings.ReplaceAll(p.Value, " ", "+"))
		}

		if !ok {
			return w, fail(
				http.StatusBadRequest,
				"value",
				"The value of "+p.Name+" cannot be read.",
			)
		}
	}

	return w, nil
}

// has reports whether a version is in the window.
func (w window) has(ctx context.Context, sn Snapshot, e Entry) (bool, error) {
	if e.Updated.Before(w.since) {
		return false, nil
	}
	if w.to.IsZero() {
		return true, nil
	}
	if !e.Updated.Before(w.to) {
		return false, nil
	}

	next, ok, err := sn.Version(ctx, e.Doc, e.Version+1)
	return !ok || !next.Updated.Before(w.from), err
}

// historyInstance answers GET [base]/Type/id/_history (R4 http 3.1.0.12).
func (s *reader) historyInstance(sn Snapshot, r *request) (*response, error) {
	typ, id := r.path[0], r.path[1]
	if err := r.may(scope.Read, typ); err != nil {
		return nil, err
	}

	cur, ok, err := current(r.ctx, sn, typ, id)
	if ok && err == nil {
		ok, err = r.everShows(sn, cur)
	}
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, notFound()
	}

	return s.history(sn, r, lookup{
		path:  strings.Join(r.path[:3], "/"),
		types: []string{typ},
	},
		scope.Read,
		func(before uint64, f func(seq uint64, e Entry) (bool, error)) error {
			for v := cur.Version; v > 0; v-- {
				if before != 0 && v >= before {
					continue
				}

				e, ok, err := sn.Version(r.ctx, cur.Doc, v)
				if err == nil && ok {
					ok, err = f(v, e)
				} else {
					ok = true
				}

				if err != nil || !ok {
					return err
				}
			}

			return nil
		})
}

// everShows reports whether the grant allows reading any version: a client that
// may see none does not learn that there are some.
func (r *request) everShows(sn Snapshot, cur Entry) (bool, error) {
	for v := cur.Version; v > 0; v-- {
		if err := r.ctx.Err(); err != nil {
			return false, err
		}

		e, ok, err := sn.Version(r.ctx, cur.Doc, v)
		if ok && err == nil {
			ok, err = r.shows(sn, scope.Read, e)
		}
		if err != nil || ok {
			return ok, err
		}
	}

	return false, nil
}

// historyType answers GET [base]/Type/_history, newest first.
func (s *reader) historyType(sn Snapshot, r *request) (*response, error) {
	if err := r.may(scope.Search, r.path[0]); err != nil {
		return nil, err
	}
	return s.historyOf(sn, r, lookup{
		path:  r.path[0] + "/_history",
		types: r.path[:1],
	}, r.path[0])
}

// historySystem answers GET [base]/_history.
func (s *reader) historySystem(sn Snapshot, r *request) (*response, error) {
	const path = "_history"
	types, err := s.typeList(r, path, scope.Search)
	if err != nil {
		return nil, err
	}

	return s.historyOf(sn, r, lookup{
		path:  path,
		types: types,
	}, "")
}

func (s *reader) historyOf(
	sn Snapshot, r *request, at lookup, typ string,
) (*response, error) {
	return s.history(sn, r, at, scope.Search,
		func(before uint64, f func(seq uint64, e Entry) (bool, error)) error {
			var failed error
			err := sn.Changes(r.ctx, typ, before, func(seq, doc, version uint64) bool {
				e, ok, err := sn.Version(r.ctx, doc, version)
				if err == nil && !ok {
					err = fmt.Errorf("%w: change %d made version %d of resource %d, which is not there",
						ErrDamaged, seq, version, doc)
				}
				if err == nil {
					ok, err = f(seq, e)
				}

				failed = err
				return ok && err == nil
			})

			return errors.Join(failed, err)
		})
}

// history writes a page of versions, those that the reader may see.
func (s *reader) history(
	sn Snapshot, r *request, at lookup, p scope.Permission, each func(uint64, func(uint64, Entry) (bool, error)) error,
) (*response, error) {
	w, err := s.historyWindow(r, at)
	if err != nil {
		return nil, err
	}

	b := []byte(`{"resourceType":"Bundle","type":"history","entry":[`)
	start, n, steps, more := len(b), 0, 0, false
	var last uint64
	err = each(w.before, func(seq uint64, e Entry) (bool, error) {
		if steps++; steps&0xff == 0 && r.ctx.Err() != nil {
			return false, r.ctx.Err()
		}

		if !slices.Contains(at.types, e.Type) {
			return true, nil
		}

		ok, err := w.has(r.ctx, sn, e)
		if ok && err == nil {
			ok, err = r.shows(sn, p, e)
		}
		if err != nil || !ok {
			return true, err
		}
		if n == w.count {
			more = true
			return false, nil
		}

		created, err := createdBy(r.ctx, sn, e)
		if err != nil {
			return false, err
		}

		seen, err := r.show(source{sn}, e)
		if err != nil {
			return false, err
		}

		r.touch(e)
		if b = s.appendVersion(b, start, e, seen, created); len(b) > maxAnswer {
			return false, tooMuch()
		}

		n, last = n+1, seq

		return true, nil
	})

	if err != nil {
		return nil, err
	}

	if n == 0 {
		b = b[:start-len(`,"entry":[`)]
	} else {
		b = append(b, ']')
	}

	q := &search.Query{}
	if q.Used, _, err = s.openPage(r, at); err != nil {
		return nil, err
	}

	b = appendLink(append(b, `,"link":[`...), "self", s.selfURL(at, q.Used))
	if more {
		b = appendLink(append(b, ','), "next",
			s.pageURL(r, at, q, mark{'a', binary.BigEndian.AppendUint64(nil, last)}))
	}

	return &response{
		status: http.StatusOK,
		body:   r.notes.security.Mark(append(b, `]}`...)),
	}, nil
}

// appendVersion writes a version as history lists it: with the request that
// made it, and what that was answered (R4 http 3.1.0.12).
func (s *reader) appendVersion(b []byte, start int, e Entry, seen shown, created bool) []byte {
	if len(b) > start {
		b = append(b, ',')
	}

	method, url, status := requestOf(e), e.Type+"/"+e.ID, "200"
	switch {
	case e.Deleted:
		status = "204"
	case created:
		status = "201"
	}

	if method == http.MethodPost {
		url = e.Type
	}

	b = append(append(append(b, `{"fullUrl":"`...), s.resourceURL(e.Type, e.ID)...), '"')
	if !e.Deleted {
		b = append(append(b, `,"resource":`...), seen.body...)
	}
	b = append(append(append(b, `,"request":{"method":"`...), method...), `","url":"`...)
	b = append(append(append(b, url...), `"},"response":{"status":"`...), status...)
	b = appendString(append(b, `","etag":`...), seen.tag)
	b = append(append(b, `,"lastModified":"`...), e.Updated.UTC().Format("2006-01-02T15:04:05.000Z")...)
	return append(b, `"}}`...)
}

// requestOf returns the method that made a version. Where it was not stored, a
// first version counts as created by the server.
func requestOf(e Entry) string {
	switch {
	case e.Deleted:
		return http.MethodDelete
	case e.Method != "":
		return e.Method
	case e.Version == 1:
		return http.MethodPost
	}

	return http.MethodPut
}

// createdBy reports whether a version is the first, or the first after a
// deletion.
func createdBy(ctx context.Context, sn Snapshot, e Entry) (bool, error) {
	if e.Version == 1 || e.Deleted || e.Method == http.MethodPatch {
		return e.Version == 1, nil
	}
	before, ok, err := sn.Version(ctx, e.Doc, e.Version-1)
	return ok && before.Deleted, err
}
