package gateway_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"fhirdest.example/gateway/evidence"
)

// What the gateway answers by itself is read from its sources, so that no fault can be
// forgotten elsewhere: a comparison of evidence would blame an honest hop for it, and the
// metrics would not count it.
func TestEveryOwnAnswerIsKnown(t *testing.T) {
	var metrics strings.Builder
	if err := newEnv(t, newBackend(t, ok), nil).gw.WriteMetrics(&metrics); err != nil {
		t.Fatal(err)
	}

	for _, c := range []struct {
		dir, member string
		among       []int // the search must find these
	}{
		{".", "status", []int{400, 404, 408, 421, 500, 502, 503, 504}},
		{"wire", "Status", []int{400, 417, 421, 431, 505}},
	} {
		found := statuses(t, c.dir, c.member)
		for _, status := range c.among {
			if !found[status] {
				t.Errorf("%d of %s was not found", status, c.dir)
			}
		}

		for status := range found {
			if !evidence.OwnStatus(status) {
				t.Errorf("%d is no status of a hop's own in the evidence", status)
			}
			if status == 417 { // of a server alone: a gateway leaves expectations to the next hop
				continue
			}
			if !strings.Contains(metrics.String(), `gateway_own_answers_total{status="`+strconv.Itoa(status)+`"}`) {
				t.Errorf("%d is not counted in the metrics", status)
			}
		}
	}
}

// statuses returns the numbers that the member of that name has in the literals of the
// package in a directory.
func statuses(t *testing.T, dir, member string) map[int]bool {
	t.Helper()
	found := map[int]bool{}
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		t.Fatal(err)
	}

	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}

		f, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}

		ast.Inspect(f, func(n ast.Node) bool {
			kv, isMember := n.(*ast.KeyValueExpr)
			if !isMember {
				return true
			}

			key, isName := kv.Key.(*ast.Ident)
			if value, isNumber := kv.Value.(*ast.BasicLit); isName && isNumber && key.Name == member {
				status, err := strconv.Atoi(value.Value)
				if err != nil {
					t.Fatal(err)
				}
				found[status] = true
			}

			return true
		})
	}

	return found
}
