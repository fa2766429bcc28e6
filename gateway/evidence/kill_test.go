package evidence

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"fhirdest.example/gateway/wire"
)

// TestMain plays the program that is killed, when asked to.
func TestMain(m *testing.M) {
	if dir := os.Getenv("EVIDENCE_CHILD"); dir != "" {
		flush, err := time.ParseDuration(os.Getenv("EVIDENCE_FLUSH"))
		most, errMost := strconv.ParseUint(os.Getenv("EVIDENCE_MOST"), 10, 64)
		if err = errors.Join(err, errMost); err == nil {
			err = record(dir, flush, most)
		}
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// record writes lines, so many at most, until it is killed, and keeps in a page of its
// own how many were accepted, and how many of these are in the file.
func record(dir string, flush time.Duration, most uint64) error {
	l, err := Open(filepath.Join(dir, "gateway.jsonl"), "gateway", Options{
		Now:    time.Now,
		Flush:  flush,
		Rotate: 100_000,
	})
	if err != nil {
		return err
	}

	f, err := os.OpenFile(filepath.Join(dir, "count"), os.O_RDWR, 0)
	if err != nil {
		return err
	}

	count, err := share(f, countBytes)
	if err != nil {
		return err
	}

	for i := uint64(1); ; i++ {
		if i <= most {
			l.Record(&wire.Message{Time: time.Now(), Method: "GET", In: digest("x"), Out: digest("x")})
			binary.LittleEndian.PutUint64(count, i)
		}
		if i%20 == 0 {
			l.mu.Lock()
			binary.LittleEndian.PutUint64(count[8:], l.written)
			l.mu.Unlock()
			time.Sleep(time.Millisecond)
		}
	}
}

// countBytes is the size of the page: the number of lines accepted, and of lines written.
const countBytes = 16

// A program that is killed loses the lines that it had in memory; who opens the file
// next says how many, and so does Compare: neither fewer nor more, whenever it died.
func TestKilledProgramsLossIsTold(t *testing.T) {
	for range 20 {
		dir := t.TempDir()
		taken := killed(t, dir, "2ms", 100+uint64(rand.IntN(2000)), math.MaxUint64, nil)
		lines, lost := told(t, dir)
		// It may have been killed between a line and its count.
		if all := uint64(lines + lost); all != taken && all != taken+1 {
			t.Errorf("%d lines taken, %d in the file, %d told of as lost", taken, lines, lost)
		}
	}

	dir := t.TempDir()
	taken := killed(t, dir, "1h", 100, 100, nil) // as many as memory has room for are written early
	if lines, lost := told(t, dir); lines != 0 || uint64(lost) != taken {
		t.Errorf("%d lines taken and none written: %d in the file, %d told of as lost", taken, lines, lost)
	}
}

// killed runs the program, which accepts so many lines at most, until it has accepted
// enough. It then meddles with its files if asked to, and waits until lines that came
// later have been written. It kills the program, and returns how many lines it counted.
func killed(t *testing.T, dir, flush string, enough, most uint64, meddle func() error) uint64 {
	t.Helper()
	count := filepath.Join(dir, "count")
	if err := os.WriteFile(count, make([]byte, countBytes), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "EVIDENCE_CHILD="+dir, "EVIDENCE_FLUSH="+flush, fmt.Sprint("EVIDENCE_MOST=", most))
	cmd.Stderr = os.Stderr

	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	counted := func() (accepted, written uint64) {
		b, err := os.ReadFile(count)
		if err != nil {
			t.Error(err)
			b = make([]byte, countBytes)
		}
		return binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint64(b[8:])
	}
	await := func(come func() bool) {
		for !come() && len(ended) == 0 && !t.Failed() {
			time.Sleep(time.Millisecond)
		}
	}
	await(func() bool {
		accepted, _ := counted()
		return accepted >= enough
	})

	if meddle != nil {
		if err := meddle(); err != nil {
			t.Error(err)
		}
		before, _ := counted()
		await(func() bool {
			_, written := counted()
			return written >= before+1000
		})
	}

	if len(ended) > 0 {
		t.Fatal("the program ended by itself: ", <-ended)
	}
	cmd.Process.Kill()
	<-ended

	accepted, _ := counted()
	return accepted
}

// told counts the lines that are there, and those told of as lost, before and after
// the files are opened again.
func told(t *testing.T, dir string) (lines, lost int64) {
	t.Helper()
	path := filepath.Join(dir, "gateway.jsonl")
	before, _ := compare(t, []string{path, path})
	l, err := Open(path, "gateway", Options{Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}

	sum, _ := compare(t, []string{path, path})
	if sum.Lost > 0 && sum.ExitCode() != 1 || sum.Lost != before.Lost || sum.Messages != before.Messages {
		t.Errorf("before the file is opened again: %+v, and after: %+v", before, sum)
	}
	if _, err := os.Stat(path + pendingSuffix); err == nil {
		t.Error("the page stays when nothing is owed")
	}

	return sum.Messages, sum.Lost / 2
}

// A program may die when lines, or parts of one, are in the file and its page does not
// know of them yet.
func TestKilledBeforeSettling(t *testing.T) {
	for name, c := range map[string]struct {
		rotate bool
		cut    int64 // bytes that did not get into the file
		lost   int64
	}{
		"all written":            {false, 0, 0},
		"less a newline":         {false, 1, 0},
		"less half a line":       {false, 10, 1},
		"less a line and a half": {false, 400, 2},
		"into a new file":        {true, 0, 0},
		"half into a new file":   {true, 10, 1},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHop(t, "gateway", Options{Flush: time.Hour})
			h.add(0, "a", "a")
			if err := h.log.Flush(); err != nil {
				t.Fatal(err)
			}
			if c.rotate {
				if err := h.log.rotate(); err != nil {
					t.Fatal(err)
				}
			}

			h.add(0, "b", "b")
			h.log.Owe(1)
			h.put(0, "c", "c", func(m *wire.Message) { m.Owed = true })
			page, err := os.ReadFile(h.path + pendingSuffix)
			if err != nil {
				t.Fatal(err)
			}
			p := path([]*hop{h})[0]
			info, err := os.Stat(p)
			if err == nil {
				err = errors.Join(os.Truncate(p, info.Size()-c.cut), os.WriteFile(p+pendingSuffix, page, 0o600))
			}

			if err != nil {
				t.Fatal(err)
			}
			if lines, lost := told(t, filepath.Dir(p)); lines+lost != 3 || lost != c.lost {
				t.Errorf("%d lines, %d told of as lost", lines, lost)
			}
		})
	}
}

// A message may have gone out when a program dies, and its line not have been taken.
func TestKilledBeforeRecording(t *testing.T) {
	h := newHop(t, "gateway", Options{})
	h.add(0, "a", "a")
	h.log.Owe(1)
	h.log.Owe(1)
	h.put(0, "b", "b", func(m *wire.Message) { m.Owed = true })
	p := path([]*hop{h})[0] // its page stays, as that of a program that dies
	if lines, lost := told(t, filepath.Dir(p)); lines != 2 || lost != 1 {
		t.Errorf("%d lines, %d told of as lost", lines, lost)
	}
}

// A rotation that fails half-way, as on a full disk, is done again when it can be.
func TestRotationFailsHalfWay(t *testing.T) {
	h := newHop(t, "gateway", Options{Rotate: 500})
	h.add(0, "a", "a")
	h.log.Flush()

	// What a rename that was followed by no new file leaves.
	if err := os.Rename(h.path, h.path+".000001"); err != nil {
		t.Fatal(err)
	}

	for i := range 20 {
		h.add(0, fmt.Sprint(i), fmt.Sprint(i))
		if err := h.log.Flush(); err != nil {
			t.Fatal(err)
		}
	}

	p := path([]*hop{h})
	sum, _ := compare(t, []string{p[0], p[0]})
	if sum.Messages != 21 || sum.ExitCode() != 0 {
		t.Errorf("%+v", sum)
	}
}

// Two that write the same file, as while one replaces the other: the page is the
// first one's, and both end well.
func TestTwoWriters(t *testing.T) {
	h := newHop(t, "gateway", Options{})
	other, err := Open(h.path, "gateway", Options{Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	h.add(0, "a", "a")
	if err := errors.Join(other.Close(), h.log.Close()); err != nil {
		t.Error(err)
	}

	if left, _ := filepath.Glob(h.path + pendingSuffix); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}
