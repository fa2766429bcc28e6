package fhir_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"fhirdest.example/fhir/sample"
)

func body(t testing.TB, a answer) map[string]any {
	t.Helper()
	var m map[string]any
	if err := json.Unmarshal(a.Body.Bytes(), &m); err != nil {
		t.Fatalf("%v: %s", err, a.Body)
	}
	return m
}

// location gives the path of what a write made, without its version.
func (a answer) location() string {
	a.t.Helper()
	loc, ok := strings.CutPrefix(a.Header().Get("Location"), publicBase)
	if !ok {
		a.t.Fatalf("Location %q", a.Header().Get("Location"))
	}
	path, _, _ := strings.Cut(loc, "/_history/")
	return path
}

const anna = `{"resourceType":"Patient","id":"x","meta":{"versionId":"9","tag":[{"code":"t"}]},"active":true,"name":[{"family":"Önal","given":["Anna"]}],"gender":"female","birthDate":"1990-05-04","multipleBirthInteger":2}`

// Covers: ER-05
func TestLifeOfAResource(t *testing.T) {
	w := newEnv(t, 0)
	made := w.do("POST", "/Patient", everything, anna).want(201)
	at := made.location()
	if made.Header().Get("ETag") != `W/"1"` || at == "/Patient/x" {
		t.Fatalf("headers %v", made.Header())
	}
	id := strings.TrimPrefix(at, "/Patient/")
	w.get(at, everything, "If-None-Match", `W/"1"`).want(304)

	if a := w.do("HEAD", at, everything, "").want(200); a.Body.Len() != 0 || a.Header().Get("Content-Length") == "0" {
		t.Errorf("HEAD: %q %v", a.Body, a.Header())
	}
	if b := w.get("/Patient?family=onal&given=an&birthdate=1990-05", everything).bundle(); *b.Total != 1 {
		t.Errorf("found %d", *b.Total)
	}
	second := strings.Replace(strings.Replace(anna, `"id":"x"`, `"id":"`+id+`"`, 1), "Önal", "Berger", 1)
	w.do("PUT", at, everything, second, "If-Match", `W/"7"`).want(412)

	w.do("PUT", at, everything, second, "If-Match", `W/"1"`).want(200)
	if b := w.get("/Patient?family=onal", everything).bundle(); *b.Total != 0 {
		t.Error("the former name is still found")
	}
	patch := `[{"op":"test","path":"/multipleBirthInteger","value":2.0},{"op":"replace","path":"/name/0/family","value":"Cole"}]`
	w.do("PATCH", at, everything, patch, "Content-Type", "application/json-patch+json").want(200)
	w.do("PATCH", at, everything, `[{"op":"test","path":"/active","value":false}]`, "Content-Type",
		"application/json-patch+json").want(422)

	w.do("PATCH", at, everything, `[{"op":"replace","path":"/id","value":"y"}]`, "Content-Type",
		"application/json-patch+json").want(422)
	w.do("PATCH", at, everything, `[{"op":"fly","path":"/x"}]`, "Content-Type", "application/json-patch+json").want(400)
	w.do("PATCH", at, everything, `<x/>`, "Content-Type", "application/xml").want(415)
	if got := w.get(at, everything).want(200); !strings.Contains(got.Body.String(), "Cole") ||
		got.Header().Get("ETag") != `W/"3"` {
		t.Errorf("after the patch: %s", got.Body)
	}

	w.do("DELETE", at, everything, "").want(204)
	w.do("DELETE", at, everything, "").want(204)
	w.get(at, everything).want(410)
	w.get(at+"/_history/4", everything).want(410)
	w.get(at+"/_history/9", everything).want(404)
	if got := w.get(at+"/_history/1", everything).want(200); !strings.Contains(got.Body.String(), "Önal") {
		t.Errorf("version 1: %s", got.Body)
	}

	for _, path := range []string{at + "/_history", "/Patient/_history", "/_history"} {
		h := w.get(path, everything).bundle()
		if len(h.Entry) != 4 || h.Entry[0].Resource != nil || h.Entry[3].Response.Etag != `W/"1"` {
			t.Errorf("%s: %s", path, w.get(path, everything).Body)
		}
		var all []string
		next := path + "?_count=3"
		for next != "" {
			b := w.get(strings.TrimPrefix(next, publicBase), everything).bundle()
			for _, e := range b.Entry {
				all = append(all, e.Response.Etag)
			}
			next = b.link("next")
		}

		if fmt.Sprint(all) != `[W/"4" W/"3" W/"2" W/"1"]` {
			t.Errorf("%s by pages: %v", path, all)
		}
	}

	w.do("PUT", at, everything, second).want(201)
	w.get(at, everything).want(200)
}

