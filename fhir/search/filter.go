package search

import (
	"bytes"
	"context"
	"encoding/binary"
	"slices"
	"strings"
)

// Filter is which resources of one type may be seen. The zero value lets nothing
// through.
type Filter struct {
	all bool
	any [][]Clause // one of them, all clauses of which hold
}

// Everything lets every resource through.
func Everything() Filter { return Filter{all: true} }

// Empty reports whether nothing can pass.
func (f Filter) Empty() bool {
	return !f.all && len(f.any) == 0
}

// All reports whether everything passes.
func (f Filter) All() bool { return f.all }

// Or lets through what passes f or satisfies all the clauses; no clauses let
// everything through.
func (f Filter) Or(clauses []Clause) Filter {
	if f.all || len(clauses) == 0 {
		return Everything()
	}
	return Filter{any: append(f.any[:len(f.any):len(f.any)], clauses)}
}

// And lets through what passes f and satisfies all the clauses.
func (f Filter) And(clauses []Clause) Filter {
	if len(clauses) == 0 || f.Empty() {
		return f
	}
	if f.all {
		return Filter{any: [][]Clause{clauses}}
	}

	var any [][]Clause
	for _, of := range f.any {
		any = append(any, slices.Concat(of, clauses))
	}
	return Filter{any: any}
}

// Passes reports whether a resource passes, by its terms. Filters must be made of plain
// clauses (see Plain).
func (f Filter) Passes(id string, t Terms) bool {
	if f.all {
		return true
	}

	for _, clauses := range f.any {
		if allHold(clauses, id, t) {
			return true
		}
	}

	return false
}

func allHold(clauses []Clause, id string, t Terms) bool {
	for i := range clauses {
		if !clauses[i].holds(id, t) {
			return false
		}
	}
	return true
}

// InCompartment is the clause by which a resource of typ belongs to a patient's,
// an encounter's, ... compartment (R4 compartmentdefinition.html): it is that
// one, or refers to it. False when resources of typ never do.
func InCompartment(of, id, typ string) (Clause, bool) {
	if typ == of {
		return Clause{ids: map[string]struct{}{id: {}}}, true
	}
	return Referring(of, id, typ)
}

// Referring is the clause by which a resource of typ refers to a patient, an encounter,
// ... by a parameter of its compartment; of two Patients, by a link from one to the
// other. False when resources of typ never do.
func Referring(of, id, typ string) (Clause, bool) {
	var c Clause
	for _, code := range tables().compartment[of][typ] {
		if p := Lookup(typ, code); p != nil {
			c.probes = append(c.probes, p.exactly(id, sep, of))
		}
	}

	return c, len(c.probes) > 0
}

// Each calls f with each resource of which the index has a term of the clause, until f
// returns false: a clause that Plain or InCompartment returned, and that names no
// resource itself.
func (c Clause) Each(ctx context.Context, ix Index, f func(doc uint64) bool) error {
	goOn := true
	for i := range c.probes {
		p := &c.probes[i]
		err := ix.Scan(ctx, p.from, p.to, func(term []byte, doc uint64) bool {
			if p.keep == nil || p.keep(term[2:]) {
				goOn = f(doc)
			}
			return goOn
		})
		if err != nil || !goOn {
			return err
		}
	}
	return nil
}

// AppendTerms appends the terms that Each asks the index for, without those of which
// only a part is known.
func (c *Clause) AppendTerms(terms [][]byte) [][]byte {
	for i := range c.probes {
		if p := &c.probes[i]; p.single() {
			terms = append(terms, p.from[:len(p.from)-1])
		}
	}
	return terms
}

// Places reports whether a parameter places resources of typ in a compartment.
func Places(of, typ, code string) bool {
	return slices.Contains(tables().compartment[of][typ], code)
}

