// Package supervise runs actors, each inside this program or as a program of its own: it
// starts them in order, waits until each answers, and stops them in reverse.
package supervise

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

// Actor is one actor.
type Actor struct {
	Name string
	Role string // of the listener that it serves
	// Plain: the listener speaks HTTP without TLS.
	Plain bool
	// Run runs the actor until ctx ends.
	Run func(ctx context.Context, p *Port) error
}

// Supervisor runs actors.
type Supervisor struct {
	Ports  Ports
	Actors []Actor // in the order in which they start
	// Ended has each actor that ended by itself.
	Ended chan *EndedError

	mu      sync.Mutex
	started map[string]*running // by name
}

// running is an actor that has been started.
type running struct {
	cancel context.CancelFunc
	done   chan struct{}
	err    error // set before done is closed
}

// EndedError is the error for an actor that ended by itself.
type EndedError struct {
	Name string // of the actor
	Err  error
}

func (e *EndedError) Error() string {
	return fmt.Sprintf("%s ended by itself: %v", e.Name, e.Err)
}

func (e *EndedError) Unwrap() error { return e.Err }

// New returns a supervisor of actors that are not yet started.
func New(ps Ports, actors []Actor) *Supervisor {
	return &Supervisor{
		Ports:   ps,
		Actors:  actors,
		Ended:   make(chan *EndedError, len(actors)),
		started: map[string]*running{},
	}
}

// StartAll starts every actor and waits until each answers.
func (c *Supervisor) StartAll(ctx context.Context) error {
	for _, p := range c.Actors {
		if err := c.Start(ctx, p.Name); err != nil {
			return err
		}
	}
	return nil
}

// Start starts one actor, again if need be, and waits until its listener answers.
func (c *Supervisor) Start(ctx context.Context, name string) error {
	p, err := c.actor(name)
	if err != nil {
		return err
	}

	inner, cancel := context.WithCancel(context.WithoutCancel(ctx)) // stopped by Stop, in order
	r := &running{
		cancel: cancel,
		done:   make(chan struct{}),
	}
	go func() {
		r.err = p.Run(inner, c.Ports[p.Role])
		close(r.done)
		if inner.Err() == nil {
			c.Ended <- &EndedError{
				Name: name,
				Err:  orUnknown(r.err),
			}
		}
	}()

	c.mu.Lock()
	c.started[name] = r
	c.mu.Unlock()
	return c.await(ctx, p, r)
}

func (c *Supervisor) actor(name string) (Actor, error) {
	for _, p := range c.Actors {
		if p.Name == name {
			return p, nil
		}
	}
	return Actor{}, fmt.Errorf("there is no actor %q", name)
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

func (c *Supervisor) await(ctx context.Context, p Actor, r *running) error {
	address := c.Ports[p.Role].Address
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()

	for {
		select {
		case <-r.done:
			return fmt.Errorf("%s did not start: %w", p.Name, orUnknown(r.err))
		case <-ctx.Done():
			return fmt.Errorf("%s does not listen at %s: %w", p.Name, address, ctx.Err())
		case <-time.After(20 * time.Millisecond):
		}

		if answers(ctx, r, p.Plain, address) {
			return nil
		}
	}
}

// answers reports whether an actor serves its listener, which may have been
// bound long before: whether it shakes hands or, without TLS, answers.
func answers(ctx context.Context, r *running, plain bool, address string) bool {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	go func() { // an actor that ends leaves the connection waiting
		select {
		case <-r.done:
			cancel()
		case <-ctx.Done():
		}
	}()

	if plain {
		return getsAnswer(ctx, "http://"+Dialable(address)+"/")
	}

	// Clients verify; here any answer will do.
	dialer := &tls.Dialer{Config: &tls.Config{
		InsecureSkipVerify: true,
		NextProtos:         []string{"http/1.1"},
	}}
	conn, err := dialer.DialContext(ctx, "tcp", Dialable(address))
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

// Accepts reports whether anything listens at an address.
func Accepts(ctx context.Context, address string) bool {
	conn, err := (&net.Dialer{Timeout: time.Second}).DialContext(
		ctx,
		"tcp",
		Dialable(address),
	)
	if err != nil {
		return false
	}
	_ = conn.Close()
	return true
}

// Stop ends one actor and waits for it.
func (c *Supervisor) Stop(name string) error {
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

// StopAll ends every actor, those that others need last.
func (c *Supervisor) StopAll() error {
	var errs []error
	for i := len(c.Actors) - 1; i >= 0; i-- {
		errs = append(errs, c.Stop(c.Actors[i].Name))
	}
	return errors.Join(errs...)
}