func TestStoredBytesAreSentBytes(t *testing.T) {
	w := newEnv(t, 0)
	sent := `{ "contained":[{"resourceType":"Organization","id":"o","name":"A \u0042"}], "resourceType" : "Observation","status":"final",
 "code":{"text":"x","extension":[{"url":"http://e.test/x","valueDecimal":1.50}]},"_status":{"id":"s1"},"valueQuantity":{"value":1.50,"unit":"\/m"},"performer":[{"reference":"#o"}] }`
	a := w.do("POST", "/Observation", everything, sent).want(201)
	got := w.get(a.location(), everything).want(200).Body.String()
	i := strings.Index(got, `,"id":"0`)
	j := strings.Index(got, `"status":"final"`)
	if i < 0 || j < 0 {
		t.Fatal(got)
	}

	if rest := got[:i] + "," + got[j:]; rest != sent {
		t.Errorf("stored %s\nsent   %s\nwhole  %s", rest, sent, got)
	}
}

func TestConditionalForms(t *testing.T) {
	w := newEnv(t, 0)
	org := func(v string) string {
		return `{"resourceType":"Organization","identifier":[{"system":"urn:s","value":"` + v + `"}],"name":"N"}`
	}
	first := w.do("POST", "/Organization", everything, org("1"), "If-None-Exist", "identifier=urn:s|1").want(201)
	again := w.do("POST", "/Organization", everything, org("1"), "If-None-Exist", "identifier=urn:s|1").want(200)
	if first.location() != again.location() {
		t.Errorf("%s and %s", first.location(), again.location())
	}

	w.do("POST", "/Organization", everything, org("2")).want(201)
	w.do("POST", "/Organization", everything, org("3"), "If-None-Exist", "name=N").want(412)
	w.do("POST", "/Organization", everything, org("3"), "If-None-Exist", "nonsense=N").want(400)
	w.do("PUT", "/Organization?identifier=urn:s|1", everything, org("1")).want(200)
	w.do("PUT", "/Organization?identifier=urn:s|9", everything, org("9")).want(201)
	w.do("PUT", "/Organization?name=N", everything, org("9")).want(412)
	w.do("PUT", "/Organization", everything, org("9")).want(412)
	w.do("PUT", "/Organization?identifier=urn:s|1", everything,
		strings.Replace(org("1"), `"identifier"`, `"id":"other","identifier"`, 1)).want(400)

	w.do("PATCH", "/Organization?identifier=urn:s|2", everything, `[{"op":"add","path":"/active","value":true}]`,
		"Content-Type", "application/json-patch+json").want(200)
	w.do("PATCH", "/Organization?identifier=urn:s|77", everything, `[]`, "Content-Type",
		"application/json-patch+json").want(404)
	w.do("DELETE", "/Organization?name=N", everything, "").want(412)
	w.do("DELETE", "/Organization?identifier=urn:s|2", everything, "").want(204)
	w.do("DELETE", "/Organization?identifier=urn:s|2", everything, "").want(204)
	if b := w.get("/Organization", everything).bundle(); *b.Total != 2 {
		t.Errorf("%d left", *b.Total)
	}
}

