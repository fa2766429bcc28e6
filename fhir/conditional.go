package fhir

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"fhirdest.example/fhir/scope"
	"fhirdest.example/fhir/search"
)

// matchOne finds what a conditional form's criteria match, among what the
// grant may search. More than one is 412 (R4 http 3.1.0.8.1). What is not
// understood is refused: leaving it out would match more than was meant.
func (s *writer) matchOne(sn Snapshot, r *request, typ, rawQuery string) (Entry, int, error) {
	pairs, err := parseQuery(rawQuery)
	if err != nil {
		return Entry{}, 0, err
	}
	if err := emptyCriteria(pairs); err != nil {
		return Entry{}, 0, err
	}
	if err := r.may(scope.Search, typ); err != nil {
		return Entry{}, 0, err
	}

	q, err := s.parserOf(r).Parse(r.ctx, []string{typ}, pairs, true)
	if err != nil {
		return Entry{}, 0, err
	}
	if err := r.mayFollow(q); err != nil {
		return Entry{}, 0, err
	}
	if len(q.Clauses) == 0 {
		return Entry{}, 0, fail(
			http.StatusPreconditionFailed,
			"invalid",
			"A conditional form needs criteria.",
		)
	}

	found, err := r.access.Restrict(r.ctx, sn, source{sn}).Find(q)
	if err != nil {
		return Entry{}, 0, err
	}

	switch len(found.Docs) {
	case 0:
		return Entry{}, 0, nil
	case 1:
		e, _, err := sn.Entry(r.ctx, found.Docs[0])
		return e, 1, err
	}

	return Entry{}, 0, fail(http.StatusPreconditionFailed, "multiple-matches",
		"The criteria match more than one resource.")
}

// emptyCriteria refuses a criterion whose value has separators only, as of a client
// that has nothing to put between them: it would match nothing, and every request
// would make another resource.
func emptyCriteria(pairs []search.Pair) error {
	for _, p := range pairs {
		if p.Value == "" || strings.Trim(p.Value, ",|$ \t") != "" {
			continue // the parser refuses an empty one
		}

		return fail(
			http.StatusBadRequest,
			"value",
			"The criterion "+strconv.QuoteToASCII(p.Name)+" of a conditional form has no value.",
		)
	}

	return nil
}

// ifNoneExist gives the criteria of that header: the query alone, or with the
// URL that it would be asked at.
func (s *writer) ifNoneExist(value, typ string) (string, error) {
	at, query, found := strings.Cut(value, "?")
	if !found {
		return value, nil
	}

	at = strings.TrimPrefix(s.ownURL(at), s.PublicBase)
	if at = strings.TrimPrefix(at, "/"); at != "" && at != typ {
		return "", fail(http.StatusBadRequest, "value",
			"If-None-Exist asks for something else than what is created.")
	}

	return query, nil
}

// match is what a conditional form's criteria matched before anything of its
// transaction was done: no resource, or that one (R4 http 3.1.0.11.2).
type match struct {
	doc      uint64
	n        int
	criteria string
}

// matched gives what the request's criteria match: in a transaction, what they
// matched when it began.
func (s *writer) matched(c Change, r *request, typ, query string) (Entry, int, error) {
	if r.match == nil {
		return s.matchOne(c, r, typ, query)
	}
	e, _, err := c.Entry(r.ctx, r.match.doc)
	return e, r.match.n, err
}

// criteria are the request's own query, less what shapes the answer.
func (r *request) criteria() string {
	var pairs []search.Pair
	for _, p := range r.query {
		if p.Name != "_format" && p.Name != "_pretty" {
			pairs = append(pairs, p)
		}
	}
	return encodePairs(pairs)
}

// conditionalUpdate answers PUT [base]/Type?criteria (3.1.0.7.2).
func (s *writer) conditionalUpdate(c Change, r *request) (*response, error) {
	if err := r.may(scope.Update, r.in.typ); err != nil {
		return nil, err
	}

	e, n, err := s.matched(c, r, r.in.typ, r.criteria())
	if err != nil {
		return nil, err
	}

	switch {
	case n == 1 && r.in.id != "" && r.in.id != e.ID:
		return nil, fail(http.StatusBadRequest, "invalid",
			"The criteria match a resource with another id than the body's.")
	case n == 1:
		return s.updateAs(c, r, e.ID)
	case r.in.id != "":
		return s.updateUnmatched(c, r)
	}

	if err := nothingToMatch(r); err != nil {
		return nil, err
	}

	if err := r.may(scope.Update|scope.Create, r.in.typ); err != nil {
		return nil, err
	}

	r.notes.created = true
	return s.putNew(c, r, scope.Update|scope.Create, r.in.newID, 1)
}

// updateUnmatched stores a resource under the id that it brings, as nothing
// matched. A resource there that does not match is not overwritten: R4 leaves
// that open, R5 refuses it.
func (s *writer) updateUnmatched(c Change, r *request) (*response, error) {
	old, ok, err := current(r.ctx, c, r.in.typ, r.in.id)
	if ok && err == nil && !old.Deleted {
		ok, err = r.shows(c, scope.Update, old)
	} else {
		ok = false
	}

	if err != nil {
		return nil, err
	}
	if ok {
		return nil, fail(http.StatusConflict, "conflict",
			"There is a resource with the body's id that the criteria do not match.")
	}

	return s.updateAs(c, r, r.in.id)
}

