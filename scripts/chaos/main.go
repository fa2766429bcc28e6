// Command chaos disturbs two destinations on one PostgreSQL, behind one gateway, while
// clients register, get tokens, store resources, revoke tokens and cancel registrations,
// and a person grants an application access and withdraws it. In each round it kills a destination
// or PostgreSQL by SIGKILL, or severs the network between a destination and PostgreSQL,
// by resets or in silence. It verifies that
//
//   - every write that was acknowledged is there afterwards, at both destinations;
//   - no authentication token is accepted twice: of copies that are sent at once to both
//     destinations exactly one gives an access token, and copies are sent again all the
//     time, to both and through the gateway;
//   - what was revoked, cancelled or withdrawn, as was acknowledged, is refused ever after,
//     by both;
//   - clients see no 5xx but 502, 503 and 504, and 503 with Retry-After;
//   - while one destination is away, clients go on with the other.
//
// Every actor is a program of its own, as it is installed, and PostgreSQL waits for the
// disk. The exit code is 0 when all of that held, 1 when it did not, and 2 for a mistake
// in the arguments.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	f := flag.NewFlagSet("chaos", flag.ContinueOnError)
	f.SetOutput(stderr)
	rounds := f.Int("rounds", 100, "rounds, each with one disturbance")
	clients := f.Int("clients", 6, "clients that work at once")
	if err := f.Parse(args); errors.Is(err, flag.ErrHelp) {
		return 0
	} else if err != nil {
		return 2
	}
	if *rounds < 1 || *clients < 1 || *clients > 26 || f.NArg() > 0 {
		fmt.Fprintln(stderr, "chaos: one round and one client at least, and 26 clients at most; no arguments")
		return 2
	}

	if err := disturb(ctx, *rounds, *clients, stdout); err != nil {
		fmt.Fprintln(stderr, "chaos:", err)
		return 1
	}
	return 0
}

// disturb starts everything and does the rounds. The directory is kept when something did
// not hold.
func disturb(ctx context.Context, rounds, clients int, out io.Writer) (err error) {
	dir, err := os.MkdirTemp("", "chaos")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("%w\n(logs are in %s)", err, dir)
			return
		}
		err = os.RemoveAll(dir)
	}()
	if err := os.Chmod(dir, 0o711); err != nil { // PostgreSQL runs as another account
		return err
	}

	e, err := newEnv(ctx, dir)
	if e != nil {
		defer e.close()
	}
	if err != nil {
		return err
	}
	l, err := newLoad(ctx, e, clients)
	if err != nil {
		return err
	}
	defer l.close()

	if err := l.copies(ctx, copiesAtFirst); err != nil {
		return err
	}
	list := disturbances()
	for i := range rounds {
		d, before, begun := list[i%len(list)], l.book.now(), time.Now()
		if err := l.round(ctx, d); err != nil {
			return fmt.Errorf("round %d: %w", i+1, err)
		}
		fmt.Fprintf(out, "%d. %s (%.1f s): %s\n", i+1, d.name, time.Since(begun).Seconds(), l.book.now().since(before))
	}

	return l.finish(ctx, out)
}

// endsAtLast is how much of what has ended is asked for once more when all is over.
const endsAtLast = 1000

// finish ends the load and verifies everything once more.
func (l *load) finish(ctx context.Context, out io.Writer) error {
	l.stop()
	l.running.Wait()
	if err := l.verify(ctx, l.book.all(), l.book.lastEnds(endsAtLast)); err != nil {
		return err
	}
	if err := l.countWrites(ctx); err != nil {
		return err
	}
	fmt.Fprintf(out, "in all: %s; nothing acknowledged was lost, and nothing accepted twice or after its end\n",
		l.book.now().since(newBook().now()))
	return nil
}
