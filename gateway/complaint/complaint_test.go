package complaint_test

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"fhirdest.example/gateway/complaint"
)

// Every problem is printed on a line, with its remedy on the next.
func Example() {
	var l complaint.List
	l.Add("write 0 or more", "limits.body: %d is negative", -1)
	l.Add("", "no such file")
	complaint.Print(os.Stdout, l.Err())
	// Output:
	// error: limits.body: -1 is negative
	// hint: write 0 or more
	// error: no such file
}

func TestPrint(t *testing.T) {
	for _, c := range []struct {
		name string
		err  error
		want string
	}{
		{"nothing", nil, ""},
		{"another error", errors.New("x"), "error: x\n"},
		{"no remedy", complaint.New("x", ""), "error: x\n"},
		{"wrapped", fmt.Errorf("in f: %w", complaint.New("x", "y")), "error: in f: x\nhint: y\n"},
		{"joined twice", errors.Join(complaint.New("a", "b"), errors.Join(errors.New("c"), complaint.New("d", "e"))),
			"error: a\nhint: b\nerror: c\nerror: d\nhint: e\n"},
		{"control characters", complaint.New("a\nb\x1b[31m\xff", "c\td"), "error: a b�[31m�\nhint: c d\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var b strings.Builder
			complaint.Print(&b, c.err)
			if b.String() != c.want {
				t.Errorf("%q, want %q", b.String(), c.want)
			}
		})
	}
}

// Joined errors are one list, however they were joined; no complaint is no error.
func TestListIsFlat(t *testing.T) {
	l := complaint.List{errors.Join(errors.New("a"), errors.Join(errors.New("b"))), nil, errors.New("c")}
	got, ok := l.Err().(interface{ Unwrap() []error })
	if !ok || len(got.Unwrap()) != 3 {
		t.Errorf("%v", l.Err())
	}
	if err := (complaint.List{nil, errors.Join()}).Err(); err != nil {
		t.Errorf("no complaint is %v", err)
	}
}
