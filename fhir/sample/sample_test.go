package sample

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"fhirdest.example/fhir/splice"
	"fhirdest.example/fhir/table"
	"fhirdest.example/fhir/tree"
	"fhirdest.example/fhir/validate"
)

// body is one resource of a population made in a test.
type body struct {
	kind, id string
	json     []byte
}

func generate(t testing.TB, n int) []body {
	t.Helper()
	var all []body
	err := Generate(n, func(kind, id string, json []byte) error {
		all = append(all, body{kind, id, json})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestEveryResourceIsWellFormedAndLabelled(t *testing.T) {
	seen := map[string]bool{}
	for _, b := range generate(t, 3*DefaultPatients) {
		root, err := tree.Parse(b.json)
		if err != nil {
			t.Fatalf("%s/%s: %v\n%s", b.kind, b.id, err, b.json)
		}
		h, err := splice.Read(root)
		if err != nil || h.Type != b.kind || h.ID != b.id || !splice.ValidID(b.id) {
			t.Errorf("%s/%s: head %+v %v", b.kind, b.id, h, err)
		}

		if seen[b.kind+"/"+b.id] {
			t.Errorf("%s/%s comes twice", b.kind, b.id)
		}
		seen[b.kind+"/"+b.id] = true
		if !strings.Contains(root.At("meta", "security").Raw, `"code":"HTEST"`) {
			t.Errorf("%s/%s has no HTEST label", b.kind, b.id)
		}
	}
}

func TestReferencesLeadSomewhere(t *testing.T) {
	all := generate(t, DefaultPatients)
	known := map[string]bool{}
	for _, b := range all {
		known[b.kind+"/"+b.id] = true
	}
	local := regexp.MustCompile(`"(?:reference|url)":"([A-Z][A-Za-z]+/[^"/]+)"`)

	for _, b := range all {
		for _, m := range local.FindAllSubmatch(b.json, -1) {
			if !known[string(m[1])] {
				t.Errorf("%s/%s refers to %s, which is not there", b.kind, b.id, m[1])
			}
		}
	}
}

func TestSameBytesForEverySize(t *testing.T) {
	few, many := generate(t, 5), generate(t, DefaultPatients)
	if len(few) >= len(many) {
		t.Fatalf("%d and %d resources", len(few), len(many))
	}
	at := map[string][]byte{}
	for _, b := range many {
		at[b.kind+"/"+b.id] = b.json
	}

	for _, b := range few {
		if b.kind == "Group" {
			continue // it lists who there is
		}
		if !bytes.Equal(at[b.kind+"/"+b.id], b.json) {
			t.Errorf("%s/%s differs with the size of the population", b.kind, b.id)
		}
	}
}

func TestNobodyIsReal(t *testing.T) {
	address := regexp.MustCompile(`[^" ]+@[^" ]+`)
	telephone := regexp.MustCompile(`\(\d{3}\) \d{3}-\d{4}`)
	social := regexp.MustCompile(`"\d{3}-\d{2}-\d{4}"`)
	found := 0
	check := func(b body, re *regexp.Regexp, ok func(string) bool) {
		for _, s := range re.FindAllString(string(b.json), -1) {
			if found++; !ok(s) {
				t.Errorf("%s/%s: %s might be somebody's", b.kind, b.id, s)
			}
		}
	}

	for _, b := range generate(t, DefaultPatients) {
		check(b, address, func(s string) bool {
			return strings.HasSuffix(s, "example.org") && strings.ContainsAny(s[len(s)-12:len(s)-11], "@.")
		})
		check(b, telephone, func(s string) bool { return strings.Contains(s, " 555-01") })
		check(b, social, func(s string) bool { return strings.HasPrefix(s, `"666-`) })
		if bytes.Contains(b.json, []byte("ama-assn.org")) {
			t.Errorf("%s/%s uses CPT", b.kind, b.id)
		}
	}

	if found < 3*DefaultPatients {
		t.Errorf("only %d addresses, numbers and telephones found", found)
	}
}

// TestHistoryEndsAsToday: done in order, the history leaves what Generate
// emits, has deleted some, and has given some several versions.
func TestHistoryEndsAsToday(t *testing.T) {
	now, versions, deleted := map[string][]byte{}, map[string]int{}, map[string]bool{}
	err := History(DefaultPatients, func(s Step) error {
		key := s.Type + "/" + s.ID
		versions[key]++
		if s.Version != versions[key] {
			t.Errorf("%s has version %d after %d", key, s.Version, versions[key]-1)
		}
		if s.Delete() {
			if now[key] == nil || s.Current {
				t.Errorf("%s is deleted and was not there", key)
			}
			deleted[key] = true
			delete(now, key)
			return nil
		}

		now[key] = s.JSON
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}

	all := generate(t, DefaultPatients)
	for _, b := range all {
		if !bytes.Equal(now[b.kind+"/"+b.id], b.json) {
			t.Errorf("%s/%s is not what the history leaves", b.kind, b.id)
		}
	}

	if len(now) != len(all) {
		t.Errorf("the history leaves %d resources, today has %d", len(now), len(all))
	}
	if n := versions["Observation/p0001-weighed-1"]; n != 6 {
		t.Errorf("%d versions of a weight", n)
	}
	if !deleted["AllergyIntolerance/p0001-allergy-9"] || now["AllergyIntolerance/p0001-allergy-9"] != nil {
		t.Error("the deleted allergy is not deleted")
	}
}

func TestGenerateStopsAtAnError(t *testing.T) {
	stop := errors.New("full")
	n := 0
	err := Generate(2, func(string, string, []byte) error {
		if n++; n == 4 {
			return stop
		}
		return nil
	})
	if !errors.Is(err, stop) || n != 4 {
		t.Errorf("%v after %d", err, n)
	}

	if Generate(0, func(string, string, []byte) error { return nil }) == nil {
		t.Error("no patients were made without a word")
	}
}

func TestSandboxPatientsComeFirst(t *testing.T) {
	var ids []string
	for _, b := range generate(t, 3) {
		if b.kind == "Patient" {
			ids = append(ids, b.id)
		}
	}
	want := fmt.Sprint([]string{PatientID(0), PatientID(1), PatientID(2)})
	if fmt.Sprint(ids) != want || PatientID(0) != "p0001" {
		t.Errorf("patients %v, want %s", ids, want)
	}
}

func BenchmarkGenerate25(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		count, size := 0, 0
		err := Generate(DefaultPatients, func(_, _ string, json []byte) error {
			count++
			size += len(json)
			return nil
		})
		if err != nil {
			b.Fatal(err)
		}

		b.ReportMetric(float64(count), "resources")
		b.ReportMetric(float64(size), "bytes")
	}
}

// Attachments of our own have size and hash, and these fit the data.
//
// Covers: FS-603
func TestAttachmentsFitTheirData(t *testing.T) {
	v := validate.New(table.R4())
	v.StrictAttachments = true
	found := 0
	for _, b := range generate(t, DefaultPatients) {
		root, err := tree.Parse(b.json)
		if err != nil {
			t.Fatal(err)
		}
		for _, is := range v.Resource(root, validate.Options{}) {
			if is.Severity == validate.Error {
				t.Errorf("%s/%s: %s: %s", b.kind, b.id, is.Expression, is.Text)
			}
		}

		found += attachments(t, b, root)
	}
	if found == 0 {
		t.Error("no attachment has data")
	}
}

// attachments counts the attachments with data in a value; all have size and hash.
func attachments(t *testing.T, b body, v *tree.Value) (n int) {
	t.Helper()
	if v.Kind == tree.Object && v.Get("data") != nil && v.Get("contentType") != nil && v.Get("resourceType") == nil {
		n++
		if v.Get("size") == nil || v.Get("hash") == nil {
			t.Errorf("%s/%s has an attachment without size or hash", b.kind, b.id)
		}
	}
	for i := range v.Items {
		n += attachments(t, b, &v.Items[i])
	}
	return n
}
