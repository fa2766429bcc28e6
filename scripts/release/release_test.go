package main

import (
	"bytes"
	"debug/elf"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"

	"fhirdest.example/scripts/release/build"
)

const (
	root    = "../.."
	version = "v1.2.3-test"
)

// TestRelease makes a release for the platform of the tests, from one checkout, and
// does with it what those do who receive it.
func TestRelease(t *testing.T) {
	checkout := clone(t)
	out, again := t.TempDir(), t.TempDir()
	for _, dir := range []string{out, again} {
		args := []string{
			"-source", checkout,
			"-out", dir,
			"-version", version,
			"-platforms", "linux/amd64",
		}
		var stderr bytes.Buffer
		if code := run(t.Context(), args, &bytes.Buffer{}, &stderr); code != 0 {
			t.Fatalf("exit code %d: %s", code, &stderr)
		}
	}

	base := "fhirdest-" + version + "-linux-amd64"
	t.Run("equal", func(t *testing.T) {
		for _, name := range []string{base + ".tar.gz", base + ".cdx.json", sumsFile} {
			if !bytes.Equal(read(t, out, name), read(t, again, name)) {
				t.Errorf("%s differs between two releases", name)
			}
		}
	})
	t.Run("checksums", func(t *testing.T) {
		said := command(t, out, "sha256sum", "--strict", "-c", sumsFile)
		if strings.Count(said, ": OK") != 2 {
			t.Errorf("%s", said)
		}
	})

	unpacked := t.TempDir()
	command(t, unpacked, "tar", "-xzf", filepath.Join(out, base+".tar.gz"))
	dir := filepath.Join(unpacked, base)
	t.Run("programs", func(t *testing.T) { testPrograms(t, dir) })
	t.Run("documents", func(t *testing.T) { testDocuments(t, dir) })
	t.Run("bill of materials", func(t *testing.T) {
		testBill(t, dir, read(t, out, base+".cdx.json"))
	})
}

// testPrograms: each program is static and prints its version.
func testPrograms(t *testing.T, dir string) {
	for _, name := range build.Programs {
		t.Run(name, func(t *testing.T) {
			f, err := elf.Open(filepath.Join(dir, name))
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			for _, p := range f.Progs {
				if p.Type == elf.PT_INTERP || p.Type == elf.PT_DYNAMIC {
					t.Errorf("it is not static: %v", p.Type)
				}
			}

			said := command(t, dir, "./"+name, "-version")
			if !strings.HasPrefix(said, name+" "+version+", commit ") || !strings.Contains(said, " go1.") ||
				strings.Contains(said, "unknown") {
				t.Errorf("%s", said)
			}
		})
	}
}

// testDocuments: what the README says to read next is in the archive, and so are the
// licences of all that is linked.
func testDocuments(t *testing.T, dir string) {
	readme := string(read(t, dir, "README.md"))
	links := 0
	for _, part := range strings.Split(readme, "](")[1:] {
		link, _, _ := strings.Cut(part, ")")
		if strings.Contains(link, ":") || !strings.HasSuffix(link, ".md") {
			continue
		}
		links++
		if _, err := os.Stat(filepath.Join(dir, filepath.FromSlash(link))); err != nil {
			t.Errorf("the README links to %s: %v", link, err)
		}
	}
	if links < 5 {
		t.Errorf("only %d links", links)
	}

	texts := string(read(t, dir, "LICENSES-OF-MODULES.txt"))
	for _, module := range []string{"go.etcd.io/bbolt", "github.com/goccy/go-yaml", "std"} {
		if !strings.Contains(texts, strings.Repeat("=", 80)+"\n"+module+"\n") {
			t.Errorf("no licence of %s", module)
		}
	}
}

