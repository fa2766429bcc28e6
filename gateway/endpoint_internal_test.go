package gateway

import (
	"fmt"
	"net"
	"os"
	"syscall"
	"testing"
	"time"
)

// An address that stays dead is tried ever more seldom, up to a minute, until it has given an
// answer; failures of attempts that were under way together count as one.
func TestRetryDoubles(t *testing.T) {
	for retry, want := range map[time.Duration][]time.Duration{
		10 * time.Second: {10 * time.Second, 20 * time.Second, 40 * time.Second, time.Minute, time.Minute},
		50 * time.Second: {50 * time.Second, time.Minute, time.Minute},
		time.Hour:        {time.Hour, time.Hour, time.Hour},
	} {
		t.Run(retry.String(), func(t *testing.T) {
			var s endpoints
			e := &endpoint{}
			now := time.Unix(1e9, 0)
			r := &route{endpoints: []*endpoint{e, {}}}

			for i, wait := range want {
				if got := s.failed(e, "x", now, retry); got != wait {
					t.Errorf("after failure %d: %v, want %v", i+1, got, wait)
				}
				if got := s.failed(e, "x", now.Add(wait/2), retry); got != wait/2 {
					t.Errorf("after another one at once: %v, want %v", got, wait/2)
				}
				if list := s.tryDue(r, now.Add(wait-1)); len(list) > 0 {
					t.Errorf("it is tried too early")
				}

				now = now.Add(wait)
				if list := s.tryDue(r, now); len(list) != 1 {
					t.Errorf("it is not tried in time")
				}
				if list := s.tryDue(r, now.Add(time.Hour)); len(list) > 0 {
					t.Errorf("it is tried twice at once")
				}
				s.tried(e)
			}

			if since := s.accepted(e, now).since; !since.Equal(time.Unix(1e9, 0)) || s.out(e).out {
				t.Errorf("it was out since %v", since)
			}
			if got, most := s.failed(e, "x", now, retry), want[len(want)-1]; got != most {
				t.Errorf("the next outage, before an answer, is %v, want %v", got, most)
			}
			s.accepted(e, now)
			s.proven(e)
			if got := s.failed(e, "x", now, retry); got != want[0] {
				t.Errorf("the next outage is %v, want %v", got, want[0])
			}
		})
	}
}

// Of many attempts that were under way together, those that succeed end no outage that
// began after them, and those that fail double the time until the next attempt once.
func TestAttemptsAtOnce(t *testing.T) {
	const retry = time.Second
	var s endpoints
	e := &endpoint{}
	began := time.Unix(1e9, 0)
	now := began
	for range 20 {
		s.accepted(e, began)
		now = now.Add(time.Millisecond)
		s.failed(e, "x", now, retry)
		if s.accepted(e, began); !s.out(e).out {
			t.Fatal("an earlier attempt has brought it back")
		}
	}

	// While all addresses are out, new clients try it.
	for range 20 {
		if s.accepted(e, now); s.out(e).out {
			t.Fatal("a later attempt has not brought it back")
		}
		now = now.Add(time.Millisecond)
		s.failed(e, "x", now, retry)
	}
	if due := s.out(e).due; due.After(began.Add(2 * retry)) {
		t.Errorf("it is tried again after %v", due.Sub(began))
	}
}

// Addresses with equally many connections are chosen in turn.
func TestTiesInTurn(t *testing.T) {
	var s endpoints
	r := &route{}
	for i := range 3 {
		r.endpoints = append(r.endpoints, &endpoint{endpointKey: endpointKey{address: fmt.Sprint(i)}})
	}

	got := ""
	for range 7 {
		e, _ := s.choose(r, nil)
		got += e.address
		e.open.Add(-1) // it is closed at once
	}
	if got != "0120120" {
		t.Errorf("chosen: %s", got)
	}
}

// A process that has no more descriptors blames no next hop for it.
func TestOwnShortageIsNoOutage(t *testing.T) {
	for cause, want := range map[syscall.Errno]bool{
		syscall.EMFILE:       false,
		syscall.ENFILE:       false,
		syscall.ECONNREFUSED: true,
		syscall.EHOSTUNREACH: true,
	} {
		t.Run(cause.Error(), func(t *testing.T) {
			f := dialFault(&net.OpError{Op: "dial", Err: os.NewSyscallError("socket", cause)})
			if f.ofNextHop() != want {
				t.Errorf("status %d, of the next hop: %v", f.status, !want)
			}
		})
	}
}
