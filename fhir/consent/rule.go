package consent

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"fhirdest.example/fhir/access"
	"fhirdest.example/fhir/scope"
	"fhirdest.example/fhir/search"
	"fhirdest.example/fhir/tree"
	"fhirdest.example/udap/trace"
)

var checkConsent = trace.NewCheck("access.consent",
	"the Consents of the patients to whom the resource belongs permit the use", "FS-302 FS-309 FS-411")

// exempt are the types that Consents say nothing about: themselves, since whoever may
// read or write them by scope must be able to change one that denies; Groups, which
// are no patient's record (their members' resources are decided one by one); and the
// record of who did what.
var exempt = []string{"Consent", "Group", "AuditEvent"}

// Rule is the access.Rule of the patients' Consents, for one request.
type Rule struct {
	Asker  *Asker
	Policy *Policy
	Bases  search.Bases
	Now    time.Time
	Cache  *Cache
	// Labels, optional, returns all security labels that count for a resource; nil:
	// those in its meta.
	Labels func(typ string, root *tree.Value) []search.Coding

	noted   []Answer      // see Take
	of      access.Source // whose state decider has seen; nil: none
	decider *Decider

	consents any  // the state of the Consents that decider has seen; nil: unknown
	known    bool // whether idle is known of that state
	idle     bool // no Consent decides anything in that state
}

// Check implements access.Rule.
func (*Rule) Check() trace.Check { return checkConsent }

// Clauses implements access.Rule: Screen decides about what searches find.
func (*Rule) Clauses(scope.Permission, string) (all []search.Clause, exact bool) {
	return nil, true
}

// Decide implements access.Rule.
func (r *Rule) Decide(
	ctx context.Context, src access.Source, p scope.Permission, v access.Resource,
) (access.Decision, error) {
	var d access.Decision
	if slices.Contains(exempt, v.Type) {
		return d, nil
	}
	r.follow(src)
	if len(v.Terms) == 0 || v.Type == "Bundle" { // it would have to be read
		if idle, err := r.isIdle(ctx, src); err != nil || idle {
			return d, err
		}
	}

	if p&^(scope.Read|scope.Search) == 0 && r.decider.settled.any { // one of many
		if idle, err := r.isIdle(ctx, src); err != nil || idle {
			return d, err
		}
		if permitted, expressly := r.permits(v.Type, v.ID, v.Terms); permitted {
			d.Permits = expressly
			return d, nil
		}
	}

	a, err := r.about(ctx, src, p, v)
	if err != nil {
		return d, err
	}
	r.note(a)
	if a.Outcome == Deny {
		d.Reason = access.Reason(a.Text())
	}
	d.Permits = a.Outcome == Permit && a.Consent != "" && !a.Emergency
	return d, nil
}

// permits reports whether it is known already that all patients to whom a resource
// belongs permit everything; expressly, that a Consent does, and not only that none
// denies it.
func (r *Rule) permits(typ, id string, terms search.Terms) (all, expressly bool) {
	if typ == "Bundle" || len(terms) == 0 || outside()[typ] != nil {
		return false, false
	}

	all = true
	settled := &r.decider.settled
	if typ == "Patient" {
		a, _ := settled.get(id)
		all = a.Outcome == Permit
		expressly = a.Consent != ""
	}
	search.Patients(typ, terms, func(patient []byte) {
		a := settled.of(patient)
		all = all && a.Outcome == Permit
		expressly = expressly || a.Consent != ""
	})
	return all, expressly
}

// maxNoted bounds the decisions that are noted of one request.
const maxNoted = 16

// note keeps a decision for the audit record: one that denies, or that emergency access
// has passed.
func (r *Rule) note(a Answer) {
	if a.Outcome != Deny && !a.Emergency || len(r.noted) >= maxNoted {
		return
	}
	if !slices.Contains(r.noted, a) {
		r.noted = append(r.noted, a)
	}
}

// Take returns the decisions about single resources since it was called last that
// denied, or that emergency access has passed, each once. What a search leaves out is
// not among them.
func (r *Rule) Take() []Answer {
	noted := r.noted
	r.noted = nil
	return noted
}

