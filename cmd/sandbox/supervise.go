package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"
)

// part is one actor: its name, the listener that it serves, and the function
// that plays it until ctx ends.
type actor struct {
	name string
	role string
	runActor func(ctx context.Context, p *port) error
}

// cast are the actors of a sandbox. They start in order and stop in reverse.
type supervisor struct {
	ports ports
	actors []actor
	ended chan error // an actor that ended by itself

	mu      sync.Mutex
	started map[string]*running
}

// performance is an actor that plays.
type running struct {
	cancel context.CancelFunc
	done   chan struct{}
	err    error // set before done is closed
}

func newSupervisor(ps ports, actors []actor) *supervisor {
	return &supervisor{
		ports:   ps,
		actors:   actors,
		ended:   make(chan error, len(actors)),
		started: map[string]*running{},
	}
}

// startAll starts every actor and waits until each answers.
func (c *supervisor) startAll(ctx context.Context) error {
	for _, p := range c.actors {
		if err := c.start(ctx, p.name); err != nil {
			return err
		}
	}
	return nil
}

// start starts one actor, again if need be, and waits until its listener
// accepts.
func (c *supervisor) start(ctx context.Context, name string) error {
	p, err := c.actor(name)
	if err != nil {
		return err
	}

	inner, cancel := context.WithCancel(context.WithoutCancel(ctx)) // stopped by stop, in order
	r := &running{cancel: cancel, done: make(chan struct{})}
	go func() {
		r.err = p.runActor(inner, c.ports[p.role])
		close(r.done)
		if inner.Err() == nil {
			c.ended <- fmt.Errorf("%s ended by itself: %w", name, orUnknown(r.err))
		}
	}()

	c.mu.Lock()
	c.started[name] = r
	c.mu.Unlock()
	return c.await(ctx, p, r)
}

func (c *supervisor) actor(name string) (actor, error) {
	for _, p := range c.actors {
		if p.name == name {
			return p, nil
		}
	}
	return actor{}, fmt.Errorf("there is no actor %q", name)
}

func orUnknown(err error) error {
	if err == nil {
		return errors.New("without saying why")
	}
	return err
}

// startTime bounds how long an actor may take to listen; a destination seeds
// its population before.
const startTime = 2 * time.Minute

func (c *supervisor) await(ctx context.Context, p actor, r *running) error {
	address := c.ports[p.role].address
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()

	for {
		select {
		case <-r.done:
			return fmt.Errorf("%s did not start: %w", p.name, orUnknown(r.err))
		case <-ctx.Done():
			return fmt.Errorf("%s does not listen at %s: %w", p.name, address, ctx.Err())
		case <-time.After(20 * time.Millisecond):
		}

		if answers(ctx, r, p.role, address) {
			return nil
		}
	}
}

// answers reports whether an actor serves its listener, which may have been
// bound long before: whether it shakes hands, or, the lists' server, answers.
func answers(ctx context.Context, r *running, role, address string) bool {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	go func() { // an actor that ends leaves the connection waiting
		select {
		case <-r.done:
			cancel()
		case <-ctx.Done():
		}
	}()

	if role == "crl" {
		return getsAnswer(ctx, "http://"+dialable(address)+"/")
	}

	// Who answers does not matter here; clients verify.
	dialer := &tls.Dialer{Config: &tls.Config{
		InsecureSkipVerify: true,
		NextProtos:         []string{"http/1.1"},
	}}
	conn, err := dialer.DialContext(ctx, "tcp", dialable(address))
	if err != nil {
		return false
	}

	_ = conn.Close()
	return true
}

func getsAnswer(ctx context.Context, url string) bool {
	req, err := http.NewRequestWithContext(ctx, http.MethodHead, url, nil)
	if err != nil {
		return false
	}

	req.Close = true
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return false
	}

	_ = resp.Body.Close()
	return true
}

func accepts(ctx context.Context, address string) bool {
	conn, err := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "tcp", dialable(address))
	if err != nil {
		return false
	}
	_ = conn.Close()
	return true
}

// stop ends one actor and waits for it.
func (c *supervisor) stop(name string) error {
	c.mu.Lock()
	r := c.started[name]
	delete(c.started, name)
	c.mu.Unlock()
	if r == nil {
		return nil
	}

	r.cancel()
	<-r.done
	if r.err != nil {
		return fmt.Errorf("%s: %w", name, r.err)
	}

	return nil
}

// stopAll ends every actor, those that others need last.
func (c *supervisor) stopAll() error {
	var errs []error
	for i := len(c.actors) - 1; i >= 0; i-- {
		errs = append(errs, c.stop(c.actors[i].name))
	}
	return errors.Join(errs...)
}
