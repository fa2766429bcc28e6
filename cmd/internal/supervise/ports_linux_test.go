package supervise

import (
	"errors"
	"net"
	"strconv"
	"syscall"
	"testing"
)

// A port whose actor is not there stays the sandbox's: a program that asks for it by
// its number gets it, again and again, and one that would take any does not.
func TestPortIsHeldWhileNobodyListens(t *testing.T) {
	p, err := OpenOne("127.0.0.1:0", "")
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()

	for range 2 {
		if err := p.Release(); err != nil {
			t.Fatal(err)
		}
		if err := bindPlainly(t, p.Address); !errors.Is(err, syscall.EADDRINUSE) {
			t.Errorf("a stranger binds the port: %v", err)
		}
		if c, err := net.Dial("tcp", p.Address); err == nil {
			c.Close()
			t.Error("somebody listens")
		}

		ln, err := net.Listen("tcp", p.Address)
		if err != nil {
			t.Fatalf("the actor does not get it: %v", err)
		}
		if err := ln.Close(); err != nil {
			t.Fatal(err)
		}
	}

	if p.ln, err = p.Listener(); err != nil {
		t.Fatalf("an actor inside does not get it again: %v", err)
	}
}

// bindPlainly binds an address as one does who has no claim to it.
func bindPlainly(t *testing.T, address string) error {
	t.Helper()
	_, number, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(number)
	if err != nil {
		t.Fatal(err)
	}

	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(fd)

	return syscall.Bind(fd, &syscall.SockaddrInet4{Port: n, Addr: [4]byte{127, 0, 0, 1}})
}
