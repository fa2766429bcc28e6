package server_test

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"fhirdest.example/certs"
	"fhirdest.example/server"
	"fhirdest.example/server/servertest"
)

// collected is what a collector has got: the AuditEvents in their order.
type collected struct {
	mu     sync.Mutex
	bodies []string
}

func (c *collected) add(body string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.bodies = append(c.bodies, body)
}

func (c *collected) all() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.bodies)
}

// has reports whether one record has all of the texts.
func (c *collected) has(texts ...string) bool {
	return slices.ContainsFunc(c.all(), func(body string) bool {
		return !slices.ContainsFunc(texts, func(text string) bool { return !strings.Contains(body, text) })
	})
}

// ServeHTTP is that of a FHIR server that stores AuditEvents of batches.
func (c *collected) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var b struct {
		Entry []struct {
			Resource jsontext.Value `json:"resource"`
		} `json:"entry"`
	}
	if err := json.UnmarshalRead(r.Body, &b); err != nil || r.Header.Get("Authorization") != "Bearer collector-token" {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}

	var results []string
	for _, e := range b.Entry {
		c.add(string(e.Resource))
		results = append(results, `{"response":{"status":"201"}}`)
	}
	fmt.Fprintf(w, `{"resourceType":"Bundle","type":"batch-response","entry":[%s]}`, strings.Join(results, ","))
}

// syslog reads the frames of one connection.
func (c *collected) syslog(conn net.Conn) {
	r := bufio.NewReader(conn)
	for {
		var n int
		if _, err := fmt.Fscanf(r, "%d ", &n); err != nil {
			return
		}
		frame := make([]byte, n)
		if _, err := io.ReadFull(r, frame); err != nil {
			return
		}
		_, body, _ := strings.Cut(string(frame), "\xef\xbb\xbf")
		c.add(body)
	}
}

// collectorTLS is the TLS configuration of a collector at 127.0.0.1.
func collectorTLS(t *testing.T, w *servertest.Env) *tls.Config {
	t.Helper()
	key := w.Key(certs.P256)
	leaf, err := w.TLS.Issue(certs.Template{
		CommonName: "collector",
		IPs:        []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore:  time.Now().Add(-time.Hour),
		NotAfter:   time.Now().Add(time.Hour),
	}, key.Public())
	if err != nil {
		t.Fatal(err)
	}
	id := &certs.Identity{Chain: []*x509.Certificate{leaf}, Key: key}
	return &tls.Config{Certificates: []tls.Certificate{id.TLS()}}
}

// withCollectors configures a collector of each kind, and returns what they get.
func withCollectors(t *testing.T, w *servertest.Env) (syslog, feed *collected) {
	t.Helper()
	syslog, feed = &collected{}, &collected{}
	if err := certs.WriteCertificates(filepath.Join(w.Dir, "collectors.pem"), w.TLS.Cert); err != nil {
		t.Fatal(err)
	}
	token := filepath.Join(w.Dir, "collector.token")
	if err := os.WriteFile(token, []byte("collector-token\n"), 0o600); err != nil {
		t.Fatal(err)
	}

	l, err := tls.Listen("tcp", "127.0.0.1:0", collectorTLS(t, w))
	if err != nil {
		t.Fatal(err)
	}
	var open sync.WaitGroup
	open.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			open.Go(func() {
				defer conn.Close()
				syslog.syslog(conn)
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		open.Wait()
	})

	repository := httptest.NewUnstartedServer(feed)
	repository.TLS = collectorTLS(t, w)
	repository.StartTLS()
	t.Cleanup(repository.Close)

	w.Config.Audit = server.Audit{
		Syslog: server.Syslog{
			Addr: l.Addr().String(),
			CA:   "collectors.pem",
		},
		Feed: server.Feed{
			URL:       repository.URL + "/fhir",
			CA:        "collectors.pem",
			TokenFile: "collector.token",
		},
	}
	return syslog, feed
}

