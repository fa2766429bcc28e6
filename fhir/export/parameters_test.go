package export_test

import (
	"maps"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"fhirdest.example/fhir/async/asyncenv"
)

// union merges sets of resources.
func union(sets ...map[string]string) map[string]string {
	all := map[string]string{}
	for _, s := range sets {
		maps.Copy(all, s)
	}
	return all
}

// Each parameter exports what the search of the same meaning finds, byte for byte.
//
// Covers: ER-18
func TestParameters(t *testing.T) {
	e := newEnv(t, 3)
	find := func(query string) map[string]string { return stored(t, e, query, asyncenv.All) }
	both := union(find("Patient?_count=1000"), find("Observation?_count=1000"))
	labs := find("Observation?_count=1000&category=laboratory")

	for name, c := range map[string]struct {
		path string
		want map[string]string
	}{
		"_type":           {"/$export?_type=Patient,Observation", both},
		"_type, repeated": {"/$export?_type=Patient&_type=Observation", both},
		"_typeFilter": {
			"/$export?_type=Observation&_typeFilter=Observation%3Fcategory%3Dlaboratory",
			labs,
		},
		"_typeFilter of one type only": {
			"/$export?_type=Patient,Observation&_typeFilter=" + url.QueryEscape("Observation?category=laboratory"),
			union(find("Patient?_count=1000"), labs),
		},
		"_typeFilter, several": {"/$export?_type=Observation&_typeFilter=" + url.QueryEscape(
			"Observation?category=laboratory,Observation?category=vital-signs"),
			find("Observation?_count=1000&category=laboratory,vital-signs")},
		"_typeFilter, both must hold": {"/$export?_type=Observation&_typeFilter=" + url.QueryEscape(
			"Observation?category=laboratory&status=final"),
			find("Observation?_count=1000&category=laboratory&status=final")},
		"_outputFormat":       {"/$export?_type=Patient&_outputFormat=application/fhir%2Bndjson", find("Patient")},
		"_outputFormat, bare": {"/$export?_type=Patient&_outputFormat=ndjson", find("Patient")},
		"_outputFormat, old":  {"/$export?_type=Patient&_outputFormat=application/ndjson", find("Patient")},
		"_outputFormat, +":    {"/$export?_type=Patient&_outputFormat=application/fhir+ndjson", find("Patient")},
		"_since":              {"/$export?_type=Patient&_since=2020-01-01T00:00:00Z", find("Patient")},
		"Patient":             {"/Patient/$export?_type=Patient,Observation", both},
	} {
		t.Run(name, func(t *testing.T) {
			m := exported(t, e, "GET", c.path, asyncenv.All, "")
			same(t, m.lines, c.want)
			if m.Request != asyncenv.Base+c.path {
				t.Errorf("request %s", m.Request)
			}
			if !m.RequiresAccessToken || m.Deleted == nil || m.Error == nil {
				t.Errorf("%+v", m)
			}
		})
	}

	t.Run("_elements", func(t *testing.T) {
		m := exported(t, e, "GET", "/$export?_type=Patient,Observation&_elements=Patient.gender,status", asyncenv.All,
			"")
		same(t, m.lines,
			union(find("Patient?_count=1000&_elements=gender,status"),
				find("Observation?_count=1000&_elements=status")))
	})

	t.Run("all", func(t *testing.T) {
		m := exported(t, e, "GET", "/$export", asyncenv.All, "")
		for key, line := range both {
			if m.lines[key] != line {
				t.Errorf("%s: %.80q", key, m.lines[key])
			}
		}

		for key := range m.lines {
			if strings.HasPrefix(key, "AuditEvent/") {
				t.Fatal("audit records are exported")
			}
		}
	})
}

// What is exported, the token both reads and finds: of two scopes that each allow one
// of these, what both cover.
//
// Covers: FS-302
func TestReadAndFound(t *testing.T) {
	e := newEnv(t, 3)
	labs := stored(t, e, "Observation?_count=1000&category=laboratory", asyncenv.All)
	for _, token := range []string{
		"system/Observation.r system/Observation.s?category=laboratory",
		"system/Observation.s system/Observation.r?category=laboratory",
	} {
		same(t, exported(t, e, "GET", "/$export", token, "").lines, labs)
	}
}

