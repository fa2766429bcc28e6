package main

import (
	"context"
	"crypto/x509"
	"net"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"fhirdest.example/certs"
	"fhirdest.example/cmd/internal/testbed"
	"fhirdest.example/cmd/internal/yamlfile"
	"fhirdest.example/server"
	"fhirdest.example/server/doctor"
	"fhirdest.example/udap/trace"
)

// The gateway and the destination behind it are in order from outside, but for what a
// sandbox is: its certificates name no CRL, and its refusals explain themselves.
//
// Covers: FS-101, FS-102, FS-104, FS-105, case 310, case 316
func TestSandboxIsInOrderFromOutside(t *testing.T) {
	ownTemp(t)
	_, d := bedFor(t, testbed.Config{}, nil)
	cfg := server.Config{Dir: d.dir}
	if err := yamlfile.Read(filepath.Join(d.dir, d.manifest.Configs["destination"]), &cfg); err != nil {
		t.Fatal(err)
	}
	list, err := certs.LoadCertificates(filepath.Join(d.dir, d.manifest.TLSCA))
	if err != nil {
		t.Fatal(err)
	}

	roots := x509.NewCertPool()
	roots.AddCert(list[0])

	for _, p := range cfg.Places() {
		t.Run(p.Name, func(t *testing.T) {
			r := doctor.Examine(t.Context(), doctor.Config{
				Now:   time.Now,
				Roots: roots,
				Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
					return (&net.Dialer{}).DialContext(ctx, network, d.manifest.Addresses[p.Name])
				},
			}, p)
			for _, s := range r.Trace.Steps {
				expected := slices.Contains([]string{"tls.revocation", "http.disclosure"}, s.Check)
				if s.Verdict == trace.Refused || s.Verdict == trace.Warned && !expected {
					t.Errorf("%s %s: %s", s.Check, s.Verdict, s.Found)
				}
			}
		})
	}
}
