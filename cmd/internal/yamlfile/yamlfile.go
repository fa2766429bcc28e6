// Package yamlfile reads a program's configuration from YAML, strictly, and
// prints what is wrong with it: every complaint at once, one line each, with
// the remedy on a second line.
package yamlfile

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxSize bounds a configuration file, in bytes.
const maxSize = 1 << 20

// Complaint is one thing that is wrong, and what to do about it.
type Complaint struct {
	Problem string
	Remedy  string
}

func (c *Complaint) Error() string { return c.Problem }

// Hint says what to do about the complaint; empty when there is nothing to add.
func (c *Complaint) Hint() string { return c.Remedy }

// Read decodes the YAML file at path into the struct that into points to. Keys
// that the struct does not have, values of another type, duplicate keys and
// further documents are complaints, joined into one error; what could be
// decoded stands in into even then, so that the caller can go on to check it.
func Read(path string, into any) error {
	f, err := os.Open(path)
	if err != nil {
		return &Complaint{
			Problem: fmt.Sprintf("cannot read configuration %s: %v", path, Cause(err)),
			Remedy:  "give the path of a readable YAML file",
		}
	}
	defer f.Close()

	data, err := io.ReadAll(io.LimitReader(f, maxSize+1))
	if err != nil {
		return &Complaint{Problem: fmt.Sprintf("cannot read configuration %s: %v", path, Cause(err))}
	}
	if len(data) > maxSize {
		return &Complaint{
			Problem: fmt.Sprintf("%s is longer than %d bytes", path, maxSize),
			Remedy:  "keep certificates and keys in files of their own and name these",
		}
	}

	return Decode(path, data, into)
}

// Cause is the reason of a file error without its operation and path, which
// the message around it already gives.
func Cause(err error) error {
	if pe := (*os.PathError)(nil); errors.As(err, &pe) {
		return pe.Err
	}
	return err
}

// Print writes each complaint of err as an `error:` line, and its hint, where
// it has one, as a `hint:` line. Errors may be joined to any depth; a hint is
// whatever a method `Hint() string` in the chain says.
func Print(w io.Writer, err error) {
	for _, e := range flatten(err) {
		fmt.Fprintf(w, "error: %s\n", oneLine(e.Error()))
		var hinted interface{ Hint() string }
		if errors.As(e, &hinted) && hinted.Hint() != "" {
			fmt.Fprintf(w, "hint: %s\n", oneLine(hinted.Hint()))
		}
	}
}

func flatten(err error) []error {
	if err == nil {
		return nil
	}

	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return []error{err}
	}

	var out []error
	for _, e := range joined.Unwrap() {
		out = append(out, flatten(e)...)
	}
	return out
}

// oneLine keeps a complaint on its line: file names and values may hold line
// ends or terminal controls.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\r' || r == '\t':
			return ' '
		case r == utf8.RuneError || !unicode.IsPrint(r):
			return '�'
		}
		return r
	}, s)
}
