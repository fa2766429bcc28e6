package oauth_test

import (
	"bufio"
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"fhirdest.example/certs"
	"fhirdest.example/server/bolt"
	"fhirdest.example/server/oauth"
	"fhirdest.example/udap"
	"fhirdest.example/udap/trace"
	"fhirdest.example/udap/udaptest"
)

// The benchmarks load a server in a process of its own over TLS, so that its
// CPU time can be told from the load's. Mode says which server.
const (
	benchEnv  = "OAUTH_BENCH"
	benchMode = "OAUTH_BENCH_MODE"
	benchData = "OAUTH_BENCH_DATA" // directory for PostgreSQL, whose account can reach it

	modeServer   = "server"   // as it is
	modeNoSync   = "nosync"   // commits are not durable
	modePlain    = "plain"    // no cache, and one Bolt transaction for each request
	modePostgres = "postgres" // with a PostgreSQL of its own, whose commits are durable
	modeHTTP     = "http"     // reads the request and answers a constant: what net/http and TLS cost
)

// BenchmarkHandler measures the token endpoint without network and HTTP: what
// the TLS benchmarks cost beyond it is net/http, TLS and the kernel.
func BenchmarkHandler(b *testing.B) {
	for _, kind := range []certs.KeyKind{"p256", "rsa2048"} {
		b.Run(string(kind), func(b *testing.B) {
			w := udaptest.New(b, kind)
			trust, err := bolt.OpenTrust(filepath.Join(b.TempDir(), "trust.bolt"), bolt.Options{})
			if err != nil {
				b.Fatal(err)
			}
			b.Cleanup(func() { _ = trust.Close() })
			svc, err := oauth.New(oauth.Config{
				Base:     udaptest.Base,
				Issuer:   issuer,
				Verifier: w.Verifier(),
				Store:    trust,
				Scopes:   catalogue(b, "system/Patient.rs"),
				Now:      func() time.Time { return udaptest.Now },
				Record:   func(*trace.Trace) {},
			})
			if err != nil {
				b.Fatal(err)
			}

			endpoints := map[string]http.Handler{}
			svc.Routes(func(u string, h http.Handler) { endpoints[u] = h })
			post := func(u, contentType, body string, want int) []byte {
				r := httptest.NewRequest("POST", u, strings.NewReader(body))
				r.Header.Set("Content-Type", contentType)
				answer := httptest.NewRecorder()
				endpoints[u].ServeHTTP(answer, r)
				if answer.Code != want {
					b.Fatalf("%d %s", answer.Code, answer.Body)
				}

				return answer.Body.Bytes()
			}

			c := w.Client(b, w.A.Int, udaptest.Client1URI, nil)
			id := trace.ClientID(answer{
				body: post(issuer+"/register", jsonType, benchStatement(b, c), 201),
			}.text("client_id"))
			forms := presign(b.N, func() string {
				return assertionForm(c.Sign(b, udaptest.Assertion(id, udaptest.Now)))
			})
			var next atomic.Int64

			b.SetParallelism(16)
			b.ReportAllocs()
			b.ResetTimer()
			start := processCPU()
			b.RunParallel(func(p *testing.PB) {
				for p.Next() {
					post(issuer+"/token", "application/x-www-form-urlencoded", forms[next.Add(1)-1], 200)
				}
			})

			b.ReportMetric(float64((processCPU()-start).Nanoseconds())/1000/float64(b.N), "cpu-µs/req")
		})
	}
}

// loadEnv is a running server with an environment of trust.
type loadEnv struct {
	b    *testing.B
	w    *udaptest.Env
	addr string
	cmd  *exec.Cmd
}

func newLoadEnv(b *testing.B, kind certs.KeyKind, mode string) *loadEnv {
	b.Helper()
	dir := b.TempDir()
	w := udaptest.New(b, kind)
	check := func(err error) {
		if err != nil {
			b.Fatal(err)
		}
	}

	var chain []byte
	for _, c := range []*x509.Certificate{w.A.Int.Cert, w.A.Root.Cert} {
		chain = append(chain, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
	}
	check(os.WriteFile(filepath.Join(dir, "cas.pem"), chain, 0o600))

	for name, ca := range map[string]*certs.CA{"int.crl": w.A.Int, "root.crl": w.A.Root} {
		der, err := ca.CRL(certs.CRLTemplate{
			Number:     1,
			ThisUpdate: w.Now.Add(-time.Hour),
			NextUpdate: w.Now.Add(24 * time.Hour),
		})
		check(err)
		check(os.WriteFile(filepath.Join(dir, name), der, 0o600))
	}

	data, err := os.MkdirTemp("", "pg")
	check(err)
	b.Cleanup(func() { check(os.RemoveAll(data)) })

	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), benchEnv+"="+dir, benchMode+"="+mode, benchData+"="+data)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	check(err)
	check(cmd.Start())
	b.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	line, err := bufio.NewReader(out).ReadString('\n')
	check(err)

	return &loadEnv{b, w, strings.TrimSpace(line), cmd}
}

