package engine

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"fhirdest.example/certs/disk"
	"fhirdest.example/fhir/trail"
	"fhirdest.example/gateway/complaint"
	"fhirdest.example/server/bolt"
)

// files is the engine of Bolt files.
type files struct{ Settings }

// part is one store: a file of a directory.
type part struct {
	dir  string
	file string
	open func(path string, s *Stores) (io.Closer, error)
}

// in opens the part, into s.
func (p part) in(s *Stores) (io.Closer, error) {
	return p.open(filepath.Join(p.dir, p.file), s)
}

// parts are all stores that a destination opens.
func (e files) parts() []part {
	all := []part{e.trust(), e.resources(), e.jobs()}
	if e.Lab != "" {
		all = append(all, labPart(e.Lab))
	}
	return all
}

func (e files) trust() part {
	return part{
		dir:  e.Data,
		file: "trust.bolt",
		open: func(path string, s *Stores) (io.Closer, error) {
			trust, err := bolt.OpenTrust(path, bolt.Options{})
			if err != nil {
				return nil, err
			}
			s.Trust, s.Trips = trust, bolt.Trips{Trust: trust}
			return trust, nil
		},
	}
}

func (e files) resources() part {
	return part{
		dir:  e.Data,
		file: "fhir.bolt",
		open: func(path string, s *Stores) (io.Closer, error) {
			resources, err := bolt.OpenFHIR(path, bolt.Options{})
			if err != nil {
				return nil, err
			}
			s.Resources = resources
			return resources, nil
		},
	}
}

func (e files) jobs() part {
	return part{
		dir:  e.Data,
		file: "jobs.bolt",
		open: func(path string, s *Stores) (io.Closer, error) {
			jobs, err := bolt.OpenJobs(path, bolt.Options{})
			if err != nil {
				return nil, err
			}
			s.Jobs = jobs
			return jobs, nil
		},
	}
}

// labPart is the store of the lab, which is a file with every engine.
func labPart(dir string) part {
	return part{
		dir:  dir,
		file: "lab.bolt",
		open: func(path string, s *Stores) (io.Closer, error) {
			sessions, err := bolt.OpenLab(path, bolt.Options{})
			if err != nil {
				return nil, err
			}
			s.Lab = sessions
			return sessions, nil
		},
	}
}

// openParts makes the directories of parts and opens their files.
func openParts(s *Stores, parts ...part) error {
	var cs complaint.List
	for _, p := range parts {
		if err := makeDirectory(p.dir); err != nil {
			return err
		}
		if _, err := p.in(s); err != nil {
			unopened(&cs, err)
		}
	}

	if len(parts) > 0 {
		exposed(&cs, parts[0].dir)
	}
	return cs.Err()
}

func makeDirectory(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return complaint.New("data: "+err.Error(), "name a directory that this account can make or write to")
	}
	return nil
}

func (e files) Open(context.Context) (s Stores, err error) {
	err = openParts(&s, e.parts()...)
	return s, err
}

func (e files) OpenResources(context.Context) (s Stores, err error) {
	if err := makeDirectory(e.Data); err != nil {
		return s, err
	}
	_, err = e.resources().in(&s)
	return s, err
}

func (e files) VerifyAudit(ctx context.Context, earlier trail.Checkpoint) (*trail.Report, error) {
	p := e.resources()
	return bolt.VerifyAudit(ctx, filepath.Join(p.dir, p.file), earlier)
}

// unopened complains about a file that a store could not open.
func unopened(cs *complaint.List, err error) {
	remedy := HintOf(err)
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

func (e files) Probe(context.Context) (running bool, err error) {
	var cs complaint.List
	running = probe(&cs, e.parts()...)
	return running, cs.Err()
}

// probe reports whether another process has the parts open.
func probe(cs *complaint.List, parts ...part) (running bool) {
	probed := ""
	running = true
	for _, p := range parts {
		if p.dir != probed && !probeDirectory(cs, p.dir) {
			return false
		}
		probed = p.dir
		running = p.probe(cs) && running
	}
	return running
}

// probeDirectory reports whether a directory exists, and complains where a start could
// neither use nor make it.
func probeDirectory(cs *complaint.List, dir string) bool {
	st, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		parent := filepath.Dir(dir)
		for parent != filepath.Dir(parent) && !exists(parent) { // a start makes these, too
			parent = filepath.Dir(parent)
		}

		writable(cs, parent)
		return false

	case err != nil || !st.IsDir():
		cs.Add("name a directory", "data: %s is not a directory", dir)
		return false
	}

	exposed(cs, dir)
	writable(cs, dir)
	return true
}

// exists reports whether there is anything at a path. Nothing is below a file.
func exists(path string) bool {
	_, err := os.Stat(path)
	return !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENOTDIR)
}

func writable(cs *complaint.List, dir string) {
	if err := disk.WritableDir(dir); err != nil {
		cs.Add("name a directory that this account can write to", "data: %s: %v", dir, err)
	}
}

// probe opens a store that is there, and closes it. It reports whether another
// process has it.
func (p part) probe(cs *complaint.List) (running bool) {
	if !exists(filepath.Join(p.dir, p.file)) {
		return false
	}

	var none Stores
	f, err := p.in(&none)
	if err == nil {
		err = f.Close()
	}
	if HeldOpen(err) {
		return true
	}

	if err != nil {
		unopened(cs, err)
	}
	return false
}
