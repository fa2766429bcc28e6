package fhir_test

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

// change is a way to change or delete Organization/o.
type change struct {
	name   string
	method string
	path   string
	body   string
	media  string
}

const inJSON, inXML = "application/fhir+json", "application/fhir+xml"

// changes are the interactions that change Organization/id, whose name is its id, by its
// id and by criteria.
func changes(id string) []change {
	const patch = `[{"op":"add","path":"/active","value":true}]`
	one, named := "/Organization/"+id, "/Organization?name="+id
	xml := inFHIR("Organization", `<id value="`+id+`"/><name value="`+id+`"/>`)

	return []change{
		{"update", "PUT", one, organization(id), inJSON},
		{"update in XML", "PUT", one, xml, inXML},
		{"conditional update", "PUT", named, organization(id), inJSON},
		{"patch", "PATCH", one, patch, patchType},
		{"conditional patch", "PATCH", named, patch, patchType},
		{"delete", "DELETE", one, "", inJSON},
		{"conditional delete", "DELETE", named, "", inJSON},
	}
}

func organization(id string) string {
	return `{"resourceType":"Organization","id":"` + id + `","name":"` + id + `"}`
}

// Every change is made under the conditions of RFC 9110 13.1, and not at all where one of
// them is not met.
func TestChangesHaveConditions(t *testing.T) {
	const (
		before = "Sun, 01 Mar 2026 11:59:59 GMT"
		then   = "Sun, 01 Mar 2026 12:00:00 GMT"
		since  = "If-Unmodified-Since"
		none   = "If-None-Match"
	)
	w := newEnv(t, 0)
	for n, c := range []struct {
		name   string
		header []string
		met    bool
	}{
		{"unmodified", []string{since, then}, true},
		{"modified", []string{since, before}, false},
		{"modified, in another form of date", []string{since, "Sun Mar  1 11:59:59 2026"}, false},
		{"no date", []string{since, "2026-03-01T11:59:59Z"}, true},
		{"If-Match instead of the date", []string{since, before, "If-Match", `W/"1"`}, true},
		{"unmodified, but another version", []string{since, then, "If-Match", `W/"9"`}, false},
		{"none", []string{none, "*"}, false},
		{"not this version", []string{none, `W/"9", W/"1"`}, false},
		{"not another version", []string{none, `W/"9"`}, true},
		{"this version, and not this", []string{"If-Match", `W/"1"`, none, `W/"1"`}, false},
		{"modified since is for reads", []string{"If-Modified-Since", then}, true},
	} {
		for i := range changes("") {
			id := fmt.Sprintf("o-%d-%d", n, i)
			ch := changes(id)[i]
			t.Run(ch.name+" "+c.name, func(t *testing.T) {
				w.t, w.now = t, time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
				w.do("PUT", "/Organization/"+id, everything, organization(id)).want(201)
				w.now = w.now.Add(time.Hour)

				header := append([]string{"Content-Type", ch.media}, c.header...)
				a := w.do(ch.method, ch.path, everything, ch.body, header...)
				if met := a.Code/100 == 2; met != c.met || !met && a.Code != 412 {
					t.Errorf("%d %s", a.Code, a.Body)
				}

				tag := w.get("/Organization/"+id, everything).Header().Get("ETag")
				if kept := tag == `W/"1"`; kept == c.met {
					t.Errorf("afterwards %s", tag)
				}
			})
		}
	}
}

// What was deleted after the client saw it is not brought back; where nothing ever was
// there is no time to compare.
func TestUpdatesUndoNoDeletion(t *testing.T) {
	w := newEnv(t, 0)
	org := organization("o")
	const then = "Sun, 01 Mar 2026 12:00:00 GMT"

	w.do("PUT", "/Organization/o", everything, org, "If-Unmodified-Since", then).want(201)
	w.now = w.now.Add(time.Hour)
	w.do("DELETE", "/Organization/o", everything, "").want(204)

	w.do("PUT", "/Organization/o", everything, org, "If-Unmodified-Since", then).want(412)
	w.do("PUT", "/Organization?name=x", everything, org, "If-Unmodified-Since", then).want(412)
	w.get("/Organization/o", everything).want(410)
	w.do("PUT", "/Organization/o", everything, org).want(201)
}

// What is created has no version that could match.
func TestCreationsMatchNoVersion(t *testing.T) {
	w := newEnv(t, 0)
	const org = `{"resourceType":"Organization","name":"N"}`

	w.do("POST", "/Organization", everything, org, "If-Match", `W/"1"`).want(412)
	w.do("POST", "/Organization", everything, org, "If-Match", `W/"1"`, "If-None-Exist", "name=N").want(412)
	w.do("POST", "", everything, bundleOf("transaction",
		strings.Replace(entryOf("POST", "Organization", org), `"url":`, `"ifMatch":"W/\"1\"","url":`, 1))).want(412)
	w.do("POST", "/Organization", everything, org, "If-None-Match", `W/"1"`).want(201)

	if n := *w.get("/Organization", everything).bundle().Total; n != 1 {
		t.Errorf("%d resources", n)
	}
}

