package label_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"

	"fhirdest.example/fhir/async/asyncenv"
	"fhirdest.example/fhir/label"
	"fhirdest.example/fhir/sample"
)

// world is a population whose resources have labels by chance.
type world struct {
	*asyncenv.Env
	rnd *rand.Rand
	all map[string]bool // Type/id of every resource
}

// oracle reads everything, whatever its labels: a token for emergencies under a policy
// that lets these read V.
func (w *world) oracle(t *testing.T, method, path, body string) map[string]bool {
	t.Helper()
	found := map[string]bool{}
	for next := path; next != ""; {
		b := bundleOf(t, w.Do(method, next, urgent, body, "Purpose-Of-Use", "BTG"))
		for _, id := range b.ids("") {
			found[id] = true
		}
		next = b.link("next")
	}
	return found
}

func newWorld(t *testing.T, seed uint64) *world {
	t.Helper()
	p := rules()
	p.BreakGlass = "V"
	p.Clearances = append(p.Clearances, label.Clearance{
		Client:        "https://one.test",
		Sensitivities: []string{"HIV"},
	}, label.Clearance{
		Organization: "https://org.test",
		Level:        "R",
	})

	e := newEnv(t, p, exporting)
	e.Must(e.Service.Seed(t.Context(), 2))

	w := &world{
		Env: e,
		rnd: rand.New(rand.NewPCG(seed, 7)),
		all: map[string]bool{},
	}
	for id := range w.oracle(t, "GET", "/_history?_count=1000", "") {
		if r := e.Do("GET", "/"+id, urgent, "", "Purpose-Of-Use", "BTG"); r.Code == 200 {
			w.all[id] = true
		}
	}

	w.relabel(t)
	return w
}

// relabel gives resources labels, and takes some of them away again, so that versions
// have others than the resource has now.
func (w *world) relabel(t *testing.T) {
	t.Helper()
	labels := []string{"R", "V", "N", "HIV", "R,HIV", "PSY", "M", "NOSUCHCODE", "DELAU"}
	for id := range w.all {
		if w.rnd.IntN(3) > 0 || strings.HasPrefix(id, "Provenance/") {
			continue
		}

		some := observation("x", labels[w.rnd.IntN(len(labels))])
		_, some, _ = strings.Cut(some, `"security":`)
		some, _, _ = strings.Cut(some, `},"status"`)
		patch := `[{"op":"add","path":"/meta/security","value":` + some + `}]`

		for _, token := range []string{uncleared, labeller} {
			w.Do("PATCH", "/"+id, token, patch, "Content-Type", "application/json-patch+json")
			if w.rnd.IntN(3) > 0 {
				break
			}
			patch = `[{"op":"add","path":"/meta/security","value":[]}]`
		}
	}
}

// readers are tokens and what each of them reads, asked for one by one.
func (w *world) readers() map[string]map[string]bool {
	p := sample.PatientID(1)
	one := "; party=https://one.test; purpose=" + treatment
	readers := map[string]map[string]bool{}

	for _, token := range []string{
		uncleared, cleared, "system/*.rs" + one, "system/*.rs; org=https://org.test; purpose=" + treatment,
		"system/*.rs; org=https://org.test; purpose=urn:oid:2.16.840.1.113883.5.8#HMARKT",
		"patient/*.rs; patient=" + p, "patient/*.rs; patient=" + p + one,
		"system/Observation.rs system/Patient.rs; org=https://org.test; purpose=" + treatment,
		"system/Observation.rs?category=vital-signs system/Condition.rs" + one,
	} {
		readable := map[string]bool{}
		for id := range w.all {
			if w.Do("GET", "/"+id, token, "").Code == 200 {
				readable[id] = true
			}
		}
		readers[token] = readable
	}

	return readers
}

