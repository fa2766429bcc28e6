package fhir_test

import (
	"context"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"fhirdest.example/fhir"
	"fhirdest.example/fhir/sample"
	"fhirdest.example/fhir/search"
	"fhirdest.example/fhir/table"
	"fhirdest.example/fhir/tree"
	"fhirdest.example/fhir/validate"
)

const auditor = "system/AuditEvent.rs"

// Covers: ER-22 (audit), case 269
func TestEveryInteractionIsRecorded(t *testing.T) {
	w := newEnv(t, 1)
	p := sample.PatientID(0)
	count := func(query string) int { return *w.get("/AuditEvent?"+query, auditor).bundle().Total }
	w.recordsNameThePerson(p, count)

	for _, c := range []struct {
		name  string
		do    func()
		query string
	}{
		{"read", func() {
			w.get("/Patient/"+p, everything).want(200)
		}, "subtype=read&action=R&outcome=0&patient=" + p},
		{"denied read", func() { w.get("/Patient/"+p, "system/Observation.rs").want(403) }, "subtype=read&outcome=4"},
		{"read of nothing", func() { w.get("/Patient/none", everything).want(404) }, "subtype=read&outcome=4"},
		{"search", func() {
			w.get("/Observation?patient="+p, everything).want(200)
		}, "subtype=search-type&action=E&patient=" + p},
		{"create", func() {
			w.do("POST", "/Patient", everything, anna).want(201)
		}, "subtype=create&action=C&outcome=0"},
		{"refused create", func() {
			w.do("POST", "/Patient", everything, `{"resourceType":"Patient","x":1}`).want(400)
		}, "subtype=create&outcome=4"},
		{"delete", func() { w.do("DELETE", "/Patient/"+p, everything, "").want(204) }, "subtype=delete&action=D"},
		{"batch entry", func() {
			w.do("POST", "", everything, bundleOf("batch", entryOf("GET", "Patient/"+p, ""))).want(200)
		}, "subtype=read&outcome=4"},
		{"transaction entry", func() {
			w.do("POST", "", everything, bundleOf("transaction", entryOf("POST", "Patient", anna))).want(200)
		}, "subtype=create&outcome=0"},
		{"refused transaction", func() {
			w.do("POST", "", everything, bundleOf("transaction", entryOf("POST", "Patient", `{}`))).want(400)
		}, "subtype=transaction&outcome=4"},
		{"no such path", func() { w.get("/Nonsense/1", everything).want(404) }, "subtype:missing=true&outcome=4"},
		{"no such operation", func() {
			w.get("/Patient/$nonsense", everything).want(404)
		}, "subtype:missing=true&outcome=4"},
		{"doubled slash", func() { w.get("/Patient//"+p, everything).want(404) }, "subtype:missing=true&outcome=4"},
		{"no such method", func() {
			w.do("PUT", "/_history", everything, "").want(405)
		}, "subtype:missing=true&outcome=4"},
		{"media type", func() {
			w.do("POST", "/Patient", everything, anna, "Content-Type", "text/plain").want(415)
		}, "subtype=create&outcome=4"},
		{"compressed", func() {
			w.do("POST", "/Patient", everything, anna, "Content-Encoding", "gzip").want(415)
		}, "subtype=create&outcome=4"},
		{"form", func() {
			w.do("POST", "/Patient/_search", everything, "{}").want(415)
		}, "subtype=search-type&outcome=4"},
		{"not acceptable", func() {
			w.get("/Patient/"+p, everything, "Accept", "image/png").want(406)
		}, "subtype=read&outcome=4"},
		{"query", func() { w.get("/Patient?name=%00", everything).want(400) }, "subtype=search-type&outcome=4"},
		{"too long", func() {
			w.do("POST", "/Binary", everything, strings.Repeat("x", 33<<20)).want(413)
		}, "subtype=create&outcome=4"},
		{"batch entry nowhere", func() {
			w.do("POST", "", everything, bundleOf("batch", entryOf("GET", "Nonsense/1", ""))).want(200)
		}, "subtype:missing=true&outcome=4"},
		{"no token", func() { w.get("/Nonsense/1", "").want(401) }, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.query == "" {
				c.do()
				return
			}

			before := count(c.query)
			c.do()
			if n := count(c.query); n != before+1 {
				t.Errorf("%s: %d records more of %s", c.name, n-before, c.query)
			}
		})
	}

	if n := count("subtype=search-type&agent=none"); n != 0 {
		t.Errorf("%d records of nobody", n)
	}
	w.get("/AuditEvent", "system/*.rs").want(403)
	w.recordsAreSound()
}