// Covers: case 233
func TestEachLetterOfAScope(t *testing.T) {
	w := newEnv(t, 0)
	w.do("PUT", "/Patient/p", everything, `{"resourceType":"Patient","id":"p","active":true}`).want(201)
	pt := func(id string) string { return `{"resourceType":"Patient","id":"` + id + `","active":true}` }
	for _, c := range []struct {
		name, letters, method, path, body string
		headers                           []string
	}{
		{"read", "r", "GET", "/Patient/p", "", nil},
		{"vread", "r", "GET", "/Patient/p/_history/1", "", nil},
		{"history instance", "r", "GET", "/Patient/p/_history", "", nil},
		{"search", "s", "GET", "/Patient", "", nil},
		{
			"search by post", "s", "POST", "/Patient/_search", "active=true",
			[]string{"Content-Type", "application/x-www-form-urlencoded"},
		},
		{"history type", "s", "GET", "/Patient/_history", "", nil},
		{"history system", "s", "GET", "/_history", "", nil},
		{"search system", "s", "GET", "?_type=Patient", "", nil},
		{"create", "c", "POST", "/Patient", pt("x"), nil},
		{"update", "u", "PUT", "/Patient/p", pt("p"), nil},
		{"update as create", "u", "PUT", "/Patient/p-%s", pt("p-%s"), nil},
		{
			"patch", "u", "PATCH", "/Patient/p",
			`[{"op":"replace","path":"/active","value":true}]`,
			[]string{"Content-Type", "application/json-patch+json"},
		},
		{"delete", "d", "DELETE", "/Patient/gone", "", nil},
		{"conditional create", "cs", "POST", "/Patient", pt("x"), []string{"If-None-Exist", "_id=none"}},
		{"conditional update", "us", "PUT", "/Patient?_id=p", pt("p"), nil},
		{
			"conditional patch", "us", "PATCH", "/Patient?_id=p",
			`[{"op":"replace","path":"/active","value":true}]`,
			[]string{"Content-Type", "application/json-patch+json"},
		},
		{"conditional delete", "ds", "DELETE", "/Patient?_id=none", "", nil},
		{
			"testing patch", "ru", "PATCH", "/Patient/p",
			`[{"op":"test","path":"/active","value":true}]`,
			[]string{"Content-Type", "application/json-patch+json"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			for bits := 1; bits < 32; bits++ {
				letters := ""
				for i, l := range "cruds" {
					if bits>>i&1 == 1 {
						letters += string(l)
					}
				}

				allowed := true
				for _, l := range c.letters {
					allowed = allowed && strings.ContainsRune(letters, l)
				}
				path, text := strings.Replace(c.path, "%s", letters, 1), strings.Replace(c.body, "%s", letters, 1)
				a := w.do(c.method, path, "system/Patient."+letters, text, c.headers...)
				if allowed != (a.Code < 300) || !allowed && a.Code != 403 {
					t.Errorf("%s with %s: %d", c.name, letters, a.Code)
				}
			}
		})
	}
}

func entryOf(method, url, resource string) string {
	if resource != "" {
		resource = `"resource":` + resource + `,`
	}
	return `{` + resource + `"request":{"method":"` + method + `","url":"` + url + `"}}`
}

func bundleOf(typ string, entries ...string) string {
	return `{"resourceType":"Bundle","type":"` + typ + `","entry":[` + strings.Join(entries, ",") + `]}`
}

// Covers: case 244, case 247
func TestBatchJudgesEachEntry(t *testing.T) {
	w := newEnv(t, 0)
	w.do("PUT", "/Patient/p", everything, `{"resourceType":"Patient","id":"p"}`).want(201)
	b := w.do("POST", "", "system/Patient.rs system/Observation.c", bundleOf("batch",
		entryOf("GET", "Patient/p", ""), entryOf("DELETE", "Patient/p", ""), entryOf("POST", "Observation",
			`{"resourceType":"Observation","status":"final","code":{"text":"x"}}`),
		entryOf("GET", "Patient?_id=p", ""), entryOf("GET", "Observation?status=final", ""),
		`{"request":{"method":"DELETE","url":"Patient/p","ifMatch":"W/\"1\"","authorization":"Bearer system/*.cruds"}}`)).bundle()

	want := []string{"200", "403", "201", "200", "403", "400"} // the last has what no entry has
	for i, e := range b.Entry {
		if !strings.HasPrefix(e.Response.Status, want[i]) {
			t.Errorf("entry %d: %s, want %s", i, e.Response.Status, want[i])
		}
		if want[i] >= "400" && e.Response.Outcome == nil {
			t.Errorf("entry %d has no outcome", i)
		}
	}

	w.get("/Patient/p", everything).want(200)
}