// Text is the reason of an answer, with what decided.
func (a *Answer) Text() string {
	switch {
	case a.Consent == "":
		return a.Reason
	case a.Provision == "":
		return fmt.Sprintf("%s: Consent/%s", a.Reason, a.Consent)
	}
	return fmt.Sprintf("%s: Consent/%s, %s", a.Reason, a.Consent, a.Provision)
}

// follow makes a decider for a state. What it has found is kept as long as the state
// is the same; of one that is being changed, only which Consents there are, as long as
// none of them has changed.
func (r *Rule) follow(src access.Source) {
	state := src.State()
	if r.decider != nil && state != nil && r.of != nil && r.of.State() == state {
		return
	}

	var inForce few[[]*Consent]
	if same := src.Consents(); same == nil || same != r.consents {
		r.known = false
		r.consents = same
	} else if r.decider != nil {
		inForce = r.decider.inForce
	}

	r.of = src
	r.decider = &Decider{
		Asker:  r.Asker,
		Policy: r.Policy,
		Bases:  r.Bases,
		Now:    r.Now,
		Store: &store{
			src:   src,
			bases: r.Bases,
			cache: r.Cache,
		},
		inForce: inForce,
	}
}

// isIdle reports whether no Consent decides anything in a state: there is none that is
// active, and none is needed.
func (r *Rule) isIdle(ctx context.Context, src access.Source) (bool, error) {
	if r.known {
		return r.idle, nil
	}

	idle := len(r.Policy.Denied) == 0
	active, ok := false, false
	if idle {
		active, ok = r.decider.Store.(*store).anyActive(ctx)
		idle = !active
	}
	if idle && !ok {
		err := src.Having(ctx, activeConsents(), func(uint64) bool {
			idle = false
			return false
		})
		if err != nil {
			return false, err
		}
	}
	r.known = true
	r.idle = idle
	return idle, nil
}

// activeConsents is the clause of the Consents that are active.
var activeConsents = sync.OnceValue(func() search.Clause { return withStatus("active") })

// allConsents is the clause of all Consents: each has a status, one of those of R4.
var allConsents = sync.OnceValue(func() search.Clause {
	return withStatus("draft,proposed,active,rejected,inactive,entered-in-error")
})

// withStatus is the clause of the Consents with one of some statuses.
func withStatus(list string) search.Clause {
	c, err := new(search.Parser).Plain("Consent", "status", list)
	if err != nil {
		panic(err) // R4's Consent has the parameter
	}
	return c
}

// about decides about one version of a resource. Its body is read when a provision
// asks for it; the terms of a version that has none are extracted.
func (r *Rule) about(
	ctx context.Context, src access.Source, p scope.Permission, v access.Resource,
) (Answer, error) {
	var root *tree.Value
	parse := func() (*tree.Value, error) {
		if root != nil {
			return root, nil
		}
		if v.Body == nil {
			var err error
			if v, err = src.Resource(ctx, v.Doc); err != nil {
				return nil, err
			}
		}
		var err error
		root, err = src.Parse(v)
		return root, err
	}

	if v.Type == "Bundle" {
		return r.aboutBundle(ctx, p, parse)
	}
	terms := v.Terms
	if len(terms) == 0 {
		root, err := parse()
		if err != nil {
			return Answer{}, err
		}
		if terms, err = r.extract(v.Type, v.ID, root); err != nil {
			return Answer{}, err
		}
	}
	return r.decide(ctx, p, v.Type, v.ID, terms, parse)
}

// decide decides about a resource with these terms.
func (r *Rule) decide(
	ctx context.Context, p scope.Permission, typ, id string, terms search.Terms,
	parse func() (*tree.Value, error),
) (Answer, error) {
	of := &Resource{
		Type:  typ,
		ID:    id,
		Parse: parse,
	}
	if r.Labels != nil {
		of.Labels = func() (labels []string, err error) {
			root, err := parse()
			if err != nil {
				return nil, err
			}
			for _, c := range r.Labels(typ, root) {
				labels = append(labels, c.System+"|"+c.Code)
			}
			return labels, nil
		}
	}
	return r.decider.Decide(ctx, patients(typ, id, terms), of, actionsOf(p)...)
}

