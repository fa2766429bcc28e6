package label_test

import (
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"fhirdest.example/fhir"
	"fhirdest.example/fhir/async/asyncenv"
)

// asks are requests about one Observation, ID, in every way that there is.
func asks(id string) []struct {
	name, method, path, body string
	header                   []string
} {
	body := observation(id, "-")
	entry := func(kind, method, url, resource string) string {
		if resource != "" {
			resource = `"resource":` + resource + `,`
		}
		return `{"resourceType":"Bundle","type":"` + kind + `","entry":[{` + resource +
			`"request":{"method":"` + method + `","url":"` + url + `"}}]}`
	}

	one := "/Observation/" + id
	patch := `[{"op":"add","path":"/language","value":"en"}]`
	tests := `[{"op":"test","path":"/status","value":"final"}]`
	asPatch := []string{"Content-Type", "application/json-patch+json"}
	referring := strings.Replace(observation("new", "-"), `"id":"new",`, `"hasMember":[{"reference":"Observation?_id=`+
		id+`"}],`, 1)
	posted := `{"resourceType":"Bundle","type":"transaction","entry":[{"resource":` + referring +
		`,"request":{"method":"POST","url":"Observation"}}]}`

	return []struct {
		name, method, path, body string
		header                   []string
	}{
		{"read", "GET", one, "", nil},
		{"head", "HEAD", one, "", nil},
		{"read as XML", "GET", one + "?_format=xml", "", nil},
		{"read, tag", "GET", one, "", []string{"If-None-Match", `W/"1"`}},
		{"read, any tag", "GET", one, "", []string{"If-None-Match", `*`}},
		{"read, since", "GET", one, "", []string{"If-Modified-Since", "Fri, 01 Jan 2100 00:00:00 GMT"}},
		{"part", "GET", one + "?_elements=status", "", nil},
		{"vread", "GET", one + "/_history/1", "", nil},
		{"later version", "GET", one + "/_history/2", "", nil},
		{"history", "GET", one + "/_history", "", nil},
		{"history as XML", "GET", one + "/_history?_format=xml", "", nil},
		{"search", "GET", "/Observation?_id=" + id, "", nil},
		{"count", "GET", "/Observation?_summary=count&_id=" + id, "", nil},
		{"no total", "GET", "/Observation?_total=none&_id=" + id, "", nil},
		{"sorted", "GET", "/Observation?_sort=-status&_id=" + id, "", nil},
		{"label", "GET", "/Observation?_security=R&_id=" + id, "", nil},
		{"not that label", "GET", "/Observation?_security:not=N&_id=" + id, "", nil},
		{"chain", "GET", "/DiagnosticReport?result:Observation._id=" + id, "", nil},
		{"reverse chain", "GET", "/Patient?_has:Observation:subject:_id=" + id, "", nil},
		{"compartment", "GET", "/Patient/p/Observation?_id=" + id, "", nil},
		{"system", "GET", "?_type=Observation&_id=" + id, "", nil},
		{"everything", "GET", one + "/$everything", "", nil},
		{"patch", "PATCH", one, patch, asPatch},
		{"patch that tests", "PATCH", one, tests, asPatch},
		{"patch, tag", "PATCH", one, patch, append(asPatch, "If-Match", `W/"9"`)},
		{"conditional patch", "PATCH", "/Observation?_id=" + id, patch, asPatch},
		{"conditional delete", "DELETE", "/Observation?_id=" + id, "", nil},
		{"batch read", "POST", "", entry("batch", "GET", "Observation/"+id, ""), nil},
		{"transaction read", "POST", "", entry("transaction", "GET", "Observation/"+id, ""), nil},
		{"transaction search", "POST", "", entry("transaction", "GET", "Observation?_id="+id, ""), nil},
		{"conditional reference", "POST", "", posted, nil},
		{"conditional put", "PUT", "/Observation?_id=" + id + "&status=final", body, []string{
			"If-Match", `W/"9"`,
		}},
		{"delete", "DELETE", one, "", nil},
		{"delete in a batch", "POST", "", entry("batch", "DELETE", "Observation/"+id, ""), nil},
	}
}

var changing = regexp.MustCompile(`[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]+Z|_page=[A-Za-z0-9_-]+`)

