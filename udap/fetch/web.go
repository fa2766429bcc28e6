package fetch

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"time"

	"fhirdest.example/certs/netname"
)

// web fetches over HTTP: one client that dials public addresses only, and one
// for the origins that configuration names.
type web struct {
	allowed map[string]bool
	guarded *http.Client
	trusted *http.Client
}

func newWeb(cfg Config) (*web, error) {
	texts := cfg.Allow
	for _, c := range cfg.Configured {
		// Configuration names a configured list's place, so it may be private.
		if isURL(c.Place) {
			u, err := target(c.Place)
			if err != nil {
				return nil, fmt.Errorf("fetch: configured list %q: %w", c.Place, err)
			}
			texts = append(texts[:len(texts):len(texts)], netname.Origin(u.String()))
		}
	}

	allowed, err := origins(texts)
	if err != nil {
		return nil, err
	}

	return &web{
		allowed: allowed,
		guarded: newClient(cfg, dialer{
			resolve: cfg.Resolve,
			admit:   public,
		}),
		trusted: newClient(cfg, dialer{
			resolve: cfg.Resolve,
			admit:   func(netip.Addr) bool { return true },
		}),
	}, nil
}

// newClient makes a client that uses no proxy, follows no redirect, keeps no
// connection, speaks HTTP/1.1 and expands nothing.
func newClient(cfg Config, d dialer) *http.Client {
	return &http.Client{
		CheckRedirect: func(*http.Request, []*http.Request) error {
			return http.ErrUseLastResponse
		},
		Transport: &http.Transport{
			DialContext:            d.dial,
			DisableKeepAlives:      true,
			DisableCompression:     true,
			MaxResponseHeaderBytes: 16 << 10,
			TLSHandshakeTimeout:    cfg.Timeout,
			TLSClientConfig: &tls.Config{
				RootCAs:    cfg.Roots,
				MinVersion: tls.VersionTLS12,
			},
			TLSNextProto: map[string]func(string, *tls.Conn) http.RoundTripper{},
		},
	}
}

// dialer looks a name up itself and dials the very address it admitted: a
// second look-up could give another one.
type dialer struct {
	resolve Resolver
	admit   func(netip.Addr) bool
}

func (d dialer) dial(ctx context.Context, network, address string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}

	addrs, err := d.lookUp(ctx, host)
	if err != nil {
		return nil, err
	}

	var errs []error
	for _, a := range addrs {
		if !d.admit(a) {
			errs = append(errs, notPublic(host, a))
			continue
		}

		conn, err := (&net.Dialer{Timeout: perAddress}).DialContext(ctx, network,
			net.JoinHostPort(a.String(), port))
		if err == nil {
			return conn, nil
		}
		errs = append(errs, err)
	}

	return nil, errors.Join(errs...)
}

func notPublic(host string, a netip.Addr) error {
	if text := a.Unmap().String(); text != host {
		host += ", " + text + ","
	}
	return fmt.Errorf("%s is not a public address; allow its exact scheme://host:port if it is meant", host)
}

const (
	perAddress   = 3 * time.Second
	maxAddresses = 8
)

func (d dialer) lookUp(ctx context.Context, host string) ([]netip.Addr, error) {
	if a, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{a}, nil
	}

	resolve := d.resolve
	if resolve == nil {
		resolve = func(ctx context.Context, host string) ([]netip.Addr, error) {
			return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		}
	}

	addrs, err := resolve(ctx, host)
	if err == nil && len(addrs) == 0 {
		err = fmt.Errorf("%s has no address", host)
	}
	return addrs[:min(len(addrs), maxAddresses)], err
}

// get fetches one thing, whole and as it is.
func (w *web) get(ctx context.Context, place, accept string, most int64) ([]byte, error) {
	u, err := target(place)
	if err != nil {
		return nil, err
	}

	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, err
	}

	req.Header.Set("Accept", accept)
	return w.do(req, u, most)
}

func (w *web) do(req *http.Request, u *url.URL, most int64) ([]byte, error) {
	client := w.guarded
	if w.allowed[netname.Origin(u.String())] {
		client = w.trusted
	}
	req.Header.Set("Accept-Encoding", "identity")
	res, err := client.Do(req)
	if err != nil {
		return nil, plain(err)
	}
	defer res.Body.Close()

	if err := acceptable(res, most); err != nil {
		return nil, err
	}
	return readCapped(res.Body, most)
}

// plain drops method and URL from an error: they are printed beside it.
func plain(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}

func acceptable(res *http.Response, most int64) error {
	coding := res.Header.Get("Content-Encoding")
	switch {
	case res.StatusCode >= 300 && res.StatusCode < 400:
		return fmt.Errorf("answered %d: redirects are not followed", res.StatusCode)
	case res.StatusCode != http.StatusOK:
		return fmt.Errorf("answered %d", res.StatusCode)
	case coding != "" && coding != "identity":
		return fmt.Errorf("answered with content coding %q, which was not asked for", coding)
	case res.ContentLength > most:
		return tooLarge(most)
	}

	return nil
}

func readCapped(r io.Reader, most int64) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, most+1))
	if err != nil {
		return nil, err
	}
	if int64(len(data)) > most {
		return nil, tooLarge(most)
	}
	return data, nil
}

func tooLarge(most int64) error { return fmt.Errorf("longer than %d bytes", most) }
