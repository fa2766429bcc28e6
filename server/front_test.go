package server_test

import (
	"bufio"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"fhirdest.example/server"
	"fhirdest.example/server/servertest"
)

const metadata = "/acme/fhir/metadata"

// request is a whole request with one target and one Host.
func request(method, target, host string, fields ...string) string {
	return method + " " + target + " HTTP/1.1\r\nHost: " + host + "\r\n" + strings.Join(fields,
		"") + "Connection: close\r\n\r\n"
}

func status(t *testing.T, text string) int {
	t.Helper()
	if got := answers(t, text); len(got) == 1 {
		return got[0]
	}
	t.Errorf("not one answer: %q", text)
	return 0
}

// The destination answers under its public and its private authority and no
// other, whatever the name in the handshake was.
//
// Covers: case 001, case 296, case 297
func TestAuthorities(t *testing.T) {
	d := servertest.Start(t)
	private := strings.TrimPrefix(strings.TrimSuffix(d.Config.Private, "/acme/fhir"), "https://")
	for _, c := range []struct {
		target, host string
		want         int
	}{
		{metadata, "fhir.test", 200},
		{metadata, "FHIR.test", 200},
		{metadata, "fhir.test:443", 200},
		{metadata, private, 200},
		{metadata, "evil.example", 421},
		{metadata, "fhir.test.", 421},
		{metadata, "fhir.test:8443", 421},
		{metadata, "destination.test", 421},
		{metadata, "127.0.0.1", 421},
		{metadata, d.Addr, 421},
		{metadata, "fhir.test.evil.example", 421},
		{metadata, "", 421},
		{"https://fhir.test" + metadata, "fhir.test", 200},
		{"https://evil.example" + metadata, "evil.example", 421},
		{"https://evil.example" + metadata, "fhir.test", 421},
		{"http://fhir.test" + metadata, "fhir.test", 400},
		{"https://me@fhir.test" + metadata, "fhir.test", 421},
		{"https://fhir.test" + metadata, "evil.example", 421},
		{"https://fhir.test" + metadata, "", 421},
		{"ftp://fhir.test" + metadata, "fhir.test", 400},
		{"//evil.example" + metadata, "fhir.test", 404},
		{metadata + "#x", "fhir.test", 400},
		{"*", "fhir.test", 400},
		{"/", "fhir.test", 404},
		{"/acme", "fhir.test", 404},
		{"/acme/fhirx/metadata", "fhir.test", 404},
	} {
		t.Run(c.target, func(t *testing.T) {
			text := d.Raw(request("GET", c.target, c.host))
			if got := status(t, text); got != c.want {
				t.Errorf("%s with Host %q: %d, want %d", c.target, c.host, got, c.want)
			}
			if strings.Contains(text, "evil.example") {
				t.Errorf("%s with Host %q is quoted back:\n%s", c.target, c.host, text)
			}
		})
	}

	for _, target := range []string{"foo", "?x", "\\", "@evil/", "file:///etc/passwd", "http:x"} {
		if got := status(t, d.Raw(request("GET", target, "fhir.test"))); got != 400 && got != 404 && got != 421 {
			t.Errorf("target %q: %d", target, got)
		}
	}
}

// Covers: case 008, case 296, case 300
func TestMethods(t *testing.T) {
	d := servertest.Start(t)
	for _, c := range []struct {
		method, target string
		want           int
	}{
		{"TRACE", metadata, 405}, {"CONNECT", "fhir.test:443", 405}, {"PRI", metadata, 405}, {"BREW", metadata, 405},
		{"get", metadata, 405}, {"OPTIONS", "*", 204}, {"PUT", "/acme/oauth/token", 405}, {"GET", "/acme/oauth/register", 405},
	} {
		t.Run(c.method, func(t *testing.T) {
			text := d.Raw(request(c.method, c.target, "fhir.test"))
			if got := status(t, text); got != c.want || !strings.Contains(text, "\r\nAllow: ") {
				t.Errorf("%s %s: %d, want %d with Allow:\n%s", c.method, c.target, got, c.want, text)
			}
		})
	}

	for target, allow := range map[string]string{
		"/acme/oauth/token": "POST",
		"/acme/oauth/jwks":  "GET, HEAD",
		metadata:            "GET, HEAD",
	} {
		t.Run(target, func(t *testing.T) {
			for _, method := range []string{"TRACE", "BREW"} { // RFC 9110 15.5.6: what this resource has
				if text := d.Raw(request(method, target, "fhir.test")); !strings.Contains(text,
					"\r\nAllow: "+allow+"\r\n") {
					t.Errorf("%s %s: want Allow: %s in\n%s", method, target, allow, text)
				}
			}
		})
	}

	if text := d.Raw(request("TRACE", "/acme/nothing", "fhir.test")); status(t, text) != 404 {
		t.Errorf("TRACE of nothing:\n%s", text)
	}

	for _, upgrade := range []string{
		"Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n",
		"Upgrade: websocket\r\nSec-WebSocket-Key: x\r\n",
	} {
		text := d.Raw("GET " + metadata + " HTTP/1.1\r\nHost: fhir.test\r\nConnection: close, Upgrade\r\n" + upgrade +
			"\r\n")
		if got := status(t, text); got != 200 {
			t.Errorf("an upgrade is not ignored: %d", got)
		}
	}
}