// recordsNameThePerson: what a client does for a person is found by the person and by
// what was granted.
func (w *env) recordsNameThePerson(p string, count func(query string) int) {
	w.t.Helper()
	w.get("/Patient/"+p, "patient/Patient.rs; patient="+p+"; person="+p).want(200)
	for _, query := range []string{
		"agent=Patient/" + p,
		"agent:identifier=" + publicBase + "|" + p,
		"policy=urn:uuid:01234567-89ab-cdef-0123-456789abcdef",
	} {
		if n := count(query); n != 1 {
			w.t.Errorf("%d records of %s", n, query)
		}
	}

	if n := count("agent:identifier=|" + p); n != 0 {
		w.t.Errorf("%d records of a client whose id is the person's", n)
	}
}

// recordsAreSound: each AuditEvent is valid, has the terms that a search would give
// it, and tells no token.
func (w *env) recordsAreSound() {
	t := w.t
	t.Helper()
	v := validate.New(table.R4())

	for _, e := range w.get("/AuditEvent?_count=1000", auditor).bundle().Entry {
		root, err := tree.Parse(e.Resource)
		if err != nil {
			t.Fatal(err)
		}
		if issues := v.Resource(root, validate.Options{}); !validate.OK(issues) {
			t.Fatalf("%v in %s", issues, e.Resource)
		}
		id := root.Get("id").Text()

		x := &search.Extractor{}
		want, err := x.Extract("AuditEvent", root, search.Stamp{ID: id, Updated: w.now})
		if err != nil {
			t.Fatal(err)
		}
		err = w.store.View(t.Context(), func(sn fhir.Snapshot) error {
			doc, _, err := sn.Find(t.Context(), "AuditEvent", id)
			if err != nil {
				return err
			}

			return sn.Terms(t.Context(), []uint64{doc}, func(_ uint64, _ string, got search.Terms) bool {
				if string(got) != string(want) {
					t.Errorf("terms %q, want %q of %s", got, want, e.Resource)
				}
				return true
			})
		})
		if err != nil {
			t.Fatal(err)
		}

		if strings.Contains(string(e.Resource), "Bearer") {
			t.Errorf("a token is told: %s", e.Resource)
		}
	}
}

// Covers: case 258
func TestRefusesWhatMustNotBeStored(t *testing.T) {
	w := newEnv(t, 0)
	div := func(inner string) string {
		return `{"resourceType":"Patient","text":{"status":"generated","div":"<div xmlns=\"http://www.w3.org/1999/xhtml\">` + inner + `</div>"}}`
	}
	w.do("POST", "/Patient", everything, div("<p>fine</p>")).want(201)

	for _, inner := range []string{
		"<script>x</script>", `<p onload=\"x\">y</p>`, `<a href=\"javascript:x\">y</a>`,
		"<style>x</style>", "<svg/>", "&nbsp;", "<p>",
	} {
		a := w.do("POST", "/Patient", everything, div(inner))
		if a.Code != 422 && a.Code != 400 {
			t.Errorf("%s: %d", inner, a.Code)
		}
	}

	a := w.do("POST", "/Patient", everything, `{"resourceType":"Patient","contact":[{"name":{"family":7}}]}`).want(400)
	if !strings.Contains(a.Body.String(), `Patient.contact[0].name.family`) {
		t.Errorf("no expression: %s", a.Body)
	}
	w.do("POST", "/Patient", everything,
		`{"resourceType":"Patient","meta":{"tag":[{"system":"http://terminology.hl7.org/CodeSystem/v3-ObservationValue","code":"SUBSETTED"}]}}`).want(422)
	v := w.do("POST", "/Patient/$validate", everything, `{"resourceType":"Patient","gender":"x"}`).want(200)
	if !strings.Contains(v.Body.String(), `"severity":"error"`) {
		t.Errorf("$validate: %s", v.Body)
	}

	ok := w.do("POST", "/Patient/$validate", everything, anna).want(200)
	if strings.Contains(ok.Body.String(), `"severity":"error"`) {
		t.Errorf("$validate: %s", ok.Body)
	}
}