// connection sends one request after the other.
type connection struct {
	net.Conn
	r *bufio.Reader
}

func (n *loadEnv) dial() *connection {
	// the load's own server
	c, err := tls.Dial("tcp", n.addr, &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13}) //nolint:gosec
	if err != nil {
		n.b.Fatal(err)
	}
	return &connection{c, bufio.NewReader(c)}
}

func (c *connection) do(request string) (status int, body []byte, err error) {
	if _, err = io.WriteString(c, request); err != nil {
		return 0, nil, err
	}

	length := 0
	for line := 0; ; line++ {
		text, err := c.r.ReadSlice('\n')
		if err != nil {
			return 0, nil, err
		}

		if line == 0 {
			status, _ = strconv.Atoi(string(text[9:12]))
		}
		if n, found := strings.CutPrefix(string(text), "Content-Length: "); found {
			length, _ = strconv.Atoi(strings.TrimSpace(n))
		}
		if len(text) <= 2 {
			break
		}
	}

	body = make([]byte, length)
	_, err = io.ReadFull(c.r, body)
	return status, body, err
}

func request(method, path, contentType, body string) string {
	return fmt.Sprintf("%s %s HTTP/1.1\r\nHost: fhir.test\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s", method,
		path, contentType, len(body), body)
}

func (n *loadEnv) cpu() time.Duration {
	c := n.dial()
	defer c.Close()
	_, body, err := c.do(request("GET", "/cpu", "text/plain", ""))
	ns, err2 := strconv.ParseInt(string(body), 10, 64)
	if err != nil || err2 != nil {
		n.b.Fatal(err, err2)
	}
	return time.Duration(ns)
}

func (n *loadEnv) register(c *udaptest.Client) trace.ClientID {
	conn := n.dial()
	defer conn.Close()
	status, body, err := conn.do(request("POST", "/oauth/register", jsonType, benchStatement(n.b, c)))
	if err != nil || status != 201 {
		n.b.Fatalf("registration: %d %s %v", status, body, err)
	}
	return trace.ClientID(answer{body: body}.text("client_id"))
}

func benchStatement(b *testing.B, c *udaptest.Client) string {
	return `{"udap":"1","software_statement":"` + c.Sign(b,
		c.Statement(udaptest.Now).With("scope", "system/Patient.rs")) + `"}`
}

// load sends every request once over so many connections and reports rate and
// the server's CPU time, against that of so many checks with a key, measured
// before and after.
func (n *loadEnv) load(connections, want int, requests []string, key crypto.Signer, checks int) {
	b := n.b
	bare := bareVerify(b, key)
	var next atomic.Int64
	var wg sync.WaitGroup
	conns := make([]*connection, connections)
	for i := range conns {
		conns[i] = n.dial()
	}

	before := n.cpu()
	b.ResetTimer()
	for _, c := range conns {
		wg.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= len(requests) {
					return
				}
				if status, body, err := c.do(requests[i]); err != nil || status != want {
					b.Errorf("%d %s %v", status, body, err)
					return
				}
			}
		})
	}

	wg.Wait()
	b.StopTimer()
	if os.Getenv("OAUTH_BENCH_PROFILE") != "" {
		_, _, _ = n.dial().do(request("GET", "/profile", "text/plain", ""))
	}
	each := (n.cpu() - before) / time.Duration(len(requests))
	bare = (bare + bareVerify(b, key)) / 2 * time.Duration(checks)
	b.ReportMetric(float64(len(requests))/b.Elapsed().Seconds(), "req/s")

	b.ReportMetric(float64(each.Nanoseconds())/1000, "cpu-µs/req")
	b.ReportMetric(float64(bare.Nanoseconds())/1000, "bare-µs")
	b.ReportMetric(float64(each)/float64(bare), "cpu/bare")
	b.ReportMetric(0, "ns/op")
	for _, c := range conns {
		_ = c.Close()
	}
}

// presign makes n requests in parallel, outside the measured time.
func presign(n int, make1 func() string) []string {
	out := make([]string, n)
	var wg sync.WaitGroup
	var next atomic.Int64

	for range runtime.NumCPU() {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				out[i] = make1()
			}
		})
	}

	wg.Wait()
	return out
}

