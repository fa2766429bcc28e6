package export

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"fhirdest.example/fhir"
	"fhirdest.example/fhir/access"
	"fhirdest.example/fhir/async"
	"fhirdest.example/fhir/scope"
	"fhirdest.example/fhir/search"
	"fhirdest.example/fhir/tree"
)

// task is one export under way.
type task struct {
	*Export
	*query
	work   *async.Work
	access *access.Reader
	moment *moment
	out    *output

	members map[string]bool // patients exported, of Group and by name; nil for all
	shared  worklist        // what belongs to no patient and is referred to
	batch   batch
	about   map[string]bool // patients whose disclosure is to be recorded
}

// Bounds of what one transaction copies.
const (
	batchRows  = 1000
	batchBytes = 4 << 20
)

// batch is rows copied out of one transaction.
type batch struct {
	rows  []row
	arena []byte
}

// row is one line to write.
type row struct {
	list, typ string
	from, to  int // in the arena
}

func (b *batch) reset() { b.rows, b.arena = b.rows[:0], b.arena[:0] }

func (b *batch) full() bool { return len(b.rows) >= batchRows || len(b.arena) >= batchBytes }

func (b *batch) add(list, typ string, body []byte) {
	from := len(b.arena)
	b.arena = append(b.arena, body...)
	b.rows = append(b.rows, row{list, typ, from, len(b.arena)})
}

// run writes the files and the manifest.
func (t *task) run(ctx context.Context) error {
	at, err := t.Service.Settle(ctx)
	if err != nil {
		return err
	}
	if t.moment, err = newMoment(ctx, t.Store, at); err != nil {
		return err
	}
	if err := t.begin(ctx); err != nil {
		return err
	}

	err = t.walk(ctx)
	if err == nil {
		err = t.followShared(ctx)
	}

	for _, text := range t.ignored {
		if err == nil {
			err = t.out.add(listError, "OperationOutcome", fhir.Warning("not-supported", text))
		}
	}

	if err != nil {
		return err
	}
	return t.finish()
}

// begin finds out whose resources are exported.
func (t *task) begin(ctx context.Context) error {
	return t.Store.View(ctx, func(sn fhir.Snapshot) error {
		if err := t.moment.follow(ctx, sn); err != nil || t.level == "" {
			return err
		}

		if t.patients != nil {
			t.members = map[string]bool{}
			for _, id := range t.patients {
				t.members[id] = true
			}
		}

		if t.group == "" {
			return nil
		}

		in := map[string]bool{}
		if err := t.groupMembers(ctx, sn, t.group, in, 0); err != nil {
			return err
		}

		for id := range in {
			if t.members != nil && !t.members[id] {
				delete(in, id)
			}
		}

		t.members = in
		return nil
	})
}

// maxNested bounds Groups within Groups.
const maxNested = 5

// groupMembers adds the patients of a Group, and of the Groups in it.
func (t *task) groupMembers(
	ctx context.Context, sn fhir.Snapshot, id string, in map[string]bool, depth int,
) error {
	e, ok, err := current(ctx, sn, "Group", id)
	if err != nil || !ok || depth > maxNested {
		return err
	}

	e, ok, err = t.moment.version(ctx, sn, e)
	if err != nil || !ok || e.Deleted {
		return err
	}
	if seen, err := t.sees(ctx, sn, e); err != nil || !seen {
		return err
	}

	root, err := tree.ParseStored(e.Body)
	if err != nil {
		return err
	}

	members := root.Get("member").Each()
	for i := range members {
		if members[i].Get("inactive").Literal() == "true" {
			continue
		}

		ref := t.Service.Bases().ParseRef(members[i].At("entity", "reference").Text())
		switch ref.Type {
		case "Patient":
			in[ref.ID] = true
		case "Group":
			if err := t.groupMembers(ctx, sn, ref.ID, in, depth+1); err != nil {
				return err
			}
		}
	}

	return nil
}

// walk goes through all resources by their numbers.
func (t *task) walk(ctx context.Context) error {
	docs := make([]uint64, 0, batchRows)
	for after := uint64(0); ; {
		if err := t.work.Alive(ctx); err != nil {
			return err
		}

		done := false
		err := t.Store.View(ctx, func(sn fhir.Snapshot) error {
			t.batch.reset()
			if err := t.moment.follow(ctx, sn); err != nil {
				return err
			}

			docs = docs[:0]
			err := sn.Each(ctx, after, func(doc uint64) bool {
				if doc <= t.moment.last {
					docs = append(docs, doc)
				}
				return doc < t.moment.last && len(docs) < batchRows
			})

			done = len(docs) == 0
			if err == nil {
				after, err = t.copy(ctx, sn, docs, after)
			}
			return err
		})
		if err == nil {
			err = t.write()
		}
		if err != nil || done {
			return err
		}

		t.work.Progress("%d%%: %d resources", after*100/max(t.moment.last, 1), t.out.lines)
	}
}

// copy copies resources out of a state until the batch is full, and returns the
// last that it has looked at.
func (t *task) copy(ctx context.Context, sn fhir.Snapshot, docs []uint64, after uint64) (uint64, error) {
	var failed error
	err := sn.Entries(ctx, docs, func(e fhir.Entry) bool {
		if failed = t.one(ctx, sn, e); failed != nil {
			return false
		}
		after = e.Doc
		return !t.batch.full()
	})
	return after, errors.Join(failed, err)
}

