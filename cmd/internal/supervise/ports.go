package supervise

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"slices"
	"syscall"

	"fhirdest.example/gateway/complaint"
)

// Ports are the listeners of the actors by role, opened before any certificate or URL is
// written, so that both can name the port that was picked. They stay ours until Close,
// also while no actor listens on them.
type Ports map[string]*Port

// Port is one address and, until an actor acquires it, its listener.
type Port struct {
	Address string // HOST:PORT as bound
	ln      net.Listener
	held    *os.File // nil where a port cannot be held
}

// Open opens the address of every role. Where its port is 0, the one that the role had
// before is tried first, as certificates name it. The error has a complaint for each
// address that cannot be opened.
func Open(want, before map[string]string) (Ports, error) {
	ps := Ports{}
	cs := complaint.List{}
	for _, role := range slices.Sorted(maps.Keys(want)) {
		p, err := OpenOne(want[role], before[role])
		if err != nil {
			remedy := "check the address"
			if errors.Is(err, syscall.EADDRINUSE) {
				remedy = fmt.Sprintf(
					"another program has it; give another one with -%s, or port 0 to pick one",
					role,
				)
			}
			cs.Add(remedy, "-%s %s: %v", role, want[role], cause(err))
			continue
		}

		ps[role] = p
	}

	if err := cs.Err(); err != nil {
		ps.Close()
		return nil, err
	}
	return ps, nil
}

// OpenOne opens one address.
func OpenOne(want, before string) (*Port, error) {
	ln, err := open(want, before)
	if err != nil {
		return nil, err
	}

	return &Port{
		Address: ln.Addr().String(),
		ln:      ln,
		held:    hold(ln),
	}, nil
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

// acquire hands the listener over.
func (p *Port) acquire() net.Listener {
	ln := p.ln
	p.ln = nil
	return ln
}

// Listener acquires the listener, or opens one again for an actor that starts
// once more.
func (p *Port) Listener() (net.Listener, error) {
	if ln := p.acquire(); ln != nil {
		return ln, nil
	}
	if p.held != nil {
		still(p.held)
	}
	return net.Listen("tcp", p.Address)
}

// Release closes the listener so that a program can bind its address.
func (p *Port) Release() error {
	if p.held != nil {
		still(p.held)
	}
	if ln := p.acquire(); ln != nil {
		return ln.Close()
	}
	return nil
}

// Close lets go of the port.
func (p *Port) Close() {
	_ = p.Release() // nothing was served on it
	if p.held != nil {
		_ = p.held.Close()
	}
}

// Close lets go of every port.
func (ps Ports) Close() {
	for _, p := range ps {
		p.Close()
	}
}

// Number returns the number of a role's port.
func (ps Ports) Number(role string) string {
	_, n, _ := net.SplitHostPort(ps[role].Address) // an address that was bound has one
	return n
}

// Dialable returns the address at which this machine reaches a listener: one bound
// to every address is reached by loopback.
func Dialable(address string) string {
	host, n, err := net.SplitHostPort(address)
	if ip := net.ParseIP(host); err == nil && (host == "" || ip != nil && ip.IsUnspecified()) {
		return net.JoinHostPort("127.0.0.1", n)
	}
	return address
}
