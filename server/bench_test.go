package server_test

import (
	"bufio"
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/url"
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
	"fhirdest.example/server"
	"fhirdest.example/server/postgres/postgrestest"
	"fhirdest.example/server/servertest"
	"fhirdest.example/udap"
	"fhirdest.example/udap/trace"
)

// benchLoad names the file of requests for a process that is the load, so that
// the destination's CPU time can be told from it.
const benchLoad = "SERVER_BENCH_LOAD"

// TestMain lets the benchmark's second process be this binary.
func TestMain(m *testing.M) {
	if file := os.Getenv(benchLoad); file != "" {
		if err := load(os.Args[1], file, 32); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	postgrestest.Main(m)
}

// BenchmarkWhole measures a whole destination, with everything that it does
// beside what was asked for: TLS and framing, limits, metrics, log, decisions,
// audit records. Run it as cmd/destination runs: GOGC=400, -cpu two above the
// cores.
func BenchmarkWhole(b *testing.B) {
	for _, kind := range []certs.KeyKind{"p256", "rsa2048"} {
		b.Run("token/"+string(kind), func(b *testing.B) {
			d := newWhole(b)
			id := d.Issue("client", d.A, d.Key(kind), "https://client1.test/app")
			s := d.Session(d.A, id, "system/*.read")
			d.load(b, func(i int) string {
				return d.tokenRequest(b, id, s.Registered.ClientID)
			})
		})
	}

	b.Run("read", func(b *testing.B) {
		d := newWhole(b)
		s := d.Session(d.A, d.Client(d.A, "https://client1.test/app"), "system/*.read")
		var page struct{ Entry []struct{ FullURL string } }
		_, text := d.Get("/acme/fhir/Patient", "Authorization", "Bearer "+s.Token.Access)
		if err := json.Unmarshal([]byte(text), &page); err != nil || len(page.Entry) == 0 {
			b.Fatal(err, text)
		}
		d.load(b, func(i int) string {
			target := strings.TrimPrefix(page.Entry[i%len(page.Entry)].FullURL, "https://fhir.test")
			return "GET " + target + " HTTP/1.1\r\nHost: fhir.test\r\nAuthorization: Bearer " + s.Token.Access +
				"\r\n\r\n"
		})
	})
}

type whole struct {
	*servertest.Destination
	server *server.Server
}

// newWhole starts a destination as cmd/destination has it, whose log goes nowhere.
func newWhole(b testing.TB, change ...func(*servertest.Env)) whole {
	w := servertest.NewEnv(b)
	l := w.Listen()
	for _, f := range change {
		f(w)
	}
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		b.Fatal(err)
	}
	s, err := server.New(w.Config, server.Deps{
		Now:    time.Now,
		Log:    slog.New(slog.NewTextHandler(null, nil)),
		Public: l,
		Reload: make(chan struct{}),
	})
	if err != nil {
		b.Fatal(err)
	}

	d := &servertest.Destination{
		Env:    w,
		Base:   servertest.Base,
		Issuer: strings.TrimSuffix(servertest.Base, "/fhir") + "/oauth",
		Addr:   l.Addr().String(),
		HTTP:   w.HTTPClient(l.Addr().String()),
	}

	ctx, cancel := context.WithCancel(b.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	b.Cleanup(func() { d.HTTP.CloseIdleConnections(); cancel(); <-ended; _ = null.Close() })
	return whole{d, s}
}

// tokenRequest returns a request for a token, with an assertion of its own.
func (d whole) tokenRequest(b testing.TB, id *certs.Identity, client trace.ClientID) string {
	return formPost("/acme/oauth/token", "application/x-www-form-urlencoded",
		tokenForm(b, id, client, d.Issuer+"/token"))
}

func tokenForm(b testing.TB, id *certs.Identity, client trace.ClientID, audience string) string {
	now := time.Now()
	claims := fmt.Sprintf(`{"iss":%q,"sub":%[1]q,"aud":%q,"iat":%d,"exp":%d,"jti":%q,"extensions":{"hl7-b2b":{"version":"1","organization_name":"HTEST clinic","organization_id":"https://clinic.test/organization/1","purpose_of_use":["urn:oid:2.16.840.1.113883.5.8#TREAT"]}}}`,
		client, audience, now.Unix(), now.Unix()+300, rand.Text())
	jws, err := udap.Sign(id.Key, id.Chain[:2], "", []byte(claims))
	if err != nil {
		b.Error(err)
	}
	return url.Values{"grant_type": {"client_credentials"}, "udap": {"1"}, "scope": {"system/Patient.read"}, "client_assertion": {jws},
		"client_assertion_type": {"urn:ietf:params:oauth:client-assertion-type:jwt-bearer"}}.Encode()
}

func formPost(path, contentType, body string) string {
	return fmt.Sprintf("POST %s HTTP/1.1\r\nHost: fhir.test\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s", path,
		contentType, len(body), body)
}

// load has b.N requests sent by another process over 32 connections.
func (d whole) load(b *testing.B, request func(i int) string) {
	file := filepath.Join(b.TempDir(), "requests")
	var wg sync.WaitGroup
	all := make([]string, b.N)
	var next atomic.Int64

	for range runtime.NumCPU() {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < b.N; i = int(next.Add(1)) - 1 {
				r := request(i)
				all[i] = string(binary.BigEndian.AppendUint32(nil, uint32(len(r)))) + r
			}
		})
	}

	wg.Wait()
	if err := os.WriteFile(file, []byte(strings.Join(all, "")), 0o600); err != nil {
		b.Fatal(err)
	}
	all = nil
	cmd := exec.Command(os.Args[0], d.Addr)
	cmd.Env, cmd.Stderr = append(os.Environ(), benchLoad+"="+file), os.Stderr
	runtime.GC()

	b.ReportAllocs()
	b.ResetTimer()
	start := serverCPU()
	out, err := cmd.Output()
	b.StopTimer()
	if err != nil {
		b.Fatal(err)
	}

	ns, _ := strconv.ParseFloat(strings.TrimSpace(string(out)), 64)
	b.ReportMetric(float64((serverCPU()-start).Nanoseconds())/1000/float64(b.N), "cpu-µs/req")
	b.ReportMetric(float64(b.N)/ns*1e9, "req/s")
	b.ReportMetric(0, "ns/op")
}

