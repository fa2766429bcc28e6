package export

import (
	"context"
	"errors"

	"fhirdest.example/fhir"
	"fhirdest.example/fhir/search"
	"fhirdest.example/fhir/tree"
)

// copier copies what is exported out of states of the store into batches. A goroutine
// has one of its own.
type copier struct {
	*plan
	access *fhir.Viewer
	batch  *batch       // that is being filled
	found  []fhir.Entry // were read and are not decided yet
}

// newCopier returns the copier of the task's own goroutine.
func (t *task) newCopier() *copier {
	return &copier{
		plan:   &t.plan,
		access: t.access,
	}
}

// read reads resources of a state, those with numbers above after, as many as one batch
// may have. It returns the last that it has looked at, and whether there may be more.
func (c *copier) read(
	ctx context.Context, sn fhir.Snapshot, after uint64,
) (last uint64, more bool, err error) {
	if err := c.moment.follow(ctx, sn); err != nil {
		return after, false, err
	}

	var failed error
	looked, size := 0, 0
	last = after
	c.found = c.found[:0]

	err = sn.Each(ctx, after, func(e fhir.Entry) bool {
		if e.Doc > c.moment.last {
			more = false
			return false
		}

		last = e.Doc
		looked++
		if c.types[e.Type] || c.provenance != "" && e.Type == "Provenance" {
			var ok bool
			if e, ok, failed = c.moment.version(ctx, sn, e); ok && failed == nil {
				c.found = append(c.found, e)
				size += len(e.Body)
			}
		}

		more = looked >= batchRows || size >= batchBytes
		return !more && failed == nil
	})
	return last, more, errors.Join(failed, err)
}

// decide copies those of the resources that were read which are exported, in the
// transaction in which they were read.
func (c *copier) decide(ctx context.Context, sn fhir.Snapshot) error {
	defer clear(c.found)
	for _, e := range c.found {
		if err := c.one(ctx, sn, e); err != nil {
			return err
		}
	}
	return nil
}

// one copies a version if it is exported.
func (c *copier) one(ctx context.Context, sn fhir.Snapshot, e fhir.Entry) error {
	if e.Deleted {
		return c.deletion(ctx, sn, e)
	}

	terms, err := c.terms(e)
	if err != nil {
		return err
	}

	ok, err := c.exports(ctx, sn, e, terms)
	if err == nil && !ok && e.Type == "Provenance" && c.provenance != "" {
		ok, err = c.relevant(ctx, sn, e, terms)
	}
	if err != nil || !ok {
		return err
	}

	return c.give(sn, e, terms)
}

// terms are those of a version, which former versions are stored without.
func (c *copier) terms(e fhir.Entry) (search.Terms, error) {
	if len(e.Terms) > 0 || !c.needsTerms(e.Type) {
		return e.Terms, nil
	}

	root, err := tree.ParseStored(e.Body)
	if err != nil {
		return nil, err
	}

	x := search.Extractor{Bases: c.Service.Bases()}
	terms, err := x.Extract(e.Type, root, search.Stamp{
		ID:      e.ID,
		Updated: e.Updated,
	})
	if errors.Is(err, search.ErrTooManyTerms) { // it was stored before there was a bound
		err = nil
	}

	return terms, err
}

func (c *copier) needsTerms(typ string) bool {
	_, filtered := c.filters[typ]
	return c.level != "" || filtered || typ == "Provenance"
}

// exports reports whether a version is exported for itself.
func (c *copier) exports(ctx context.Context, sn fhir.Snapshot, e fhir.Entry, terms search.Terms) (bool, error) {
	if !c.types[e.Type] || !c.inTime(e) || !c.ofMember(e, terms) {
		return false, nil
	}
	if f, ok := c.filters[e.Type]; ok && !f.Passes(e.ID, terms) {
		return false, nil
	}
	return c.sees(ctx, sn, e)
}

// inTime reports whether a version is within _since and _until.
func (c *copier) inTime(e fhir.Entry) bool {
	return !e.Updated.Before(c.since) && (c.until.IsZero() || e.Updated.Before(c.until))
}

// ofMember reports whether a resource is of a patient that is exported; at the
// level of the system every resource is.
func (c *copier) ofMember(e fhir.Entry, terms search.Terms) bool {
	if c.level == "" {
		return true
	}
	if e.Type == "Patient" {
		return c.members == nil || c.members[e.ID]
	}
	if e.Type == "Group" {
		return e.ID == c.group
	}

	found := false
	search.Patients(e.Type, terms, func(id []byte) {
		found = found || c.members == nil || c.members[string(id)]
	})
	return found
}

// sees reports whether the grant both reads and finds a version.
func (c *copier) sees(ctx context.Context, sn fhir.Snapshot, e fhir.Entry) (bool, error) {
	src, v := fhir.AccessTo(sn, e)
	return c.access.Finds(ctx, src, v)
}

// give puts a version into the batch, and notes what else follows from that.
func (c *copier) give(sn fhir.Snapshot, e fhir.Entry, terms search.Terms) error {
	body, err := c.access.Show(sn, e)
	if err != nil {
		return err
	}

	if names := c.elementsOf(e.Type); len(names) > 0 {
		if body, err = fhir.Elements(body, names); err != nil {
			return err
		}
	}

	c.batch.add(listOutput, e.Type, body)
	if e.Type == "Patient" {
		c.batch.about[e.ID] = true
	} else {
		search.Patients(e.Type, terms, func(id []byte) {
			if !c.batch.about[string(id)] {
				c.batch.about[string(id)] = true
			}
		})
	}

	if c.level != "" {
		return c.batch.shared.from(e.Type, terms)
	}
	return nil
}

// deletion lists a deletion since the time that _since names (Bulk Data 2.0,
// "deleted").
func (c *copier) deletion(ctx context.Context, sn fhir.Snapshot, e fhir.Entry) error {
	if c.since.IsZero() || !c.types[e.Type] || !c.inTime(e) {
		return nil
	}

	if c.level != "" {
		before, ok, err := sn.Version(ctx, e.Doc, e.Version-1)
		if err != nil || !ok || before.Deleted {
			return err
		}

		terms, err := c.terms(before)
		if err != nil || !c.ofMember(before, terms) {
			return err
		}
	}

	ok, err := c.sees(ctx, sn, e)
	if err == nil && ok {
		c.batch.add(listDeleted, "Bundle", []byte(
			`{"resourceType":"Bundle","type":"transaction","entry":[{"request":{"method":"DELETE","url":"`+
				e.Type+"/"+e.ID+`"}}]}`))
	}

	return err
}
