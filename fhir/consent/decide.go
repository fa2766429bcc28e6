package consent

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"fhirdest.example/fhir/search"
	"fhirdest.example/fhir/tree"
)

// Action is what is to be done with a resource, by the codes of consentaction.
type Action string

// The actions that requests come to. Reading, searching and exporting are all
// Access; what changes a resource that is there needs Access too, since its answers
// depend on what is there.
const (
	Access  Action = "access"
	Collect Action = "collect" // a new resource
	Correct Action = "correct" // a change or a deletion
)

// maxInForce bounds the Consents of one patient that are evaluated. Where there are
// more, everything is denied.
const maxInForce = 1000

// Policy is what the operator decides.
type Policy struct {
	// Denied are the purposes of use, with all narrower ones, for which nothing is
	// permitted unless a Consent permits it. "*" stands for all purposes.
	Denied []string
	// BreakGlass lets emergency access pass what Consents deny.
	BreakGlass bool
}

// Asker is the party that asks, as its token names it.
type Asker struct {
	Client       string   // client_id
	ClientURI    string   // of the client's registration
	Organization string   // organization_id of hl7-b2b; empty: none was asserted
	Subject      string   // subject_id of hl7-b2b; empty: none was asserted
	User         string   // the person's own resource, such as Practitioner/12; empty: none
	Personal     bool     // the token is of a person
	Purposes     []string // asserted purposes of use, as Purpose returns them
	Emergency    bool     // the request is emergency access (break-glass)
}

// purposes are those that count. A token of a person that asserts none is for the
// patient's own request, or for treatment.
func (a *Asker) purposes() []string {
	switch {
	case len(a.Purposes) > 0 || !a.Personal:
		return a.Purposes
	case isType(a.User, "Patient"), isType(a.User, "RelatedPerson"):
		return []string{"PATRQT"}
	}
	return []string{"TREAT"}
}

// isType reports whether a relative reference is to a resource of a type.
func isType(reference, typ string) bool {
	return len(reference) > len(typ) && reference[:len(typ)+1] == typ+"/"
}

// Resource is what is decided about.
type Resource struct {
	Type, ID string
	// Parse returns the resource. It is called when a provision asks for more than
	// its type and id.
	Parse func() (*tree.Value, error)
	// Labels returns its security labels as system|code. nil: those in its meta.
	Labels func() ([]string, error)
}

// Store is one state of the store, as decisions see it.
type Store interface {
	// InForce returns the Consents of a patient that are in force, in any order:
	// at most limit of them.
	InForce(ctx context.Context, patient string, limit int) ([]*Consent, error)
	// Load returns a resource, or nil when there is none.
	Load(ctx context.Context, ref search.Ref) (*tree.Value, error)
}

// Decider decides for one party in one state of the store.
type Decider struct {
	Asker  *Asker
	Policy *Policy
	Bases  search.Bases
	Now    time.Time
	Store  Store

	inForce few[[]*Consent]
	actors  map[actor]certainty
	settled few[Answer] // the answers about Access that no resource changes
}

// Answer is what was decided, and by what.
type Answer struct {
	Outcome   Outcome // Permit or Deny
	Patient   string  // id of the patient whose Consents decided; empty: none did
	Consent   string  // id of the Consent; empty: the policy's default decided
	Version   uint64  // of the Consent
	Provision string  // FHIRPath of the provision; empty: the Consent's base decided
	Reason    string  // a sentence
	Emergency bool    // emergency access passed what a Consent denies
}

// undecided is the reason of what is permitted since no Consent denies it.
const undecided = "no Consent of the patient decides"

// Decide answers whether the Consents of some patients permit all the actions on a
// resource that belongs to them. What belongs to nobody is permitted.
func (d *Decider) Decide(
	ctx context.Context, patients []string, r *Resource, actions ...Action,
) (Answer, error) {
	final := Answer{
		Outcome: Permit,
		Reason:  undecided,
	}
	for _, patient := range patients {
		if d.Asker.User == "Patient/"+patient {
			continue // nobody's own Consents keep their own data from them
		}

		a, err := d.ofPatient(ctx, patient, r, actions)
		if err != nil {
			return Answer{}, err
		}
		if a.Outcome == Deny && d.passes() {
			a.Outcome = Permit
			a.Emergency = true
		}
		if a.Outcome == Deny {
			return a, nil
		}
		if a.Consent != "" {
			final = a
		}
	}
	return final, nil
}

// passes reports whether emergency access passes what Consents deny.
func (d *Decider) passes() bool {
	return d.Policy.BreakGlass && d.Asker.Emergency
}

