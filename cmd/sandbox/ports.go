package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"

	"fhirdest.example/gateway/complaint"
)

// ports are the listeners of a sandbox, opened before any certificate or URL is
// written, so that both can name the port that was picked. They stay ours until close,
// also while no actor listens on them.
type ports map[string]*port

// port is one address and, until an actor takes it, its listener.
type port struct {
	address string // HOST:PORT as bound
	ln      net.Listener
	held    *os.File // nil where a port cannot be held
}

// openPorts opens every address. Where the port is 0, the one that this
// directory used before is tried first: certificates name it.
func openPorts(want, before map[string]string) (ports, error) {
	ps, cs := ports{}, complaint.List{}
	for _, role := range roles {
		p, err := openPort(want[role], before[role])
		if err != nil {
			remedy := "check the address"
			if errors.Is(err, syscall.EADDRINUSE) {
				remedy = fmt.Sprintf("another program has it; give another one with -%s, or port 0 to pick one", role)
			}
			cs.Add(remedy, "-%s %s: %v", role, want[role], cause(err))
			continue
		}

		ps[role] = p
	}

	if err := cs.Err(); err != nil {
		ps.close()
		return nil, err
	}
	return ps, nil
}

func openPort(want, before string) (*port, error) {
	ln, err := open(want, before)
	if err != nil {
		return nil, err
	}
	return &port{address: ln.Addr().String(), ln: ln, held: hold(ln)}, nil
}

func open(want, before string) (net.Listener, error) {
	host, p, err := net.SplitHostPort(want)
	if err != nil || p != "0" {
		return net.Listen("tcp", want)
	}
	if bhost, _, err := net.SplitHostPort(before); err == nil && bhost == host {
		if ln, err := net.Listen("tcp", before); err == nil {
			return ln, nil
		}
	}
	return pick(want)
}

// pick has the system pick a port, and binds it again by its number: one that is bound
// as port 0 is given up when its socket ceases to listen, and could not be held.
func pick(want string) (ln net.Listener, err error) {
	for range 20 { // somebody else may be quicker
		picked, err := net.Listen("tcp", want)
		if err != nil {
			return nil, err
		}

		address := picked.Addr().String()
		if err := picked.Close(); err != nil {
			return nil, err
		}
		if ln, err = net.Listen("tcp", address); err == nil {
			return ln, nil
		}
	}

	return net.Listen("tcp", want)
}

func cause(err error) error {
	if oe := (*net.OpError)(nil); errors.As(err, &oe) {
		return oe.Err
	}
	return err
}

// take hands the listener over.
func (p *port) take() net.Listener {
	ln := p.ln
	p.ln = nil
	return ln
}

// listener takes the listener, or opens one again for an actor that starts
// once more.
func (p *port) listener() (net.Listener, error) {
	if ln := p.take(); ln != nil {
		return ln, nil
	}
	if p.held != nil {
		still(p.held)
	}
	return net.Listen("tcp", p.address)
}

// release closes the listener so that a program can bind its address.
func (p *port) release() error {
	if p.held != nil {
		still(p.held)
	}
	if ln := p.take(); ln != nil {
		return ln.Close()
	}
	return nil
}

// close lets go of the port.
func (p *port) close() {
	_ = p.release() // nothing was served on it
	if p.held != nil {
		_ = p.held.Close()
	}
}

func (ps ports) close() {
	for _, p := range ps {
		p.close()
	}
}

func (ps ports) addresses() map[string]string {
	out := map[string]string{}
	for role, p := range ps {
		out[role] = p.address
	}
	return out
}

// number is the port alone.
func (ps ports) number(role string) string {
	_, n, _ := net.SplitHostPort(ps[role].address) // an address that was bound has one
	return n
}

// dialable is the address at which this machine reaches a listener: one bound
// to every address is reached by loopback.
func dialable(address string) string {
	host, n, err := net.SplitHostPort(address)
	if ip := net.ParseIP(host); err == nil && (host == "" || ip != nil && ip.IsUnspecified()) {
		return net.JoinHostPort("127.0.0.1", n)
	}
	return address
}
