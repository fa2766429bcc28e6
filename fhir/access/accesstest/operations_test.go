package accesstest

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"
)

// reading reads one version or the resource, in one of the ways, and compares the status
// and what is masked with the model.
func (w *world) reading(k *token) {
	w.t.Helper()
	r := w.any()
	n := 1 + uint64(w.rnd.IntN(len(r.versions)))
	path := fmt.Sprintf("/%s/_history/%d", r.ref(), n)
	if w.chance(2) {
		n = r.now().n
		path = "/" + r.ref()
	}

	var header []string
	if r.typ == "Binary" && w.chance(2) {
		header = []string{"Accept", "text/plain"}
	}

	method := pick(w.rnd, "GET", "GET", "HEAD")
	a := w.ask(k, method, path, "", header...)
	w.shown(k, w.model, a)
	sees, gone := w.reads(k, r, n), r.versions[n-1].body == nil
	want := 200
	switch {
	case !k.reaches("r", r.typ):
		want = 403
	case sees == hidden:
		want = 404
	case gone:
		want = 410
	}

	if a.Code != want {
		w.fail("%d %s, want %d", a.Code, a.Body, want)
	}
	if method == "GET" && want == 200 && header == nil &&
		strings.Contains(a.Body.String(), `"REDACTED"`) != (sees == masked) &&
		w.hasMasked(r, n) {
		w.fail("%s, want masked: %v", a.Body, sees == masked)
	}
}

func (w *world) hasMasked(r *record, n uint64) bool {
	return r.versions[n-1].body["address"] != nil || r.versions[n-1].body["note"] != nil
}

// operates makes one operation.
func (w *world) operates(k *token) {
	w.t.Helper()
	r := w.any()
	p := patientRef(w.rnd.IntN(patientCount))
	someone := jsonOf(node{"resourceType": "Parameters", "parameter": []any{node{
		"name": "resource", "resource": node{
			"resourceType": "Patient", "gender": "female", "birthDate": "1970-01-02",
			"name":       []any{node{"family": "Doe", "given": []any{"Ann"}}},
			"identifier": identifier("urn:y", "1"),
			"address":    []any{node{"city": "Aville", "line": []any{"1 St"}, "state": "AA", "postalCode": "1"}},
			"telecom":    []any{node{"system": "phone", "value": "5"}},
		}}}})

	body := w.fresh(r.ref())

	c := pick(w.rnd, []entry{
		{"GET", "/" + p + "/$everything?_count=" + strconv.Itoa(5+w.rnd.IntN(200)), "", nil},
		{"POST", "/Patient/$match", someone, nil},
		{"POST", "/" + r.typ + "/$validate", jsonOf(body), nil},
		{"POST", "/" + r.ref() + "/$validate", jsonOf(body), nil},
		{"GET", "/" + p + "/$disclosures", "", nil},
		{"GET", "/" + p + "/Observation?_count=200", "", nil},
		{"GET", "/Provenance?target=" + r.ref() + "&_include=Provenance:target", "", nil},
		{"GET", "/AuditEvent?_count=5", "", nil},
	}...)
	a := w.ask(k, c.method, c.path, c.body, c.header...)
	w.shown(k, w.model, a)
	if a.Code != 200 || strings.Contains(c.path, "$validate") || strings.Contains(c.path, "$match") {
		return
	}

	_, got, brought := w.pages(k, a)
	if strings.Contains(c.path, "$everything") && w.reads(k, w.state[p], w.state[p].now().n) == hidden {
		w.fail("everything of a hidden patient: %v %v", got, brought)
	}
}

// later makes a request in the background: its result is as if it were made now.
func (w *world) later(k *token) {
	w.t.Helper()
	r := w.any()
	path := pick(w.rnd, "/"+r.ref(), "/Observation?_count=300", "/"+r.ref()+"/_history")
	w.asked = "GET " + path + " in the background with " + k.text
	at := w.Begin("GET", path, k.text, "", k.header()...)
	a := w.Wait(at, k.text)
	w.shown(k, w.model, a)

	now := w.ask(k, "GET", path, "", k.header()...)
	var result struct {
		Entry []struct {
			Response struct {
				Status string `json:"status"`
			} `json:"response"`
		} `json:"entry"`
	}
	if err := json.Unmarshal(a.Body.Bytes(), &result); err != nil || len(result.Entry) != 1 ||
		!strings.HasPrefix(result.Entry[0].Response.Status, strconv.Itoa(now.Code)) {
		w.fail("%v: %s, want %d", err, a.Body, now.Code)
	}
}

// exports exports everything and compares the files with the model.
func (w *world) exports(k *token) {
	w.t.Helper()
	a := w.ask(k, "GET", "/$export", "", "Prefer", "respond-async")
	if a.Code != http.StatusAccepted {
		w.shown(k, w.model, a)
		return
	}

	var manifest struct {
		Output []struct {
			URL string `json:"url"`
		} `json:"output"`
	}
	if err := json.Unmarshal(w.Wait(a.Header().Get("Content-Location"), k.text).Body.Bytes(), &manifest); err != nil {
		w.t.Fatal(err)
	}

	var got, want []string
	for _, f := range manifest.Output {
		file := w.Do("GET", f.URL, k.text, "")
		w.shown(k, w.model, file)
		for line := range strings.Lines(file.Body.String()) {
			var body node
			if err := json.Unmarshal([]byte(line), &body); err != nil {
				w.t.Fatal(err)
			}
			got = append(got, text(body, "resourceType")+"/"+text(body, "id"))
		}
	}

	for ref, r := range w.state {
		if r.now().body != nil && w.reads(k, r, r.now().n) != hidden {
			want = append(want, ref)
		}
	}

	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		w.fail("an export of %d, want %d: %v", len(got), len(want), differing(got, want))
	}
}
