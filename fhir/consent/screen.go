package consent

import (
	"cmp"
	"context"
	"slices"

	"fhirdest.example/fhir/access"
	"fhirdest.example/fhir/scope"
	"fhirdest.example/fhir/search"
)

// manyFound is how many resources a search must have found for it to be worth while
// to read the Consents first, where they are not known.
const manyFound = 96

// Screen implements access.Screen.
func (r *Rule) Screen(
	ctx context.Context, ix search.Index, src access.Source, p scope.Permission, typ string, docs []uint64,
) ([]uint64, error) {
	if slices.Contains(exempt, typ) {
		return docs, nil
	}

	r.follow(src)
	if idle, err := r.isIdle(ctx, src); err != nil || idle {
		return docs, err
	}

	limited, known, err := r.limited(ctx, ix, src, p, typ, len(docs)/2)
	switch {
	case err != nil:
		return nil, err
	case !known:
		return r.each(ctx, ix, src, p, typ, docs)
	}

	return r.except(ctx, ix, src, p, typ, docs, limited)
}

// askedAtOnce is about how many resources the Consents of their patients are read at
// once.
const askedAtOnce = 512

// each returns those of docs about which no Consent denies p: it asks about each.
func (r *Rule) each(
	ctx context.Context, ix search.Index, src access.Source, p scope.Permission, typ string, docs []uint64,
) ([]uint64, error) {
	left := docs[:0]
	for some := range slices.Chunk(slices.Clone(docs), askedAtOnce) {
		all := make([]access.Resource, 0, len(some))
		err := ix.Terms(ctx, some, func(doc uint64, id string, terms search.Terms) bool {
			all = append(all, access.Resource{
				Doc:   doc,
				Type:  typ,
				ID:    id,
				Terms: terms,
			})
			return true
		})
		if err == nil {
			err = r.prepare(ctx, src, all)
		}
		if err != nil {
			return nil, err
		}

		for _, v := range all {
			permitted, _ := r.permits(typ, v.ID, v.Terms)
			if !permitted {
				a, err := r.about(ctx, src, p, v)
				if err != nil {
					return nil, err
				}
				permitted = a.Outcome == Permit
			}
			if permitted {
				left = append(left, v.Doc)
			}
		}
	}
	return left, nil
}

// prepare has the Consents read at once that decide about some resources.
func (r *Rule) prepare(ctx context.Context, src access.Source, all []access.Resource) error {
	if r.decider.Store.(*store).areKnown(ctx) {
		return nil
	}

	var clauses []search.Clause
	asked := map[string]bool{}
	for _, v := range all {
		for _, patient := range patients(v.Type, v.ID, v.Terms) {
			if _, known := r.decider.inForce.get(patient); !known && !asked[patient] {
				asked[patient] = true
				clauses = append(clauses, consentsOf(patient))
			}
		}
	}

	if len(clauses) == 0 {
		return nil
	}
	return src.Prepare(ctx, clauses)
}

// except is each where all that may be denied is among the resources in limited.
func (r *Rule) except(
	ctx context.Context, ix search.Index, src access.Source, p scope.Permission, typ string, docs []uint64,
	limited map[uint64]bool,
) ([]uint64, error) {
	var asked []uint64
	for _, doc := range docs {
		if limited[doc] {
			asked = append(asked, doc)
		}
	}

	if len(asked) == 0 {
		return docs, nil
	}

	permitted, err := r.each(ctx, ix, src, p, typ, asked)
	if err != nil {
		return nil, err
	}

	for _, doc := range permitted {
		delete(limited, doc)
	}

	return slices.DeleteFunc(docs, func(doc uint64) bool {
		return limited[doc]
	}), nil
}