// answered is an answer as its reader sees it, but for ids, times and the names of
// traces.
func answered(e *asyncenv.Env, method, path, token, body, id string, header []string) string {
	w := e.Do(method, path, token, body, header...)
	h := w.Header().Clone()
	for _, name := range []string{"Content-Length", "Trace-Id", "Last-Modified"} {
		if h.Get(name) != "" {
			h.Set(name, "some")
		}
	}
	text := fmt.Sprintln(w.Code, h, w.Body)
	return changing.ReplaceAllString(strings.ReplaceAll(text, id, "ID"), "T")
}

// What a label hides answers every request as what is not there, by status, headers and
// body: while it is labelled now, and in the versions before it was.
//
// Covers: FS-302, FS-303, FS-304, FS-703, FS-708, case 249, case 252
func TestHiddenIsMissing(t *testing.T) {
	for _, label := range []string{"R", "PSY", "N,V", "NOSUCHCODE"} {
		t.Run(label, func(t *testing.T) {
			e := newEnv(t, policy())
			put(t, e, patient)
			put(t, e, observation("secret", "-")) // labelled by the second version only
			put(t, e, observation("secret", label))
			put(t, e, `{"resourceType":"DiagnosticReport","id":"r","status":"final","code":{"text":"x"},
				"subject":{"reference":"Patient/p"},"result":[{"reference":"Observation/secret"}]}`)

			for i, r := range asks("secret") {
				missing := asks("absent")[i]
				got := answered(e, r.method, r.path, uncleared, r.body, "secret", r.header)
				plain := answered(e, missing.method, missing.path, uncleared, missing.body, "absent", missing.header)
				if got != plain {
					t.Errorf("%s:\nhidden  %s\nmissing %s", r.name, got, plain)
				}
			}

			level := cleared
			if strings.Contains(label, "V") {
				return
			}

			want(t, e.Do("GET", "/Observation/secret", level, ""), http.StatusOK)
			want(t, e.Do("GET", "/Observation/secret/_history/1", level, ""), http.StatusOK)
			want(t, e.Do("GET", "/DiagnosticReport?result:Observation.status=final&_include=*", level, ""),
				http.StatusOK)
		})
	}
}

// Lists leave out what a label hides, whatever they are lists of, and their totals count
// what they show.
//
// Covers: FS-302, FS-304, FS-307, FS-703, case 238, case 249
func TestListsLeaveOutWhatIsHidden(t *testing.T) {
	e := newEnv(t, policy())
	put(t, e, patient)
	put(t, e, observation("open", "-"))
	put(t, e, observation("secret", "R"))
	put(t, e, `{"resourceType":"DiagnosticReport","id":"r","status":"final","code":{"text":"x"},
		"subject":{"reference":"Patient/p"},
		"result":[{"reference":"Observation/open"},{"reference":"Observation/secret"},
		{"reference":"Observation/secret/_history/1"}]}`)

	put(t, e, strings.Replace(observation("child", "-"), `"id":"child",`,
		`"id":"child","hasMember":[{"reference":"Observation/secret"}],`, 1))

	for _, path := range []string{
		"/Observation", "/Observation?_total=none", "/Observation?_count=1", "/Observation?status=final",
		"/Observation?patient=p&status=final", "/Observation?patient=p", "/Observation?_sort=-_id",
		"/Observation?_security:missing=false", "/Observation?code:text=x", "/Patient/p/Observation", "/Patient/p/$everything",
		"?_type=Observation,Patient", "/Patient?_revinclude=Observation:subject", "/_history", "/Observation/_history",
		"/DiagnosticReport?_include=DiagnosticReport:result", "/DiagnosticReport?_include=*",
		"/DiagnosticReport?_include=DiagnosticReport:result&_include:iterate=Observation:has-member",
		"/Observation?_include=Observation:has-member", "/Observation?_id=open,secret",
	} {
		t.Run(path, func(t *testing.T) {
			all, some := follow(t, e, path, cleared), follow(t, e, path, uncleared)
			if !all["Observation/secret"] {
				t.Fatalf("not found with a clearance: %v", all)
			}
			delete(all, "Observation/secret")
			if fmt.Sprint(all) != fmt.Sprint(some) {
				t.Errorf("%v\nwant %v", some, all)
			}
		})
	}
}

