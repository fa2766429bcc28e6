// Command judge prints what package fhir/validate finds in each body of standard
// input, one a line: "ok", or "refused" and the first error. The validators of
// this directory hold their own word against it.
package main

import (
	"bufio"
	"fmt"
	"io"
	"os"

	"fhirdest.example/fhir/table"
	"fhirdest.example/fhir/tree"
	"fhirdest.example/fhir/validate"
)

func main() {
	os.Exit(run(os.Stdin, os.Stdout, os.Stderr))
}

func run(stdin io.Reader, stdout, stderr io.Writer) int {
	v, out, lines := validate.New(table.R4()), bufio.NewWriter(stdout), bufio.NewScanner(stdin)
	lines.Buffer(nil, tree.MaxBytes)
	for lines.Scan() {
		fmt.Fprintln(out, verdict(v, lines.Bytes()))
	}

	err := lines.Err()
	if err == nil {
		err = out.Flush()
	}
	if err != nil {
		fmt.Fprintln(stderr, "judge:", err)
		return 1
	}

	return 0
}

func verdict(v *validate.Validator, body []byte) string {
	root, err := tree.Parse(body)
	if err != nil {
		return "refused " + err.Error()
	}

	for _, i := range v.Resource(root, validate.Options{}) {
		if i.Severity == validate.Error {
			return fmt.Sprintf("refused %s %s %q", i.Code, i.Expression, i.Text)
		}
	}

	return "ok"
}
