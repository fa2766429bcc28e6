// Package access alone answers whether a grant may see or change something.
// What it decides is recorded as named checks, so that a refusal has a trace.
package access

import (
	"slices"
	"time"

	"fhirdest.example/fhir/scope"
	"fhirdest.example/fhir/search"
	"fhirdest.example/udap/trace"
)

// Grant is what a request's token allows. The zero value allows nothing.
type Grant struct {
	Scopes  scope.Set
	Patient string // id of the patient in context; "" for none
	Client  string // client_id
	TokenID string // names the token without being it
	// Community and Party identify the client's registration: the URI of its trust
	// community, and its own.
	Community, Party string
	// TokenRef is where the server finds the token's record again; no secret.
	TokenRef string
	// Approval names what a person granted, in its present state; "" for the client
	// itself.
	Approval string
	Subject  string // the person who granted the token; "" for the client itself
	User     string // reference to the resource that describes that person; "" for none

	// Patients are those whose records scopes of the context user reach: what the
	// person may see. AllPatients lets them reach everything.
	Patients    []string
	AllPatients bool

	// Grant is what the person granted, by its identifier and its revision; "" for
	// the client itself.
	Grant    string
	Revision uint64

	// Registration is the state of the client's registration that the token was
	// issued under: another number means that the client has lost rights since.
	Registration uint64
	Purposes     []string // of use, as the client asserted them for the token: system#code
	Expires      time.Time
	// Asserted is what the client asserted when it asked for the token; nil: nothing.
	Asserted *Asserted
	// AllRecords lets the scopes on AuditEvent reach the records of other
	// clients' requests; without it, a client sees those of its own.
	AllRecords bool
}

// Asserted is what a client asserts of the organization and the person for whom it
// asks, in its B2B authorization extension object (UDAP Security 5.2.1.1). Nobody has
// verified it.
type Asserted struct {
	Organization     string   `json:"organization_id,omitzero"` // a URI
	OrganizationName string   `json:"organization_name,omitzero"`
	SubjectName      string   `json:"subject_name,omitzero"`
	SubjectID        string   `json:"subject_id,omitzero"`
	SubjectRole      string   `json:"subject_role,omitzero"`
	ConsentPolicy    []string `json:"consent_policy,omitempty"`    // URIs
	ConsentReference []string `json:"consent_reference,omitempty"` // absolute URLs; never fetched
}

// shared lists the types that belong to no patient: a token with a patient in
// context may read them as far as its scopes name them, and write none.
var shared = map[string]bool{
	"Endpoint": true, "HealthcareService": true, "Location": true, "Medication": true, "Organization": true,
	"OrganizationAffiliation": true, "Practitioner": true, "PractitionerRole": true, "Questionnaire": true,
	"Substance": true, "ValueSet": true, "CodeSystem": true,
}

// Shared reports whether resources of a type belong to no patient.
func Shared(typ string) bool { return shared[typ] }

// Reader decides for one grant. It remembers what it has worked out, and is
// used by one request at a time.
type Reader struct {
	grant   *Grant
	bases   search.Bases
	rules   []Rule
	masks   bool // a rule may mask something
	filters map[question]search.Filter
	steps   []step

	narrowed map[question]narrowed

	targets   map[target]bool // of Provenances: whether the rules allow showing them
	targetsOf any             // the state that targets are of
}

// question is what a filter answers: which resources of a type allow something.
type question struct {
	typ string
	p   scope.Permission
}

// NewReader returns the Reader of a grant. bases are the base URLs of the
// server, for references to its own resources; rules are what binds the grant
// besides its scopes.
func NewReader(g *Grant, bases search.Bases, rules ...Rule) *Reader {
	return &Reader{
		grant:   g,
		bases:   bases,
		rules:   rules,
		masks:   slices.ContainsFunc(rules, masksAny),
		filters: map[question]search.Filter{},
		steps:   make([]step, 0, 2), // as many as a read has
	}
}

// Rules returns what binds the grant besides its scopes.
func (r *Reader) Rules() []Rule { return r.rules }

// May returns nil if the grant allows p on some resources of typ, and otherwise
// a *Refusal.
func (r *Reader) May(p scope.Permission, typ string) error {
	return r.MayOneOf(typ, p)
}

// MayOneOf returns nil if the grant allows any of ps on some resources of typ,
// and otherwise a *Refusal.
func (r *Reader) MayOneOf(typ string, ps ...scope.Permission) error {
	allowed := slices.ContainsFunc(ps, func(p scope.Permission) bool {
		return r.Can(p, typ)
	})
	r.record(step{
		check:  checkScope,
		passed: allowed,
		typ:    typ,
	})

	if allowed {
		return nil
	}

	f := &Refusal{Type: typ}
	for _, p := range ps {
		f.Scopes = append(f.Scopes, r.sufficient(p, typ)...)
	}

	return f
}

