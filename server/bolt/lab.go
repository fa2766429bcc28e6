package bolt

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/go-json-experiment/json"
	"go.etcd.io/bbolt"

	"fhirdest.example/server/lab"
	"fhirdest.example/udap/conform"
)

// Lab is lab.bolt: the sessions of the lab and what they have captured. It implements
// lab.Store. It is no part of a backup: sessions live for days.
//
// Layout: "sessions" has a session's id and the session, "exchanges" a bucket for each
// session with number and exchange, "reports" one with name and report.
type Lab struct {
	db     *bbolt.DB
	file   string
	health *health
}

var _ lab.Store = (*Lab)(nil)

var labSchema = Schema{
	Kind:    "lab",
	Version: 1,
	Buckets: []string{"sessions", "exchanges", "reports"},
}

var (
	labRows      = rowsOf("sessions")
	exchangeRows = rowsOf("exchanges")
	reportRows   = rowsOf("reports")
)

// OpenLab opens lab.bolt, and makes it if there is none.
func OpenLab(path string, o Options) (*Lab, error) {
	db, err := Open(path, labSchema, o)
	if err != nil {
		return nil, err
	}

	return &Lab{
		db:     db,
		file:   path,
		health: &health{},
	}, nil
}

// Close closes the file.
func (s *Lab) Close() error { return s.db.Close() }

// Health returns what an operator must know of the file.
func (s *Lab) Health() []string { return s.health.alarms() }

// Create implements lab.Store.
func (s *Lab) Create(ctx context.Context, session lab.Session, room int) error {
	return s.update(ctx, func(tx *bbolt.Tx) error {
		all := 0
		c := tx.Bucket([]byte("sessions")).Cursor()
		for k, _ := c.First(); k != nil; k, _ = c.Next() {
			all++
		}
		if all >= room {
			return lab.ErrFull
		}

		return s.put(tx, session)
	})
}

// Sessions implements lab.Store.
func (s *Lab) Sessions(ctx context.Context) (all []lab.Session, err error) {
	err = s.health.view(ctx, s.db, func(tx *bbolt.Tx) error {
		c := tx.Bucket([]byte("sessions")).Cursor()
		for k, v := c.First(); k != nil; k, v = c.Next() {
			var session lab.Session
			if err := s.read(labRows, k, v, &session); err != nil {
				return err
			}
			all = append(all, session)
		}

		return nil
	})

	slices.SortStableFunc(all, func(a, b lab.Session) int {
		return a.Created.Compare(b.Created)
	})
	return all, err
}

// Update implements lab.Store.
func (s *Lab) Update(ctx context.Context, session lab.Session) error {
	return s.update(ctx, func(tx *bbolt.Tx) error {
		return s.replace(tx, session)
	})
}

// Remove implements lab.Store.
func (s *Lab) Remove(ctx context.Context, id string) error {
	return s.update(ctx, func(tx *bbolt.Tx) error {
		return errors.Join(
			removeBucket(tx, "exchanges", id),
			removeBucket(tx, "reports", id),
			tx.Bucket([]byte("sessions")).Delete([]byte(id)),
		)
	})
}

func removeBucket(tx *bbolt.Tx, in, name string) error {
	parent := tx.Bucket([]byte(in))
	if parent.Bucket([]byte(name)) == nil {
		return nil
	}
	return parent.DeleteBucket([]byte(name))
}

// Append implements lab.Store.
func (s *Lab) Append(ctx context.Context, session lab.Session, added []*conform.Exchange) error {
	return s.update(ctx, func(tx *bbolt.Tx) error {
		if err := s.replace(tx, session); err != nil {
			return err
		}

		b, err := tx.Bucket([]byte("exchanges")).CreateBucketIfNotExists([]byte(session.ID))
		if err != nil {
			return err
		}

		b.FillPercent = 1 // keys only grow
		for _, e := range added {
			v, err := json.Marshal(e)
			if err != nil {
				return fmt.Errorf("store %s: %w", s.file, err)
			}
			if err := exchangeRows.within([]byte(session.ID)).put(b, number(e.N), v); err != nil {
				return err
			}
		}

		return nil
	})
}

// Clear implements lab.Store.
func (s *Lab) Clear(ctx context.Context, session lab.Session) error {
	return s.update(ctx, func(tx *bbolt.Tx) error {
		return errors.Join(removeBucket(tx, "exchanges", session.ID), s.replace(tx, session))
	})
}

// Exchanges implements lab.Store.
func (s *Lab) Exchanges(ctx context.Context, id string, from uint64, n int) (all []*conform.Exchange, err error) {
	err = s.health.view(ctx, s.db, func(tx *bbolt.Tx) error {
		b := tx.Bucket([]byte("exchanges")).Bucket([]byte(id))
		if b == nil {
			return nil
		}

		rows := exchangeRows.within([]byte(id))
		c := b.Cursor()
		for k, v := c.Seek(number(from)); k != nil && len(all) < n; k, v = c.Next() {
			var e conform.Exchange
			if err := s.read(rows, k, v, &e); err != nil {
				return err
			}
			all = append(all, &e)
		}

		return nil
	})
	return all, err
}

// PutReport implements lab.Store.
func (s *Lab) PutReport(ctx context.Context, id, name string, report []byte) error {
	return s.update(ctx, func(tx *bbolt.Tx) error {
		if tx.Bucket([]byte("sessions")).Get([]byte(id)) == nil {
			return lab.ErrNoSession
		}
		b, err := tx.Bucket([]byte("reports")).CreateBucketIfNotExists([]byte(id))
		if err != nil {
			return err
		}
		return reportRows.within([]byte(id)).put(b, []byte(name), bytes.Clone(report))
	})
}

// Report implements lab.Store.
func (s *Lab) Report(ctx context.Context, id, name string) (report []byte, err error) {
	err = s.health.view(ctx, s.db, func(tx *bbolt.Tx) error {
		b := tx.Bucket([]byte("reports")).Bucket([]byte(id))
		if b == nil {
			return nil
		}

		v, ok := reportRows.within([]byte(id)).get(b, []byte(name))
		if !ok {
			return s.damaged("reports", []byte(name), errNoChecksum)
		}

		report = bytes.Clone(v)
		return nil
	})
	return report, err
}

// replace puts a session in place of the stored one.
func (s *Lab) replace(tx *bbolt.Tx, session lab.Session) error {
	if tx.Bucket([]byte("sessions")).Get([]byte(session.ID)) == nil {
		return lab.ErrNoSession
	}
	return s.put(tx, session)
}

func (s *Lab) put(tx *bbolt.Tx, session lab.Session) error {
	v, err := json.Marshal(session)
	if err != nil {
		return fmt.Errorf("store %s: %w", s.file, err)
	}
	return labRows.put(tx.Bucket([]byte("sessions")), []byte(session.ID), v)
}

var errNoChecksum = errors.New("does not have its checksum")

// read decodes a row.
func (s *Lab) read(r rows, key, sealed []byte, to any) error {
	v, ok := r.open(key, sealed)
	if !ok {
		return s.damaged(r.name, key, errNoChecksum)
	}
	if err := json.Unmarshal(v, to); err != nil {
		return s.damaged(r.name, key, err)
	}
	return nil
}

func (s *Lab) damaged(bucket string, key []byte, why error) error {
	return s.health.found(&Damaged{
		File:    s.file,
		Bucket:  bucket,
		Key:     printable(key),
		Problem: why.Error(),
	})
}

// update does a change in one transaction.
func (s *Lab) update(ctx context.Context, change func(*bbolt.Tx) error) error {
	return updateGuarded(ctx, s.db, s.file, s.health, change)
}
