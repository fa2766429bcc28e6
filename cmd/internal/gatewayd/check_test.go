package gatewayd

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"fhirdest.example/cmd/internal/yamlfile"
)

// plain is a configuration that starts, with places for what a test changes.
const plain = `listen: LISTEN
tls: [{cert: a.pem, key: a.key}]
ADMIN
EVIDENCE
routes:
  - {name: acme, hosts: ['HOST'], next: "https://destination.localhost", dial: "127.0.0.1:1", ca: ca.pem}
`

// A check finds what a start would end with, but not what is in use by a gateway that
// runs with the same file.
//
// Covers: case 322, 326
func TestCheckFindsWhatAStartWould(t *testing.T) {
	e := newEnv(t)
	e.issue("a", "a.example")
	used, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer used.Close()

	e.write("used.jsonl", "{}\n")
	e.write("file", "")
	if err := os.Mkdir(e.path("directory"), 0o700); err != nil {
		t.Fatal(err)
	}

	for name, c := range map[string]struct{ listen, admin, evidence, want string }{
		"nothing": {"127.0.0.1:0", "", "", ""},
		"all in use": {
			used.Addr().String(),
			"admin: {listen: " + used.Addr().String() + "}",
			"evidence: {file: used.jsonl}",
			"are both",
		},
		"its own port": {used.Addr().String(), "", "evidence: {file: used.jsonl}", ""},
		"its own admin port": {
			"127.0.0.1:0",
			"admin: {listen: " + used.Addr().String() + ", health: '0.0.0.0:0'}",
			"",
			"",
		},
		"new evidence":         {"127.0.0.1:0", "", "evidence: {file: new.jsonl}", ""},
		"another's address":    {"192.0.2.1:0", "", "", "listen: "},
		"another's for health": {"127.0.0.1:0", "admin: {health: '192.0.2.1:0'}", "", "admin.health: "},
		"unknown host":         {"no.such.name.invalid:8443", "", "", "listen: "},
		"no port":              {"127.0.0.1:none", "", "", "listen: "},
		"no directory":         {"127.0.0.1:0", "", "evidence: {file: none/x.jsonl}", "evidence.file: "},
		"a directory":          {"127.0.0.1:0", "", "evidence: {file: directory}", "evidence.file: "},
		"below a file":         {"127.0.0.1:0", "", "evidence: {file: file/x.jsonl}", "evidence.file: "},
	} {
		t.Run(name, func(t *testing.T) {
			e.write("x.yaml", strings.NewReplacer("LISTEN", c.listen, "ADMIN", c.admin, "EVIDENCE", c.evidence,
				"HOST", "a.example").Replace(plain))
			_, err := Check(e.path("x.yaml"))
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v; want %q", err, c.want)
			}
		})
	}

	if left, _ := filepath.Glob(e.path(".check-*")); len(left) > 0 {
		t.Errorf("the check left %v", left)
	}
}

// What starts, but hardly does what was meant, is a warning.
//
// Covers: FS-102
func TestCheckWarns(t *testing.T) {
	e := newEnv(t)
	e.issue("a", "a.example", "*.wild.example")
	for name, c := range map[string]struct {
		listen, host string
		want         []string
	}{
		"right":                 {"127.0.0.1:8443", "a.example:8443", nil},
		"port 443":              {"127.0.0.1:443", "a.example", nil},
		"a wildcard":            {"127.0.0.1:8443", "*.wild.example:8443", nil},
		"a label of a wildcard": {"127.0.0.1:8443", "b.wild.example:8443", nil},
		"no port":               {"127.0.0.1:8443", "a.example", []string{"a.example has no port"}},
		"another name": {
			"127.0.0.1:8443",
			"b.example:8443",
			[]string{"no certificate under tls: is for b.example"},
		},
		"neither":                  {"127.0.0.1:8443", "b.example", []string{"has no port", "no certificate"}},
		"two labels of a wildcard": {"127.0.0.1:8443", "b.c.wild.example:8443", []string{"no certificate"}},
		"an address":               {"127.0.0.1:8443", "192.0.2.7:8443", []string{"no certificate"}},
	} {
		t.Run(name, func(t *testing.T) {
			e.write("x.yaml",
				strings.NewReplacer("LISTEN", c.listen, "ADMIN", "", "EVIDENCE", "", "HOST", c.host).Replace(plain))
			got, err := Check(e.path("x.yaml"))
			if err != nil && c.listen != "127.0.0.1:443" || len(got) != len(c.want) && err == nil {
				t.Fatalf("%q, %v; want %q", got, err, c.want)
			}

			for i, want := range c.want {
				if !strings.Contains(got[i], want) {
					t.Errorf("%q, want %q", got[i], want)
				}
			}
		})
	}
}

// The example is a configuration: only the files that it names are missing.
func TestExample(t *testing.T) {
	var c Config
	if err := yamlfile.Decode("example", []byte(Example), &c); err != nil {
		t.Fatal(err)
	}
	if err := c.words(); err != nil {
		t.Error(err)
	}
	if c.Limits.ConnectionsPerAddress == 0 || c.Limits.BodyRate == 0 || c.Limits.AnswerRate == 0 {
		t.Errorf("limits %+v", c.Limits)
	}

	err := c.Check()
	if err == nil {
		t.Fatal("the files are there")
	}

	for line := range strings.Lines(err.Error()) {
		if !strings.Contains(line, "no such file") {
			t.Errorf("more than a missing file: %s", line)
		}
	}
}

