package client_test

import (
	"bytes"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"fhirdest.example/udap"
	"fhirdest.example/udap/client"
)

// exporter is an originator in front of a server of http on loopback.
func exporter(t *testing.T, h http.HandlerFunc) (client.Bulk, string) {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	c, err := client.New(client.Config{
		Base:         s.URL + "/fhir",
		LoopbackHTTP: true,
		Now:          time.Now,
		Verifier:     &udap.Verifier{},
	})
	if err != nil {
		t.Fatal(err)
	}

	t.Cleanup(c.Close)
	return client.Bulk{Client: c}, s.URL
}

// sink is a file in memory.
type sink struct{ bytes.Buffer }

func (s *sink) Size() int64 { return int64(s.Len()) }

func (s *sink) Reset() error {
	s.Buffer.Reset()
	return nil
}

// A download that breaks off goes on where it broke off, and one that the server
// begins anew is begun anew; a server that breaks it off each time is given up.
func TestDownloadGoesOn(t *testing.T) {
	whole := strings.Repeat("0123456789abcdef\n", 4096)
	for name, c := range map[string]struct {
		ranges bool
		breaks int32
		has    int // bytes that the sink has
		good   bool
	}{
		"at once":          {true, 0, 0, true},
		"broken off":       {true, 3, 0, true},
		"had a part":       {true, 0, 5000, true},
		"had all":          {true, 0, len(whole), true},
		"without ranges":   {false, 2, 5000, true},
		"broken each time": {false, 1000, 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			var left atomic.Int32
			left.Store(c.breaks)
			cl, base := exporter(t, func(w http.ResponseWriter, r *http.Request) {
				if r.Header.Get("Authorization") != "Bearer secret" {
					t.Errorf("the token is missing: %v", r.Header)
				}
				if !c.ranges {
					r.Header.Del("Range")
				}
				if left.Add(-1) >= 0 {
					w = &broken{w, 20000}
				}

				http.ServeContent(w, r, "", time.Time{}, strings.NewReader(whole))
			})

			var to sink
			to.WriteString(whole[:c.has])
			out, err := cl.Download(t.Context(), base+"/fhir/_jobs/1/a.ndjson", "secret", &to)
			if (err == nil) != c.good {
				t.Fatalf("%v %+v", err, out.Trace.Steps)
			}
			if c.good && to.String() != whole {
				t.Errorf("%d bytes of %d", to.Len(), len(whole))
			}
		})
	}
}

// broken breaks the connection after some bytes.
type broken struct {
	http.ResponseWriter
	left int
}

func (w *broken) Write(p []byte) (int, error) {
	n, err := w.ResponseWriter.Write(p[:min(len(p), w.left)])
	if w.left -= n; w.left > 0 {
		return n, err
	}

	_ = http.NewResponseController(w.ResponseWriter).Flush() // what was written arrives
	conn, _, err := http.NewResponseController(w.ResponseWriter).Hijack()
	if err == nil {
		_ = conn.(*net.TCPConn).CloseWrite()
		_ = conn.Close()
	}

	return n, http.ErrAbortHandler
}

// What a destination answers is held against the rules of Bulk Data, and the token
// goes nowhere but below the base.
func TestExportAnswers(t *testing.T) {
	const evil = "https://evil.test/"
	for name, c := range map[string]struct {
		status   int
		location string
		manifest string
		fails    string // the check; "" for none
	}{
		"good": {
			202,
			"BASE/_jobs/1",
			`{"transactionTime":"2026-01-01T00:00:00Z","requiresAccessToken":true,"output":[]}`,
			"",
		},
		"files elsewhere": {
			202,
			"BASE/_jobs/1",
			`{"transactionTime":"2026-01-01T00:00:00Z","requiresAccessToken":false,"output":[{"type":"Patient","url":"` + evil + `"}]}`,
			"",
		},
		"done at once":    {200, "BASE/_jobs/1", "", "export.accepted"},
		"refused":         {400, "", "", "export.accepted"},
		"no status URL":   {202, "", "", "export.accepted"},
		"elsewhere":       {202, evil, "", "export.accepted"},
		"beside the base": {202, "BASE/../x", "", "export.accepted"},
		"no manifest":     {202, "BASE/_jobs/1", `[]`, "export.manifest"},
		"no time":         {202, "BASE/_jobs/1", `{"output":[]}`, "export.manifest"},
		"no output":       {202, "BASE/_jobs/1", `{"transactionTime":"2026-01-01T00:00:00Z"}`, "export.manifest"},
		"token elsewhere": {
			202,
			"BASE/_jobs/1",
			`{"transactionTime":"2026-01-01T00:00:00Z","requiresAccessToken":true,"output":[{"type":"Patient","url":"` + evil + `"}]}`,
			"export.manifest",
		},
		"deleted with it": {
			202,
			"BASE/_jobs/1",
			`{"transactionTime":"2026-01-01T00:00:00Z","requiresAccessToken":true,"output":[],"deleted":[{"type":"Bundle","url":"` + evil + `"}]}`,
			"export.manifest",
		},
	} {
		t.Run(name, func(t *testing.T) {
			var base string
			cl, origin := exporter(t, func(w http.ResponseWriter, r *http.Request) {
				if strings.HasSuffix(r.URL.Path, "$export") {
					if r.Header.Get("Prefer") != "respond-async" || r.Header.Get("Accept") != "application/fhir+json" {
						t.Errorf("%v", r.Header)
					}
					w.Header().Set("Content-Location", strings.Replace(c.location, "BASE", base, 1))
					w.WriteHeader(c.status)
					return
				}

				fmt.Fprint(w, c.manifest)
			})
			base = origin + "/fhir"

			out, err := cl.Export(t.Context(), client.ExportRequest{
				Path:  "$export",
				Token: "secret",
			})
			tr := out.Trace
			if err == nil {
				var st *client.ExportStatus
				st, err = cl.ExportStatus(t.Context(), out.Status, "secret")
				tr = st.Trace
			}

			if (err == nil) != (c.fails == "") || c.fails != "" && tr.RefusedBy != c.fails {
				t.Errorf("%v, refused by %q, want %q", err, tr.RefusedBy, c.fails)
			}
		})
	}

	cl, _ := exporter(t, func(http.ResponseWriter, *http.Request) { t.Error("something was sent") })
	if out, err := cl.Download(t.Context(), evil, "secret", &sink{}); err == nil ||
		out.Trace.RefusedBy != "get.target" {
		t.Errorf("the token elsewhere: %v", err)
	}
	if _, err := cl.ExportStatus(t.Context(), evil, "secret"); err == nil {
		t.Error("a status elsewhere")
	}

	if _, err := cl.EndExport(t.Context(), evil, "secret"); err == nil {
		t.Error("ended elsewhere")
	}
}

// A client asks again when the destination wants it to.
func TestExportPace(t *testing.T) {
	for header, want := range map[string]time.Duration{
		"0": 0, "7": 7 * time.Second, "100000": time.Minute, "": 2 * time.Second, "soon": 2 * time.Second, "-1": 2 * time.Second,
		time.Now().Add(-time.Hour).UTC().Format(http.TimeFormat): 0,
	} {
		cl, origin := exporter(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X-Progress", "40%: x")
			w.Header().Set("Retry-After", header)
			w.WriteHeader(http.StatusAccepted)
		})
		out, err := cl.ExportStatus(t.Context(), origin+"/fhir/_jobs/1", "secret")
		if err != nil || out.Retry != want || out.Progress != "40%: x" || out.Manifest != nil {
			t.Errorf("%q: %v %+v", header, err, out)
		}
	}
}
