package server_test

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"fhirdest.example/server"
	"fhirdest.example/server/servertest"
)

// newSite makes a site under a base URL, with keys, stores and communities of
// its own.
func newSite(t *testing.T, base string) *server.Site {
	t.Helper()
	w := servertest.NewEnv(t)
	w.Config.Public = base

	for i, name := range []string{"a", "b"} {
		c := w.A
		if i == 1 {
			c = w.B
		}
		w.WriteIdentity(name, w.Issue(name, c, w.Key("rsa2048"), base))
	}

	s, err := server.NewSite(w.Config, server.SiteDeps{Now: time.Now, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})

	return s
}

func get(h http.Handler, url string) (int, string) {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("GET", url, nil))
	return w.Code, w.Body.String()
}

// One process may have several sites. Each answers for its own base URL only,
// in its own name, and has its own console.
func TestSeveralSites(t *testing.T) {
	bases := []string{"https://fhir.test/acme/fhir", "https://fhir.test/other/fhir", "https://second.test/acme/fhir"}
	sites := make([]*server.Site, len(bases))
	for i, base := range bases {
		sites[i] = newSite(t, base)
	}

	for i, s := range sites {
		for j, base := range bases {
			t.Run(base+" at the site of "+bases[i], func(t *testing.T) {
				code, text := get(s, base+"/metadata")
				if own := code == 200; own != (i == j) {
					t.Errorf("metadata: %d", code)
				}
				if i == j && !strings.Contains(text, base) {
					t.Errorf("the metadata does not name its base: %.300s", text)
				}
				if code, _ := get(s, base+"/.well-known/udap"); (code == 200) != (i == j) {
					t.Errorf("UDAP metadata: %d", code)
				}
			})
		}

		for range 2 { // a program may mount it twice
			code, text := get(s.Console(), "http://localhost/ready")
			if code != 200 || !strings.Contains(text, bases[i]) {
				t.Errorf("the console of %s: %d %.300s", bases[i], code, text)
			}
		}
	}
}

// A configuration that does not fit is refused with every complaint, whatever it
// has of listeners.
func TestNewSiteComplains(t *testing.T) {
	w := servertest.NewEnv(t)
	w.Config.Public, w.Config.Explain, w.Config.Data = "http://x", "nobody", ""
	w.Config.Listen, w.Config.Admin.Listen = "nonsense", "nonsense"
	_, err := server.NewSite(w.Config, server.SiteDeps{Now: time.Now, Log: slog.New(slog.DiscardHandler)})
	if err == nil {
		t.Fatal("no complaint")
	}

	for _, want := range []string{"public: ", "explain: ", "data: "} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("no complaint about %s: %v", want, err)
		}
	}

	if strings.Contains(err.Error(), "listen") {
		t.Errorf("a complaint about listeners: %v", err)
	}
}
