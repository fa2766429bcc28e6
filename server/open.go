package server

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"fhirdest.example/certs/disk"
	"fhirdest.example/fhir"
	"fhirdest.example/fhir/trail"
	"fhirdest.example/gateway/complaint"
	"fhirdest.example/gateway/evidence"
	"fhirdest.example/server/audit"
	"fhirdest.example/server/lab"
	"fhirdest.example/server/oauth"
	"fhirdest.example/server/people"
	"fhirdest.example/server/tiered"
	"fhirdest.example/udap/fetch"
)

// trustStore is what a site needs of the store of registrations, tokens, used jti,
// CRLs and decisions.
type trustStore interface {
	oauth.Store
	fetch.ListStore
	audit.Store
	// Expiring calls visit with the registrations whose certificates expire
	// before a time, the earliest first, until it returns false; CountExpiring
	// counts them without reading them.
	Expiring(ctx context.Context, before time.Time, visit func(*oauth.Registration) bool) error
	CountExpiring(ctx context.Context, before time.Time) (int, error)
	// People returns the store of sessions and remembered decisions.
	People() people.Store
	// LiveJTI returns how many used jti are remembered.
	LiveJTI() int
	// Health returns what an operator must know of the store, as sentences.
	Health() []string
	Close() error
}

// resourceStore is what a site needs of the store of resources.
type resourceStore interface {
	fhir.Store
	// VerifyAudit verifies the audit record as it is now; see trail.Verify.
	VerifyAudit(ctx context.Context, earlier trail.Checkpoint) (*trail.Report, error)
	Health() []string
	Close() error
}

// stores are those of a site; nil when they could not be opened.
type stores struct {
	trust     trustStore
	resources resourceStore
	jobs      jobStore
	trips     tiered.Store // a part of trust
	lab       lab.Store    // nil: there is no lab
}

// Close closes what is open.
func (s stores) Close() error {
	var errs []error
	if s.trust != nil {
		errs = append(errs, s.trust.Close())
	}
	if s.resources != nil {
		errs = append(errs, s.resources.Close())
	}
	if s.jobs != nil {
		errs = append(errs, s.jobs.Close())
	}
	if s.lab != nil {
		errs = append(errs, s.lab.Close())
	}

	return errors.Join(errs...)
}

// openStores makes the data directory and opens its files. What was opened is
// returned with an error, too.
func openStores(cfg Config) (stores, error) {
	var s stores
	var cs complaint.List
	dir := cfg.file(cfg.Data)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		cs.Add("name a directory that this account can make or write to", "data: %v", err)
		return s, cs.Err()
	}

	exposed(&cs, dir)
	for _, p := range engineOf(cfg).parts() {
		if _, err := p.in(dir, &s); err != nil {
			unopened(&cs, err)
		}
	}

	return s, cs.Err()
}

// unopened complains about a file that a store could not open.
func unopened(cs *complaint.List, err error) {
	remedy := hintOf(err)
	if remedy == "" {
		remedy = "look at the file and the rights to it"
	}
	cs.Add(remedy, "data: %v", err)
}

// exposed complains about a data directory that other accounts may write to:
// they could put files in place of ours.
func exposed(cs *complaint.List, dir string) {
	if st, err := os.Stat(dir); err == nil && disk.Shared(dir)&0o022 != 0 {
		cs.Add(
			"chmod 700 "+dir,
			"data: others may write to %s (mode %04o)",
			dir,
			st.Mode().Perm(),
		)
	}
}

func (s *Server) openEvidence() error {
	if s.cfg.Evidence == "" {
		return nil
	}

	var err error
	if s.lines, err = evidence.Open(s.cfg.file(s.cfg.Evidence), s.cfg.Hop, evidence.Options{
		Now: s.deps.Now,
	}); err != nil {
		return complaint.New(
			"evidence: "+err.Error(),
			"name a file that this account can write",
		)
	}

	return nil
}

// probe finds out whether a start could open the sockets and files, and makes
// nothing. What a running destination of this configuration has open is no fault: a
// check before a reload must pass. It is recognised by its lock on the stores.
func (c Config) probe() error {
	var cs complaint.List
	running := c.Data != "" && c.probeStores(&cs) // checkText complains about no directory

	if c.Evidence != "" {
		file := c.file(c.Evidence)
		if st, err := os.Stat(file); err == nil && st.IsDir() {
			cs.Add("name a file", "evidence: %s is a directory", file)
		} else if errors.Is(err, fs.ErrNotExist) {
			writable(&cs, "evidence", filepath.Dir(file))
		} else if err := disk.Writable(file); err != nil {
			cs.Add(
				"name a file that this account can write",
				"evidence: %s: %v",
				file,
				err,
			)
		}
	}

	s := &Server{cfg: c}
	for _, err := range s.listen() {
		if !running || !errors.Is(err, syscall.EADDRINUSE) {
			cs = append(cs, err)
		}
	}

	return append(cs, s.Close()).Err()
}

// probeStores reports whether another process has the stores open.
func (c Config) probeStores(cs *complaint.List) (running bool) {
	dir := c.file(c.Data)
	st, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		parent := filepath.Dir(dir)
		for parent != filepath.Dir(parent) && !exists(parent) { // a start makes these, too
			parent = filepath.Dir(parent)
		}

		writable(cs, "data", parent)
		return false

	case err != nil || !st.IsDir():
		cs.Add("name a directory", "data: %s is not a directory", dir)
		return false
	}

	exposed(cs, dir)
	writable(cs, "data", dir)

	running = true
	for _, p := range engineOf(c).parts() {
		running = p.probe(cs, dir) && running
	}
	return running
}

// exists reports whether there is anything at a path. Nothing is below a file.
func exists(path string) bool {
	_, err := os.Stat(path)
	return !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENOTDIR)
}

func writable(cs *complaint.List, key, dir string) {
	if err := disk.WritableDir(dir); err != nil {
		cs.Add(
			"name a directory that this account can write to",
			"%s: %s: %v",
			key,
			dir,
			err,
		)
	}
}

// probe opens a store that is there, and closes it. It reports whether another
// process has it.
func (p part) probe(cs *complaint.List, dir string) (running bool) {
	if !exists(filepath.Join(dir, p.file)) {
		return false
	}

	var none stores
	f, err := p.in(dir, &none)
	if err == nil {
		err = f.Close()
	}
	if heldOpen(err) {
		return true
	}

	if err != nil {
		unopened(cs, err)
	}
	return false
}
