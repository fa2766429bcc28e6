package gateway

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"fhirdest.example/gateway/wire"
)

// Config is all that a Gateway needs to know.
type Config struct {
	// TLS terminates the clients' connections; required. It chooses the certificate
	// by SNI and refuses names that are not its own.
	TLS *tls.Config
	// Routes choose where requests go; at least one.
	Routes []Route
	// Evidence keeps a line for each message; nil keeps none.
	Evidence Evidence
	// PassWithoutEvidence lets requests pass while Evidence fails. Otherwise they
	// are answered 500 until it works again.
	PassWithoutEvidence bool
	Times               Times
	Limits              Limits
	// Proxies are the addresses of gateways before this one, whose every connection
	// must open with a PROXY protocol v2 header: the address that it names is the
	// client's, for Limits and for the next hop. From others such a header is a broken
	// handshake.
	Proxies []netip.Prefix
	// Now is the clock; required.
	Now func() time.Time
	// Log gets what an operator should know, and nothing of any message; nil
	// discards it.
	Log *slog.Logger
	// Explain returns in a few words, for clients and operators, why the certificate of a
	// next hop was refused; it must quote nothing of it. Nil: without the reason.
	Explain func(error) string
}

// Evidence is where the digests go.
type Evidence interface {
	// Owe announces n messages of which a first byte is about to go out; each has its
	// Record later.
	Owe(n int)
	// Record keeps m, which it must not hold on to.
	Record(m *wire.Message) error
	// ConnID names a new connection.
	ConnID() string
	// Err is not nil while messages cannot be recorded.
	Err() error
}

// Route sends requests for some hosts, under some prefixes, to one next hop.
type Route struct {
	// Name is in the evidence and in the log.
	Name string
	// Hosts are the public authorities, as the Host field has them: name, or
	// name:port where the port is not 443. "*.name" is every name with one
	// label more.
	Hosts []string
	// Prefixes are the beginnings of paths, compared byte by byte; each ends at "/",
	// "?" or the end of the target. Empty, or "/", is every path.
	Prefixes []string
	// Next is the private origin of the next hop, https://host[:port]. With a path
	// of its own, the prefix and the Host of each request are replaced by it.
	Next string
	// Dial are the addresses that are connected to, host:port, when it is not that of
	// Next. Of several, each new connection goes to the one with the fewest, and one that
	// does not accept is out for Times.Retry.
	Dial []string
	// TLS verifies the next hop, and may hold a client certificate; required. The
	// name to verify is always the host of Next.
	TLS *tls.Config
	// Proxy sends a PROXY protocol v2 header first, so that the next hop learns the
	// client's address.
	Proxy bool
	// Spares is how many unused connections are kept ready, TLS included, while
	// new clients keep coming; 0 is none. Not together with Proxy.
	Spares int
}

// Times are the time limits; a zero is the default.
type Times struct {
	Handshake time.Duration // TLS with a client: 10 s
	Head      time.Duration // a request's head, from its first byte: 10 s
	Idle      time.Duration // between requests: 60 s
	Body      time.Duration // without progress in a request's body: 30 s
	Connect   time.Duration // to the next hop, handshake included: 10 s
	Retry     time.Duration // of an address that did not accept, then doubling to a minute: 10 s
	FirstByte time.Duration // of an answer, after the request: 60 s
	Stall     time.Duration // without progress within an answer: 10 min
	Write     time.Duration // to a reader that does not read: 60 s
	Drain     time.Duration // for what is under way at shutdown: 30 s
}

// Limits are the limits on clients; a zero sets none but where it has a default.
// Addresses are single ones for IPv4 and /64 networks for IPv6.
type Limits struct {
	// Memory is what the process should stay within, in bytes: three quarters of it are
	// the ceiling of connections and buffers. A connection beyond it is closed at once, and
	// a request that needs a larger buffer is answered 503. 0 is 256 MiB; below 0 there is
	// no ceiling.
	Memory int64
	// Connections at once, in all and per address; more are closed at once. 0 in all is
	// what Memory has room for. It is never more than half of the process's descriptors,
	// as each client needs a connection to a next hop.
	Connections, ConnectionsPerAddress int
	// RequestsPerSecond per address, after Burst; a request beyond it waits its turn.
	RequestsPerSecond float64
	Burst             int
	// BodyRate is the number of bytes per second below which a request's body does
	// not count as progress.
	BodyRate int64
	// AnswerRate is the number of bytes per second below which a client does not count as
	// reading its answer, after Times.Write.
	AnswerRate int64
}

