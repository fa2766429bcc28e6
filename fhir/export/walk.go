package export

import (
	"context"
	"fmt"
	"runtime"
	"runtime/debug"
	"sync"

	"fhirdest.example/fhir"
)

// maxCopiers is how many goroutines read and decide at once. They read by turns, which
// is about a third of their work, and the goroutine of the task writes: more of them
// would take from other requests what they spend waiting for each other.
const maxCopiers = 2

// walk goes through all resources by their numbers. Copiers take as many as a batch may
// have by turns, and decide about them at once; the batches are written in the order of
// the numbers.
type walk struct {
	*plan
	empty chan *batch
	order chan *batch // that were begun

	mu    sync.Mutex // guards all below, and is held while rows are read
	after uint64     // the last number that was read
	ended bool
}

// walk exports all resources that are exported for themselves.
func (t *task) walk(ctx context.Context) error {
	copiers := min(maxCopiers, runtime.GOMAXPROCS(0))
	if t.spare.TryLock() { // exports at the same time share one more
		defer t.spare.Unlock()
	} else {
		copiers = 1
	}

	w := &walk{
		plan:  &t.plan,
		empty: make(chan *batch, copiers+1),
		order: make(chan *batch, copiers+1),
	}
	for range cap(w.empty) {
		w.empty <- newBatch()
	}

	ctx, stop := context.WithCancel(ctx)
	var under sync.WaitGroup
	for i := range copiers {
		c := t.newCopier()
		if i > 0 {
			c.access = t.viewer(ctx)
			defer t.access.Join(c.access)
		}
		under.Go(func() { w.work(ctx, c) })
	}
	go func() {
		under.Wait()
		close(w.order)
	}()

	defer func() {
		stop()
		for range w.order { // until no copier is left
		}
	}()
	return t.collect(ctx, w)
}

// collect writes the batches.
func (t *task) collect(ctx context.Context, w *walk) error {
	for b := range w.order {
		<-b.filled
		if b.err != nil {
			return b.err
		}
		if err := t.hand(ctx, b); err != nil {
			return err
		}

		t.work.Progress("%d%%: %d resources", b.last*100/max(t.moment.last, 1), t.given)
		if err := t.work.Reached(ctx, int64(b.last)); err != nil {
			return err
		}
		w.empty <- b
	}
	return ctx.Err() // copiers end early when that is over
}

// work fills batches until there is nothing left, or one failed.
func (w *walk) work(ctx context.Context, c *copier) {
	for {
		select {
		case c.batch = <-w.empty:
		case <-ctx.Done():
			return
		}
		if !w.fill(ctx, c) {
			return
		}
	}
}

// fill fills a batch, in one transaction that is begun when it is its turn. It reports
// whether there may be more.
func (w *walk) fill(ctx context.Context, c *copier) bool {
	w.mu.Lock()
	read := sync.OnceFunc(w.mu.Unlock)
	defer read()
	if w.ended {
		return false
	}

	b := c.batch
	b.reset()
	w.ended = true // unless it is found that there is more
	w.order <- b   // has room for all batches

	b.err = guarded(func() error {
		return w.Store.View(ctx, func(sn fhir.Snapshot) error {
			last, more, err := c.read(ctx, sn, w.after)
			b.last = last
			w.after, w.ended = last, err != nil || !more
			read()

			if err != nil {
				return err
			}
			return c.decide(ctx, sn)
		})
	})
	b.filled <- struct{}{}
	return b.err == nil
}

// guarded makes a panic the failure of one job.
func guarded(f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("export: copying panicked: %v\n%s", p, debug.Stack())
		}
	}()
	return f()
}
