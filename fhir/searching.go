package fhir

import (
	"net/http"
	"slices"
	"strings"

	"fhirdest.example/fhir/scope"
	"fhirdest.example/fhir/search"
)

// searchType answers GET [base]/Type?... and POST [base]/Type/_search.
func (s *reader) searchType(sn Snapshot, r *request) (*response, error) {
	if err := r.may(scope.Search, r.path[0]); err != nil {
		return nil, err
	}
	return s.searchAt(sn, r, lookup{
		path:  r.path[0],
		types: r.path[:1],
	})
}

// searchSystem answers GET [base]?..., over the types that _type names.
func (s *reader) searchSystem(sn Snapshot, r *request) (*response, error) {
	types, err := s.typeList(r, "", scope.Search)
	if err != nil {
		return nil, err
	}
	return s.searchAt(sn, r, lookup{types: types})
}

// searchCompartment answers GET [base]/Patient/id/Type?..., and the same of
// other compartments. Whoever asks must be allowed to read what it is of.
func (s *reader) searchCompartment(sn Snapshot, r *request) (*response, error) {
	of, id, typ := r.path[0], r.path[1], r.path[2]
	if !slices.Contains(search.Compartments(), of) {
		return nil, fail(http.StatusNotFound, "not-supported",
			"There are compartments of "+strings.Join(search.Compartments(), ", ")+" only.")
	}
	if err := r.may(scope.Search, typ); err != nil {
		return nil, err
	}
	if _, err := r.find(sn, scope.Read, of, id); err != nil {
		return nil, err
	}

	in, ok := search.InCompartment(of, id, typ)
	if !ok {
		return nil, fail(
			http.StatusNotFound,
			"not-supported",
			typ+" is in no compartment of "+of+".",
		)
	}

	return s.searchAt(sn, r, lookup{
		path:  strings.Join(r.path[:3], "/"),
		types: []string{typ},
		also:  []search.Clause{in},
	})
}

// typeList reads _type, of the query that a page link at path holds if there is
// one: the types searched, all that the grant allows if none is named.
func (s *reader) typeList(r *request, path string, p scope.Permission) ([]string, error) {
	pairs, _, err := s.openPage(r, lookup{path: path})
	if err != nil {
		return nil, err
	}

	var types []string
	named := false
	for _, pair := range pairs {
		if pair.Name != "_type" {
			continue
		}

		named = true
		for _, t := range strings.Split(pair.Value, ",") {
			if !search.IsType(t) {
				return nil, fail(http.StatusBadRequest, "value",
					"_type names something that is no resource type.")
			}
			if err := r.may(p, t); err != nil {
				return nil, err
			}
			if !slices.Contains(types, t) {
				types = append(types, t)
			}
		}
	}

	if named {
		return types, nil
	}

	if types = r.access.Types(p); len(types) == 0 {
		return nil, forbidden("The token's scopes do not allow this on any type.")
	}
	return types, nil
}

// lookup is where a search looks.
type lookup struct {
	path  string // below the base, for links
	types []string
	also  []search.Clause // besides what the query asks
}

// searchAt does a search and gives one page of it.
func (s *reader) searchAt(sn Snapshot, r *request, at lookup) (*response, error) {
	pairs, mark, err := s.openPage(r, at)
	if err != nil {
		return nil, err
	}

	q, err := s.parserOf(r).Parse(
		r.ctx,
		at.types,
		s.ownQuery(pairs),
		r.prefers("handling=strict"),
	)
	if err != nil {
		return nil, err
	}

	if err := r.mayFollow(q); err != nil {
		return nil, err
	}

	q.Clauses = append(q.Clauses, at.also...)
	if after, forward := mark.number(); forward && len(q.Sort) == 0 && q.Summary != "count" {
		expect(sn, r, q.Patients(), after, q.Count)
	} else {
		expect(sn, r, q.Patients(), 0, 0)
	}

	f := r.access.Restrict(r.ctx, sn, source{sn})
	p, err := s.findPage(f, q, mark)
	if err != nil {
		return nil, err
	}

	p.at, p.q, p.finder = at, q, f
	return s.searchBundle(sn, r, p)
}

// parserOf returns the parser of a request: what is masked for its reader is no
// parameter.
func (s *core) parserOf(r *request) *search.Parser {
	p := *s.queries
	p.Masked = r.access.Masker()
	return &p
}

// findPage finds what one page has. It does not look past the page where no total is
// wanted (_total=none), or where the index has the order asked for.
func (s *reader) findPage(f *search.Finder, q *search.Query, m mark) (*page, error) {
	var total int
	var counted bool
	if q.Total != "none" || q.Summary == "count" {
		var err error
		if total, counted, err = search.Tally(f, q); err != nil {
			return nil, err
		}
	}
	if counted && q.Summary == "count" {
		return &page{
			found: &search.Result{},
			total: total,
		}, nil
	}

	position, forward := m.after()
	if forward && q.Summary != "count" && (q.Total == "none" || len(q.Sort) > 0 || counted) {
		found, ok, err := f.First(q, position, q.Count+1)
		if err != nil {
			return nil, err
		}
		if ok {
			p := &page{
				found:   found,
				to:      min(len(found.Docs), q.Count),
				total:   total,
				follows: m.whence == 'a',
			}
			if q.Total != "none" && !counted {
				p.total, err = search.Count(f, q)
			}
			return p, err
		}
	}

	found, err := f.Find(q)
	if err != nil {
		return nil, err
	}

	from, to, err := m.cut(found, q.Count)
	return &page{
		found:   found,
		from:    from,
		to:      to,
		total:   len(found.Docs),
		follows: from > 0,
	}, err
}
