package server

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"fhirdest.example/certs/disk"
	"fhirdest.example/gateway/complaint"
	"fhirdest.example/gateway/evidence"
	"fhirdest.example/server/engine"
	"fhirdest.example/server/postgres"
)

// storage is the part of a configuration that is about the stores.
type storage struct{ Config }

// engine returns what opens them.
func (c storage) engine() engine.Engine { return engine.Of(c.settings()) }

// settings are where they are.
func (c storage) settings() engine.Settings {
	s := engine.Settings{}
	if postgres.IsURL(c.Data) {
		s.Database = c.database()
	} else {
		s.Data = c.file(c.Data)
	}
	if c.Lab != nil {
		s.Lab = c.labData()
	}
	return s
}

// database is the database that the stores are on.
func (c storage) database() postgres.Config {
	d := postgres.Config{
		URL:         c.databaseURL(),
		Name:        c.Postgres.Name,
		Connections: c.Postgres.Connections,
	}
	if c.Postgres.PasswordFile != "" {
		d.PasswordFile = c.file(c.Postgres.PasswordFile)
	}
	if d.Name == "" {
		d.Name, _ = os.Hostname() // Validate complains about none
	}
	return d
}

// databaseURL is the URL of the database with the files that it names as the program
// opens them.
func (c storage) databaseURL() string {
	u, err := url.Parse(c.Data)
	if err != nil {
		return c.Data // Validate complains
	}

	// As PostgreSQL reads it, a plus sign is no space.
	u.RawQuery = strings.ReplaceAll(u.RawQuery, "+", "%2B")
	q := u.Query()
	for _, key := range []string{"sslrootcert", "sslcert", "sslkey"} {
		if name := q.Get(key); name != "" && name != "system" {
			q.Set(key, c.file(name))
		}
	}
	u.RawQuery = strings.ReplaceAll(q.Encode(), "+", "%20")
	return u.String()
}

// labData is the directory of what the lab keeps: its own file, and the stores of its
// sessions.
func (c storage) labData() string {
	return c.file(cmp.Or(c.Lab.Data, c.Data))
}

// check checks what is written about them.
func (c storage) check(cs *complaint.List) {
	switch {
	case c.Data == "":
		cs.Add(
			"name the directory that keeps trust.bolt and fhir.bolt, or a database: postgres://…",
			"data: there is no data directory",
		)

	case postgres.IsURL(c.Data):
		if err := c.database().Validate(); err != nil {
			cs.Add(engine.HintOf(err), "data: %v", err)
		}
		if c.Lab != nil && c.Lab.Data == "" {
			cs.Add(
				"set lab.data to a directory: sessions of the lab are files of one destination",
				"lab.data: there is no directory",
			)
		}

	case c.Postgres != Postgres{}:
		cs.Add(
			"leave it out, or set data: postgres://USER@HOST/DATABASE",
			"postgres: data is a directory",
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
	running := false
	if c.Data != "" { // checkText complains about none
		var err error
		running, err = storage{c}.engine().Probe(context.Background())
		cs = append(cs, err)
	}

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
