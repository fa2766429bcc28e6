// Package vectors reads test vectors of other projects and compares the verdicts
// of this one with theirs.
package vectors

import (
	"bufio"
	"encoding/json"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

// Modules that hold test vectors. They are fetched when the tests run, are no
// requirement of this module, and are not copied into it.
const (
	Wycheproof = "github.com/c2sp/wycheproof@v0.0.0-20260902155932-3fa63dd0344a"
	BetterTLS  = "github.com/Netflix/bettertls@v0.0.0-20250909192348-e1e99e353074"
)

// ModuleDir downloads a module and returns its directory.
func ModuleDir(t testing.TB, module string) string {
	t.Helper()
	cmd := exec.Command("go", "mod", "download", "-json", module)
	cmd.Dir = t.TempDir()
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("cannot fetch %s: %v\n%s", module, err, out)
	}
	var m struct{ Dir string }
	if err := json.Unmarshal(out, &m); err != nil || m.Dir == "" {
		t.Fatalf("cannot find %s: %v\n%s", module, err, out)
	}

	return m.Dir
}

// Read decodes a JSON file of vectors.
func Read(t testing.TB, file string, into any) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, into); err != nil {
		t.Fatal(err)
	}
}

// Differences collects the vectors on which our verdict is not the expected one.
// The file testdata/vectors/SUITE.txt must list exactly these, one a line: "stricter
// NAME | reason" or "unasked NAME | reason".
type Differences struct {
	mu   sync.Mutex
	seen map[string]string // name to kind
	all  int
}

// Kinds of difference. There is no kind for letting somebody in: "unasked" is
// a vector whose refusal depends on an input that a community does not have.
const (
	stricter = "stricter"
	unasked  = "unasked"
)

// Record adds one vector: the expected verdict and ours.
func (d *Differences) Record(name string, want, got bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.seen == nil {
		d.seen = map[string]string{}
	}
	d.all++

	switch {
	case want && !got:
		d.seen[name] = stricter
	case !want && got:
		d.seen[name] = unasked
	}
}

// Compare fails the test unless the differences are exactly those that the file
// testdata/vectors/SUITE.txt lists, and unless there were at least so many vectors.
func (d *Differences) Compare(t testing.TB, suite string, atLeast int) {
	t.Helper()
	if d.all < atLeast {
		t.Errorf("%s: %d vectors, expected at least %d", suite, d.all, atLeast)
	}
	listed := readDifferences(t, filepath.Join("testdata", "vectors", suite+".txt"))

	for _, name := range slices.Sorted(maps.Keys(d.seen)) {
		if listed[name] != d.seen[name] {
			t.Errorf("%s: a difference that is not listed: %s %s", suite, d.seen[name], name)
		}
		delete(listed, name)
	}

	for name, kind := range listed {
		t.Errorf("%s: listed as %s, but there is no difference: %s", suite, kind, name)
	}

	t.Logf("%s: %d vectors, %d differences, all listed", suite, d.all, len(d.seen))
}

func readDifferences(t testing.TB, file string) map[string]string {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()

	out := map[string]string{}
	for s := bufio.NewScanner(f); s.Scan(); {
		line := s.Text()
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}

		kind, rest, ok := strings.Cut(line, " ")
		name, reason, ok2 := strings.Cut(rest, " | ")
		if !ok || !ok2 || strings.TrimSpace(reason) == "" || kind != stricter && kind != unasked {
			t.Fatalf("%s: %q is not \"KIND NAME | REASON\"", file, line)
		}
		if _, twice := out[name]; twice {
			t.Fatalf("%s: %s is listed twice", file, name)
		}

		out[name] = kind
	}

	return out
}
