package doctor_test

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"strings"
	"testing"

	"fhirdest.example/server/doctor"
	"fhirdest.example/udap/trace"
)

// verdictOf returns the verdict of a check; empty where it was not made.
func verdictOf(r *doctor.Report, check string) trace.Verdict {
	for _, s := range r.Trace.Steps {
		if s.Check == check {
			return s.Verdict
		}
	}
	return ""
}

// A server in good order has nothing wrong, also one that redirects to its start page.
func TestGoodOrder(t *testing.T) {
	w := newWorld(t)
	redirects("https://fhir.test/")(w)
	r := w.examine()
	if r.Grade != doctor.Good || r.Wrong+r.Doubtful != 0 {
		t.Errorf("%+v", r)
	}

	for _, s := range r.Trace.Steps {
		if s.Verdict != trace.Passed && s.Check != "http.hidden" {
			t.Errorf("%s %s: %s", s.Check, s.Verdict, s.Found)
		}
	}
}

// A server that wants a certificate of its callers shows its own before that: the
// handshake is examined, and nothing behind it.
//
// Covers: FS-103
func TestCallersWithoutCertificate(t *testing.T) {
	for name, version := range map[string]uint16{"1.2": tls.VersionTLS12, "1.3": tls.VersionTLS13} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.tls.ClientAuth = tls.RequireAnyClientCert
			w.tls.MaxVersion = version
			w.clientCert = true
			r := w.examine()
			if r.Wrong > 0 || verdictOf(r, "http.answers") != trace.Skipped ||
				verdictOf(r, "tls.names") != trace.Passed {
				t.Errorf("%+v", r.Trace.Steps)
			}
		})
	}
}

// Without TLS there is nothing to examine further, and the reason is named.
func TestUnreachable(t *testing.T) {
	plain := newWorld(t).serve(http.NotFoundHandler(), false)
	for name, c := range map[string]struct{ base, addr, found string }{
		"no URL":     {"fhir.test", "", "fhir.test"},
		"http":       {"http://fhir.test/fhir", "", "http://"},
		"refused":    {base, "", "refused"},
		"plain HTTP": {base, plain, "not look like a TLS"},
	} {
		t.Run(name, func(t *testing.T) {
			r := doctor.Examine(context.Background(), doctor.Config{
				Now: newWorld(t).now,
				Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
					if c.addr == "" {
						return nil, errors.New("refused")
					}
					return (&net.Dialer{}).DialContext(ctx, network, c.addr)
				},
			}, doctor.Place{Base: c.base})
			s := r.Trace.Steps
			if r.Grade != doctor.Poor || len(s) != 1 || s[0].Check != "tls.reach" ||
				!strings.Contains(s[0].Found, c.found) {
				t.Errorf("%+v", s)
			}
		})
	}
}
