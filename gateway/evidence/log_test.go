package evidence

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"fhirdest.example/gateway/wire"
)

func TestRotationKeepsEveryLine(t *testing.T) {
	a, b := newHop(t, "originator", Options{
		Rotate: 2000,
		Flush:  time.Millisecond,
	}), newHop(t, "destination", Options{Sync: SyncInterval})

	for i := range 200 {
		a.add(0, fmt.Sprint(i), fmt.Sprint(i))
		b.add(0, fmt.Sprint(i), fmt.Sprint(i))
		if i%20 == 0 {
			a.log.Flush()
		}
	}

	p := path([]*hop{a, b})
	olds, _ := rotated(p[0])
	if sum, _ := compare(t, p); sum.Identical != 200 || len(olds) < 5 {
		t.Errorf("%+v, %d files", sum, len(olds))
	}
}

func TestSyncEachIsDurableAtReturn(t *testing.T) {
	h := newHop(t, "gateway", Options{Sync: SyncEach})
	var wg sync.WaitGroup
	for range 50 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			if err := h.log.Record(&wire.Message{Time: start, In: digest("x"), Out: digest("x")}); err != nil {
				t.Error(err)
			}
		}()
	}

	wg.Wait()
	b, _ := os.ReadFile(h.path)
	if n := bytes.Count(b, []byte("\n")); n != 50 {
		t.Errorf("%d lines are in the file when Record has returned 50 times", n)
	}
	h.log.Close()
}

// A disk that goes away: the error shows, lines wait, and those that could not are told
// of in the file and by Compare.
func TestLossIsNeverSilent(t *testing.T) {
	h := newHop(t, "gateway", Options{Flush: time.Millisecond, Rotate: 1})
	h.add(0, "before", "before")
	h.log.Flush()
	dir, gone := filepath.Dir(h.path), filepath.Join(t.TempDir(), "gone")
	if err := os.Rename(dir, gone); err != nil {
		t.Fatal(err)
	}
	lost, kept := 0, 1
	for i := 0; lost < 100; i++ { // what is kept is bounded
		if h.log.Record(&wire.Message{
			Time:   start,
			Method: "GET",
			In:     digest(fmt.Sprint(i)),
			Out:    digest(fmt.Sprint(i)),
		}) != nil {
			lost++
		} else if kept++; kept > 10_000 {
			t.Fatalf("%d lines are kept for a disk that fails", kept)
		}
	}

	if h.log.Flush() == nil || h.log.Err() == nil || h.log.Lost() != int64(lost) {
		t.Fatalf("error %v, %d lost of which the log says %d", h.log.Err(), lost, h.log.Lost())
	}
	if err := errors.Join(os.Rename(gone, dir), h.log.Flush()); err != nil {
		t.Fatal(err)
	}
	p := path([]*hop{h, newHop(t, "destination", Options{})})
	sum, _ := compare(t, p)
	if sum.Lost != int64(lost) || sum.Messages != int64(kept) || sum.ExitCode() != 1 {
		t.Errorf("%d lost, but: %+v", lost, sum)
	}
}

func TestOpenEndsAHalfLine(t *testing.T) {
	h := newHop(t, "gateway", Options{})
	h.add(0, "x", "x")
	h.log.Close()
	f, _ := os.OpenFile(h.path, os.O_APPEND|os.O_WRONLY, 0)
	f.WriteString(`{"time":"20`)
	f.Close()
	l, err := Open(h.path, "gateway", Options{Now: func() time.Time { return start }})
	if err != nil {
		t.Fatal(err)
	}

	l.Record(&wire.Message{Time: start, Method: "GET", In: digest("y"), Out: digest("y")})
	l.Close()
	sum, _ := compare(t, []string{h.path, h.path})
	if sum.Identical != 2 || sum.Unreadable != 2 || sum.ExitCode() != 1 {
		t.Errorf("%+v", sum)
	}
}
