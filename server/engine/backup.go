package engine

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"fhirdest.example/fhir/trail"
	"fhirdest.example/server/bolt"
	"fhirdest.example/server/carry"
	"fhirdest.example/server/postgres"
)

// Move is a backup that is made or restored.
type Move struct {
	Dir      string         // of the backup
	Public   string         // the destination's public FHIR base URL
	Now      time.Time      // when
	Progress carry.Progress // nil: not shown; copies of files show none
	Records  []trail.Record // that are stored with what is restored
}

// Backup implements Engine. The destination must not run.
func (e files) Backup(_ context.Context, m Move) (*bolt.Backup, error) {
	return bolt.WriteBackup(e.Data, m.Dir, m.Public, m.Now)
}

// Restore implements Engine.
func (e files) Restore(_ context.Context, m Move) (replaced []string, err error) {
	return bolt.Restore(e.Data, m.Dir, m.Public, m.Now, m.Records...)
}

// AcceptTime implements Engine.
func (e files) AcceptTime(_ context.Context, now time.Time) (until time.Time, err error) {
	return bolt.AcceptTime(e.Data, now)
}

// Backup implements Engine. Destinations may run: the backup is of one moment.
func (e database) Backup(ctx context.Context, m Move) (b *bolt.Backup, err error) {
	from, err := postgres.OpenImage(ctx, e.Database)
	if err != nil {
		return nil, err
	}
	b, err = bolt.WriteBackupOf(ctx, from, m.Dir, m.Public, m.Now, m.Progress)
	if err := errors.Join(err, from.Close()); err != nil {
		return nil, err
	}

	report, err := bolt.VerifyAudit(ctx, filepath.Join(m.Dir, "fhir.bolt"), nil)
	if err != nil {
		return nil, err
	}
	for _, f := range report.Findings {
		b.Findings = append(b.Findings, f.String())
	}
	if report.More > 0 {
		b.Findings = append(b.Findings, fmt.Sprintf("and %d more", report.More))
	}
	return b, nil
}

// Restore implements Engine.
func (e database) Restore(ctx context.Context, m Move) (replaced []string, err error) {
	from, err := bolt.OpenBackup(m.Dir, m.Public)
	if err != nil {
		return nil, err
	}
	replaced, err = postgres.Restore(ctx, e.Database, from, m.Now, m.Progress, m.Records...)
	if err := errors.Join(err, from.Close()); err != nil {
		return nil, err
	}
	return replaced, nil
}

// AcceptTime implements Engine.
func (e database) AcceptTime(ctx context.Context, now time.Time) (until time.Time, err error) {
	return postgres.AcceptTime(ctx, e.Database, now)
}
