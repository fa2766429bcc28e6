package bolt

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/go-json-experiment/json"
	"go.etcd.io/bbolt"

	"fhirdest.example/fhir/async"
	"fhirdest.example/server/shared"
)

// Jobs is jobs.bolt: the work that is done in the background. It implements
// async.Store. It is no part of a backup: what a job has made is in files beside
// it, and kept for a short time only.
//
// Layout: "jobs" has a job's id and the job.
type Jobs struct {
	db     *bbolt.DB
	file   string
	health *health

	mu     sync.Mutex // guards the field below
	leases map[string]lease
}

// lease is one of the leases of jobs. They are in memory alone: one process has the
// file open, and when it ends, so do they.
type lease struct {
	ends     time.Time
	progress string
}

var _ async.Store = (*Jobs)(nil)

var jobsSchema = Schema{
	Kind:    "jobs",
	Version: 1,
	Buckets: []string{"jobs"},
}

var jobRows = rowsOf("jobs")

// jobsMap is how many bytes of address space jobs.bolt maps at once.
const jobsMap = 64 << 20

// OpenJobs opens jobs.bolt, and makes it if there is none.
func OpenJobs(path string, o Options) (*Jobs, error) {
	if o.MmapSize == 0 {
		o.MmapSize = jobsMap
	}
	db, err := Open(path, jobsSchema, o)
	if err != nil {
		return nil, err
	}

	return &Jobs{
		db:     db,
		file:   path,
		health: &health{},
		leases: map[string]lease{},
	}, nil
}

// Close closes the file.
func (s *Jobs) Close() error { return s.db.Close() }

// Health returns what an operator must know of the file.
func (s *Jobs) Health() []string {
	return s.health.alarms()
}

// Create implements async.Store.
func (s *Jobs) Create(ctx context.Context, j async.Job, room async.Room) error {
	return s.update(ctx, func(b *bbolt.Bucket) error {
		all := 0
		own := 0
		active := 0
		err := s.each(b, func(other async.Job) bool {
			all++
			if other.Asked.Grant.Client == j.Asked.Grant.Client {
				own++
				if other.Ended.IsZero() {
					active++
				}
			}

			return true
		})

		switch {
		case err != nil:
			return err
		case all >= room.All:
			return async.ErrFull
		case own >= room.PerClient, active >= room.Active:
			return async.ErrClientFull
		}

		return s.put(b, j)
	})
}

// Job implements async.Store.
func (s *Jobs) Job(ctx context.Context, id string) (job async.Job, err error) {
	err = s.health.view(ctx, s.db, func(tx *bbolt.Tx) error {
		job, err = s.get(tx.Bucket([]byte("jobs")), id)
		return err
	})
	job.Progress = s.leaseOf(id).progress
	return job, err
}

func (s *Jobs) leaseOf(id string) lease {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.leases[id]
}

// setLease begins a lease.
func (s *Jobs) setLease(id string, d time.Duration, progress string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.leases[id] = lease{
		ends:     time.Now().Add(d),
		progress: progress,
	}
}

func (s *Jobs) endLease(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.leases, id)
}

// Claim implements async.Store.
func (s *Jobs) Claim(ctx context.Context, d time.Duration, busy []string) (job async.Job, err error) {
	claimable := func(j *async.Job) bool {
		return (j.State == async.Pending || j.State == async.Running && time.Now().After(s.leaseOf(j.ID).ends)) &&
			!slices.Contains(busy, j.Asked.Grant.Client)
	}

	var candidates []async.Job // the transaction that changes one does not look through all
	err = s.Jobs(ctx, func(j async.Job) bool {
		if claimable(&j) {
			candidates = append(candidates, j)
		}
		return true
	})
	if err != nil {
		return job, err
	}

	errTaken := errors.New("it is another's")
	for _, c := range candidates {
		err := s.Update(ctx, c.ID, func(j *async.Job) error {
			if !claimable(j) {
				return errTaken
			}
			j.Begin()
			job = *j
			s.setLease(j.ID, d, "")
			return nil
		})
		switch {
		case err == nil:
			return job, nil
		case errors.Is(err, errTaken), errors.Is(err, async.ErrNoJob):
			continue
		}

		s.endLease(c.ID)
		return async.Job{}, err
	}
	return async.Job{}, async.ErrNoJob
}

