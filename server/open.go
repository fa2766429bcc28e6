package server

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"fhirdest.example/gateway/complaint"
	"fhirdest.example/gateway/evidence"
	"fhirdest.example/server/bolt"
)

// stores are the two files of a site.
type stores struct {
	trust     *bolt.Trust
	resources *bolt.FHIR
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
	return errors.Join(errs...)
}

// openStores makes the data directory and opens both files. What was opened is
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
	var err error
	if s.trust, err = bolt.OpenTrust(filepath.Join(dir, "trust.bolt"), bolt.Options{}); err != nil {
		unopened(&cs, err)
	}
	if s.resources, err = bolt.OpenFHIR(filepath.Join(dir, "fhir.bolt"), bolt.Options{}); err != nil {
		unopened(&cs, err)
	}

	return s, cs.Err()
}

// unopened complains about a file that a store could not open.
func unopened(cs *complaint.List, err error) {
	remedy := "look at the file and the rights to it"
	if e := (*bolt.Error)(nil); errors.As(err, &e) && e.Hint != "" {
		remedy = e.Hint
	}
	cs.Add(remedy, "data: %v", err)
}

// exposed complains about a data directory that other accounts may write to:
// they could put files in place of ours.
func exposed(cs *complaint.List, dir string) {
	if st, err := os.Stat(dir); err == nil && st.Mode().Perm()&0o022 != 0 {
		cs.Add("chmod 700 "+dir, "data: others may write to %s (mode %04o)", dir, st.Mode().Perm())
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

// probe finds out whether the stores could be opened, and makes nothing.
func (c Config) probe() error {
	var cs complaint.List
	if c.Data == "" {
		return nil // checkText has complained
	}

	dir := c.file(c.Data)
	st, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		writable(&cs, filepath.Dir(dir))
	case err != nil || !st.IsDir():
		cs.Add("name a directory", "data: %s is not a directory", dir)
	default:
		exposed(&cs, dir)
		writable(&cs, dir)
		openable(&cs, filepath.Join(dir, "trust.bolt"), func(path string) (interface{ Close() error }, error) {
			return bolt.OpenTrust(path, bolt.Options{})
		})
		openable(&cs, filepath.Join(dir, "fhir.bolt"), func(path string) (interface{ Close() error }, error) {
			return bolt.OpenFHIR(path, bolt.Options{})
		})
	}

	return cs.Err()
}

func writable(cs *complaint.List, dir string) {
	if err := unix.Access(dir, unix.W_OK|unix.X_OK); err != nil {
		cs.Add("name a directory that this account can write to", "data: %s: %v", dir, err)
	}
}

// openable opens a file that is there, and closes it.
func openable(cs *complaint.List, path string, open func(string) (interface{ Close() error }, error)) {
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return
	}
	f, err := open(path)
	if err == nil {
		err = f.Close()
	}
	if err != nil {
		unopened(cs, err)
	}
}