// Covers: case 250
func TestSubsetsAreMarked(t *testing.T) {
	w := newEnv(t, 1)
	v := validate.New(table.R4())
	for _, q := range []string{"_summary=true", "_summary=text", "_summary=data", "_elements=identifier,name"} {
		for _, typ := range []string{
			"Patient", "Observation", "Encounter", "Condition", "DocumentReference",
			"MedicationRequest",
		} {
			for _, e := range w.get("/"+typ+"?"+q, everything).bundle().Entry {
				if !strings.Contains(string(e.Resource), "SUBSETTED") {
					t.Fatalf("%s %s: %s", typ, q, e.Resource)
				}
				root, err := tree.Parse(e.Resource)
				if err != nil {
					t.Fatal(err)
				}
				if issues := v.Resource(root, validate.Options{}); !validate.OK(issues) {
					t.Fatalf("%s %s: %v in %s", typ, q, issues, e.Resource)
				}
			}
		}
	}

	one := w.get("/Patient/"+sample.PatientID(0)+"?_elements=birthDate", everything).want(200).Body.String()
	if strings.Contains(one, `"address"`) || !strings.Contains(one, `"birthDate"`) {
		t.Errorf("_elements on a read: %s", one)
	}
	if b := w.get("/Patient?_summary=count", everything).bundle(); *b.Total != 1 || len(b.Entry) != 0 {
		t.Errorf("count: %+v", b)
	}
	if b := w.get("/Patient?_total=none", everything).bundle(); b.Total != nil {
		t.Error("a total that was not asked for")
	}

	p := w.get("/Patient?_pretty=true", everything).want(200).Body.String()
	if !strings.Contains(p, "\n  ") {
		t.Errorf("not pretty: %s", p)
	}
}

// Covers: case 261, FS-906
func TestStrictAndLenient(t *testing.T) {
	w := newEnv(t, 1)
	w.get("/Patient?nonsense=1", everything, "Prefer", "handling=strict").want(400)
	b := w.get("/Patient?nonsense=1&gender=male,female", everything).bundle()
	if strings.Contains(b.link("self"), "nonsense") || !strings.Contains(b.link("self"), "gender=") {
		t.Errorf("self link %s", b.link("self"))
	}
	if len(b.ids("outcome")) != 1 || !strings.Contains(string(b.Entry[len(b.Entry)-1].Resource), "OperationOutcome") {
		t.Errorf("no outcome: %+v", b.Entry)
	}

	w.get("/Patient?_sort="+strings.Repeat("name,", 100), everything).want(400)
	w.get("/Patient?name="+strings.Repeat("a,", 10000), everything).want(400)
	w.get("/Observation?"+url.QueryEscape("patient.link.link.link.link.link.name")+"=x", everything).want(400)

	for _, q := range []string{`name=a\,b`, `name:contains=%28a%2B%29%2B%24`, `identifier=a\|b`, "name:exact=x"} {
		if b := w.get("/Patient?"+q, everything).bundle(); *b.Total != 0 {
			t.Errorf("%s finds %d", q, *b.Total)
		}
	}
}

// slowStore announces each change, once it is slow, and begins it when it is told to.
type slowStore struct {
	fhir.Store
	slow             atomic.Bool
	announced, begin chan bool
}

func (s *slowStore) Update(ctx context.Context, f func(fhir.Change) error) error {
	if s.slow.Load() {
		s.announced <- true
		<-s.begin
	}
	return s.Store.Update(ctx, f)
}

// Who asks for the records sees those too that are just being stored.
//
// Covers: ER-22 (audit)
func TestRecordsOnTheirWayAreSeen(t *testing.T) {
	w := newEnv(t, 1)
	store := &slowStore{Store: w.store, announced: make(chan bool), begin: make(chan bool)}
	h, err := fhir.New(fhir.Config{
		PublicBase:  publicBase,
		PrivateBase: privateBase,
		Store:       store,
		Authorize:   authorize,
		Now: func() time.Time {
			return w.now
		},
	})
	if err != nil {
		t.Fatal(err)
	}

	w.h = h
	store.slow.Store(true)
	w.get("/Patient/"+sample.PatientID(0), everything).want(200)
	<-store.announced
	store.slow.Store(false)
	seen := make(chan int, 1)
	go func() { seen <- *w.get("/AuditEvent?subtype=read", auditor).bundle().Total }()

	select {
	case n := <-seen:
		t.Errorf("answered while a record was being stored: %d records", n)
		store.begin <- true
	case <-time.After(50 * time.Millisecond):
		store.begin <- true
		if n := <-seen; n != 1 {
			t.Errorf("%d records of one read", n)
		}
	}
}

