package fhir_test

import (
	"strings"
	"testing"

	"fhirdest.example/udap/trace"
)

// A refusal of access has the id of its trace, which says why. What is hidden
// and what is not there both have one: only the operator sees the difference.
func TestRefusalsHaveATrace(t *testing.T) {
	const amended = "system/Patient.cruds system/Observation.rs?status=amended"
	for name, c := range map[string]struct {
		method, path, token, body string
		status                    int
		check, found              string // of the last step
	}{
		"read without a scope":   {"GET", "/Observation/o", "system/Patient.rs", "", 403, "access.scope", "Patient.rs"},
		"search without a scope": {"GET", "/Observation", "system/Patient.rs", "", 403, "access.scope", "Patient.rs"},
		"write without a scope":  {"DELETE", "/Observation/o", "system/*.rs", "", 403, "access.scope", "system/*.rs"},
		"history of a type": {
			"GET", "/Observation/_history", "system/Patient.rs", "", 403, "access.scope",
			"Patient.rs",
		},
		"everything": {
			"GET", "/Patient/p/$everything", "system/Observation.rs", "", 403, "access.scope",
			"Observation.rs",
		},
		"validation": {
			"POST", "/Patient/$validate", "system/Observation.rs", active, 403, "access.scope",
			"Observation.rs",
		},
		"patch without a scope": {"PATCH", "/Patient/p", "system/Patient.rs", `[]`, 403,
			"access.scope", "Patient.rs"},
		"hidden":         {"GET", "/Observation/o", amended, "", 404, "access.resource", "do not cover"},
		"not there":      {"GET", "/Observation/x", amended, "", 404, "access.resource", "no such"},
		"hidden history": {"GET", "/Observation/o/_history", amended, "", 404, "access.resource", "do not cover"},
		"no history":     {"GET", "/Observation/x/_history", amended, "", 404, "access.resource", "no such"},
		"hidden version": {"GET", "/Observation/o/_history/1", amended, "", 404, "access.resource", "do not cover"},
		"no version":     {"GET", "/Observation/o/_history/7", amended, "", 404, "access.resource", "no such"},
		"free id of a limited token": {"DELETE", "/Patient/x", "patient/Patient.d; patient=p", "", 404,
			"access.resource", "no such"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newEnv(t, 0)
			w.do("PUT", "/Patient/p", everything, active).want(201)
			w.do("PUT", "/Observation/o", everything,
				strings.Replace(bodyOf("Patient/p"), "{", `{"id":"o",`, 1)).want(201)
			var traces []*trace.Trace
			w.decided = func(tr *trace.Trace) { traces = append(traces, tr) }

			var headers []string
			if c.method == "PATCH" {
				headers = []string{"Content-Type", patchType}
			}
			a := w.do(c.method, c.path, c.token, c.body, headers...).want(c.status)
			if len(traces) != 1 || a.Header().Get("Trace-Id") != traces[0].ID {
				t.Fatalf("%d traces, Trace-Id %q", len(traces), a.Header().Get("Trace-Id"))
			}

			last := traces[0].Steps[len(traces[0].Steps)-1]
			if last.Check != c.check || last.Verdict != trace.Refused || !strings.Contains(last.Found, c.found) {
				t.Errorf("%+v", last)
			}
			if c.status == 403 && !strings.Contains(a.Header().Get("WWW-Authenticate"), "system/*.") {
				t.Errorf("not all scopes are named: %s", a.Header().Get("WWW-Authenticate"))
			}
		})
	}
}

func TestNoTraceWithoutARefusal(t *testing.T) {
	w := newEnv(t, 0)
	w.decided = func(tr *trace.Trace) { t.Errorf("a trace of %+v", tr.Steps) }
	w.do("PUT", "/Patient/p", everything, active).want(201)
	w.get("/Patient/p", everything).want(200)
	w.get("/Patient?name=x", everything).want(200)
	w.get("/none", everything).want(404)
	w.get("/Patient/p?_elements=", everything)
	w.get("/Patient/p", "").want(401)
}

// Covers: ER-22 (audit)
func TestClientsSeeTheRecordsOfTheirOwnRequests(t *testing.T) {
	w := newEnv(t, 0)
	w.do("PUT", "/Patient/p", everything, active).want(201)
	w.get("/Patient/p", everything+"; client=c2").want(200)

	for client, want := range map[string]int{"c1": 1, "c2": 1, "c3": 0} {
		t.Run(client, func(t *testing.T) {
			token := auditor + "; client=" + client
			if b := w.get("/AuditEvent?entity=Patient/p", token).bundle(); *b.Total != want {
				t.Errorf("%s finds %d records, want %d", client, *b.Total, want)
			}
			if b := w.get("/Patient?_id=p&_revinclude=AuditEvent:entity",
				"system/Patient.rs "+token).bundle(); len(b.ids("include")) != want {
				t.Errorf("%s includes %d records, want %d", client, len(b.ids("include")), want)
			}
		})
	}

	found := w.get("/AuditEvent?entity=Patient/p", auditor).bundle()
	path := strings.TrimPrefix(found.Entry[0].FullURL, publicBase)
	w.get(path, auditor).want(200)
	w.get(path, auditor+"; client=c2").want(404)
	w.get(path+"/_history/1", auditor+"; client=c2").want(404)
}
