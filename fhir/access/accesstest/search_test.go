package accesstest

import (
	"fmt"
	"slices"
	"strings"
)

// query is a search whose matches the model knows.
type query struct {
	typ, text string
	through   string // a type that a chain leads through
	matches   func(m *model, k *token, r *record) bool
}

// queries are all of them; is and of look at the current version.
func (w *world) queries() []query {
	value := func(path, want string) func(*model, *token, *record) bool {
		return func(_ *model, _ *token, r *record) bool {
			return slices.Contains(texts(r.now().body, strings.Split(path, ".")...), want)
		}
	}

	all := func(*model, *token, *record) bool { return true }
	p, c := patientRef(w.rnd.IntN(patientCount)), pick(w.rnd, measured...)
	of := "Observation/x"
	if some := w.state.of("Observation"); len(some) > 0 {
		of = pick(w.rnd, some...).ref()
	}

	return []query{
		{"Patient", "", "", all},
		{"Patient", "gender=female", "", value("gender", "female")},
		{"Patient", "address-city=Aville", "", func(m *model, k *token, r *record) bool {
			top, _ := m.cleared(k)
			if k.emergency {
				top = max(top, m.glass)
			}
			return m.masking && top < restricted || text(r.now().body, "address", "city") == "Aville"
		}},
		{"Patient", "_has:Observation:patient:code=" + c, "Observation", func(m *model, k *token, r *record) bool {
			return slices.ContainsFunc(m.state.of("Observation"), func(o *record) bool {
				return text(o.now().body, "subject", "reference") == r.ref() && m.reads(k, o, o.now().n) != hidden &&
					text(o.now().body, "code", "coding", "code") == c
			})
		}},
		{"Observation", "", "", all},
		{"Observation", "code=" + c, "", value("code.coding.code", c)},
		{"Observation", "code:not=" + c, "", func(_ *model, _ *token, r *record) bool {
			return text(r.now().body, "code", "coding", "code") != c
		}},
		{"Observation", "category=laboratory&status=final", "", func(_ *model, _ *token, r *record) bool {
			return text(r.now().body, "category", "coding", "code") == "laboratory" &&
				text(r.now().body, "status") == "final"
		}},
		{"Observation", "patient=" + p, "", value("subject.reference", p)},
		{"Observation", "_security=HIV", "", func(m *model, _ *token, r *record) bool {
			_, _, all := m.labels(r.typ, r.now().body)
			return slices.ContainsFunc(all, func(c code) bool { return c.code == "HIV" })
		}},
		{"Observation", "_id=" + strings.TrimPrefix(of, "Observation/"), "", func(_ *model, _ *token, r *record) bool {
			return r.ref() == of
		}},
		{"Observation", "patient.gender=female", "Patient", func(m *model, k *token, r *record) bool {
			to := m.state[text(r.now().body, "subject", "reference")]
			return to != nil && m.reads(k, to, to.now().n) != hidden && text(to.now().body, "gender") == "female"
		}},
		{"Encounter", "", "", all},
		{"Condition", "code=" + c, "", value("code.coding.code", c)},
		{"DocumentReference", "", "", all},
		{"MedicationRequest", "", "", all},
		{"Device", "", "", all},
		{"Binary", "", "", all},
		{"Bundle", "", "", all},
		{"Consent", "patient=" + p, "", value("patient.reference", p)},
		{"Provenance", "", "", all},
		{"Provenance", "target=" + of, "", func(_ *model, _ *token, r *record) bool {
			return slices.ContainsFunc(texts(r.now().body, "target", "reference"), func(to string) bool {
				return to == of || strings.HasPrefix(to, of+"/")
			})
		}},
	}
}

