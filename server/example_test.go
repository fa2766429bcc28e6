package server_test

import (
	"context"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"time"

	"fhirdest.example/gateway/complaint"
	"fhirdest.example/server"
)

func acme(base, data string) server.Config {
	return server.Config{
		Dir:    "/etc/acme", // the files below are relative to it
		Public: base,
		Listen: "127.0.0.1:9443",
		TLS:    server.TLS{Cert: "tls.pem", Key: "tls.key"},
		Admin:  server.Admin{Listen: "127.0.0.1:9480"},
		Data:   data,
		Communities: []server.Community{{
			URI:          "urn:oid:2.16.840.1.113883.3.9999.1",
			Anchors:      []string{"community-root.pem"},
			Certificates: []server.Certificate{{Chain: "acme.pem", Key: "acme.key"}},
		}},
	}
}

// A destination inside a program: it serves until the program is interrupted, and
// then finishes what is under way.
func Example() {
	cfg := acme("https://fhir.example.org/acme/fhir", "data")
	s, err := server.New(cfg, server.Deps{Now: time.Now, Log: slog.Default()})
	if err != nil {
		complaint.Print(os.Stderr, err) // every problem with its remedy
		return
	}

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := s.Run(ctx); err != nil {
		slog.Error("the destination failed", "cause", err)
	}
}

// Two sites in one process, each with its own communities and stores, behind a
// listener of the program's own.
func ExampleNewSite() {
	mux := http.NewServeMux()
	for path, data := range map[string]string{"/acme/": "data-acme", "/other/": "data-other"} {
		site, err := server.NewSite(acme("https://fhir.example.org"+path+"fhir", data), server.SiteDeps{
			Now: time.Now,
			Log: slog.Default(),
		})
		if err != nil {
			complaint.Print(os.Stderr, err)
			return
		}
		defer site.Close()

		go site.Run(context.Background())
		mux.Handle(path, site)
	}

	err := http.ListenAndServeTLS("127.0.0.1:9443", "tls.pem", "tls.key", mux)
	slog.Error("the listener failed", "cause", err)
}
