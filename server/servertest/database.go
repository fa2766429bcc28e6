package servertest

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"sync/atomic"

	"fhirdest.example/server/engine"
	"fhirdest.example/server/lab"
	"fhirdest.example/server/postgres"
	"fhirdest.example/server/postgres/postgrestest"
)

// The environment variable DESTINATION_STORE has all destinations of a test run on
// another store than Bolt files: "postgres" is one destination on a database, "several"
// two on one database, of which each answers every second request.
var (
	store      = os.Getenv("DESTINATION_STORE")
	onDatabase = store == "postgres" || store == "several"
	inTurn     = store == "several"
)

// Database has the destination's stores on an empty database, which others may share:
// a change of an Env for Start. A package whose tests use it calls postgrestest.Main.
func Database(w *Env) {
	w.tb.Helper()
	w.Config.Data = postgrestest.New(w.tb)
	w.Config.Postgres.Name = "a"
}

// OnFiles has the destination's stores in files, whatever DESTINATION_STORE asks for, in a
// test of what only files have: a change of an Env for Start. The run of the tests counts
// those who ask for it.
func OnFiles(reason string) func(*Env) {
	return func(w *Env) {
		w.tb.Helper()
		if onDatabase {
			w.tb.Attr("destination.files", reason)
		}
		w.Config.Data = "data"
		w.Config.Postgres.Name = ""
	}
}

// Alone has no second destination answer in turn, whatever DESTINATION_STORE asks for, in a
// test of what each destination has for itself. It is counted as OnFiles is.
func Alone(reason string) func(*Env) {
	return func(w *Env) {
		w.tb.Helper()
		if inTurn {
			w.tb.Attr("destination.alone", reason)
		}
		w.alone = true
	}
}

// Stores opens the stores of the Env's destination, which must not run.
func (w *Env) Stores() engine.Stores {
	w.tb.Helper()
	settings := engine.Settings{Data: filepath.Join(w.Dir, w.Config.Data)}
	if postgres.IsURL(w.Config.Data) {
		settings = engine.Settings{Database: postgres.Config{
			URL:  w.Config.Data,
			Name: w.Config.Postgres.Name,
		}}
	}
	s, err := engine.Of(settings).Open(w.tb.Context())
	w.must(err)
	return s
}

// labDirectory has the sessions of a lab in files, which a database has no place for.
func (w *Env) labDirectory() {
	if w.Config.Lab != nil && postgres.IsURL(w.Config.Data) && w.Config.Lab.Data == "" {
		with := *w.Config.Lab
		with.Data = "labdata"
		w.Config.Lab = &with
	}
}

// Beside starts a second destination on the database of this one, with the same
// configuration but for its name and its addresses. A lab is the first one's alone.
func (d *Destination) Beside() *Destination {
	d.tb.Helper()
	if !postgres.IsURL(d.Config.Data) {
		d.tb.Fatal("a destination with files of its own has none beside it")
	}

	w := *d.Env
	w.Config.Postgres.Name = "b"
	if d.second != nil {
		w.Config.Postgres.Name = "c"
	}
	w.Config.Lab = (*lab.Settings)(nil)
	w.Config.Evidence = ""
	if w.Config.Admin.Health != "" {
		w.Config.Admin.Health = "127.0.0.1:0"
	}
	return w.start(w.socket())
}

// Alternate has two destinations on one database answer the requests to the first in
// turn, as if a gateway had sent them now to one and now to the other.
func (d *Destination) Alternate(second *Destination) {
	d.tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	d.must(err)
	d.alternate(second, l)
}

// alternate is Alternate at an address.
func (d *Destination) alternate(second *Destination, l net.Listener) {
	d.tb.Helper()
	pair := []*Destination{d, second}
	var proxies []*httputil.ReverseProxy
	for _, to := range pair {
		addr := to.Addr
		proxies = append(proxies, &httputil.ReverseProxy{
			Rewrite: func(r *httputil.ProxyRequest) {
				r.Out.URL = &url.URL{
					Scheme:   "https",
					Host:     r.In.Host,
					Path:     r.In.URL.Path,
					RawPath:  r.In.URL.RawPath,
					RawQuery: r.In.URL.RawQuery,
				}
				r.Out.Host = r.In.Host
			},
			Transport:     d.HTTPClient(addr).Transport,
			FlushInterval: -1,
		})
	}

	var turn atomic.Uint64
	front := &httptest.Server{
		Listener: l,
		Config: &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			proxies[turn.Add(1)%2].ServeHTTP(w, r)
		})},
	}
	identity, err := tls.LoadX509KeyPair(filepath.Join(d.Dir, "tls.pem"), filepath.Join(d.Dir, "tls.key"))
	d.must(err)
	front.TLS = &tls.Config{Certificates: []tls.Certificate{identity}}
	front.StartTLS()
	d.tb.Cleanup(front.Close)

	d.Addr, d.listener = l.Addr().String(), l
	d.HTTP = d.HTTPClient(d.Addr)
	d.second, d.front = second, front
	d.reloadBoth(second)
}

// reloadBoth has a reload of the first destination reload both. As with one, a reload
// is done when the next one has been received.
func (d *Destination) reloadBoth(second *Destination) {
	first := d.Reload
	both := make(chan struct{})
	d.Reload = both
	ctx, cancel := context.WithCancel(context.Background())
	d.tb.Cleanup(cancel)

	go func() {
		for {
			select {
			case <-ctx.Done():
				return
			case <-both:
			}
			for _, to := range []chan struct{}{first, first, second.Reload, second.Reload} {
				select {
				case <-ctx.Done():
					return
				case to <- struct{}{}:
				}
			}
		}
	}()
}