// Parameters come by POST as well, in a Parameters resource or in the URL.
func TestPostedParameters(t *testing.T) {
	e := newEnv(t, 3)
	all := stored(t, e, "Patient?_count=1000", asyncenv.All)
	var one string
	for key := range all {
		one = key
	}

	parameters := `{"resourceType":"Parameters","parameter":[{"name":"_type","valueString":"Patient,Observation"},` +
		`{"name":"patient","valueReference":{"reference":"` + one +
		`"}},{"name":"_since","valueInstant":"2020-01-01T00:00:00Z"}]}`
	want := union(map[string]string{one: all[one]}, stored(t, e, "Observation?_count=1000&patient="+one, asyncenv.All))
	same(t, exported(t, e, "POST", "/Patient/$export", asyncenv.All, parameters).lines, want)
	absolute := strings.Replace(parameters, `"`+one, `"`+asyncenv.Base+"/"+one, 1)
	same(t, exported(t, e, "POST", "/Patient/$export", asyncenv.All, absolute).lines, want)

	same(t, exported(t, e, "POST", "/$export?_type=Patient", asyncenv.All, "").lines, all)
}

// What is not understood is refused by Prefer: handling=strict, and else left out and
// listed in an OperationOutcome.
func TestLeftOut(t *testing.T) {
	e := newEnv(t, 1)
	for _, query := range []string{
		"_x=1", "includeAssociatedData=_all", "allowPartialManifests=true",
		"_typeFilter=" + url.QueryEscape(
			"Patient?organization.name=x"), "_typeFilter=" + url.QueryEscape("Patient?nothing=x"),
	} {
		m := exported(t, e, "GET", "/$export?_type=Patient&"+query, asyncenv.All, "")
		if len(m.errors) != 1 || !strings.Contains(m.errors[0], "Left out") || len(m.lines) == 0 {
			t.Errorf("%s: %v", query, m.errors)
		}
		w := e.Do("GET", "/$export?"+query, asyncenv.All, "", "Prefer", "respond-async, handling=strict")
		if w.Code != http.StatusBadRequest || !strings.Contains(w.Body.String(), "not-supported") {
			t.Errorf("%s, strict: %d %s", query, w.Code, w.Body)
		}
	}
}

