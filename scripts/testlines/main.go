// Command testlines reads `go test -json` from standard input, prints a line
// for each package and the output of each failed test, and ends with the
// counts. It exits 1 when a test failed, when one was skipped, or when none ran:
// this project skips nothing. Tests that keep to a store or a destination of their own,
// whatever was asked for, are counted with their reasons.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
)

func main() { os.Exit(run(os.Stdin, os.Stdout)) }

type event struct {
	Action, Package, Test, Output string
	Key, Value                    string // of an attribute
	Elapsed                       float64
}

// tally is what has been seen so far. A test's output is kept until it ends.
type tally struct {
	out                     io.Writer
	passed, failed, skipped int
	brokenPackages          int
	output                  map[string][]string
	kept                    map[string]int // tests by attribute
}

func run(in io.Reader, out io.Writer) int {
	t := &tally{
		out:    out,
		output: map[string][]string{},
		kept:   map[string]int{},
	}
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, 16<<20)

	for lines.Scan() {
		var e event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			fmt.Fprintln(out, lines.Text()) // the go command's own complaint
			continue
		}
		t.take(e)
	}

	fmt.Fprintf(
		out,
		"\ngo: %d passed, %d failed, %d skipped\n",
		t.passed,
		t.failed,
		t.skipped,
	)
	for _, what := range slices.Sorted(maps.Keys(t.kept)) {
		fmt.Fprintf(out, "go: %d of %s\n", t.kept[what], what)
	}
	if err := lines.Err(); err != nil {
		fmt.Fprintln(out, "testlines:", err)
		return 1
	}
	if t.failed+t.skipped+t.brokenPackages > 0 || t.passed == 0 {
		return 1
	}

	return 0
}

func (t *tally) take(e event) {
	key := e.Package + " " + e.Test
	switch e.Action {
	case "output", "build-output":
		t.output[key] = append(t.output[key], e.Output)
		return
	case "attr":
		if where, ok := strings.CutPrefix(e.Key, "destination."); ok {
			t.kept[where+": "+e.Value]++
		}
		return
	case "pass", "fail", "skip", "build-fail":
	default:
		return
	}

	if e.Action != "pass" && (e.Test != "" || e.Action != "skip") {
		fmt.Fprint(t.out, strings.Join(t.output[key], ""))
	}
	delete(t.output, key)
	if e.Test == "" {
		t.endPackage(e)
		return
	}

	switch e.Action {
	case "pass":
		t.passed++
	case "fail":
		t.failed++
	case "skip":
		t.skipped++
		fmt.Fprintf(t.out, "SKIPPED, which is a failure here: %s\n", key)
	}
}

func (t *tally) endPackage(e event) {
	if e.Action == "fail" || e.Action == "build-fail" {
		t.brokenPackages++
	}
	if e.Action != "skip" {
		fmt.Fprintf(t.out, "%-6s %-50s %6.1fs\n", e.Action, e.Package, e.Elapsed)
	}
}
