package gateway_test

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"fhirdest.example/gateway"
)

// logbook keeps what is logged.
type logbook struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logbook) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logbook) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// explain names two faults of certificates.
func explain(err error) string {
	switch {
	case errors.As(err, new(x509.UnknownAuthorityError)):
		return "unknown authority"
	case errors.As(err, new(x509.HostnameError)):
		return "other name"
	}
	return "invalid"
}

// briefly is how long a gateway of these tests waits for a next hop.
const briefly = 200 * time.Millisecond

// listen serves every connection to a port of its own, without TLS, and returns the address.
func listen(t *testing.T, serve func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go serve(c)
		}
	}()

	return l.Addr().String()
}

// dialing makes the address that of the next hop.
func dialing(address string) func(*gateway.Config) {
	return func(c *gateway.Config) { c.Routes[0].Dial = []string{address} }
}

// answering is a backend that reads a request and writes an answer.
func answering(answer string) func(net.Conn) {
	return func(c net.Conn) {
		http.ReadRequest(bufio.NewReader(c))
		io.WriteString(c, answer)
	}
}

// A troubleCase is one fault of a next hop.
type troubleCase struct {
	backend func(net.Conn)
	change  func(*gateway.Config)
	status  string // "": the answer had begun
	reason  string
	client  string // what the client reads
}

// A fault of a next hop is in the log with route, next hop and reason, and is
// given to an operator who asks, until it answers again; the client gets the reason
// without any name.
func (c troubleCase) check(t *testing.T) {
	var log logbook
	w := newEnv(t, newBackend(t, c.backend), func(cfg *gateway.Config) {
		cfg.Log, cfg.Explain = slog.New(slog.NewTextHandler(&log, nil)), explain
		if c.change != nil {
			c.change(cfg)
		}
	})

	const times = 12
	var got string
	for range times {
		conn := w.dial()
		io.WriteString(conn, get)
		answer, _ := io.ReadAll(conn)
		got = string(answer)
	}

	if c.status != "" && (status(got) != c.status || !strings.Contains(got, c.client) ||
		strings.Contains(got, "localhost") || strings.Contains(got, "127.0.0.1")) {
		t.Errorf("answered %q", got)
	}

	list := w.gw.Troubles()
	if len(list) != 1 || list[0].Count != times || list[0].Route != "acme" ||
		!strings.Contains(list[0].Reason, c.reason) {
		t.Errorf("troubles: %+v", list)
	}
	lines := strings.Count(log.String(), "\n")
	if lines < 1 || lines > 8 || !strings.Contains(log.String(), c.reason) ||
		!strings.Contains(log.String(), "route=acme next=https://") {
		t.Errorf("%d lines are logged:\n%s", lines, &log)
	}
}

// noName is no name at all, as a label has 63 bytes at most: no server of names is asked.
var noName = strings.Repeat("x", 64) + ".invalid"

// Covers: ER-15, case 318, 319
func TestTroubleInConnectingIsNamed(t *testing.T) {
	for name, c := range map[string]troubleCase{
		"refused": {
			ok, dialing("127.0.0.1:1"), "502", "connection refused",
			"could not be reached: connection refused.",
		},
		"no such name": {
			ok, dialing(noName + ":1"), "502", "its name is not known",
			"reached: its name is not known.",
		},
		"unknown authority": {ok, func(c *gateway.Config) {
			c.Routes[0].TLS = &tls.Config{}
		}, "502", "unknown authority", "was meant: unknown authority."},
		"another name": {ok, func(c *gateway.Config) {
			c.Routes[0].Next = "https://x.localhost"
		}, "502", "other name", "was meant: other name."},
		"no TLS": {ok, dialing(listen(t, func(c net.Conn) {
			io.WriteString(c, "220 mail\r\n220 mail\r\n")
		})), "502", "it does not speak TLS", "does not speak TLS."},
		"ends at once": {ok, dialing(listen(t, func(c net.Conn) {
			c.Close()
		})), "502", "it ended the handshake", "ended the handshake."},
		"silent": {ok, func(c *gateway.Config) {
			c.Times.Connect = briefly
			dialing(listen(t, func(net.Conn) {}))(c)
		}, "504", "no TLS handshake in time", "accept the connection in time."},
	} {
		t.Run(name, c.check)
	}
}

// Covers: ER-15, case 319
func TestTroubleInAnsweringIsNamed(t *testing.T) {
	for name, c := range map[string]troubleCase{
		"hangs": {func(c net.Conn) {
			io.Copy(io.Discard, c)
		}, func(c *gateway.Config) {
			c.Times.FirstByte = briefly
		}, "504", "no answer in time", "did not answer in time."},
		"dies":     {answering(""), nil, "502", "it closed without an answer", "without an answer."},
		"nonsense": {answering("220 mail\r\n\r\n"), nil, "502", "", "framed without doubt: "},
		"switches": {
			answering("HTTP/1.1 101 Switching Protocols\r\n\r\n"), nil, "502", "it switched protocols",
			"not passed.",
		},
		"cut": {
			answering("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf"), nil, "",
			"it closed within an answer", "",
		},
		"stalls": {func(c net.Conn) {
			answering("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf")(c)
			io.Copy(io.Discard, c)
		}, func(c *gateway.Config) { c.Times.Stall = briefly }, "", "its answer stalled", ""},
	} {
		t.Run(name, c.check)
	}
}

// A next hop that answers again is no trouble any more, and the log has it.
func TestTroubleEnds(t *testing.T) {
	var log logbook
	var mu sync.Mutex
	works := false
	b := newBackend(t, func(c net.Conn) {
		mu.Lock()
		defer mu.Unlock()
		if works {
			ok(c)
		}
	})
	w := newEnv(t, b, func(c *gateway.Config) { c.Log = slog.New(slog.NewTextHandler(&log, nil)) })
	if got := w.ask(get); status(got) != "502" || len(w.gw.Troubles()) != 1 {
		t.Fatalf("answered %q, troubles %v", got, w.gw.Troubles())
	}

	mu.Lock()
	works = true
	mu.Unlock()
	if got := w.ask(get); status(got) != "200" {
		t.Fatalf("answered %q", got)
	}
	eventually(t, "the trouble ends", func() bool { return len(w.gw.Troubles()) == 0 })
	eventually(t, "it is logged", func() bool { return strings.Contains(log.String(), "answers again") })
}

// An error of the listener that comes again and again is logged now and then.
func TestAcceptErrorsAreLoggedNowAndThen(t *testing.T) {
	var log logbook
	w := newEnv(t, newBackend(t, ok), func(c *gateway.Config) { c.Log = slog.New(slog.NewTextHandler(&log, nil)) })
	l := &failing{failures: make(chan bool), closed: make(chan bool)}
	served := make(chan error, 1)
	go func() { served <- w.gw.Serve(t.Context(), l) }()
	for range 60 {
		l.failures <- true
	}

	close(l.closed)
	<-served
	if n := strings.Count(log.String(), "could not be accepted"); n < 1 || n > 5 {
		t.Errorf("60 errors make %d lines", n)
	}
}

// failing is a listener without descriptors.
type failing struct{ failures, closed chan bool }

func (l *failing) Accept() (net.Conn, error) {
	select {
	case <-l.failures:
		return nil, errors.New("too many open files")
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *failing) Close() error   { return nil }
func (l *failing) Addr() net.Addr { return &net.TCPAddr{} }
