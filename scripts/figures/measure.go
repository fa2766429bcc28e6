package main

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/scanner"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// columns is the widest a line may be; a tab counts as four.
const columns = 120

// tree holds what was measured in one checkout.
type tree struct {
	packages map[string]int // files of each package
	methods  map[string]int // methods of each type, by package and name

	files, lines, commentLines, tokens int
	wideAt                             []string // places of lines over 120 columns
	longest                            int      // columns of the longest line
	bodyLines, blankLines              int      // of function bodies
	exported                           int
	functions                          []function
	words                              int            // in comments
	dialect                            map[string]int // how often each word of the list is in comments
}

type function struct {
	name                     string
	lines, tokens, branching int
}

// measure reads every Go file below root.
func measure(root string) (*tree, error) {
	t := &tree{
		packages: map[string]int{},
		methods:  map[string]int{},
		dialect:  map[string]int{},
	}

	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if name != root && skipped(d.Name()) {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			return nil
		}

		return t.file(root, name)
	})
	if err == nil && t.files == 0 {
		err = fmt.Errorf("no Go file below %s", root)
	}

	return t, err
}

func skipped(dir string) bool {
	return strings.HasPrefix(dir, ".") ||
		slices.Contains([]string{"testdata", "vendor", "node_modules"}, dir)
}

// file adds the figures of one file.
func (t *tree) file(root, name string) error {
	src, err := os.ReadFile(name)
	if err != nil {
		return err
	}

	set := token.NewFileSet()
	f, err := parser.ParseFile(set, name, src, parser.ParseComments)
	if err != nil {
		return err
	}
	if ast.IsGenerated(f) {
		return nil
	}

	dir, err := filepath.Rel(root, filepath.Dir(name))
	if err != nil {
		return err
	}

	t.files++
	t.packages[dir]++
	lines := bytes.Split(bytes.TrimSuffix(src, []byte("\n")), []byte("\n"))
	t.lines += len(lines)
	t.width(name, lines)
	t.comments(set, f)

	offsets := tokenLines(src)
	t.tokens += len(offsets)
	for _, decl := range f.Decls {
		t.declaration(dir, set, decl, lines, offsets)
	}

	return nil
}

func (t *tree) width(name string, lines [][]byte) {
	for i, line := range lines {
		n := len([]rune(strings.ReplaceAll(string(line), "\t", "    ")))
		t.longest = max(t.longest, n)
		if n > columns {
			t.wideAt = append(t.wideAt, fmt.Sprintf("%s:%d: %d columns", name, i+1, n))
		}
	}
}

// comments counts the lines that hold a comment, and the words in them.
func (t *tree) comments(set *token.FileSet, f *ast.File) {
	on := map[int]bool{}
	for _, group := range f.Comments {
		for _, c := range group.List {
			first, last := set.Position(c.Pos()).Line, set.Position(c.End()).Line
			for line := first; line <= last; line++ {
				on[line] = true
			}
		}

		for _, word := range strings.FieldsFunc(group.Text(), notLetter) {
			t.words++
			for _, d := range dialect {
				if slices.Contains(d.forms, strings.ToLower(word)) {
					t.dialect[d.name]++
				}
			}
		}
	}

	t.commentLines += len(on)
}

func notLetter(r rune) bool {
	return r != '\'' && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z')
}

// tokenLines returns the line of each token of a file, inserted semicolons left out.
func tokenLines(src []byte) []int {
	set := token.NewFileSet()
	file := set.AddFile("", set.Base(), len(src))
	var s scanner.Scanner
	s.Init(file, src, nil, 0)

	var lines []int
	for {
		pos, tok, lit := s.Scan()
		if tok == token.EOF {
			return lines
		}
		if tok != token.SEMICOLON || lit == ";" {
			lines = append(lines, file.Line(pos))
		}
	}
}

func (t *tree) declaration(
	dir string, set *token.FileSet, decl ast.Decl, lines [][]byte, tokens []int,
) {
	switch d := decl.(type) {
	case *ast.GenDecl:
		for _, spec := range d.Specs {
			switch s := spec.(type) {
			case *ast.TypeSpec:
				t.export(s.Name)
			case *ast.ValueSpec:
				for _, name := range s.Names {
					t.export(name)
				}
			}
		}

	case *ast.FuncDecl:
		t.export(d.Name)
		if d.Recv != nil {
			t.methods[dir+"."+receiver(d.Recv.List[0].Type)]++
		}
		if d.Body != nil {
			t.function(dir, set, d, lines, tokens)
		}
	}
}

func (t *tree) export(name *ast.Ident) {
	if name.IsExported() {
		t.exported++
	}
}

func receiver(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.StarExpr:
		return receiver(e.X)
	case *ast.IndexExpr:
		return receiver(e.X)
	case *ast.IndexListExpr:
		return receiver(e.X)
	case *ast.Ident:
		return e.Name
	}

	return "?"
}

// function adds the figures of one function: its length from signature to
// closing brace, its tokens, its blank lines and its cyclomatic complexity.
func (t *tree) function(
	dir string, set *token.FileSet, d *ast.FuncDecl, lines [][]byte, tokens []int,
) {
	first, last := set.Position(d.Pos()).Line, set.Position(d.End()).Line
	f := function{
		name:      dir + "." + d.Name.Name,
		lines:     last - first + 1,
		branching: 1,
	}

	open := set.Position(d.Body.Lbrace).Line
	for line := open + 1; line < last; line++ {
		t.bodyLines++
		if len(bytes.TrimSpace(lines[line-1])) == 0 {
			t.blankLines++
		}
	}

	from, _ := slices.BinarySearch(tokens, first)
	to, _ := slices.BinarySearch(tokens, last+1)
	f.tokens = to - from

	ast.Inspect(d.Body, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.IfStmt, *ast.ForStmt, *ast.RangeStmt:
			f.branching++
		case *ast.CaseClause:
			if n.List != nil {
				f.branching++
			}
		case *ast.CommClause:
			if n.Comm != nil {
				f.branching++
			}

		case *ast.BinaryExpr:
			if n.Op == token.LAND || n.Op == token.LOR {
				f.branching++
			}
		}

		return true
	})

	t.functions = append(t.functions, f)
}