// Patients calls f with the id of each patient in whose compartment a resource
// is, by its terms; the same id may come twice. The id is valid only during the
// call.
func Patients(typ string, t Terms, f func(id []byte)) {
	params := tables().patients[typ]
	for len(t) > 0 && len(params) > 0 {
		var term []byte
		if term, t = t.next(); len(term) < 2 {
			return
		}

		id := binary.BigEndian.Uint16(term)
		for len(params) > 0 && params[0] < id {
			params = params[1:]
		}
		if len(params) == 0 || params[0] != id {
			continue
		}

		patient, ok := bytes.CutSuffix(term[2:], toPatient)
		if ok && len(patient) > 0 && patient[0] >= ' ' && bytes.IndexByte(patient, sep[0]) < 0 {
			f(patient)
		}
	}
}

// Patients returns the ids of the patients that the query names: most of what it finds
// is in their records.
func (q *Query) Patients() (ids []string) {
	for i := range q.Clauses {
		c := &q.Clauses[i]
		if c.not {
			continue
		}

		for j := range c.probes {
			if id, ok := c.probes[j].patient(); ok {
				ids = append(ids, id)
			}
		}
	}
	return ids
}

// patient returns the id of the patient that a stretch of references is about.
func (p *probe) patient() (id string, ok bool) {
	param := tables().byID[binary.BigEndian.Uint16(p.from)]
	if p.keep != nil || param == nil || !slices.Contains(param.Targets, "Patient") {
		return "", false
	}

	text, rest, _ := strings.Cut(string(p.from[2:]), sep)
	return text, ValidID(text) && (rest == "" || rest == "Patient\x00")
}

// toPatient ends the value of a reference to a patient.
var toPatient = []byte(sep + "Patient")

// Tokens calls f with the system and code of each value that a resource has for a token
// parameter.
func Tokens(typ, param string, t Terms, f func(system, code string)) {
	p := Lookup(typ, param)
	if p == nil {
		return
	}
	t.of(p.id, func(value []byte) bool {
		code, system, ok := strings.Cut(string(value), sep)
		if ok && code != noValue && !strings.HasPrefix(code, ofType) {
			f(strings.TrimPrefix(system, implicit), code)
		}
		return true
	})
}

// References calls f with each resource of this server that a resource refers to by
// the search parameter with a code, or by any when code is ""; the same one may come
// twice.
func References(typ, code string, t Terms, f func(typ, id string)) {
	value := func(v []byte) bool {
		if id, to, _ := splitRef(v); to != "" {
			f(to, id)
		}
		return true
	}
	if code != "" {
		if p := Lookup(typ, code); p != nil && p.Kind == Reference {
			t.of(p.id, value)
		}
		return
	}

	t.Each(func(term []byte) bool {
		if p := paramOf(term); p != nil && p.Kind == Reference && p.Type == typ {
			value(term[2:])
		}
		return true
	})
}

// holds reports whether a resource matches a resolved clause by its id and
// terms.
func (c *Clause) holds(id string, t Terms) bool {
	return c.positive(id, t) != c.not
}

func (c *Clause) positive(id string, t Terms) bool {
	if _, ok := c.ids[id]; ok {
		return true
	}

	for i := range c.probes {
		if c.probes[i].matches(t) {
			return true
		}
	}

	for i := range c.sets {
		if c.sets[i].matches(t) {
			return true
		}
	}

	return false
}

func (p *probe) matches(t Terms) bool {
	found := false
	t.Each(func(term []byte) bool {
		if c := bytes.Compare(term[:2], p.from[:2]); c != 0 {
			return c < 0
		}
		found = p.within(term)
		return !found
	})

	return found
}

func (s *valueSet) matches(t Terms) bool {
	found := false
	t.of(s.param.id, func(value []byte) bool {
		_, found = s.values[string(value)]
		return !found
	})
	return found
}

// ByAgent is the clause by which an AuditEvent is of a client's request: one of
// its agents is identified by the client's id, without a system.
func ByAgent(client string) Clause {
	p := Lookup("AuditEvent", "agent")
	return Clause{probes: []probe{p.exactly(logical, whole(client), sep, whole(""))}}
}