// withDefaults fills in what is zero.
func (t Times) withDefaults() Times {
	set := func(d *time.Duration, def time.Duration) {
		if *d <= 0 {
			*d = def
		}
	}
	set(&t.Handshake, 10*time.Second)
	set(&t.Head, 10*time.Second)
	set(&t.Idle, time.Minute)

	set(&t.Body, 30*time.Second)
	set(&t.Connect, 10*time.Second)
	set(&t.Retry, 10*time.Second)
	set(&t.FirstByte, time.Minute)
	set(&t.Stall, 10*time.Minute)
	set(&t.Write, time.Minute)
	set(&t.Drain, 30*time.Second)

	return t
}

// shortest is the least of the limits, which the janitor must be able to keep.
func (t Times) shortest() time.Duration {
	return min(t.Head, t.Idle, t.Body, t.FirstByte, t.Stall, t.Write)
}

// Check returns every complaint about the configuration, joined; nil when it can be
// used.
func (c *Config) Check() error {
	var errs []error
	if c.TLS == nil {
		errs = append(errs, errors.New("gateway: no TLS configuration for clients"))
	}
	if c.Now == nil {
		errs = append(errs, errors.New("gateway: no clock"))
	}
	if len(c.Routes) == 0 {
		errs = append(errs, errors.New("gateway: no route"))
	}

	for i := range c.Routes {
		for _, err := range c.Routes[i].check() {
			errs = append(errs, fmt.Errorf("gateway: route %q: %w", c.Routes[i].Name, err))
		}
	}

	if _, err := newTable(c.Routes, nil); err != nil {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// check returns the complaints about one route.
func (r *Route) check() (errs []error) {
	complain := func(format string, a ...any) {
		errs = append(errs, fmt.Errorf(format, a...))
	}
	if len(r.Hosts) == 0 {
		complain("it has no hosts")
	}

	for _, h := range r.Hosts {
		if !goodHost(h) {
			complain("host %q is not a name, with a port or without", h)
		}
	}

	for _, p := range r.Prefixes {
		if p != "" && p[0] != '/' || strings.ContainsAny(p, "?# ") {
			complain("prefix %q is not the beginning of a path", p)
		}
	}

	if _, err := parseNext(r.Next); err != nil {
		complain("%w", err)
	}
	if r.Dial != nil && len(r.Dial) == 0 {
		complain("dial is an empty list")
	}

	for i, a := range r.Dial {
		if host, port, err := net.SplitHostPort(a); err != nil || host == "" || port == "" {
			complain("dial %q is not host:port", a)
		}
		if slices.Contains(r.Dial[:i], a) {
			complain("dial has %q twice", a)
		}
	}

	if r.TLS == nil {
		complain("it has no TLS configuration for the next hop")
	}
	if r.Proxy && r.Spares > 0 {
		complain("spares cannot be made where PROXY protocol is spoken, as it comes before TLS")
	}

	return errs
}

func goodHost(h string) bool {
	h = strings.TrimPrefix(h, "*.")
	return h != "" && !strings.ContainsAny(h, "/?#@* \t")
}

// next is a parsed Route.Next.
type next struct {
	authority string // as a Host field has it
	name      string // to verify
	address   string // to dial
	path      string // "" when it has none of its own
}

func parseNext(s string) (next, error) {
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "https" || u.Hostname() == "" || u.User != nil || u.RawQuery != "" ||
		u.Fragment != "" {
		return next{}, fmt.Errorf("next %q is not https://host[:port][/path]", s)
	}

	port := u.Port()
	if port == "" {
		port = "443"
	}

	return next{
		authority: u.Host,
		name:      u.Hostname(),
		address:   net.JoinHostPort(u.Hostname(), port),
		path:      strings.TrimRight(u.EscapedPath(), "/"),
	}, nil
}