// The answer to a condition does not show what the token may not see.
func TestConditionsShowNothingHidden(t *testing.T) {
	w := newEnv(t, 0)
	for n, since := range []string{
		"Sun, 01 Mar 2026 11:00:00 GMT",
		"Sun, 01 Mar 2026 13:00:00 GMT",
	} {
		for i := range changes("") {
			id := fmt.Sprintf("o-%d-%d", n, i)
			ch := changes(id)[i]
			t.Run(ch.name+" "+since, func(t *testing.T) {
				w.t = t
				const other = "system/Organization.cruds?name=other"
				ask := func() string {
					a := w.do(ch.method, ch.path, other, ch.body,
						"Content-Type", ch.media, "If-Unmodified-Since", since)
					return http.StatusText(a.Code) + a.Body.String()
				}

				missing := ask()
				w.do("PUT", "/Organization/"+id, everything, organization(id)).want(201)
				if hidden := ask(); hidden != missing {
					t.Errorf("%s\nbut without the resource %s", hidden, missing)
				}
			})
		}
	}
}

// The conditions of entries are those of requests; only, ifModifiedSince is an instant.
func TestEntriesHaveConditions(t *testing.T) {
	patch := base64.StdEncoding.EncodeToString([]byte(`[{"op":"replace","path":"/name","value":"N"}]`))
	patch = `{"resourceType":"Binary","contentType":"application/json-patch+json","data":"` + patch + `"}`

	w := newEnv(t, 0)
	w.now = w.now.Add(500 * time.Millisecond)
	w.do("PUT", "/Organization/o", everything, organization("o")).want(201)
	for _, c := range []struct {
		name, member, method, body string
		want                       string
	}{
		{"since later", `"ifModifiedSince":"2026-03-01T12:00:00.500Z"`, "GET", "", "304"},
		{"since later, elsewhere", `"ifModifiedSince":"2026-03-01T14:00:00.500+02:00"`, "GET", "", "304"},
		{"since earlier", `"ifModifiedSince":"2026-03-01T12:00:00.499Z"`, "GET", "", "200"},
		{"a date of HTTP", `"ifModifiedSince":"Sun, 01 Mar 2026 12:00:01 GMT"`, "GET", "", "400"},
		{"a date", `"ifModifiedSince":"2026-03-01"`, "GET", "", "400"},
		{"a number", `"ifModifiedSince":5`, "GET", "", "400"},
		{"none for an update", `"ifNoneMatch":"*"`, "PUT", organization("o"), "412"},
		{"none for a patch", `"ifNoneMatch":"*"`, "PATCH", patch, "412"},
		{"none for a deletion", `"ifNoneMatch":"*"`, "DELETE", "", "412"},
		{"an extension alone", `"_ifMatch":{"id":"x"}`, "DELETE", "", "400"},
		{"an extension of nothing", `"_ifmatch":{"id":"x"}`, "DELETE", "", "400"},
		{"an extension beside", `"ifNoneMatch":"W/\"1\"","_ifNoneMatch":{"id":"x"}`, "GET", "", "304"},
		{"an extension beside", `"ifNoneMatch":"*","_ifNoneMatch":{"id":"x"}`, "PUT", organization("o"), "412"},
		{"extensions of the rest", `"_url":{"id":"x"},"_method":{"id":"x"},"id":"x"`, "GET", "", "200"},
	} {
		for _, kind := range []string{"batch", "transaction"} {
			t.Run(kind+" "+c.name, func(t *testing.T) {
				w.t = t
				body := ""
				if c.body != "" {
					body = `"resource":` + c.body + `,`
				}
				a := w.do("POST", "", everything, bundleOf(kind,
					`{`+body+`"request":{"method":"`+c.method+`","url":"Organization/o",`+c.member+`}}`))
				if kind == "transaction" && c.want >= "400" {
					a.want(map[string]int{"400": 400, "412": 412}[c.want])
					return
				}
				if got := a.bundle().Entry[0].Response.Status; !strings.HasPrefix(got, c.want) {
					t.Errorf("%s, want %s", got, c.want)
				}
			})
		}
	}

	// The time is for reads only.
	update := entryOf("PUT", "Organization/o", organization("o"))
	w.do("POST", "", everything, bundleOf("transaction", strings.Replace(update,
		`"url":`, `"ifModifiedSince":"2026-03-01T12:00:00.500Z","url":`, 1))).bundle()
	if tag := w.get("/Organization/o", everything).Header().Get("ETag"); tag != `W/"2"` {
		t.Errorf("afterwards %s", tag)
	}
}

// A criterion of separators alone is no criterion: each request would make another
// resource.
func TestCriteriaHaveValues(t *testing.T) {
	w := newEnv(t, 0)
	const org = `{"resourceType":"Organization","name":"N"}`

	for _, criteria := range []string{
		"identifier=%7C", "identifier=|", "identifier=,", "identifier=|,|", "identifier=%20",
		"name=,", "name=N&identifier=|", "identifier:not=|", "_tag=|", "_id=,", "identifier=",
	} {
		t.Run(criteria, func(t *testing.T) {
			w.t = t
			w.do("POST", "/Organization", everything, org, "If-None-Exist", criteria).want(400)
			w.do("PUT", "/Organization?"+criteria, everything, org).want(400)
			w.do("DELETE", "/Organization?"+criteria, everything, "").want(400)
			w.do("PATCH", "/Organization?"+criteria, everything, `[]`, "Content-Type", patchType).want(400)
			w.do("POST", "", everything, bundleOf("transaction",
				strings.Replace(entryOf("POST", "Organization", org), `"url":`,
					`"ifNoneExist":"`+criteria+`","url":`, 1))).want(400)
		})
	}

	if n := *w.get("/Organization", everything).bundle().Total; n != 0 {
		t.Errorf("%d resources were made", n)
	}

	w.t = t
	for _, criteria := range []string{"identifier=urn:a|", "identifier=|a", "name=a,", `name=\\,`} {
		w.do("POST", "/Organization", everything, org, "If-None-Exist", criteria).want(201)
	}
}
