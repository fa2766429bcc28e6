package evidence

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// meddling is what others, log rotation for one, do to the page of a running program.
var meddling = map[string]func(page string) error{
	"cut to nothing":    func(p string) error { return os.Truncate(p, 0) },
	"cut within a word": func(p string) error { return os.Truncate(p, 10) },
	"cut to two words":  func(p string) error { return os.Truncate(p, 16) },
	"made longer":       func(p string) error { return os.Truncate(p, 10_000) },
	"removed":           os.Remove,
	"renamed":           func(p string) error { return os.Rename(p, p+".1") },
	"replaced by nothing": func(p string) error {
		return errors.Join(os.WriteFile(p+".other", nil, 0o600), os.Rename(p+".other", p))
	},
}

// A page that is cut short or taken away under a running program neither kills it, nor
// makes a clean stop a failure, nor leaves a loss behind that there was not.
func TestPageTakenAwayHarmsNothing(t *testing.T) {
	for name, meddle := range meddling {
		t.Run(name, func(t *testing.T) {
			h := newHop(t, "gateway", Options{Flush: time.Millisecond})
			for i := range 100 {
				if i%10 == 5 {
					if err := meddle(h.path + pendingSuffix); err != nil && !errors.Is(err, os.ErrNotExist) {
						t.Fatal(err)
					}
				}

				h.add(0, fmt.Sprint(i), fmt.Sprint(i))
				if i%3 == 0 {
					if err := h.log.Flush(); err != nil {
						t.Fatal(err)
					}
				}
			}

			if err := h.log.Close(); err != nil {
				t.Fatal(err)
			}

			if _, err := os.Stat(h.path + pendingSuffix); err == nil {
				t.Error("the page stays when nothing is pending")
			}
			sum, _ := compare(t, []string{h.path, h.path})
			if sum.Messages != 100 || sum.ExitCode() != 0 {
				t.Errorf("%+v", sum)
			}
		})
	}
}

// A program that is killed some time after its page was taken away has still lost exactly
// as many lines as are reported.
func TestKilledAfterPageTakenAway(t *testing.T) {
	for name, meddle := range meddling {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			page := filepath.Join(dir, "gateway.jsonl"+pendingSuffix)
			accepted := killed(t, dir, "2ms", 100, math.MaxUint64, func() error { return meddle(page) })
			lines, lost := told(t, dir)
			if all := uint64(lines + lost); all != accepted && all != accepted+1 {
				t.Errorf("%d lines accepted, %d in the file, %d reported as lost", accepted, lines, lost)
			}
		})
	}
}

// A page of nonsense is no loss that can be counted.
func TestDamagedPage(t *testing.T) {
	for name, page := range map[string]string{
		"ones":            "\xff\xff\xff\xff\xff\xff\xff\xff",
		"the most":        "\xff\xff\xff\xff\xff\xff\xff\x7f",
		"longer than one": string(make([]byte, 200)),
		"nothing":         "",
	} {
		t.Run(name, func(t *testing.T) {
			h := newHop(t, "gateway", Options{})
			h.add(0, "a", "a")
			p := path([]*hop{h})[0]
			if err := os.WriteFile(p+pendingSuffix, []byte(page), 0o600); err != nil {
				t.Fatal(err)
			}
			if lines, lost := told(t, filepath.Dir(p)); lines != 1 || lost != 0 {
				t.Errorf("%d lines, %d reported as lost", lines, lost)
			}
		})
	}
}

// A rotated file's name never comes again, though the file was taken away, and the program
// started again.
func TestRotatedNamesNeverComeAgain(t *testing.T) {
	h := newHop(t, "gateway", Options{Rotate: 500})
	seen := map[string]bool{}
	for i := range 30 {
		h.add(0, fmt.Sprint(i), fmt.Sprint(i))
		if err := h.log.Flush(); err != nil {
			t.Fatal(err)
		}

		olds, err := rotated(h.path)
		if err != nil {
			t.Fatal(err)
		}

		for _, old := range olds {
			if seen[old] {
				t.Errorf("%s came again", filepath.Base(old))
			}
			seen[old] = true
			if err := os.Remove(old); err != nil {
				t.Fatal(err)
			}
		}

		if i == 15 {
			if err := h.log.Close(); err != nil {
				t.Fatal(err)
			}
			if h.log, err = Open(h.path, "gateway", h.log.opt); err != nil {
				t.Fatal(err)
			}
		}
	}

	if err := h.log.Close(); err != nil || len(seen) < 20 {
		t.Errorf("%d files, %v", len(seen), err)
	}
}

// The number after 999999 has a digit more, and its file is read last.
func TestRotationGoesOnAfterAMillion(t *testing.T) {
	h := newHop(t, "gateway", Options{Rotate: 500})
	if err := os.WriteFile(h.path+lastSuffix, []byte("999997\n"), 0o600); err != nil {
		t.Fatal(err)
	}

	for i := range 10 {
		h.add(0, fmt.Sprint(i), fmt.Sprint(i))
		if err := h.log.Flush(); err != nil {
			t.Fatal(err)
		}
	}

	p := path([]*hop{h})[0]
	sum, found := compare(t, []string{p, p})
	if sum.Identical != 10 || sum.ExitCode() != 0 {
		t.Errorf("%+v: %s", sum, found)
	}
	olds, err := rotated(p)
	if err != nil || filepath.Base(olds[len(olds)-1]) < "gateway.jsonl.1000000" || number(olds[0]) != 999_998 {
		t.Errorf("%v %v", olds, err)
	}
}
