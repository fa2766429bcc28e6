// Package crlserver serves revocation lists and CA certificates over plain HTTP, as
// distribution points and AIA addresses want them (RFC 5280 4.2.1.13, RFC 4325):
// every file of one directory whose name ends in .crl, .cer or .crt, read anew
// for each request.
package crlserver

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"time"

	"fhirdest.example/certs"
	"fhirdest.example/gateway/complaint"
)

// Config is all that a list server is told.
type Config struct {
	Listen     string        `yaml:"listen"`               // HOST:PORT, plain HTTP: the lists are signed themselves
	Dir        string        `yaml:"dir"`                  // directory of the files, relative to the YAML file
	WarnBefore time.Duration `yaml:"warnBefore,omitempty"` // a list that ends within this is warned of; default 24h
}

// maxFile bounds what is read for one request.
const maxFile = 16 << 20

// Check returns every complaint about the configuration, joined; base is where
// relative paths start.
func (c *Config) Check(base string) error {
	var errs []error
	if _, _, err := net.SplitHostPort(c.Listen); err != nil {
		errs = append(errs, complaint.New(
			fmt.Sprintf("listen: %q is not HOST:PORT", c.Listen),
			"write for example 127.0.0.1:9481",
		))
	}

	if c.Dir == "" {
		errs = append(
			errs,
			complaint.New("dir: is missing", "name the directory of the .crl and .cer files"),
		)
	} else if !filepath.IsAbs(c.Dir) {
		c.Dir = filepath.Join(base, c.Dir)
	}

	if st, err := os.Stat(c.Dir); c.Dir != "" && (err != nil || !st.IsDir()) {
		errs = append(errs, complaint.New(
			fmt.Sprintf("dir: %s is not a directory", c.Dir),
			"make a community there with: community init",
		))
	}

	if c.WarnBefore == 0 {
		c.WarnBefore = 24 * time.Hour
	}
	return errors.Join(errs...)
}

// served is the form of a file name that is given out: no path, no dot first,
// and nothing that could be a key.
var served = regexp.MustCompile(`^/([A-Za-z0-9_-][A-Za-z0-9._-]*\.(crl|cer|crt))$`)

// Server gives out the files.
type Server struct {
	Config Config
	Log    *slog.Logger
	Now    func() time.Time
}

// ServeHTTP answers GET and HEAD for a list or a certificate.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	status := s.serve(w, r)
	s.Log.Info("list", "method", r.Method, "path", r.URL.EscapedPath(), "status", status)
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) int {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		return fail(w, http.StatusMethodNotAllowed)
	}

	m := served.FindStringSubmatch(r.URL.EscapedPath())
	if m == nil {
		return fail(w, http.StatusNotFound)
	}

	data, err := readRegular(filepath.Join(s.Config.Dir, m[1]))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fail(w, http.StatusNotFound)
	case err != nil:
		s.Log.Error("list cannot be read", "file", m[1], "error", err)
		return fail(w, http.StatusInternalServerError)
	}

	kind := "application/pkix-cert"
	if m[2] == "crl" {
		kind = "application/pkix-crl"
		s.warn(m[1], data)
	}
	w.Header().Set("Content-Type", kind)
	w.Header().Set("Content-Length", strconv.Itoa(len(data)))
	w.Header().Set("Cache-Control", "no-cache") // a revocation counts from the next request on

	w.Header().Set("X-Content-Type-Options", "nosniff")
	if r.Method == http.MethodGet {
		_, _ = w.Write(data) // a client that went away needs no answer
	}
	return http.StatusOK
}

// warn logs a list that ended or is about to: whoever relies on it will soon
// refuse every certificate of its issuer.
func (s *Server) warn(name string, data []byte) {
	l, err := certs.ParseCRL(data)
	if err != nil {
		s.Log.Warn("file is not a list", "file", name, "error", err)
		return
	}
	if text := Due(l, s.Now(), s.Config.WarnBefore); text != "" {
		s.Log.Warn("list "+text, "file", name, "hint", "sign it anew with: community crl")
	}
}

// Due says in words when a list has ended or will end within the given time;
// otherwise it is empty.
func Due(l *x509.RevocationList, now time.Time, within time.Duration) string {
	left := l.NextUpdate.Sub(now).Round(time.Second)
	switch {
	case l.NextUpdate.IsZero():
		return "names no next update"
	case left <= 0:
		return fmt.Sprintf("ended %s ago, at %s", -left, l.NextUpdate.Format(time.RFC3339))
	case left <= within:
		return fmt.Sprintf("ends in %s, at %s", left, l.NextUpdate.Format(time.RFC3339))
	}

	return ""
}

func readRegular(path string) ([]byte, error) {
	st, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() || st.Size() > maxFile {
		return nil, fmt.Errorf("%s is no regular file of at most %d bytes", path, maxFile)
	}
	return os.ReadFile(path)
}

func fail(w http.ResponseWriter, status int) int {
	http.Error(w, http.StatusText(status), status)
	return status
}

// Serve answers on ln until ctx ends.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	hs := &http.Server{
		Handler: s, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second,
		WriteTimeout: 30 * time.Second, IdleTimeout: 30 * time.Second, MaxHeaderBytes: 16 << 10,
		ErrorLog: slog.NewLogLogger(s.Log.Handler(), slog.LevelWarn),
	}
	stop := context.AfterFunc(ctx, func() {
		_ = hs.Close()
	})
	defer stop()

	if err := hs.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
