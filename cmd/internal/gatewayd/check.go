package gatewayd

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"fhirdest.example/cmd/internal/yamlfile"
	"fhirdest.example/gateway/complaint"
)

// Check returns every complaint that a start with the file at path would end with, and
// warnings about what starts and may not do what was meant. Ports and files that a
// running gateway uses are no complaint, as a check often comes before a reload.
func Check(path string) (warnings []string, err error) {
	l, err := load(path)
	if err == nil {
		err = l.startable()
	}
	if err != nil {
		return nil, err
	}
	return l.warnings(), nil
}

// startable returns what a start would complain about beside what is in the file.
func (c *Config) startable() error {
	var list complaint.List
	for _, a := range c.listeners() {
		if err := bindable(a.address); err != nil {
			list.Add(
				"name an address of this machine, and a port that may be used",
				"%s: %v",
				a.key,
				err,
			)
		}

		for _, b := range c.listeners() {
			if a.key < b.key && a.address == b.address && !strings.HasSuffix(a.address, ":0") {
				list.Add("choose another port for one of them", "%s and %s are both %s", a.key, b.key,
					a.address)
			}
		}
	}

	if c.Evidence.File != "" {
		if err := recordable(c.path(c.Evidence.File)); err != nil {
			list.Add(
				"name a file in a directory that can be written",
				"evidence.file: %v",
				err,
			)
		}
	}

	return list.Err()
}

type listener struct{ key, address string }

// listeners are the addresses that the gateway listens on.
func (c *Config) listeners() []listener {
	list := []listener{{"listen", c.Listen}}
	for _, l := range []listener{
		{"admin.listen", c.Admin.Listen},
		{"admin.health", c.Admin.Health},
	} {
		if l.address != "" {
			list = append(list, l)
		}
	}

	return list
}

// bindable returns why nothing can listen on an address, unless it is that something
// does.
func bindable(address string) error {
	l, err := net.Listen("tcp", address)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil
	}
	if err != nil {
		return err
	}
	return l.Close()
}

// recordable returns why evidence cannot be written to a file.
func recordable(path string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err == nil {
		f.Close()
	} else if !errors.Is(err, os.ErrNotExist) {
		return err
	}

	f, err = os.CreateTemp(filepath.Dir(path), ".check-*")
	if err != nil {
		return fmt.Errorf("%s: %w", filepath.Dir(path), yamlfile.Cause(err))
	}

	f.Close()
	return os.Remove(f.Name())
}

// warnings are about hosts that clients cannot reach as they are written.
func (l *loaded) warnings() (list []string) {
	_, port, _ := net.SplitHostPort(l.Listen)
	for i, r := range l.Routes {
		for _, h := range r.Hosts {
			name := h
			own := ""
			if host, p, err := net.SplitHostPort(h); err == nil {
				name = host
				own = p
			}
			if own == "" && port != "443" && port != "0" {
				list = append(list,
					fmt.Sprintf("routes[%d].hosts: %s has no port, and clients that connect to "+
						"port %s send Host: %s:%s; right only where another port leads here", i, h, port, h, port))
			}

			if !l.certs.covers(strings.Trim(name, "[]")) {
				list = append(list, fmt.Sprintf("routes[%d].hosts: no certificate under tls: is for %s; "+
					"right only where every client comes through another gateway", i, name))
			}
		}
	}

	return list
}

// explain words what is wrong with a next hop's certificate, and quotes nothing of it.
func explain(err error) string {
	var invalid x509.CertificateInvalidError
	switch {
	case errors.As(err, new(x509.UnknownAuthorityError)):
		return "its certificate is from an unknown authority"
	case errors.As(err, new(x509.HostnameError)):
		return "its certificate is for another name"
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "its certificate has expired or is not valid yet"
	}

	return "its certificate is not valid"
}
