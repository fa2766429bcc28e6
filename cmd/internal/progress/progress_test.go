package progress_test

import (
	"bytes"
	"strings"
	"testing"

	"fhirdest.example/cmd/internal/progress"
)

// Where there is no terminal, the first state and the end are lines of their own,
// and what comes in quick succession is left out.
func TestLines(t *testing.T) {
	var out bytes.Buffer
	b := progress.New(&out, "a.ndjson")
	for i := range 50 {
		b.Show(i, "resources")
	}
	b.End("50 resources")

	want := "a.ndjson [........................]   0% resources\n" +
		"a.ndjson [########################] 100% 50 resources\n"
	if out.String() != want {
		t.Errorf("%q", out.String())
	}

	out.Reset()
	progress.New(&out, "x").Show(-1, "waiting")
	if !strings.Contains(out.String(), "x: waiting") {
		t.Errorf("%q", out.String())
	}
}