// Covers: case 245
func TestTransactionIsAllOrNothing(t *testing.T) {
	w := newEnv(t, 0)
	obs := `{"resourceType":"Observation","status":"final","code":{"text":"x"}}`
	good := []string{}
	for range 9 {
		good = append(good, entryOf("POST", "Observation", obs))
	}

	for name, last := range map[string]string{
		"forbidden": entryOf("POST", "Patient", `{"resourceType":"Patient"}`),
		"invalid":   entryOf("POST", "Observation", `{"resourceType":"Patient"}`),
		"conflict":  `{"resource":{"resourceType":"Observation","id":"none","status":"final","code":{"text":"x"}},"request":{"method":"PUT","url":"Observation/none","ifMatch":"W/\"3\""}}`,
	} {
		t.Run(name, func(t *testing.T) {
			a := w.do("POST", "", "system/Observation.cruds", bundleOf("transaction", append(good[:9:9], last)...))
			if a.Code < 400 || a.Code > 499 {
				t.Errorf("%s: %d %s", name, a.Code, a.Body)
			}
			if !strings.Contains(a.Body.String(), "Bundle.entry[9]") {
				t.Errorf("%s does not say which entry: %s", name, a.Body)
			}
		})
	}

	if b := w.get("/_history", everything).bundle(); len(b.Entry) != 0 {
		t.Errorf("%d versions are left", len(b.Entry))
	}
}

func TestTransactionLinksEntries(t *testing.T) {
	w := newEnv(t, 0)
	w.do("PUT", "/Practitioner/d", everything,
		`{"resourceType":"Practitioner","id":"d","identifier":[{"system":"urn:n","value":"7"}]}`).want(201)
	tx := bundleOf("transaction",
		`{"fullUrl":"urn:uuid:a","resource":{"resourceType":"Patient","generalPractitioner":[{"reference":"Practitioner?identifier=urn:n|7"}]},"request":{"method":"POST","url":"Patient"}}`,
		`{"fullUrl":"urn:uuid:b","resource":{"resourceType":"Observation","status":"final","code":{"text":"x"},"subject":{"reference":"urn:uuid:a"},"valueQuantity":{"value":1.50}},"request":{"method":"POST","url":"Observation"}}`,
		entryOf("GET", "Practitioner/d", ""), entryOf("DELETE", "Practitioner/e", ""))
	b := w.do("POST", "", everything, tx).bundle()
	at := strings.TrimPrefix(b.Entry[0].Response.Location, publicBase)
	at, _, _ = strings.Cut(at, "/_history")
	found := w.get("/Observation?subject="+at[1:]+"&patient.general-practitioner=d", everything).bundle()
	if *found.Total != 1 || !strings.Contains(string(found.Entry[0].Resource), "1.50") {
		t.Fatalf("the observation does not point at the patient: %s", w.get("/_history", everything).Body)
	}

	if !strings.Contains(string(b.Entry[2].Resource), `"d"`) || !strings.HasPrefix(b.Entry[3].Response.Status, "204") {
		t.Errorf("read and delete: %+v", b.Entry)
	}
	w.do("POST", "", everything, strings.Replace(tx, "urn:n|7", "urn:n|8", 1)).want(412)
	w.do("POST", "", everything,
		strings.Replace(tx, `"reference":"urn:uuid:a"`, `"reference":"urn:uuid:c"`, 1)).want(200)
	w.do("POST", "", everything,
		bundleOf("transaction", entryOf("PUT", "Patient/z", `{"resourceType":"Patient","id":"z"}`),
			entryOf("DELETE", "Patient/z", ""))).want(400)

	w.do("POST", "", everything, bundleOf("collection")).want(400)
}

// Covers: case 246
func TestEntriesGoNowhereElse(t *testing.T) {
	w := newEnv(t, 1)
	for _, url := range []string{
		"../../token", "https://other.test/fhir/Patient/1", "//evil", "Patient/1/../../2", "$op",
		"", "metadata", "Bundle/../x", "%2e%2e/token", "/Patient/" + sample.PatientID(0),
	} {
		b := w.do("POST", "", everything, bundleOf("batch", entryOf("GET", url, ""))).bundle()
		if s := b.Entry[0].Response.Status; !strings.HasPrefix(s, "4") {
			t.Errorf("%q: %s", url, s)
		}
		w.do("POST", "", everything, bundleOf("transaction", entryOf("GET", url, ""))).want(400)
	}

	for _, method := range []string{"TRACE", "get", "CONNECT", ""} {
		w.do("POST", "", everything, bundleOf("transaction", entryOf(method, "Patient/1", ""))).want(400)
	}
	own := w.do("POST", "", everything,
		bundleOf("batch", entryOf("GET", publicBase+"/Patient/"+sample.PatientID(0), ""))).bundle()
	if !strings.HasPrefix(own.Entry[0].Response.Status, "200") {
		t.Errorf("own base: %s", own.Entry[0].Response.Status)
	}

	inner := bundleOf("batch")
	b := w.do("POST", "", everything,
		bundleOf("batch", `{"resource":`+inner+`,"request":{"method":"POST","url":"/"}}`)).bundle()
	if s := b.Entry[0].Response.Status; !strings.HasPrefix(s, "4") {
		t.Errorf("bundle in a bundle: %s", s)
	}
	many := make([]string, 5001)
	for i := range many {
		many[i] = entryOf("GET", "Patient/x", "")
	}

	refused := w.do("POST", "", everything, bundleOf("batch", many...)).want(413)
	if text := refused.Body.String(); !strings.Contains(text, "5001") || !strings.Contains(text, "5000") {
		t.Errorf("the limit is not named: %s", text)
	}
}

