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
	"strings"
	"syscall"
	"time"

	"fhirdest.example/certs"
)

const host = "localhost"

// env is a gateway with a destination behind it.
type env struct {
	dir         string
	pool        *x509.CertPool
	destination net.Listener
	gateway     *exec.Cmd
	address     string // of the gateway
	admin       string
}

func newEnv(dir, program string) (*env, error) {
	e := &env{
		dir:  dir,
		pool: x509.NewCertPool(),
	}
	id, err := e.identity()
	if err != nil {
		return nil, err
	}

	e.destination, err = tls.Listen("tcp", "127.0.0.1:0",
		&tls.Config{Certificates: []tls.Certificate{id.TLS()}})
	if err != nil {
		return nil, err
	}

	go http.Serve(e.destination, http.HandlerFunc(serve))

	if e.admin, err = freePort(); err != nil {
		return nil, err
	}

	text := fmt.Sprintf(`listen: 127.0.0.1:0
tls: [{cert: pair.pem, key: pair.key}]
admin: {listen: %q}
evidence: {file: gateway.jsonl}
routes:
  - {name: x, hosts: [localhost], next: "https://localhost", dial: %q, ca: ca.pem}
`, e.admin, e.destination.Addr())
	if err := os.WriteFile(e.path("gateway.yaml"), []byte(text), 0o600); err != nil {
		return nil, err
	}

	return e, e.start(program)
}

func (e *env) path(name string) string {
	return filepath.Join(e.dir, name)
}

// identity writes a CA and a pair, and returns the pair.
func (e *env) identity() (*certs.Identity, error) {
	template := certs.Template{
		CommonName: host,
		DNS:        []string{host},
		NotBefore:  time.Now().Add(-time.Hour),
		NotAfter:   time.Now().Add(24 * time.Hour),
	}

	rootKey, err := certs.NewKey(certs.P256)
	if err != nil {
		return nil, err
	}

	ca, err := certs.NewRoot(template, rootKey)
	if err != nil {
		return nil, err
	}

	key, err := certs.NewKey(certs.P256)
	if err != nil {
		return nil, err
	}

	leaf, err := ca.Issue(template, key.Public())
	if err != nil {
		return nil, err
	}

	e.pool.AddCert(ca.Cert)
	root := &certs.Identity{
		Chain: []*x509.Certificate{ca.Cert},
		Key:   rootKey,
	}
	if err := certs.WriteIdentity(e.path("ca.pem"), e.path("ca.key"), root); err != nil {
		return nil, err
	}

	id := &certs.Identity{
		Chain: []*x509.Certificate{leaf},
		Key:   key,
	}
	return id, certs.WriteIdentity(e.path("pair.pem"), e.path("pair.key"), id)
}

func freePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

// serve answers /large with more than any buffer holds, and everything else with a small
// resource once its body has come.
func serve(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/large" {
		piece := make([]byte, 64<<10)
		for range 1 << 10 {
			if _, err := w.Write(piece); err != nil {
				return
			}
		}

		return
	}

	if _, err := io.Copy(io.Discard, r.Body); err == nil {
		io.WriteString(w, `{"resourceType":"Patient","id":"1"}`)
	}
}

// start starts the gateway and waits until it listens.
func (e *env) start(program string) error {
	e.gateway = exec.Command(program, "-config", e.path("gateway.yaml"))
	e.gateway.Stderr = os.Stderr
	out, err := e.gateway.StdoutPipe()
	if err != nil {
		return err
	}
	if err := e.gateway.Start(); err != nil {
		return err
	}

	line, err := bufio.NewReader(out).ReadString('\n')
	_, address, ok := strings.Cut(strings.TrimSpace(line), "listening on ")
	if !ok {
		e.stop()
		return fmt.Errorf("the gateway printed %q: %w", line, err)
	}

	e.address = address
	return nil
}

func (e *env) stop() {
	e.destination.Close()
	e.gateway.Process.Signal(syscall.SIGTERM)
	ended := time.AfterFunc(5*time.Second, func() {
		e.gateway.Process.Kill()
	})
	defer ended.Stop()
	e.gateway.Wait()
}

// dial connects to the gateway.
func (e *env) dial() (*tls.Conn, error) {
	return tls.Dial("tcp", e.address, &tls.Config{
		RootCAs:    e.pool,
		ServerName: host,
	})
}

// health returns the gateway's own figures.
func (e *env) health() string {
	resp, err := http.Get("http://" + e.admin + "/health")
	if err != nil {
		return err.Error() + "\n"
	}
	defer resp.Body.Close()
	b, _ := io.ReadAll(resp.Body)
	return string(b)
}