func (r *Rule) extract(typ, id string, root *tree.Value) (search.Terms, error) {
	x := search.Extractor{Bases: r.Bases}
	return x.Extract(typ, root, search.Stamp{ID: id})
}

// aboutBundle decides about a stored Bundle by each resource in it: one that may not
// be used hides the whole.
func (r *Rule) aboutBundle(
	ctx context.Context, p scope.Permission, parse func() (*tree.Value, error),
) (Answer, error) {
	all := Answer{Outcome: Permit}
	root, err := parse()
	if err != nil {
		return all, err
	}

	for _, e := range root.Get("entry").Each() {
		in := e.Get("resource")
		typ, id := in.Get("resourceType").Text(), in.Get("id").Text()
		if !search.IsType(typ) || slices.Contains(exempt, typ) {
			continue
		}

		var a Answer
		inside := func() (*tree.Value, error) { return in, nil }
		if typ == "Bundle" {
			a, err = r.aboutBundle(ctx, p, inside)
		} else {
			a, err = r.aboutEntry(ctx, p, typ, id, in)
		}
		if err != nil || a.Outcome == Deny {
			return a, err
		}
		if a.Consent != "" {
			all = a
		}
	}
	return all, nil
}

func (r *Rule) aboutEntry(
	ctx context.Context, p scope.Permission, typ, id string, root *tree.Value,
) (Answer, error) {
	terms, err := r.extract(typ, id, root)
	if err != nil {
		return Answer{}, err
	}
	return r.decide(ctx, p, typ, id, terms, func() (*tree.Value, error) { return root, nil })
}

// patients returns the ids of the patients to whom a resource belongs: those in whose
// compartment it is. Of a type that is in no patient's compartment, such as Device,
// it is the patient or subject that it names.
func patients(typ, id string, terms search.Terms) []string {
	var ids []string
	add := func(patient string) {
		if !slices.Contains(ids, patient) {
			ids = append(ids, patient)
		}
	}

	if typ == "Patient" {
		add(id)
	}
	search.Patients(typ, terms, func(patient []byte) {
		add(string(patient))
	})
	for _, code := range outside()[typ] {
		search.References(typ, code, terms, func(to, patient string) {
			if to == "Patient" {
				add(patient)
			}
		})
	}
	return ids
}

// outside has, for each type that is in no patient's compartment, the search
// parameters that name a patient.
var outside = sync.OnceValue(func() map[string][]string {
	all := map[string][]string{}
	for _, typ := range search.Types() {
		if _, in := search.InCompartment("Patient", "x", typ); in {
			continue
		}
		for _, code := range []string{"patient", "subject"} {
			if search.Lookup(typ, code) != nil {
				all[typ] = append(all[typ], code)
			}
		}
	}
	return all
})

// actionsOf returns what an interaction comes to.
func actionsOf(p scope.Permission) []Action {
	switch {
	case p&scope.Create != 0:
		return []Action{Collect}
	case p&(scope.Update|scope.Delete) != 0:
		return []Action{Access, Correct}
	}
	return []Action{Access}
}

// store reads Consents and other resources in one state.
type store struct {
	src   access.Source
	bases search.Bases
	cache *Cache

	dated  bool   // number is that of the last change of a Consent
	number uint64 // 0: not known
	log    any    // that it is in
}

// maxLooked bounds the Consents of one patient that are read to find those in force.
// Where there are more, everything is denied.
const maxLooked = 10_000

// maxRead bounds the bytes of the active Consents of one patient: so much is read and
// evaluated at each decision.
const maxRead = 2 << 20

// tooMuch is a Consent that denies everything, in the place of more than is evaluated.
func tooMuch(patient, why string) []*Consent {
	return []*Consent{{
		patient: patient,
		unclear: why,
	}}
}

// tooLong is tooMuch where the active ones have more than maxRead bytes.
func tooLong(patient string) []*Consent {
	return tooMuch(patient, fmt.Sprintf("those of the patient have more than %d bytes", maxRead))
}