// Can is May for lists of types: it records nothing.
func (r *Reader) Can(p scope.Permission, typ string) bool {
	return !r.filter(p, typ).Empty()
}

// Everything reports whether the grant allows p on every resource of typ. Only
// such a grant may learn that an id is free.
func (r *Reader) Everything(p scope.Permission, typ string) bool {
	return r.filter(p, typ).All()
}

// Types lists the types on which the grant allows p.
func (r *Reader) Types(p scope.Permission) []string {
	var all []string
	for _, typ := range search.Types() {
		if r.Can(p, typ) {
			all = append(all, typ)
		}
	}
	return all
}

// filter returns which resources of typ the grant allows p on.
func (r *Reader) filter(p scope.Permission, typ string) search.Filter {
	q := question{typ, p}
	if f, ok := r.filters[q]; ok {
		return f
	}

	var f search.Filter
	for _, sc := range r.grant.Scopes.For(typ, p) {
		if sc.Type == "*" && typ == "AuditEvent" {
			continue // the record of who did what is not granted with "everything"
		}
		for _, clauses := range r.restrictions(sc, typ, p) {
			f = f.Or(clauses)
		}
	}

	r.filters[q] = f
	return f
}

// restrictions returns what must hold of a resource for a scope to allow it, as
// alternatives: one that is empty for all resources; none when the scope allows
// none.
func (r *Reader) restrictions(sc scope.Scope, typ string, p scope.Permission) [][]search.Clause {
	further, ok := r.conditions(sc, typ)
	if !ok {
		return nil
	}

	patients, everyone := r.patients(sc.Context)
	if everyone {
		return [][]search.Clause{further}
	}

	var all [][]search.Clause
	for _, id := range patients {
		if in, ok := inPatient(id, typ, p); ok {
			all = append(all, slices.Concat(in, further))
		}
	}

	return all
}

// patients returns whose records a context reaches; everyone for all that there is.
func (r *Reader) patients(context string) (ids []string, everyone bool) {
	switch context {
	case "system":
		return nil, true
	case "user":
		return r.grant.Patients, r.grant.AllPatients
	case "patient":
		return []string{r.grant.Patient}, false
	}
	return nil, false
}

// conditions returns what must hold of a resource beside whose record it is in;
// false for a restriction that cannot be enforced, which grants nothing.
func (r *Reader) conditions(sc scope.Scope, typ string) (all []search.Clause, ok bool) {
	if typ == "AuditEvent" && !r.grant.AllRecords {
		all = append(all, search.ByAgent(r.grant.Client))
	}
	parser := search.Parser{
		Bases:  r.bases,
		Masked: r.Masker(),
	}

	for _, q := range sc.Query {
		c, err := parser.Plain(typ, q.Name, q.Value)
		if err != nil {
			return nil, false
		}
		all = append(all, c)
	}

	return all, true
}

// inPatient returns what places a resource in the record of a patient; nothing for
// types that belong to no patient, which may be read.
func inPatient(patient, typ string, p scope.Permission) ([]search.Clause, bool) {
	if patient == "" || typ == "Group" { // a Group shows who else is in it
		return nil, false
	}
	if in, ok := search.InCompartment("Patient", patient, typ); ok {
		return []search.Clause{in}, true
	}
	return nil, shared[typ] && p&^(scope.Read|scope.Search) == 0
}

// sufficient lists the scopes that would allow p on typ.
func (r *Reader) sufficient(p scope.Permission, typ string) []string {
	if p == scope.Match {
		return []string{"system/" + typ + "." + p.String()}
	}

	types := []string{typ, "*"}
	if typ == "AuditEvent" {
		types = types[:1]
	}
	contexts := []string{"system"}

	for _, c := range []string{"user", "patient"} {
		patients, everyone := r.patients(c)
		if everyone || slices.ContainsFunc(patients, func(id string) bool {
			_, ok := inPatient(id, typ, p)
			return ok
		}) {
			contexts = append(contexts, c)
		}
	}

	allowed := []string{p.String()}
	switch {
	case p&^(scope.Read|scope.Search) == 0:
		allowed = append(allowed, "read")
	case p&(scope.Read|scope.Search) == 0:
		allowed = append(allowed, "write")
	}

	var all []string
	for _, c := range contexts {
		for _, t := range types {
			for _, a := range allowed {
				all = append(all, c+"/"+t+"."+a)
			}
		}
	}

	return all
}

// Checks that Readers record.
var (
	checkScope = trace.NewCheck("access.scope",
		"a scope of the token allows the interaction on the type", "FS-301 FS-302")
	checkResource = trace.NewCheck("access.resource",
		"the scopes that allow the interaction cover the resource", "FS-302 FS-303")
)
