// Command xml converts resources as package fhir/xml does, for xml.mjs: each line of
// standard input is a resource in JSON, or with -read a JSON string that holds one
// in XML; each line of standard output is the other form. A resource that cannot be
// converted becomes null, and is named on standard error. With -bothways DIR it takes
// each resource in a file DIR/*.json to XML and back, and compares.
package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/go-json-experiment/json/jsontext"

	"fhirdest.example/fhir/tree"
	"fhirdest.example/fhir/xml"
)

func main() {
	os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

func run(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	convert := write
	switch {
	case slices.Equal(args, []string{"-read"}):
		convert = read
	case len(args) == 2 && args[0] == "-bothways":
		return bothWays(args[1], stdout, stderr)
	case len(args) > 0:
		fmt.Fprintln(stderr, "usage: xml [-read | -bothways DIR]")
		return 2
	}

	out, lines := bufio.NewWriter(stdout), bufio.NewScanner(stdin)
	lines.Buffer(nil, 2*tree.MaxBytes)
	for n := 1; lines.Scan(); n++ {
		line, err := convert(lines.Bytes())
		if err != nil {
			fmt.Fprintf(stderr, "line %d: %v\n", n, err)
			line = []byte("null")
		}
		out.Write(append(line, '\n')) // Flush returns its error
	}

	err := lines.Err()
	if err == nil {
		err = out.Flush()
	}
	if err != nil {
		fmt.Fprintln(stderr, "xml:", err)
		return 1
	}
	return 0
}

func write(body []byte) ([]byte, error) {
	doc, err := xml.Write(body, xml.Options{})
	if err != nil {
		return nil, err
	}
	return jsontext.AppendQuote(nil, doc)
}

func read(quoted []byte) ([]byte, error) {
	doc, err := jsontext.AppendUnquote(nil, quoted)
	if err != nil {
		return nil, err
	}
	return xml.Read(doc)
}
