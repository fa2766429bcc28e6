package server_test

import (
	"strings"
	"testing"

	"fhirdest.example/server"
	"fhirdest.example/server/servertest"
)

// The operator learns at start which community's metadata is withheld, why, and
// what to set; so does a client that asks for it, where clients may know.
func TestWithheldCommunity(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*servertest.Env)
		reason string
		key    string
	}{
		{"no certificate", func(w *servertest.Env) { w.Config.Communities[1].Certificates = nil },
			"no certificate", "communities[1].certificates"},
		{"no CRL", func(w *servertest.Env) { w.Lists.Set("/b.crl", nil) },
			"chain.revocation", "communities[1].lists"},
		{"its CRL may not be fetched", func(w *servertest.Env) { w.Config.Revocation = server.Revocation{} },
			"chain.revocation", "revocation.allow"},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := servertest.Start(t, c.change)
			d.Eventually("it is in the log", func() bool {
				for _, line := range strings.Split(d.Log.String(), "\n") {
					if strings.Contains(line, "a community's metadata is withheld") &&
						strings.Contains(line, servertest.URIB) &&
						strings.Contains(line, c.reason) && strings.Contains(line, c.key) {
						return true
					}
				}

				return false
			})

			res, _ := d.Get(wellKnown + "?community=" + servertest.URIB)
			if told := res.Header.Get("Warning"); res.StatusCode != 204 || !strings.Contains(told, c.key) ||
				!strings.Contains(told, servertest.URIB) {
				t.Errorf("a client is told: %s %q", res.Status, told)
			}
		})
	}

	t.Run("none is left", func(t *testing.T) {
		d := servertest.Start(t, func(w *servertest.Env) { w.Config.Revocation = server.Revocation{} })
		res, text := d.Get(wellKnown)
		if res.StatusCode != 404 || !strings.Contains(text, "communities[0].lists") {
			t.Errorf("a client is told: %s %s", res.Status, text)
		}
	})

	t.Run("clients are told nothing", func(t *testing.T) {
		d := servertest.Start(t, func(w *servertest.Env) {
			w.Config.Explain = "operator"
			w.Config.Communities[1].Certificates = nil
		})
		if res, _ := d.Get(wellKnown + "?community=" + servertest.URIB); res.Header.Get("Warning") != "" {
			t.Errorf("the client is told %q", res.Header.Get("Warning"))
		}
	})
}
