package fhir_test

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
)

// forms are the ways in which criteria of Patient reach the server.
var forms = []struct {
	name string
	send func(w *env, token, criteria string) answer
}{
	{"GET", func(w *env, token, c string) answer { return w.get("/Patient?"+c, token) }},
	{"POST _search", func(w *env, token, c string) answer {
		return w.do("POST", "/Patient/_search", token, c, "Content-Type", "application/x-www-form-urlencoded")
	}},
	{"If-None-Exist", func(w *env, token, c string) answer {
		return w.do("POST", "/Patient", token, `{"resourceType":"Patient"}`, "If-None-Exist", c)
	}},
	{"conditional update", func(w *env, token, c string) answer {
		return w.do("PUT", "/Patient?"+c, token, `{"resourceType":"Patient"}`)
	}},
	{"conditional patch", func(w *env, token, c string) answer {
		return w.do("PATCH", "/Patient?"+c, token, `[{"op":"test","path":"/resourceType","value":"Patient"}]`,
			"Content-Type", "application/json-patch+json")
	}},
	{"conditional delete", func(w *env, token, c string) answer {
		return w.do("DELETE", "/Patient?"+c, token, "")
	}},
	{"GET in a transaction", func(w *env, token, c string) answer {
		return w.do("POST", "", token,
			bundleOf("transaction", fmt.Sprintf(`{"request":{"method":"GET","url":"Patient?%s"}}`, c)))
	}},
	{"ifNoneExist of a transaction", func(w *env, token, c string) answer {
		return w.do("POST", "", token, bundleOf("transaction", fmt.Sprintf(
			`{"resource":{"resourceType":"Patient"},"request":{"method":"POST","url":"Patient","ifNoneExist":%q}}`, c)))
	}},
	{"conditional reference", func(w *env, token, c string) answer {
		return w.do("POST", "", token, bundleOf("transaction", entryOf("POST", "Observation", fmt.Sprintf(
			`{"resourceType":"Observation","status":"final","code":{"text":"x"},"subject":{"reference":"Patient?%s"}}`, c))))
	}},
}

// What a search may not be is refused in every form of criteria, whatever
// handling is preferred, with the same code.
func TestRefusedCriteria(t *testing.T) {
	w := newEnv(t, 0)
	w.do("PUT", "/Patient/p", everything, `{"resourceType":"Patient","id":"p"}`).want(201)
	costly := strings.Repeat("&_has:Observation:patient:subject.general-practitioner.name=x", 60)[1:]

	for _, row := range []struct {
		name, token, criteria string
		status                int
		code, text            string
	}{
		{"too many links", everything, costly, 400, "too-costly", "links together"},
		{"an any-type reference", everything, "_has:Observation:patient:focus.derived-from.derived-from._id=x", 400,
			"value", "focus:Patient"},
		{"a named query", everything, "_query=mine", 400, "not-supported", "there is no named query"},
		{"a chain through a forbidden type", "system/Patient.cruds system/Observation.cu", "organization.name=x", 403,
			"forbidden", "Organization"},
		{"_has of a forbidden type", "system/Patient.cruds system/Observation.cu", "_has:Observation:patient:status=final", 403,
			"forbidden", "Observation"},
	} {
		for _, form := range forms {
			t.Run(row.name+", "+form.name, func(t *testing.T) {
				a := form.send(w, row.token, row.criteria).want(row.status)
				if text := a.Body.String(); !strings.Contains(text, `"`+row.code+`"`) ||
					!strings.Contains(text, row.text) {
					t.Errorf("%s", text)
				}
			})
		}
	}
}

// An id without a type that several resources have is refused, not guessed (R4
// search 3.1.1.4.12).
func TestAmbiguousReference(t *testing.T) {
	w := newEnv(t, 0)
	w.do("PUT", "/Patient/x", everything, `{"resourceType":"Patient","id":"x"}`).want(201)
	w.do("PUT", "/Group/x", everything, `{"resourceType":"Group","id":"x","type":"person","actual":true}`).want(201)

	for i, typ := range []string{"Patient", "Group"} {
		w.do("PUT", fmt.Sprintf("/Observation/o%d", i), everything, fmt.Sprintf(
			`{"resourceType":"Observation","id":"o%d","status":"final","code":{"text":"x"},"subject":{"reference":"%s/x"}}`,
			i, typ)).want(201)
	}

	if a := w.get("/Observation?subject=x",
		everything).want(400); !strings.Contains(a.Body.String(), "multiple-matches") {
		t.Errorf("%s", a.Body)
	}
	if got := w.get("/Observation?subject=Group/x",
		everything).bundle().ids("match"); !slices.Equal(got, []string{"Observation/o1"}) {
		t.Errorf("found %v", got)
	}

	if got := w.get("/Observation?subject=x", "patient/*.rs; patient=x").bundle().ids("match"); len(got) != 1 {
		t.Errorf("what the reader may not see makes it ambiguous: %v", got)
	}
}