// What a gateway of another kind would do to these requests must change
// nothing here.
//
// Covers: case 001, case 301, case 302
func TestHopByHopAbuse(t *testing.T) {
	d := servertest.Start(t)
	for fields, want := range map[string]int{
		"Connection: close, Authorization\r\nAuthorization: Bearer x\r\n":                                                   400,
		"Connection: close\r\nConnection: cookie\r\nCookie: a=b\r\n":                                                        400,
		"Connection: close, X-Forwarded-For\r\nX-Forwarded-For: 192.0.2.1\r\n":                                              400,
		"Connection: close, Content-Length\r\n":                                                                             400,
		"Connection: close, Host\r\n":                                                                                       400,
		"Connection: close, X-Absent\r\n":                                                                                   200,
		"Connection: close\r\nProxy-Connection: keep-alive\r\nKeep-Alive: timeout=5\r\nTE: trailers\r\n":                    200,
		"Connection: close\r\nX-Original-URL: /acme/oauth/token\r\nX-Rewrite-URL: /x\r\nX-HTTP-Method-Override: DELETE\r\n": 200,
	} {
		t.Run(fields, func(t *testing.T) {
			if got := status(t, d.Raw("GET "+metadata+" HTTP/1.1\r\nHost: fhir.test\r\n"+fields+"\r\n")); got != want {
				t.Errorf("%q: %d, want %d", fields, got, want)
			}
		})
	}

	_, plain := d.Get(metadata)
	_, forged := d.Get(metadata, "X-Forwarded-Host", "evil.example", "X-Forwarded-Proto", "http", "Forwarded",
		"host=evil.example;proto=http", "X-Forwarded-Prefix", "/evil", "X-Forwarded-For", "127.0.0.1", "X-Real-IP", "127.0.0.1")
	if plain != forged {
		t.Errorf("forwarding headers change an answer:\n%s\n%s", plain, forged)
	}
}

// Covers: case 267, case 286, case 315
func TestBodies(t *testing.T) {
	d := servertest.Start(t, func(w *servertest.Env) { w.Config.Limits.Body = 1000 })
	res := d.Do("POST", "/acme/oauth/register", strings.NewReader("x"), "Content-Encoding", "gzip", "Content-Type",
		"application/json")
	if res.StatusCode != 415 {
		t.Errorf("compressed: %d", res.StatusCode)
	}
	big := strings.Repeat("x", 1001)
	if res = d.Do("POST", "/acme/oauth/register", strings.NewReader(big), "Content-Type",
		"application/json"); res.StatusCode != 413 {
		t.Errorf("too long: %d", res.StatusCode)
	}

	chunked := post("Transfer-Encoding: chunked\r\n") + "3e9\r\n" + big + "\r\n0\r\n\r\n"
	if got := answers(t, d.Raw(chunked)); len(got) != 1 || got[0] != 413 {
		t.Errorf("too long in chunks: %v", got)
	}
	if got := answers(t,
		d.Raw(post("Content-Length: 3\r\nExpect: 200-maybe\r\nConnection: close\r\n"))); len(got) != 1 ||
		got[0] != 417 {
		t.Errorf("an expectation that is not known: %v", got)
	}

	text := d.Raw(post("Content-Length: 2000\r\nConnection: close\r\nExpect: 100-continue\r\n"))
	if got := answers(t, text); len(got) != 1 || got[0] != 413 {
		t.Errorf("a body that is announced too long is asked for: %q", text)
	}
}

