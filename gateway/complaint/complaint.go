// Package complaint describes what is wrong with a configuration, a command line
// or a file: each problem with its remedy, and all of them at once.
package complaint

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Complaint is one problem, and what to do about it.
type Complaint struct {
	Problem string // one line, beginning with the key or the file that it is about
	Remedy  string // one line; empty when there is nothing to add
}

// New returns the complaint about a problem.
func New(problem, remedy string) *Complaint {
	return &Complaint{
		Problem: problem,
		Remedy:  remedy,
	}
}

// Error returns the problem.
func (c *Complaint) Error() string { return c.Problem }

// Hint returns the remedy.
func (c *Complaint) Hint() string { return c.Remedy }

// List gathers complaints, so that all can be reported at once.
type List []error

// Add appends the complaint about a problem, which is formatted.
func (l *List) Add(remedy, format string, args ...any) {
	*l = append(*l, New(fmt.Sprintf(format, args...), remedy))
}

// Err returns the complaints joined, without any structure among them; nil when
// there are none.
func (l List) Err() error {
	var all []error
	for _, err := range l {
		all = append(all, flatten(err)...)
	}
	return errors.Join(all...)
}

// flatten returns the errors that are joined in err, to any depth.
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

// Print writes each error that is joined in err as an `error:` line, and its hint
// as a `hint:` line. A hint is what a method `Hint() string` of an error in the
// chain returns.
func Print(w io.Writer, err error) {
	for _, e := range flatten(err) {
		fmt.Fprintf(w, "error: %s\n", oneLine(e.Error()))
		var hinted interface{ Hint() string }
		if errors.As(e, &hinted) && hinted.Hint() != "" {
			fmt.Fprintf(w, "hint: %s\n", oneLine(hinted.Hint()))
		}
	}
}

// oneLine keeps a text on its line: file names and values may hold line ends or
// terminal controls.
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
