package export

import (
	"context"
	"net/http"
	"time"

	"fhirdest.example/fhir"
	"fhirdest.example/fhir/access"
	"fhirdest.example/fhir/search"
	"fhirdest.example/fhir/tree"
)

// worklist is what resources of patients refer to and belongs to no patient, such as
// practitioners: it is exported with them, once each.
type worklist struct {
	known   map[key]bool
	pending []key
}

type key struct{ typ, id string }

// maxShared bounds a worklist.
const maxShared = 200_000

// from adds what a resource refers to.
func (l *worklist) from(typ string, terms search.Terms) error {
	search.References(typ, "", terms, func(to, id string) {
		if k := (key{to, id}); access.Shared(to) && !l.known[k] {
			if l.known == nil {
				l.known = map[key]bool{}
			}
			l.known[k] = true
			l.pending = append(l.pending, k)
		}
	})

	if len(l.known) > maxShared {
		return fhir.Refuse(http.StatusRequestEntityTooLarge, "too-costly",
			"The patients' resources refer to too many others: export fewer patients or types at a time.", "")
	}
	return nil
}

// followShared exports what is on the worklist, and what that refers to.
func (t *task) followShared(ctx context.Context) error {
	for len(t.shared.pending) > 0 {
		if err := t.work.Alive(ctx); err != nil {
			return err
		}

		var done int
		some := t.shared.pending[:min(batchRows, len(t.shared.pending))]
		err := t.Store.View(ctx, func(sn fhir.Snapshot) error {
			t.batch.reset()
			done = 0
			if err := t.enter(ctx, sn); err != nil {
				return err
			}

			for _, k := range some {
				if err := t.sharedOne(ctx, sn, k); err != nil {
					return err
				}
				if done++; t.batch.full() {
					break
				}
			}

			return nil
		})
		t.shared.pending = t.shared.pending[done:]
		if err == nil {
			err = t.hand()
		}
		if err != nil {
			return err
		}
	}

	return nil
}

// sharedOne exports one resource of the worklist.
func (t *task) sharedOne(ctx context.Context, sn fhir.Snapshot, k key) error {
	e, ok, err := current(ctx, sn, k.typ, k.id)
	if err == nil && ok {
		e, ok, err = t.moment.version(ctx, sn, e)
	}
	if err != nil || !ok || e.Deleted {
		return err
	}

	terms, err := t.terms(e)
	if err != nil {
		return err
	}
	if found, err := t.seen.Finds(ctx, e); err != nil || !found {
		return err
	}

	f, filtered := t.filters[e.Type]
	if t.types[e.Type] && t.inTime(e) && (!filtered || f.Passes(e.ID, terms)) && !t.ofMember(e, terms) {
		return t.give(e, terms)
	}
	return t.shared.from(e.Type, terms)
}

// relevant reports whether a Provenance is of a resource that is exported and, where
// only the latest is asked for, whether it is that.
func (t *task) relevant(ctx context.Context, sn fhir.Snapshot, e fhir.Entry, terms search.Terms) (bool, error) {
	if found, err := t.seen.Finds(ctx, e); err != nil || !found {
		return false, err
	}

	var targets []key
	search.References("Provenance", "target", terms, func(typ, id string) {
		targets = append(targets, key{typ, id})
	})

	for _, k := range targets {
		of, ok, err := current(ctx, sn, k.typ, k.id)
		if err == nil && ok {
			of, ok, err = t.moment.version(ctx, sn, of)
		}
		if err == nil && ok && !of.Deleted && t.types[of.Type] {
			ok, err = t.exportsTarget(ctx, of)
		} else {
			ok = false
		}

		if err == nil && ok && t.provenance == latestProvenance {
			ok, err = t.latest(ctx, sn, e, k)
		}
		if err != nil || ok {
			return ok, err
		}
	}

	return false, nil
}

func (t *task) exportsTarget(ctx context.Context, of fhir.Entry) (bool, error) {
	terms, err := t.terms(of)
	if err != nil {
		return false, err
	}
	return t.exports(ctx, of, terms)
}

// latest reports whether no other Provenance of a target was recorded later.
func (t *task) latest(ctx context.Context, sn fhir.Snapshot, e fhir.Entry, target key) (bool, error) {
	parser := search.Parser{Bases: t.Service.Bases()}
	c, err := parser.Plain("Provenance", "target", target.typ+"/"+target.id)
	if err != nil {
		return false, err
	}

	found, err := t.viewer.Restrict(ctx, sn, t.seen.Source).Find(&search.Query{
		Types:   []string{"Provenance"},
		Clauses: []search.Clause{c},
	})
	if err != nil {
		return false, err
	}

	own, err := recorded(e)
	for _, doc := range found.Docs {
		if err != nil || doc == e.Doc || doc > t.moment.last {
			continue
		}

		var other fhir.Entry
		var ok bool
		if other, ok, err = sn.Entry(ctx, doc); err == nil && ok {
			other, ok, err = t.moment.version(ctx, sn, other)
		}
		if err != nil || !ok || other.Deleted {
			continue
		}

		var theirs time.Time
		if theirs, err = recorded(other); err == nil &&
			(theirs.After(own) || theirs.Equal(own) && other.Doc > e.Doc) {
			return false, nil
		}
	}

	return err == nil, err
}

// recorded is when a Provenance was recorded.
func recorded(e fhir.Entry) (time.Time, error) {
	root, err := tree.ParseStored(e.Body)
	if err != nil {
		return time.Time{}, err
	}
	at, _, _ := search.Instants(root.Get("recorded").Text())
	return at, nil
}
