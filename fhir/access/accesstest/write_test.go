package accesstest

import (
	"fmt"
	"slices"
	"strings"
)

// entry is one change, or one reading, as a request of its own and in a Bundle.
type entry struct {
	method, path, body string
	header             []string
}

const patching = `[{"op":"add","path":"/language","value":"en"}]`

// change is a change by chance.
func (w *world) change() entry {
	r := w.any()
	for r.typ == "Provenance" || slices.Contains(shared, r.typ) || r.typ == "Binary" || r.id == "dev1" {
		r = w.any()
	}

	query := "/" + r.typ + "?_id=" + r.id
	body := w.fresh(r.ref())
	switch w.rnd.IntN(9) {
	case 0:
		delete(body, "id")
		return entry{"POST", "/" + r.typ, jsonOf(body), nil}
	case 1:
		delete(body, "id")
		return entry{"POST", "/" + r.typ, jsonOf(body), []string{"If-None-Exist", "_id=" + r.id}}
	case 2:
		return entry{"PUT", query, jsonOf(body), nil}

	case 3:
		id := w.id()
		body["id"] = id
		return entry{"PUT", "/" + r.typ + "/" + id, jsonOf(body), nil}
	case 4:
		return entry{"PATCH", "/" + r.ref(), patching, nil}
	case 5:
		return entry{"PATCH", query, patching, nil}

	case 6:
		if w.chance(2) {
			return entry{"DELETE", pick(w.rnd, query, "/"+r.ref()), "", nil}
		}
	}

	return entry{"PUT", "/" + r.ref(), jsonOf(body), nil}
}

// writes makes one change, or several in a Bundle with readings, and compares what has
// changed with what the token may change.
func (w *world) writes(k *token) {
	w.t.Helper()
	c := w.change()
	if w.chance(3) {
		w.bundles(k)
		return
	}

	header := c.header
	if c.method == "PATCH" {
		header = append(header, "Content-Type", "application/json-patch+json")
	}
	a := w.ask(k, c.method, c.path, c.body, header...)
	before := w.refresh()
	w.shown(k, before, a)
	w.changed(k, before, a.Code < 300)

	r := before.state[strings.TrimPrefix(c.path, "/")]
	if r == nil || r.now().body == nil || c.method != "PATCH" && c.method != "DELETE" {
		return
	}

	action := map[string]string{"PATCH": "u", "DELETE": "d"}[c.method]
	switch may := before.may(k, action, r); {
	case may == hidden && c.method == "DELETE" && a.Code == 204: // like what is not there
	case may == hidden && a.Code != 404 && a.Code != 403:
		w.fail("%d of what may not be changed", a.Code)
	case may == whole && a.Code != 200 && a.Code != 204 && !strings.Contains(a.Body.String(), "language"):
		w.fail("%d of what may be changed: %s", a.Code, a.Body)
	}
}

// bundles does the same in a batch or transaction.
func (w *world) bundles(k *token) {
	w.t.Helper()
	kind := pick(w.rnd, "batch", "transaction")
	var entries []any
	used := map[string]bool{}

	for range 1 + w.rnd.IntN(4) {
		c := w.change()
		if w.chance(2) {
			r := w.any()
			c = entry{
				"GET",
				pick(w.rnd, "/"+r.ref(), "/"+r.typ+"?_count=9", "/"+r.typ+"?_id="+r.id, "/"+r.ref()+"/_history"),
				"",
				nil,
			}
		}

		if used[c.path] || c.method == "PATCH" || c.header != nil && kind == "batch" {
			continue
		}

		used[c.path] = true
		e := node{"request": node{"method": c.method, "url": c.path[1:]}}
		if c.body != "" {
			e["resource"] = raw(c.body)
		}
		if c.header != nil {
			e["request"].(node)["ifNoneExist"] = c.header[1]
		}

		entries = append(entries, e)
	}

	if len(entries) == 0 {
		return
	}

	a := w.ask(k, "POST", "", jsonOf(node{"resourceType": "Bundle", "type": kind, "entry": entries}))
	before := w.refresh()
	w.shown(k, before, a)
	w.changed(k, before, a.Code < 300)
}

// changed compares what a request has changed with what its token may change.
func (w *world) changed(k *token, before *model, ok bool) {
	w.t.Helper()
	for ref, r := range w.state {
		from := uint64(0)
		if old := before.state[ref]; old != nil {
			from = old.now().n
		}

		for n := from + 1; n <= r.now().n; n++ {
			switch {
			case !ok:
				w.fail("%s/%d was stored by a request that was refused", ref, n)
			case r.typ == "Provenance" && n == 1: // the server's own, or one that was sent
			case !before.stores(k, r, n) && !w.stores(k, r, n):
				w.fail("%s/%d was stored: %s after %s", ref, n, jsonOf(r.versions[n-1].body), w.former(r, n))
			}
		}
	}
}

