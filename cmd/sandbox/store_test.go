package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"fhirdest.example/cmd/internal/testbed"
)

// With -store postgres two destinations share a database of the sandbox's own, the
// claims are held, each as a program of its own too, and the same directory serves again.
func TestTwoDestinationsOnADatabase(t *testing.T) {
	temp, dir := ownTemp(t), filepath.Join(t.TempDir(), "box")
	for _, more := range [][]string{{"-separate"}, nil} {
		args := append([]string{"-once", "-store", "postgres", "-patients", "3", "-dir", dir}, anywhere...)
		code, out, stderr := call(t, context.Background(), append(args, more...)...)
		if code != 0 {
			t.Fatalf("%v: exit %d\n%s", more, code, stderr)
		}
		expect(t, out, nil)
	}
	nothingLeft(t, temp)

	m, err := testbed.ReadManifest(dir)
	if err != nil {
		t.Fatal(err)
	}
	if m.Addresses["private2"] == "" || m.Configs["destination2"] != "destination2.yaml" {
		t.Errorf("the manifest has no second destination: %v %v", m.Addresses, m.Configs)
	}
	for _, name := range []string{"destination.jsonl", "destination2.jsonl"} {
		if st, err := os.Stat(filepath.Join(dir, name)); err != nil || st.Size() == 0 {
			t.Errorf("%s: no request came to this destination: %v", name, err)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "postgres", "data", "postmaster.pid")); err == nil {
		t.Error("PostgreSQL did not end with the sandbox")
	}
}

// PostgreSQL that is killed is started again, and the destinations go on. A destination
// that is killed takes nothing with it while there is another one: the sandbox stays up,
// requests are answered, and an interrupt ends it well.
func TestOneOfTwoDestinationsIsKilled(t *testing.T) {
	temp, dir := ownTemp(t), filepath.Join(t.TempDir(), "box")
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	errs, progress := io.Pipe()
	ended := make(chan int, 1)
	go func() {
		args := append([]string{"-no-demo", "-separate", "-store", "postgres", "-patients", "3", "-dir", dir}, anywhere...)
		ended <- run(ctx, args, streams{io.Discard, progress}, time.Now)
		progress.Close()
	}()
	lines := bufio.NewScanner(errs)
	awaitLine(t, lines, "stop with an interrupt")

	m, err := testbed.ReadManifest(dir)
	if err != nil {
		t.Fatal(err)
	}
	server, _, _ := strings.Cut(mustRead(t, filepath.Join(dir, "postgres", "data", "postmaster.pid")), "\n")
	pid, err := strconv.Atoi(server)
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	awaitLine(t, lines, "PostgreSQL ended by itself")
	awaitLine(t, lines, "PostgreSQL runs again")
	for status := 0; status != http.StatusOK && t.Context().Err() == nil; {
		resp, err := http.Get(m.Admin + "/ready")
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		status = resp.StatusCode
	}

	pid, err = strconv.Atoi(filepath.Base(listenerProcess(m.Addresses["private2"])))
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	awaitLine(t, lines, "destination2 ended by itself")
	go func() { _, _ = io.Copy(io.Discard, errs) }()

	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM([]byte(mustRead(t, filepath.Join(dir, m.TLSCA))))
	for range 4 { // each on a connection of its own
		c := &http.Client{Transport: &http.Transport{
			DisableKeepAlives: true,
			TLSClientConfig:   &tls.Config{RootCAs: pool},
		}}
		resp, err := c.Get(m.PublicBase + "/metadata")
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			t.Errorf("answered %s", resp.Status)
		}
	}

	interrupt()
	if code := <-ended; code != 0 {
		t.Errorf("exit %d", code)
	}
	nothingLeft(t, temp)
}

// awaitLine reads on until a line has a text.
func awaitLine(t *testing.T, lines *bufio.Scanner, text string) {
	t.Helper()
	for lines.Scan() {
		if strings.Contains(lines.Text(), text) {
			return
		}
	}
	t.Fatalf("there is no line with %q", text)
}
