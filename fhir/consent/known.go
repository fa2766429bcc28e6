package consent

import (
	"cmp"
	"context"
	"crypto/sha256"
	"maps"
	"slices"
	"sync"

	"fhirdest.example/fhir/access"
	"fhirdest.example/fhir/search"
)

// Dated is what an access.Source may be besides: one that finds with little work how
// far its log of changes reaches. The number of the last change of a Consent identifies
// what all Consents are in a committed state: within one log it is never given to two.
type Dated interface {
	// LastChange returns the number of the last change of a resource of a type, those
	// of a state that is being changed included; 0 where there is none, or that is not
	// known. log identifies the log that has it: where another server took over, or a
	// database was put back, that is another one. It can be compared.
	LastChange(ctx context.Context, typ string) (number uint64, log any)
	// Changes calls f with every change of a resource of a type, the last one first,
	// until f returns false.
	Changes(ctx context.Context, typ string, before uint64, f func(number, doc, version uint64) bool) error
}

// Bounds of what is known: of the Consents of a store, in force or not, of the bodies of
// those that are active, in bytes, of the changes that are followed at once, and of the
// forms that are asked about for one search.
const (
	maxKnown     = 20_000 // 40 MB: one of the usual length needs 2 KB
	maxKnownSize = 32 << 20
	maxFollowed  = maxKnown
	maxForms     = 64
)

// retryAfter is after how many changes of Consents a store that had too many is looked at
// again.
const retryAfter = 64

// known has all Consents of a store, compiled, as they are after one change of a
// Consent. A state of the store after another change does not use it. So most requests
// read no Consent, and find out in one step that none denies them anything.
type known struct {
	mu        sync.Mutex // guards all below
	log       any        // that at is a number of
	at        uint64     // number of the change; 0: nothing is known yet
	over      bool       // at some change there were more than are kept: nothing is known
	missed    int        // changes from that one to at
	following bool       // somebody reads the changes since

	active  int // how many are
	size    int // of their bodies
	docs    map[uint64]*standing
	of      map[string][]*standing // by patient: the active ones in their record, by their numbers
	crowded map[string]bool        // patients with more than are evaluated
	forms   map[form]*sameForm
}

// standing is a Consent in the store.
type standing struct {
	doc      uint64
	deleted  bool
	active   bool
	size     int // of its body; 0 unless it is active
	patients []string
	compiled *Consent // nil for one that decides nothing
}

// form identifies all that a Consent decides, whoever's it is; the zero form is that of
// one which can deny nothing.
type form [sha256.Size]byte

// sameForm are the Consents of one form.
type sameForm struct {
	one      *Consent
	patients map[string]int // how many each has
}

// formOf returns the form of a compiled Consent, which was made of these parts.
func formOf(c *Consent, parts ...string) form {
	if c.unclear == "" && c.base != Deny && (c.root == nil || c.root.onlyPermits()) {
		return form{}
	}

	h := sha256.New()
	for _, part := range append(parts, c.unclear) {
		h.Write(append([]byte(part), 0))
	}
	return form(h.Sum(nil))
}

// onlyPermits reports whether neither a rule nor an exception to it can deny anything.
func (r *rule) onlyPermits() bool {
	return r.outcome == Permit && !r.unclear && !slices.ContainsFunc(r.rules, func(below *rule) bool {
		return !below.onlyPermits()
	})
}

// knows locks what is known of the Consents, if that is of the state of s, and brings
// it there before if it is behind. The caller unlocks it.
func (s *store) knows(ctx context.Context) (*known, bool) {
	dated, ok := s.src.(Dated)
	if !ok || s.cache == nil {
		return nil, false
	}

	if !s.dated {
		s.number, s.log = dated.LastChange(ctx, "Consent")
		s.dated = true
	}
	if s.number == 0 {
		return nil, false
	}

	k := &s.cache.known
	k.mu.Lock()
	if k.log != s.log {
		k.log = s.log
		k.at = 0
		k.over = false
		k.forget()
	}

	if k.at < s.number && !k.following && s.src.State() != nil {
		k.follow(ctx, s, dated)
	}
	if k.log != s.log || k.at != s.number || k.over {
		k.mu.Unlock()
		return nil, false
	}

	return k, true
}

// areKnown reports whether what is known is of the state of s: then no Consent is read.
func (s *store) areKnown(ctx context.Context) bool {
	_, known := s.anyActive(ctx)
	return known
}

// news is what makes what is known that of a later state.
type news struct {
	whole  bool // all is in it: what was known is replaced
	over   bool // there are more Consents than are kept
	missed int  // since there were
	all    []*standing
}

