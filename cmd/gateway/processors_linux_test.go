package main

import (
	"context"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// The program begins with one processor, unless the environment has their number.
func TestFollowLoadBegins(t *testing.T) {
	most := runtime.GOMAXPROCS(3)
	defer runtime.GOMAXPROCS(most)

	for name, test := range map[string]struct {
		env  string
		want int
	}{
		"by itself":          {"", 1},
		"by the environment": {"3", 3},
	} {
		t.Run(name, func(t *testing.T) {
			runtime.GOMAXPROCS(3)
			t.Setenv("GOMAXPROCS", test.env)
			ctx, stop := context.WithCancel(t.Context())
			stop() // it ends before its first look
			followLoad(ctx)
			if got := runtime.GOMAXPROCS(0); got != test.want {
				t.Errorf("%d processors, want %d", got, test.want)
			}
		})
	}
}

// Without descriptors the load cannot be measured, which is no time to be slow.
func TestAllProcessorsWithoutAMeasurement(t *testing.T) {
	before := runtime.GOMAXPROCS(3)
	defer runtime.GOMAXPROCS(before)
	t.Setenv("GOMAXPROCS", "")
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		followLoad(ctx)
	}()
	defer func() {
		stop()
		<-ended
	}()
	awaitProcessors(t, 1)

	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	none := limit
	none.Cur = 0
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &none); err != nil {
		t.Fatal(err)
	}
	defer syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit)

	awaitProcessors(t, 3)
}

// awaitProcessors waits until so many are used.
func awaitProcessors(t *testing.T, n int) {
	t.Helper()
	for end := time.Now().Add(time.Minute); runtime.GOMAXPROCS(0) != n; {
		if time.Now().After(end) {
			t.Fatalf("%d processors, want %d", runtime.GOMAXPROCS(0), n)
		}
		time.Sleep(time.Millisecond)
	}
}

// Processor time is measured in processors, and the runs of goroutines are counted, about.
func TestUseIsMeasured(t *testing.T) {
	m := newMeter()
	before, ok := m.measure()
	if !ok {
		t.Fatal("nothing is reported")
	}

	// Two goroutines wake each other until they have used processor time.
	const work, most = 200 * time.Millisecond, 2 * time.Minute
	a, b := make(chan bool), make(chan bool)
	go func() {
		for range a {
			b <- true
		}
	}()
	now, turns := before, 0
	for now.cpu-before.cpu < work && now.at.Sub(before.at) < most {
		for range 1000 {
			a <- true
			<-b
		}
		turns += 1000
		now, _ = m.measure()
	}
	close(a)

	l := now.since(before)
	if took := now.at.Sub(before.at).Seconds(); l.busy*took < work.Seconds() || l.busy > 2*float64(runtime.NumCPU()) {
		t.Errorf("%v processors were busy for %v s", l.busy, took)
	}
	if before.idle <= 0 {
		t.Errorf("the processors were idle for %v", before.idle)
	}
	each := (now.cpu - before.cpu) / time.Duration(2*turns)
	if l.run < each/4 || l.run > 4*each {
		t.Errorf("a run has %v, want about %v", l.run, each)
	}
}

// A program that does nothing but measure its use allocates so little that tidy finds it
// quiet.
func TestMeterLeavesTheProgramQuiet(t *testing.T) {
	m := newMeter()
	m.measure()
	const seconds = 10
	before := allocated()
	for range seconds * int(time.Second/paceOfLoad) {
		m.measure()
	}
	if got := (allocated() - before) / seconds; got > quietBytes/2 {
		t.Errorf("%d bytes are allocated in a second, of %d", got, quietBytes)
	}
}

// Goroutines that wait for a processor are counted, about, whoever has the processor.
func TestWaitingIsMeasured(t *testing.T) {
	before := runtime.GOMAXPROCS(1)
	defer runtime.GOMAXPROCS(before)
	m := newMeter()
	first, ok := m.measure()
	if !ok {
		t.Fatal("nothing is reported")
	}

	const waiting = 8
	var end atomic.Bool
	var all sync.WaitGroup
	for range waiting {
		all.Go(func() {
			for !end.Load() {
				runtime.Gosched()
			}
		})
	}

	now := first
	for now.cpu-first.cpu < 200*time.Millisecond {
		runtime.Gosched()
		now, _ = m.measure()
	}
	end.Store(true)
	all.Wait()

	if got := now.since(first).waiting; got < waiting/2 || got > 2*waiting {
		t.Errorf("%v goroutines wait, want about %d", got, waiting)
	}
}
