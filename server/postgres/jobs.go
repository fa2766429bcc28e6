package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/jackc/pgx/v5"

	"fhirdest.example/fhir/async"
)

// Jobs is the schema jobs: the work that is done in the background, and its files. It
// implements async.Store. It is no part of a backup. Leases are measured by the
// server's clock.
type Jobs struct{ *database }

var _ async.Store = (*Jobs)(nil)

// jobsParameters are those of the connections beside sessionLimits.
var jobsParameters = map[string]string{
	"idle_in_transaction_session_timeout": "5s",
	"lock_timeout":                        lockTimeout,
}

// OpenJobs connects to the schema jobs.
func OpenJobs(ctx context.Context, c Config) (*Jobs, error) {
	db, err := open(ctx, c, "jobs", jobsParameters)
	if err != nil {
		return nil, err
	}
	return &Jobs{db}, nil
}

// Health returns what an operator must know of the store.
func (s *Jobs) Health() []string { return s.health.alarms() }

// creating is the advisory lock of whoever counts jobs and stores one more.
const creating = 0x6a6f6273

// roomSQL counts the jobs and the bytes of their files, and those of a client.
const roomSQL = `select count(*), count(*) filter (where client = $1),
	count(*) filter (where client = $1 and expires is null),
	coalesce(sum(bytes), 0)::bigint, coalesce(sum(bytes) filter (where client = $1), 0)::bigint
	from job`

// counts is what roomSQL returns.
type counts struct {
	all, own, active int
	bytes, ownBytes  int64
}

func (n *counts) scan(row pgx.Row) error {
	return row.Scan(&n.all, &n.own, &n.active, &n.bytes, &n.ownBytes)
}

// Create implements async.Store.
func (s *Jobs) Create(ctx context.Context, j async.Job, room async.Room) error {
	body, err := json.Marshal(j)
	if err != nil {
		return err
	}

	client := j.Asked.Grant.Client
	return s.update(ctx, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "select pg_advisory_xact_lock($1)", creating); err != nil {
			return err
		}

		var n counts
		if err := n.scan(tx.QueryRow(ctx, roomSQL, client)); err != nil {
			return err
		}
		switch {
		case n.all >= room.All:
			return async.ErrFull
		case n.own >= room.PerClient, n.active >= room.Active:
			return async.ErrClientFull
		}
		if err := room.Full(n.bytes+j.Bytes, n.ownBytes+j.Bytes); err != nil {
			return err
		}

		_, err := tx.Exec(ctx,
			`insert into job (id, client, state, created, attempts, bytes, body)
			values ($1, $2, $3, $4, $5, $6, $7)`,
			j.ID, client, j.State, j.Created, j.Attempts, j.Bytes, body)
		return err
	})
}

// isText reports whether the server can store a string as text, and so have it.
func isText(s string) bool {
	return utf8.ValidString(s) && !strings.Contains(s, "\x00")
}

// Job implements async.Store.
func (s *Jobs) Job(ctx context.Context, id string) (job async.Job, err error) {
	if !isText(id) {
		return job, async.ErrNoJob
	}

	rows, err := s.pool.Query(ctx, "select body, progress from job where id = $1", id)
	if err == nil {
		job, err = pgx.CollectExactlyOneRow(rows, s.scan)
	}
	if errors.Is(err, pgx.ErrNoRows) {
		err = async.ErrNoJob
	}
	return job, s.health.read(storeError(err))
}

// scan reads a job and its progress.
func (s *Jobs) scan(row pgx.CollectableRow) (job async.Job, err error) {
	var body []byte
	var progress string
	if err := row.Scan(&body, &progress); err != nil {
		return job, err
	}

	if err := json.Unmarshal(body, &job); err != nil {
		return job, fmt.Errorf("database: a job cannot be read: %w", err)
	}
	job.Progress = progress
	return job, nil
}

