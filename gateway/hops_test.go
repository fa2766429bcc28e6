package gateway_test

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"fhirdest.example/gateway"
	"fhirdest.example/gateway/wire"
)

// A new configuration takes effect on connections that are open, for their next
// request, and closes the upstreams of the old one.
func TestReload(t *testing.T) {
	a, b := newBackend(t, ok), newBackend(t, ok)
	w := newEnv(t, a, nil)
	c := w.dial()
	br := bufio.NewReader(c)
	get := func() {
		t.Helper()
		io.WriteString(c, "GET /acme"+heads+"\r\n")
		resp, err := http.ReadResponse(br, nil)
		if err != nil {
			t.Fatal(err)
		}
		io.ReadAll(resp.Body)
	}
	get()

	cfg := gateway.Config{
		TLS: w.pki.server(),
		Routes: []gateway.Route{
			{
				Name:  "b",
				Hosts: []string{host},
				Next:  "https://destination.localhost",
				Dial:  []string{b.addr},
				TLS:   b.pki.client(""),
			},
		},
	}

	if err := w.gw.Reload(gateway.Config{}); err == nil {
		t.Error("an empty configuration is taken")
	}
	get()
	if err := w.gw.Reload(cfg); err != nil {
		t.Fatal(err)
	}
	get()

	if len(a.all()) != 1 || len(b.all()) != 1 {
		t.Errorf("arrived: %q and %q", a.all(), b.all())
	}
	eventually(t, "the old upstream ends", func() bool { return a.conns[0].ended() })
}

// A mapped next hop: prefix and Host are replaced and nothing else, and the evidence
// shows it.
func TestMappedNext(t *testing.T) {
	b := newBackend(t, ok)
	w := newEnv(t, b, func(c *gateway.Config) {
		c.Routes[0].Next = "https://destination.localhost:9443/inner/base"
	})

	for in, want := range map[string]string{
		"PUT /acme/a%2Fb?x=/acme HTTP/1.1\r\nX-a: /acme\r\nhost:  FHIR.example \r\nContent-Length: 5\r\n\r\n/acme": "PUT /inner/base/a%2Fb?x=/acme HTTP/1.1\r\nX-a: /acme\r\nhost:  destination.localhost:9443 \r\nContent-Length: 5\r\n\r\n/acme",
		"GET https://fhir.example/acme" + heads +
			"\r\n": "GET https://destination.localhost:9443/inner/base HTTP/1.1\r\nHost: destination.localhost:9443\r\n\r\n",
		"OPTIONS *" + heads + "\r\n": "OPTIONS * HTTP/1.1\r\nHost: destination.localhost:9443\r\n\r\n",
	} {
		t.Run(in, func(t *testing.T) {
			b.mu.Lock()
			b.conns = nil
			b.mu.Unlock()
			w.evidence.clear()
			w.ask(in)
			if got := b.all(); len(got) != 1 || got[0] != want {
				t.Errorf("%q arrives as %q", in, got)
			}

			m := w.evidence.await(t, 2)[0]
			if m.Response || !m.Mapped || m.In == m.Out || m.In.Bytes != int64(len(in)) ||
				m.Out.Bytes != int64(len(want)) {
				t.Errorf("evidence %+v", m)
			}
		})
	}
}

// Two routes on one connection: each has an upstream of its own, kept for later.
func TestSeveralDestinations(t *testing.T) {
	a, b := newBackend(t, ok), newBackend(t, ok)
	w := newEnv(t, a, func(c *gateway.Config) {
		r := c.Routes[0]
		r.Name, r.Prefixes, r.Dial, r.TLS = "beta", []string{"/acme/beta", "/beta/"}, []string{b.addr}, b.pki.client("")
		c.Routes = append(c.Routes, r)
	})

	one, two := "GET /acme/x"+heads+"\r\n", "GET /acme/beta/x"+heads+"\r\n"
	three := "GET /beta" + heads + "\r\n"
	if got := w.ask(one + two + one + three); strings.Count(got, "200 OK") != 4 {
		t.Errorf("answered %q", got)
	}
	if x, y := a.all(), b.all(); len(x) != 1 || len(y) != 1 || x[0] != one+one || y[0] != two+three {
		t.Errorf("arrived %q and %q", x, y)
	}
}

// PROXY protocol: the address travels before TLS and changes no byte within.
//
// Covers: ER-20
func TestProxyProtocol(t *testing.T) {
	p := newPKI(t, "destination.localhost")
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{
		ConnContext: wire.ConnContext,
		Handler: http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			io.WriteString(rw, r.RemoteAddr)
		}),
	}
	go s.Serve(wire.NewListener(tcp, wire.ListenerConfig{
		TLS: p.server(),
		Proxy: func(net.Addr) bool {
			return true
		},
	}))
	defer s.Close()

	w := newEnv(t, &backend{addr: tcp.Addr().String(), pki: p}, func(c *gateway.Config) {
		c.Routes[0].Proxy = true
	})
	c := w.dial()
	io.WriteString(c, "GET /acme"+heads+"\r\n")
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}

	if body, _ := io.ReadAll(resp.Body); string(body) != c.LocalAddr().String() {
		t.Errorf("the destination sees %s, the client is %s", body, c.LocalAddr())
	}
}