// While records are not stored, reads are answered for a second, and then wait: a crash
// loses no more.
func TestReadsWaitForRecords(t *testing.T) {
	w := newEnv(t, 1)
	p := "/Patient/" + sample.PatientID(0)
	store := &slowStore{Store: w.store, announced: make(chan bool), begin: make(chan bool)}
	var now atomic.Int64
	now.Store(w.now.UnixMilli())
	h, err := fhir.New(fhir.Config{
		PublicBase:  publicBase,
		PrivateBase: privateBase,
		Store:       store,
		Authorize:   authorize,
		Now: func() time.Time {
			return time.UnixMilli(now.Load()).UTC()
		},
	})
	if err != nil {
		t.Fatal(err)
	}

	w.h = h
	store.slow.Store(true)
	w.get(p, everything).want(200)
	<-store.announced
	store.slow.Store(false)
	now.Add(1000)
	w.get(p, everything).want(200)

	now.Add(1)
	answered := make(chan int, 1)
	go func() { answered <- w.get(p, everything).Code }()

	select {
	case <-answered:
		t.Error("answered, though a record was not stored for more than a second")
	case <-time.After(50 * time.Millisecond):
	}

	store.begin <- true
	if code := <-answered; code != 200 {
		t.Errorf("%d", code)
	}
	if n := *w.get("/AuditEvent?subtype=read", auditor).want(200).bundle().Total; n != 3 {
		t.Errorf("%d records of 3 reads", n)
	}
}

// A creation whose If-None-Exist finds a resource gives it away, as a read does: the
// patient's audit has it.
// Covers: ER-22 (audit)
func TestFoundInTheStoreIsRecorded(t *testing.T) {
	const patient = `{"resourceType":"Patient","identifier":[{"system":"urn:n","value":"1"}]}`
	const observation = `{"resourceType":"Observation","status":"final","code":{"text":"x"},"identifier":[{"value":"o"}],` +
		`"subject":{"reference":"Patient/p"}}`
	for name, c := range map[string]struct{ typ, body, criteria string }{
		"Patient":     {"Patient", patient, "identifier=urn:n|1"},
		"Observation": {"Observation", observation, "identifier=o"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newEnv(t, 0)
			w.do("PUT", "/Patient/p", everything, strings.Replace(patient, "{", `{"id":"p",`, 1)).want(201)
			w.do("PUT", "/Observation/o", everything, strings.Replace(observation, "{", `{"id":"o",`, 1)).want(201)

			recorded := func() int {
				return *w.get("/AuditEvent?patient=Patient/p&subtype=create", auditor).bundle().Total
			}
			w.do("POST", "/"+c.typ, everything, c.body, "If-None-Exist", c.criteria).want(200)
			if n := recorded(); n != 1 {
				t.Errorf("%d records of it, want 1", n)
			}

			w.do("POST", "", everything,
				bundleOf("transaction", `{"resource":`+c.body+`,"request":{"method":"POST","url":"`+
					c.typ+`","ifNoneExist":"`+c.criteria+`"}}`)).want(200)
			if n := recorded(); n != 2 {
				t.Errorf("%d records after a transaction, want 2", n)
			}
		})
	}
}

// A change that takes a resource from one patient's record into another's is in the
// audit of both.
// Covers: ER-22 (audit)
func TestMovesAreRecordedOfBothPatients(t *testing.T) {
	const of = `{"resourceType":"Observation","id":"o","status":"final","code":{"text":"x"},"subject":{"reference":"Patient/%s"}}`
	moved := strings.Replace(of, "%s", "q", 1)
	const patch = `[{"op":"replace","path":"/subject/reference","value":"Patient/q"}]`
	for name, do := range map[string]func(w *env){
		"update": func(w *env) { w.do("PUT", "/Observation/o", everything, moved).want(200) },
		"patch": func(w *env) {
			w.do("PATCH", "/Observation/o", everything, patch, "Content-Type", "application/json-patch+json").want(200)
		},
		"in a transaction": func(w *env) {
			w.do("POST", "", everything, bundleOf("transaction", entryOf("PUT", "Observation/o", moved))).want(200)
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newEnv(t, 0)
			w.do("PUT", "/Observation/o", everything, strings.Replace(of, "%s", "p", 1)).want(201)
			do(w)

			for _, patient := range []string{"p", "q"} {
				found := w.get("/AuditEvent?action=U&entity=Observation/o/_history/2&patient=Patient/"+patient,
					auditor).bundle()
				if *found.Total != 1 {
					t.Errorf("%d records for patient %s, want 1", *found.Total, patient)
				}
			}
		})
	}
}
