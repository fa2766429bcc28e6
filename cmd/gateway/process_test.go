package main

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"fhirdest.example/certs"
)

// TestMain runs the program itself where a test has started it so.
func TestMain(m *testing.M) {
	if os.Getenv("GATEWAY_TEST_MAIN") != "" {
		main()
	}
	os.Exit(m.Run())
}

// patience ends a test that hangs, and is no measure of anything.
const patience = 2 * time.Minute

// env is a directory with a certificate and a configuration, and a next hop.
type env struct {
	dir  string
	pool *x509.CertPool
}

func newEnv(t *testing.T, serve http.HandlerFunc) *env {
	t.Helper()
	key, err := certs.NewKey(certs.P256)
	if err != nil {
		t.Fatal(err)
	}
	ca, err := certs.NewRoot(certs.Template{
		CommonName: "localhost",
		DNS:        []string{"localhost", "next.localhost"},
		NotBefore:  time.Now().Add(-time.Hour),
		NotAfter:   time.Now().Add(time.Hour),
	}, key)
	if err != nil {
		t.Fatal(err)
	}

	leafKey, err := certs.NewKey(certs.P256)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := ca.Issue(certs.Template{
		CommonName: "localhost",
		DNS:        []string{"localhost", "next.localhost"},
		NotBefore:  time.Now().Add(-time.Hour),
		NotAfter:   time.Now().Add(time.Hour),
	}, leafKey.Public())
	if err != nil {
		t.Fatal(err)
	}

	e := &env{dir: t.TempDir(), pool: x509.NewCertPool()}
	e.pool.AddCert(ca.Cert)
	id := &certs.Identity{Chain: []*x509.Certificate{leaf}, Key: leafKey}
	root := &certs.Identity{Chain: []*x509.Certificate{ca.Cert}, Key: key}
	for name, id := range map[string]*certs.Identity{"tls": id, "ca": root} {
		if err := certs.WriteIdentity(e.path(name+".pem"), e.path(name+".key"), id); err != nil {
			t.Fatal(err)
		}
	}

	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{id.TLS()}})
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: serve}
	go s.Serve(l)
	t.Cleanup(func() { s.Close() })

	e.write(t, "gateway.yaml", fmt.Sprintf(`listen: 127.0.0.1:0
tls: [{cert: tls.pem, key: tls.key}]
routes:
  - {name: x, hosts: [localhost], next: "https://next.localhost", dial: %q, ca: ca.pem}
timeouts: {drain: 1h, firstByte: 1h}
`, l.Addr()))

	return e
}

func (e *env) path(name string) string { return filepath.Join(e.dir, name) }

func (e *env) write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(e.path(name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// start starts the program, by a shell that runs before first, and returns its address.
func (e *env) start(t *testing.T, before string) (*exec.Cmd, string) {
	t.Helper()
	cmd := exec.Command("/bin/sh", "-c", before+` exec "$0" -config "$1"`, os.Args[0], e.path("gateway.yaml"))
	cmd.Env = append(os.Environ(), "GATEWAY_TEST_MAIN=1")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}

	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })

	line, err := bufio.NewReader(out).ReadString('\n')
	_, address, ok := strings.Cut(strings.TrimSpace(line), "listening on ")
	if !ok {
		t.Fatalf("it printed %q, %v", line, err)
	}

	return cmd, address
}

// get sends a request and returns the connection.
func (e *env) get(address string) (*tls.Conn, error) {
	c, err := tls.Dial("tcp", address, &tls.Config{RootCAs: e.pool, ServerName: "localhost"})
	if err != nil {
		return nil, err
	}
	c.SetDeadline(time.Now().Add(patience))
	_, err = io.WriteString(c, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
	return c, err
}

// A second signal ends the program, whatever is still under way.
func TestSecondSignal(t *testing.T) {
	asked, release := make(chan bool), make(chan bool)
	e := newEnv(t, func(http.ResponseWriter, *http.Request) {
		asked <- true
		<-release
	})
	defer close(release)

	cmd, address := e.start(t, "")
	c, err := e.get(address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()

	<-asked

	cmd.Process.Signal(os.Interrupt)
	for { // until it has closed its listener, it has not noticed the first one
		conn, err := net.Dial("tcp", address)
		if err != nil {
			break
		}
		conn.Close()
		time.Sleep(5 * time.Millisecond)
	}

	ended, end := make(chan error, 1), time.After(patience)
	go func() { ended <- cmd.Wait() }()
	for { // an interrupt is ignored where the tests themselves were started so
		cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-ended:
			return
		case <-time.After(100 * time.Millisecond):
		case <-end:
			t.Fatal("it goes on")
		}
	}
}

// The log is in JSON where the configuration has it so.
func TestLogInJSON(t *testing.T) {
	e := newEnv(t, func(http.ResponseWriter, *http.Request) {})
	text, err := os.ReadFile(e.path("gateway.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	broken := regexp.MustCompile(`dial: "[^"]*"`).ReplaceAllString(string(text), `dial: "127.0.0.1:1"`)
	e.write(t, "gateway.yaml", "log: json\n"+broken)

	_, address := e.start(t, `exec 2>"$(dirname "$1")/log";`)
	c, err := e.get(address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()

	if resp, err := http.ReadResponse(bufio.NewReader(c), nil); err != nil || resp.StatusCode != 502 {
		t.Fatalf("%v, %v", resp, err)
	}

	line := firstLine(t, e.path("log"))
	var entry struct {
		Level  string `json:"level"`
		Route  string `json:"route"`
		Reason string `json:"reason"`
	}
	if err := json.Unmarshal([]byte(line), &entry); err != nil {
		t.Fatalf("%s: %v", line, err)
	}

	if entry.Level != "WARN" || entry.Route != "x" || entry.Reason != "connection refused" {
		t.Errorf("%s", line)
	}
}

// firstLine waits until a file has a line, and returns it: the log may have it after the
// answer.
func firstLine(t *testing.T, path string) string {
	t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if line, _, whole := strings.Cut(string(text), "\n"); whole {
			return line
		}
	}
	t.Fatalf("%s has no line", path)
	return ""
}

// With few descriptors, those clients that are accepted get their answers: connections to
// the next hop have a share that clients cannot use up.
func TestDescriptorsAreLeftForNextHops(t *testing.T) {
	e := newEnv(t, func(http.ResponseWriter, *http.Request) {})
	_, address := e.start(t, "ulimit -n 300;")
	const clients = 250
	var mu sync.Mutex
	all, count := 0, map[string]int{}
	done := make(chan bool)
	var wg sync.WaitGroup

	for range clients {
		wg.Go(func() {
			status := "refused"
			if c, err := e.get(address); err == nil {
				defer c.Close()
				if resp, err := http.ReadResponse(bufio.NewReader(c), nil); err == nil {
					status = fmt.Sprint(resp.StatusCode)
				}
			}

			mu.Lock()
			count[status]++
			if all++; all == clients {
				close(done)
			}
			mu.Unlock()
			<-done // all at once
		})
	}

	wg.Wait()
	if count["200"] < 100 || count["200"]+count["refused"] != clients {
		t.Errorf("%d clients: %v", clients, count)
	}
}
