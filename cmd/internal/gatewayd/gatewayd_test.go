package gatewayd

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"fhirdest.example/certs"
	"fhirdest.example/gateway/evidence"
)

// env is a directory with a CA, certificates and a gateway's file.
type env struct {
	t    *testing.T
	dir  string
	ca   *certs.CA
	pool *x509.CertPool

	mu  sync.Mutex
	log strings.Builder // of the gateways; guarded by mu
}

// Write keeps what a gateway logs.
func (h *env) Write(p []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.log.Write(p)
}

// logged returns how often the log has a text.
func (h *env) logged(text string) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return strings.Count(h.log.String(), text)
}

// eventually waits for what must come, on a busy machine too.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(2 * time.Minute); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if is() {
			return
		}
	}
	t.Fatalf("never: %s", what)
}

func newEnv(t *testing.T) *env {
	t.Helper()
	key := must(certs.NewKey(certs.P256))(t)
	ca := must(certs.NewRoot(certs.Template{
		CommonName: "CA",
		NotBefore:  time.Now().Add(-time.Hour),
		NotAfter:   time.Now().Add(time.Hour),
	}, key))(t)
	h := &env{t: t, dir: t.TempDir(), ca: ca, pool: x509.NewCertPool()}
	h.pool.AddCert(ca.Cert)

	if err := certs.WriteIdentity(h.path("ca.pem"), h.path("ca.key"), &certs.Identity{
		Chain: []*x509.Certificate{ca.Cert},
		Key:   key,
	}); err != nil {
		t.Fatal(err)
	}

	return h
}

func must[T any](v T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func (h *env) path(name string) string { return filepath.Join(h.dir, name) }

// issue writes a pair for names.
func (h *env) issue(file string, names ...string) *certs.Identity {
	h.t.Helper()
	return h.issueFor(file, nil, names...)
}

// issueFor is issue with addresses, too.
func (h *env) issueFor(file string, ips []net.IP, names ...string) *certs.Identity {
	h.t.Helper()
	key := must(certs.NewKey(certs.P256))(h.t)
	leaf := must(h.ca.Issue(certs.Template{
		CommonName: names[0],
		DNS:        names,
		NotBefore:  time.Now().Add(-time.Hour),
		NotAfter:   time.Now().Add(time.Hour),
		IPs:        ips,
		Mutate:     func(c *x509.Certificate) { c.ExtKeyUsage = append(c.ExtKeyUsage, x509.ExtKeyUsageClientAuth) },
	}, key.Public()))(h.t)
	id := &certs.Identity{Chain: []*x509.Certificate{leaf}, Key: key}
	if err := certs.WriteIdentity(h.path(file+".pem"), h.path(file+".key"), id); err != nil {
		h.t.Fatal(err)
	}

	return id
}

// destination answers "hello" to each request, and asks for a client certificate
// when want is set.
func (h *env) destination(want bool) string {
	h.t.Helper()
	id := h.issue("destination", "destination.localhost")
	cfg := &tls.Config{Certificates: []tls.Certificate{id.TLS()}, NextProtos: []string{"http/1.1"}}
	if want {
		cfg.ClientAuth, cfg.ClientCAs = tls.RequireAndVerifyClientCert, h.pool
	}
	l := must(tls.Listen("tcp", "127.0.0.1:0", cfg))(h.t)
	s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, "hello")
	}), ErrorLog: slog.NewLogLogger(slog.DiscardHandler, 0)}
	go s.Serve(l)

	h.t.Cleanup(func() { s.Close() })
	return l.Addr().String()
}

const config = `hop: gateway
listen: 127.0.0.1:0
tls:
  - {cert: a.pem, key: a.key}
admin: {listen: ADMIN, health: ADMIN}
evidence: {file: gateway.jsonl, sync: interval, flush: 5ms, rotate: 1000000}
routes:
  - name: acme
    hosts: [a.example, '*.wild.example', b.example]
    prefixes: [/acme]
    next: https://destination.localhost
    dial: DIAL
    ca: ca.pem
EXTRA
timeouts: {head: 5s, idle: 30s, drain: 2s}
limits: {connections: 5000, connectionsPerAddress: 1000, bodyRate: 10}
`

