package server_test

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"fhirdest.example/server/servertest"
)

// The listener for probes answers /health and /ready, without details and under
// any name, and nothing else of the console.
func TestProbes(t *testing.T) {
	d := servertest.Start(t, func(w *servertest.Env) { w.Config.Admin.Health = "0.0.0.0:0" })
	_, port, _ := strings.Cut(d.Health, "]:")
	if port == "" {
		_, port, _ = strings.Cut(d.Health, ":")
	}

	for _, c := range []struct {
		method, path, host string
		status             int
		body               string
	}{
		{"GET", "/health", "", 200, "{\n  \"status\": \"ok\"\n}\n"},
		{"GET", "/ready", "", 200, "{\n  \"ready\": true\n}\n"},
		{"GET", "/ready", "10.1.2.3:9482", 200, "{\n  \"ready\": true\n}\n"},
		{"HEAD", "/health", "pod.internal", 200, ""},
		{"POST", "/health", "", 405, ""},
		{"GET", "/", "", 404, ""},
		{"GET", "/traces", "", 404, ""},
		{"GET", "/traces/x", "", 404, ""},
		{"GET", "/metrics", "", 404, ""},
		{"POST", "/refresh", "", 404, ""},
		{"GET", "/sheet", "", 404, ""},
	} {
		t.Run(c.method+" "+c.path+" "+c.host, func(t *testing.T) {
			req, err := http.NewRequest(c.method, "http://127.0.0.1:"+port+c.path, nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Host = c.host
			res, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()

			b, err := io.ReadAll(res.Body)
			if err != nil {
				t.Fatal(err)
			}
			if res.StatusCode != c.status || c.status == 200 && string(b) != c.body {
				t.Errorf("%d %q, want %d %q", res.StatusCode, b, c.status, c.body)
			}
		})
	}
}
