package client

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"net/url"
	"time"

	"fhirdest.example/certs/netname"
)

const (
	maxHead     = 64 << 10
	connectTime = 10 * time.Second
)

// newHTTP makes the one HTTP client of this originator: HTTP/1.1 over TLS, no
// proxy, no redirect, nothing expanded on the way.
func (c *Client) newHTTP() *http.Client {
	return &http.Client{
		Timeout: c.cfg.Timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error {
			return http.ErrUseLastResponse
		},
		Transport: &http.Transport{
			DialTLSContext:         c.dialTLS,
			DialContext:            c.dialPlain,
			DisableCompression:     true,
			MaxResponseHeaderBytes: maxHead,
			TLSNextProto:           map[string]func(string, *tls.Conn) http.RoundTripper{},
			IdleConnTimeout:        30 * time.Second,
		},
	}
}

// RoundTrip makes one request as it is, over the connections of this originator: with
// its TLS anchors and its address to connect to. Nothing is added but the User-Agent,
// nothing is checked, and no redirect is followed. It makes a Client an
// http.RoundTripper, for a browser of the same originator.
func (c *Client) RoundTrip(req *http.Request) (*http.Response, error) {
	if c.cfg.UserAgent != "" {
		req = req.Clone(req.Context())
		req.Header.Set("User-Agent", c.cfg.UserAgent)
	}
	return c.http.Do(req)
}

// Close ends the connections that are kept open.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// dialPlain connects without TLS: to loopback addresses, where configured.
func (c *Client) dialPlain(ctx context.Context, network, address string) (net.Conn, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	if !c.cfg.LoopbackHTTP || !netname.Loopback(host) {
		return nil, errors.New("plain http is not spoken")
	}

	conn, err := (&net.Dialer{Timeout: connectTime}).DialContext(ctx, network, address)
	if err != nil || c.cfg.Wrap == nil {
		return conn, err
	}
	return c.cfg.Wrap(conn), nil
}

// dialTLS connects to the URL's address, or to Config.Dial when the URL is the
// destination's own; name and Host stay those of the URL.
func (c *Client) dialTLS(ctx context.Context, network, address string) (net.Conn, error) {
	name, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}

	if c.cfg.Dial != "" && address == authority(c.cfg.Base) {
		address = c.cfg.Dial
		if c.cfg.DialName != "" {
			name = c.cfg.DialName
		}
	}

	conn, err := (&net.Dialer{Timeout: connectTime}).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}

	secured := tls.Client(conn, &tls.Config{
		ServerName: name, RootCAs: c.cfg.TLSRoots, MinVersion: tls.VersionTLS12,
		NextProtos: []string{"http/1.1"}, Time: c.cfg.Now,
	})
	shake, cancel := context.WithTimeout(ctx, connectTime)
	defer cancel()

	if err := secured.HandshakeContext(shake); err != nil {
		_ = conn.Close()
		return nil, err
	}

	state := secured.ConnectionState()
	c.lastTLS.Store(&state)
	if c.cfg.Wrap != nil {
		return c.cfg.Wrap(secured), nil
	}

	return secured, nil
}

// authority is host:port of a URL, the port always written.
func authority(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return ""
	}

	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80"}[u.Scheme]
	}
	if port == "" {
		port = "443"
	}

	return net.JoinHostPort(u.Hostname(), port)
}
