// Command conformance prints the table of requirement, check and test. The
// requirements and their titles are in requirements.tsv and cases.tsv, the
// checks are those that the packages declare, and the tests are the ones whose
// `// Covers:` comment names the requirement and which passed in a run of
// `go test -json`. It exits 1 when a row is unaccounted for, when a comment
// names an unknown row, or when a named test did not run.
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"strings"

	_ "fhirdest.example/server" // its checks, and those of all that it links
	_ "fhirdest.example/udap/client"

	"fhirdest.example/udap/trace"
)

func main() {
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

const usage = `usage: conformance -results FILE [-summary]

FILE holds the output of "go test -json ./...", as scripts/test leaves it in
.cache/test.jsonl. -summary prints the counts and the rows that are open.
`

func run(args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("conformance", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() { fmt.Fprint(stderr, usage) }
	results := flags.String("results", "", "")
	summary := flags.Bool("summary", false, "")
	if err := flags.Parse(args); err != nil || *results == "" || flags.NArg() > 0 {
		fmt.Fprint(stderr, usage)
		return 2
	}

	t, err := assemble(".", *results)
	if err != nil {
		fmt.Fprintln(stderr, "conformance:", err)
		return 2
	}

	t.print(stdout, *summary)
	for _, c := range t.complaints {
		fmt.Fprintln(stdout, "error:", c)
	}

	if len(t.complaints) > 0 {
		return 1
	}

	return 0
}

// assemble joins the rows, the declared checks, the covering tests and the run.
func assemble(root, results string) (*table, error) {
	rows, err := readRows()
	if err != nil {
		return nil, err
	}

	covers, err := readCovers(root)
	if err != nil {
		return nil, err
	}

	ran, err := readResults(results)
	if err != nil {
		return nil, err
	}
	return join(rows, declaredChecks(), covers, ran), nil
}

// declaredChecks maps a requirement to the names of the checks that serve it.
func declaredChecks() map[string][]string {
	out := map[string][]string{}
	for _, c := range trace.Checks() {
		for _, id := range c.Requirements {
			out[id] = append(out[id], c.Name)
		}
	}
	return out
}

// table is the joined result.
type table struct {
	rows       []line
	complaints []string
}

type line struct {
	row
	checks, tests []string
}

func join(
	rows []row, checks map[string][]string, covers map[string][]testName, ran map[testName]string,
) *table {
	t := &table{}
	known := map[string]bool{}
	for _, r := range rows {
		known[r.id] = true
		l := line{
			row:    r,
			checks: checks[r.id],
		}
		for _, name := range covers[r.id] {
			switch ran[name] {
			case "pass":
				l.tests = append(l.tests, name.String())
			case "":
				t.complain("%s: the test %s did not run", r.id, name)
			default:
				t.complain("%s: the test %s ended with %q", r.id, name, ran[name])
			}
		}

		if len(l.tests) == 0 && r.note == "" {
			t.complain("%s (%s) is unaccounted for: no passing test names it, and it has no reason", r.id,
				r.title)
		}
		t.rows = append(t.rows, l)
	}

	for id, names := range covers {
		if !known[id] {
			t.complain("%s covers %s, which is in no table", names[0], id)
		}
	}

	for id, names := range checks {
		if !known[id] {
			t.complain("the check %s serves %s, which is in no table", names[0], id)
		}
	}

	return t
}

func (t *table) complain(format string, args ...any) {
	t.complaints = append(t.complaints, fmt.Sprintf(format, args...))
}

func (t *table) print(w io.Writer, summary bool) {
	tested := 0
	excused := 0
	for _, l := range t.rows {
		if len(l.tests) > 0 {
			tested++
		} else if l.note != "" {
			excused++
		}

		if summary {
			continue
		}
		fmt.Fprintf(
			w,
			"%s\t%s\t%s\t%s\n",
			l.id,
			l.title,
			strings.Join(l.checks, " "),
			l.proof(),
		)
	}

	fmt.Fprintf(w, "requirements and cases: %d rows, %d shown by a test, %d with a reason, %d complaints\n",
		len(t.rows), tested, excused, len(t.complaints))
}

func (l line) proof() string {
	if len(l.tests) > 0 {
		return strings.Join(l.tests, " ")
	}
	return "- " + l.note
}
