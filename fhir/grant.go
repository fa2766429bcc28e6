package fhir

import (
	"crypto/sha256"
	"fmt"
	"maps"
	"net/http"

	"fhirdest.example/fhir/scope"
	"fhirdest.example/fhir/search"
)

// shared are types that belong to no patient: a token with a patient in
// context may read them as far as its scopes name them, and write none.
var shared = map[string]bool{
	"Endpoint": true, "HealthcareService": true, "Location": true, "Medication": true, "Organization": true,
	"OrganizationAffiliation": true, "Practitioner": true, "PractitionerRole": true, "Questionnaire": true,
	"Substance": true, "ValueSet": true, "CodeSystem": true,
}

type filterKey struct {
	typ string
	p   scope.Permission
}

// filter gives which resources of typ the grant allows p on.
func (s *service) filter(r *request, typ string, p scope.Permission) search.Filter {
	k := filterKey{typ, p}
	if f, ok := r.filters[k]; ok {
		return f
	}

	var f search.Filter
	for _, sc := range r.grant.Scopes.For(typ, p) {
		if sc.Type == "*" && typ == "AuditEvent" {
			continue // the record of who did what is not given with "everything"
		}
		if clauses, ok := s.restrictions(r.grant, sc, typ, p); ok {
			f = f.Or(clauses)
		}
	}

	if r.filters == nil {
		r.filters = map[filterKey]search.Filter{}
	}
	r.filters[k] = f
	return f
}

// restrictions gives what must hold of a resource for a scope to allow it; none
// for all resources, false when the scope allows none.
func (s *service) restrictions(g *Grant, sc scope.Scope, typ string, p scope.Permission) ([]search.Clause, bool) {
	var all []search.Clause
	switch sc.Context {
	case "system", "user":
	case "patient":
		if g.Patient == "" || typ == "Group" { // a Group tells who else is in it
			return nil, false
		}

		in, ok := search.InCompartment("Patient", g.Patient, typ)
		if ok {
			all = append(all, in)
		} else if !shared[typ] || p&^(scope.Read|scope.Search) != 0 {
			return nil, false
		}

	default:
		return nil, false
	}

	for _, q := range sc.Query {
		c, err := s.queries.Plain(typ, q.Name, q.Value)
		if err != nil {
			return nil, false // a restriction that cannot be enforced grants nothing
		}
		all = append(all, c)
	}

	return all, true
}

// need gives the filter, or a refusal when no resource of typ could pass.
func (s *service) need(r *request, typ string, p scope.Permission) (search.Filter, error) {
	f := s.filter(r, typ, p)
	if f.Empty() {
		fl := forbidden(fmt.Sprintf("The token's scopes do not allow this on %s.", typ))
		fl.www = fmt.Sprintf(`Bearer error="insufficient_scope", scope="system/%s.%s"`, typ, p)
		return f, fl
	}
	return f, nil
}

// binding tells grants apart for page links: the same client with the same
// scopes and patient may go on with a newer token.
func (g *Grant) binding() [32]byte {
	h := sha256.New()
	fmt.Fprintf(h, "%q %q", g.Client, g.Patient)
	for _, sc := range g.Scopes {
		fmt.Fprintf(h, " %q", sc.String())
	}
	return [32]byte(h.Sum(nil))
}

func denied(d *Denial) *failure {
	code := d.Code
	if code == "" {
		code = "login"
	}
	f := fail(d.Status, code, d.Text)
	f.header, f.trace = maps.Clone(d.Header), d.Trace
	switch {
	case d.Status == http.StatusServiceUnavailable:
		f.retry = 5
		return f
	case d.Status < 400 || d.Status > 499:
		f.status = http.StatusUnauthorized
	}

	if f.status == http.StatusUnauthorized && f.header.Get("WWW-Authenticate") == "" {
		f.www = "Bearer"
	}
	return f
}