// Every answer has the headers that keep a browser from making anything of it,
// and none reveals anything of the machine.
//
// Covers: FS-104, FS-105, case 014, case 286, case 310
func TestHeadersOnEveryAnswer(t *testing.T) {
	d := servertest.Start(t)
	for _, c := range [][2]string{
		{"GET", metadata}, {"GET", "/none"}, {"GET", "/acme/fhir/none"},
		{"PUT", "/acme/oauth/token"}, {"TRACE", "/"}, {"POST", "/acme/oauth/register"},
	} {
		res := d.Do(c[0], c[1], nil)
		h := res.Header
		if h.Get("Strict-Transport-Security") == "" || h.Get("X-Content-Type-Options") != "nosniff" ||
			!strings.Contains(h.Get("Content-Security-Policy"), "default-src 'none'") ||
			h.Get("Referrer-Policy") != "no-referrer" {
			t.Errorf("%v: %v", c, h)
		}

		body, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}

		for _, leak := range []string{"destination.test", d.Addr, strings.Split(d.Addr, ":")[1], d.Dir, "127.0.0.1:"} {
			text := string(body)
			for k, v := range h {
				text += k + strings.Join(v, " ")
			}
			text = strings.ReplaceAll(text, h.Get("Trace-Id")+" ", " ") // chance may put a port's digits there
			if strings.Contains(strings.ReplaceAll(text, d.Admin, ""), leak) {
				t.Errorf("%v tells %q: %s", c, leak, text)
			}
		}

		if h.Get("Server") != "" || h.Get("X-Powered-By") != "" || h.Get("Via") != "" {
			t.Errorf("%v: %v", c, h)
		}
	}

	for name, text := range map[string]string{
		"none":          "GET doctor\r\n\r\n",
		"two lengths":   post("Content-Length: 1\r\nContent-Length: 2\r\n"),
		"a head of 65k": request("GET", metadata, "fhir.test", "X-Long: "+strings.Repeat("x", 65<<10)),
	} {
		t.Run(name, func(t *testing.T) {
			res, err := http.ReadResponse(bufio.NewReader(strings.NewReader(d.Raw(text))), nil)
			if err != nil {
				t.Fatal(err)
			}
			_ = res.Body.Close()
			if res.StatusCode < 400 || res.Header.Get("Strict-Transport-Security") == "" ||
				!strings.Contains(res.Header.Get("Content-Security-Policy"), "default-src 'none'") {
				t.Errorf("%s: %v", res.Status, res.Header)
			}
		})
	}
}

// An error below the FHIR base is an OperationOutcome, elsewhere an OAuth
// error with its two members.
//
// Covers: S1-105, ER-16
func TestErrorsSpeakTheCallersLanguage(t *testing.T) {
	d := servertest.Start(t)
	for target, want := range map[string]string{
		"/acme/fhir/Patient": "application/fhir+json", "/acme/fhir": "application/fhir+json", "/none": "application/json", "/acme/oauth/none": "application/json",
	} {
		t.Run(target, func(t *testing.T) {
			res, body := d.Get(target, "Host", "evil.example")
			if res.StatusCode != 421 || !strings.HasPrefix(res.Header.Get("Content-Type"), want) ||
				res.Header.Get("Cache-Control") != "no-store" {
				t.Errorf("%s: %d %v %s", target, res.StatusCode, res.Header, body)
			}
		})
	}
}

// anyName gives the session of fhir.test for every name.
type anyName struct{ tls.ClientSessionCache }

func (a anyName) Get(string) (*tls.ClientSessionState, bool) {
	return a.ClientSessionCache.Get("fhir.test")
}

