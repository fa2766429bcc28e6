package server_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"fhirdest.example/certs"
	"fhirdest.example/gateway/wire"
	"fhirdest.example/server"
	"fhirdest.example/server/servertest"
)

// A destination that asks for client certificates turns away, in the
// handshake, callers without one of the named authority.
//
// Covers: FS-103, case 316
func TestClientCertificate(t *testing.T) {
	d := servertest.Start(t, func(w *servertest.Env) {
		if err := certs.WriteCertificates(filepath.Join(w.Dir, "gateways.pem"), w.A.Root.Cert); err != nil {
			t.Fatal(err)
		}
		w.Config.TLS.ClientCA = "gateways.pem"
	})
	get := func(own ...tls.Certificate) error {
		res, err := d.HTTPClient(d.Addr, own...).Get("https://fhir.test" + metadata)
		if err != nil {
			return err
		}
		defer res.Body.Close()

		if res.StatusCode != 200 {
			return fmt.Errorf("status %d", res.StatusCode)
		}
		return nil
	}
	if err := get(d.Client(d.A, "urn:gateway").TLS()); err != nil {
		t.Errorf("the gateway is turned away: %v", err)
	}

	if err := get(); err == nil {
		t.Error("a caller without a certificate is served")
	}
	if err := get(d.Client(d.B, "urn:gateway").TLS()); err == nil {
		t.Error("a caller with another authority's certificate is served")
	}
}

// The PROXY header counts from a named gateway only, and must be there then.
//
// Covers: case 302
func TestProxyProtocol(t *testing.T) {
	header := wire.AppendProxy(nil, netip.MustParseAddrPort("192.0.2.7:4711"), netip.MustParseAddrPort("127.0.0.1:1"))
	talk := func(d *servertest.Destination, before []byte) error {
		raw, err := net.Dial("tcp", d.Addr)
		if err != nil {
			t.Fatal(err)
		}
		defer raw.Close()

		_ = raw.SetDeadline(time.Now().Add(2 * time.Minute))
		if _, err := raw.Write(before); err != nil {
			return err
		}

		c := tls.Client(raw, d.TLSClient("fhir.test"))
		if _, err := io.WriteString(c,
			request("POST", "/acme/oauth/token", "fhir.test", "Content-Length: 0\r\n")); err != nil {
			return err
		}

		text, err := io.ReadAll(c)
		if len(answers(t, string(text))) != 1 {
			return fmt.Errorf("no answer: %v", err)
		}
		return nil
	}

	named := servertest.Start(t, func(w *servertest.Env) {
		w.Config.Proxy = []string{"127.0.0.0/8"}
		w.Config.Rates.RequestsPerAddress = 2
	})
	if err := talk(named, header); err != nil {
		t.Errorf("a named gateway with the header: %v", err)
	}
	if err := talk(named, nil); err == nil {
		t.Error("a named gateway without the header is served")
	}

	if err := talk(named, []byte("PROXY TCP4 192.0.2.7 127.0.0.1 4711 1\r\n")); err == nil {
		t.Error("version 1 of the header is taken")
	}
	other := servertest.Start(t)
	if err := talk(other, nil); err != nil {
		t.Errorf("no gateway is named: %v", err)
	}
	if err := talk(other, header); err == nil {
		t.Error("the header is taken from a caller that is not named")
	}
}

// With the PROXY header the limit per address counts originators, not the
// gateway that carries them.
//
// Covers: case 312
func TestLimitPerOriginatorBehindAGateway(t *testing.T) {
	d := servertest.Start(t, func(w *servertest.Env) {
		w.Config.Proxy = []string{"127.0.0.1"}
		w.Config.Rates.RequestsPerAddress = 2
	})
	ask := func(from string) int {
		raw, err := net.Dial("tcp", d.Addr)
		if err != nil {
			t.Fatal(err)
		}
		defer raw.Close()

		_ = raw.SetDeadline(time.Now().Add(2 * time.Minute))
		raw.Write(wire.AppendProxy(nil, netip.MustParseAddrPort(from), netip.MustParseAddrPort("127.0.0.1:1")))
		c := tls.Client(raw, d.TLSClient("fhir.test"))
		io.WriteString(c, request("POST", "/acme/oauth/token", "fhir.test", "Content-Length: 0\r\n"))
		text, _ := io.ReadAll(c)
		return status(t, string(text))
	}

	var got []int
	for range 3 {
		got = append(got, ask("192.0.2.7:4711"))
	}
	if got[0] == 429 || got[1] == 429 || got[2] != 429 {
		t.Errorf("one originator gets %v, want 429 at the third", got)
	}
	if got := ask("192.0.2.8:4711"); got == 429 {
		t.Error("another originator pays for the first")
	}
}