// conditionalDelete answers DELETE [base]/Type?criteria: one match or none.
func (s *writer) conditionalDelete(c Change, r *request) (*response, error) {
	if err := writable(r.path[0]); err != nil {
		return nil, err
	}

	if err := r.may(scope.Delete, r.path[0]); err != nil {
		return nil, err
	}

	e, n, err := s.matched(c, r, r.path[0], r.criteria())
	if err != nil {
		return nil, err
	}
	if n == 0 {
		return deleted(r, 0), nil
	}
	if ok, err := r.shows(c, scope.Delete, e); err != nil || !ok {
		return deleted(r, 0), err
	}
	if err := preconditions(r, e); err != nil {
		return nil, err
	}

	return s.remove(c, r, e)
}

// emptyCondition refuses a change with a condition that has no content: a client that
// lost the version or the criteria did not mean to go on without them. Of two lines
// of criteria neither would be the whole.
func emptyCondition(r *request) error {
	if r.method == http.MethodGet || r.method == http.MethodHead {
		return nil // the answer is merely whole
	}

	for _, name := range []string{"If-Match", "If-None-Match", "If-None-Exist"} {
		lines := len(r.header.Values(name))
		if lines > 0 && len(tags(r.header, name)) == 0 || lines > 1 && name == "If-None-Exist" {
			return fail(
				http.StatusBadRequest,
				"value",
				name+" must have one value; leave it out if there is no condition.",
			)
		}
	}

	return nil
}

func etag(version uint64) string {
	return `W/"` + strconv.FormatUint(version, 10) + `"`
}

// tags lists what a header of entity tags names, in all its lines (RFC 9110
// 13.1.1 and 13.1.2).
func tags(h http.Header, name string) []string {
	var all []string
	for _, line := range h.Values(name) {
		for _, tag := range strings.Split(line, ",") {
			if tag = strings.TrimSpace(tag); tag != "" {
				all = append(all, tag)
			}
		}
	}

	return all
}

// names reports whether a tag is the one wanted, "*" included. All are compared
// weakly; an unquoted version is taken too.
func names(tag, want string) bool {
	return tag == "*" || tag == want || tag == want[2:] || tag == strings.Trim(
		want[2:],
		`"`,
	)
}

func sameTag(tag string, version uint64) bool {
	return names(tag, etag(version))
}

// preconditions evaluates the conditions under which a version may be changed, in the
// order of RFC 9110 13.2.2. The grant must have been found to allow the change: the
// answer depends on the version.
func preconditions(r *request, e Entry) error {
	if err := ifMatch(r, e); err != nil {
		return err
	}
	if err := unmodifiedSince(r, e); err != nil {
		return err
	}

	if slices.ContainsFunc(tags(r.header, "If-None-Match"), func(tag string) bool {
		return sameTag(tag, e.Version)
	}) {
		return fail(
			http.StatusPreconditionFailed,
			"conflict",
			"The resource is there, in a version that If-None-Match names.",
		)
	}

	return nil
}

// unmodifiedSince evaluates If-Unmodified-Since: 412 when the resource was changed or
// deleted later. Beside If-Match it does not count, nor does what is no date, nor where
// there never was a resource (RFC 9110 13.1.4).
func unmodifiedSince(r *request, e Entry) error {
	since, err := http.ParseTime(r.header.Get("If-Unmodified-Since"))
	if err != nil || e.Version == 0 || len(tags(r.header, "If-Match")) > 0 {
		return nil
	}
	if !e.Updated.Truncate(time.Second).After(since) {
		return nil
	}

	return fail(
		http.StatusPreconditionFailed,
		"conflict",
		"The resource was changed after the time of If-Unmodified-Since.",
	)
}

// ifMatch evaluates If-Match: 412 when it names other versions only (R4 http
// 3.1.0.5.2).
func ifMatch(r *request, e Entry) error {
	all := tags(r.header, "If-Match")
	for _, tag := range all {
		if sameTag(tag, e.Version) {
			return nil
		}
	}

	for _, tag := range all {
		if !wellFormedTag(tag) {
			return fail(
				http.StatusBadRequest,
				"value",
				"If-Match is no version of a resource.",
			)
		}
	}

	if len(all) == 0 {
		return nil
	}
	return fail(
		http.StatusPreconditionFailed,
		"conflict",
		"The resource has another version.",
	)
}

func wellFormedTag(tag string) bool {
	return search.ValidID(strings.Trim(strings.TrimPrefix(tag, "W/"), `"`))
}

// nothingToMatch refuses If-Match where there is no version to match.
func nothingToMatch(r *request) error {
	if len(tags(r.header, "If-Match")) == 0 {
		return nil
	}
	return fail(
		http.StatusPreconditionFailed,
		"conflict",
		"There is no current version to match.",
	)
}