// Jobs implements async.Store.
func (s *Jobs) Jobs(ctx context.Context, f func(async.Job) bool) error {
	rows, err := s.pool.Query(ctx, "select body, progress from job order by created, id")
	var all []async.Job
	if err == nil {
		all, err = pgx.CollectRows(rows, s.scan)
	}

	for _, j := range all {
		if err != nil || !f(j) {
			break
		}
	}
	return s.health.read(storeError(err))
}

// Update implements async.Store.
func (s *Jobs) Update(ctx context.Context, id string, change func(*async.Job) error) error {
	return s.update(ctx, func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, "select body, progress from job where id = $1 for update", id)
		if err != nil {
			return err
		}
		job, err := pgx.CollectExactlyOneRow(rows, s.scan)
		if errors.Is(err, pgx.ErrNoRows) {
			return async.ErrNoJob
		}
		if err == nil {
			err = change(&job)
		}
		if err != nil {
			return err
		}
		return put(ctx, tx, &job)
	})
}

// put stores what has changed in a job. What its files have is counted by those who
// write them, until it has ended.
func put(ctx context.Context, tx pgx.Tx, j *async.Job) error {
	body, err := json.Marshal(j)
	if err != nil {
		return err
	}

	var expires *time.Time
	if !j.Ended.IsZero() {
		expires = &j.Expires
	}
	_, err = tx.Exec(ctx,
		`update job set state = $2, attempts = $3, expires = $4, body = $5,
		bytes = case when $4::timestamptz is null then bytes else $6 end where id = $1`,
		j.ID, j.State, j.Attempts, expires, body, j.Bytes)
	return err
}

// Remove implements async.Store.
func (s *Jobs) Remove(ctx context.Context, id string) error {
	return s.update(ctx, func(tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, "delete from job where id = $1", id)
		if err == nil && tag.RowsAffected() == 0 {
			err = async.ErrNoJob
		}
		return err
	})
}

// Claim implements async.Store.
func (s *Jobs) Claim(ctx context.Context, lease time.Duration, busy []string) (job async.Job, err error) {
	if busy == nil {
		busy = []string{} // no null
	}

	err = s.update(ctx, func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx,
			`select body, progress from job
			where (state = $1 or state = $2 and lease < clock_timestamp()) and client <> all ($3)
			order by created, id limit 1 for update skip locked`,
			async.Pending, async.Running, busy)
		if err != nil {
			return err
		}
		job, err = pgx.CollectExactlyOneRow(rows, s.scan)
		if errors.Is(err, pgx.ErrNoRows) {
			return async.ErrNoJob
		}
		if err != nil {
			return err
		}

		job.Begin()
		job.Progress = ""
		if err := put(ctx, tx, &job); err != nil {
			return err
		}
		_, err = tx.Exec(ctx, "update job set lease = clock_timestamp() + $2, progress = '' where id = $1",
			job.ID, lease)
		return err
	})
	return job, err
}

// Renew implements async.Store.
func (s *Jobs) Renew(ctx context.Context, a async.Attempt, lease time.Duration, progress string) error {
	return s.update(ctx, func(tx pgx.Tx) error {
		tag, err := tx.Exec(ctx,
			`update job set lease = clock_timestamp() + $3, progress = $4
			where id = $1 and attempts = $2 and state = $5`,
			a.Job, a.Number, lease, strings.ToValidUTF8(progress, "?"), async.Running)
		if err == nil && tag.RowsAffected() == 0 {
			err = lost(ctx, tx, a)
		}
		return err
	})
}

// lost returns why an attempt may change nothing any more.
func lost(ctx context.Context, tx pgx.Tx, a async.Attempt) error {
	var there bool
	err := tx.QueryRow(ctx, "select exists (select from job where id = $1)", a.Job).Scan(&there)
	switch {
	case err != nil:
		return err
	case there:
		return async.ErrTaken
	}
	return async.ErrNoJob
}

// Over implements async.Store.
func (s *Jobs) Over(ctx context.Context, at time.Time) (ids []string, err error) {
	rows, err := s.pool.Query(ctx, "select id from job where expires <= $1", at)
	if err == nil {
		ids, err = pgx.CollectRows(rows, pgx.RowTo[string])
	}
	return ids, s.health.read(storeError(err))
}