// InForce implements Store.
func (s *store) InForce(ctx context.Context, patient string, limit int) ([]*Consent, error) {
	if all, ok := s.ofPatient(ctx, patient); ok {
		return inForce(patient, all, limit), nil
	}

	of := consentsOf(patient)
	if err := s.src.Prepare(ctx, []search.Clause{of}); err != nil {
		return nil, err
	}

	docs := map[uint64]bool{}
	err := s.src.Having(ctx, of, func(doc uint64) bool {
		docs[doc] = true
		return len(docs) <= maxLooked
	})
	if err != nil {
		return nil, err
	}
	if len(docs) > maxLooked {
		return tooMuch(patient, fmt.Sprintf("the patient has more than %d, in force or not", maxLooked)), nil
	}

	active := search.Filter{}.Or([]search.Clause{activeConsents()})
	var all []*Consent
	var failed error
	size := 0
	err = s.src.Resources(ctx, slices.Sorted(maps.Keys(docs)), func(v access.Resource) bool {
		if !active.Passes(v.ID, v.Terms) {
			return true
		}
		if size += len(v.Body); size > maxRead {
			return false
		}

		var c *Consent
		c, failed = s.compiled(v)
		if failed == nil && c != nil && c.patient == patient {
			all = append(all, c)
		}
		return failed == nil && len(all) < limit
	})

	switch {
	case err != nil || failed != nil:
		return nil, cmp.Or(failed, err)
	case size > maxRead:
		return tooLong(patient), nil
	}
	return all, nil
}

// Ahead implements access.Preparer.
func (r *Rule) Ahead(ctx context.Context, src access.Source, patients []string) (all []search.Clause) {
	r.follow(src)
	if r.decider.Store.(*store).areKnown(ctx) {
		return nil
	}

	for _, patient := range patients {
		all = append(all, consentsOf(patient))
	}
	return all
}

// consentsOf is the clause of the Consents of a patient.
func consentsOf(patient string) search.Clause {
	of, _ := search.InCompartment("Patient", patient, "Consent")
	return of
}

func (s *store) compiled(v access.Resource) (*Consent, error) {
	if c, known := s.cache.get(v); known {
		return c, nil
	}

	root, err := s.src.Parse(v)
	if err != nil {
		return nil, err
	}
	c := Parse(root, v.Updated, s.bases)
	if c != nil {
		c.Version = v.Version
	}
	s.cache.put(v, c)
	return c, nil
}

// Load implements Store.
func (s *store) Load(ctx context.Context, ref search.Ref) (*tree.Value, error) {
	v, ok, err := s.src.Current(ctx, ref.Type, ref.ID)
	if err != nil || !ok || v.Deleted {
		return nil, err
	}
	return s.src.Parse(v)
}

// maxCached bounds how many Consents are kept compiled, and maxCachedBody how long
// one may be that is.
const (
	maxCached     = 8192
	maxCachedBody = 16 << 10
)

// Cache keeps Consents compiled, by the very bytes that they were made of, and all of a
// store by the number of their last change: it cannot be out of date. The zero value is empty; nil keeps nothing.
type Cache struct {
	mu   sync.Mutex
	docs map[uint64]cached

	known known
}

// cached is a Consent with what it was made of; compiled is nil for one that is not
// in force.
type cached struct {
	body     []byte
	updated  time.Time
	compiled *Consent
}

func (c *Cache) get(v access.Resource) (*Consent, bool) {
	if c == nil {
		return nil, false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	known, ok := c.docs[v.Doc]
	if !ok || !known.updated.Equal(v.Updated) || !bytes.Equal(known.body, v.Body) {
		return nil, false
	}
	return known.compiled, true
}

func (c *Cache) put(v access.Resource, compiled *Consent) {
	if c == nil || len(v.Body) > maxCachedBody {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.docs == nil {
		c.docs = map[uint64]cached{}
	}
	if len(c.docs) >= maxCached {
		for doc := range c.docs { // any one makes room
			delete(c.docs, doc)
			break
		}
	}
	c.docs[v.Doc] = cached{
		body:     bytes.Clone(v.Body),
		updated:  v.Updated,
		compiled: compiled,
	}
}
