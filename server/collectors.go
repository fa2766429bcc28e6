package server

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strings"
	"time"

	"fhirdest.example/certs"
	"fhirdest.example/fhir"
	"fhirdest.example/fhir/trail"
	"fhirdest.example/gateway/complaint"
	"fhirdest.example/server/forward"
)

// Audit configures the audit record.
type Audit struct {
	// how long records are kept, such as 2160h; default: for ever. What is older goes,
	// and the rest can still be verified
	Keep   time.Duration `yaml:"keep,omitempty"`
	Syslog Syslog        `yaml:"syslog,omitempty"` // a collector of syslog; empty: none
	Feed   Feed          `yaml:"feed,omitempty"`   // a FHIR server that collects AuditEvents; empty: none
}

// Syslog is where the audit record is sent as syslog over TLS (RFC 5424, RFC 5425).
type Syslog struct {
	Addr string `yaml:"addr"`           // HOST:PORT; 6514 is the usual port
	CA   string `yaml:"ca,omitempty"`   // PEM file of anchors of its certificate; default: the system's
	Cert string `yaml:"cert,omitempty"` // PEM file of our certificate, leaf first; default: none is shown
	Key  string `yaml:"key,omitempty"`  // PEM file of its key, unencrypted
}

// Feed is where the audit record is sent as FHIR resources (IHE ITI-20).
type Feed struct {
	URL  string `yaml:"url"`            // https base URL of a FHIR server
	CA   string `yaml:"ca,omitempty"`   // as in Syslog
	Cert string `yaml:"cert,omitempty"` // as in Syslog
	Key  string `yaml:"key,omitempty"`  // as in Syslog
	// file whose first line is the bearer token for it, read for each request; default: none is sent
	TokenFile string `yaml:"tokenFile,omitempty"`
}

// check checks what is written; service is "on" or "off", as that of FHIR.
func (a Audit) check(cs *complaint.List, service string) {
	checkKeep(cs, a.Keep)
	s, f := a.Syslog, a.Feed
	if service == "off" && (s != Syslog{} || f != Feed{}) {
		cs.Add("remove them: there is no audit record without a FHIR service", "audit: fhir is off")
	}

	if s != (Syslog{}) {
		if host, port, err := net.SplitHostPort(s.Addr); err != nil || host == "" || port == "" {
			cs.Add("write HOST:PORT, such as syslog.example.org:6514", "audit.syslog.addr: %q is neither", s.Addr)
		}
		checkPair(cs, "audit.syslog", s.Cert, s.Key)
	}

	if f != (Feed{}) {
		u, err := url.Parse(f.URL)
		if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" ||
			strings.Contains(f.URL, "#") || strings.HasSuffix(f.URL, "/") {
			cs.Add("write the https base URL of a FHIR server, such as https://audit.example.org/fhir",
				"audit.feed.url: %q is none", f.URL)
		}
		checkPair(cs, "audit.feed", f.Cert, f.Key)
	}
}

func checkPair(cs *complaint.List, at, cert, key string) {
	if (cert == "") != (key == "") {
		cs.Add("name cert and key, or neither", "%s: one of cert and key is not given", at)
	}
}

// collectors reads the files of collectors once, to complain about them at the start.
func (l *loader) collectors() {
	s, f := l.cfg.Audit.Syslog, l.cfg.Audit.Feed
	l.pool("audit.syslog.ca", s.CA)
	l.pair("audit.syslog", s.Cert, s.Key)
	l.pool("audit.feed.ca", f.CA)
	l.pair("audit.feed", f.Cert, f.Key)
	if f.TokenFile == "" || !l.private("audit.feed.tokenFile", f.TokenFile) {
		return
	}
	if _, err := bearerToken(l.cfg.file(f.TokenFile)); err != nil {
		l.unreadable("audit.feed.tokenFile", f.TokenFile, err, "name a file whose first line is the bearer token")
	}
}

// newForwarders returns what sends the audit record to the configured collectors.
func newForwarders(s *Site) (out []*forward.Forwarder) {
	if s.service == nil {
		return nil
	}

	add := func(name string, c forward.Collector) {
		out = append(out, forward.New(forward.Config{
			Name:      name,
			Source:    records{s.stores.Resources},
			Collector: c,
			Now:       s.deps.Now,
			Log:       s.deps.Log,
		}))
	}

	own, _ := url.Parse(s.cfg.Public) // checkText has checked it
	if to := s.cfg.Audit.Syslog; to.Addr != "" {
		host, _, _ := net.SplitHostPort(to.Addr)
		add("syslog", &forward.Syslog{
			Addr: to.Addr,
			Host: own.Hostname(),
			TLS:  clientTLS(s.cfg, host, to.CA, to.Cert, to.Key),
		})
	}

	if to := s.cfg.Audit.Feed; to.URL != "" {
		u, _ := url.Parse(to.URL)
		feed := &forward.Feed{
			URL:  to.URL,
			From: s.cfg.Public,
			TLS:  clientTLS(s.cfg, u.Hostname(), to.CA, to.Cert, to.Key),
			Now:  s.deps.Now,
		}
		if to.TokenFile != "" {
			feed.Token = func() (string, error) { return bearerToken(s.cfg.file(to.TokenFile)) }
		}
		add("feed", feed)
	}

	return out
}

