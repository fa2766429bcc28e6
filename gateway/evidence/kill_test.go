package evidence

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"fhirdest.example/gateway/wire"
)

// TestMain plays the program that is killed, when asked to.
func TestMain(m *testing.M) {
	if dir := os.Getenv("EVIDENCE_CHILD"); dir != "" {
		record(dir)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// record writes lines until it is killed, and keeps how many in a page of its own.
func record(dir string) {
	l, err := Open(filepath.Join(dir, "gateway.jsonl"), "gateway", Options{Now: time.Now, Flush: 20 * time.Millisecond, Rotate: 100_000})
	if err != nil {
		panic(err)
	}
	count, _, err := openOwed(filepath.Join(dir, "count"))
	if err != nil {
		panic(err)
	}
	for i := int64(1); ; i++ {
		l.Record(&wire.Message{Time: time.Now(), Method: "GET", In: digest("x"), Out: digest("x")})
		count.set(i)
		if i%20 == 0 {
			time.Sleep(time.Millisecond)
		}
	}
}

// A program that is killed loses the lines that it had in memory; who opens the file
// next says how many, and so does Compare.
func TestKilledProgramsLossIsTold(t *testing.T) {
	lostEver := int64(0)
	for range 5 {
		dir := t.TempDir()
		lines, lost := killed(t, dir)
		b, err := os.ReadFile(filepath.Join(dir, "count"))
		if err != nil {
			t.Fatal(err)
		}
		taken := int64(binary.LittleEndian.Uint64(b))
		// It may have been killed between a line and its count.
		if taken < 100 || lines+lost != taken && lines+lost != taken+1 {
			t.Errorf("%d lines taken, %d in the file, %d told of as lost", taken, lines, lost)
		}
		lostEver += lost
		if _, err := os.Stat(filepath.Join(dir, "gateway.jsonl.owed")); err == nil {
			t.Error("the page stays when nothing is owed")
		}
	}
	if lostEver == 0 {
		t.Error("no line was ever lost: nothing is shown")
	}
}

// killed runs the program, kills it, opens and closes its file, and counts.
func killed(t *testing.T, dir string) (lines, lost int64) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "EVIDENCE_CHILD="+dir)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(150 * time.Millisecond)
	cmd.Process.Kill()
	cmd.Wait()
	path := filepath.Join(dir, "gateway.jsonl")
	before, err := Compare([]string{path, path}, func(*Finding) {})
	if err != nil {
		t.Fatal(err)
	}
	l, err := Open(path, "gateway", Options{Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	sum, err := Compare([]string{path, path}, func(*Finding) {})
	if err != nil {
		t.Fatal(err)
	}
	if sum.Lost > 0 && sum.ExitCode() != 1 || sum.Lost != before.Lost || sum.Messages != before.Messages {
		t.Errorf("before the file is opened again: %+v, and after: %+v", before, sum)
	}
	return sum.Messages, sum.Lost / 2
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
	if left, _ := filepath.Glob(h.path + owedSuffix); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}
