package fhir_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"fhirdest.example/fhir/sample"
	"fhirdest.example/fhir/search"
)

// reader is a token and, by asking for each resource by itself, what it reads.
type reader struct {
	token    string
	readable map[string]bool
}

// TestResultsAreReadable asks random queries with random grants: whatever is
// found or brought along can be read by the same token, it is all that an
// unrestricted search finds of it, and total, count and pages agree.
//
// Covers: case 236, case 238, case 240, case 249, FS-302, FS-304, FS-307
func TestResultsAreReadable(t *testing.T) {
	w := newEnv(t, 4)
	all := w.everyResource()
	rnd := rand.New(rand.NewPCG(5, 5))
	var readers []reader

	for _, token := range tokens() {
		r := reader{token, map[string]bool{}}
		for _, ref := range all {
			if w.get("/"+ref, token).Code == 200 {
				r.readable[ref] = true
			}
		}
		readers = append(readers, r)
	}

	found := 0
	for range 1500 {
		r := readers[rnd.IntN(len(readers))]
		query := randomSearch(rnd)
		a := w.get(query, r.token)
		if a.Code == 403 || a.Code == 404 { // no scope, or no compartment that it sees
			continue
		}
		found += w.holds(t, r, query, a.bundle())
	}

	if found < 1000 {
		t.Errorf("only %d resources were found at all", found)
	}
}

// everyResource lists what is stored, as Type/id.
func (w *env) everyResource() []string {
	var all []string
	for _, typ := range search.Types() {
		if typ == "AuditEvent" {
			continue
		}

		for next := "/" + typ + "?_count=1000"; next != ""; {
			b := w.get(strings.TrimPrefix(next, publicBase), everything).bundle()
			all = append(all, b.ids("match")...)
			next = b.link("next")
		}
	}

	return all
}

func tokens() []string {
	p := sample.PatientID(1)
	return []string{
		everything,
		"system/Patient.rs",
		"system/Observation.rs",
		"system/*.rs",
		"system/Observation.rs?code=http://loinc.org|85354-9 system/Patient.rs",
		"system/Observation.rs?category=vital-signs&status=final system/Encounter.rs",
		"system/Observation.rs?code=8867-4 system/Observation.rs?code=8480-6 system/Patient.rs?gender=female",
		"system/Patient.rs?gender=male system/Condition.rs system/Provenance.rs",
		"patient/*.rs; patient=" + p,
		"patient/Observation.rs patient/Patient.r; patient=" + p,
		"patient/Observation.rs?category=vital-signs patient/Patient.rs system/Practitioner.rs; patient=" + p,
		"patient/*.rs",
		"user/Patient.read user/Observation.read; everyone",
		"user/*.rs; own=" + p,
		"user/*.rs; own=" + p + "," + sample.PatientID(2),
		"user/Patient.rs user/Observation.rs?category=vital-signs patient/Condition.rs; own=" +
			sample.PatientID(2) + "; patient=" + p,
		"user/*.rs; patient=" + p,
	}
}

func randomSearch(rnd *rand.Rand) string {
	pick := func(of ...string) string { return of[rnd.IntN(len(of))] }
	p := sample.PatientID(rnd.IntN(4))
	typ := pick("Patient", "Observation", "Condition", "Encounter", "MedicationRequest", "DocumentReference",
		"Practitioner", "Binary", "Organization")
	q := []string{}

	for range rnd.IntN(3) {
		switch typ {
		case "Patient":
			q = append(q,
				pick("gender=male", "gender:not=male", "_has:Observation:patient:code=85354-9",
					"_has:Condition:patient:clinical-status=active", "name=a", "organization.name=a", "birthdate=gt1970"))
		case "Observation":
			q = append(q,
				pick("patient="+p, "subject=Patient/"+p, "code=85354-9", "category=vital-signs", "patient.gender=male",
					"encounter.status=finished", "status:not=final", "date=gt2020", "subject:missing=true", "value-quantity=gt1", "patient:Patient._id="+p, "code:text=b", "combo-code-value-quantity=8480-6$gt1", "patient._tag:text=x"))

		case "Practitioner", "Organization", "Binary":
			q = append(q, pick("_id:missing=false", "_lastUpdated=gt2000", "_tag:not=x"))
		default:
			q = append(q, pick("patient="+p, "patient.gender=female", "_lastUpdated=gt2000", "_tag:not=x"))
		}
	}

	if rnd.IntN(3) == 0 {
		q = append(q,
			pick("_revinclude=Observation:subject", "_include=*", "_include=Observation:subject",
				"_include:iterate=Patient:organization", "_revinclude=Provenance:target", "_include=DocumentReference:patient", "_revinclude:iterate=Encounter:patient"))
	}

	q = append(q, fmt.Sprintf("_count=%d", 1+rnd.IntN(40)))
	if rnd.IntN(4) == 0 {
		q = append(q, "_sort="+pick("_id", "-_lastUpdated", "-_id"))
	}
	if rnd.IntN(8) == 0 && typ != "Patient" && typ != "Practitioner" && typ != "Binary" && typ != "Organization" {
		return "/Patient/" + p + "/" + typ + "?" + strings.Join(q, "&")
	}

	return "/" + typ + "?" + strings.Join(q, "&")
}