func (w *world) former(r *record, n uint64) string {
	if n < 2 {
		return "nothing"
	}
	return jsonOf(r.versions[n-2].body)
}

// stores decides about storing a version: the one before it may be changed, and the new
// one may be made.
func (m *model) stores(k *token, r *record, n uint64) bool {
	body := r.versions[n-1].body
	var old node
	if n > 1 {
		old = r.versions[n-2].body
	}

	switch {
	case old == nil:
		allowed := m.granted(k, "c", r.typ, r.id, body) || m.granted(k, "u", r.typ, r.id, body)
		permitted, _ := m.consented(k, "c", r.typ, r.id, body)
		return allowed && permitted
	case body == nil:
		return m.granted(k, "d", r.typ, r.id, old) && m.ruled(k, "d", r, old) != hidden
	}

	permitted, _ := m.consented(k, "u", r.typ, r.id, body)
	return m.granted(k, "u", r.typ, r.id, old) && m.ruled(k, "u", r, old) == whole &&
		m.granted(k, "u", r.typ, r.id, body) && permitted
}

// same asks about something hidden and about nothing, in every way: the answers differ
// in nothing.
func (w *world) same(k *token) {
	w.t.Helper()
	r := w.any()
	for range 20 {
		if len(r.id) == len("x00000q") && k.reaches("r", r.typ) && w.unseen(k, r) {
			break
		}
		r = w.any()
	}

	if len(r.id) != len("x00000q") || !k.reaches("r", r.typ) || !w.unseen(k, r) {
		return
	}

	asks := []entry{
		{"GET", "/T/ID", "", nil},
		{"HEAD", "/T/ID", "", nil},
		{"GET", "/T/ID/_history/1", "", nil},
		{"GET", "/T/ID/_history/2", "", nil},
		{"GET", "/T/ID/_history", "", nil},
		{"GET", "/T?_id=ID", "", nil},
		{"GET", "/T?_summary=count&_id=ID", "", nil},
		{"GET", "/Patient/ID/Observation", "", nil},
		{"GET", "/Provenance?_include=Provenance:target&_id=ID", "", nil},
		{"GET", "/Observation?patient._id=ID", "", nil},
		{"GET", "/Patient/ID/$everything", "", nil},
		{"GET", "/Patient/ID/$disclosures", "", nil},
		{
			"POST",
			"",
			`{"resourceType":"Bundle","type":"batch","entry":[{"request":{"method":"GET","url":"T/ID"}}]}`,
			nil,
		},
		{
			"POST",
			"",
			`{"resourceType":"Bundle","type":"transaction","entry":[{"request":{"method":"GET","url":"T/ID"}}]}`,
			nil,
		},
		{"PATCH", "/T/ID", patching, []string{"Content-Type", "application/json-patch+json"}},
		{"PATCH", "/T?_id=ID", patching, []string{"Content-Type", "application/json-patch+json"}},
		{"DELETE", "/T?_id=ID", "", nil},
		{"DELETE", "/T/ID", "", nil},
	}
	c := pick(w.rnd, asks...)

	var answers []string
	for _, id := range []string{r.id, strings.Replace(r.id, "q", "w", 1)} {
		fill := strings.NewReplacer("ID", id, "T/", r.typ+"/", "T?", r.typ+"?")
		a := w.ask(k, c.method, fill.Replace(c.path), fill.Replace(c.body), c.header...)
		text := fmt.Sprintln(a.Code)

		for _, name := range slices.Sorted(keys(a.Header())) {
			if name != "Date" && name != "Trace-Id" && name != "X-Request-Id" && name != "Last-Modified" &&
				name != "Etag" {
				text += name + ": " + strings.Join(a.Header()[name], ", ") + "\n"
			}
		}

		answers = append(answers, varying.ReplaceAllString(strings.ReplaceAll(text+a.Body.String(), id, "ID"), "?"))
	}

	if answers[0] != answers[1] {
		w.fail("what is hidden differs from what is not there (%s): %s\nand\n%s", r.ref(), answers[0], answers[1])
	}
	before := w.refresh()
	w.changed(k, before, false)
}

// unseen reports whether no version of a resource may be read.
func (w *world) unseen(k *token, r *record) bool {
	return !slices.ContainsFunc(r.versions, func(v version) bool { return w.reads(k, r, v.n) != hidden })
}