// bareVerify is the CPU time of one signature check and nothing else. Like the
// server's it is counted by the kernel, so that others on the machine do not
// change the ratio.
func bareVerify(b *testing.B, key crypto.Signer) time.Duration {
	b.Helper()
	digest := sha256.Sum256([]byte("bare"))
	sig, err := key.Sign(nil, digest[:], crypto.SHA256)
	if err != nil {
		b.Fatal(err)
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()

	const rounds = 2000
	start := threadCPU()
	for range rounds {
		switch pub := key.Public().(type) {
		case *rsa.PublicKey:
			err = rsa.VerifyPKCS1v15(pub, crypto.SHA256, digest[:], sig)
		case *ecdsa.PublicKey:
			if !ecdsa.VerifyASN1(pub, digest[:], sig) {
				err = fmt.Errorf("not verified")
			}
		}

		if err != nil {
			b.Fatal(err)
		}
	}

	return (threadCPU() - start) / rounds
}

func threadCPU() time.Duration {
	const thread = 1 // RUSAGE_THREAD
	var u syscall.Rusage
	_ = syscall.Getrusage(thread, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkToken measures the token endpoint with distinct assertions. Run it
// with -benchtime 3000x or so: each is signed beforehand.
func BenchmarkToken(b *testing.B) {
	for _, kind := range []certs.KeyKind{"p256", "rsa2048"} {
		for _, connections := range []int{1, 32, 128} {
			b.Run(fmt.Sprintf("%s/%d", kind, connections), func(b *testing.B) {
				benchToken(b, kind, modeServer, connections)
			})
		}
		for _, mode := range []string{modeNoSync, modePlain, modePostgres, modeHTTP} {
			b.Run(fmt.Sprintf("%s/32-%s", kind, mode), func(b *testing.B) { benchToken(b, kind, mode, 32) })
		}
	}
}

func benchToken(b *testing.B, kind certs.KeyKind, mode string, connections int) {
	n := newLoadEnv(b, kind, mode)
	c := n.w.Client(b, n.w.A.Int, udaptest.Client1URI, nil)
	id := n.register(c)
	requests := presign(b.N, func() string {
		return request("POST", "/oauth/token", "application/x-www-form-urlencoded",
			assertionForm(c.Sign(b, udaptest.Assertion(id, udaptest.Now))))
	})
	n.load(connections, 200, requests, c.Key, 1)
}

// BenchmarkRegister measures registrations, each by another client with a
// certificate that the server sees for the first time.
func BenchmarkRegister(b *testing.B) {
	for _, mode := range []string{modeServer, modePlain} {
		b.Run("p256/32-"+mode, func(b *testing.B) {
			n := newLoadEnv(b, "p256", mode)
			var uri atomic.Int64
			requests := presign(b.N, func() string {
				c := n.w.Client(b, n.w.A.Int, fmt.Sprintf("https://client%d.test/", uri.Add(1)), nil)
				return request("POST", "/oauth/register", jsonType, benchStatement(b, c))
			})
			n.load(32, 201, requests, n.w.A.Int.Key, 2) // the statement's signature and the leaf's
		})
	}
}

// BenchmarkIntrospect measures introspection of one token by distinct assertions.
func BenchmarkIntrospect(b *testing.B) {
	n := newLoadEnv(b, "p256", modeServer)
	c := n.w.Client(b, n.w.A.Int, udaptest.Client1URI, nil)
	id := n.register(c)
	conn := n.dial()
	_, body, err := conn.do(request("POST", "/oauth/token", "application/x-www-form-urlencoded",
		assertionForm(c.Sign(b, udaptest.Assertion(id, udaptest.Now)))))
	if err != nil {
		b.Fatal(err)
	}

	token := answer{body: body}.text("access_token")
	requests := presign(b.N, func() string {
		form := assertionForm(c.Sign(b, udaptest.Assertion(id, udaptest.Now).With("aud", issuer+"/introspect")))
		return request("POST", "/oauth/introspect", "application/x-www-form-urlencoded", form+"&token="+token)
	})
	n.load(32, 200, requests, c.Key, 1)
}

// BenchmarkParts measures what a token costs apart: the verifier with cold and
// warm memory; package store has the commit.
func BenchmarkParts(b *testing.B) {
	for _, kind := range []certs.KeyKind{"p256", "rsa2048"} {
		w := udaptest.New(b, kind)
		c := w.Client(b, w.A.Int, udaptest.Client1URI, nil)
		assertion := c.Sign(b, udaptest.Assertion("client", w.Now))
		lookup := func(trace.ClientID) (udap.Binding, bool) {
			return udap.Binding{Community: udaptest.CommunityA, Client: udaptest.Client1URI}, true
		}
		judge := func(b *testing.B, v *udap.Verifier) {
			if _, err := v.Assertion(b.Context(), assertion, "", udap.Expect{
				Now:      w.Now,
				Audience: udaptest.Token,
			}, lookup, trace.NewTrace("token", w.Now)); err != nil {
				b.Fatal(err)
			}
		}

		b.Run(string(kind)+"/signature", func(b *testing.B) {
			b.ReportMetric(float64(bareVerify(b, c.Key).Nanoseconds()), "cpu-ns/op")
		})
		warm := w.Verifier()
		for name, verifier := range map[string]func() *udap.Verifier{"verifier-warm": func() *udap.Verifier {
			return warm
		}, "verifier-cold": w.Verifier} {
			b.Run(string(kind)+"/"+name, func(b *testing.B) {
				start := processCPU()
				for b.Loop() {
					judge(b, verifier())
				}
				b.ReportMetric(float64((processCPU()-start).Nanoseconds())/float64(b.N), "cpu-ns/op")
			})
		}
	}
}
