package forward_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"

	"fhirdest.example/server/forward"
)

// member is one of several destinations that share their records.
type member struct {
	*memory
	own    int64
	leader *atomic.Int64
}

func (m member) Lead(context.Context, string) (bool, error) {
	if m.leader.Load() == nobody {
		return false, errors.New("the store cannot be reached")
	}
	return m.leader.Load() == m.own, nil
}

// nobody is the leader while the store cannot be reached.
const nobody = -1

// A destination that has lost its connection to the store, and leads again later, does not
// send again what another has sent meanwhile, and moves no position back.
func TestLeadingAgainAfterAnother(t *testing.T) {
	e, m := newEnv(t), records(20)
	p := &repository{}
	url := p.start(e)

	var leader atomic.Int64
	leader.Store(1)
	first := e.run(m, e.feed(url), func(c *forward.Config) {
		c.Source = member{
			memory: m,
			own:    1,
			leader: &leader,
		}
	})
	e.Eventually("the first has sent all", func() bool { return first.State().Lag == 0 && first.State().Sent == 20 })
	leader.Store(nobody)
	e.Eventually("the first has lost its connection", func() bool { return first.State().Failures > 0 })

	m.add(30)
	other, stop := e.start(m, e.feed(url)) // it leads always
	e.Eventually("another has sent the rest", func() bool { return other.State().Position == 50 })
	stop()
	m.add(1)
	leader.Store(1)
	e.Eventually("the first has sent what is new", func() bool { return first.State().Position == 51 })
	if s := first.State(); s.Sent != 21 || s.Missed != 0 {
		t.Errorf("%+v", s)
	}

	p.mu.Lock()
	defer p.mu.Unlock()
	if got := fmt.Sprint(p.stored); got != wholeRecord(51) {
		t.Errorf("stored %s", got)
	}
}

// Of two destinations one sends the records of both; the other shows what the collector
// lacks, and goes on when the first has ended. Every record arrives once, in order.
func TestOneDestinationSends(t *testing.T) {
	e, m := newEnv(t), records(120)
	p := &repository{}
	url := p.start(e)

	var leader atomic.Int64
	leader.Store(1)
	start := func(own int64) (*forward.Forwarder, func()) {
		return e.start(m, e.feed(url), func(c *forward.Config) {
			c.Source = member{
				memory: m,
				own:    own,
				leader: &leader,
			}
		})
	}
	first, stop := start(1)
	e.Eventually("the first has sent all", func() bool { return first.State().Position == 120 })
	second, stopSecond := start(2)
	t.Cleanup(stopSecond)
	e.Eventually("the second waits", func() bool { return second.State().Waits && second.State().Position == 120 })

	stop()
	m.add(80)
	e.Eventually("the second sees what is not sent", func() bool { return second.State().Lag == 80 })
	leader.Store(2)
	e.Eventually("the second has sent all", func() bool { return second.State().Lag == 0 })
	if s := second.State(); s.Waits || s.Sent != 80 || s.Missed != 0 {
		t.Errorf("%+v", s)
	}

	p.mu.Lock()
	defer p.mu.Unlock()
	if got := fmt.Sprint(p.stored); got != wholeRecord(200) || len(p.faults) > 0 {
		t.Errorf("stored %s, faults %q", got, p.faults)
	}
}
