// Command population writes the sample population for the validators of this
// directory: one body a line, earlier versions included. Usage: population
// [PATIENTS].
package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"strconv"

	"fhirdest.example/fhir/sample"
)

func main() {
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

func run(args []string, stdout, stderr io.Writer) int {
	patients := sample.DefaultPatients
	if len(args) == 1 {
		n, err := strconv.Atoi(args[0])
		if err != nil {
			fmt.Fprintln(stderr, "usage: population [PATIENTS]")
			return 2
		}
		patients = n
	}

	out := bufio.NewWriter(stdout)
	err := sample.History(patients, func(s sample.Step) error {
		if s.Delete() {
			return nil
		}
		_, err := out.Write(append(s.JSON, '\n'))
		return err
	})
	if err == nil {
		err = out.Flush()
	}
	if err != nil {
		fmt.Fprintln(stderr, "population:", err)
		return 1
	}

	return 0
}
