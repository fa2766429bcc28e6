package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestJoin(t *testing.T) {
	rows := []row{
		{id: "S1-001", title: "one"},
		{id: "S1-002", title: "two"},
		{id: "S1-003", title: "three", note: "not here"},
	}

	name := testName{module + "/udap", "TestOne"}
	good := map[string][]testName{"S1-001": {name}, "S1-002": {name}}
	for _, c := range []struct {
		name   string
		checks map[string][]string
		covers map[string][]testName
		ran    map[testName]string
		want   string // part of the one complaint; empty for none
	}{
		{"all shown", map[string][]string{"S1-001": {"a.b"}}, good, map[testName]string{name: "pass"}, ""},
		{
			"a row without test or reason", nil, map[string][]testName{"S1-001": {name}},
			map[testName]string{name: "pass"}, "S1-002 (two) is unaccounted for",
		},
		{
			"an unknown row in a test", nil,
			map[string][]testName{"S1-001": {name}, "S1-002": {name}, "S9-999": {name}},
			map[testName]string{name: "pass"}, "S9-999, which is in no table",
		},
		{
			"an unknown row in a check", map[string][]string{"S9-998": {"a.b"}}, good,
			map[testName]string{name: "pass"}, "S9-998, which is in no table",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			complaints := join(rows, c.checks, c.covers, c.ran).complaints
			if c.want == "" && len(complaints) > 0 {
				t.Fatalf("complaints %q", complaints)
			}
			if c.want != "" && (len(complaints) != 1 || !strings.Contains(complaints[0], c.want)) {
				t.Fatalf("complaints %q, want one with %q", complaints, c.want)
			}
		})
	}

	for _, ended := range []string{"", "fail", "skip"} {
		if got := join(rows, nil, good, map[testName]string{name: ended}).complaints; len(got) != 4 {
			t.Errorf("a named test that ended %q: complaints %q", ended, got)
		}
	}
}

func TestReadCovers(t *testing.T) {
	root := t.TempDir()
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(root, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("a_test.go",
		"package a\n\n// Covers: S1-001, case 016-018, 020, case 022\n// and ER-02.\nfunc TestDoc(t *testing.T) {}\n\n"+
			"func TestBody(t *testing.T) {\n\t// Covers: cases 200, 201; 3 of 400\n}\n\n// Prose about S1-009.\nfunc TestProse(t *testing.T) {}\n")

	got, err := readCovers(root)
	if err != nil {
		t.Fatal(err)
	}

	for id, want := range map[string]string{
		"S1-001": "TestDoc", "case 016": "TestDoc", "case 017": "TestDoc", "case 018": "TestDoc", "case 020": "TestDoc", "case 022": "TestDoc", "ER-02": "TestDoc",
		"case 200": "TestBody", "case 201": "TestBody",
	} {
		t.Run(id, func(t *testing.T) {
			if len(got[id]) != 1 || got[id][0].test != want {
				t.Errorf("%s: %v, want %s", id, got[id], want)
			}
		})
	}

	if len(got) != 9 {
		t.Errorf("%d ids, want 9: %v", len(got), got)
	}
	write("b_test.go", "package a\n\n// Covers: S1-002\nvar x int\n")
	if _, err := readCovers(root); err == nil {
		t.Error("a Covers comment outside a test was taken")
	}
}

func TestRowsAreWellFormed(t *testing.T) {
	rows, err := readRows()
	if err != nil {
		t.Fatal(err)
	}

	for _, r := range rows {
		if idShape.FindString(r.id) != r.id || r.title == "" {
			t.Errorf("row %q %q", r.id, r.title)
		}
	}

	if len(rows) < 400 {
		t.Errorf("only %d rows", len(rows))
	}
}
