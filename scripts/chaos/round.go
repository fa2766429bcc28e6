package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-json-experiment/json"
)

// disturbance is one thing that goes wrong, and ends.
type disturbance struct {
	name string
	// begin does it, and end puts it right again.
	begin, end func(ctx context.Context, l *load) error
	// meanwhile returns what clients must have seen before it ends.
	meanwhile func(l *load, before counts) bool
}

// progress is how many writes must be acknowledged while one destination is away.
const progress = 20

// writesEachSearch is how many writes are searched for at once.
const writesEachSearch = 50

// disturbances are what the rounds do, in turn.
func disturbances() (list []disturbance) {
	for i, name := range []string{"a", "b"} {
		list = append(list,
			disturbance{
				name: "kill -9 of destination " + name,
				begin: func(_ context.Context, l *load) error {
					l.env.destinations[i].process.Kill()
					return nil
				},
				end: func(_ context.Context, l *load) error {
					return l.env.startDestination(l.env.destinations[i])
				},
				meanwhile: goesOn,
			},
			killDatabase(),
			sever(i, name, false),
			sever(i, name, true),
		)
	}
	return list
}

// goesOn reports whether clients go on with the other destination.
func goesOn(l *load, before counts) bool {
	return l.book.now().writes >= before.writes+progress
}

// killDatabase kills PostgreSQL: everybody has 503, with Retry-After.
func killDatabase() disturbance {
	return disturbance{
		name:  "kill -9 of PostgreSQL",
		begin: func(_ context.Context, l *load) error { return l.env.database.Kill() },
		end: func(ctx context.Context, l *load) error {
			return patiently(ctx, "PostgreSQL starts", func() error { return l.env.startDatabase(ctx) })
		},
		meanwhile: func(l *load, before counts) bool {
			return l.book.now().unavailable >= before.unavailable+progress
		},
	}
}

// sever cuts the network between a destination and PostgreSQL: it has 503, with
// Retry-After, and the other one goes on.
func sever(i int, name string, silent bool) disturbance {
	how := "with resets"
	if silent {
		how = "in silence"
	}
	return disturbance{
		name: "network of destination " + name + " severed " + how,
		begin: func(ctx context.Context, l *load) error {
			l.env.destinations[i].link.cut(silent)
			return patiently(ctx, "destination "+name+" answers 503", func() error {
				return l.unavailable(ctx, i)
			})
		},
		end: func(_ context.Context, l *load) error {
			l.env.destinations[i].link.mend()
			return nil
		},
		meanwhile: goesOn,
	}
}

// unavailable returns why a destination does not answer 503 to a token request.
func (l *load) unavailable(ctx context.Context, i int) error {
	_, got, err := l.newToken(ctx, l.direct[i], "at destination "+l.env.destinations[i].name)
	switch {
	case err != nil:
		return err
	case got.status != http.StatusServiceUnavailable:
		return fmt.Errorf("status %d: %s", got.status, got.text())
	}
	return nil
}

// newToken asks for a token with a new assertion of the first client.
func (l *load) newToken(ctx context.Context, c *http.Client, where string) (string, answer, error) {
	form, err := l.clients[0].tokenForm()
	if err != nil {
		return "", answer{}, err
	}
	a := l.book.send(l.clients[0].name, form)
	defer l.book.finish(a)
	token, got := a.ask(ctx, l.book, c, where)
	return token, got, nil
}

// needToken returns a token, however often that takes.
func (l *load) needToken(ctx context.Context, c *http.Client, where string) (token string, err error) {
	err = patiently(ctx, "a token "+where, func() error {
		var got answer
		var err error
		token, got, err = l.newToken(ctx, c, where)
		if err == nil && token == "" {
			err = fmt.Errorf("status %d: %s", got.status, got.text())
		}
		return err
	})
	return token, err
}

// patiently tries until something goes well.
func patiently(ctx context.Context, what string, try func() error) error {
	end := time.Now().Add(patience)
	for {
		err := try()
		if err == nil {
			return nil
		}
		if ctx.Err() != nil || time.Now().After(end) {
			return fmt.Errorf("never: %s: %w", what, err)
		}
		sleep(ctx, 20*time.Millisecond)
	}
}

// round disturbs once, and verifies afterwards that nothing was lost and nothing accepted
// twice.
func (l *load) round(ctx context.Context, d disturbance) error {
	before := l.book.now()
	if err := d.begin(ctx, l); err != nil {
		return fmt.Errorf("%s: %w", d.name, err)
	}

	err := patiently(ctx, "what clients must see during "+d.name, func() error {
		if d.meanwhile(l, before) {
			return nil
		}
		return fmt.Errorf("they have seen %s", l.book.now().since(before))
	})
	if err != nil {
		return err
	}

	if err := d.end(ctx, l); err != nil {
		return fmt.Errorf("%s: %w", d.name, err)
	}
	if err := patiently(ctx, "everything works again after "+d.name, func() error { return l.works(ctx) }); err != nil {
		return err
	}
	if err := l.copies(ctx, copiesEachRound); err != nil {
		return err
	}
	return l.verify(ctx, l.book.unverified(), l.book.newEnds())
}

// How many copies of one assertion of each of a few clients are sent at once, at the
// beginning and after each round.
const (
	copiesAtFirst   = 200
	copiesEachRound = 40
	copiedClients   = 3
)

// copies sends copies of a new assertion at once, to both destinations, for a few clients
// one after the other: exactly one of each is answered with a token, and the others are
// refused. What has no answer, or 503, is sent again.
func (l *load) copies(ctx context.Context, n int) error {
	for _, o := range l.clients[:min(copiedClients, len(l.clients))] {
		if err := l.copiesOf(ctx, o, n); err != nil {
			return err
		}
	}
	return nil
}

