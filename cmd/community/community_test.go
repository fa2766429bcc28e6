package main

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"fhirdest.example/certs"
	"fhirdest.example/cmd/internal/authority"
)

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// buffer is a bytes.Buffer for two goroutines.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func TestServe(t *testing.T) {
	// Covers: D-13
	dir := t.TempDir()
	a, err := authority.Create(filepath.Join(dir, "a"), authority.About{
		URI:  "urn:a",
		Name: "A",
	}, certs.P256, time.Now())
	if err != nil {
		t.Fatal(err)
	}

	log := &buffer{}
	config := filepath.Join(dir, "community.yaml")
	if err := os.WriteFile(config, []byte("listen: 127.0.0.1:0\ndir: .\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan int, 1)
	go func() {
		done <- run(ctx, []string{"serve", "-config", config}, env{nil, io.Discard, log, time.Now})
	}()

	waitFor(t, log, "lists are served")
	_, rest, _ := strings.Cut(log.String(), "address=")
	address, _, _ := strings.Cut(rest, " ")
	base := "http://" + address

	get := func(method, path string) (*http.Response, []byte) {
		req, err := http.NewRequest(method, base+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()

		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp, body
	}
	resp, body := get("GET", "/a.crl")
	first, err := x509.ParseRevocationList(body)
	if err != nil || resp.Header.Get("Content-Type") != "application/pkix-crl" {
		t.Fatalf("%v %v", resp.Header, err)
	}

	if err := a.Renew(time.Now(), time.Minute); err != nil {
		t.Fatal(err)
	}
	_, body = get("GET", "/a.crl")
	if second, err := x509.ParseRevocationList(body); err != nil || second.Number.Cmp(first.Number) <= 0 {
		t.Errorf("the list is not read anew: %v", err)
	}
	waitFor(t, log, "list ends in")

	if resp, body := get("GET", "/a-root.cer"); resp.StatusCode != 200 || !bytes.Equal(body, a.Root.Cert.Raw) {
		t.Errorf("the root's certificate: %s", resp.Status)
	}
	if resp, body := get("HEAD", "/a.crl"); resp.StatusCode != 200 || len(body) != 0 || resp.ContentLength <= 0 {
		t.Errorf("HEAD: %s %d", resp.Status, resp.ContentLength)
	}

	for _, path := range []string{
		"/a.key", "/a-root.key", "/a.json", "/", "/none.crl", "/../a.crl", "/%61.crl", "/.a.crl",
		"/x/a.crl", "/a-issued.pem",
	} {
		if resp, _ := get("GET", path); resp.StatusCode != 404 {
			t.Errorf("%s: %s", path, resp.Status)
		}
	}

	if resp, _ := get("POST", "/a.crl"); resp.StatusCode != 405 || resp.Header.Get("Allow") != "GET, HEAD" {
		t.Errorf("POST: %s", resp.Status)
	}
	cancel()
	if code := <-done; code != 0 {
		t.Errorf("exit %d", code)
	}
}

func TestServePortTaken(t *testing.T) {
	// Covers: case 326
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()

	config := filepath.Join(t.TempDir(), "c.yaml")
	if err := os.WriteFile(config, []byte("listen: "+ln.Addr().String()+"\ndir: .\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var stderr bytes.Buffer
	code := run(context.Background(), []string{"serve", "-config", config}, env{nil, io.Discard, &stderr, time.Now})
	if code != 2 || !strings.Contains(stderr.String(), "hint: another program holds the port") {
		t.Errorf("exit %d: %s", code, stderr.String())
	}
}

func waitFor(t *testing.T, log *buffer, text string) {
	t.Helper()
	for end := time.Now().Add(2 * time.Minute); time.Now().Before(end); {
		if strings.Contains(log.String(), text) {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("no %q in\n%s", text, log)
}

func TestMistakesExitTwo(t *testing.T) {
	// Covers: case 331
	for _, args := range [][]string{
		{}, {"x"}, {"init"}, {"issue", "-nope"}, {"revoke", "-ca", "x"}, {"show"}, {"serve"},
	} {
		var stderr bytes.Buffer
		if code := run(context.Background(), args, env{nil, io.Discard, &stderr, time.Now}); code != 2 ||
			stderr.Len() == 0 {
			t.Errorf("%q: exit %d, %q", args, code, stderr.String())
		}
	}

	if code := run(context.Background(), []string{"crl", "-ca", filepath.Join(t.TempDir(), "none")},
		env{nil, io.Discard, io.Discard, time.Now}); code != 1 {
		t.Errorf("a community that is not there: exit %d", code)
	}
}

// What stands in a certificate that somebody sent cannot steer the terminal of
// whoever looks at it.
//
// Covers: case 328
func TestShowIsPrintable(t *testing.T) {
	c, err := certs.NewCommunity(certs.CommunityPlan{
		Name:      "L\x1b]0;x\a",
		Key:       certs.P256,
		NotBefore: now.Add(-time.Hour),
		Life:      9000 * time.Hour,
	})
	if err != nil {
		t.Fatal(err)
	}

	leaf, err := c.Issuing.Issue(certs.Template{
		CommonName: "a\x1b[2J\r\nsubject  b\u202e\u009b",
		NotBefore:  now.Add(-time.Hour),
		NotAfter:   now.Add(time.Hour),
	}, c.Root.Key.Public())
	if err != nil {
		t.Fatal(err)
	}

	list, err := c.Issuing.CRL(certs.CRLTemplate{Number: 1, ThisUpdate: now, NextUpdate: now.Add(time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	printCertificate(&out, leaf)
	parsed, err := x509.ParseRevocationList(list)
	if err != nil {
		t.Fatal(err)
	}

	printList(&out, "x.crl", parsed, now)
	out.WriteString(certs.Describe(leaf))
	if text := out.String(); strings.ContainsAny(text, "\x1b\a\r\u202e\u009b") || strings.Count(text, "\nsubject") > 0 {
		t.Errorf("%q", text)
	}
}

func TestLint(t *testing.T) {
	// Covers: D-01, D-02, D-17, D-18, D-20, D-24
	root, err := certs.NewCommunity(certs.CommunityPlan{
		Name:      "L",
		Key:       certs.P256,
		NotBefore: now.Add(-time.Hour),
		Life:      9000 * time.Hour,
	})
	if err != nil {
		t.Fatal(err)
	}

	key, err := certs.NewKey(certs.P256)
	if err != nil {
		t.Fatal(err)
	}
	year := 8000 * time.Hour
	tests := []struct {
		name  string
		uris  []string
		life  time.Duration
		notes []string
	}{
		{"good", []string{"https://a.example/app"}, year, nil},
		{"no uri", nil, year, []string{"has no SAN URI"}},
		{"two", []string{"https://a.example/x", "https://a.example/y"}, year, []string{"2 SAN URIs"}},
		{"slash", []string{"https://a.example/"}, year, []string{"ends in a slash"}},
		{"http", []string{"http://a.example"}, year, []string{"is http"}},
		{"capitals", []string{"https://A.example"}, year, []string{"capitals"}},
		{"capital scheme", []string{"HTTPS://a.example"}, year, []string{"capitals"}},
		{"port", []string{"https://a.example:443/x"}, year, []string{"default port"}},
		{"relative", []string{"a.example"}, year, []string{"not an absolute URI"}},
		{"ending", []string{"https://a.example"}, 240 * time.Hour, []string{"expires in 10 days"}},
		{"ended", []string{"https://a.example"}, -time.Minute, []string{"expired at"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			leaf, err := root.Issuing.Issue(certs.Template{
				CommonName: "l",
				URIs:       tt.uris,
				CRL:        []string{"http://c/"},
				NotBefore:  now.Add(-time.Hour),
				NotAfter:   now.Add(tt.life),
			}, key.Public())
			if err != nil {
				t.Fatal(err)
			}

			got := lint(leaf, now)
			if len(got) != len(tt.notes) || len(got) == 1 && !strings.Contains(got[0], tt.notes[0]) {
				t.Errorf("%s: %q, want %q", tt.name, got, tt.notes)
			}
		})
	}

	if got := lint(root.Root.Cert, now); len(got) == 0 || !strings.Contains(got[0], "is a CA") {
		t.Errorf("a CA: %q", got)
	}
}

func TestMoveToAnotherBaseKeepsKeys(t *testing.T) {
	prefix := filepath.Join(t.TempDir(), "a")
	a, err := authority.Create(prefix, authority.About{
		URI:  "urn:a",
		Name: "A",
		Base: "http://localhost:1",
	}, certs.P256, now)
	if err != nil {
		t.Fatal(err)
	}

	if err := a.Revoke(a.Issuing.Cert.SerialNumber, false, 0, now); err != nil {
		t.Fatal(err)
	}
	b, err := authority.Create(prefix, authority.About{
		URI:  "urn:a",
		Name: "A",
		Base: "http://localhost:2",
	}, certs.P256, now)
	if err != nil {
		t.Fatal(err)
	}

	if !certs.SameKey(a.Root.Key.Public(), b.Root.Key.Public()) ||
		!certs.SameKey(a.Issuing.Key.Public(), b.Issuing.Key.Public()) {
		t.Error("the authorities have new keys")
	}
	if root, _, err := b.CRLs(); err != nil || root.Number.Int64() != 3 || len(root.RevokedCertificateEntries) != 1 {
		t.Errorf("the lists did not go on: %v", err)
	}
	if got := b.Issuing.Cert.CRLDistributionPoints[0]; got != "http://localhost:2/a-root.crl" {
		t.Errorf("distribution point %s", got)
	}

	var about authority.About
	data, _ := os.ReadFile(prefix + ".json")
	if err := json.Unmarshal(data, &about); err != nil || about.Base != "http://localhost:2" {
		t.Errorf("%v %v", about, err)
	}
}