// Each record reaches syslog and the FHIR server, as it is read here, in order and
// once, before and after a restart.
//
// Covers: FS-402
func TestAuditRecordReachesItsCollectors(t *testing.T) {
	var syslog, feed *collected
	d := servertest.Start(t, func(w *servertest.Env) {
		syslog, feed = withCollectors(t, w)
		w.Config.AuditReaders = []string{"https://client.test/auditor"}
	})
	s := d.Session(d.A, d.Client(d.A, "https://client.test/auditor"), "system/Patient.rs system/AuditEvent.rs")
	fetched(t, s, "Patient?_count=1")
	search := `"code":"search-type"`
	d.Eventually("both have the search", func() bool { return syslog.has(search) && feed.has(search) })
	d.Eventually("nothing is left", func() bool { return metric(t, d, `destination_audit_lag{collector="feed"}`) == "0" })

	first := feed.all()[0]
	_, id, _ := strings.Cut(first, `"id":"`)
	id, _, _ = strings.Cut(id, `"`)
	if own := string(fetched(t, s, "AuditEvent/"+id)); own != first {
		t.Errorf("the collector has\n%s\nand here it is\n%s", first, own)
	}
	_, ready := page(t, d, "/ready")
	if !strings.Contains(ready, `"name": "syslog"`) || strings.Contains(ready, "do not reach") {
		t.Errorf("/ready: %s", ready)
	}

	// What is under way at a stop may be sent again.
	d.Eventually("both have the read of it", func() bool {
		return syslog.has("AuditEvent/"+id) && feed.has("AuditEvent/"+id)
	})
	for _, name := range []string{"syslog", "feed"} {
		d.Eventually("nothing is left for "+name, func() bool {
			return metric(t, d, `destination_audit_lag{collector="`+name+`"}`) == "0"
		})
	}

	d.Stop()
	d = d.Env.Start(d.Listen())
	s = d.Session(d.A, d.Client(d.A, "https://client.test/other"), "system/Observation.rs")
	fetched(t, s, "Observation?_count=1")
	d.Eventually("both have the new one", func() bool {
		id := string(s.Registered.ClientID)
		return syslog.has(search, id) && feed.has(search, id)
	})
	for name, c := range map[string]*collected{"syslog": syslog, "feed": feed} {
		d.Eventually(name+" has all", func() bool {
			return metric(t, d, `destination_audit_lag{collector="`+name+`"}`) == "0"
		})
		all := c.all()
		if sorted := slices.Compact(slices.Sorted(slices.Values(all))); len(sorted) != len(all) {
			t.Errorf("%s got %d records, %d of them different", name, len(all), len(sorted))
		}
	}
}

// A collector that cannot be reached stops nothing; the console and the metrics
// say so.
func TestCollectorsThatAreAwayHoldUpNothing(t *testing.T) {
	d := servertest.Start(t, func(w *servertest.Env) {
		withCollectors(t, w)
		w.Config.Audit.Syslog.Addr = "127.0.0.1:1"
		w.Config.Audit.Feed = server.Feed{}
	})
	s := d.Session(d.A, d.Client(d.A, "https://client.test/app"), "system/Patient.rs")
	for range 20 {
		fetched(t, s, "Patient?_count=1")
	}

	lag := `destination_audit_lag{collector="syslog"}`
	d.Eventually("the lag is seen", func() bool { return len(metric(t, d, lag)) >= 2 })
	d.Eventually("it is tried again", func() bool {
		return metric(t, d, `destination_audit_forward_failures_total{collector="syslog"}`) > "1"
	})
	if _, ready := page(t, d, "/ready"); !strings.Contains(ready, "audit records do not reach syslog") ||
		!strings.Contains(ready, "connection refused") {
		t.Errorf("/ready: %s", ready)
	}
}

// page reads a page of the console.
func page(t *testing.T, d *servertest.Destination, path string) (int, string) {
	t.Helper()
	res, err := http.Get(d.Admin + path)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(body)
}

// metric returns the value of a metric as it is written; empty when there is none.
func metric(t *testing.T, d *servertest.Destination, name string) string {
	t.Helper()
	_, text := page(t, d, "/metrics")
	for line := range strings.Lines(text) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

func TestCheckOfCollectors(t *testing.T) {
	for _, row := range []struct {
		name   string
		change func(*server.Config)
		want   string
	}{
		{"no port", func(c *server.Config) { c.Audit.Syslog.Addr = "collector" }, "audit.syslog.addr: "},
		{"no address", func(c *server.Config) { c.Audit.Syslog.CA = "x.pem" }, "audit.syslog.addr: "},
		{"http", func(c *server.Config) { c.Audit.Feed.URL = "http://a.example/fhir" }, "audit.feed.url: "},
		{"slash", func(c *server.Config) { c.Audit.Feed.URL = "https://a.example/fhir/" }, "audit.feed.url: "},
		{"user", func(c *server.Config) { c.Audit.Feed.URL = "https://u@a.example/fhir" }, "audit.feed.url: "},
		{"key only", func(c *server.Config) { c.Audit.Feed.Key = "x.key" }, "audit.feed: one of cert and key"},
		{"no file", func(c *server.Config) { c.Audit.Syslog.CA = "none.pem" }, "audit.syslog.ca: there is no file"},
		{"no token", func(c *server.Config) { c.Audit.Feed.TokenFile = "none" }, "audit.feed.tokenFile: "},
		{"no fhir", func(c *server.Config) { c.FHIR = "off" }, "audit: fhir is off"},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := servertest.NewEnv(t)
			w.Listen().Close()
			withCollectors(t, w)
			if err := w.Config.Check(time.Now()); err != nil {
				t.Fatalf("before: %v", err)
			}
			if row.name == "no address" {
				w.Config.Audit.Syslog = server.Syslog{}
			}
			row.change(&w.Config)
			if err := w.Config.Check(time.Now()); err == nil || !strings.Contains(err.Error(), row.want) {
				t.Errorf("complaints: %v", err)
			}
		})
	}
}