// copiesOf sends copies of one assertion.
func (l *load) copiesOf(ctx context.Context, o *originator, n int) error {
	form, err := o.tokenForm()
	if err != nil {
		return err
	}
	a := l.book.send(o.name, form)
	defer l.book.finish(a)

	statuses := make(chan int, n)
	begin := make(chan bool)
	var all sync.WaitGroup
	var lost atomic.Int64
	for i := range n {
		all.Go(func() {
			<-begin
			status, tries := a.decided(ctx, l.book, l.direct[i%2], "of several copies")
			lost.Add(int64(tries - 1))
			statuses <- status
		})
	}
	close(begin)
	all.Wait()
	close(statuses)

	count := map[int]int{}
	for s := range statuses {
		count[s]++
	}
	accepted, refused := count[http.StatusOK], count[http.StatusBadRequest]+count[http.StatusUnauthorized]
	unknown := accepted == 0 && lost.Load() > 0 // it may be the one that was accepted
	if accepted+refused != n || accepted != 1 && !unknown {
		return fmt.Errorf("%d copies of one assertion of %s are answered with these statuses: %v", n, o.name, count)
	}
	return nil
}

// decided asks until a destination accepts an assertion or refuses it, and returns the
// status and how often it has asked.
func (a *assertion) decided(ctx context.Context, b *book, c *http.Client, where string) (status, tries int) {
	for end := time.Now().Add(patience); ; {
		_, got := a.ask(ctx, b, c, where)
		tries++
		if got.status > 0 && got.status < 500 || ctx.Err() != nil || time.Now().After(end) {
			return got.status, tries
		}
		sleep(ctx, 20*time.Millisecond)
	}
}

// works returns why not everything works: both destinations give tokens, and the gateway
// has both in service.
func (l *load) works(ctx context.Context) error {
	for i, d := range l.env.destinations {
		_, got, err := l.newToken(ctx, l.direct[i], "at destination "+d.name)
		if err != nil || got.status != http.StatusOK {
			return fmt.Errorf("destination %s: status %d, %w: %s", d.name, got.status, err, got.text())
		}
		if ready := get(ctx, "http://"+d.admin+"/ready"); ready.status != http.StatusOK {
			return fmt.Errorf("destination %s is not ready: %s", d.name, ready.text())
		}
	}

	metrics := string(get(ctx, "http://"+l.env.admin+"/metrics").body)
	for _, d := range l.env.destinations {
		up := fmt.Sprintf("\ngateway_next_hop_up{route=\"acme\",address=%q} 1\n", d.address)
		if !strings.Contains(metrics, up) {
			return fmt.Errorf("the gateway has destination %s out", d.name)
		}
	}
	return nil
}

// get asks an administrative listener.
func get(ctx context.Context, url string) answer {
	c := &http.Client{
		Timeout:   patience,
		Transport: &http.Transport{DisableKeepAlives: true},
	}
	return send(ctx, c, "GET", url, "", "", "")
}

// verify finds writes at both destinations, and has both refuse what has ended and the
// latest spent assertions.
func (l *load) verify(ctx context.Context, writes []write, ends []end) error {
	var both sync.WaitGroup
	var errs [2]error
	for i := range l.env.destinations {
		both.Go(func() { errs[i] = l.verifyAt(ctx, i, writes, ends) })
	}
	both.Wait()
	if err := errors.Join(errs[:]...); err != nil {
		return err
	}

	if list := l.book.found(); len(list) > 0 {
		return fmt.Errorf("violated:\n%s", strings.Join(list, "\n"))
	}
	return nil
}

// verifyAt is verify at one destination.
func (l *load) verifyAt(ctx context.Context, i int, writes []write, ends []end) error {
	where := "at destination " + l.env.destinations[i].name
	token, err := l.needToken(ctx, l.direct[i], where)
	if err != nil {
		return err
	}
	if err := l.verifyWrites(ctx, i, token, writes); err != nil {
		return err
	}
	for _, w := range writes[max(0, len(writes)-progress):] {
		if err := patiently(ctx, "Basic/"+w.id+" is read "+where, func() error {
			if !w.read(ctx, l.book, l.direct[i], token, where) && len(l.book.found()) == 0 {
				return io.ErrNoProgress
			}
			return nil
		}); err != nil {
			return err
		}
	}

	for _, a := range l.book.spent(progress) {
		status, _ := a.decided(ctx, l.book, l.direct[i], "again, "+where)
		if status != http.StatusBadRequest && status != http.StatusUnauthorized {
			l.book.violate("a spent assertion is answered %s with status %d", where, status)
		}
	}
	return l.verifyEnds(ctx, i, ends)
}

// countWrites verifies that no write was done twice: there are as many as were sent, at
// most, and as were acknowledged, at least.
func (l *load) countWrites(ctx context.Context) error {
	token, err := l.needToken(ctx, l.front, "through the gateway")
	if err != nil {
		return err
	}
	var bundle struct {
		Total *int `json:"total"`
	}
	err = patiently(ctx, "writes are counted", func() error {
		got := send(ctx, l.front, "GET", base+"/Basic?_summary=count", "", token, "")
		if err := json.Unmarshal(got.body, &bundle); err != nil || bundle.Total == nil {
			return fmt.Errorf("status %d, %w: %s", got.status, err, got.text())
		}
		return nil
	})
	if err != nil {
		return err
	}

	now := l.book.now()
	if *bundle.Total < now.writes || *bundle.Total > now.sent {
		return fmt.Errorf("%d writes are stored; %d were acknowledged and %d sent", *bundle.Total, now.writes, now.sent)
	}
	return nil
}