// start writes the file and serves; it returns the address.
func (h *env) start(dial, extra string) (addr string, s *Server) {
	h.t.Helper()
	h.write("gateway.yaml", strings.NewReplacer("DIAL", dial, "EXTRA", extra, "ADMIN", "127.0.0.1:0").Replace(config))
	s, err := New(h.path("gateway.yaml"), slog.New(slog.NewTextHandler(h, nil)), time.Now)
	if err != nil {
		h.t.Fatal(err)
	}
	l := must(s.Listen())(h.t)
	ctx, stop := context.WithCancel(context.Background())

	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, l) }()
	h.t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			h.t.Error(err)
		}
	})

	return l.Addr().String(), s
}

func (h *env) write(name, text string) {
	h.t.Helper()
	if err := os.WriteFile(h.path(name), []byte(text), 0o600); err != nil {
		h.t.Fatal(err)
	}
}

// fetch asks one of the admin listeners.
func fetch(t *testing.T, address, path, host string) (int, string) {
	t.Helper()
	req := must(http.NewRequest("GET", "http://"+address+path, nil))(t)
	req.Host = host
	resp := must(http.DefaultClient.Do(req))(t)
	defer resp.Body.Close()
	body := must(io.ReadAll(resp.Body))(t)
	return resp.StatusCode, string(body)
}

// get asks over a new connection and returns status and the certificate that served.
func (h *env) get(addr, name, path string) (int, *x509.Certificate, error) {
	c, err := tls.Dial("tcp", addr, &tls.Config{RootCAs: h.pool, ServerName: name})
	if err != nil {
		return 0, nil, err
	}
	defer c.Close()

	fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: %s\r\n\r\n", path, name)
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return 0, nil, err
	}

	return resp.StatusCode, c.ConnectionState().PeerCertificates[0], nil
}

// Covers: ER-09, ER-14
func TestServesByFile(t *testing.T) {
	h := newEnv(t)
	h.issue("a", "a.example", "*.wild.example")
	addr, s := h.start(h.destination(false), "    spares: 2")

	for _, c := range []struct {
		name, path string
		status     int
	}{{"a.example", "/acme", 200}, {"x.wild.example", "/acme/x", 200}, {"a.example", "/acmex", 404}} {
		t.Run(c.name, func(t *testing.T) {
			if status, _, err := h.get(addr, c.name, c.path); err != nil || status != c.status {
				t.Errorf("%s%s: %d, %v", c.name, c.path, status, err)
			}
		})
	}

	if _, _, err := h.get(addr, "other.example", "/acme"); err == nil ||
		!strings.Contains(err.Error(), "unrecognized name") {
		t.Errorf("a name that is not ours is served: %v", err)
	}
	admin := "http://" + s.adminPort.Addr().String()

	for path, want := range map[string]string{"/health": "ok", "/metrics": "gateway_requests_total 3"} {
		eventually(t, path+" with "+want, func() bool { // an exchange is counted at its end
			resp := must(http.Get(admin + path))(t)
			defer resp.Body.Close()
			body, _ := io.ReadAll(resp.Body)
			return strings.Contains(string(body), want)
		})
	}

	req, _ := http.NewRequest("GET", admin+"/metrics", nil)
	req.Host = "evil.example"
	if resp := must(http.DefaultClient.Do(req))(t); resp.StatusCode != http.StatusMisdirectedRequest {
		t.Errorf("a foreign name on the admin listener gets %d", resp.StatusCode)
	}
	eventually(t, "evidence of three exchanges, of which one is the gateway's own", func() bool {
		s.log.Flush()
		sum, err := evidence.Compare(
			[]string{h.path("gateway.jsonl"), h.path("gateway.jsonl")}, func(*evidence.Finding) {})
		return err == nil && sum.Identical == 4 && sum.Answered == 2
	})
}

// lastSession gives the last session for every name.
type lastSession struct {
	mu   sync.Mutex
	last *tls.ClientSessionState
}

func (l *lastSession) Get(string) (*tls.ClientSessionState, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.last, l.last != nil
}

func (l *lastSession) Put(_ string, s *tls.ClientSessionState) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last = s
}

