package faulty_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"fhirdest.example/certs"
	"fhirdest.example/server/lab/faulty"
	"fhirdest.example/udap"
	"fhirdest.example/udap/client"
	"fhirdest.example/udap/conform"
	"fhirdest.example/udap/fault/answer"
)

// network has the listeners of a test, and what came to them.
type network struct {
	all   map[string]*faulty.Listener
	roots *x509.CertPool
	seen  chan *conform.Exchange
}

func newNetwork(t *testing.T) *network {
	t.Helper()
	key, err := certs.NewKey(certs.P256)
	if err != nil {
		t.Fatal(err)
	}
	ca, err := certs.NewRoot(certs.Template{
		CommonName: "TLS",
		NotBefore:  time.Now().Add(-time.Hour),
		NotAfter:   time.Now().Add(24 * time.Hour),
	}, key)
	if err != nil {
		t.Fatal(err)
	}

	n := &network{
		all:   map[string]*faulty.Listener{},
		roots: x509.NewCertPool(),
		seen:  make(chan *conform.Exchange, 100),
	}
	n.roots.AddCert(ca.Cert)
	all, err := faulty.Open(faulty.Config{
		Listen:    "127.0.0.1:0",
		Host:      "localhost",
		Authority: ca,
		Now:       time.Now,
		Ended: func(fault string, _ net.Addr) {
			n.seen <- &conform.Exchange{
				N:        1,
				Received: time.Now(),
				Fault:    fault,
			}
		},
	})
	if err != nil {
		t.Fatal(err)
	}

	for _, l := range all {
		n.all[l.Fault] = l
		s := &http.Server{
			Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				l.Served(r)
				n.seen <- &conform.Exchange{
					N:        1,
					Received: time.Now(),
					Method:   r.Method,
					Target:   r.RequestURI,
					Fault:    l.Fault,
				}
				http.NotFound(w, r)
			}),
		}
		go func() { _ = s.Serve(tls.NewListener(l, l.TLS)) }() // until it is closed
		t.Cleanup(func() { _ = s.Close() })
	}
	return n
}

// A client that believes every web server ignores each fault of TLS; our originator
// notices each, and sends no request.
func TestFaultsOfTLS(t *testing.T) {
	n := newNetwork(t)
	ctx := context.Background()
	count := 0
	for _, f := range answer.All() {
		if f.Stage != answer.TLS {
			continue
		}
		count++
		t.Run(f.Name, func(t *testing.T) {
			l := n.all[f.Name]
			if l == nil {
				t.Fatal("there is no listener for it")
			}

			if got := f.Read(nil, time.Now()); got.Verdict != answer.NotSeen {
				t.Errorf("without a connection: %+v", got)
			}

			c := n.originator(t, l.Origin()+"/acme/fhir")
			if _, err := c.Discover(ctx); err == nil || !strings.Contains(err.Error(), "reply.connect") {
				t.Errorf("our originator ended with %v", err)
			}
			verdict(t, f, <-n.seen, answer.Noticed)

			believing := &http.Client{Transport: &http.Transport{
				DisableKeepAlives: true,
				TLSClientConfig: &tls.Config{
					InsecureSkipVerify: true,
					MinVersion:         tls.VersionTLS10,
				},
			}}
			res, err := believing.Get(l.Origin() + "/acme/fhir/.well-known/udap")
			if err != nil {
				t.Fatal(err)
			}
			res.Body.Close()
			verdict(t, f, <-n.seen, answer.Ignored)
		})
	}

	if count+1 != len(n.all) {
		t.Errorf("%d faults for %d listeners", count, len(n.all))
	}
}

func verdict(t *testing.T, f *answer.Fault, e *conform.Exchange, want answer.Verdict) {
	t.Helper()
	got := f.Read([]*conform.Exchange{e}, time.Now().Add(time.Minute))
	if got.Verdict != want || got.Text == "" {
		t.Errorf("%s: %s, want %s", got.Verdict, got.Text, want)
	}
}

// The listener without a fault is one that our originator trusts; without an authority
// there are the faults alone that need none.
func TestSoundListener(t *testing.T) {
	n := newNetwork(t)
	l := n.all[faulty.Sound]
	found, err := n.originator(t, l.Origin()+"/acme/fhir").Discover(context.Background())
	if err == nil || found.Reply == nil || found.Reply.Status != http.StatusNotFound {
		t.Errorf("our originator ended with %v", err)
	}

	few, err := faulty.Open(faulty.Config{
		Listen: "127.0.0.1:0",
		Host:   "127.0.0.1",
		Now:    time.Now,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = faulty.Close(few) }()
	var names []string
	for _, l := range few {
		names = append(names, l.Fault)
	}
	if got := strings.Join(names, " "); got != "tls-self-signed tls-other-authority" {
		t.Errorf("without an authority: %s", got)
	}
}

// A port that is taken is an error, and nothing stays open.
func TestPortsFollowEachOther(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()

	_, err = faulty.Open(faulty.Config{
		Listen: taken.Addr().String(),
		Host:   "localhost",
		Now:    time.Now,
	})
	if err == nil || !strings.Contains(err.Error(), "tls-self-signed") {
		t.Errorf("a port that is taken: %v", err)
	}
}

func (n *network) originator(t *testing.T, base string) *client.Client {
	t.Helper()
	c, err := client.New(client.Config{
		Base:     base,
		TLSRoots: n.roots,
		Verifier: &udap.Verifier{},
		Now:      time.Now,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}
