package fhir_test

import (
	"os"
	"strings"
	"testing"
)

// TestUSCoreSearches asks every search that US Core 6.1.0 to 8.0.0 makes SHALL
// or SHOULD for servers (testdata/uscore-searches.txt: type, parameters), with
// strict handling, by GET and by POST, and every include.
func TestUSCoreSearches(t *testing.T) {
	w := newEnv(t, 2)
	data, err := os.ReadFile("testdata/uscore-searches.txt")
	if err != nil {
		t.Fatal(err)
	}
	n := 0

	for line := range strings.Lines(string(data)) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}

		typ, combos, _ := strings.Cut(line, ": ")
		for _, combo := range strings.Split(combos, "; ") {
			n++
			query := usCoreQuery(combo)
			a := w.get("/"+typ+"?"+query, everything, "Prefer", "handling=strict")
			if a.Code != 200 {
				t.Errorf("%s?%s: %d %s", typ, query, a.Code, a.Body)
				continue
			}

			post := w.do("POST", "/"+typ+"/_search", everything, query, "Content-Type",
				"application/x-www-form-urlencoded", "Prefer", "handling=strict").bundle()
			if *post.Total != *a.bundle().Total {
				t.Errorf("%s?%s: POST finds %d", typ, query, *post.Total)
			}
		}
	}

	if n < 100 {
		t.Errorf("%d searches only", n)
	}
}

// usCoreQuery fills in values that the parameters take.
func usCoreQuery(combo string) string {
	var parts []string
	for _, p := range strings.Split(combo, "+") {
		switch {
		case strings.Contains(p, "="):
			parts = append(parts, p)
		case p == "authored", p == "period", p == "_lastUpdated", strings.HasSuffix(p, "date"), p == "authoredon":
			parts = append(parts, p+"=ge2000-01-01")
		case p == "patient":
			parts = append(parts, "patient=Patient/p0001")
		case p == "status":
			parts = append(parts, "status=active,final,completed")

		default:
			parts = append(parts, p+"=x")
		}
	}

	return strings.Join(parts, "&")
}