// A certificate that is refused is named by the kind of its fault.
func TestExplain(t *testing.T) {
	for want, err := range map[string]error{
		"unknown authority": x509.UnknownAuthorityError{},
		"another name":      x509.HostnameError{Certificate: &x509.Certificate{}, Host: "secret"},
		"expired":           x509.CertificateInvalidError{Reason: x509.Expired},
		"is not valid":      x509.CertificateInvalidError{Reason: x509.TooManyIntermediates},
		"not valid":         errors.New("secret"),
	} {
		t.Run(want, func(t *testing.T) {
			if got := explain(err); !strings.Contains(got, want) || strings.Contains(got, "secret") {
				t.Errorf("%q", got)
			}
		})
	}
}

// A client that dials an address gets the certificate for it.
func TestCertificateOfAnAddress(t *testing.T) {
	e := newEnv(t)
	e.issue("a", "a.example")
	e.issueFor("ip", []net.IP{net.ParseIP("127.0.0.2")}, "ip.example")
	e.issueFor("six", []net.IP{net.IPv6loopback}, "six.example")
	c := Config{Dir: e.dir, TLS: []KeyPair{{"a.pem", "a.key"}, {"ip.pem", "ip.key"}, {"six.pem", "six.key"}}}
	n, err := c.certificates()
	if err != nil {
		t.Fatal(err)
	}

	var h holder
	h.Store(n)

	for address, want := range map[string]string{
		"127.0.0.2:0": "ip.example",
		"127.0.0.1:0": "a.example",
		"[::1]:0":     "six.example",
	} {
		t.Run(address, func(t *testing.T) {
			l, err := tls.Listen("tcp", address, h.tls())
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()

			go func() {
				if c, err := l.Accept(); err == nil {
					c.(*tls.Conn).Handshake()
				}
			}()

			host, _, _ := net.SplitHostPort(l.Addr().String())
			conn, err := tls.Dial("tcp", l.Addr().String(), &tls.Config{InsecureSkipVerify: true, ServerName: host})
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()

			if got := conn.ConnectionState().PeerCertificates[0].DNSNames[0]; got != want {
				t.Errorf("the certificate is for %s, want %s", got, want)
			}
		})
	}
}

// A reload names what it did not put in force, and only that.
func TestReloadNamesWhatNeedsARestart(t *testing.T) {
	e := newEnv(t)
	e.issue("a", "a.example")
	e.start(e.destination(false), "")
	good, err := os.ReadFile(e.path("gateway.yaml"))
	if err != nil {
		t.Fatal(err)
	}

	for i, c := range []struct{ old, new, keys string }{
		{"listen: 127.0.0.1:0\n", "listen: 127.0.0.1:1\n", "keys=listen\n"},
		{"hop: gateway", "hop: other", "keys=hop\n"},
		{"admin: {listen: 127.0.0.1:0,", "admin: {listen: 127.0.0.1:2,", "keys=admin\n"},
		{"hop: gateway\n", "hop: gateway\nlog: json\n", "keys=log\n"},
		{"rotate: 1000000", "rotate: 2000000", "keys=evidence\n"},
		{"hop: gateway\nlisten: 127.0.0.1:0\n", "hop: other\nlisten: 127.0.0.1:1\n", `keys="listen, hop"` + "\n"},
		{"head: 5s", "head: 6s", ""},
		{"rotate: 1000000}", "rotate: 1000000, onFailure: pass}", ""},
	} {
		t.Run(c.old, func(t *testing.T) {
			before := e.logged("need a restart")
			changed := strings.Replace(string(good), c.old, c.new, 1)
			if changed == string(good) {
				t.Fatalf("%q is not in the file", c.old)
			}
			e.write("gateway.yaml", changed)
			eventually(t, "the reload", func() bool { return e.logged("were read again") == i+1 })
			if c.keys == "" {
				if e.logged("need a restart") != before {
					t.Errorf("%s needs a restart", c.new)
				}
				return
			}

			eventually(t, c.keys, func() bool {
				return e.logged(c.keys) > 0 && e.logged("need a restart") == before+1
			})
		})
	}
}

// Health on any address has no more than health; the details are for loopback.
func TestHealthPages(t *testing.T) {
	e := newEnv(t)
	e.issue("a", "a.example")
	addr, s := e.start("127.0.0.1:1", "") // nothing listens there
	if status, _, err := e.get(addr, "a.example", "/acme"); err != nil || status != 502 {
		t.Fatalf("%d, %v", status, err)
	}

	admin, health := s.adminPort.Addr().String(), s.healthPort.Addr().String()
	for name, c := range map[string]struct {
		address, path, host string
		status              int
		want                []string
	}{
		"details": {
			admin, "/health", "", 200,
			[]string{"ok\nconnections: ", "upstreams: 0 of ", "memory: ", `route "acme"`, "connection refused"},
		},
		"ready":                  {admin, "/ready", "", 200, []string{"ok\n"}},
		"a foreign host":         {admin, "/health", "evil.example", 421, nil},
		"health alone":           {health, "/health", "gateway.example", 200, []string{"ok\n"}},
		"ready alone":            {health, "/ready", "", 200, []string{"ok\n"}},
		"no metrics there":       {health, "/metrics", "", 404, nil},
		"nothing but GET, there": {health, "/", "", 404, nil},
	} {
		t.Run(name, func(t *testing.T) {
			status, body := fetch(t, c.address, c.path, c.host)
			if status != c.status {
				t.Errorf("%d %s", status, body)
			}

			for _, want := range c.want {
				if !strings.Contains(body, want) {
					t.Errorf("%q is not in %q", want, body)
				}
			}

			if c.address == health && status == 200 && body != "ok\n" {
				t.Errorf("it gives more away: %q", body)
			}
		})
	}
}