// Connections beyond the number from one address are closed, beyond the whole
// number they wait; both get their turn when others have gone.
//
// Covers: case 312
func TestConnectionLimits(t *testing.T) {
	d := servertest.Start(t, func(w *servertest.Env) {
		w.Config.Limits.Connections, w.Config.Limits.PerAddress = 8, 3
	})
	var held []net.Conn

	for range 3 {
		c, err := tls.Dial("tcp", d.Addr, d.TLSClient("fhir.test"))
		if err != nil {
			t.Fatal(err)
		}
		held = append(held, c)
	}

	if c, err := tls.Dial("tcp", d.Addr, d.TLSClient("fhir.test")); err == nil {
		c.Close()
		t.Error("a fourth connection from one address is taken")
	}
	for _, c := range held {
		c.Close()
	}
	d.Eventually("places are given back", func() bool {
		c, err := tls.Dial("tcp", d.Addr, d.TLSClient("fhir.test"))
		if err == nil {
			c.Close()
		}
		return err == nil
	})
}

// The certificate is exchanged under load without a failed handshake; a pair
// that does not fit leaves the old one in use.
//
// Covers: case 321
func TestCertificateReload(t *testing.T) {
	d := servertest.Start(t)
	serial := func() (string, error) {
		c, err := tls.Dial("tcp", d.Addr, d.TLSClient("fhir.test"))
		if err != nil {
			return "", err
		}
		defer c.Close()
		return c.ConnectionState().PeerCertificates[0].SerialNumber.String(), nil
	}

	ctx, stop := context.WithCancel(context.Background())
	var failures atomic.Int32
	var load sync.WaitGroup

	for range 4 {
		load.Go(func() {
			for ctx.Err() == nil {
				if _, err := serial(); err != nil {
					failures.Add(1)
				}
			}
		})
	}

	seen := map[string]bool{}
	for i := range 20 {
		if i%5 == 4 {
			write(t, d.Env, "tls.pem", "half a file")
			d.Reload <- struct{}{}
			d.Reload <- struct{}{} // taken when the first has been dealt with
		}

		d.WriteTLS("destination.test", "fhir.test")
		d.Reload <- struct{}{}
		d.Reload <- struct{}{}
		s, err := serial()
		if err != nil {
			t.Fatal(err)
		}
		seen[s] = true
	}

	stop()
	load.Wait()
	if failures.Load() > 0 || len(seen) != 20 {
		t.Errorf("%d failed handshakes, %d certificates of 20 seen", failures.Load(), len(seen))
	}
	if !strings.Contains(d.Log.String(), "the TLS certificate was not replaced") {
		t.Error("the log does not tell of the bad pair")
	}

	before, _ := serial()
	d.WriteTLS("destination.test", "fhir.test")
	d.Eventually("changed files are noticed", func() bool {
		now, err := serial()
		return err == nil && now != before
	})
}

