package server

import (
	"context"
	"time"

	"fhirdest.example/gateway/complaint"
	"fhirdest.example/server/bolt"
	"fhirdest.example/server/engine"
	"fhirdest.example/server/postgres"
)

// Backup writes a checked copy of the destination's files into a new directory.
// The destination must not be running.
func (c Config) Backup(to string, now time.Time) (*bolt.Backup, error) {
	if err := c.checkBackup(); err != nil {
		return nil, err
	}
	b, err := bolt.WriteBackup(c.file(c.Data), to, c.Public, now)
	return b, complaintOf(err)
}

// ReadBackup checks a backup and whether it is one of this destination, and
// changes nothing.
func (c Config) ReadBackup(from string) (*bolt.Backup, error) {
	if err := c.checkBackup(); err != nil {
		return nil, err
	}
	b, err := bolt.ReadBackup(from)
	if err == nil {
		err = b.Fits(from, c.Public)
	}
	return b, complaintOf(err)
}

// Restore puts a backup in the place of the destination's files, and returns
// under what names those are kept. The destination must not be running.
func (c Config) Restore(from string, now time.Time) (replaced []string, err error) {
	if err := c.checkBackup(); err != nil {
		return nil, err
	}
	replaced, err = bolt.Restore(c.file(c.Data), from, c.Public, now)
	return replaced, complaintOf(err)
}

// AcceptTime has a destination go on from now, after the clock was ahead and was
// set back; see bolt.AcceptTime. The destination must not be running.
func (c Config) AcceptTime(now time.Time) (until time.Time, err error) {
	if err := c.checkBackup(); err != nil {
		return until, err
	}
	until, err = bolt.AcceptTime(c.file(c.Data), now)
	return until, complaintOf(err)
}

// checkBackup holds what a backup needs of a configuration.
func (c Config) checkBackup() error {
	var cs complaint.List
	if c.Public == "" {
		cs.Add("set public: https://HOST/SITE/fhir", "public: no base URL is given")
	}
	storage{c}.check(&cs)
	return cs.Err()
}

// complaintOf turns a store's error into a complaint with its hint.
func complaintOf(err error) error {
	if hint := engine.HintOf(err); hint != "" {
		return complaint.New(err.Error(), hint)
	}
	return err
}

// Migrate makes the schemas of the database that the stores are on, or brings them to
// the version that this program needs; see postgres.Migrate.
func Migrate(ctx context.Context, c Config) ([]postgres.Migrated, error) {
	if !postgres.IsURL(c.Data) {
		return nil, complaint.New(
			"data is a directory: its files are brought to the present version when they are opened",
			"set data: postgres://USER@HOST/DATABASE",
		)
	}
	if err := c.checkBackup(); err != nil {
		return nil, err
	}

	done, err := postgres.Migrate(ctx, storage{c}.database())
	return done, complaintOf(err)
}