// follow brings what is known to a committed state. The mutex is held, but not while it
// reads: others do without meanwhile. If that fails, what was known remains.
func (k *known) follow(ctx context.Context, s *store, dated Dated) {
	from, over, missed := k.at, k.over, k.missed
	n, err := k.unlocked(func() (news, error) {
		if over {
			return s.again(ctx, dated, from, missed)
		}
		return s.since(ctx, dated, from)
	})
	if err != nil || k.log != s.log || k.at != from {
		return
	}

	if n.whole || n.over {
		k.forget()
	}
	for _, c := range n.all {
		k.put(c)
	}

	k.at = s.number
	k.over = n.over || len(k.docs) > maxKnown || k.size > maxKnownSize
	k.missed = n.missed
	if k.over {
		k.forget()
	}
}

// unlocked calls f without the mutex, while nobody else follows. A store that cannot be
// read may panic: then the mutex is not held.
func (k *known) unlocked(f func() (news, error)) (n news, err error) {
	k.following = true
	k.mu.Unlock()
	ended := false
	defer func() {
		k.mu.Lock()
		k.following = false
		if !ended {
			k.mu.Unlock()
		}
	}()

	n, err = f()
	ended = true
	return n, err
}

// again returns all Consents of a store that had too many, once enough of them
// have changed since.
func (s *store) again(ctx context.Context, dated Dated, after uint64, missed int) (news, error) {
	_, n, err := s.changed(ctx, dated, after, retryAfter-missed)
	if err != nil {
		return news{}, err
	}
	if missed += n; missed < retryAfter {
		return news{
			over:   true,
			missed: missed,
		}, nil
	}

	return s.whole(ctx)
}

// since returns the Consents that were changed after a number; all, where that is less
// work.
func (s *store) since(ctx context.Context, dated Dated, after uint64) (news, error) {
	if after == 0 {
		return s.whole(ctx)
	}

	docs, n, err := s.changed(ctx, dated, after, maxFollowed)
	if err != nil {
		return news{}, err
	}
	if n == maxFollowed {
		return s.whole(ctx)
	}

	return s.read(ctx, docs)
}

// changed returns which Consents were changed after a number, by up to so many changes.
func (s *store) changed(
	ctx context.Context, dated Dated, after uint64, most int,
) (docs map[uint64]bool, n int, err error) {
	docs = map[uint64]bool{}
	err = dated.Changes(ctx, "Consent", 0, func(at, doc, _ uint64) bool {
		if at <= after {
			return false
		}
		docs[doc] = true
		n++
		return n < most
	})
	return docs, n, err
}

// whole returns all Consents.
func (s *store) whole(ctx context.Context) (n news, err error) {
	docs := map[uint64]bool{}
	err = s.src.Having(ctx, allConsents(), func(doc uint64) bool {
		docs[doc] = true
		return len(docs) <= maxKnown
	})
	if err != nil {
		return news{}, err
	}
	if len(docs) > maxKnown {
		return news{over: true}, nil
	}

	n, err = s.read(ctx, docs)
	n.whole = true
	return n, err
}

// read returns Consents as they are.
func (s *store) read(ctx context.Context, docs map[uint64]bool) (n news, err error) {
	size := 0
	sorted := slices.Sorted(maps.Keys(docs))
	readErr := s.src.Resources(ctx, sorted, func(v access.Resource) bool {
		var c *standing
		if c, err = s.standing(v); err != nil {
			return false
		}
		n.all = append(n.all, c)
		size += c.size
		return size <= maxKnownSize
	})

	n.over = size > maxKnownSize
	return n, cmp.Or(err, readErr)
}

// standing returns the current version of a Consent.
func (s *store) standing(v access.Resource) (c *standing, err error) {
	c = &standing{
		doc:     v.Doc,
		deleted: v.Deleted,
	}
	c.active = !v.Deleted && search.Filter{}.Or([]search.Clause{activeConsents()}).Passes(v.ID, v.Terms)
	if !c.active {
		return c, nil
	}

	c.size = len(v.Body)
	search.Patients("Consent", v.Terms, func(id []byte) {
		if !slices.Contains(c.patients, string(id)) {
			c.patients = append(c.patients, string(id))
		}
	})

	c.compiled, err = s.compiled(v)
	return c, err
}

// forget empties what is known.
func (k *known) forget() {
	k.active = 0
	k.size = 0
	k.docs = map[uint64]*standing{}
	k.of = map[string][]*standing{}
	k.crowded = map[string]bool{}
	k.forms = map[form]*sameForm{}
}

