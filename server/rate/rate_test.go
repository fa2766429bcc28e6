package rate_test

import (
	"strconv"
	"testing"
	"time"

	"fhirdest.example/server/rate"
)

var start = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// A limiter remembers so many parties and no more, whoever comes.
//
// Covers: case 120
func TestLimiterIsBounded(t *testing.T) {
	l := rate.New(1)
	now := start
	for i := range 3 * rate.Most {
		if l.Acquire(strconv.Itoa(i), now) != 0 {
			t.Fatalf("party %d is held back by others", i)
		}
		if l.Known() > rate.Most {
			t.Fatalf("%d parties are remembered", l.Known())
		}
	}

	last := strconv.Itoa(3*rate.Most - 1)
	if l.Acquire(last, now) == 0 {
		t.Error("the newest party was forgotten")
	}
	now = now.Add(2 * time.Minute)
	for i := range rate.Most {
		l.Acquire("later "+strconv.Itoa(i), now)
	}

	if l.Acquire(last, now) != 0 {
		t.Error("what was paid for is still held against a party")
	}
}

// A party that is forgotten has its whole minute again, what is refunded was not used,
// and no limit is no limit.
func TestForgetAndRefund(t *testing.T) {
	l := rate.New(2)
	for range 2 {
		l.Acquire("a", start)
	}
	if wait := l.Acquire("a", start); wait != 30*time.Second {
		t.Errorf("wait %s, want 30 s", wait)
	}
	l.Forget("a")

	if wait := l.Acquire("a", start); wait != 0 {
		t.Errorf("wait %s after Forget", wait)
	}

	l.Acquire("a", start)
	l.Refund("a")
	if wait := l.Acquire("a", start); wait != 0 {
		t.Errorf("wait %s after Refund", wait)
	}
	l.Refund("nobody")

	none := rate.New(0)
	for range 1000 {
		if none.Acquire("a", start) != 0 {
			t.Fatal("a limiter without a limit has one")
		}
	}

	none.Forget("a")
	none.Refund("a")
}
