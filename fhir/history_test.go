package fhir_test

import (
	"fmt"
	"strings"
	"testing"
)

// R4 http 3.1.0.12: each version is listed with the request that made it and
// what that was answered.
func TestHistoryListsTheRequestOfEachVersion(t *testing.T) {
	const patient = `{"resourceType":"Patient","id":"p","active":true}`
	const patch = `[{"op":"replace","path":"/active","value":false}]`
	put := func(w *env) { w.do("PUT", "/Patient/p", everything, patient) }
	patched := func(w *env) {
		w.do("PATCH", "/Patient/p", everything, patch, "Content-Type", patchType).want(200)
	}
	gone := func(w *env) { w.do("DELETE", "/Patient/p", everything, "").want(204) }
	tx := func(entry string) func(w *env) {
		return func(w *env) { w.do("POST", "", everything, bundleOf("transaction", entry)).want(200) }
	}

	none := `{"resourceType":"Patient","identifier":[{"system":"urn:n","value":"1"}]}`

	for name, c := range map[string]struct {
		do   []func(*env)
		want []string // newest first: method, url, status
	}{
		"put first": {[]func(*env){put}, []string{"PUT Patient/p 201"}},
		"put again": {[]func(*env){put, put}, []string{"PUT Patient/p 200", "PUT Patient/p 201"}},
		"patched":   {[]func(*env){put, patched}, []string{"PATCH Patient/p 200", "PUT Patient/p 201"}},
		"deleted":   {[]func(*env){put, gone}, []string{"DELETE Patient/p 204", "PUT Patient/p 201"}},
		"brought back": {
			[]func(*env){put, gone, put},
			[]string{"PUT Patient/p 201", "DELETE Patient/p 204", "PUT Patient/p 201"},
		},
		"after that": {
			[]func(*env){put, gone, put, patched},
			[]string{"PATCH Patient/p 200", "PUT Patient/p 201", "DELETE Patient/p 204", "PUT Patient/p 201"},
		},
		"put in a Bundle": {[]func(*env){tx(entryOf("PUT", "Patient/p", patient))}, []string{"PUT Patient/p 201"}},
		"patched in a Bundle": {
			[]func(*env){put, tx(patchEntry("Patient/p", patch))},
			[]string{"PATCH Patient/p 200", "PUT Patient/p 201"},
		},
		"conditional update": {
			[]func(*env){func(w *env) { w.do("PUT", "/Patient?identifier=urn:n|1", everything, none).want(201) }},
			[]string{"PUT Patient/$ 201"},
		},
		"created": {
			[]func(*env){func(w *env) { w.do("POST", "/Patient", everything, none).want(201) }},
			[]string{"POST Patient 201"},
		},
		"created in a Bundle": {[]func(*env){tx(entryOf("POST", "Patient", none))}, []string{"POST Patient 201"}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newEnv(t, 0)
			for _, do := range c.do {
				do(w)
			}

			id := []string{"p"}
			if found := w.get("/Patient", everything).bundle().ids("match"); len(found) > 0 {
				id[0] = strings.TrimPrefix(found[0], "Patient/")
			}

			for _, path := range []string{
				"/Patient/" + id[0] + "/_history",
				"/Patient/_history",
				"/_history?_type=Patient",
			} {
				b := w.get(path, everything).bundle()
				if len(b.Entry) != len(c.want) {
					t.Fatalf("%s lists %d versions, want %d", path, len(b.Entry), len(c.want))
				}

				for i, e := range b.Entry {
					got := fmt.Sprintf("%s %s %s", e.Request.Method, e.Request.URL, e.Response.Status)
					want := c.want[i]
					if want == "PUT Patient/$ 201" {
						want = "PUT Patient/" + id[0] + " 201"
					}
					if etag := fmt.Sprintf(`W/"%d"`, len(c.want)-i); got != want || e.Response.Etag != etag {
						t.Errorf("%s, entry %d: %s %s, want %s %s", path, i, got, e.Response.Etag, want, etag)
					}
				}
			}
		})
	}
}
