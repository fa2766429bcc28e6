package board_test

import (
	"io"
	"net/http"
	"strings"
	"testing"
)

// ask sends a request and returns its answer.
func (e *env) ask(method, path, body string) (*http.Response, string) {
	e.t.Helper()
	req, err := http.NewRequestWithContext(e.t.Context(), method, e.url+path, strings.NewReader(body))
	if err != nil {
		e.t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		e.t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		e.t.Fatal(err)
	}
	return res, string(text)
}

// TestBringAClient: who brings a client finds everything on one page, the files of it
// can be downloaded, and a certificate is issued for a request.
func TestBringAClient(t *testing.T) {
	e := newEnv(t)
	b := e.chromium()
	b.Open(e.url + sessionID + "/bring")
	b.Inspect("lab-bring")

	for _, row := range []struct {
		method, path, body string
		status             int
		kind, want         string
	}{
		{"GET", "bring/anchor.pem", "", 200, "application/x-pem-file", "BEGIN CERTIFICATE"},
		{"GET", "bring/client.py?name=mine", "", 200, "text/plain; charset=utf-8", "client/mine"},
		{"GET", "bring/client.py?name=%22", "", 400, "text/html; charset=utf-8", "no such community"},
		{"GET", "bring/tls.pem", "", 404, "", ""},
		{"GET", "bring/../x", "", 404, "", ""},
		{"GET", "bring?name=%22", "", 400, "text/html; charset=utf-8", "letters, digits"},
		{"POST", "certificate?name=mine", "a request", 200, "application/x-pem-file", "BEGIN CERTIFICATE"},
		{"POST", "certificate", "", 400, "text/plain; charset=utf-8", "signing request"},
		{"POST", "certificate?community=x", "a request", 400, "text/plain; charset=utf-8", "no issuer"},
		{"POST", "certificate", strings.Repeat("x", 17<<10), 413, "text/plain; charset=utf-8", "16 KiB"},
	} {
		t.Run(row.method+" "+row.path, func(t *testing.T) {
			res, text := e.ask(row.method, sessionID+"/"+row.path, row.body)
			if res.StatusCode != row.status || !strings.Contains(text, row.want) {
				t.Errorf("%d %s", res.StatusCode, text)
			}
			if kind := res.Header.Get("Content-Type"); row.kind != "" && kind != row.kind {
				t.Errorf("Content-Type %s", kind)
			}
		})
	}
}
