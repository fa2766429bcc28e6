package fhir

import (
	"fmt"
	"net/http"
	"sort"
	"strings"

	"fhirdest.example/fhir/search"
	"fhirdest.example/fhir/splice"
	"fhirdest.example/fhir/tree"
	"fhirdest.example/fhir/validate"
)

// prepareTransaction judges every entry before a state of the store is held.
func (s *service) prepareTransaction(r *request) error {
	o := validate.Options{Conditional: true, Types: entryTypes(r.entries)}
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

			sub.in = in
		} else if e.in.prepare != nil {
			if err := e.in.prepare(s, sub); err != nil {
				return e.refuse(err)
			}
		}
	}

	return nil
}

// entryTypes gives the types of what entries write by their fullUrls:
// references to these are judged as what they will lead to.
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
// refers to it would be judged by the one and lead to the other.
func (e *batchEntry) trueURL(typ string) error {
	parts := strings.Split(e.fullURL, "/")
	if n := len(parts); n > 2 && search.IsType(parts[n-2]) && parts[n-2] != typ {
		return fail(http.StatusBadRequest, "value", "The fullUrl names a "+parts[n-2]+", the resource is a "+typ+".")
	}
	return nil
}

// refuse tells which entry a failure of the whole comes from.
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

	if f.status == http.StatusNotFound || f.status == http.StatusGone || f.status == http.StatusMethodNotAllowed {
		f.status, f.allow = http.StatusBadRequest, "" // the path of the transaction itself is there
	}
	return &f
}

// transaction does all entries or none (R4 http 3.1.0.11.2): deletions, then
// creations, then updates and patches, then reads.
func (s *service) transaction(c Change, r *request) (*response, error) {
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

	names, err := s.aimAll(c, r)
	if err != nil {
		return nil, err
	}

	for _, e := range r.entries {
		if e.req.in != nil {
			if err := s.linkEntry(c, r, e, names); err != nil {
				return nil, err
			}
		}
	}

	for _, e := range inOrder(r.entries) {
		if err := s.doEntry(c, e); err != nil {
			return nil, e.refuse(err)
		}
		if err := r.take(e); err != nil {
			return nil, e.refuse(err)
		}
		s.auditWith(c, e.req, e.in)
	}

	return s.results(r, "transaction-response"), nil
}

func (s *service) doEntry(c Change, e *batchEntry) (err error) {
	switch {
	case e.resp != nil && e.resp.status == http.StatusOK && e.done:
		return nil
	case e.in.change != nil:
		e.resp, err = e.in.change(s, c, e.req)
	default:
		e.resp, err = e.in.read(s, c, e.req)
		if f := (*failure)(nil); err != nil && asStatus(err, &f) {
			e.resp, err = f.response(), nil // a read that finds nothing undoes no write
		}
	}

	return err
}

// asStatus reports whether a read's failure is an answer for its entry alone.
func asStatus(err error, f **failure) bool {
	*f = asFailure(err)
	return (*f).status == http.StatusNotFound || (*f).status == http.StatusGone
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
	sort.SliceStable(sorted, func(i, j int) bool { return order(rank, sorted[i]) < order(rank, sorted[j]) })
	return sorted
}

func order(rank map[string]int, e *batchEntry) int {
	if e.in.change == nil { // a search may be a POST
		return len(rank)
	}
	return rank[e.req.method]
}

// aimAll finds what each write is about, refuses two writes of one resource,
// and gives the references that stand for entries.
func (s *service) aimAll(c Change, r *request) (map[string]search.Ref, error) {
	names, seen, conditions := map[string]search.Ref{}, map[search.Ref]*batchEntry{}, map[string]bool{}
	for _, e := range r.entries {
		e.resp, e.done, e.req.match = nil, false, nil
		ref, err := s.aim(c, e)
		if err == nil {
			err = e.alone(conditions)
		}
		if err != nil {
			return nil, e.refuse(err)
		}
		if ref.Type == "" {
			continue
		}
		if other := seen[ref]; other != nil && clash(other, e) {
			return nil, e.refuse(fail(http.StatusBadRequest, "duplicate", "Two entries write the same resource."))
		}

		if seen[ref] == nil || !e.done {
			seen[ref] = e
		}
		e.target = ref
		if e.fullURL == "" {
			continue
		}
		if _, ok := names[e.fullURL]; ok { // R4 bundle.html, bdl-7
			return nil, e.refuse(fail(http.StatusBadRequest, "duplicate", "Two entries have the same fullUrl."))
		}

		names[e.fullURL] = ref
	}

	return names, nil
}