// A session may be resumed under a name that is served here, and under no other.
//
// Covers: case 297, 316
func TestResumedSessionsNameServedHosts(t *testing.T) {
	h := newEnv(t)
	h.issue("a", "a.example", "b.example")
	addr, _ := h.start(h.destination(false), "")

	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		sessions := &lastSession{}
		for _, c := range []struct {
			name         string
			resumed, bad bool
		}{{name: "a.example"}, {name: "b.example", resumed: true}, {name: "evil.example", bad: true}} {
			conn, err := tls.Dial("tcp", addr, &tls.Config{
				InsecureSkipVerify: true,
				ServerName:         c.name,
				ClientSessionCache: sessions,
				MaxVersion:         version,
			})
			if err == nil {
				fmt.Fprintf(conn, "GET /acme HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n")
				_, err = io.ReadAll(conn)
				if conn.Close(); !c.bad && conn.ConnectionState().DidResume != c.resumed {
					t.Errorf("%x, %s: resumed %v", version, c.name, !c.resumed)
				}
			}

			if (err != nil) != c.bad {
				t.Errorf("%x, %s: %v", version, c.name, err)
			}
		}
	}
}

// Covers: ER-10, ER-11
func TestClientCertificateForNextHop(t *testing.T) {
	h := newEnv(t)
	h.issue("a", "a.example")
	h.issue("me", "gateway.localhost")
	dest := h.destination(true)
	with, _ := h.start(dest, "    cert: me.pem\n    key: me.key")
	if status, _, err := h.get(with, "a.example", "/acme"); err != nil || status != 200 {
		t.Errorf("with a certificate: %d, %v", status, err)
	}

	without, _ := h.start(dest, "")
	if status, _, err := h.get(without, "a.example", "/acme"); err != nil || status != 502 {
		t.Errorf("without: %d, %v", status, err)
	}
}

// Certificates are replaced under load, with a bad pair and half a file in between:
// no handshake fails, and in the end the new certificate is seen.
//
// Covers: case 321
func TestCertificatesAreReplacedUnderLoad(t *testing.T) {
	h := newEnv(t)
	h.issue("a", "a.example")
	addr, _ := h.start(h.destination(false), "")
	var asked, failed atomic.Int64
	stop := make(chan bool)
	var wg sync.WaitGroup

	for range 2 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for {
				select {
				case <-stop:
					return
				default:
				}

				asked.Add(1)
				if status, _, err := h.get(addr, "a.example", "/acme"); err != nil || status != 200 {
					failed.Add(1)
					t.Error(status, err)
				}
			}
		}()
	}

	for i := 0; i < 30 || asked.Load() < 50 && failed.Load() == 0; i++ {
		switch i % 3 {
		case 0:
			h.issue("a", "a.example")
		case 1:
			good, _ := os.ReadFile(h.path("a.pem"))
			h.write("a.pem", string(good[:len(good)/2]))
		case 2:
			h.write("a.key", "no key")
		}

		time.Sleep(20 * time.Millisecond)
	}

	last := h.issue("a", "a.example", "b.example")
	eventually(t, "the new certificate is served", func() bool {
		_, leaf, err := h.get(addr, "b.example", "/acme")
		return err == nil && leaf.Equal(last.Leaf())
	})
	close(stop)
	wg.Wait()
	if failed.Load() > 0 {
		t.Errorf("%d of %d requests failed", failed.Load(), asked.Load())
	}
}

// Files that change while they are read again are never put in force by halves.
//
// Covers: case 321
func TestHalfAFileIsNeverInForce(t *testing.T) {
	h := newEnv(t)
	h.issue("a", "a.example")
	_, s := h.start(h.destination(false), "")
	good, _ := os.ReadFile(h.path("a.pem"))
	stop, stopped := make(chan bool), make(chan bool)
	go func() {
		defer close(stopped)
		for half := true; ; half = !half {
			select {
			case <-stop:
				return
			default:
				os.WriteFile(h.path("a.pem"), good[:len(good)/(1+map[bool]int{true: 1}[half])], 0o600)
			}
		}
	}()

	r := &Server{Path: s.Path, Log: s.Log, Now: s.Now, config: s.config, tls: s.tls, gw: s.gw} // s reads by itself, too
	r.certs.Store(s.certs.Load())
	for range 500 {
		if r.reload(); r.certs.Load().find("a.example") == nil {
			t.Error("no certificate is in force")
			break
		}
	}

	close(stop)
	<-stopped
}

