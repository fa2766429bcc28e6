package main

import (
	"bufio"
	_ "embed"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

const module = "fhirdest.example"

//go:embed requirements.tsv
var requirements string

//go:embed cases.tsv
var cases string

//go:embed diagnostics.tsv
var diagnostics string

// row is one requirement, security case or common mistake: its id, our own short title, and,
// where no test shows it, the reason.
type row struct{ id, title, note string }

func readRows() ([]row, error) {
	var out []row
	seen := map[string]bool{}
	for _, text := range strings.Split(requirements+cases+diagnostics, "\n") {
		if text == "" || strings.HasPrefix(text, "#") {
			continue
		}

		cells := strings.Split(text, "\t")
		if len(cells) < 2 || len(cells) > 3 {
			return nil, fmt.Errorf(
				"a row wants id, title and perhaps a reason, by tabs: %q",
				text,
			)
		}

		r := row{
			id:    cells[0],
			title: cells[1],
		}
		if len(cells) == 3 {
			r.note = cells[2]
		}
		if seen[r.id] {
			return nil, fmt.Errorf("%s stands twice", r.id)
		}

		seen[r.id] = true
		out = append(out, r)
	}

	return out, nil
}

// testName is one top-level test of one package.
type testName struct{ pkg, test string }

func (n testName) String() string {
	return strings.TrimPrefix(strings.TrimPrefix(n.pkg, module), "/") + "." + n.test
}

var (
	coversLine = regexp.MustCompile(`(?m)^//\s*Covers:(.*)$`)
	idShape    = regexp.MustCompile(`\b(S1-\d{3}|S2-\d{2}|ER-\d{2}|FS-\d{2,3}|D-\d{2}|case \d{3})\b`)
	listShape  = regexp.MustCompile(`\bcases? \d{3}(?:-\d{3})?(?:, (?:case )?\d{3}(?:-\d{3})?)*\b`)
	partShape  = regexp.MustCompile(`(\d{3})(?:-(\d{3}))?`)
)

// readCovers maps an id to the tests whose comments name it: a `// Covers:`
// line in a test function's doc comment or body, continued by comment lines.
func readCovers(root string) (map[string][]testName, error) {
	out := map[string][]testName{}
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && name != root && (strings.HasPrefix(d.Name(), ".") ||
			d.Name() == "node_modules") {
			return filepath.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(name, "_test.go") {
			return nil
		}

		return coversOf(root, name, out)
	})
	return out, err
}

func coversOf(root, name string, out map[string][]testName) error {
	set := token.NewFileSet()
	file, err := parser.ParseFile(set, name, nil, parser.ParseComments)
	if err != nil {
		return err
	}

	rel, err := filepath.Rel(root, name)
	if err != nil {
		return err
	}

	pkg := path.Join(module, path.Dir(filepath.ToSlash(rel)))
	for _, group := range file.Comments {
		ids := idsIn(group)
		if len(ids) == 0 {
			continue
		}

		fn := enclosing(file, group)
		if fn == "" {
			return fmt.Errorf(
				"%s: a Covers comment stands outside a test",
				set.Position(group.Pos()),
			)
		}

		for _, id := range ids {
			out[id] = append(out[id], testName{pkg, fn})
		}
	}

	return nil
}

func idsIn(group *ast.CommentGroup) []string {
	var text strings.Builder
	for _, c := range group.List {
		text.WriteString(c.Text + "\n")
	}

	at := coversLine.FindStringIndex(text.String())
	if at == nil {
		return nil
	}
	return idShape.FindAllString(expandLists(text.String()[at[0]:]), -1)
}

// expandLists writes "cases 016-018, 020" as "case" with each of four numbers.
func expandLists(s string) string {
	return listShape.ReplaceAllStringFunc(s, func(list string) string {
		var out []string
		for _, part := range partShape.FindAllStringSubmatch(list, -1) {
			from, _ := strconv.Atoi(part[1]) // three digits
			to, err := strconv.Atoi(part[2])
			if err != nil {
				to = from
			}

			for n := from; n <= to; n++ {
				out = append(out, fmt.Sprintf("case %03d", n))
			}
		}

		return strings.Join(out, ", ")
	})
}

// enclosing names the test or fuzz function that a comment belongs to.
func enclosing(file *ast.File, group *ast.CommentGroup) string {
	for _, d := range file.Decls {
		fn, ok := d.(*ast.FuncDecl)
		if !ok || fn.Recv != nil || !(strings.HasPrefix(fn.Name.Name, "Test") ||
			strings.HasPrefix(fn.Name.Name, "Fuzz")) {
			continue
		}
		if fn.Doc == group || (fn.Pos() <= group.Pos() && group.End() <= fn.End()) {
			return fn.Name.Name
		}
	}

	return ""
}

// readResults maps each top-level test to how it ended.
func readResults(name string) (map[testName]string, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()

	out := map[testName]string{}
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 16<<20)

	for lines.Scan() {
		var e struct{ Action, Package, Test string }
		if json.Unmarshal(lines.Bytes(), &e) != nil || e.Test == "" || strings.Contains(e.Test, "/") {
			continue
		}

		switch e.Action {
		case "pass", "fail", "skip":
			out[testName{e.Package, e.Test}] = e.Action
		}
	}

	return out, lines.Err()
}
