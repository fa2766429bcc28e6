package export

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"fhirdest.example/fhir"
	"fhirdest.example/fhir/async"
	"fhirdest.example/fhir/tree"
)

// plan is what is exported. Nothing of it changes but what the moment guards.
type plan struct {
	*Export
	*query
	moment  *moment
	members map[string]bool // patients exported, of Group and by name; nil for all
}

// task is one export under way.
type task struct {
	plan
	work   *async.Work
	access *fhir.Viewer
	out    *output

	shared worklist        // what belongs to no patient and is referred to
	given  int64           // lines written
	about  map[string]bool // patients whose disclosure is to be recorded
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

	if err := t.walk(ctx); err != nil {
		return err
	}
	if err := t.followShared(ctx); err != nil {
		return err
	}

	for _, text := range t.ignored {
		if err := t.out.add(listError, "OperationOutcome", fhir.Warning("not-supported", text)); err != nil {
			return err
		}
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
		if err := t.newCopier().groupMembers(ctx, sn, t.group, in, 0); err != nil {
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
func (c *copier) groupMembers(
	ctx context.Context, sn fhir.Snapshot, id string, in map[string]bool, depth int,
) error {
	e, ok, err := current(ctx, sn, "Group", id)
	if err != nil || !ok || depth > maxNested {
		return err
	}

	e, ok, err = c.moment.version(ctx, sn, e)
	if err != nil || !ok || e.Deleted {
		return err
	}
	if seen, err := c.sees(ctx, sn, e); err != nil || !seen {
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

		ref := c.Service.Bases().ParseRef(members[i].At("entity", "reference").Text())
		switch ref.Type {
		case "Patient":
			in[ref.ID] = true
		case "Group":
			if err := c.groupMembers(ctx, sn, ref.ID, in, depth+1); err != nil {
				return err
			}
		}
	}

	return nil
}

// hand writes a batch, outside of any transaction, and notes what follows from it.
func (t *task) hand(ctx context.Context, b *batch) error {
	if err := t.work.Alive(ctx); err != nil {
		return err
	}

	maps.Copy(t.about, b.about)
	if err := t.out.write(b); err != nil {
		return err
	}
	t.given += int64(len(b.rows))

	if err := t.shared.join(&b.shared); err != nil {
		return err
	}
	return t.disclosed(false, nil)
}

// perRecord is how many patients one audit record names.
const perRecord = 20

// disclosed records the patients whose data was written. last has the records
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
