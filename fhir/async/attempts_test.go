package async_test

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"

	"fhirdest.example/fhir"
	"fhirdest.example/fhir/async"
	"fhirdest.example/fhir/async/asyncenv"
)

// killable is a store of jobs that stores nothing any more once the server is killed.
type killable struct {
	async.Store
	killed *atomic.Bool
}

func (s killable) Update(ctx context.Context, id string, change func(*async.Job) error) error {
	if s.killed.Load() {
		return errCrash
	}
	return s.Store.Update(ctx, id, change)
}

// stepwise is work that gets as far as the attempt says, and ends when it may.
type stepwise struct {
	begun  chan bool
	reach  func(attempt int) int64
	finish *atomic.Bool
}

func (stepwise) Check(context.Context, *fhir.Asked) error { return nil }

func (k stepwise) Do(ctx context.Context, w *async.Work) error {
	if err := w.Reached(ctx, k.reach(w.Attempts)); err != nil {
		return err
	}
	if k.finish.Load() {
		return w.Finish("", []byte(`{}`))
	}

	k.begun <- true
	<-ctx.Done()
	return ctx.Err()
}

// A job whose server stops during it is begun again, unless the server stopped each
// time at the same place: attempts that get further, and those that an operator ended
// by stopping the server in order, are not held against it.
//
// Covers: ER-18
func TestAttemptsThatCount(t *testing.T) {
	further := func(attempt int) int64 { return int64(attempt) }
	nowhere := func(int) int64 { return 1 }
	for name, c := range map[string]struct {
		reach func(attempt int) int64
		kill  bool // or stopped in order
		stops int
		want  int
	}{
		"killed at the same place":       {nowhere, true, 4, 500},
		"killed ever further":            {further, true, 10, 200},
		"killed ever further, for long":  {further, true, 20, 500},
		"stopped in order":               {nowhere, false, 21, 200},
		"killed at the same place, once": {nowhere, true, 1, 200},
	} {
		t.Run(name, func(t *testing.T) {
			var killed, finish atomic.Bool
			k := stepwise{
				begun:  make(chan bool, 1),
				reach:  c.reach,
				finish: &finish,
			}
			e := asyncenv.New(t, func(e *asyncenv.Env) {
				e.Kinds = exports(k)
				e.Broken = func(s async.Store) async.Store { return killable{s, &killed} }
			})

			at := e.Begin("GET", "/$export", asyncenv.All, "")
			for i := range c.stops {
				<-k.begun
				killed.Store(c.kill)
				e.Close()
				killed.Store(false)
				finish.Store(i == c.stops-1)
				e.Open()
				e.Run()
			}

			w := e.Wait(at, asyncenv.All)
			if w.Code != c.want || c.want == 500 && !strings.Contains(w.Body.String(), "each time") {
				t.Errorf("%d, want %d: %s", w.Code, c.want, w.Body)
			}
		})
	}
}

// How a job ended is stored as soon as that is possible again, without a restart.
func TestEndIsStoredLater(t *testing.T) {
	var killed atomic.Bool
	begun := make(chan bool, 1)
	e := asyncenv.New(t, func(e *asyncenv.Env) {
		e.Kinds = exports(ending{begun, &killed})
		e.Broken = func(s async.Store) async.Store { return killable{s, &killed} }
	})

	at := e.Begin("GET", "/$export", asyncenv.All, "")
	<-begun
	if w := e.Do("GET", at, asyncenv.All, ""); w.Code != 202 {
		t.Errorf("before it is stored: %d %s", w.Code, w.Body)
	}

	killed.Store(false)
	if w := e.Wait(at, asyncenv.All); w.Code != 200 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

// ending is work that ends when the store fails.
type ending struct {
	begun  chan bool
	failed *atomic.Bool
}

func (ending) Check(context.Context, *fhir.Asked) error { return nil }

func (k ending) Do(_ context.Context, w *async.Work) error {
	k.failed.Store(true)
	err := w.Finish("", []byte(`{}`))
	k.begun <- true
	return err
}