// ask makes one request that lists resources. plain reports that it matches by nothing
// but the resources themselves, so that it finds all of them that are readable.
func (w *world) ask() (method, path, body string, plain bool) {
	pick := func(of ...string) string { return of[w.rnd.IntN(len(of))] }
	p := sample.PatientID(w.rnd.IntN(2))
	typ := pick("Patient", "Observation", "Condition", "Encounter", "DocumentReference", "MedicationRequest", "Binary")
	count := fmt.Sprintf("_count=%d", 1+w.rnd.IntN(40))

	switch w.rnd.IntN(8) {
	case 0:
		return "GET", pick("/_history", "/"+typ+"/_history", "/Patient/"+p+"/_history") + "?" + count, "", false
	case 1:
		return "GET", "/Patient/" + p + "/$everything?" + count, "", false
	case 2:
		return "GET", "?_type=Patient,Observation,Condition&" + count, "", true
	case 3:
		return "GET", "/Observation?" + pick("status=final", "_security=R", "_security:not=N", "code:text=a",
			"_sort=-_id"), "", true

	case 4:
		return "GET", "/Observation?" + pick("patient.gender=female", "subject:Patient._security:missing=false",
			"encounter.status=finished", "_include=*", "_include=Observation:encounter&_include:iterate=Encounter:patient"), "", false
	case 5:
		return "GET", "/Patient?" + pick("_has:Observation:patient:status=final", "_revinclude=Observation:subject",
			"_has:Condition:patient:_security=R", "_revinclude:iterate=Encounter:patient"), "", false
	case 6:
		return "POST", "", `{"resourceType":"Bundle","type":"` + pick("batch", "transaction") +
			`","entry":[{"request":{"method":"GET","url":"` + typ + `?_count=9"}}]}`, false
	}

	return "GET", "/" + typ + "?" + pick("_lastUpdated=gt2000", "_sort=-_lastUpdated", "_total=none",
		"_security=HIV,R") +
		"&" + count, "", true
}

// With labels by chance, every result is part of what its token reads by one request
// after another, is all of that, and has as many as its total.
//
// Covers: FS-302, FS-304, FS-703, FS-704, FS-708, case 249
func TestResultsAreReadable(t *testing.T) {
	w := newWorld(t, 11)
	readers := w.readers()
	if few, many := len(readers[uncleared]), len(readers[cleared]); few == 0 || few >= many || many >= len(w.all) {
		t.Fatalf("%d, %d, %d", few, many, len(w.all))
	}

	found := 0
	for range 40 {
		method, path, body, plain := w.ask()
		for token, readable := range readers {
			if r := w.Do(method, path, token, body); r.Code != 200 {
				continue
			}

			some := w.list(t, method, path, token, body)
			for id := range some {
				if !readable[id] && w.all[id] {
					t.Errorf("%s %s%s with %s: %s, which it does not read", method, path, body, token, id)
				}
			}

			found += len(some)

			if !plain || strings.HasPrefix(path, "?") && !strings.Contains(token, "*") {
				continue
			}

			for id := range w.oracle(t, method, path, body) {
				if readable[id] && !some[id] {
					t.Errorf("%s %s with %s: not %s, which it reads", method, path, token, id)
				}
			}
		}
	}

	if found < 1000 {
		t.Errorf("only %d resources were found", found)
	}

	for token, readable := range readers {
		w.exports(t, token, readable)
	}
}

// list is follow for requests of every kind, with what is inside the entries of a batch.
func (w *world) list(t *testing.T, method, path, token, body string) map[string]bool {
	t.Helper()
	if body == "" && method == "GET" {
		return follow(t, w.Env, path, token)
	}

	found := map[string]bool{}
	b := bundleOf(t, w.Do(method, path, token, body))
	for _, id := range b.ids("") {
		found[id] = true
	}

	for _, e := range b.Entry {
		var inner bundle
		if strings.HasPrefix(string(e.Resource), `{"resourceType":"Bundle"`) &&
			json.Unmarshal(e.Resource, &inner) == nil {
			for _, id := range inner.ids("") {
				found[id] = true
			}
		}
	}

	delete(found, "")
	return found
}

// exports exports everything and holds the files against what is readable.
func (w *world) exports(t *testing.T, token string, readable map[string]bool) {
	t.Helper()
	at := w.Begin("GET", "/$export", token, "")
	var m struct {
		Output []struct {
			Type string `json:"type"`
			URL  string `json:"url"`
		} `json:"output"`
		Extension struct {
			Security []struct {
				Code string `json:"code"`
			} `json:"security"`
		} `json:"extension"`
	}
	if err := json.Unmarshal(w.Wait(at, token).Body.Bytes(), &m); err != nil {
		t.Fatal(err)
	}

	got := map[string]bool{}
	for _, f := range m.Output {
		for line := range strings.Lines(want(t, w.Do("GET", f.URL, token, ""), 200).Body.String()) {
			var r struct {
				Type string `json:"resourceType"`
				ID   string `json:"id"`
			}
			if err := json.Unmarshal([]byte(line), &r); err != nil {
				t.Fatal(err)
			}
			got[r.Type+"/"+r.ID] = true
		}
	}

	for id := range w.all {
		if got[id] != readable[id] {
			t.Errorf("export with %s: %s is exported: %v, read: %v", token, id, got[id], readable[id])
		}
	}

	if top := len(m.Extension.Security) == 1 && m.Extension.Security[0].Code == "R"; top != (token == cleared) &&
		!strings.Contains(token, "org.test") {
		t.Errorf("the manifest of %s has the label %v", token, m.Extension.Security)
	}
}
