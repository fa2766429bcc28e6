package main

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"fhirdest.example/server"
)

// tripper is a function that is a http.RoundTripper.
type tripper func(*http.Request) (*http.Response, error)

func (f tripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// auditorAsks is a gateway that changes the question when a path ends so.
func auditorAsks(t *testing.T, d *demo, end, from, to string) string {
	t.Helper()
	return gatewayWith(t, d, func(inner http.RoundTripper) http.RoundTripper {
		return tripper(func(r *http.Request) (*http.Response, error) {
			if strings.HasSuffix(r.URL.Path, end) {
				r.URL.RawQuery = strings.Replace(r.URL.RawQuery, from, to, 1)
			}
			return inner.RoundTrip(r)
		})
	})
}

// miscounter counts each disclosure that there was once twice.
type miscounter struct{ inner http.RoundTripper }

func (m miscounter) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := m.inner.RoundTrip(r)
	if err != nil || !strings.HasSuffix(r.URL.Path, "$disclosures") {
		return resp, err
	}

	body, err := io.ReadAll(resp.Body)
	body = bytes.ReplaceAll(body, []byte(`"valueString":"1"`), []byte(`"valueString":"2"`))
	resp.Body = io.NopCloser(bytes.NewReader(body))
	resp.Header.Set("Content-Length", strconv.Itoa(len(body)))
	return resp, err
}

// verifierOf verifies, and changes the report.
func verifierOf(change func(*server.AuditReport)) verifier {
	return func(ctx context.Context, c *chain, dir, checkpoint string) (*server.AuditReport, error) {
		r, err := verifyAudit(ctx, c, dir, checkpoint)
		if err == nil {
			change(r)
		}
		return r, err
	}
}
