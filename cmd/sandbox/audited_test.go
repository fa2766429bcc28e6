package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"go.etcd.io/bbolt"

	"fhirdest.example/cmd/internal/testbed"
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

// Where the auditor or the destination's files are not at hand, the story is not shown:
// that is not the destination's fault.
func TestStoryNeedsAuditorAndFiles(t *testing.T) {
	dir := t.TempDir()
	d := &demo{originator: originator{
		dir: dir,
		manifest: &testbed.Manifest{
			Configs: map[string]string{"destination": "destination.yaml"},
		},
	}}
	isHidden := func(what string, err error) {
		t.Helper()
		if !errors.As(err, new(hidden)) {
			t.Errorf("%s: %v", what, err)
		}
	}

	_, err := newAuditor(t.Context(), d, "Patient/p")
	isHidden("no auditor", err)
	_, err = newChain(t.Context(), d)
	isHidden("no configuration", err)

	err = os.WriteFile(filepath.Join(dir, "destination.yaml"), []byte("data: elsewhere\n"), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	_, err = newChain(t.Context(), d)
	isHidden("no data", err)
}

// A file is copied between two commits, never in the middle of one.
func TestCopyIsOfOneMoment(t *testing.T) {
	path := filepath.Join(t.TempDir(), "from.bolt")
	db, err := bbolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	commit := func() {
		if err := db.Update(func(tx *bbolt.Tx) error {
			b, err := tx.CreateBucketIfNotExists([]byte("b"))
			if err != nil {
				return err
			}
			return b.Put([]byte("k"), make([]byte, 1<<20)) // more than a pipe holds
		}); err != nil {
			t.Error(err)
		}
	}

	commit()
	from, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	to := filepath.Join(t.TempDir(), "to.bolt")
	if same, err := copyStill(from, to); !same || err != nil {
		t.Errorf("nothing is committed: %v %v", same, err)
	}

	// The copy goes into a pipe, which is read after a commit.
	pipe := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	read := make(chan error, 1)
	go func() {
		r, err := os.Open(pipe)
		if err == nil {
			defer r.Close()
			commit()
			_, err = io.Copy(io.Discard, r)
		}
		read <- err
	}()
	same, err := copyStill(from, pipe)
	if err := errors.Join(err, <-read); same || err != nil {
		t.Errorf("a commit meanwhile: %v %v", same, err)
	}
}
