package fhir

import (
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"fhirdest.example/fhir/scope"
	"fhirdest.example/fhir/search"
)

// page is one page of a search's result.
type page struct {
	at       lookup
	q        *search.Query
	found    *search.Result
	from, to int
	total    int  // how many matched, unless _total=none
	follows  bool // there are, or were, pages before this one
	finder   *search.Finder
}

// searchBundle writes a page as a Bundle, from the stored bytes.
func (s *reader) searchBundle(sn Snapshot, r *request, p *page) (*response, error) {
	b := make([]byte, 0, 64<<10)
	b = append(b, `{"resourceType":"Bundle","type":"searchset"`...)
	if p.q.Total != "none" || p.q.Summary == "count" {
		b = strconv.AppendInt(append(b, `,"total":`...), int64(p.total), 10)
	}
	b = s.appendLinks(b, r, p)
	if p.q.Summary == "count" {
		return &response{
			status: http.StatusOK,
			body:   append(b, '}'),
		}, nil
	}

	docs := p.found.Docs[p.from:p.to]
	more, whole, err := p.finder.Include(p.q, docs)
	if err != nil {
		return nil, err
	}

	if len(docs)+len(more)+len(p.q.Ignored) > 0 || !whole {
		if b, err = s.appendEntries(append(b, `,"entry":[`...), sn, r, p, more, whole); err != nil {
			return nil, err
		}
		b = append(b, ']')
	}

	return &response{
		status: http.StatusOK,
		body:   r.notes.security.Mark(append(b, '}')),
	}, nil
}

// maxAnswer bounds what one request gets, in bytes: a page, or all entries of a
// batch together. A small request must not make the server hold all it has.
const maxAnswer = 32 << 20

func tooMuch() error {
	return fail(http.StatusBadRequest, "too-costly",
		"The answer would be longer than the server gives at once: ask for less, by _count.")
}

func (s *reader) appendEntries(
	b []byte, sn Snapshot, r *request, p *page, more []search.Hit, whole bool,
) ([]byte, error) {
	start := len(b)
	b, err := s.appendDocs(b, start, sn, r, p, p.found.Docs[p.from:p.to], "match")
	if err == nil {
		b, err = s.appendIncluded(b, start, sn, r, p, more)
	}
	if err != nil {
		return nil, err
	}

	return s.appendIgnored(b, start, p.q, whole), nil
}

// appendDocs writes an entry for each resource; start is where the entries of
// the Bundle begin.
func (s *reader) appendDocs(
	b []byte, start int, sn Snapshot, r *request, p *page, docs []uint64, mode string,
) ([]byte, error) {
	var err error
	failed := sn.Entries(r.ctx, docs, func(e Entry) bool {
		b, err = s.appendEntry(b, start, sn, r, p, e, mode)
		return err == nil
	})
	return b, errors.Join(err, failed)
}

// appendIncluded writes an entry for each resource that the page brings along,
// and for each version that a reference names.
func (s *reader) appendIncluded(
	b []byte, start int, sn Snapshot, r *request, p *page, more []search.Hit,
) ([]byte, error) {
	var docs []uint64
	var versions []Entry
	for _, h := range more {
		if h.Version == 0 {
			docs = append(docs, h.Doc)
			continue
		}

		e, ok, err := sn.Version(r.ctx, h.Doc, h.Version)
		if err != nil {
			return nil, err
		}
		if !ok || e.Deleted {
			continue
		}

		seen, err := r.shows(sn, scope.Read, e)
		if err != nil {
			return nil, err
		}
		if seen && !s.onPage(sn, r, p, docs, e) {
			versions = append(versions, e)
		}
	}

	b, err := s.appendDocs(b, start, sn, r, p, docs, "include")
	for i := 0; err == nil && i < len(versions); i++ {
		b, err = s.appendEntry(b, start, sn, r, p, versions[i], "include")
	}

	return b, err
}

