// Command gen compiles HL7's R4 search parameters and the patient compartment,
// as package table holds them, into the two text files that package search
// embeds. Run it by `go generate` in fhir/search; the result is checked in.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"

	"fhirdest.example/fhir/table"
)

func main() {
	out := flag.String("out", ".", "directory for params.txt and compartment.txt")
	flag.Parse()
	if err := run(table.R4(), *out); err != nil {
		fmt.Fprintln(os.Stderr, "gen:", err)
		os.Exit(1)
	}
}

func run(t *table.Table, out string) error {
	params, err := paramLines(t)
	if err != nil {
		return err
	}
	if err := write(t, filepath.Join(out, "params.txt"), params); err != nil {
		return err
	}
	return write(t, filepath.Join(out, "compartment.txt"), compartmentLines(t))
}

func write(t *table.Table, name string, lines []string) error {
	head := "# From " + t.Origin + "; made by go generate, not by hand.\n"
	return os.WriteFile(name, []byte(head+strings.Join(lines, "\n")+"\n"), 0o644)
}

// paramLines returns one line for each concrete type, its name, and one for each
// base type and parameter: type, code, kind, targets, paths. Special ones and
// composites of three parts are left out: they are not served.
func paramLines(t *table.Table) ([]string, error) {
	e := readElements(t)
	lines := e.resources()
	for _, p := range t.Params {
		if p.Expression == "" || p.Type == "special" || len(p.Components) > 2 {
			continue
		}

		for _, base := range p.Base {
			var paths []string
			var err error
			if p.Type == "composite" {
				paths, err = composites(t, e, base, p)
			} else {
				paths, err = compile(e, base, p.Expression)
			}

			if err != nil {
				return nil, fmt.Errorf("%s %s: %w", base, p.Code, err)
			}
			lines = append(lines, strings.Join([]string{
				base, p.Code, p.Type, targets(p), strings.Join(paths, ";"),
			}, "\t"))
		}
	}

	sort.Strings(lines)
	return lines, nil
}

// targets names the types that a reference may lead to, "*" for all of them.
func targets(p *table.Param) string {
	if len(p.Target) > 100 {
		return "*"
	}
	all := append([]string(nil), p.Target...)
	sort.Strings(all)
	return strings.Join(all, ",")
}

// compartmentLines returns one line for each type in each compartment: the type
// of the compartment, the type, and the parameters that lead to what it is of.
func compartmentLines(t *table.Table) []string {
	var lines []string
	for of, types := range t.Compartments {
		for typ, params := range types {
			lines = append(lines, of+"\t"+typ+"\t"+strings.Join(params, ","))
		}
	}
	sort.Strings(lines)
	return lines
}
