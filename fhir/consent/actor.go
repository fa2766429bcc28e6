package consent

import (
	"context"
	"slices"
	"strings"

	"fhirdest.example/fhir/search"
	"fhirdest.example/fhir/tree"
)

// npi is the system of identifiers that subject_id is in where it names none (UDAP
// Security 2.0, 5.2.1.1).
const npi = "http://hl7.org/fhir/sid/us-npi"

// maxMembers bounds the members of a Group or CareTeam that are looked at.
const maxMembers = 100

// sources are the roles of an actor from whom the data come (v3-ParticipationType);
// actors of all other roles, and of none, are those who get them.
var sources = []string{"AUT", "CST", "ENT", "INF"}

// isActor reports whether a provision's actor is the party that asks, or the
// resource's source.
func (q *question) isActor(ctx context.Context, a actor) certainty {
	if slices.Contains(sources, a.role) {
		return q.isFrom(a)
	}
	if sure, known := q.actors[a]; known {
		return sure
	}

	sure := q.isAsker(ctx, a, 0)
	if q.err == nil {
		if q.Decider.actors == nil {
			q.Decider.actors = map[actor]certainty{}
		}
		q.Decider.actors[a] = sure
	}
	return sure
}

// isAsker compares an actor with the party that asks:
//
//   - an Organization by organization_id of hl7-b2b: one of its identifiers has
//     that value, or it is the URL of the Organization;
//   - a Device by the client: one of its identifiers is the client_id or the
//     client's URI;
//   - a person by the resource of the person who signed in, or by subject_id of
//     hl7-b2b among the identifiers;
//   - a PractitionerRole by its practitioner and its organization, a CareTeam or
//     Group by its members.
//
// What the token does not name cannot be excluded.
func (q *question) isAsker(ctx context.Context, a actor, depth int) certainty {
	if a.reference == "" {
		if a.identifier.code == "" {
			return maybe
		}
		return q.isNamed(a.typ, []coding{a.identifier})
	}

	if a.reference == q.Asker.Organization || a.reference == q.Asker.ClientURI {
		return yes
	}
	ref := q.Bases.ParseRef(a.reference)
	switch {
	case ref.Type == "":
		return maybe
	case q.Asker.User == ref.Type+"/"+ref.ID:
		return yes
	}

	root, err := q.Store.Load(ctx, ref)
	if err != nil {
		q.err = err
		return no
	}
	if root == nil {
		return q.isUnknown(ref.Type)
	}
	return q.isLoaded(ctx, ref.Type, root, depth)
}

// isLoaded compares a resource of the server with the party that asks.
func (q *question) isLoaded(ctx context.Context, typ string, root *tree.Value, depth int) certainty {
	var members []tree.Value
	switch typ {
	case "PractitionerRole":
		if depth > 1 {
			return maybe
		}
		sure := yes
		for _, name := range []string{"practitioner", "organization"} {
			if v := root.Get(name); v != nil {
				sure = min(sure, q.isAsker(ctx, referred(v), depth+1))
			}
		}
		return sure

	case "CareTeam":
		for _, p := range root.Get("participant").Each() {
			members = append(members, p.Get("member").Each()...)
		}
	case "Group":
		for _, m := range root.Get("member").Each() {
			members = append(members, m.Get("entity").Each()...)
		}

	default:
		ids := identifiers(root)
		if len(ids) == 0 {
			return q.isUnknown(typ)
		}
		return q.isNamed(typ, ids)
	}

	if depth > 1 || len(members) > maxMembers {
		return maybe
	}
	sure := no
	for _, m := range members {
		sure = max(sure, q.isAsker(ctx, referred(&m), depth+1))
	}
	return sure
}

// referred reads a Reference as an actor.
func referred(v *tree.Value) actor {
	return actor{
		reference: v.Get("reference").Text(),
		typ:       v.Get("type").Text(),
		identifier: coding{
			system: v.At("identifier", "system").Text(),
			code:   v.At("identifier", "value").Text(),
		},
	}
}

func identifiers(root *tree.Value) []coding {
	var all []coding
	for _, id := range root.Get("identifier").Each() {
		if value := id.Get("value").Text(); value != "" {
			all = append(all, coding{
				system: id.Get("system").Text(),
				code:   value,
			})
		}
	}
	return all
}

// isUnknown is how sure it is that the party is one of whom nothing is known but the
// type: it is another one if the token names it, and its person.
func (q *question) isUnknown(typ string) certainty {
	if isPerson(typ) && q.Asker.User != "" {
		return no // it would be that very resource
	}
	return maybe
}

func isPerson(typ string) bool {
	switch typ {
	case "Practitioner", "RelatedPerson", "Patient", "Person":
		return true
	}
	return false
}