// testBill: the bill names each program by its digest and each module by its
// package URL, and every reference in it leads to a component.
func testBill(t *testing.T, dir string, text []byte) {
	var b bom
	if err := json.Unmarshal(text, &b, json.RejectUnknownMembers(true)); err != nil {
		t.Fatal(err)
	}

	refs := map[string]component{b.Metadata.Component.Ref: b.Metadata.Component}
	for _, c := range b.Components {
		if _, twice := refs[c.Ref]; twice {
			t.Errorf("%s is there twice", c.Ref)
		}
		refs[c.Ref] = c
	}
	for _, d := range b.Dependencies {
		for _, ref := range append(d.On, d.Ref) {
			if _, ok := refs[ref]; !ok {
				t.Errorf("%s leads nowhere", ref)
			}
		}
	}

	for _, name := range build.Programs {
		sum, _, _ := strings.Cut(command(t, dir, "sha256sum", name), " ")
		if c := refs[name]; len(c.Hashes) != 1 || c.Hashes[0].Content != sum {
			t.Errorf("%s: %+v, its digest is %s", name, c, sum)
		}
	}
	for _, want := range []string{"pkg:golang/go.etcd.io/bbolt@v", "pkg:golang/std@1."} {
		if !slices.ContainsFunc(b.Components, func(c component) bool { return strings.HasPrefix(c.PURL, want) }) {
			t.Errorf("nothing of %s", want)
		}
	}
	if strings.Contains(string(text), "pkg:golang/fhirdest.example") {
		t.Error("a program depends on its own module")
	}
}

// TestReproducible builds from two directories, one of them with a build cache of
// its own, so that nothing is common but the source and Go.
func TestReproducible(t *testing.T) {
	var built [2][]byte
	for i, cache := range []string{"", t.TempDir()} {
		g := build.Go{
			Root:    clone(t),
			Version: version,
			Commit:  "0123abcd",
			Cache:   cache,
		}
		out := t.TempDir()
		if err := g.Build(t.Context(), build.Platforms[0], out, "community"); err != nil {
			t.Fatal(err)
		}
		built[i] = read(t, out, "community")
	}

	if !bytes.Equal(built[0], built[1]) {
		t.Error("two builds differ")
	}
}

// TestRefusals: what cannot be a release is refused before anything is built.
func TestRefusals(t *testing.T) {
	for _, c := range []struct {
		name string
		args []string
		want string
		code int
	}{
		{"no directory", nil, "write -out DIR", 2},
		{"a stray argument", []string{"-out", "x", "y"}, "nothing but flags", 2},
		{"no version", []string{"-out", "x", "-version", "1.2"}, "is not a version", 1},
		{"a flag in the version", []string{"-out", "x", "-version", "v1.2.3 -X a=b"}, "is not a version", 1},
		{"no such platform", []string{"-out", "x", "-platforms", "plan9/386"}, "no release is made for", 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			var stderr bytes.Buffer
			code := run(t.Context(), c.args, &bytes.Buffer{}, &stderr)
			if code != c.code || !strings.Contains(stderr.String(), c.want) {
				t.Errorf("%d: %s", code, &stderr)
			}
			if _, err := os.Stat("x"); !errors.Is(err, fs.ErrNotExist) {
				t.Error("it made the directory")
			}
		})
	}
}

// clone copies the files of the checkout under test into a directory of its own,
// as a repository with one commit.
func clone(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "checkout")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{
		"go.mod", "go.sum", "LICENSE", "README.md", "certs", "cmd", "fhir", "gateway", "server", "udap",
		"scripts/README.md", "scripts/deploy",
	} {
		to := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			t.Fatal(err)
		}
		command(t, root, "cp", "-R", name, to)
	}

	git := []string{"-c", "user.name=test", "-c", "user.email=test@example.org"}
	command(t, dir, "git", "init", "-q")
	command(t, dir, "git", "add", "-A")
	command(t, dir, "git", append(git, "commit", "-q", "-m", "test", "--date", "2026-01-31T00:00:00Z")...)
	return dir
}

func command(t *testing.T, dir, name string, args ...string) string {
	t.Helper()
	c := exec.CommandContext(t.Context(), name, args...)
	c.Dir = dir
	out, err := c.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
	return string(out)
}

func read(t *testing.T, dir, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return data
}