// limited returns the resources of a type that belong to a patient with a Consent
// that may deny p to the party. known is false where that cannot be found out with
// fewer than so many look-ups: then each resource has to be asked about.
func (r *Rule) limited(
	ctx context.Context, ix search.Index, src access.Source, p scope.Permission, typ string, most int,
) (docs map[uint64]bool, known bool, err error) {
	if _, in := search.InCompartment("Patient", "x", typ); !in || typ == "Bundle" {
		nobodys := typ != "Bundle" && len(outside()[typ]) == 0
		return nil, nobodys, nil
	}
	if r.decider.byDefault("").Outcome == Deny {
		return nil, false, nil
	}

	patients, known, err := r.limiting(ctx, src, actionsOf(p), most)
	if err != nil || !known {
		return nil, false, err
	}

	docs = map[uint64]bool{}
	for _, patient := range patients {
		if typ == "Patient" {
			doc, there, err := ix.Find(ctx, typ, patient)
			if err != nil {
				return nil, false, err
			}
			docs[doc] = there
		}

		in, _ := search.Referring("Patient", patient, typ)
		err := src.Having(ctx, in, func(doc uint64) bool {
			docs[doc] = true
			return len(docs) < most
		})
		if err != nil || len(docs) >= most {
			return nil, false, err
		}
	}

	return docs, true, nil
}

// limiting returns the patients who have a Consent in force that may deny one of the
// actions, whatever the resource is. known is false where that may be more than most,
// or would be found out by reading more than most Consents.
func (r *Rule) limiting(
	ctx context.Context, src access.Source, actions []Action, most int,
) (patients []string, known bool, err error) {
	st := r.decider.Store.(*store)
	if forms, ok := st.forms(ctx); ok {
		return r.limitingForms(ctx, st, forms, actions, most)
	}
	if most < manyFound/2 {
		return nil, false, nil
	}

	var active []uint64
	err = src.Having(ctx, activeConsents(), func(doc uint64) bool {
		active = append(active, doc)
		return len(active) < most
	})
	if err != nil || len(active) >= most {
		return nil, false, err
	}

	of := map[string]int{}
	var failed error
	err = src.Resources(ctx, active, func(v access.Resource) bool {
		var c *Consent
		if c, failed = st.compiled(v); c == nil || failed != nil {
			return failed == nil
		}

		var limits bool
		limits, failed = r.decider.mayDeny(ctx, c, actions)
		of[c.patient]++
		if limits {
			of[c.patient] = maxInForce + 1
		}
		return failed == nil
	})
	if err != nil || failed != nil {
		return nil, false, cmp.Or(failed, err)
	}

	for patient, n := range of {
		if n > maxInForce {
			patients = append(patients, patient)
		}
	}

	return patients, true, nil
}

// limitingForms is limiting where one Consent of each form is known.
func (r *Rule) limitingForms(
	ctx context.Context, st *store, all []*Consent, actions []Action, most int,
) (patients []string, known bool, err error) {
	var denying []form
	for _, c := range all {
		denies, err := r.decider.mayDeny(ctx, c, actions)
		if err != nil {
			return nil, false, err
		}
		if denies {
			denying = append(denying, c.form)
		}
	}

	patients, known = st.having(ctx, denying, most)
	return patients, known, nil
}

// mayDeny reports whether there may be a resource on which a Consent denies the party
// one of the actions.
func (d *Decider) mayDeny(ctx context.Context, c *Consent, actions []Action) (bool, error) {
	if c.unclear != "" || c.base == Deny {
		return true, nil
	}
	if c.root == nil {
		return false, nil
	}

	for _, action := range actions {
		q := &question{
			Decider: d,
			action:  action,
		}
		if denies := q.mayDeny(ctx, c.root); denies || q.err != nil {
			return denies, q.err
		}
	}

	return false, nil
}

// mayDeny reports whether a rule, or an exception to it, may deny something.
func (q *question) mayDeny(ctx context.Context, r *rule) bool {
	outcome := r.outcome
	if r.unclear {
		outcome = Deny
	}

	if !q.mayApply(ctx, r, outcome) {
		return false
	}

	return outcome == Deny || slices.ContainsFunc(r.rules, func(below *rule) bool {
		return q.mayDeny(ctx, below)
	})
}
