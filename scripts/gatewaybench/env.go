package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"fhirdest.example/certs"
)

// env is what a run consists of: certificates, the origin, and the intermediaries before it.
type env struct {
	dir     string
	pool    *x509.CertPool
	targets []*target
	origin  *target
	running []*exec.Cmd
}

// target is something that can be asked.
type target struct {
	name string
	addr string
	sni  string
	pids []int    // of the programs whose processor time counts
	boot []string // the command, to start it anew
}

const publicName = "fhir.test"

func newEnv(dir, gateway, before string) (h *env, err error) {
	h = &env{
		dir:  dir,
		pool: x509.NewCertPool(),
	}
	if err := h.certificates(); err != nil {
		return nil, err
	}

	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			h.stop()
		}
	}()

	origin := freePort()
	h.origin = &target{
		name: "direct",
		addr: origin,
		sni:  "origin.test",
	}

	if err := h.boot(h.origin, self, "origin", origin, dir); err != nil {
		return nil, err
	}

	h.targets = append(h.targets, h.origin)
	if err := h.ours(gateway, "", origin); err != nil {
		return nil, err
	}

	if before != "" {
		if err := h.ours(before, "before ", origin); err != nil {
			return nil, err
		}
	}

	if err := h.relay(self, origin); err != nil {
		return nil, err
	}
	return h, h.others(origin)
}

// certificates writes a CA and a pair for every name.
func (h *env) certificates() error {
	key, err := certs.NewKey(certs.P256)
	if err != nil {
		return err
	}

	from, to := time.Now().Add(-time.Hour), time.Now().Add(24*time.Hour)
	ca, err := certs.NewRoot(certs.Template{
		CommonName: "bench",
		NotBefore:  from,
		NotAfter:   to,
	}, key)
	if err != nil {
		return err
	}

	h.pool.AddCert(ca.Cert)
	if err := certs.WriteIdentity(h.path("ca.pem"), h.path("ca.key"), &certs.Identity{
		Chain: []*x509.Certificate{ca.Cert},
		Key:   key,
	}); err != nil {
		return err
	}

	for _, name := range []string{publicName, "origin.test", "delegate.test"} {
		k, err := certs.NewKey(certs.P256)
		if err != nil {
			return err
		}

		leaf, err := ca.Issue(certs.Template{
			CommonName: name,
			DNS:        []string{name},
			NotBefore:  from,
			NotAfter:   to,
		}, k.Public())
		if err != nil {
			return err
		}
		if err := certs.WriteIdentity(h.path(name+".pem"), h.path(name+".key"), &certs.Identity{
			Chain: []*x509.Certificate{leaf},
			Key:   k,
		}); err != nil {
			return err
		}

		cert, _ := os.ReadFile(h.path(name + ".pem"))
		secret, _ := os.ReadFile(h.path(name + ".key"))
		if err := os.WriteFile(h.path(name+".both"), append(cert, secret...), 0o600); err != nil { // as HAProxy has it
			return err
		}
	}

	return nil
}

func (h *env) path(name string) string {
	return filepath.Join(h.dir, name)
}

func freePort() string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	defer l.Close()
	return l.Addr().String()
}

const gatewayYAML = `hop: NAME
listen: LISTEN
tls: [{cert: CERT.pem, key: CERT.key}]
evidence: {EVIDENCE}
routes:
  - {name: acme, hosts: [fhir.test], prefixes: [/acme], next: 'https://NEXT', dial: 'DIAL', ca: ca.pem, spares: 4}
timeouts: {head: 10s, idle: 60s, body: 30s, firstByte: 60s, write: 60s}
limits: {connections: 20000, connectionsPerAddress: 20000, bodyRate: 16}
`

// ours starts the gateway: alone and with a second hop, with and without evidence.
func (h *env) ours(gateway, label, origin string) error {
	add := func(name, cert, next, dial, evidence string) (*target, error) {
		t := &target{
			name: name,
			addr: freePort(),
			sni:  cert,
		}

		if evidence != "" {
			evidence = "file: " + name + ".jsonl"
		}
		text := strings.NewReplacer("NAME", name, "LISTEN", t.addr, "CERT", cert, "EVIDENCE", evidence, "NEXT",
			next,
			"DIAL", dial).Replace(gatewayYAML)
		if err := os.WriteFile(h.path(name+".yaml"), []byte(text), 0o600); err != nil {
			return nil, err
		}

		return t, h.boot(t, gateway, "-config", h.path(name+".yaml"))
	}

	for _, e := range []string{"", "+evidence"} {
		one, err := add(label+"ours"+e, publicName, "origin.test", origin, e)
		if err != nil {
			return err
		}

		inner, err := add(label+"delegate"+e, "delegate.test", "origin.test", origin, e)
		if err != nil {
			return err
		}

		two, err := add(label+"2 hops"+e, publicName, "delegate.test", inner.addr, e)
		if err != nil {
			return err
		}

		two.pids = append(two.pids, inner.pids...)
		h.targets = append(h.targets, one, two)
	}

	return nil
}