// alone refuses a second entry that would create a resource unless one matches
// the same criteria: the criteria would then match both.
func (e *batchEntry) alone(conditions map[string]bool) error {
	if e.req.match == nil || e.req.match.n > 0 || e.req.in == nil {
		return nil
	}
	key := e.req.in.typ + "?" + e.req.match.criteria
	if conditions[key] {
		return fail(http.StatusBadRequest, "duplicate", "Two entries create a resource under the same criteria.")
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

// aim gives the resource that an entry will write.
func (s *service) aim(c Change, e *batchEntry) (search.Ref, error) {
	sub := e.req
	switch {
	case e.in.change == nil:
	case sub.method == http.MethodPost:
		return s.aimCreate(c, e)
	case len(sub.path) == 2:
		return search.Ref{Type: sub.path[0], ID: sub.path[1]}, nil
	default:
		found, n, err := s.match(c, sub, sub.path[0], sub.criteria())
		if err != nil || n == 1 {
			return search.Ref{Type: found.Type, ID: found.ID}, err
		}
		if sub.in != nil && sub.in.id != "" {
			return search.Ref{Type: sub.in.typ, ID: sub.in.id}, nil
		}
		if sub.in != nil {
			return search.Ref{Type: sub.in.typ, ID: sub.in.newID}, nil
		}
	}

	return search.Ref{}, nil
}

// match finds what an entry's criteria match, and keeps it for when the entry
// is done: by then other entries may have changed what they would match.
func (s *service) match(c Change, sub *request, typ, query string) (Entry, int, error) {
	e, n, err := s.matchOne(c, sub, typ, query)
	if err == nil {
		sub.match = &match{e.Doc, n, query}
	}
	return e, n, err
}

// aimCreate gives the new id, or the resource that If-None-Exist found.
func (s *service) aimCreate(c Change, e *batchEntry) (search.Ref, error) {
	sub := e.req
	if cond := sub.header.Get("If-None-Exist"); cond != "" {
		query, err := s.ifNoneExist(cond, sub.in.typ)
		if err != nil {
			return search.Ref{}, err
		}

		found, n, err := s.match(c, sub, sub.in.typ, query)
		if err != nil {
			return search.Ref{}, err
		}
		if n == 1 {
			e.resp, err = s.written(sub, found, http.StatusOK)
			e.done = true
			return search.Ref{Type: found.Type, ID: found.ID}, err
		}
	}

	return search.Ref{Type: sub.in.typ, ID: sub.in.newID}, nil
}

// linkEntry puts real references in the place of those that name entries or
// give criteria.
func (s *service) linkEntry(c Change, r *request, e *batchEntry, names map[string]search.Ref) error {
	in := e.req.in
	var edits []splice.Edit
	err := eachString(in.root, func(v *tree.Value) error {
		text := v.Text()
		to, ok := names[text]
		if !ok && v.Name == "reference" {
			to, ok = names[s.beside(e, text)]
		}
		if ok && (v.Name == "reference" || strings.HasPrefix(text, "urn:")) {
			edits = append(edits, splice.Edit{
				From: v.From,
				To:   v.To(),
				With: `"` + to.Type + "/" + to.ID + `"`,
			})
			return nil
		}
		if v.Name != "reference" {
			return nil
		}
		if strings.HasPrefix(text, "urn:") {
			return fail(http.StatusBadRequest, "value", "A reference names an entry that is not there.")
		}

		typ, query, conditional := strings.Cut(text, "?")
		if !conditional || !search.IsType(typ) {
			return nil
		}

		found, n, err := s.matchOne(c, r, typ, query)
		if err == nil && n == 0 {
			err = fail(http.StatusPreconditionFailed, "not-found", "A conditional reference finds nothing.")
		}
		if err != nil {
			return err
		}

		edits = append(edits, splice.Edit{
			From: v.From,
			To:   v.To(),
			With: `"` + found.Type + "/" + found.ID + `"`,
		})

		return nil
	})
	if err != nil {
		return e.refuse(err)
	}
	if len(edits) == 0 {
		return nil
	}

	linked := *in
	linked.body = splice.Apply(in.body, edits...)
	if linked.root, err = tree.Parse(linked.body); err != nil {
		return e.refuse(err)
	}

	e.req.in = &linked
	return nil
}

// beside gives what a relative reference in an entry stands for: it is taken
// from the root of the entry's own fullUrl, or from the base when it has none
// (R4 bundle.html 2.36.4.1).
func (s *service) beside(e *batchEntry, reference string) string {
	if s.ex.Bases.ParseRef(reference).Type == "" || strings.Contains(reference, "://") {
		return ""
	}

	root := s.PublicBase
	if strings.Contains(e.fullURL, "://") {
		own := "/" + e.req.in.typ + "/"
		i := strings.LastIndex(e.fullURL, own)
		if i < 0 {
			return ""
		}
		root = e.fullURL[:i]
	}

	return root + "/" + reference
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