// What cannot be done is refused before there is a job.
func TestRefused(t *testing.T) {
	e := newEnv(t, 1)
	post := func(parameter string) string {
		return `{"resourceType":"Parameters","parameter":[` + parameter + `]}`
	}
	for name, c := range map[string]struct {
		method, path, token, body string
		status                    int
	}{
		"a format":                 {"GET", "/$export?_outputFormat=application/fhir%2Bxml", "", "", 400},
		"_since":                   {"GET", "/$export?_since=yesterday", "", "", 400},
		"_until":                   {"GET", "/$export?_until=tomorrow", "", "", 400},
		"a type":                   {"GET", "/$export?_type=Patients", "", "", 400},
		"a type in the wrong case": {"GET", "/$export?_type=patient", "", "", 400},
		"audit records":            {"GET", "/$export?_type=AuditEvent", "system/AuditEvent.rs", "", 400},
		"organizeOutputBy":         {"GET", "/$export?organizeOutputBy=Patient", "", "", 400},
		"_typeFilter":              {"GET", "/$export?_typeFilter=Observation", "", "", 400},
		"_typeFilter, other type": {
			"GET", "/$export?_type=Patient&_typeFilter=Observation%3Fstatus%3Dfinal", "", "", 400,
		},
		"_typeFilter, value": {"GET", "/$export?_typeFilter=Patient%3Fbirthdate%3Dx", "", "", 400},
		"_elements":          {"GET", "/$export?_elements=Patient.nothing", "", "", 400},
		"_elements, type":    {"GET", "/$export?_elements=Nothing.name", "", "", 400},
		"patient by GET":     {"GET", "/Patient/$export?patient=Patient/p", "", "", 400},
		"patient of the system": {
			"POST", "/$export", "",
			post(`{"name":"patient","valueReference":{"reference":"Patient/p"}}`), 400,
		},
		"patient, no reference": {
			"POST", "/Patient/$export", "",
			post(`{"name":"patient","valueReference":{"reference":"Group/p"}}`), 400,
		},
		"a patient not there": {
			"POST", "/Patient/$export", "",
			post(`{"name":"patient","valueReference":{"reference":"Patient/p"}}`), 404,
		},
		"a group not there":      {"GET", "/Group/nothing/$export", "", "", 404},
		"another type":           {"GET", "/Observation/$export", "", "", 404},
		"another instance":       {"GET", "/Patient/p/$export", "", "", 404},
		"all groups":             {"GET", "/Group/$export", "", "", 404},
		"no scope":               {"GET", "/$export?_type=Observation", "system/Patient.rs", "", 403},
		"no scope to search":     {"GET", "/$export?_type=Observation", "system/Observation.r", "", 403},
		"no scope at all":        {"GET", "/$export", "system/Patient.cud", "", 403},
		"no scope for the group": {"GET", "/Group/x/$export", "system/Patient.rs", "", 403},
		"no scope for provenance": {
			"GET", "/$export?includeAssociatedData=LatestProvenanceResources", "system/Patient.rs",
			"", 403,
		},
		"no Parameters":       {"POST", "/$export", "", `{"resourceType":"Patient"}`, 400},
		"no JSON":             {"POST", "/$export", "", `{`, 400},
		"another method":      {"PUT", "/$export", "", "", 405},
		"a control character": {"POST", "/$export", "", post(`{"name":"_type","valueString":"a\u0007"}`), 400},
	} {
		t.Run(name, func(t *testing.T) {
			if c.token == "" {
				c.token = asyncenv.All
			}
			w := e.Do(c.method, c.path, c.token, c.body, "Prefer", "respond-async")
			if w.Code != c.status || !strings.Contains(w.Body.String(), "OperationOutcome") {
				t.Errorf("%d, want %d: %s", w.Code, c.status, w.Body)
			}
			if w.Code == 403 && (w.Header().Get("WWW-Authenticate") == "" || w.Header().Get("Trace-Id") == "") {
				t.Errorf("%v", w.Header())
			}
		})
	}

	w := e.Do("GET", "/$export", asyncenv.All, "")
	if w.Code != http.StatusBadRequest || !strings.Contains(w.Body.String(), "respond-async") {
		t.Errorf("without Prefer: %d %s", w.Code, w.Body)
	}
}

// _since exports what changed from then on and lists what was deleted; _until leaves
// out what changed from then on.
func TestSinceAndDeleted(t *testing.T) {
	e := newEnv(t, 0)
	put := func(id string) {
		if w := e.Do("PUT", "/Patient/"+id, asyncenv.All, patientBody(id, "")); w.Code > 201 {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
	}

	for _, id := range []string{"old", "changed", "gone", "gone-before"} {
		put(id)
	}
	e.Do("DELETE", "/Patient/gone-before", asyncenv.All, "")
	first := exported(t, e, "GET", "/$export?_type=Patient", asyncenv.All, "")
	if len(first.lines) != 3 || len(first.deleted) != 0 {
		t.Errorf("%v %v", first.lines, first.deleted)
	}

	time.Sleep(2 * time.Millisecond) // another lastUpdated
	put("changed")
	put("new")
	e.Do("DELETE", "/Patient/gone", asyncenv.All, "")

	for path, kind := range map[string]string{
		"/$export?_type=Patient&": "system", "/Patient/$export?_type=Patient&": "patients",
	} {
		m := exported(t, e, "GET", path+"_since="+first.TransactionTime, asyncenv.All, "")
		if len(m.lines) != 2 || m.lines["Patient/changed"] == "" || m.lines["Patient/new"] == "" ||
			len(m.deleted) != 1 || m.deleted[0] != "Patient/gone" {
			t.Errorf("%s: %v %v", kind, m.lines, m.deleted)
		}
	}

	m := exported(t, e, "GET", "/$export?_type=Patient&_until="+first.TransactionTime, asyncenv.All, "")
	if m.lines["Patient/new"] != "" || m.lines["Patient/old"] == "" {
		t.Errorf("until: %v", m.lines)
	}
}
