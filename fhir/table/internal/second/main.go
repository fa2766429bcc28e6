// Command second makes testdata/second.txt.gz: the elements of R4 as another
// npm package than the table's has them, for the test that compares the two.
// Usage: second OUTPUT, with npm and tar on the path.
package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// origin is the package, pinned, that the definitions come from.
const origin = "fhir@4.12.0"

// property is one element as that package has it.
type property struct {
	Name             string     `json:"_name"`
	Type             string     `json:"_type"`
	Multiple         bool       `json:"_multiple"`
	Required         bool       `json:"_required"`
	TargetProfiles   []string   `json:"_targetProfiles"`
	ValueSet         string     `json:"_valueSet"`
	ValueSetStrength string     `json:"_valueSetStrength"`
	Properties       []property `json:"_properties"`
}

func main() {
	os.Exit(run(context.Background(), os.Args[1:], os.Stderr))
}

func run(ctx context.Context, args []string, stderr io.Writer) int {
	if len(args) != 1 {
		fmt.Fprintln(stderr, "usage: second OUTPUT")
		return 2
	}
	if err := generate(ctx, args[0]); err != nil {
		fmt.Fprintln(stderr, "second:", err)
		return 1
	}

	return 0
}

func generate(ctx context.Context, output string) error {
	dir, err := os.MkdirTemp("", "second")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)

	npm := exec.CommandContext(ctx, "npm", "install", "--prefix", dir, "--ignore-scripts", "--no-audit",
		"--no-fund",
		"--silent", origin)
	npm.Stderr = os.Stderr
	if err := npm.Run(); err != nil {
		return fmt.Errorf("npm install %s: %w", origin, err)
	}

	data, err := os.ReadFile(filepath.Join(dir, "node_modules/fhir/profiles/types.json"))
	if err != nil {
		return err
	}

	var types map[string]property
	if err := json.Unmarshal(data, &types); err != nil {
		return err
	}

	var out bytes.Buffer
	z, err := gzip.NewWriterLevel(&out, gzip.BestCompression)
	if err != nil {
		return err
	}

	fmt.Fprintf(z, "# From npm %s; made by go generate, not by hand.\n", origin)
	for _, name := range slices.Sorted(maps.Keys(types)) {
		if name[0] >= 'A' && name[0] <= 'Z' {
			write(z, name, types[name].Properties)
		}
	}

	if err := z.Close(); err != nil {
		return err
	}

	return os.WriteFile(output, out.Bytes(), 0o644)
}

// write writes a line for each element: path, member, least number, "many" or
// "one", type, targets of a reference, and the value set that it is bound to.
func write(out io.Writer, path string, properties []property) {
	for _, p := range properties {
		if p.Name[0] == '_' {
			continue
		}

		least := 0
		many := "one"
		bound := ""
		if p.Required {
			least = 1
		}
		if p.Multiple {
			many = "many"
		}
		if p.ValueSetStrength == "required" {
			url, _, _ := strings.Cut(p.ValueSet, "|")
			bound = last(url)
		}

		var targets []string
		for _, t := range p.TargetProfiles {
			targets = append(targets, last(t))
		}

		slices.Sort(targets)
		fmt.Fprintf(out, "%s\t%s\t%d\t%s\t%s\t%s\t%s\n", path, p.Name, least, many, p.Type,
			strings.Join(targets, "|"), bound)
		if p.Type == "BackboneElement" || p.Type == "Element" {
			write(out, path+"."+p.Name, p.Properties)
		}
	}
}

func last(url string) string {
	return url[strings.LastIndexByte(url, '/')+1:]
}