func serverCPU() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// load sends every request of a file once and prints the nanoseconds it took.
func load(addr, file string, connections int) error {
	data, err := os.ReadFile(file)
	if err != nil {
		return err
	}

	var requests [][]byte
	for len(data) > 0 {
		n := binary.BigEndian.Uint32(data)
		requests, data = append(requests, data[4:4+n]), data[4+n:]
	}

	conns := make([]*tls.Conn, connections)
	for i := range conns {
		if conns[i], err = tls.Dial("tcp", addr, &tls.Config{
			InsecureSkipVerify: true,
			NextProtos:         []string{"http/1.1"},
		}); err != nil {
			return err
		}
	}

	var wg sync.WaitGroup
	var next atomic.Int64
	errs := make(chan error, connections)
	start := time.Now()

	for _, c := range conns {
		wg.Go(func() {
			r := bufio.NewReader(c)
			for i := int(next.Add(1)) - 1; i < len(requests); i = int(next.Add(1)) - 1 {
				if err := exchange(c, r, requests[i]); err != nil {
					errs <- err
					return
				}
			}
		})
	}

	wg.Wait()
	fmt.Println(time.Since(start).Nanoseconds())
	close(errs)
	return <-errs
}

func exchange(c io.Writer, r *bufio.Reader, request []byte) error {
	if _, err := c.Write(request); err != nil {
		return err
	}

	length, status := 0, ""
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return err
		}

		if status == "" {
			status = line
		}
		if v, ok := strings.CutPrefix(line, "Content-Length: "); ok {
			length, _ = strconv.Atoi(strings.TrimSpace(v))
		}
		if len(line) <= 2 {
			break
		}
	}

	body := make([]byte, length)
	if _, err := io.ReadFull(r, body); err != nil {
		return err
	}
	if !strings.Contains(status, " 200 ") {
		return fmt.Errorf("%s%s", status, body)
	}

	return nil
}