// Includes are whole (R4 search 3.1.1.5.9), of the version that a reference
// names (R4 references 2.3.0.1), and say so where :iterate stops.
func TestIncludedResources(t *testing.T) {
	w := newEnv(t, 0)
	for version, family := range []string{"First", "Second"} {
		w.do("PUT", "/Patient/p", everything, fmt.Sprintf(
			`{"resourceType":"Patient","id":"p","gender":"female","name":[{"family":%q}]}`, family)).want(201 - version)
	}

	for id, reference := range map[string]string{
		"old":   "Patient/p/_history/1",
		"new":   "Patient/p/_history/2",
		"plain": "Patient/p",
	} {
		t.Run(id, func(t *testing.T) {
			w.do("PUT", "/Observation/"+id, everything, fmt.Sprintf(
				`{"resourceType":"Observation","id":%q,"status":"final","code":{"text":"x"},"subject":{"reference":%q}}`,
				id, reference)).want(201)
		})
	}

	for i := range 9 {
		w.do("PUT", fmt.Sprintf("/Organization/o%d", i), everything, fmt.Sprintf(
			`{"resourceType":"Organization","id":"o%d","name":"x","partOf":{"reference":"Organization/o%d"}}`, i, i+
				1)).want(201)
	}

	for _, row := range []struct {
		query, token string
		includes     int
		text, not    string
	}{
		{"/Observation?_id=old&_include=Observation:subject", everything, 1, `"First"`, `"Second"`},
		{"/Observation?_id=new&_include=Observation:subject", everything, 1, `"Second"`, `"First"`},
		{"/Observation?_id=plain&_include=Observation:subject", everything, 1, `"Second"`, `"First"`},
		{"/Observation?_id=new,plain&_include=*", everything, 1, `"Second"`, `"First"`},
		{"/Observation?_id=new,old,plain&_include=*", everything, 2, `"First"`, "nothing"},
		{"/Observation?_id=old&_include=Observation:subject", "system/Observation.rs", 0, "old", "First"},
		{
			"/Observation?_id=plain&_include=Observation:subject&_elements=status", everything, 1,
			`"gender":"female"`, `"subject":`,
		},
		{"/Organization?_id=o0&_include:iterate=Organization:partof", everything, 5, "goes on further", `"o6"`},
		{"/Organization?_id=o5&_include:iterate=Organization:partof", everything, 3, `"o8"`, "goes on further"},
	} {
		t.Run(row.query, func(t *testing.T) {
			a := w.get(row.query, row.token)
			if got := a.bundle().ids("include"); len(got) != row.includes {
				t.Errorf("included %v", got)
			}
			if text := a.Body.String(); !strings.Contains(text, row.text) || strings.Contains(text, row.not) {
				t.Errorf("%s", text)
			}
		})
	}
}

// A resource that refers to more others than can be followed is refused, not
// stored with some of them lost to access and the audit.
func TestTooManyReferencesAreRefused(t *testing.T) {
	w := newEnv(t, 0)
	body := `{"resourceType":"List","status":"current","mode":"working","entry":[{"item":{"reference":"Patient/p"}}` +
		strings.Repeat(`,{"item":{"reference":"Patient/p"}}`, 70_000) + `]}`
	if a := w.do("POST", "/List", everything, body).want(422); !strings.Contains(a.Body.String(), "too-costly") {
		t.Errorf("%s", a.Body)
	}
}

// What R4 search 3.1.1.4 asks of values holds over HTTP too, through the store.
func TestValuesOverHTTP(t *testing.T) {
	w := newEnv(t, 0)
	long := strings.Repeat("long text ", 500)
	w.do("PUT", "/Observation/o", everything,
		`{"resourceType":"Observation","id":"o","status":"final","code":{"text":"x"},`+
			`"valueQuantity":{"value":36.55}}`).want(201)
	w.do("PUT", "/Observation/s", everything,
		`{"resourceType":"Observation","id":"s","status":"final","code":{"text":"x"},`+
			`"valueString":"`+long+`End"}`).want(201)

	w.do("PUT", "/ResearchStudy/r", everything,
		`{"resourceType":"ResearchStudy","id":"r","status":"closed-to-accrual"}`).want(201)

	for query, want := range map[string]string{
		"Observation?value-quantity=36.6":                                                    "Observation/o",
		"Observation?value-string:contains=" + url.QueryEscape("text end"):                   "Observation/s",
		"Observation?value-string:exact=" + url.QueryEscape(long+"End"):                      "Observation/s",
		"Observation?value-string:exact=" + url.QueryEscape(long):                            "",
		"Observation?code:missing=false&_sort=_id":                                           "Observation/o Observation/s",
		"ResearchStudy?status=closed-to-accrual":                                             "ResearchStudy/r",
		"ResearchStudy?status=http://hl7.org/fhir/research-study-status%7Cclosed-to-accrual": "ResearchStudy/r",
	} {
		t.Run(query[:min(len(query), 50)], func(t *testing.T) {
			if got := strings.Join(w.get("/"+query, everything).bundle().ids("match"), " "); got != want {
				t.Errorf("found %q, want %q", got, want)
			}
		})
	}
}
