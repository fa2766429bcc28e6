package main

import (
	"context"
	"net/http"
	"sync"
	"time"
)

// load is what clients do while everything is disturbed.
type load struct {
	env     *env
	book    *book
	clients []*originator
	front   *http.Client    // of the checks, through the gateway
	direct  [2]*http.Client // straight to each destination

	stop    context.CancelFunc
	running sync.WaitGroup
}

// pause is what a client does after a failure: as Retry-After asks, but more impatient.
const pause = 50 * time.Millisecond

// newLoad registers clients and has them work until close.
func newLoad(ctx context.Context, e *env, clients int) (*load, error) {
	l := &load{
		env:   e,
		book:  newBook(),
		front: e.httpClient(e.address),
	}
	for i, d := range e.destinations {
		l.direct[i] = e.httpClient(d.address)
	}
	for i := range clients {
		o, err := e.registered(ctx, "client"+string(rune('a'+i)))
		if err != nil {
			return nil, err
		}
		l.clients = append(l.clients, o)
	}
	leaving, err := e.newOriginator("leaving")
	if err != nil {
		return nil, err
	}
	application, err := e.newOriginator("application")
	if err != nil {
		return nil, err
	}

	ctx, l.stop = context.WithCancel(ctx)
	for _, o := range l.clients {
		l.running.Go(func() { l.work(ctx, o) })
	}
	l.running.Go(func() { l.cancel(ctx, leaving) })
	l.running.Go(func() { l.withdraw(ctx, application) })
	l.running.Go(func() { l.replay(ctx) })
	return l, nil
}

// close ends the work.
func (l *load) close() {
	l.stop()
	l.running.Wait()
}

// revokeEvery is of how many tokens one is revoked.
const revokeEvery = 3

// work asks for tokens and stores resources, one after the other, and revokes some of the
// tokens.
func (l *load) work(ctx context.Context, o *originator) {
	for n := 0; ctx.Err() == nil; n++ {
		token, ok := l.token(ctx, o)
		for i := 0; ok && i < 4; i++ {
			ok = o.create(ctx, l.book, token)
		}
		if ok && n%revokeEvery == 0 {
			ok = o.revoke(ctx, l.book, token)
		}
		o.rest(ctx, ok)
	}
}

// token asks for a token, and reports whether there is one.
func (l *load) token(ctx context.Context, o *originator) (string, bool) {
	form, err := o.tokenForm()
	if err != nil {
		l.book.violate("%s cannot sign: %v", o.name, err)
		return "", false
	}

	a := l.book.send(o.name, form)
	defer l.book.finish(a)
	token, got := a.ask(ctx, l.book, o.http, "through the gateway")
	if got.status > 0 && got.status < 500 && token == "" {
		l.book.violate("a first token request of %s: status %d: %s", o.name, got.status, got.text())
	}
	return token, token != ""
}

// replay sends copies of assertions again, to either destination or through the gateway,
// spent ones and those of which nobody knows what became of them, and what has ended.
func (l *load) replay(ctx context.Context) {
	routes := []struct {
		where string
		c     *http.Client
	}{
		{"at destination a", l.direct[0]},
		{"at destination b", l.direct[1]},
		{"through the gateway", l.front},
	}
	for ctx.Err() == nil {
		a := l.book.any()
		if a == nil {
			sleep(ctx, pause)
			continue
		}
		r := anyOf(routes)
		a.ask(ctx, l.book, r.c, "again, "+r.where)
		if e, ok := l.book.anyEnd(); ok {
			r = anyOf(routes)
			e.refused(ctx, l.book, r.c, r.where)
		}
		l.book.add(func(c *counts) { c.replays++ })
		sleep(ctx, 10*time.Millisecond) // most of the load are first requests
	}
}

// sleep waits, or until ctx ends.
func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
