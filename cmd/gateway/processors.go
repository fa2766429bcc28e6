package main

import (
	"context"
	"os"
	"runtime"
	"runtime/metrics"
	"time"

	"fhirdest.example/cmd/internal/proc"
)

// Go's scheduler uses all processors that there are. With two, every few small messages wake
// a thread on the other one, and what belongs to a connection moves between their caches: a
// message costs up to 40 % more than on one. So the scheduler gets one processor, and more
// while it uses that up or has work wait for it, where more get more done.

// paceOfLoad is how often the load is looked at.
const paceOfLoad = 100 * time.Millisecond

const (
	// busyShare of the processors in use, or more, means that they are used up.
	busyShare = 0.85
	// calmShare or less of those that would be left means that one less will do.
	calmShare = 0.6
	// calmLooks is how many looks in a row must find that.
	calmLooks = 10
	// idleShare of a processor, or more, that nothing on the machine uses is worth having.
	idleShare = 0.5
	// longQueue is how many goroutines wait for each processor, on average, where it is
	// used up, although other programs may have most of it.
	longQueue = 4
	// longRun is the time between two waits of a goroutine, of which a few are for one
	// message, from which on another processor is no loss even where all have work.
	longRun = 15 * time.Microsecond
)

// processors is how many processors the scheduler uses.
type processors struct {
	now, most int
	calm      int // looks in a row
}

// load is that of the time between two looks.
type load struct {
	busy, idle float64       // processors that the program used, and nothing
	waiting    float64       // goroutines that could have run, on average
	run        time.Duration // of a goroutine, on average
}

// adjust returns how many processors to use from now on. Half of them need no other reason
// than that fewer are used up: where other programs keep the whole machine busy, one
// processor would be a small part of it.
func (p *processors) adjust(l load) int {
	now, others, half := float64(p.now), float64(p.now-1), p.most/2
	queue := l.waiting >= longQueue*now
	usedUp := queue || l.busy >= busyShare*now
	gains := 2*p.now <= half || l.idle >= idleShare || l.run >= longRun
	fewer := !queue && l.busy <= calmShare*others
	same := !gains && p.now > half && l.busy <= others // as much gets done with one less

	switch {
	case gains && usedUp:
		p.now = min(2*p.now, p.most)
		p.calm = 0
	case p.now > 1 && (fewer || same):
		if p.calm++; p.calm == calmLooks {
			p.now--
			p.calm = 0
		}
	default:
		p.calm = 0
	}

	return p.now
}

// followLoad sets the number of processors until ctx ends, unless the environment does, or
// the system does not report how much they are used.
func followLoad(ctx context.Context) {
	m := newMeter()
	before, ok := m.measure()
	if !ok || os.Getenv("GOMAXPROCS") != "" {
		return
	}

	p := processors{
		now:  1,
		most: runtime.GOMAXPROCS(1),
	}
	t := time.NewTicker(paceOfLoad)
	defer t.Stop()

	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}

		now := p.now
		if use, ok := m.measure(); ok {
			p.adjust(use.since(before))
			before = use
		} else {
			p.now = p.most // no descriptor is left to read it with, for one
		}

		if p.now != now {
			runtime.GOMAXPROCS(p.now)
		}
	}
}

// use is what has been used since some time in the past.
type use struct {
	at        time.Time
	cpu, idle time.Duration // by the program, and by nothing
	runs      uint64        // of goroutines
	waiting   float64       // seconds that they could have run, in all
}

// meter measures what is used. It keeps the memory for that: what a program that does
// nothing allocates would look like work to tidy.
type meter struct{ runs [1]metrics.Sample }

func newMeter() *meter {
	return &meter{[1]metrics.Sample{{Name: "/sched/latencies:seconds"}}}
}

// measure returns what has been used so far; false: the system does not report it.
func (m *meter) measure() (u use, ok bool) {
	u.at = time.Now()
	if u.cpu, ok = proc.CPUTime(); !ok {
		return u, false
	}
	if u.idle, ok = proc.IdleTime(); !ok {
		return u, false
	}

	metrics.Read(m.runs[:])
	h := m.runs[0].Value.Float64Histogram()
	for i, n := range h.Counts {
		n *= 8 // of each goroutine's, the scheduler counts every eighth
		u.runs += n
		u.waiting += float64(n) * max(0, h.Buckets[i])
	}

	return u, true
}

// since returns the load of the time between two measurements.
func (u use) since(before use) load {
	took := float64(u.at.Sub(before.at))
	cpu := u.cpu - before.cpu
	return load{
		busy:    float64(cpu) / took,
		idle:    float64(u.idle-before.idle) / took,
		waiting: (u.waiting - before.waiting) * float64(time.Second) / took,
		run:     cpu / time.Duration(max(1, u.runs-before.runs)),
	}
}
