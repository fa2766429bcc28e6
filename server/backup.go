package server

import (
	"time"

	"fhirdest.example/gateway/complaint"
	"fhirdest.example/server/bolt"
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
	if c.Data == "" {
		cs.Add("set data: DIRECTORY", "data: no directory is given")
	}
	return cs.Err()
}

// complaintOf turns a store's error into a complaint with its hint.
func complaintOf(err error) error {
	if hint := hintOf(err); hint != "" {
		return complaint.New(err.Error(), hint)
	}
	return err
}
