package probe

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// TestReady: the exit code is the program's state, and the reason is printed.
func TestReady(t *testing.T) {
	ready := true
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/ready" {
			http.NotFound(w, r)
			return
		}
		if !ready {
			http.Error(w, "no list of revocations", http.StatusServiceUnavailable)
			return
		}
		_, _ = w.Write([]byte("ok\n"))
	}))
	t.Cleanup(s.Close)
	address := s.Listener.Addr().String()
	_, port, _ := strings.Cut(address, ":")

	for _, c := range []struct {
		name           string
		ready          bool
		addresses      []string
		code           int
		stdout, stderr string
	}{
		{"ready", true, []string{"", address}, 0, "ok\n", ""},
		{"every interface", true, []string{"0.0.0.0:" + port}, 0, "ok\n", ""},
		{"not ready", false, []string{address}, 1, "", "no list of revocations"},
		{"nobody listens", true, []string{"127.0.0.1:1", address}, 1, "", "not ready: "},
		{"no address", true, []string{"", ""}, 2, "", "admin: {health: "},
	} {
		t.Run(c.name, func(t *testing.T) {
			ready = c.ready
			var stdout, stderr bytes.Buffer
			code := Ready(t.Context(), &stdout, &stderr, c.addresses...)
			if code != c.code || stdout.String() != c.stdout || !strings.Contains(stderr.String(), c.stderr) {
				t.Errorf("%d, %q, %q", code, &stdout, &stderr)
			}
		})
	}
}