// isNamed compares identifiers of a resource of a type, or of an unknown one, with
// what the token names.
func (q *question) isNamed(typ string, ids []coding) certainty {
	sure, named := no, false
	if typ == "" || typ == "Device" {
		named = true
		sure = max(sure, anyOf(ids, func(c coding) certainty {
			return sureIf(c.code == q.Asker.Client || c.code == q.Asker.ClientURI)
		}))
	}
	if (typ == "" || typ == "Organization") && q.Asker.Organization != "" {
		named = true
		sure = max(sure, anyOf(ids, func(c coding) certainty {
			return sameID(c, q.Asker.Organization, "")
		}))
	}
	if (typ == "" || isPerson(typ)) && q.Asker.Subject != "" {
		named = true
		sure = max(sure, anyOf(ids, func(c coding) certainty {
			return sameID(c, q.Asker.Subject, npi)
		}))
	}

	if sure == no && (!named || typ != "Device" && !q.names(typ)) {
		return q.isUnknown(typ)
	}
	return sure
}

// names reports whether the token names a party of a type; of an unknown type, an
// organization or a person.
func (q *question) names(typ string) bool {
	switch {
	case typ == "Organization":
		return q.Asker.Organization != ""
	case isPerson(typ):
		return q.Asker.Subject != "" || q.Asker.User != ""
	}
	return q.Asker.Organization != "" || q.Asker.User != ""
}

// sameID compares an identifier with one that a client asserted: a URI, system#value
// or system|value, or a value alone, which is in a system by default. A value alone
// in another system may be the same.
func sameID(c coding, asserted, system string) certainty {
	switch {
	case c.system != "" && (asserted == c.system+"#"+c.code || asserted == c.system+"|"+c.code):
		return yes
	case c.code != asserted:
		return no
	case c.system == "" || c.system == system || c.system == uriSystem || strings.Contains(asserted, ":"):
		return yes
	}
	return maybe
}

// origins are the elements that name from whom or where a resource is.
var origins = []string{
	"author", "recorder", "asserter", "performer", "requester", "informationSource", "source", "custodian",
	"managingOrganization", "serviceProvider", "prescriber", "enterer", "provider", "organization", "attester",
	"authenticator", "sender", "participant",
}

// isFrom reports whether the resource comes from an actor: names it as author,
// performer, custodian and the like. It is not known of a resource that names none.
func (q *question) isFrom(a actor) certainty {
	q.looked = true
	want := q.Bases.ParseRef(a.reference)
	if want.Type == "" && a.identifier.code == "" {
		return maybe
	}

	found := 0
	for _, name := range origins {
		for _, v := range q.body().Get(name).Each() {
			for _, origin := range references(&v, nil) {
				found++
				has := q.Bases.ParseRef(origin.reference)
				if want.Type != "" && has.Type == want.Type && has.ID == want.ID ||
					a.identifier.code != "" && origin.identifier == a.identifier {
					return yes
				}
			}
		}
	}

	if found == 0 && q.resource.Type != "Patient" {
		return maybe
	}
	return no
}

// references appends every reference in a value.
func references(v *tree.Value, all []actor) []actor {
	if v == nil || v.Items == nil {
		return all
	}
	if v.Get("reference").Text() != "" || v.At("identifier", "value").Text() != "" && v.Kind == tree.Object {
		all = append(all, referred(v))
	}
	for i := range v.Items {
		all = references(&v.Items[i], all)
	}
	return all
}

// isData reports whether the resource is one that a provision names, or belongs to it
// (consent-data-meaning).
func (q *question) isData(ctx context.Context, d datum) certainty {
	itself := d.ref.Type == q.resource.Type && d.ref.ID == q.resource.ID
	switch {
	case d.ref.Type == "":
		return maybe
	case d.meaning == "instance":
		return sureIf(itself)
	case itself && d.meaning != "authoredby":
		return yes
	}

	switch d.meaning {
	case "dependents":
		return sureIf(q.refersTo(q.body(), d.ref))
	case "authoredby":
		return q.isFrom(actor{reference: d.ref.Type + "/" + d.ref.ID})
	case "related":
		root, err := q.Store.Load(ctx, d.ref)
		if err != nil {
			q.err = err
			return no
		}
		if root == nil {
			return maybe
		}
		return sureIf(q.refersTo(root, search.Ref{
			Type: q.resource.Type,
			ID:   q.resource.ID,
		}))
	}
	return maybe
}

// refersTo reports whether a resource has a reference to another.
func (q *question) refersTo(root *tree.Value, to search.Ref) bool {
	return slices.ContainsFunc(references(root, nil), func(a actor) bool {
		ref := q.Bases.ParseRef(a.reference)
		return ref.Type == to.Type && ref.ID == to.ID
	})
}