// one copies a resource if it is exported.
func (t *task) one(ctx context.Context, sn fhir.Snapshot, e fhir.Entry) error {
	if !t.types[e.Type] && (t.provenance == "" || e.Type != "Provenance") {
		return nil
	}

	e, ok, err := t.moment.version(ctx, sn, e)
	if err != nil || !ok {
		return err
	}
	if e.Deleted {
		return t.deletion(ctx, sn, e)
	}

	terms, err := t.terms(e)
	if err != nil {
		return err
	}

	ok, err = t.exports(ctx, sn, e, terms)
	if err == nil && !ok && e.Type == "Provenance" && t.provenance != "" {
		ok, err = t.relevant(ctx, sn, e, terms)
	}
	if err != nil || !ok {
		return err
	}

	return t.give(e, terms)
}

// terms are those of a version, which former versions are stored without.
func (t *task) terms(e fhir.Entry) (search.Terms, error) {
	if len(e.Terms) > 0 || !t.needsTerms(e.Type) {
		return e.Terms, nil
	}

	root, err := tree.ParseStored(e.Body)
	if err != nil {
		return nil, err
	}

	x := search.Extractor{Bases: t.Service.Bases()}
	terms, err := x.Extract(e.Type, root, search.Stamp{
		ID:      e.ID,
		Updated: e.Updated,
	})
	if errors.Is(err, search.ErrTooManyTerms) { // it was stored before there was a bound
		err = nil
	}

	return terms, err
}

func (t *task) needsTerms(typ string) bool {
	_, filtered := t.filters[typ]
	return t.level != "" || filtered || typ == "Provenance"
}

// exports reports whether a version is exported for itself.
func (t *task) exports(ctx context.Context, sn fhir.Snapshot, e fhir.Entry, terms search.Terms) (bool, error) {
	if !t.types[e.Type] || !t.inTime(e) || !t.ofMember(e, terms) {
		return false, nil
	}
	if f, ok := t.filters[e.Type]; ok && !f.Passes(e.ID, terms) {
		return false, nil
	}
	return t.sees(ctx, sn, e)
}

// inTime reports whether a version is within _since and _until.
func (t *task) inTime(e fhir.Entry) bool {
	return !e.Updated.Before(t.since) && (t.until.IsZero() || e.Updated.Before(t.until))
}

// ofMember reports whether a resource is of a patient that is exported; at the
// level of the system every resource is.
func (t *task) ofMember(e fhir.Entry, terms search.Terms) bool {
	if t.level == "" {
		return true
	}
	if e.Type == "Patient" {
		return t.members == nil || t.members[e.ID]
	}
	if e.Type == "Group" {
		return e.ID == t.group
	}

	found := false
	search.Patients(e.Type, terms, func(id []byte) {
		found = found || t.members == nil || t.members[string(id)]
	})
	return found
}

// sees reports whether the grant both reads and finds a version.
func (t *task) sees(ctx context.Context, sn fhir.Snapshot, e fhir.Entry) (bool, error) {
	src, v := fhir.AccessTo(sn, e)
	ok, _, err := t.access.Sees(ctx, src, scope.Read, v)
	if err == nil && ok {
		ok, _, err = t.access.Sees(ctx, src, scope.Search, v)
	}
	return ok, err
}

// give puts a version into the batch, and notes what else follows from that.
func (t *task) give(e fhir.Entry, terms search.Terms) error {
	body := e.Body
	if names := t.elementsOf(e.Type); len(names) > 0 {
		var err error
		if body, err = fhir.Elements(body, names); err != nil {
			return err
		}
	}

	t.batch.add(listOutput, e.Type, body)
	if e.Type == "Patient" {
		t.about[e.ID] = true
	} else {
		search.Patients(e.Type, terms, func(id []byte) { t.about[string(id)] = true })
	}

	if t.level != "" {
		return t.shared.from(e.Type, terms)
	}
	return nil
}

// deletion lists a deletion since the time that _since names (Bulk Data 2.0,
// "deleted").
func (t *task) deletion(ctx context.Context, sn fhir.Snapshot, e fhir.Entry) error {
	if t.since.IsZero() || !t.types[e.Type] || !t.inTime(e) {
		return nil
	}

	if t.level != "" {
		before, ok, err := sn.Version(ctx, e.Doc, e.Version-1)
		if err != nil || !ok || before.Deleted {
			return err
		}

		terms, err := t.terms(before)
		if err != nil || !t.ofMember(before, terms) {
			return err
		}
	}

	ok, err := t.sees(ctx, sn, e)
	if err == nil && ok {
		t.batch.add(listDeleted, "Bundle", []byte(
			`{"resourceType":"Bundle","type":"transaction","entry":[{"request":{"method":"DELETE","url":"`+
				e.Type+"/"+e.ID+`"}}]}`))
	}

	return err
}

// write writes the batch to the files, outside of any transaction.
func (t *task) write() error {
	for _, r := range t.batch.rows {
		if err := t.out.add(r.list, r.typ, t.batch.arena[r.from:r.to]); err != nil {
			return err
		}
	}
	return t.disclosed(false, nil)
}

// perRecord is how many patients one audit record names.
const perRecord = 20

// disclosed records the patients whose data is in the batch. last has the records
// made that are not full.
func (t *task) disclosed(last bool, why error) error {
	ids := slices.Sorted(maps.Keys(t.about))
	for len(ids) >= perRecord || last {
		n := min(perRecord, len(ids))
		if err := t.Service.Disclose(&t.work.Asked, ids[:n], why); err != nil {
			return fmt.Errorf("export: %w", err)
		}

		for _, id := range ids[:n] {
			delete(t.about, id)
		}
		ids = ids[n:]
		last = last && len(ids) > 0
	}

	return nil
}