// A change of the file takes effect; a bad one changes nothing.
func TestRoutesAreReplaced(t *testing.T) {
	h := newEnv(t)
	h.issue("a", "a.example")
	addr, _ := h.start(h.destination(false), "")
	good, _ := os.ReadFile(h.path("gateway.yaml"))
	await := func(path string, want int) {
		t.Helper()
		eventually(t, fmt.Sprint(path, ": ", want), func() bool {
			got, _, _ := h.get(addr, "a.example", path)
			return got == want
		})
	}
	await("/other", 404)

	h.write("gateway.yaml", strings.Replace(string(good), "[/acme]", "[/acme, /other]", 1))
	await("/other", 200)
	h.write("gateway.yaml", "routes: [")
	eventually(t, "the bad file is read", func() bool { return h.logged("is not used") > 0 })
	await("/other", 200)
}

// A file that a new configuration names and that comes after it puts it in force.
func TestRefusedConfigurationIsRepaired(t *testing.T) {
	h := newEnv(t)
	h.issue("a", "a.example")
	addr, _ := h.start(h.destination(false), "")
	good, _ := os.ReadFile(h.path("gateway.yaml"))

	h.write("gateway.yaml", strings.Replace(string(good), "tls:\n", "tls:\n  - {cert: late.pem, key: late.key}\n", 1))
	eventually(t, "the file without its certificate is read", func() bool { return h.logged("is not used") > 0 })
	h.issue("late", "b.example")
	eventually(t, "the certificate that came later is in force", func() bool {
		got, _, _ := h.get(addr, "b.example", "/acme")
		return got == 200
	})
}

// The gateways that open with a PROXY header are read as addresses and ranges.
func TestProxyPeers(t *testing.T) {
	c := Config{Proxy: []string{"127.0.0.1", "10.1.2.3/8", "::1"}}
	g, err := c.gateway()
	if got := fmt.Sprint(g.Proxies); err != nil || got != "[127.0.0.1/32 10.0.0.0/8 ::1/128]" {
		t.Errorf("%s, %v", got, err)
	}
}

// Covers: case 322, 326
func TestComplaints(t *testing.T) {
	h := newEnv(t)
	h.issue("a", "a.example")
	h.issue("b", "b.example")
	good := strings.NewReplacer("DIAL", "127.0.0.1:1", "EXTRA\n", "", "ADMIN", "127.0.0.1:0").Replace(config)

	for name, c := range map[string]struct{ old, new, want string }{
		"unknown key":      {"hop: gateway", "hopp: gateway", `unknown key "hopp"`},
		"unit":             {"head: 5s", "head: 5", "head"},
		"no certificate":   {"  - {cert: a.pem, key: a.key}\n", "", "tls: no certificate"},
		"missing file":     {"cert: a.pem", "cert: z.pem", "z.pem"},
		"other key":        {"key: a.key", "key: b.key", "private key does not match"},
		"http":             {"https://dest", "http://dest", "is not https://"},
		"query in next":    {"destination.localhost\n", "destination.localhost?x\n", "is not https://"},
		"dial":             {"dial: 127.0.0.1:1", "dial: nowhere", "is not host:port"},
		"ca":               {"ca: ca.pem", "ca: a.key", "holds no certificate"},
		"prefix":           {"[/acme]", "[acme]", "is not the beginning of a path"},
		"host":             {"[a.example,", "['https://a.example',", "is not a name"},
		"doubled host":     {"[a.example,", "[a.example, a.example,", "both take"},
		"admin on network": {"{listen: 127.0.0.1:0", "{listen: 0.0.0.0:80", "is not a loopback"},
		"log":              {"hop: gateway", "log: xml\nhop: gateway", `log: "xml" is not known`},
		"sync":             {"sync: interval", "sync: maybe", "is not known"},
		"proxy peers": {
			"hop: gateway",
			"proxy: [127.0.0.1, 10.0.0.0/8, gateway]\nhop: gateway",
			`proxy[2]: "gateway" is neither`,
		},
		"proxy":            {"    ca: ca.pem", "    proxy: v1\n    ca: ca.pem", "is not known"},
		"memory in MiB":    {"{connections: 5000", "{memory: 256, connections: 5000", "limits.memory: 256 is"},
		"proxy and spares": {"    ca: ca.pem", "    proxy: v2\n    spares: 3\n    ca: ca.pem", "spares cannot be made"},
	} {
		t.Run(name, func(t *testing.T) {
			h.write("x.yaml", strings.Replace(good, c.old, c.new, 1))
			if _, err := Read(h.path("x.yaml")); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v", err)
			}
		})
	}

	h.write("x.yaml", good)
	if _, err := Read(h.path("x.yaml")); err != nil {
		t.Errorf("the good file: %v", err)
	}
}
