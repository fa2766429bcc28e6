// Command community runs a small trust community: it makes its authorities,
// issues certificates to members, revokes them, signs lists, and serves these.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"fhirdest.example/cmd/internal/proc"
	"fhirdest.example/cmd/internal/version"
	"fhirdest.example/gateway/complaint"
)

const usage = `usage: community COMMAND [flags]
       community -version

A trust community for UDAP: a root that others trust, a CA that issues to
members, and revocation lists of both.

  init     make a community
  issue    issue a certificate to a member, with a new key
  sign     issue a certificate for a member's own key, by its request (CSR)
  revoke   put a certificate on the list
  crl      sign both lists anew, or only when they are about to end
  show     print a certificate, a list or a PKCS#12 file with what is odd about
           it; or the trust sheet of a community, to hand to others
  serve    serve lists and CA certificates over HTTP

Examples:
  community init -ca trust/a -uri https://a.example/trust -name "Sandbox A" -base http://localhost:9481
  community issue -ca trust/a -uri https://client.example/app -out client
  community revoke -ca trust/a -cert client.pem -reason keyCompromise
  community show -ca trust/a
  community show client.pem
  community serve -config community.yaml

community COMMAND -h explains one command.
Exit: 0 done; 1 it failed; 2 usage or configuration.
`

// env is what a command may touch.
type env struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	now            func() time.Time
}

// usageError is a fault of the command line or the configuration.
type usageError struct{ error }

func (e usageError) Unwrap() []error {
	return []error{e.error}
}

func main() {
	proc.EndWithParent()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], env{os.Stdin, os.Stdout, os.Stderr, time.Now}))
}

func run(ctx context.Context, args []string, e env) int {
	if version.Asked(args) {
		version.Print(e.stdout, "community")
		return 0
	}

	commands := map[string]func(context.Context, []string, env) error{
		"init": initCommunity, "issue": issue, "sign": sign, "revoke": revoke, "crl": renew, "show": show,
		"serve": serve,
	}
	if len(args) == 0 {
		fmt.Fprint(e.stderr, usage)
		return 2
	}
	if args[0] == "-h" || args[0] == "-help" || args[0] == "--help" || args[0] == "help" {
		fmt.Fprint(e.stdout, usage)
		return 0
	}

	command, ok := commands[args[0]]
	if !ok {
		complaint.Print(e.stderr, complaint.New(
			fmt.Sprintf("unknown command %q", args[0]),
			"one of: init, issue, sign, revoke, crl, show, serve; community -h explains them",
		))
		return 2
	}

	return exit(e, command(ctx, args[1:], e))
}

// exit prints what went wrong and chooses the exit code.
func exit(e env, err error) int {
	switch {
	case err == nil:
		return 0
	case errors.Is(err, flag.ErrHelp):
		return 0
	}

	complaint.Print(e.stderr, err)
	if errors.As(err, new(usageError)) {
		return 2
	}
	return 1
}

// flags makes a flag set that prints the hand-written text of a command on -h
// and nothing else by itself.
func flags(name, text string, e env) *flag.FlagSet {
	fs := flag.NewFlagSet(name, flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	fs.Usage = func() { fmt.Fprint(e.stdout, text) }
	return fs
}

// parse reads the flags and refuses missing ones and stray arguments, all at
// once. It returns the arguments after the flags, of which there may be up to n.
func parse(fs *flag.FlagSet, args []string, n int, needed ...string) ([]string, error) {
	if err := fs.Parse(args); errors.Is(err, flag.ErrHelp) {
		return nil, err
	} else if err != nil {
		return nil, usageError{
			complaint.New(err.Error(), "community "+fs.Name()+" -h lists the flags"),
		}
	}

	var errs []error
	for _, name := range needed {
		if fs.Lookup(name).Value.String() == "" {
			errs = append(errs,
				complaint.New("-"+name+" is missing", "community "+fs.Name()+" -h shows an example"))
		}
	}

	if fs.NArg() > n {
		errs = append(errs, complaint.New(fmt.Sprintf("unexpected argument %q", fs.Arg(n)),
			"flags stand before arguments"))
	}
	if len(errs) > 0 {
		return nil, usageError{errors.Join(errs...)}
	}

	return fs.Args(), nil
}
