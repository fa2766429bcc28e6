package server

import (
	"context"
	"errors"
	"io"
	"path/filepath"

	"fhirdest.example/fhir/trail"
	"fhirdest.example/server/bolt"
)

// engine is how the stores of a site are kept. This file alone picks one; backups
// (backup.go) are copies of its files.
type engine struct {
	trust     part
	resources part
	jobs      part
	lab       part // its open is nil where there is no lab
	// verify verifies the audit record of a file of resources that no server has open.
	verify func(ctx context.Context, path string, earlier trail.Checkpoint) (*trail.Report, error)
}

// part is one store of an engine: a file in the data directory.
type part struct {
	file string
	open func(path string, s *stores) (io.Closer, error)
}

// in opens the part of a data directory, into s.
func (p part) in(dir string, s *stores) (io.Closer, error) {
	return p.open(filepath.Join(dir, p.file), s)
}

// parts are all stores that a destination opens.
func (e engine) parts() []part {
	all := []part{e.trust, e.resources, e.jobs}
	if e.lab.open != nil {
		all = append(all, e.lab)
	}
	return all
}

// engineOf picks the engine.
func engineOf(c Config) engine {
	e := engine{
		verify: bolt.VerifyAudit,
		trust: part{
			file: "trust.bolt",
			open: func(path string, s *stores) (io.Closer, error) {
				trust, err := bolt.OpenTrust(path, bolt.Options{})
				if err != nil {
					return nil, err
				}
				s.trust, s.trips = trust, bolt.Trips{Trust: trust}
				return trust, nil
			},
		},
		resources: part{
			file: "fhir.bolt",
			open: func(path string, s *stores) (io.Closer, error) {
				resources, err := bolt.OpenFHIR(path, bolt.Options{})
				if err != nil {
					return nil, err
				}
				s.resources = resources
				return resources, nil
			},
		},
		jobs: part{
			file: "jobs.bolt",
			open: func(path string, s *stores) (io.Closer, error) {
				jobs, err := bolt.OpenJobs(path, bolt.Options{})
				if err != nil {
					return nil, err
				}
				s.jobs = jobs
				return jobs, nil
			},
		},
	}
	if c.Lab != nil {
		e.lab = labPart
	}
	return e
}

var labPart = part{
	file: "lab.bolt",
	open: func(path string, s *stores) (io.Closer, error) {
		sessions, err := bolt.OpenLab(path, bolt.Options{})
		if err != nil {
			return nil, err
		}
		s.lab = sessions
		return sessions, nil
	},
}

// heldOpen reports whether an error is that another process has the store open.
func heldOpen(err error) bool {
	return errors.Is(err, bolt.ErrInUse)
}

// hintOf returns what to do about the error of a store; empty when it has no hint.
func hintOf(err error) string {
	if e := (*bolt.Error)(nil); errors.As(err, &e) {
		return e.Hint
	}
	return ""
}
