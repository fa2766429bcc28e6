package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"strings"
	"sync"
	"testing"

	"fhirdest.example/cmd/internal/gatewayd"
)

// otherGateway stands before the gateway, with its certificate, and gives the first
// good answer to each GET again; spoiled by a byte, if so.
func otherGateway(t *testing.T, d *demo, spoil bool) string {
	t.Helper()
	return gatewayWith(t, d, func(inner http.RoundTripper) http.RoundTripper {
		return &keeper{spoil: spoil, inner: inner, answers: map[string]*http.Response{}, bodies: map[string][]byte{}}
	})
}

// gatewayWith is one that asks the gateway by way of whatever wrap makes.
func gatewayWith(t *testing.T, d *demo, wrap func(http.RoundTripper) http.RoundTripper) string {
	t.Helper()
	ids, err := d.hopIdentities("gateway")
	if err != nil {
		t.Fatal(err)
	}
	inner := &http.Transport{DialTLSContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&tls.Dialer{
			Config: &tls.Config{RootCAs: d.roots, ServerName: "localhost"},
		}).DialContext(ctx, network, d.gatewayAddress())
	}}

	ln, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{
		Certificates: []tls.Certificate{ids[0].TLS()},
		NextProtos:   []string{"http/1.1"},
	})
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: &httputil.ReverseProxy{
		Transport: wrap(inner),
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL.Scheme, r.Out.URL.Host, r.Out.Host = "https", r.In.Host, r.In.Host
		},
	}}
	go s.Serve(ln)

	t.Cleanup(func() { s.Close(); inner.CloseIdleConnections() })
	return ln.Addr().String()
}

// gatewayAddress is where the gateway listens, whatever the manifest says by now.
func (d *demo) gatewayAddress() string {
	c, err := gatewayd.Read(d.file(d.manifest.Configs["gateway"]))
	if err != nil {
		return ""
	}
	return c.Listen
}

// keeper keeps the first good answer to each GET.
type keeper struct {
	inner   http.RoundTripper
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
	if i := bytes.Index(body, []byte("HTEST")); k.spoil && i >= 0 {
		body[i] ^= 0x20
	}
	k.answers[key], k.bodies[key] = resp, body
	resp.Body = io.NopCloser(bytes.NewReader(body))

	return resp, err
}

// refuser gives the first refusal of a statement's certificate to everyone after it.
type refuser struct {
	inner   http.RoundTripper
	mu      sync.Mutex
	refusal *http.Response
	body    []byte
}

func (f *refuser) RoundTrip(r *http.Request) (*http.Response, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.refusal != nil && strings.HasSuffix(r.URL.Path, "/register") {
		again := *f.refusal
		again.Body = io.NopCloser(bytes.NewReader(f.body))
		return &again, nil
	}

	resp, err := f.inner.RoundTrip(r)
	if err != nil || resp.StatusCode != http.StatusBadRequest {
		return resp, err
	}

	body, err := io.ReadAll(resp.Body)
	resp.Body = io.NopCloser(bytes.NewReader(body))
	if bytes.Contains(body, []byte("unapproved_software_statement")) {
		f.refusal, f.body = resp, body
	}

	return resp, err
}