// Renew implements async.Store.
func (s *Jobs) Renew(ctx context.Context, a async.Attempt, d time.Duration, progress string) error {
	job, err := s.Job(ctx, a.Job)
	switch {
	case err != nil:
		return err
	case job.Attempts != a.Number || job.State != async.Running:
		return async.ErrTaken
	}

	s.setLease(a.Job, d, progress)
	return nil
}

// Over implements async.Store.
func (s *Jobs) Over(ctx context.Context, at time.Time) (ids []string, err error) {
	err = s.Jobs(ctx, func(j async.Job) bool {
		if !j.Ended.IsZero() && !j.Expires.After(at) {
			ids = append(ids, j.ID)
		}
		return true
	})
	return ids, err
}

// Jobs implements async.Store.
func (s *Jobs) Jobs(ctx context.Context, f func(async.Job) bool) error {
	var all []async.Job
	err := s.health.view(ctx, s.db, func(tx *bbolt.Tx) error {
		return s.each(tx.Bucket([]byte("jobs")), func(j async.Job) bool {
			all = append(all, j)
			return true
		})
	})
	if err != nil {
		return err
	}

	slices.SortFunc(all, func(a, b async.Job) int {
		return a.Created.Compare(b.Created)
	})

	for _, j := range all {
		if !f(j) {
			break
		}
	}

	return nil
}

// Update implements async.Store.
func (s *Jobs) Update(ctx context.Context, id string, change func(*async.Job) error) error {
	return s.update(ctx, func(b *bbolt.Bucket) error {
		job, err := s.get(b, id)
		if err != nil {
			return err
		}
		if err := change(&job); err != nil {
			return err
		}
		return s.put(b, job)
	})
}

// Remove implements async.Store.
func (s *Jobs) Remove(ctx context.Context, id string) error {
	err := s.update(ctx, func(b *bbolt.Bucket) error {
		if b.Get([]byte(id)) == nil {
			return async.ErrNoJob
		}
		return b.Delete([]byte(id))
	})
	if err == nil {
		s.endLease(id)
	}
	return err
}

func (s *Jobs) update(ctx context.Context, change func(*bbolt.Bucket) error) error {
	return updateGuarded(ctx, s.db, s.file, s.health, func(tx *bbolt.Tx) error {
		return change(tx.Bucket([]byte("jobs")))
	})
}

// updateGuarded does a change in one transaction. An error of change is returned as it
// is, one of the commit is an fhir.ErrUnavailable.
func updateGuarded(
	ctx context.Context, db *bbolt.DB, file string, h *health, change func(*bbolt.Tx) error,
) error {
	if err := ctx.Err(); err != nil {
		return err
	}

	var own error
	err := h.guard(file, func() error {
		return db.Update(func(tx *bbolt.Tx) error {
			own = change(tx)
			return own
		})
	})
	if err == nil || own != nil || shared.IsPanic(err) {
		return err
	}

	return h.commit(&commitError{
		file: file,
		err:  err,
	})
}

func (s *Jobs) get(b *bbolt.Bucket, id string) (job async.Job, err error) {
	v, ok := jobRows.get(b, []byte(id))
	switch {
	case !ok:
		return job, s.damaged(id, errors.New("does not have its checksum"))
	case v == nil:
		return job, async.ErrNoJob
	}

	if err := json.Unmarshal(v, &job); err != nil {
		return job, s.damaged(id, err)
	}
	return job, nil
}

func (s *Jobs) put(b *bbolt.Bucket, j async.Job) error {
	v, err := json.Marshal(j)
	if err != nil {
		return fmt.Errorf("store %s: %w", s.file, err)
	}
	return jobRows.put(b, []byte(j.ID), v)
}

func (s *Jobs) each(b *bbolt.Bucket, f func(async.Job) bool) error {
	c := b.Cursor()
	for k, _ := c.First(); k != nil; k, _ = c.Next() {
		job, err := s.get(b, string(k))
		if err != nil {
			return err
		}
		if !f(job) {
			break
		}
	}

	return nil
}

func (s *Jobs) damaged(id string, why error) error {
	return s.health.found(&Damaged{
		File:    s.file,
		Bucket:  "jobs",
		Key:     printable([]byte(id)),
		Problem: why.Error(),
	})
}
