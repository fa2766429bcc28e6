package fhir_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// with sends a request whose header has several lines.
func (w *env) with(method, path, body string, header http.Header) answer {
	w.t.Helper()
	r := httptest.NewRequest(method, "/acme/fhir"+path, strings.NewReader(body))
	r.Header = header.Clone()
	r.Header.Set("Authorization", "Bearer "+everything)
	r.Header.Set("Content-Type", "application/fhir+json")
	rec := httptest.NewRecorder()
	w.h.ServeHTTP(rec, r)
	return answer{rec, w.t}
}

// Lists of entity tags are lists, in one line or several (RFC 9110 13.1).
func TestEntityTagsComeInLists(t *testing.T) {
	w := newEnv(t, 0)
	const body = `{"resourceType":"Patient","id":"a","active":true}`
	w.do("PUT", "/Patient/a", everything, body).want(201)

	for _, tc := range []struct {
		lines  []string
		get    int
		putBad bool // 400 for a PUT
		puts   bool
	}{
		{[]string{`W/"1"`}, 304, false, true}, {[]string{`"1"`}, 304, false, true}, {[]string{`1`}, 304, false, true}, {[]string{`*`}, 304, false, true},
		{[]string{`W/"8", W/"1"`}, 304, false, true}, {[]string{`W/"8"`, `"1"`}, 304, false, true}, {[]string{`W/"8","9"`}, 200, false, false},
		{[]string{`<x>`}, 200, true, false}, {[]string{``}, 200, true, false}, {[]string{`,`}, 200, true, false},
	} {
		w.with("GET", "/Patient/a", "", http.Header{"If-None-Match": tc.lines}).want(tc.get)
		a := w.with("PUT", "/Patient/b", strings.Replace(body, `"a"`, `"b"`, 1), http.Header{})
		if a.Code != 201 && a.Code != 200 {
			t.Fatal(a.Body)
		}
		lines := []string{}
		for _, l := range tc.lines {
			lines = append(lines, strings.ReplaceAll(l, `1`, strings.Trim(a.Header().Get("ETag"), `W/"`)))
		}

		want := map[bool]int{true: 200, false: 412}[tc.puts]
		if tc.putBad {
			want = 400
		}
		w.with("PUT", "/Patient/b", strings.Replace(body, `"a"`, `"b"`, 1), http.Header{"If-Match": lines}).want(want)
	}

	tag := w.get("/metadata", "").want(200).Header().Get("ETag")
	for _, lines := range [][]string{{tag}, {`"x", ` + tag}, {`"x"`, tag}, {tag[2:]}, {"*"}} {
		w.with("GET", "/metadata", "", http.Header{"If-None-Match": lines}).want(304)
	}
}

// The ETag of a version stands for all of it, never for a part.
func TestPartsHaveNoEntityTag(t *testing.T) {
	w := newEnv(t, 0)
	w.do("PUT", "/Patient/a", everything, `{"resourceType":"Patient","id":"a","active":true,"gender":"male"}`).want(201)
	for query, tag := range map[string]string{"": `W/"1"`, "?_format=json": `W/"1"`, "?_pretty=true": `W/"1"`, "?_summary=false": `W/"1"`,
		"?_summary=true": "", "?_summary=text": "", "?_summary=data": "", "?_elements=gender": ""} {
		t.Run(query, func(t *testing.T) {
			for _, path := range []string{"/Patient/a", "/Patient/a/_history/1"} {
				a := w.get(path+query, everything).want(200)
				if got := a.Header().Get("ETag"); got != tag || a.Header().Get("Last-Modified") == "" {
					t.Errorf("%s%s: ETag %s, %v", path, query, got, a.Header())
				}
				w.get(path+query, everything, "If-None-Match", `W/"1"`).want(map[bool]int{
					true:  304,
					false: 200,
				}[tag != ""])

				w.get(path+query, everything, "If-Modified-Since", a.Header().Get("Last-Modified")).want(304)
			}
		})
	}
}

// A version that must be there is not made by a conditional update.
func TestConditionalUpdateMatchesNothing(t *testing.T) {
	w := newEnv(t, 0)
	org := func(id string) string { return `{"resourceType":"Organization",` + id + `"name":"N"}` }
	w.do("PUT", "/Organization?identifier=none", everything, org(""), "If-Match", `W/"1"`).want(412)
	w.do("PUT", "/Organization?identifier=none", everything, org(`"id":"a",`), "If-Match", `W/"1"`).want(412)
	w.do("PUT", "/Organization?identifier=none", everything, org(`"id":"a",`)).want(201)
	w.do("PUT", "/Organization?identifier=none", everything, org(`"id":"a",`)).want(409)
	w.do("PUT", "/Organization?identifier=none", "system/Organization.cruds?name=other", org(`"id":"a",`)).want(404)
	put := func(method string) string {
		return `{"request":{"method":"PUT","url":"Organization?identifier=none"},"resource":` + org(`"id":"a",`) + `}`
	}
	w.do("POST", "", everything, bundleOf("transaction", put("PUT"))).want(409)

	if got := w.get("/Organization/a", everything).want(200).Header().Get("ETag"); got != `W/"1"` {
		t.Error(got)
	}
	w.do("DELETE", "/Organization/a", everything, "").want(204)
	w.do("PUT", "/Organization?identifier=none", everything, org(`"id":"a",`)).want(201)
}