// follow returns what is on all pages of a list, and holds its total against it.
func follow(t *testing.T, e *asyncenv.Env, path, token string) map[string]bool {
	t.Helper()
	found := map[string]bool{}
	total, matches := -1, 0
	for next := path; next != ""; {
		w := want(t, e.Do("GET", next, token, ""), 200)
		b := bundleOf(t, w)
		if strings.Contains(w.Body.String(), `"total"`) {
			total = b.Total
		}
		for _, id := range b.ids("") {
			found[id] = true
		}

		matches += len(b.ids("match"))
		next = b.link("next")
	}

	if total >= 0 && total != matches {
		t.Errorf("%s: total %d, %d matches", path, total, matches)
	}
	return found
}

// Includes of what the token does not read are left out, or refused if the request wants
// strict handling.
//
// Covers: FS-307, case 238
func TestIncludesBeyondTheToken(t *testing.T) {
	e := newEnv(t, policy())
	put(t, e, patient)
	put(t, e, observation("o", "-"))
	strict := []string{"Prefer", "handling=strict"}

	for _, c := range []struct {
		token, path string
		included    bool
	}{
		{"system/Patient.rs", "/Patient?_revinclude=Observation:subject", false},
		{"system/Observation.rs", "/Observation?_include=Observation:patient", false},
		{"system/Observation.rs", "/Observation?_include=Observation:subject:Patient", false},
		{"system/Patient.rs system/Observation.rs", "/Patient?_revinclude=Observation:subject", true},
		{"system/Observation.rs system/Patient.r", "/Observation?_include=Observation:subject", true},
	} {
		t.Run(c.token+c.path, func(t *testing.T) {
			b := bundleOf(t, e.Do("GET", c.path, c.token, ""))
			if got := len(b.ids("include")) > 0; got != c.included {
				t.Errorf("included: %v", b.ids("include"))
			}

			status := 403
			if c.included {
				status = 200
			}
			w := want(t, e.Do("GET", c.path, c.token, "", strict...), status)
			if status == 403 && !strings.Contains(w.Header().Get("WWW-Authenticate"), "insufficient_scope") {
				t.Errorf("%v", w.Header())
			}
		})
	}
}

// A Provenance has the labels of what it is about: whoever does not see a resource does
// not learn by it that the resource is there.
//
// Covers: FS-302, FS-706
func TestProvenanceOfWhatIsHidden(t *testing.T) {
	e := asyncenv.New(t, func(e *asyncenv.Env) {
		e.Change = func(c *fhir.Config) {
			c.Labels, c.Provenance = policy(), true
		}
	})
	put(t, e, patient)
	put(t, e, observation("open", "-"))
	put(t, e, observation("secret", "R,PSY"))

	sent := `{"resourceType":"Provenance","recorded":"2026-01-01T00:00:00Z","agent":[{"who":{"display":"x"}}]}`
	want(t, e.Do("PUT", "/Observation/sent", cleared, observation("sent", "R"), "X-Provenance", sent), 201)
	both := `{"resourceType":"Bundle","type":"transaction","entry":[` +
		`{"resource":` + observation("more", "-") + `,"request":{"method":"PUT","url":"Observation/more"}},` +
		`{"resource":` + observation("hush", "R") + `,"request":{"method":"PUT","url":"Observation/hush"}}]}`
	want(t, e.Do("POST", "", cleared, both), 200)
	want(t, e.Do("DELETE", "/Observation/hush", cleared, ""), 204)

	for _, c := range []struct {
		id    string
		some  bool // for a reader without clearance
		total int  // with one
	}{
		{"open", true, 1},
		{"secret", false, 1},
		{"sent", false, 1},
		{"more", false, 1}, // made together with what is hidden
		{"hush", false, 2},
	} {
		t.Run(c.id, func(t *testing.T) {
			path := "/Provenance?target=Observation/" + c.id
			if b := bundleOf(t, e.Do("GET", path, cleared, "")); b.Total != c.total {
				t.Errorf("%d with a clearance", b.Total)
			}
			w := e.Do("GET", path, uncleared, "")
			if b := bundleOf(t, w); (b.Total > 0) != c.some {
				t.Errorf("%d without a clearance", b.Total)
			}

			if strings.Contains(e.Do("GET", "/Provenance?_count=100", uncleared, "").Body.String(),
				"Observation/secret") {
				t.Error("another Provenance names it")
			}
		})
	}
}