// searches makes one search in one of its ways, and compares all of its pages, its total
// and its count with the model.
func (w *world) searches(k *token) {
	w.t.Helper()
	q := pick(w.rnd, w.queries()...)
	way := q.text + pick(w.rnd, "", "&_sort=-_lastUpdated", "&_sort=_id", "&_elements=id", "&_summary=true") +
		pick(w.rnd, "", "&_total=none", "&_total=accurate") + fmt.Sprintf("&_count=%d", 1+w.rnd.IntN(50))
	include, brings := w.include(q.typ)
	way = strings.TrimPrefix(way+include, "&")

	a := w.ask(k, "GET", "/"+q.typ+"?"+way, "")
	switch w.rnd.IntN(6) {
	case 0:
		a = w.ask(k, "POST", "/"+q.typ+"/_search", way, "Content-Type", "application/x-www-form-urlencoded")
	case 1:
		a = w.ask(k, "GET", "?_type="+q.typ+"&"+way, "")
	}

	w.shown(k, w.model, a)
	if a.Code != 200 {
		if a.Code != 403 || k.reaches("r", q.typ) && (q.through == "" || k.reaches("r", q.through)) &&
			!strings.Contains(w.asked, "?_type") {
			w.fail("%d %s", a.Code, a.Body)
		}
		return
	}

	var want []string
	more := map[string]bool{}
	for _, r := range w.state.of(q.typ) {
		if w.reads(k, r, r.now().n) != hidden && q.matches(w.model, k, r) {
			want = append(want, r.ref())
			for _, to := range brings(r) {
				if in := w.state[to]; in != nil && in.now().body != nil && w.reads(k, in, in.now().n) != hidden {
					more[to] = true
				}
			}
		}
	}

	total, got, brought := w.pages(k, a)
	slices.Sort(want)
	if !slices.Equal(got, want) || total != nil && *total != len(want) {
		w.fail("found %v\n\twant  %v\n\tnot %v", got, want, differing(got, want))
	}
	if len(brought) != len(more) {
		w.fail("brought along %v, want %v", brought, more)
	}

	a = w.ask(k, "GET", "/"+q.typ+"?_summary=count&"+q.text, "")
	if count, _, _ := w.pages(k, a); count == nil || *count != len(want) {
		w.fail("counted %s, want %d", a.Body, len(want))
	}
}

func differing(x, y []string) (all []string) {
	for _, one := range x {
		if !slices.Contains(y, one) {
			all = append(all, "+"+one)
		}
	}

	for _, one := range y {
		if !slices.Contains(x, one) {
			all = append(all, "-"+one)
		}
	}

	return all
}

// include is a parameter that brings resources along, and which.
func (w *world) include(typ string) (parameter string, brings func(*record) []string) {
	pointing := func(from, element string) func(*record) []string {
		return func(to *record) (all []string) {
			for _, r := range w.state.of(from) {
				if slices.Contains(texts(r.now().body, element, "reference"), to.ref()) {
					all = append(all, r.ref())
				}
			}
			return all
		}
	}

	switch pick(w.rnd, typ, typ, "") {
	case "Observation":
		return "&_include=Observation:subject&_include=Observation:performer", func(r *record) []string {
			return append(texts(r.now().body, "subject", "reference"), texts(r.now().body, "performer", "reference")...)
		}
	case "Encounter":
		return "&_include=Encounter:patient", func(r *record) []string {
			return texts(r.now().body, "subject", "reference")
		}

	case "Patient":
		return "&_revinclude=Observation:subject", pointing("Observation", "subject")
	}

	return "", func(*record) []string { return nil }
}

// histories compares a history with the model.
func (w *world) histories(k *token) {
	w.t.Helper()
	r := w.any()
	path := pick(w.rnd, "", "/"+r.typ, "/"+r.ref())
	a := w.ask(k, "GET", fmt.Sprintf("%s/_history?_count=%d", path, 1+w.rnd.IntN(80)), "")
	w.shown(k, w.model, a)

	var want []string
	for _, in := range w.state {
		if path != "" && path != "/"+in.typ && path != "/"+in.ref() {
			continue
		}

		for _, v := range in.versions {
			if w.reads(k, in, v.n) != hidden {
				want = append(want, fmt.Sprintf("%s/%d", in.ref(), v.n))
			}
		}
	}

	slices.Sort(want)

	if a.Code != 200 {
		if len(want) > 0 && (a.Code != 403 || k.reaches("r", r.typ) && path != "") {
			w.fail("%d %s, want %v", a.Code, a.Body, want)
		}
		return
	}
	if total, got, _ := w.pages(k, a); !slices.Equal(got, want) || total != nil && *total != len(want) {
		w.fail("a history of %d, want %d: %v", len(got), len(want), differing(got, want))
	}
}

// any is a resource by chance.
func (w *world) any() *record {
	var refs []string
	for ref, r := range w.state {
		if r.typ != "Provenance" || w.n%5 == 0 {
			refs = append(refs, ref)
		}
	}
	slices.Sort(refs)
	return w.state[pick(w.rnd, refs...)]
}
