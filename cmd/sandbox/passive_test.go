package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"sync"
	"testing"

	"fhirdest.example/cmd/internal/gates"
)

// otherGateway stands before the gateway, with its certificate, and gives the first
// good answer to each GET again; spoiled by a byte, if so.
func otherGateway(t *testing.T, d *demo, spoil bool) string {
	t.Helper()
	id, err := d.hopIdentity("gateway")
	if err != nil {
		t.Fatal(err)
	}
	kept := &keeper{spoil: spoil, inner: &http.Transport{DialTLSContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&tls.Dialer{Config: &tls.Config{RootCAs: d.roots, ServerName: "localhost"}}).DialContext(ctx, network, d.gatewayAddress())
	}}, answers: map[string]*http.Response{}, bodies: map[string][]byte{}}
	ln, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{id.TLS()}, NextProtos: []string{"http/1.1"}})
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: &httputil.ReverseProxy{Transport: kept, Rewrite: func(r *httputil.ProxyRequest) {
		r.Out.URL.Scheme, r.Out.URL.Host, r.Out.Host = "https", r.In.Host, r.In.Host
	}}}
	go s.Serve(ln)
	t.Cleanup(func() { s.Close(); kept.inner.CloseIdleConnections() })
	return ln.Addr().String()
}

// gatewayAddress is where the gateway listens, whatever the manifest says by now.
func (d *demo) gatewayAddress() string {
	c, err := gates.Read(d.file(d.manifest.Configs["gateway"]))
	if err != nil {
		return ""
	}
	return c.Listen
}

// keeper keeps the first good answer to each GET.
type keeper struct {
	inner   *http.Transport
	spoil   bool
	mu      sync.Mutex
	answers map[string]*http.Response
	bodies  map[string][]byte
}

func (k *keeper) RoundTrip(r *http.Request) (*http.Response, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	key := r.Method + r.URL.Path
	if old := k.answers[key]; old != nil {
		again := *old
		again.Body = io.NopCloser(bytes.NewReader(k.bodies[key]))
		return &again, nil
	}
	resp, err := k.inner.RoundTrip(r)
	if err != nil || r.Method != http.MethodGet || resp.StatusCode != 200 {
		return resp, err
	}
	body, err := io.ReadAll(resp.Body)
	if i := bytes.Index(body, mark); k.spoil && i >= 0 {
		body[i] ^= 0x20
	}
	k.answers[key], k.bodies[key] = resp, body
	resp.Body = io.NopCloser(bytes.NewReader(body))
	return resp, err
}
