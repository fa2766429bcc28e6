package gateway

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Gateway passes requests and answers. Make it with New.
type Gateway struct {
	state    atomic.Pointer[state]
	evidence Evidence
	now      func() time.Time
	log      *slog.Logger
	janitor  janitor
	metrics  metrics
	causes   causes
	explain  func(error) string
	clients  addresses
	ups      upstreams
	// endpoints guards the outages of the addresses of next hops.
	endpoints endpoints
	memory    budget
	stopping  chan struct{} // closed when draining begins
	stop      sync.Once
	running   sync.WaitGroup // connections

	// mu guards the listeners that are being served.
	mu        sync.Mutex
	listeners map[net.Listener]bool
}

// state is what Reload replaces as a whole; an exchange sees one state to its end.
type state struct {
	tls    *tls.Config // for clients
	source *tls.Config // that it was made of
	table  *table
	times  Times
	limits Limits
	// maxUpstreams is how many upstreams the descriptors allow beside all clients.
	maxUpstreams int
	passWithout  bool
	proxies      []netip.Prefix
}

// New returns a Gateway, or every complaint about its configuration.
func New(c Config) (*Gateway, error) {
	if err := c.Check(); err != nil {
		return nil, err
	}

	g := &Gateway{
		evidence:  c.Evidence,
		now:       c.Now,
		log:       c.Log,
		explain:   c.Explain,
		stopping:  make(chan struct{}),
		listeners: map[net.Listener]bool{},
	}
	g.ups.memory = &g.memory

	if g.log == nil {
		g.log = slog.New(slog.DiscardHandler)
	}

	g.install(newState(&c, nil))
	return g, nil
}

// install puts a state in force and returns the one before.
func (g *Gateway) install(s *state) *state {
	g.memory.set(&s.limits)
	return g.state.Swap(s)
}

// newState returns the state that c describes. Of the one before, it keeps the clients'
// TLS configuration where it was made of the same one, as its session tickets are void
// under another.
func newState(c *Config, before *state) *state {
	var known map[endpointKey]*endpoint
	if before != nil {
		known = before.table.endpoints
	}
	t, _ := newTable(c.Routes, known) // checked
	files := descriptors()
	limits := c.Limits.withDefaults(files)
	var server *tls.Config

	if before != nil && before.source == c.TLS {
		server = before.tls
	} else {
		server = c.TLS.Clone()
		server.NextProtos = []string{"http/1.1"}
		server.DynamicRecordSizingDisabled = true
	}

	return &state{
		tls:          server,
		source:       c.TLS,
		table:        t,
		times:        c.Times.withDefaults(),
		limits:       limits,
		maxUpstreams: max(1, files-otherDescriptors-limits.Connections),
		passWithout:  c.PassWithoutEvidence,
		proxies:      slices.Clone(c.Proxies),
	}
}

// Reload puts another configuration in place of the current one, or returns every
// complaint and changes nothing. What is under way ends as it began; Evidence and Now
// stay what they were.
func (g *Gateway) Reload(c Config) error {
	c.Evidence = g.evidence
	c.Now = g.now
	if err := c.Check(); err != nil {
		return err
	}
	old := g.install(newState(&c, g.state.Load()))
	g.closePreconnected(old.table, true)
	return nil
}

// Serve accepts clients on l, which is plain TCP, until ctx ends. Then it accepts no
// more, ends idle connections at once and the others after their exchange, and cuts
// what is left after Times.Drain. It returns nil when everything ended by itself.
func (g *Gateway) Serve(ctx context.Context, l net.Listener) error {
	g.mu.Lock()
	g.listeners[l] = true
	g.mu.Unlock()
	quit := make(chan struct{})
	defer close(quit)

	go g.watchOver(quit)
	stop := context.AfterFunc(ctx, func() { l.Close() })
	defer stop()

	err := g.accept(l)
	g.mu.Lock()
	delete(g.listeners, l)
	g.mu.Unlock()
	if ctx.Err() == nil {
		l.Close()
		return err
	}

	return g.drain()
}

// watchOver runs the janitor, and closes and forgets what nobody uses any more.
func (g *Gateway) watchOver(quit <-chan struct{}) {
	tick := min(
		250*time.Millisecond,
		max(5*time.Millisecond, g.state.Load().times.shortest()/4),
	)
	go g.janitor.run(tick, g.now, quit)
	t := time.NewTicker(probeEvery)
	defer t.Stop()

	for {
		select {
		case <-quit:
			return
		case <-t.C:
			s := g.state.Load()
			g.closePreconnected(s.table, false)
			g.tryOutages(s.table)
			g.clients.forget(&s.limits, g.now())
			g.janitor.probe()
			g.ups.closeEnded()
		}
	}
}

// accept accepts connections until the listener is closed.
func (g *Gateway) accept(l net.Listener) error {
	for {
		conn, err := l.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return err
			}

			g.warn("accept", "a connection could not be accepted", "error", err)
			time.Sleep(20 * time.Millisecond) // out of descriptors: others must end first
			continue
		}

		g.admit(conn)
	}
}

// admit serves a connection, within the limits.
func (g *Gateway) admit(conn net.Conn) {
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		conn.Close()
		return
	}

	g.metrics.accepted.Add(1)
	s := g.state.Load()
	from := tcp.RemoteAddr().(*net.TCPAddr).AddrPort().Addr()
	limits, proxied := s.limits, s.fromProxy(from)
	if proxied {
		limits.ConnectionsPerAddress = 0 // it carries many clients, which are counted once known
	}
	a, ok := (*address)(nil), g.memory.fits(clientCost)
	if ok {
		a, ok = g.clients.admit(from, &limits, g.now())
	}
	if !ok {
		g.metrics.limited.Add(1)
		tcp.SetLinger(0)
		tcp.Close()
		return
	}

	g.memory.reserve(clientCost)
	g.running.Add(1)
	go g.serve(tcp, a, proxied)
}

// fromProxy reports whether the peer is a gateway that names its clients.
func (s *state) fromProxy(from netip.Addr) bool {
	from = from.Unmap().WithZone("")
	return slices.ContainsFunc(s.proxies, func(p netip.Prefix) bool {
		return p.Contains(from)
	})
}

// leave counts a connection out.
func (g *Gateway) leave(a *address) {
	g.memory.release(clientCost)
	g.clients.leave(a)
	g.running.Done()
}

// drain ends what is under way.
func (g *Gateway) drain() error {
	g.janitor.draining.Store(true)
	g.stop.Do(func() { close(g.stopping) })
	g.closePreconnected(g.state.Load().table, true)
	g.janitor.sweep()
	done := make(chan struct{})
	go func() {
		g.running.Wait()
		close(done)
	}()

	select {
	case <-done:
		return nil
	case <-time.After(g.state.Load().times.Drain):
	}

	left := g.clients.count()
	g.janitor.cutAll()
	<-done
	g.log.Warn("connections were cut at the end of draining", "connections", left)
	return errors.New("gateway: not every exchange ended in time")
}

// Healthy is nil while the gateway can do its work: it serves and can record.
func (g *Gateway) Healthy() error {
	if g.janitor.draining.Load() {
		return errors.New("gateway: draining")
	}
	if g.evidence != nil {
		return g.evidence.Err()
	}
	return nil
}
