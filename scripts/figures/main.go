// Command figures measures the form of the Go code below a directory: how
// densely it is written, how long and how branched its functions are, how
// large its packages and types are, and which words its comments use.
//
//	go run ./scripts/figures            # a table of the code below this folder
//	go run ./scripts/figures DIR...     # a column for each checkout
//	go run ./scripts/figures -check     # exits 1 if a limit of this project is exceeded
//
// Test files, generated files (their header has "DO NOT EDIT"), testdata,
// vendored and hidden folders are left out.
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"text/tabwriter"
)

func main() {
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

func run(args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("figures", flag.ContinueOnError)
	flags.SetOutput(stderr)
	check := flags.Bool("check", false, "exit 1 if a limit is exceeded")
	wide := flags.Bool("wide", false, "list the lines over 120 columns")
	if flags.Parse(args) != nil {
		return 2
	}

	roots := flags.Args()
	if len(roots) == 0 {
		roots = []string{"."}
	}

	trees := make([]*tree, len(roots))
	for i, root := range roots {
		t, err := measure(root)
		if err != nil {
			fmt.Fprintln(stderr, "figures:", err)
			return 2
		}
		trees[i] = t
	}

	if *wide {
		for _, t := range trees {
			for _, at := range t.wideAt {
				fmt.Fprintln(stdout, at)
			}
		}

		return 0
	}

	print(stdout, roots, trees)

	if *check {
		complaints := trees[0].complaints()
		for _, c := range complaints {
			fmt.Fprintln(stderr, "figures:", c)
		}

		if len(complaints) > 0 {
			return 1
		}
	}

	return 0
}

// print writes a row for each figure and a column for each tree.
func print(w io.Writer, roots []string, trees []*tree) {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprint(tw, "figure")
	for _, root := range roots {
		fmt.Fprint(tw, "\t", root)
	}

	fmt.Fprintln(tw)

	for i := range trees[0].rows() {
		fmt.Fprint(tw, trees[0].rows()[i].name)
		for _, t := range trees {
			fmt.Fprint(tw, "\t", t.rows()[i].value)
		}
		fmt.Fprintln(tw)
	}

	tw.Flush()
}