// holds follows the pages of a result and holds it against what is readable.
func (w *env) holds(t *testing.T, r reader, query string, b bundle) int {
	t.Helper()
	total := *b.Total
	matches := w.follow(t, r, query, b)
	if bare := w.get(query+"&_total=none", r.token).bundle(); bare.Total != nil ||
		!slices.Equal(w.follow(t, r, query, bare), matches) {
		t.Fatalf("%s with %s: other pages, or a total, with _total=none", query, r.token)
	}
	sorted := slices.Clone(matches)
	slices.Sort(sorted)

	if len(slices.Compact(sorted)) != len(matches) || len(matches) != total {
		t.Fatalf("%s with %s: %d on its pages, total %d", query, r.token, len(matches), total)
	}
	if count := w.get(query+"&_summary=count", r.token).bundle(); *count.Total != total {
		t.Fatalf("%s with %s: count %d, total %d", query, r.token, *count.Total, total)
	}
	if chained := strings.ContainsAny(strings.ReplaceAll(query, "_lastUpdated", ""), ".") ||
		strings.Contains(query, "_has"); !chained {
		w.isAllOfIt(t, r, query, matches)
	}

	return total
}

// follow gives the matches on a page and all after it, and holds each resource
// against what is readable.
func (w *env) follow(t *testing.T, r reader, query string, b bundle) []string {
	t.Helper()
	var matches []string
	for {
		for _, mode := range []string{"match", "include"} {
			for _, id := range b.ids(mode) {
				if !r.readable[id] {
					t.Fatalf("%s with %s gives %s, which it cannot read", query, r.token, id)
				}
			}
		}

		matches = append(matches, b.ids("match")...)
		next := b.link("next")
		if next == "" {
			break
		}
		b = w.get(strings.TrimPrefix(next, publicBase), r.token).bundle()
	}

	return matches
}

// isAllOfIt compares with an unrestricted search. Chains are left out: what
// they lead through must be readable too.
func (w *env) isAllOfIt(t *testing.T, r reader, query string, matches []string) {
	t.Helper()
	a := w.get(query+"&_count=1000", everything)
	if a.Code != 200 {
		return
	}

	want := 0
	for _, id := range a.bundle().ids("match") {
		if r.readable[id] {
			want++
		}
	}

	if want != len(matches) {
		t.Fatalf("%s with %s finds %d of %d readable", query, r.token, len(matches), want)
	}
}

// TestPopulationIsServedAsItWasMade holds each stored resource against the
// bytes that went in: nothing differs but id and meta.
func TestPopulationIsServedAsItWasMade(t *testing.T) {
	w := newEnv(t, 5)
	n := 0
	err := sample.Generate(5, func(typ, id string, sent []byte) error {
		n++
		got := w.get("/"+typ+"/"+id, everything+"; purposes=BTG", "Purpose-Of-Use", "BTG").want(200).Body.Bytes()
		cut := func(b []byte) string {
			var meta struct{ Meta json.RawMessage }
			if err := json.Unmarshal(b, &meta); err != nil {
				t.Fatal(err)
			}
			return strings.Replace(string(b), string(meta.Meta), "", 1)
		}
		if cut(got) != cut(sent) {
			t.Errorf("%s/%s: got %s, sent %s", typ, id, got, sent)
		}

		return nil
	})
	if err != nil || n < 50 {
		t.Fatalf("%d resources, %v", n, err)
	}
}