// Covers: FS-101, case 298, case 299, case 314, case 316, case 317
func TestTLS(t *testing.T) {
	d := servertest.Start(t)
	dial := func(change func(*tls.Config)) (tls.ConnectionState, error) {
		c := d.TLSClient("fhir.test")
		change(c)
		conn, err := tls.Dial("tcp", d.Addr, c)
		if err != nil {
			return tls.ConnectionState{}, err
		}
		defer conn.Close()

		return conn.ConnectionState(), nil
	}

	for name, change := range map[string]func(*tls.Config){
		"TLS 1.0": func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS10 },
		"TLS 1.1": func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS11 },
		"CBC": func(c *tls.Config) {
			c.MaxVersion, c.CipherSuites = tls.VersionTLS12, []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA}
		},
		"RSA key exchange": func(c *tls.Config) {
			c.MaxVersion, c.CipherSuites = tls.VersionTLS12, []uint16{tls.TLS_RSA_WITH_AES_128_GCM_SHA256}
		},
		"3DES": func(c *tls.Config) {
			c.MaxVersion, c.CipherSuites = tls.VersionTLS12, []uint16{tls.TLS_RSA_WITH_3DES_EDE_CBC_SHA}
		},
		"HTTP/2 only": func(c *tls.Config) { c.NextProtos = []string{"h2"} },
	} {
		t.Run(name, func(t *testing.T) {
			if state, err := dial(change); err == nil {
				t.Errorf("%s: accepted, %x", name, state.CipherSuite)
			}
		})
	}

	for name, change := range map[string]func(*tls.Config){
		"TLS 1.2": func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 }, "TLS 1.3": func(*tls.Config) {},
		"HTTP/2 or 1.1": func(c *tls.Config) { c.NextProtos = []string{"h2", "http/1.1"} },
	} {
		t.Run(name, func(t *testing.T) {
			if state, err := dial(change); err != nil || state.NegotiatedProtocol != "http/1.1" {
				t.Errorf("%s: %q, %v", name, state.NegotiatedProtocol, err)
			}
		})
	}

	if _, err := dial(func(c *tls.Config) {
		c.ServerName, c.InsecureSkipVerify = "evil.example", true
	}); err == nil || !strings.Contains(err.Error(), "unrecognized name") {
		t.Errorf("a name that is not the certificate's in the handshake: %v", err)
	}

	if _, err := dial(func(c *tls.Config) { c.ServerName, c.InsecureSkipVerify = "127.0.0.1", true }); err != nil {
		t.Errorf("no name in the handshake: %v", err)
	}
	if _, err := dial(func(c *tls.Config) { c.NextProtos = nil }); err != nil {
		t.Errorf("no ALPN: %v", err)
	}
	sessions := tls.NewLRUClientSessionCache(4)

	for i := range 2 {
		c := d.TLSClient("fhir.test")
		c.ClientSessionCache = sessions
		conn, err := tls.Dial("tcp", d.Addr, c)
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(conn, request("GET", metadata, "fhir.test"))
		if _, err := io.ReadAll(conn); err != nil || conn.ConnectionState().DidResume != (i == 1) {
			t.Errorf("connection %d: resumed %v, %v", i, conn.ConnectionState().DidResume, err)
		}

		conn.Close()
	}

	// With TLS 1.3 the client regards the handshake as done before the server has verified it.
	c := d.TLSClient("evil.example")
	c.InsecureSkipVerify, c.ClientSessionCache = true, anyName{sessions}
	if conn, err := tls.Dial("tcp", d.Addr, c); err == nil {
		io.WriteString(conn, request("GET", metadata, "fhir.test"))
		if _, err := io.ReadAll(conn); err == nil {
			t.Errorf("a name that is not the certificate's is taken with another's session: resumed %v",
				conn.ConnectionState().DidResume)
		}
		conn.Close()
	}

	plain, err := net.Dial("tcp", d.Addr)
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()

	_ = plain.SetDeadline(time.Now().Add(2 * time.Minute))
	io.WriteString(plain, probe)
	if got, _ := io.ReadAll(plain); strings.Contains(string(got), " 200 ") {
		t.Errorf("plain HTTP is answered: %q", got)
	}
}

// A handshake that makes no progress, a head that arrives byte by byte and a body that does
// are all cut off.
//
// Covers: case 312, case 316
func TestSlowClientsAreCut(t *testing.T) {
	d := servertest.Start(t, func(w *servertest.Env) { w.Config.Timeouts.Handshake = 300 * time.Millisecond })
	slow := servertest.Start(t, func(w *servertest.Env) { // none of whose limits ends a handshake
		w.Config.Timeouts = server.Timeouts{
			Header: 300 * time.Millisecond,
			Read:   600 * time.Millisecond,
			Idle:   300 * time.Millisecond,
		}
	})

	still, err := net.Dial("tcp", d.Addr)
	if err != nil {
		t.Fatal(err)
	}
	defer still.Close()

	_ = still.SetDeadline(time.Now().Add(2 * time.Minute))
	if _, err := io.ReadAll(still); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("a silent handshake is waited for")
	}
	for _, text := range []string{"GET / HTTP/1.1\r\nHo", post("Content-Length: 100\r\n") + "a", probe, ""} {
		slow.Raw(text) // until it is cut
	}
}

// Paths are compared as they are; nothing is cleaned, decoded or redirected.
//
// Covers: case 010, case 304
func TestPathsAreNotRewritten(t *testing.T) {
	d := servertest.Start(t)
	for _, target := range []string{
		"/acme/fhir//metadata", "/acme//fhir/metadata", "//acme/fhir/metadata", "/acme/fhir/x/../metadata", "/acme/fhir/./metadata",
		"/acme/%66hir/metadata", "/acme%2Ffhir/metadata", "/ACME/fhir/metadata", "/acme/fhir/..%2foauth/token", "/acme/oauth/token/", "/acme/oauth/%74oken",
		"/acme/fhir/%2e%2e/oauth/token", "/acme/oauth//token", "/traces", "/ready", "/health", "/console", "/debug/pprof/",
	} {
		text := d.Raw(request("GET", target, "fhir.test"))
		got := status(t, text)
		if got != 404 && got != 400 && got != 401 || strings.Contains(text, "\r\nLocation:") {
			t.Errorf("%s: %d\n%s", target, got, text)
		}
	}

	if res := d.Do(http.MethodGet, "/acme/fhir/", nil); res.StatusCode == 404 && res.Header.Get("Location") != "" {
		t.Error("the base with a slash is redirected")
	}
}
