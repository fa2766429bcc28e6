package gatewayd

import (
	"fmt"
	"net"
	"net/http"
	"time"

	"fhirdest.example/certs/netname"
)

// serveAdmin serves health and metrics, where the file has an address for them.
func (s *Server) serveAdmin() (stop func()) {
	var stops []func()
	serve := func(l net.Listener, h http.Handler) {
		if l != nil {
			srv := &http.Server{
				Handler:           h,
				ReadHeaderTimeout: 5 * time.Second,
				IdleTimeout:       time.Minute,
			}
			go srv.Serve(l)
			stops = append(stops, func() {
				srv.Close()
				l.Close()
			})
		}
	}
	serve(s.adminPort, s.adminPages())

	serve(s.healthPort, s.healthPages(false))

	return func() {
		for _, stop := range stops {
			stop()
		}
	}
}

// healthPages answers whether the gateway can do its work; the details only to those that
// may see the metrics, too.
func (s *Server) healthPages(details bool) *http.ServeMux {
	health := func(w http.ResponseWriter, _ *http.Request) {
		if err := s.gw.Healthy(); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}

		fmt.Fprintln(w, "ok")
		if details {
			s.writeDetails(w)
		}
	}

	mux := http.NewServeMux()
	mux.HandleFunc("GET /health", health)
	mux.HandleFunc("GET /ready", health)
	return mux
}

// writeDetails writes the ceilings, and the next hops that fail.
func (s *Server) writeDetails(w http.ResponseWriter) {
	u := s.gw.Usage()
	fmt.Fprintf(w, "connections: %d of %d\nupstreams: %d of %d\n", u.Connections, u.MaxConnections, u.Upstreams,
		u.MaxUpstreams)
	if u.MaxMemory > 0 {
		fmt.Fprintf(
			w,
			"memory: %.1f of %d MiB\n",
			float64(u.Memory)/(1<<20),
			u.MaxMemory>>20,
		)
	}

	s.writeOutages(w)
	for _, t := range s.gw.Troubles() {
		fmt.Fprintf(w, "route %q: next hop %s (%s) fails: %s; %d times since %s, last %s\n", t.Route, t.Next,
			t.Address,
			t.Reason, t.Count, t.Since.UTC().Format(time.RFC3339), t.Last.UTC().Format(time.RFC3339))
	}
}

// writeOutages writes which of several addresses of a next hop are out.
func (s *Server) writeOutages(w http.ResponseWriter) {
	for _, o := range s.gw.Outages() {
		fmt.Fprintf(w, "route %q: address %s is out: %s; since %s, tried again at %s\n",
			o.Route,
			o.Address,
			o.Reason,
			o.Since.UTC().Format(time.RFC3339),
			o.Next.UTC().Format(time.RFC3339))
	}
}

// adminPages answers loopback names only, so that no page in a browser can ask.
func (s *Server) adminPages() http.Handler {
	mux := s.healthPages(true)
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4")
		s.gw.WriteMetrics(w)
		if s.log != nil {
			const name = "gateway_evidence_lost_total"
			fmt.Fprintf(w,
				"# HELP %s Lines of evidence that could not be written.\n# TYPE %[1]s counter\n%[1]s %d\n",
				name, s.log.Lost())
		}
	})

	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host, _, err := net.SplitHostPort(r.Host)
		if err != nil {
			host = r.Host
		}
		if !netname.Loopback(host) {
			http.Error(w, "unknown host", http.StatusMisdirectedRequest)
			return
		}

		mux.ServeHTTP(w, r)
	})
}