// relay starts the baseline.
func (h *env) relay(self, origin string) error {
	t := &target{
		name: "relay",
		addr: freePort(),
		sni:  publicName,
	}
	h.targets = append(h.targets, t)
	return h.boot(t, self, "relay", t.addr, origin, h.dir)
}

// boot starts a program and waits until it listens.
func (h *env) boot(t *target, command string, args ...string) error {
	c, err := start(command, args...)
	if err != nil {
		return err
	}

	h.running = append(h.running, c)
	t.pids, t.boot = []int{c.Process.Pid}, append([]string{command}, args...)
	for range 200 {
		if conn, err := net.Dial("tcp", t.addr); err == nil {
			conn.Close()
			return nil
		}
		time.Sleep(20 * time.Millisecond)
	}

	return fmt.Errorf("%s does not listen on %s", t.name, t.addr)
}

// nginxConf has buffers for what is measured: with those by default (8 of 4 KiB or 8 KiB)
// bodies of 64 KiB and 10 MiB go through temporary files.
const nginxConf = `worker_processes 2; daemon off; pid DIR/nginx.pid; error_log DIR/nginx.err crit;
events { worker_connections 16384; }
http {
  access_log off; client_body_temp_path DIR/b; proxy_temp_path DIR/p; fastcgi_temp_path DIR/f;
  uwsgi_temp_path DIR/u; scgi_temp_path DIR/s;
  keepalive_requests 1000000000; client_max_body_size 0; tcp_nodelay on;
  proxy_buffer_size 64k; proxy_buffers 16 64k; proxy_busy_buffers_size 256k; proxy_max_temp_file_size 0;
  proxy_request_buffering off; client_body_buffer_size 256k; ssl_buffer_size 16k;
  upstream o { server ORIGIN; keepalive 512; keepalive_requests 1000000000; }
  server {
    listen LISTEN ssl; server_name fhir.test; ssl_certificate DIR/fhir.test.pem; ssl_certificate_key DIR/fhir.test.key;
    ssl_protocols TLSv1.2 TLSv1.3; ssl_session_cache shared:s:10m;
    location / {
      proxy_pass https://o; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $http_host;
      proxy_ssl_verify on; proxy_ssl_trusted_certificate DIR/ca.pem; proxy_ssl_name origin.test;
      proxy_ssl_server_name on; proxy_ssl_protocols TLSv1.3;
    }
  }
}
`

const haproxyConf = `global
  nbthread 2
defaults
  timeout connect 10s
  timeout client 60s
  timeout server 60s
listen x
  mode MODE
  bind LISTEN ssl crt DIR/fhir.test.both alpn http/1.1
  server o ORIGIN ssl verify required ca-file DIR/ca.pem sni str(origin.test) alpn http/1.1
`

// plainConf carries the bytes of TCP connections, with no TLS of its own: what it adds is the
// least that an intermediary can add on this machine.
const plainConf = `global
  nbthread 2
defaults
  timeout connect 10s
  timeout client 60s
  timeout server 60s
listen x
  mode tcp
  bind LISTEN
  server o ORIGIN
`

// others starts nginx and HAProxy.
func (h *env) others(origin string) error {
	add := func(name, sni, conf, mode string, command ...string) error {
		t := &target{
			name: name,
			addr: freePort(),
			sni:  sni,
		}
		text := strings.NewReplacer("DIR", h.dir, "ORIGIN", origin, "LISTEN", t.addr, "MODE",
			mode).Replace(conf)
		file := h.path(name + ".conf")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			return err
		}
		if err := h.boot(t, command[0], append(command[1:], file)...); err != nil {
			return err
		}

		h.targets = append(h.targets, t)
		return nil
	}

	haproxy := []string{"/usr/sbin/haproxy", "-f"}
	return errors.Join(
		add("nginx", publicName, nginxConf, "", "/usr/sbin/nginx", "-p", h.dir, "-c"),
		add("haproxy-http", publicName, haproxyConf, "http", haproxy...),
		add("haproxy-tcp", publicName, haproxyConf, "tcp", haproxy...),
		add("haproxy-plain", "origin.test", plainConf, "", haproxy...),
	)
}

func (h *env) stop() {
	for _, c := range h.running {
		c.Process.Signal(syscall.SIGTERM)
	}

	for _, c := range h.running {
		done := make(chan bool)
		go func() {
			c.Wait()
			close(done)
		}()
		select {
		case <-done:
		case <-time.After(3 * time.Second):
			c.Process.Kill()
		}
	}
}

// tls is the client's side: TLS 1.3, no resumption, as every new client is new.
func (h *env) tls(t *target) *tls.Config {
	return &tls.Config{
		RootCAs:                     h.pool,
		ServerName:                  t.sni,
		MinVersion:                  tls.VersionTLS13,
		NextProtos:                  []string{"http/1.1"},
		CurvePreferences:            []tls.CurveID{tls.X25519},
		DynamicRecordSizingDisabled: true,
	}
}
