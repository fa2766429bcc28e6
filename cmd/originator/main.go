// Command originator is an originator at the command line: it discovers a
// destination, registers there, gets tokens, reads data, cancels, and says
// what is wrong when something is.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"fhirdest.example/cmd/internal/version"
	"fhirdest.example/gateway/complaint"
	"fhirdest.example/udap/client"
	"fhirdest.example/udap/fetch"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// The exit codes: done; a check failed or the other side refused; usage or configuration.
const (
	exitDone    = 0
	exitRefused = 1
	exitUsage   = 2
)

// commands are the first arguments, with the function of each.
var commands = map[string]func(context.Context, *call) error{
	"discover": discover,
	"register": register,
	"token":    token,
	"login":    login,
	"get":      get,
	"match":    match,
	"export":   export,
	"cancel":   cancel,
	"doctor":   doctor,
	"check":    check,
	"sign":     sign,
	"verify":   verify,
}

// call is one run of the program.
type call struct {
	*options
	session *session
	out     *printer
	in      io.Reader // the terminal, for login -paste
	now     func() time.Time
	proofs  *client.Proofs // of the key to which tokens are bound; nil: they are bearer tokens
	lists   *fetch.Source  // of revocation; set once the originator is open
	atEnd   []func() error // closes what was opened, in the order of opening
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	if version.Asked(args) {
		version.Print(stdout, "originator")
		return 0
	}

	if len(args) == 0 || args[0] == "help" || args[0] == "-h" || args[0] == "-help" ||
		args[0] == "--help" {
		return help(args, stdout, stderr)
	}

	if args[0] == "lab" {
		return runLab(ctx, args[1:], stdout, stderr)
	}

	do, ok := commands[args[0]]
	if !ok {
		return complain(stderr, complaint.New(
			fmt.Sprintf("there is no command %q", args[0]),
			"one of discover, register, login, token, get, export, cancel, doctor, check, sign, verify, lab; "+
				"see originator help",
		))
	}

	o, err := parseOptions(args[0], args[1:])
	if errors.Is(err, errHelp) {
		return help(args[:1], stdout, stderr)
	}
	if err != nil {
		return complain(stderr, err)
	}

	c := &call{
		options: o,
		out: &printer{
			out:   stdout,
			err:   stderr,
			json:  o.json,
			quiet: o.quiet,
		},
		in:  os.Stdin,
		now: time.Now,
	}
	if err := c.prepare(); err != nil {
		return complain(stderr, err)
	}

	err = do(ctx, c)
	for _, end := range c.atEnd {
		err = errors.Join(err, end())
	}

	return finish(c, err, stderr)
}

// finish turns how a command ended into an exit code.
func finish(c *call, err error, stderr io.Writer) int {
	var usage *complaint.Complaint
	switch {
	case err == nil:
		return exitDone
	case errors.As(err, &usage):
		return complain(stderr, err)
	}

	c.out.failed(err)
	return exitRefused
}

func help(args []string, stdout, stderr io.Writer) int {
	if len(args) == 0 {
		fmt.Fprint(stderr, usageText)
		return exitUsage
	}

	if args[0] == "help" && len(args) > 1 {
		args = args[1:]
	}
	if t, ok := commandUsage[args[0]]; ok {
		fmt.Fprint(stdout, t)
		return exitDone
	}

	fmt.Fprint(stdout, usageText)
	return exitDone
}

// complain prints every complaint with its hint.
func complain(w io.Writer, err error) int {
	var many interface{ Unwrap() []error }
	if errors.As(err, &many) {
		for _, e := range many.Unwrap() {
			complain(w, e)
		}
		return exitUsage
	}

	fmt.Fprintf(w, "originator: %v\n", err)
	var c *complaint.Complaint
	if errors.As(err, &c) && c.Remedy != "" {
		fmt.Fprintf(w, "hint: %s\n", c.Remedy)
	}

	return exitUsage
}