// Covers: case 242, case 243, case 251, case 252, FS-302, FS-306
func TestPatientTokensWriteTheirOwnRecordOnly(t *testing.T) {
	p1 := sample.PatientID(0)
	for _, mine := range []string{
		"patient/*.cruds; patient=" + p1,
		"user/*.cruds; own=" + p1,
		"user/*.cruds; own=someone," + p1 + "; patient=" + sample.PatientID(1),
	} {
		t.Run(mine, func(t *testing.T) { testWritesOwnRecordOnly(t, mine) })
	}
}

// testWritesOwnRecordOnly has a token write that reaches the first patient only.
func testWritesOwnRecordOnly(t *testing.T, mine string) {
	w := newEnv(t, 2)
	p1, p2 := sample.PatientID(0), sample.PatientID(1)
	obs := func(id, p string) string {
		return `{"resourceType":"Observation","id":"` + id +
			`","status":"final","code":{"text":"x"},"subject":{"reference":"Patient/` + p + `"}}`
	}
	w.do("POST", "/Observation", mine, obs("x", p2)).want(403)

	own := w.do("POST", "/Observation", mine, obs("x", p1)).want(201).location()
	id := strings.TrimPrefix(own, "/Observation/")
	w.do("PUT", own, mine, obs(id, p2)).want(403)
	w.do("PUT", own, everything, obs(id, p2)).want(200)
	w.do("PUT", own, mine, obs(id, p1)).want(404)
	w.do("DELETE", own, mine, "").want(404)
	w.do("PATCH", own, mine, `[{"op":"test","path":"/status","value":"final"}]`, "Content-Type",
		"application/json-patch+json").want(404)

	w.get(own, mine, "If-None-Match", `W/"2"`).want(404)
	w.do("PUT", own, mine, obs(id, p1), "If-Match", `W/"9"`).want(404)
	w.get(own+"/_history/1", mine).want(200)
	w.get(own+"/_history/2", mine).want(404)
	if h := w.get(own+"/_history", mine).bundle(); len(h.Entry) != 1 {
		t.Errorf("%d versions are shown", len(h.Entry))
	}
	w.do("DELETE", own, everything, "").want(204)

	w.get(own, mine).want(404)
	w.get(own+"/_history/3", mine).want(404)
	w.do("PUT", "/Observation/new-id", mine, obs("new-id", p1)).want(404)
	w.do("PUT", "/Practitioner/new-id", mine, `{"resourceType":"Practitioner","id":"new-id"}`).want(403)
	w.get("/AuditEvent", mine).want(403)
	w.get("/Group", mine).want(403)
}

// Covers: FS-602, case 258
func TestBinaryIsReadAsItsContext(t *testing.T) {
	w := newEnv(t, 2)
	p1, p2 := sample.PatientID(0), sample.PatientID(1)
	at := w.do("POST", "/Binary", everything, "<html><script>alert(1)</script>", "Content-Type", "text/html",
		"X-Security-Context", "Patient/"+p1).want(201).location()
	a := w.get(at, everything, "Accept", "text/html").want(200)
	if a.Body.String() != "<html><script>alert(1)</script>" ||
		a.Header().Get("Content-Disposition") != "attachment" ||
		!strings.HasPrefix(a.Header().Get("Content-Security-Policy"), "sandbox") {
		t.Errorf("%v %s", a.Header(), a.Body)
	}

	if m := body(t, w.get(at, everything, "Accept", "application/fhir+json").want(200)); m["resourceType"] != "Binary" {
		t.Errorf("%v", m)
	}
	w.get(at, "system/Binary.rs").want(404)
	w.get(at, "system/Binary.rs system/Patient.rs").want(200)
	w.get(at, "system/Binary.rs patient/Patient.rs; patient="+p2).want(404)
	w.get(at+"/_history/1", "system/Binary.rs").want(404)
	if b := w.get("/Binary", "system/Binary.rs").bundle(); *b.Total != 0 {
		t.Error("a search shows it")
	}
}

