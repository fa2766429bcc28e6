package export

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"fhirdest.example/fhir"
	"fhirdest.example/fhir/async"
	"fhirdest.example/fhir/search"
	"fhirdest.example/fhir/tree"
)

// task is one export under way.
type task struct {
	*Export
	*query
	work   *async.Work
	viewer *fhir.Viewer
	moment *moment
	out    *output

	members map[string]bool // patients exported, of Group and by name; nil for all
	shared  worklist        // what belongs to no patient and is referred to
	batch   *batch          // that is being filled
	lines   *writer
	seen    *fhir.View      // the state of the transaction under way
	given   int64           // lines handed to the writer
	about   map[string]bool // patients whose disclosure is to be recorded
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

	if err := t.writeLines(ctx); err != nil {
		return err
	}

	for _, text := range t.ignored {
		if err := t.out.add(listError, "OperationOutcome", fhir.Warning("not-supported", text)); err != nil {
			return err
		}
	}

	return t.finish()
}

// writeLines copies what is exported out of the store, and has it written to the
// files meanwhile.
func (t *task) writeLines(ctx context.Context) (err error) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	t.batch = newBatch()
	t.lines = startWriter(t.out, stop)

	defer func() {
		if failed := t.lines.close(); failed != nil { // it ended the context, too
			err = failed
		}
	}()

	if err := t.walk(ctx); err != nil {
		return err
	}
	return t.followShared(ctx)
}

// begin finds out whose resources are exported.
func (t *task) begin(ctx context.Context) error {
	return t.Store.View(ctx, func(sn fhir.Snapshot) error {
		if err := t.enter(ctx, sn); err != nil || t.level == "" {
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

// enter makes a state of the store the one that the export reads.
func (t *task) enter(ctx context.Context, sn fhir.Snapshot) error {
	t.seen = t.viewer.In(sn)
	return t.moment.follow(ctx, sn)
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
	if found, err := t.seen.Finds(ctx, e); err != nil || !found {
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
	after := uint64(0)
	for more := true; more; {
		if err := t.work.Alive(ctx); err != nil {
			return err
		}

		from := after
		err := t.Store.View(ctx, func(sn fhir.Snapshot) error {
			t.batch.reset()
			if err := t.enter(ctx, sn); err != nil {
				return err
			}

			var err error
			after, more, err = t.copy(ctx, sn, from)
			return err
		})
		if err == nil {
			err = t.hand()
		}
		if err != nil {
			return err
		}

		t.work.Progress("%d%%: %d resources", after*100/max(t.moment.last, 1), t.given)
		if err := t.work.Reached(ctx, int64(after)); err != nil {
			return err
		}
	}

	return nil
}

// copy copies resources out of a state, those with numbers above after, until the
// batch is full. It returns the last that it has looked at, and whether there may be
// more.
func (t *task) copy(
	ctx context.Context, sn fhir.Snapshot, after uint64,
) (last uint64, more bool, err error) {
	var failed error
	looked := 0
	last = after

	err = sn.Each(ctx, after, func(e fhir.Entry) bool {
		if e.Doc > t.moment.last {
			return false
		}

		last = e.Doc
		if failed = t.one(ctx, sn, e); failed != nil {
			return false
		}

		looked++
		more = looked >= batchRows || t.batch.full()
		return !more
	})
	return last, more, errors.Join(failed, err)
}

// one copies a resource if it is exported.
func (t *task) one(ctx context.Context, sn fhir.Snapshot, e fhir.Entry) error {
	exported := t.types[e.Type]
	associated := t.provenance != "" && e.Type == "Provenance"
	if !exported && !associated {
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

	wanted := false
	if exported {
		wanted, err = t.exports(ctx, e, terms)
	}
	if err == nil && !wanted && associated {
		wanted, err = t.relevant(ctx, sn, e, terms)
	}
	if err != nil || !wanted {
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

// exports reports whether a version of a type that is exported is so for itself.
func (t *task) exports(ctx context.Context, e fhir.Entry, terms search.Terms) (bool, error) {
	if !t.inTime(e) || !t.ofMember(e, terms) {
		return false, nil
	}
	if f, ok := t.filters[e.Type]; ok && !f.Passes(e.ID, terms) {
		return false, nil
	}
	return t.seen.Finds(ctx, e)
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

// give puts a version into the batch, and notes what else follows from that.
func (t *task) give(e fhir.Entry, terms search.Terms) error {
	body, err := t.seen.Show(e)
	if err != nil {
		return err
	}

	if names := t.elementsOf(e.Type); len(names) > 0 {
		if body, err = fhir.Elements(body, names); err != nil {
			return err
		}
	}

	t.batch.add(listOutput, e.Type, body)
	if e.Type == "Patient" {
		t.about[e.ID] = true
	} else {
		search.Patients(e.Type, terms, func(id []byte) {
			if !t.about[string(id)] {
				t.about[string(id)] = true
			}
		})
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

	ok, err := t.seen.Finds(ctx, e)
	if err == nil && ok {
		t.batch.add(listDeleted, "Bundle", []byte(
			`{"resourceType":"Bundle","type":"transaction","entry":[{"request":{"method":"DELETE","url":"`+
				e.Type+"/"+e.ID+`"}}]}`))
	}

	return err
}

// hand has the batch written, outside of any transaction, and takes an empty one.
func (t *task) hand() error {
	t.given += int64(len(t.batch.rows))
	t.batch = t.lines.swap(t.batch)
	return t.disclosed(false, nil)
}

// perRecord is how many patients one audit record names.
const perRecord = 20

// disclosed records the patients whose data is in the batch. last has the records
// made that are not full.
func (t *task) disclosed(last bool, why error) error {
	if !last && len(t.about) < perRecord {
		return nil
	}

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