// A request that is under way when the end comes is answered whole.
//
// Covers: case 319
func TestDrain(t *testing.T) {
	d := servertest.Start(t, servertest.OnFiles("files are let go"))
	c, err := tls.Dial("tcp", d.Addr, d.TLSClient("fhir.test"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()

	_ = c.SetDeadline(time.Now().Add(2 * time.Minute))
	io.WriteString(c, post("Content-Length: 3\r\nExpect: 100-continue\r\n"))
	br := bufio.NewReader(c)
	if asked, err := http.ReadResponse(br, nil); err != nil || asked.StatusCode != 100 {
		t.Fatalf("the body is not asked for: %v %v", asked, err) // now it is under way
	}
	ended := make(chan struct{})
	go func() { d.Stop(); close(ended) }()

	d.Eventually("no new connection is taken during the drain", func() bool {
		late, err := net.Dial("tcp", d.Addr)
		if err == nil {
			late.Close()
		}
		return err != nil
	})

	io.WriteString(c, "a=b")
	answer, err := io.ReadAll(br)
	if got := answers(t, string(answer)); len(got) != 1 || got[0] != 400 {
		t.Errorf("answers %v, %v", got, err)
	}
	<-ended

	for _, name := range []string{"trust.bolt", "fhir.bolt"} {
		if _, err := os.Stat(filepath.Join(d.Dir, "data", name)); err != nil {
			t.Error(err)
		}
	}
}

// The evidence has what crossed the wire, under TLS, in both directions.
//
// Covers: ER-16
func TestEvidence(t *testing.T) {
	d := servertest.Start(t, func(w *servertest.Env) { w.Config.Evidence = "destination.jsonl" })
	d.Get(metadata)
	d.Raw(post("Content-Length: 4\r\nTransfer-Encoding: chunked\r\n"))
	d.Stop()
	lines := strings.Split(strings.TrimSpace(read(t, d.Env, "destination.jsonl")), "\n")
	if len(lines) != 4 {
		t.Fatalf("%d lines:\n%s", len(lines), strings.Join(lines, "\n"))
	}

	for _, want := range []string{
		`"dir":"request","method":"GET"`,
		`"dir":"response","method":"GET","status":200`,
		`"status":400`,
	} {
		if !strings.Contains(strings.Join(lines, "\n"), want) {
			t.Errorf("no line with %s:\n%s", want, strings.Join(lines, "\n"))
		}
	}

	for _, l := range lines {
		if !strings.Contains(l, `"hop":"destination"`) || strings.Contains(l, "acme") {
			t.Errorf("line %s", l)
		}
	}
}

// New reports everything that is wrong at once, and leaves nothing open.
//
// Covers: case 326, case 330, case 332
func TestNewComplainsAndLetsGo(t *testing.T) {
	d := servertest.Start(t, servertest.OnFiles("files are let go"))
	cfg := d.Config
	cfg.Listen, cfg.Admin.Listen = d.Addr, "127.0.0.1:0"
	_, err := server.New(cfg, d.Deps())
	text := fmt.Sprint(err)

	for _, want := range []string{
		"is taken",
		"trust.bolt: another process has this file open",
		"fhir.bolt: another process has this file open",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in:\n%s", want, text)
		}
	}

	cfg.Listen = "127.0.0.1:0"
	for name, c := range map[string]struct {
		place func(dir string) error
		want  string
	}{
		"a file": {func(dir string) error { return os.WriteFile(dir, nil, 0o600) }, "is not a directory"},
		"junk": {func(dir string) error {
			return junk(dir)
		}, "trust.bolt: is no Bolt file, or is damaged"},
		"open to all": {func(dir string) error { return open(dir) }, "others may write to"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg.Data = strings.ReplaceAll(name, " ", "\n")
			if err := c.place(filepath.Join(d.Dir, cfg.Data)); err != nil {
				t.Fatal(err)
			}
			if err := cfg.Check(time.Now()); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s: Check says %v, want %q", name, err, c.want)
			}
			if s, err := server.New(cfg, d.Deps()); err == nil {
				s.Close()
				t.Errorf("%s: New starts", name)
			}
		})
	}

	if _, err := server.New(server.Config{}, server.Deps{}); err == nil {
		t.Error("a server without a clock starts")
	}
}

func junk(dir string) error {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "trust.bolt"), []byte(strings.Repeat("junk", 10_000)), 0o600)
}

func open(dir string) error {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	return os.Chmod(dir, 0o777)
}

// The console has its own listener, and the public one knows nothing of
// it.
//
// Covers: case 270, case 277, case 327, D-16
func TestAdminListener(t *testing.T) {
	d := servertest.Start(t)
	d.Do("POST", "/acme/oauth/token", strings.NewReader("grant_type=x"), "Content-Type",
		"application/x-www-form-urlencoded")
	get := func(path, host string) (int, string) {
		req, err := http.NewRequest("GET", d.Admin+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if host != "" {
			req.Host = host
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()

		b, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		return res.StatusCode, string(b)
	}

	for path, want := range map[string]string{
		"/traces": `"action": "token"`, "/ready": `"uri": "` + servertest.URIA +
			`"`, "/health": "ok", "/metrics": `destination_requests_total{method="POST",route="token",status="400"} 1`,
	} {
		t.Run(path, func(t *testing.T) {
			if code, body := get(path, ""); code != 200 || !strings.Contains(body, want) {
				t.Errorf("%s: %d, no %s in\n%s", path, code, want, body)
			}
		})
	}

	if code, _ := get("/traces", "evil.example"); code != 421 {
		t.Errorf("DNS rebinding: %d", code)
	}
	if res, _ := d.Get("/traces", "Host", strings.TrimPrefix(d.Admin, "http://")); res.StatusCode != 421 {
		t.Errorf("the console's Host on the public listener: %d", res.StatusCode)
	}
	d.Eventually("the self-test succeeds", func() bool {
		_, body := get("/ready", "")
		return strings.Count(body, `"revocation": "ok"`) == 2
	})

	if _, body := get("/metrics", ""); !strings.Contains(body, "destination_list_usable") ||
		!strings.Contains(body, "destination_certificate_expiry_seconds") {
		t.Errorf("metrics lack lists and certificates:\n%s", body)
	}
}