// onPage reports whether a version is the current one of a resource that the
// page has anyway.
func (s *reader) onPage(sn Snapshot, r *request, p *page, included []uint64, e Entry) bool {
	if !slices.Contains(p.found.Docs[p.from:p.to], e.Doc) && !slices.Contains(included, e.Doc) {
		return false
	}
	current, ok, err := sn.Entry(r.ctx, e.Doc)
	return err == nil && ok && current.Version == e.Version
}

func (s *reader) appendEntry(
	b []byte, start int, sn Snapshot, r *request, p *page, e Entry, mode string,
) ([]byte, error) {
	r.touch(e)
	if len(b) > start {
		b = append(b, ',')
	}
	b = append(b, `{"fullUrl":"`...)
	b = append(append(append(append(append(b, s.PublicBase...), '/'), e.Type...), '/'), e.ID...)
	b = append(b, `","resource":`...)
	seen, err := r.show(source{sn}, e)
	if err != nil {
		return nil, err
	}

	body, err := s.view(p.q, seen.body, mode)
	if err != nil {
		return nil, err
	}

	b = append(b, body...)
	if len(b) > maxAnswer {
		return nil, tooMuch()
	}
	return append(append(append(b, `,"search":{"mode":"`...), mode...), `"}}`...), nil
}

// view returns a resource's bytes as the query wants them. _elements applies to
// what matched, not to what is included (R4 search 3.1.1.5.9).
func (s *reader) view(q *search.Query, body []byte, mode string) ([]byte, error) {
	elements := q.Elements
	if mode == "include" {
		elements = nil
	}
	rd := reductionOf(q.Summary, elements)
	if rd == nil {
		return body, nil
	}

	return rd.apply(body)
}

// appendIgnored reports what of the query was not done (R4 search 3.1.1.1.2).
func (s *reader) appendIgnored(b []byte, start int, q *search.Query, whole bool) []byte {
	var issues []issue
	for _, detail := range q.Ignored {
		issues = append(issues, issue{
			severity: "warning",
			code:     "not-supported",
			detail:   "Left out: " + detail,
		})
	}

	if !whole {
		issues = append(issues, issue{
			severity: "warning",
			code:     "too-costly",
			detail:   "Not all included resources are here: there are too many, or :iterate goes on further.",
		})
	}

	if len(issues) == 0 {
		return b
	}

	if len(b) > start {
		b = append(b, ',')
	}
	b = append(append(b, `{"resource":`...), outcome(issues)...)
	return append(b, `,"search":{"mode":"outcome"}}`...)
}

// appendLinks writes self and, where there are such pages, first, previous,
// next and last. All but self are opaque and bound to the grant.
func (s *reader) appendLinks(b []byte, r *request, p *page) []byte {
	b = append(b, `,"link":[`...)
	self := s.selfURL(p.at, p.q.Used)
	r.notes.clean = strings.TrimPrefix(self, s.PublicBase+"/")
	b = appendLink(b, "self", self)
	n := len(p.found.Docs)
	if p.q.Summary == "count" || p.q.Count == 0 || n == 0 {
		return append(b, ']')
	}

	add := func(relation string, m mark) {
		b = appendLink(append(b, ','), relation, s.pageURL(r, p.at, p.q, m))
	}
	if p.follows || p.to < n {
		add("first", mark{})
	}

	// these pages are cut out of the whole result, which nobody has counted for _total=none
	whole := len(p.q.Sort) == 0 || p.total <= search.MaxSorted
	if p.q.Total != "none" && whole && (p.follows || p.to < n) {
		add("last", mark{whence: 'l'})
	}
	if p.follows && whole && p.from < n {
		add("previous", mark{'b', p.found.Position(p.from)})
	}
	if p.to < n {
		add("next", mark{'a', p.found.Position(p.to - 1)})
	}

	return append(b, ']')
}

// selfURL is what was done, as it would be asked for.
func (s *core) selfURL(at lookup, used []search.Pair) string {
	u := s.PublicBase
	if at.path != "" {
		u += "/" + at.path
	}
	if query := encodePairs(used); query != "" {
		u += "?" + query
	}
	return u
}

func appendLink(b []byte, relation, url string) []byte {
	b = append(append(append(b, `{"relation":"`...), relation...), `","url":`...)
	return append(appendString(b, url), '}')
}