func TestEverythingIsTheWholeRecord(t *testing.T) {
	w := newEnv(t, 2)
	p1, p2 := sample.PatientID(0), sample.PatientID(1)
	all := w.get("/Patient/"+p1+"/$everything", everything).bundle()
	ids := all.ids("match")
	if ids[0] != "Patient/"+p1 || contains(ids, "Patient/"+p2) || len(ids) < 10 {
		t.Fatalf("%v", ids)
	}
	var paged []string
	for next := "/Patient/" + p1 + "/$everything?_count=4"; next != ""; {
		b := w.get(strings.TrimPrefix(next, publicBase), everything).bundle()
		paged = append(paged, b.ids("match")...)
		next = b.link("next")
	}

	if fmt.Sprint(paged) != fmt.Sprint(ids) {
		t.Errorf("by pages: %v", paged)
	}
	obs := w.get("/Patient/"+p1+"/$everything?_type=Observation", everything).bundle()
	want := w.get("/Observation?_count=1000&patient="+p1, everything).bundle()
	if len(obs.Entry) != *want.Total {
		t.Errorf("%d observations, want %d", len(obs.Entry), *want.Total)
	}

	w.get("/Patient/"+p2+"/$everything", "patient/*.rs; patient="+p1).want(404)
	for _, id := range w.get("/Patient/"+p1+"/$everything", "system/Patient.rs").bundle().ids("match") {
		if !strings.HasPrefix(id, "Patient/") {
			t.Errorf("%s without a scope", id)
		}
	}
}

// Covers: case 255, case 267, case 256, FS-310, FS-901
func TestBodiesThatAreNotTaken(t *testing.T) {
	w := newEnv(t, 0)
	for _, c := range []struct {
		name, body, contentType string
		status                  int
		headers                 []string
	}{
		{"turtle", "@prefix fhir: <x>", "application/fhir+turtle", 415, nil},
		{"xml in another version", "<Patient/>", "application/fhir+xml; fhirVersion=3.0", 415, nil},
		{"xml in another encoding", "<Patient/>", "application/fhir+xml; charset=utf-16", 415, nil},
		{"xml of no namespace", "<Patient/>", "application/fhir+xml", 400, nil},
		{"compressed", anna, "application/fhir+json", 415, []string{"Content-Encoding", "gzip"}},
		{"other version", anna, "application/fhir+json; fhirVersion=3.0", 415, nil},
		{
			"duplicate member", `{"resourceType":"Patient","active":true,"active":false}`,
			"application/fhir+json", 400, nil,
		},
		{
			"duplicate type", `{"resourceType":"Patient","resourceType":"Observation"}`,
			"application/fhir+json", 400, nil,
		},
		{"case of the type", `{"ResourceType":"Patient"}`, "application/fhir+json", 400, nil},
		{"deep", strings.Repeat(`{"a":`, 10001) + "1" + strings.Repeat("}", 10001), "application/fhir+json", 400, nil},
		{"not UTF-8", "{\"resourceType\":\"Patient\",\"language\":\"\xff\"}", "application/fhir+json", 400, nil},
		{"other type", `{"resourceType":"Observation"}`, "application/fhir+json", 400, nil},
		{
			"too long",
			`{"resourceType":"Patient","language":"` + strings.Repeat("a", 33<<20) + `"}`,
			"application/fhir+json", 413, nil,
		},
		{"nothing", " ", "application/fhir+json", 400, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			w.t = t
			w.do("POST", "/Patient", everything, c.body,
				append(c.headers, "Content-Type", c.contentType)...).want(c.status)
		})
	}

	w.t = t
	w.do("POST", "/AuditEvent", everything, `{"resourceType":"AuditEvent"}`).want(405)
}
