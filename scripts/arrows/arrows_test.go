package arrows

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const (
	module = "fhirdest.example"
	root   = "../.."
)

// TestArrows holds the table: every import of every non-test file is one that
// its package's row allows. It parses files itself, because the result of
// `go list` would be served from the cache past a violation.
func TestArrows(t *testing.T) {
	seen := 0
	for file, imports := range sourceImports(t) {
		dir := path.Dir(file)
		r, ok := rowOf(dir)
		if !ok {
			t.Errorf("%s: package %s is in no row of the table", file, dir)
			continue
		}

		for _, imp := range imports {
			seen++
			if why := r.refuses(imp); why != "" {
				t.Errorf("%s imports %s: %s", file, imp, why)
			}
		}
	}

	if seen < 10 {
		t.Fatalf("only %d imports were looked at", seen)
	}
}

// TestRowsHaveRooms: a row that no package answers to is a leftover.
func TestRowsHaveRooms(t *testing.T) {
	used := map[string]bool{}
	for file := range sourceImports(t) {
		if r, ok := rowOf(path.Dir(file)); ok {
			used[r.room] = true
		}
	}

	for _, r := range table {
		if !used[r.room] {
			t.Errorf("no package for the row %q", r.room)
		}
	}
}

// TestRefuses shows that the judge itself can say no.
func TestRefuses(t *testing.T) {
	for _, c := range []struct {
		dir, imp string
		allowed  bool
	}{
		{"gateway", "encoding/json", false},
		{"gateway", "crypto/x509", false},
		{"gateway", "crypto/x509/pkix", false},
		{"gateway", "crypto/tls", true},
		{"gateway", module + "/udap", false},
		{"gateway", "go.etcd.io/bbolt", false},
		{"gateway/evidence", "encoding/json", true},
		{"udap", "net", false},
		{"udap", "net/url", true},
		{"udap", "os", false},
		{"fhir", module + "/udap", false},
		{"fhir/search", module + "/fhir/table", true},
		{"cmd/gateway", module + "/udap", false},
		{"cmd/sandbox", module + "/gateway", true},
	} {
		t.Run(c.dir, func(t *testing.T) {
			r, ok := rowOf(c.dir)
			if !ok {
				t.Fatalf("no row for %s", c.dir)
			}
			if got := r.refuses(c.imp) == ""; got != c.allowed {
				t.Errorf("%s imports %s: allowed %v, want %v", c.dir, c.imp, got, c.allowed)
			}
		})
	}
}

// TestTopLevel: nothing stands at the root but what the design names.
func TestTopLevel(t *testing.T) {
	entries, err := os.ReadDir(root)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), ".") && !slices.Contains(topLevel, e.Name()) {
			t.Errorf("%s does not belong at the top level", e.Name())
		}
	}
}

func sourceImports(t *testing.T) map[string][]string {
	t.Helper()
	out := map[string][]string{}
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && name != root && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata" ||
			d.Name() == "node_modules") {
			return filepath.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			return nil
		}

		f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}

		rel, err := filepath.Rel(root, name)
		if err != nil {
			return err
		}

		imports := []string{}
		for _, s := range f.Imports {
			imports = append(imports, strings.Trim(s.Path.Value, `"`))
		}
		out[filepath.ToSlash(rel)] = imports

		return nil
	})
	if err != nil {
		t.Fatal(err)
	}

	return out
}

func rowOf(dir string) (row, bool) {
	for _, r := range table {
		if matches(r.room, dir) {
			return r, true
		}
	}
	return row{}, false
}

// refuses says why an import is not allowed, or nothing.
func (r row) refuses(imp string) string {
	if below, ok := strings.CutPrefix(imp, module+"/"); ok {
		if matches(r.room, below) || slices.ContainsFunc(r.ours, func(p string) bool { return matches(p, below) }) {
			return ""
		}
		return "the row of " + r.room + " does not allow this package of ours"
	}
	if first, _, _ := strings.Cut(imp, "/"); !strings.Contains(first, ".") {
		return r.refusesStandard(imp)
	}

	for _, p := range r.others {
		if imp == p || strings.HasPrefix(imp, p+"/") {
			return ""
		}
	}

	return "the row of " + r.room + " does not allow this module"
}

func (r row) refusesStandard(imp string) string {
	for _, p := range r.less {
		// "net" shuts out the package, not net/url below it.
		if imp == p || (p != "net" && strings.HasPrefix(imp, p+"/")) {
			return "the row of " + r.room + " shuts out " + p
		}
	}
	return ""
}

// matches reports whether dir is the room, or below it for "room/...".
func matches(room, dir string) bool {
	if room == "..." {
		return true
	}
	if above, ok := strings.CutSuffix(room, "/..."); ok {
		return dir == above || strings.HasPrefix(dir, above+"/")
	}
	return dir == room
}