// ofPatient decides by the Consents of one patient.
func (d *Decider) ofPatient(
	ctx context.Context, patient string, r *Resource, actions []Action,
) (Answer, error) {
	all, err := d.consents(ctx, patient)
	if err != nil {
		return Answer{}, err
	}
	if len(all) > maxInForce {
		return Answer{
			Outcome: Deny,
			Patient: patient,
			Reason:  fmt.Sprintf("the patient has more than %d Consents in force", maxInForce),
		}, nil
	}

	var permitted Answer
	for _, action := range actions {
		a, err := d.byAction(ctx, patient, all, r, action)
		if err != nil || a.Outcome == Deny {
			return a, err
		}
		permitted = a
	}
	return permitted, nil
}

func (d *Decider) byAction(
	ctx context.Context, patient string, all []*Consent, r *Resource, action Action,
) (Answer, error) {
	if a, known := d.settled.get(patient); known && action == Access {
		return a, nil
	}

	q := &question{
		Decider:  d,
		resource: r,
		action:   action,
	}
	a := q.answer(ctx, patient, all)
	if q.err != nil {
		return Answer{}, q.err
	}
	if action == Access && !q.looked {
		d.settled.set(patient, a)
	}
	return a, nil
}

// answer joins what a patient's Consents decide.
func (q *question) answer(ctx context.Context, patient string, all []*Consent) Answer {
	permitted := Answer{}
	for _, c := range all {
		outcome, path, reason := c.decide(ctx, q)
		if q.err != nil {
			return Answer{}
		}

		a := Answer{
			Outcome:   outcome,
			Patient:   patient,
			Consent:   c.ID,
			Version:   c.Version,
			Provision: path,
			Reason:    reason,
		}
		switch {
		case outcome == Deny:
			return a
		case outcome == Permit && permitted.Outcome == Silent:
			permitted = a
		}
	}

	if permitted.Outcome == Permit {
		return permitted
	}
	return q.byDefault(patient)
}

// byDefault is the answer where no Consent decides.
func (d *Decider) byDefault(patient string) Answer {
	a := Answer{
		Outcome: Permit,
		Patient: patient,
		Reason:  undecided,
	}

	asserted := d.Asker.purposes()
	for _, denied := range d.Policy.Denied {
		within := func(purpose string) bool {
			return Is(purpose, denied) || !KnownPurpose(purpose)
		}
		if denied == "*" || len(asserted) == 0 || slices.ContainsFunc(asserted, within) {
			a.Outcome = Deny
			a.Reason = "no Consent of the patient permits it, as the server's policy asks for this purpose"
		}
	}
	return a
}

// consents returns the Consents of a patient that count, those that are superseded
// left out.
func (d *Decider) consents(ctx context.Context, patient string) ([]*Consent, error) {
	if all, known := d.inForce.get(patient); known {
		return all, nil
	}

	all, err := d.Store.InForce(ctx, patient, maxInForce+1)
	if err != nil {
		return nil, err
	}
	if n := len(all); n > 1 && n <= maxInForce {
		all = latest(all)
	}

	d.inForce.set(patient, all)
	return all, nil
}

// latest leaves out the Consents that others supersede. They are ordered, the
// latest first.
func latest(all []*Consent) []*Consent {
	all = slices.Clone(all)
	slices.SortStableFunc(all, func(x, y *Consent) int {
		return cmp.Or(y.given.Compare(x.given), y.stored.Compare(x.stored))
	})

	var left []*Consent
	names, sources := map[string]bool{}, map[string]bool{}
	for _, c := range all {
		over := sources[c.ID]
		for _, name := range c.names {
			over = over || names[name]
		}
		if !over {
			left = append(left, c)
		}

		for _, name := range c.names {
			names[name] = true
		}
		if c.supersedes != "" {
			sources[c.supersedes] = true
		}
	}
	return left
}

// decide returns what a Consent decides, and the provision that does.
func (c *Consent) decide(ctx context.Context, q *question) (outcome Outcome, path, reason string) {
	if c.unclear != "" {
		return Deny, "", "the Consent cannot be understood: " + c.unclear
	}

	if c.root != nil {
		if outcome, path := c.root.decide(ctx, q); outcome != Silent {
			return outcome, path, reasons[outcome]
		}
	}

	// An exception that does not apply leaves the base; a provision that repeats the
	// base limits it.
	if c.root == nil || c.root.outcome != c.base {
		return c.base, "", reasons[c.base]
	}
	return Silent, "", ""
}

var reasons = map[Outcome]string{
	Permit: "a Consent of the patient permits it",
	Deny:   "a Consent of the patient denies it",
}

// decide returns what a provision decides; Silent when it does not apply.
func (r *rule) decide(ctx context.Context, q *question) (Outcome, string) {
	outcome := r.outcome
	if r.unclear {
		outcome = Deny
	}

	applies := q.applies(ctx, r, outcome)
	if applies == no || applies == maybe && outcome == Permit {
		return Silent, ""
	}
	if r.unclear {
		return Deny, r.path
	}

	path := r.path
	for _, below := range r.rules {
		exception, at := below.decide(ctx, q)
		if exception == Deny {
			return Deny, at
		}
		if exception == Permit {
			outcome = Permit
			path = at
		}
	}
	return outcome, path
}