// clientTLS returns a function that reads the files of a TLS client's configuration.
func clientTLS(c Config, host, ca, cert, key string) func() (*tls.Config, error) {
	return func() (*tls.Config, error) {
		out := &tls.Config{
			ServerName: host,
			MinVersion: tls.VersionTLS12,
		}

		if ca != "" {
			all, err := certs.LoadCertificates(c.file(ca))
			if err != nil {
				return nil, err
			}
			out.RootCAs = x509.NewCertPool()
			for _, c := range all {
				out.RootCAs.AddCert(c)
			}
		}

		if cert != "" {
			id, err := certs.LoadIdentity(c.file(cert), c.file(key))
			if err != nil {
				return nil, err
			}
			out.Certificates = []tls.Certificate{id.TLS()}
		}

		return out, nil
	}
}

// bearerToken reads a bearer token from the first line of a file.
func bearerToken(name string) (string, error) {
	data, err := os.ReadFile(name)
	if err != nil {
		return "", err
	}

	first, _, _ := strings.Cut(string(data), "\n")
	first = strings.TrimSpace(first)
	for _, r := range []byte(first) {
		if r <= ' ' || r > '~' {
			return "", fmt.Errorf("the first line of %s is no bearer token", name)
		}
	}
	if first == "" {
		return "", fmt.Errorf("the first line of %s is empty", name)
	}
	return first, nil
}

// records are those of a store as a forward.Source.
type records struct{ store fhir.Store }

// Lead implements forward.Source: a store may be shared by several destinations.
func (r records) Lead(ctx context.Context, name string) (bool, error) {
	shared, ok := r.store.(interface {
		Lead(ctx context.Context, name string) (bool, error)
	})
	if !ok {
		return true, nil
	}
	return shared.Lead(ctx, positionKey(name))
}

// After implements forward.Source.
func (r records) After(
	ctx context.Context, at forward.Place, most int,
) (events []forward.Event, err error) {
	err = r.store.View(ctx, func(sn fhir.Snapshot) error {
		events = nil
		extent, err := sn.Audit().Extent(ctx)
		if err != nil {
			return err
		}
		next := max(at.Sequence, total(extent, anchorOf))

		var unread error
		err = sn.Audit().Links(ctx, at.Number, func(l trail.Link) bool {
			if l.Err != nil {
				unread = l.Err
				return false
			}

			id := trail.ID(l.Doc)
			next++
			events = append(events, forward.Event{
				Place: forward.Place{
					Number:   l.Doc,
					Sequence: next,
				},
				Chain:   l.Chain,
				InChain: l.Sequence,
				Time:    l.Record.At,
				Outcome: l.Record.Outcome,
				ID:      id,
				Body:    l.Record.Body(id),
			})
			return len(events) < most
		})
		return errors.Join(err, unread)
	})
	return events, err
}

// total adds the records of all chains up to some place in each. The oldest of all are
// removed first, so that those up to the anchors come before all others.
func total(e trail.Extent, place func(trail.Chain) trail.Place) (n uint64) {
	for _, c := range e.Chains {
		n += place(c).Sequence
	}
	return n
}

func anchorOf(c trail.Chain) trail.Place { return c.Anchor }

func headOf(c trail.Chain) trail.Place { return c.Head }

// Newest implements forward.Source.
func (r records) Newest(ctx context.Context) (place forward.Place, err error) {
	err = r.store.View(ctx, func(sn fhir.Snapshot) error {
		extent, err := sn.Audit().Extent(ctx)
		place = forward.Place{
			Number:   extent.Head(),
			Sequence: total(extent, headOf),
		}
		return err
	})
	return place, err
}

// positionKey is the setting of the store that has a collector's position. It is in
// the same file as the records, so that a backup has a position that fits them.
func positionKey(name string) string {
	return "forwarded-" + name
}

// Position implements forward.Source.
func (r records) Position(ctx context.Context, name string) (place forward.Place, err error) {
	err = r.store.View(ctx, func(sn fhir.Snapshot) error {
		place, err = positionOf(ctx, sn, name)
		return err
	})
	return place, err
}

func positionOf(ctx context.Context, sn fhir.Snapshot, name string) (place forward.Place, err error) {
	value, err := sn.Setting(ctx, positionKey(name))
	switch {
	case err != nil || value == nil:
		return place, err
	case len(value) != 16:
		return place, fmt.Errorf("%w: the position of %s", fhir.ErrDamaged, name)
	}

	place.Number = binary.BigEndian.Uint64(value)
	place.Sequence = binary.BigEndian.Uint64(value[8:])
	return place, nil
}

// SavePosition implements forward.Source.
func (r records) SavePosition(ctx context.Context, name string, place forward.Place) error {
	value := binary.BigEndian.AppendUint64(nil, place.Number)
	value = binary.BigEndian.AppendUint64(value, place.Sequence)
	return r.store.Update(ctx, func(c fhir.Change) error {
		if stored, err := positionOf(ctx, c, name); err != nil || stored.Number > place.Number {
			return err // another destination has gone on meanwhile
		}
		return c.SetSetting(ctx, positionKey(name), value)
	})
}