// Over two gateways the client's address reaches the destination; the second accepts the
// header from the first alone, and must have it.
//
// Covers: ER-20, case 302
func TestProxyProtocolOverTwoGateways(t *testing.T) {
	p := newPKI(t, "destination.localhost")
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{
		ConnContext: wire.ConnContext,
		Handler: http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			io.WriteString(rw, r.RemoteAddr)
		}),
	}
	go s.Serve(wire.NewListener(tcp, wire.ListenerConfig{
		TLS: p.server(),
		Proxy: func(net.Addr) bool {
			return true
		},
	}))
	defer s.Close()

	second := newEnv(t, &backend{addr: tcp.Addr().String(), pki: p}, func(c *gateway.Config) {
		c.Routes[0].Proxy, c.Proxies = true, []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
		c.Limits.ConnectionsPerAddress = 2
	})
	first := newEnv(t, &backend{addr: second.addr, pki: second.pki}, func(c *gateway.Config) {
		c.Routes[0].Proxy, c.Routes[0].Next = true, "https://delegate.localhost"
	})
	c := first.dial()
	io.WriteString(c, "GET /acme"+heads+"\r\n")

	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	if body, _ := io.ReadAll(resp.Body); string(body) != c.LocalAddr().String() {
		t.Errorf("the destination sees %s, the client is %s", body, c.LocalAddr())
	}
	shake := func(w *env, before []byte) error {
		raw, err := net.Dial("tcp", w.addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { raw.Close() })
		raw.SetDeadline(time.Now().Add(patience))
		raw.Write(before)

		return tls.Client(raw, &tls.Config{RootCAs: w.pki.pool, ServerName: host}).Handshake()
	}

	from := func(a string) []byte {
		return wire.AppendProxy(nil, netip.MustParseAddrPort(a), netip.MustParseAddrPort("127.0.0.1:443"))
	}
	if shake(second, nil) == nil {
		t.Error("a connection of the named gateway is taken without the header")
	}
	if shake(first, from("192.0.2.7:1")) == nil {
		t.Error("the header is taken from whom nobody named")
	}

	// Connections are counted to the address in the header, not to the gateway's.
	for i, want := range []bool{true, true, false} {
		if err := shake(second, from(fmt.Sprint("192.0.2.7:", i+1))); (err == nil) != want {
			t.Errorf("connection %d of one client: %v", i+1, err)
		}
	}

	if err := shake(second, from("192.0.2.8:1")); err != nil {
		t.Errorf("another client of the same gateway: %v", err)
	}
}

// Covers: FS-101, case 298, 299, 316, 317
func TestTLSSide(t *testing.T) {
	b := newBackend(t, ok)
	w := newEnv(t, b, nil)
	for name, cfg := range map[string]*tls.Config{
		"HTTP/2 only": {NextProtos: []string{"h2"}},
		"TLS 1.1":     {MaxVersion: tls.VersionTLS11, MinVersion: tls.VersionTLS10},
	} {
		t.Run(name, func(t *testing.T) {
			cfg.RootCAs, cfg.ServerName = w.pki.pool, host
			if c, err := tls.Dial("tcp", w.addr, cfg); err == nil {
				c.Close()
				t.Errorf("served")
			}
		})
	}

	c, err := tls.Dial("tcp", w.addr, &tls.Config{
		RootCAs:    w.pki.pool,
		ServerName: host,
		NextProtos: []string{"h2", "http/1.1"},
	})
	if err != nil || c.ConnectionState().NegotiatedProtocol != "http/1.1" {
		t.Errorf("ALPN: %v", err)
	}

	raw, _ := net.Dial("tcp", w.addr)
	defer raw.Close()
	raw.SetDeadline(time.Now().Add(patience))
	io.WriteString(raw, "GET /acme"+heads+"\r\n")
	if got, _ := io.ReadAll(raw); strings.Contains(string(got), "200") {
		t.Errorf("plain HTTP is answered %q", got)
	}
}

// A TLS session is resumed, after a reload too.
func TestResumption(t *testing.T) {
	b := newBackend(t, ok)
	var config gateway.Config
	w := newEnv(t, b, func(c *gateway.Config) { config = *c })
	cfg := w.pki.client(host)

	for i := range 4 {
		if i == 2 {
			if err := w.gw.Reload(config); err != nil {
				t.Fatal(err)
			}
		}

		c, err := tls.Dial("tcp", w.addr, cfg)
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(c, "GET /acme"+heads+"\r\n")
		http.ReadResponse(bufio.NewReader(c), nil)
		if c.ConnectionState().DidResume != (i > 0) {
			t.Errorf("connection %d: resumed %v", i, c.ConnectionState().DidResume)
		}

		c.Close()
	}
}

// Spares: made while clients come, and used, each by one.
func TestSpares(t *testing.T) {
	b := newBackend(t, ok)
	w := newEnv(t, b, func(c *gateway.Config) { c.Routes[0].Spares = 3 })
	metric := func() string {
		var s strings.Builder
		w.gw.WriteMetrics(&s)
		return s.String()
	}
	eventually(t, "a spare is used", func() bool {
		if got := w.ask("GET /acme" + heads + "\r\n"); status(got) != "200" {
			t.Fatal(got)
		}
		return !strings.Contains(metric(), "gateway_upstream_spares_total 0\n")
	})

	for _, s := range b.all() {
		if strings.Count(s, "GET") != 1 {
			t.Errorf("clients shared a connection: %q", s)
		}
	}
}
