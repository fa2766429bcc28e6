package server

import (
	"context"
	"time"

	"fhirdest.example/fhir/trail"
	"fhirdest.example/gateway/complaint"
	"fhirdest.example/server/bolt"
	"fhirdest.example/server/carry"
	"fhirdest.example/server/engine"
	"fhirdest.example/server/postgres"
)

// Backup writes a checked copy of what the destination keeps into a new directory: of
// its files if it is not running, or of a database at any time. progress, unless it is
// nil, is called while a database is read.
func (c Config) Backup(
	ctx context.Context, to string, now time.Time, progress carry.Progress,
) (*bolt.Backup, error) {
	if err := c.checkBackup(); err != nil {
		return nil, err
	}
	b, err := storage{c}.engine().Backup(ctx, storage{c}.move(to, now, progress))
	return b, complaintOf(err)
}

func (c storage) move(dir string, now time.Time, progress carry.Progress) engine.Move {
	return engine.Move{
		Dir:      dir,
		Public:   c.Public,
		Now:      now,
		Progress: progress,
	}
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

// Restore puts a backup in the place of what the destination keeps, and returns under
// what names that is kept. A record of it, in the audit record, takes effect with it. The destination must
// not be running, nor any other on its database. progress is as in Backup.
func (c Config) Restore(
	ctx context.Context, from string, now time.Time, progress carry.Progress,
) (replaced []string, err error) {
	b, err := c.ReadBackup(from)
	if err != nil {
		return nil, err
	}
	move := storage{c}.move(from, now, progress)
	move.Records = []trail.Record{{
		Base:    c.Public,
		At:      now,
		Outcome: "0",
		Event:   restoreEvent(b, now),
	}}
	replaced, err = storage{c}.engine().Restore(ctx, move)
	return replaced, complaintOf(err)
}

func restoreEvent(b *bolt.Backup, now time.Time) *trail.Event {
	return &trail.Event{
		Type: trail.Coding{
			System:  "http://dicom.nema.org/resources/ontology/DCM",
			Code:    "110107",
			Display: "Import",
		},
		Action: "C",
		Entities: []trail.Entity{{
			Type: trail.Coding{
				System:  "http://terminology.hl7.org/CodeSystem/audit-entity-type",
				Code:    "2",
				Display: "System Object",
			},
			Name: "backup",
			Detail: []trail.Detail{
				{
					Type:  "made",
					Value: b.Made.UTC().Format(time.RFC3339),
				},
				{
					Type:  "restored",
					Value: now.UTC().Format(time.RFC3339),
				},
			},
		}},
	}
}

// AcceptTime has a destination go on from now, after the clock was ahead and was
// set back; see bolt.AcceptTime. It must not be running with files of its own.
func (c Config) AcceptTime(ctx context.Context, now time.Time) (until time.Time, err error) {
	if err := c.checkBackup(); err != nil {
		return until, err
	}
	until, err = storage{c}.engine().AcceptTime(ctx, now)
	return until, complaintOf(err)
}

// OnDatabase reports whether a destination keeps everything in a database, rather than
// in files.
func OnDatabase(c Config) bool { return postgres.IsURL(c.Data) }

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
