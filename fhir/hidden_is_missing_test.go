package fhir_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"fhirdest.example/fhir/sample"
)

// What a token may not see answers every request as what is not there: by
// status, headers and body.
// Covers: FS-303, case 241, case 251, case 252
func TestHiddenIsMissing(t *testing.T) {
	w := newEnv(t, 2)
	hiddenBinary(w)
	other := sample.PatientID(1)
	mine := "patient/*.cruds; patient=" + sample.PatientID(0)
	own := "user/*.cruds; own=" + sample.PatientID(0)
	w.do("DELETE", "/Encounter/"+other+"-enc-2", everything, "")

	for _, c := range []struct{ token, hidden string }{
		{mine, "Patient/" + other}, {mine, "Observation/" + other + "-heart-1"}, {mine, "Encounter/" + other +
			"-enc-1"}, {mine, "Encounter/" + other + "-enc-2"},
		{own, "Patient/" + other}, {own, "Observation/" + other + "-heart-1"}, {own, "Encounter/" + other + "-enc-2"},
		{"system/Observation.cruds?category=laboratory", "Observation/" + other + "-heart-1"},
		{"system/Patient.cruds?gender=other", "Patient/" + other},
		{"system/Binary.rs system/Observation.rs system/DocumentReference.cruds?type=none", "Binary/kept-1"},
	} {
		t.Run(c.token, func(t *testing.T) {
			typ, id, _ := strings.Cut(c.hidden, "/")
			for _, r := range hiddenRequests(typ) {
				name := fmt.Sprintf("%s %s %s", c.token, r.name, c.hidden)
				var got [2]string
				for i, id := range []string{id, "missing"} {
					var header []string
					for _, h := range r.header {
						header = append(header, strings.ReplaceAll(h, "ID", id))
					}
					a := w.do(r.method, strings.ReplaceAll(r.path, "ID", id), c.token,
						strings.ReplaceAll(r.body, "ID", id), header...)
					h := a.Header().Clone()
					h.Del("Content-Length") // ids differ in length

					if h.Get("Trace-Id") != "" {
						h.Set("Trace-Id", "some") // by chance
					}

					lines := []string{}
					for k, v := range h {
						lines = append(lines, fmt.Sprint(k, v))
					}
					slices.Sort(lines)
					got[i] = strings.ReplaceAll(fmt.Sprintln(a.Code, lines, a.Body), id, "ID")
				}

				if got[0] != got[1] && !strings.Contains(got[0], "_page=") {
					t.Errorf("%s:\nhidden  %smissing %s", name, got[0], got[1])
				}
			}
		})
	}
}

type hiddenRequest struct {
	name, method, path, body string
	header                   []string
}

func hiddenRequests(typ string) []hiddenRequest {
	minimal := map[string]string{
		"Patient": ``, "Observation": `,"status":"final","code":{"text":"x"}`, "Encounter": `,"status":"finished","class":{"code":"AMB"}`, "Binary": `,"contentType":"text/plain"`,
	}[typ]
	put := `{"resourceType":"` + typ + `","id":"ID"` + minimal + `}`
	patch := `[{"op":"add","path":"/language","value":"en"}]`
	one := "/" + typ + "/ID"
	tx := func(kind, entry string) string { return bundleOf(kind, entry) }
	all := []hiddenRequest{
		{"read", "GET", one, "", nil}, {"head", "HEAD", one, "", nil}, {
			"read, tag", "GET", one, "", []string{"If-None-Match", `W/"1"`},
		}, {"read, any", "GET", one, "", []string{"If-None-Match", `*`}},
		{
			"read, since", "GET", one, "",
			[]string{"If-Modified-Since", "Fri, 01 Jan 2100 00:00:00 GMT"},
		}, {"part", "GET", one + "?_summary=true", "", nil},
		{"vread", "GET", one + "/_history/1", "", nil}, {
			"vread 2", "GET", one + "/_history/2", "", nil,
		}, {"history", "GET", one + "/_history", "", nil},
		{"everything", "GET", one + "/$everything", "", nil}, {"compartment", "GET", one + "/Observation", "", nil},
		{"put", "PUT", one, put, nil}, {"put, tag", "PUT", one, put, []string{"If-Match", `W/"1"`}}, {
			"put, other", "PUT", one, put, []string{"If-Match", `W/"9"`},
		},
		{"put, new", "PUT", one, put, []string{"If-None-Match", `*`}}, {
			"patch", "PATCH", one, patch, []string{"Content-Type", patchType},
		}, {
			"patch, other", "PATCH", one, patch,
			[]string{"Content-Type", patchType, "If-Match", `W/"9"`},
		},
		{
			"delete, other", "DELETE", one, "", []string{"If-Match", `W/"9"`},
		}, {"search", "GET", "/" + typ + "?_id=ID", "", nil}, {
			"count", "GET", "/" + typ + "?_id=ID&_summary=count", "", nil,
		},
		{"sorted", "GET", "/" + typ + "?_id=ID&_sort=-_lastUpdated", "", nil}, {
			"revinclude", "GET",
			"/Observation?subject=" + typ + "/ID&_include=Observation:subject", "", nil,
		},
		{"conditional put", "PUT", "/" + typ + "?_id=ID", put, nil}, {
			"conditional patch", "PATCH", "/" + typ + "?_id=ID", patch,
			[]string{"Content-Type", patchType},
		},
		{"conditional delete", "DELETE", "/" + typ + "?_id=ID", "", nil},
		{
			"transaction get", "POST", "", tx("transaction", entryOf("GET", typ+"/ID", "")), nil,
		}, {"batch put", "POST", "", tx("batch", entryOf("PUT", typ+"/ID", put)), nil},
		{"transaction put", "POST", "", tx("transaction", entryOf("PUT", typ+"/ID", put)), nil},
		{"reference", "POST", "", tx("transaction", entryOf("POST", "Observation", bodyOf(typ+"?_id=ID"))), nil},
		{"system", "GET", "?_type=" + typ + "&_id=ID", "", nil}, {"delete", "DELETE", one, "", nil},
	}
	return all
}
