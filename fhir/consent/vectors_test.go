package consent_test

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/txtar"

	"fhirdest.example/fhir/consent"
	"fhirdest.example/fhir/search"
	"fhirdest.example/fhir/tree"
)

var bases = search.Bases{"https://fhir.test/r4"}

// records are the resources of a vector.
type records map[string]*tree.Value

func (all records) InForce(_ context.Context, patient string, limit int) ([]*consent.Consent, error) {
	var found []*consent.Consent
	for _, root := range all {
		if root.At("patient", "reference").Text() != "Patient/"+patient {
			continue
		}
		if c := consent.Parse(root, time.Unix(0, 0), bases); c != nil {
			found = append(found, c)
		}
	}
	return found[:min(len(found), limit)], nil
}

func (all records) Load(_ context.Context, ref search.Ref) (*tree.Value, error) {
	return all[ref.Type+"/"+ref.ID], nil
}

// vector is one file of testdata: resources, the policy, and questions with their
// answers.
//
//	policy: denied=TREAT breakglass     (optional, in the comment)
//	-- Consent/c --                     (resources)
//	-- questions --
//	ACTION TYPE/ID | NAME=VALUE ... | permit|deny [CONSENT [PROVISION]]
type vector struct {
	records   records
	policy    consent.Policy
	questions []string
}

func readVector(t *testing.T, file string) *vector {
	t.Helper()
	archive, err := txtar.ParseFile(file)
	if err != nil {
		t.Fatal(err)
	}

	v := &vector{records: records{}}
	for line := range strings.Lines(string(archive.Comment)) {
		settings, ok := strings.CutPrefix(line, "policy:")
		if !ok {
			continue
		}
		for _, word := range strings.Fields(settings) {
			switch name, value, _ := strings.Cut(word, "="); name {
			case "denied":
				v.policy.Denied = append(v.policy.Denied, value)
			case "breakglass":
				v.policy.BreakGlass = true
			default:
				t.Fatalf("%s: policy %q", file, word)
			}
		}
	}

	for _, f := range archive.Files {
		if f.Name == "questions" {
			for line := range strings.Lines(string(f.Data)) {
				if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
					v.questions = append(v.questions, line)
				}
			}
			continue
		}

		root, err := tree.Parse(f.Data)
		if err != nil {
			t.Fatalf("%s: %s: %v", file, f.Name, err)
		}
		if got := root.Get("resourceType").Text() + "/" + root.Get("id").Text(); got != f.Name {
			t.Fatalf("%s: %s is %s", file, f.Name, got)
		}
		v.records[f.Name] = root
	}

	if len(v.questions) == 0 {
		t.Fatalf("%s has no questions", file)
	}
	return v
}

// asker reads NAME=VALUE pairs.
func asker(t *testing.T, text string) (a consent.Asker, now time.Time) {
	t.Helper()
	a.Client = "some-client"
	now = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)
	for _, word := range strings.Fields(text) {
		name, value, _ := strings.Cut(word, "=")
		switch name {
		case "client":
			a.Client = value
		case "uri":
			a.ClientURI = value
		case "org":
			a.Organization = value
		case "subject":
			a.Subject = value
		case "user":
			a.User, a.Personal = value, true
		case "purpose":
			a.Purposes = append(a.Purposes, consent.Purpose(value))
		case "emergency":
			a.Emergency = true
		case "at":
			var err error
			if now, err = time.Parse(time.DateOnly, value); err != nil {
				t.Fatal(err)
			}
		default:
			t.Fatalf("unknown %q", word)
		}
	}
	return a, now
}

// ask answers one question of a vector, and returns what was expected.
func (v *vector) ask(t *testing.T, line string) (got, want string) {
	t.Helper()
	parts := strings.Split(line, "|")
	what := strings.Fields(parts[0])
	if len(parts) != 3 || len(what) != 2 {
		t.Fatalf("question %q", line)
	}
	root := v.records[what[1]]
	if root == nil {
		t.Fatalf("no resource %s", what[1])
	}

	typ, id, _ := strings.Cut(what[1], "/")
	a, now := asker(t, parts[1])
	d := &consent.Decider{
		Asker:  &a,
		Policy: &v.policy,
		Bases:  bases,
		Now:    now,
		Store:  v.records,
	}
	answer, err := d.Decide(t.Context(), patientsOf(t, typ, root), &consent.Resource{
		Type:  typ,
		ID:    id,
		Parse: func() (*tree.Value, error) { return root, nil },
	}, consent.Action(what[0]))
	if err != nil {
		t.Fatal(err)
	}
	if answer.Reason == "" {
		t.Error("an answer without a reason")
	}

	want = strings.Join(strings.Fields(parts[2]), " ")
	got = map[consent.Outcome]string{consent.Permit: "permit", consent.Deny: "deny"}[answer.Outcome]
	for i, further := range []string{answer.Consent, answer.Provision} {
		if strings.Count(want, " ") > i {
			got += fmt.Sprintf(" %s", further)
		}
	}
	return strings.TrimSpace(got), want
}

func patientsOf(t *testing.T, typ string, root *tree.Value) (ids []string) {
	t.Helper()
	x := search.Extractor{Bases: bases}
	terms, err := x.Extract(typ, root, search.Stamp{})
	if err != nil {
		t.Fatal(err)
	}
	if typ == "Patient" {
		return []string{root.Get("id").Text()}
	}
	search.Patients(typ, terms, func(id []byte) {
		ids = append(ids, string(id))
	})
	return ids
}

// TestVectors answers the questions of testdata.
// Covers: FS-302, FS-309
func TestVectors(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) < 10 {
		t.Fatalf("%d files, %v", len(files), err)
	}

	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			v := readVector(t, file)
			for _, line := range v.questions {
				if got, want := v.ask(t, line); got != want {
					t.Errorf("%s\n     got %s", line, got)
				}
			}
		})
	}
}