// put puts the current version of a Consent in the place of the one before.
func (k *known) put(c *standing) {
	k.remove(c.doc)
	if c.deleted {
		return
	}

	k.docs[c.doc] = c
	if c.active {
		k.active++
		k.size += c.size
		k.add(c)
	}
}

// add lists an active Consent under its patients, and under its form. Lists are made
// anew: others may be going through them.
func (k *known) add(c *standing) {
	for _, patient := range c.patients {
		all := k.of[patient]
		at, _ := slices.BinarySearchFunc(all, c.doc, func(o *standing, doc uint64) int {
			return cmp.Compare(o.doc, doc)
		})
		k.list(patient, slices.Insert(slices.Clone(all), at, c))
	}

	if c.compiled == nil || c.compiled.form == (form{}) {
		return
	}

	f := k.forms[c.compiled.form]
	if f == nil {
		f = &sameForm{
			one:      c.compiled,
			patients: map[string]int{},
		}
		k.forms[c.compiled.form] = f
	}

	f.patients[c.compiled.patient]++
}

// remove forgets a version of a Consent.
func (k *known) remove(doc uint64) {
	c := k.docs[doc]
	if c == nil {
		return
	}

	delete(k.docs, doc)
	if !c.active {
		return
	}

	k.active--
	k.size -= c.size
	for _, patient := range c.patients {
		k.list(patient, slices.DeleteFunc(slices.Clone(k.of[patient]), func(o *standing) bool {
			return o == c
		}))
	}

	if c.compiled == nil || c.compiled.form == (form{}) {
		return
	}

	f := k.forms[c.compiled.form]
	if f.patients[c.compiled.patient]--; f.patients[c.compiled.patient] == 0 {
		delete(f.patients, c.compiled.patient)
	}
	if len(f.patients) == 0 {
		delete(k.forms, c.compiled.form)
	}
}

// list sets the active Consents of a patient.
func (k *known) list(patient string, all []*standing) {
	size := 0
	for _, c := range all {
		size += c.size
	}

	delete(k.crowded, patient)
	if len(all) > maxInForce || size > maxRead {
		k.crowded[patient] = true
	}
	k.of[patient] = all
	if len(all) == 0 {
		delete(k.of, patient)
	}
}

// ofPatient returns the active Consents in the record of a patient; ok is false where
// they are not known.
func (s *store) ofPatient(ctx context.Context, patient string) (all []*standing, ok bool) {
	k, ok := s.knows(ctx)
	if !ok {
		return nil, false
	}
	defer k.mu.Unlock()
	return k.of[patient], true
}

// inForce returns what InForce does, by all active Consents in the record of a patient.
func inForce(patient string, active []*standing, limit int) (all []*Consent) {
	size := 0
	for _, c := range active {
		if size += c.size; size > maxRead {
			return tooLong(patient)
		}

		if c.compiled != nil && c.compiled.patient == patient {
			all = append(all, c.compiled)
		}
		if len(all) >= limit {
			break
		}
	}

	return all
}

// anyActive reports whether any Consent is active; ok is false where that is not known.
func (s *store) anyActive(ctx context.Context) (active, ok bool) {
	k, ok := s.knows(ctx)
	if !ok {
		return false, false
	}
	defer k.mu.Unlock()
	return k.active > 0, true
}

// forms returns one Consent of each form that may deny something. ok is false where
// they are not known, or too many.
func (s *store) forms(ctx context.Context) (all []*Consent, ok bool) {
	k, ok := s.knows(ctx)
	if !ok {
		return nil, false
	}
	defer k.mu.Unlock()

	if len(k.forms) > maxForms {
		return nil, false
	}

	for _, f := range k.forms {
		all = append(all, f.one)
	}
	return all, true
}

// having returns the patients who have a Consent of one of some forms, or more Consents
// than are evaluated. ok is false where they are not known, or more than most.
func (s *store) having(ctx context.Context, forms []form, most int) (patients []string, ok bool) {
	k, ok := s.knows(ctx)
	if !ok {
		return nil, false
	}
	defer k.mu.Unlock()

	all := map[string]bool{}
	for patient := range k.crowded {
		all[patient] = true
		if len(all) > most {
			return nil, false
		}
	}

	for _, f := range forms {
		for patient := range k.forms[f].patients {
			all[patient] = true
			if len(all) > most {
				return nil, false
			}
		}
	}

	return slices.Collect(maps.Keys(all)), true
}
