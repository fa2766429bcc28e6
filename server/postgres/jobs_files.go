package postgres

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"fhirdest.example/fhir/async"
)

// JobFiles keeps the files of jobs in chunks. It implements async.Files. A chunk is
// stored in the transaction that finds its attempt still to be the latest, and counts
// its bytes. Those commits do not wait for the disk: the one that ends the job, or
// creates it, does, and all before it are then durable, too.
type JobFiles struct{ jobs *Jobs }

var _ async.Files = JobFiles{}

// Files returns the files of the jobs.
func (s *Jobs) Files() async.Files { return JobFiles{s} }

const (
	chunkSize = 256 << 10
	// chunksAtOnce bounds what a download has in memory.
	chunksAtOnce = 4
	// requestName is the name of the body of a request, and requestAttempt the number
	// under which it is stored.
	requestName    = "request"
	requestAttempt = 0
)

// Close implements async.Files: the connections are those of the store.
func (f JobFiles) Close() error { return nil }

// Recover implements async.Files: the bytes are counted in the jobs.
func (f JobFiles) Recover(ctx context.Context, _ []async.Job) error { return f.Sweep(ctx) }

// lazily has the commit of a transaction not wait for the disk.
const lazily = "set local synchronous_commit = off"

const insertChunk = `insert into chunk (job, attempt, name, number, body) values ($1, $2, $3, $4, $5)`

// Keep implements async.Files.
func (f JobFiles) Keep(ctx context.Context, job, client string, body []byte, room async.Room) error {
	return f.jobs.update(ctx, func(tx pgx.Tx) error {
		var n counts
		if err := n.scan(tx.QueryRow(ctx, roomSQL, client)); err != nil {
			return err
		}
		size := int64(len(body))
		if err := room.Full(n.bytes+size, n.ownBytes+size); err != nil {
			return err
		}

		if _, err := tx.Exec(ctx, lazily); err != nil {
			return err
		}
		for number := 0; number*chunkSize < len(body); number++ {
			part := body[number*chunkSize:]
			part = part[:min(chunkSize, len(part))]
			if _, err := tx.Exec(ctx, insertChunk, job, requestAttempt, requestName, number, part); err != nil {
				return err
			}
		}
		return nil
	})
}

// Begin implements async.Files.
func (f JobFiles) Begin(ctx context.Context, a async.Attempt) (body []byte, err error) {
	err = f.jobs.update(ctx, func(tx pgx.Tx) error {
		body = nil
		tag, err := tx.Exec(ctx,
			`update job set bytes = (select coalesce(sum(octet_length(body)), 0)
				from chunk where job = $1 and attempt = $3)
			where id = $1 and attempts = $2`,
			a.Job, a.Number, requestAttempt)
		if err == nil && tag.RowsAffected() == 0 {
			err = lost(ctx, tx, a)
		}
		if err != nil {
			return err
		}

		parts, err := chunks(ctx, tx, a.Job, requestAttempt, requestName, 0, math.MaxInt32)
		for _, part := range parts {
			body = append(body, part...)
		}
		return err
	})
	if err == nil { // nobody adds to those of earlier attempts any more
		err = f.remove(ctx, "job = $1 and attempt <> $2 and attempt < $3", a.Job, requestAttempt, a.Number)
	}
	return body, err
}

// removedAtOnce bounds what one statement removes: it must not keep others waiting, nor
// be waited for too long itself.
const removedAtOnce = 500

// remove removes the chunks for which a condition holds.
func (f JobFiles) remove(ctx context.Context, condition string, args ...any) error {
	for {
		var tag pgconn.CommandTag
		err := f.jobs.update(ctx, func(tx pgx.Tx) (err error) {
			tag, err = tx.Exec(ctx, fmt.Sprintf(
				"delete from chunk where ctid = any (array(select ctid from chunk where %s limit %d))",
				condition, removedAtOnce), args...)
			return err
		})
		if err != nil || tag.RowsAffected() < removedAtOnce {
			return err
		}
	}
}

// rowQuerier is the connections or a transaction.
type rowQuerier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
}

// chunks returns chunks of a file, those with the numbers from..to-1.
func chunks(ctx context.Context, q rowQuerier, job string, attempt int, name string, from, to int) ([][]byte, error) {
	rows, err := q.Query(ctx,
		`select body from chunk where job = $1 and attempt = $2 and name = $3 and number >= $4 and number < $5
		order by number`,
		job, attempt, name, from, to)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[[]byte])
}

// Create implements async.Files.
func (f JobFiles) Create(ctx context.Context, a async.Attempt, name string, room async.Room) (async.File, error) {
	return &chunkWriter{
		ctx:  ctx,
		jobs: f.jobs,
		of:   a,
		name: name,
		room: room,
	}, nil
}

// Open implements async.Files.
func (f JobFiles) Open(ctx context.Context, a async.Attempt, name string) (io.ReadSeekCloser, error) {
	r := &chunkReader{
		ctx:  ctx,
		jobs: f.jobs,
		of:   a,
		name: name,
	}

	var count int
	err := f.jobs.pool.QueryRow(ctx,
		`select count(*), coalesce(sum(octet_length(body)), 0)::bigint
		from chunk where job = $1 and attempt = $2 and name = $3`,
		a.Job, a.Number, name).Scan(&count, &r.size)
	if err == nil && count == 0 {
		err = fs.ErrNotExist
	}
	if err = f.jobs.health.read(storeError(err)); err != nil {
		return nil, err
	}
	return r, nil
}

// Remove implements async.Files.
func (f JobFiles) Remove(ctx context.Context, job string) error {
	return f.remove(ctx, "job = $1", job)
}

// Sweep implements async.Files. The body of a request is stored just before its job.
func (f JobFiles) Sweep(ctx context.Context) error {
	return f.remove(ctx,
		`made < now() - interval '10 minutes'
		and not exists (select from job where id = chunk.job and state <> $1)`,
		async.Failed)
}

// chunkWriter is a file that is written. It has one chunk in memory.
type chunkWriter struct {
	ctx    context.Context // until which it is written
	jobs   *Jobs
	of     async.Attempt
	name   string
	room   async.Room
	number int // of the chunk in memory
	chunk  []byte
}

func (w *chunkWriter) Write(p []byte) (n int, err error) {
	for len(p) > 0 {
		if w.chunk == nil {
			w.chunk = make([]byte, 0, chunkSize)
		}

		part := p[:min(len(p), chunkSize-len(w.chunk))]
		w.chunk = append(w.chunk, part...)
		n += len(part)
		p = p[len(part):]
		if len(w.chunk) == chunkSize {
			if err := w.flush(); err != nil {
				return n, err
			}
		}
	}
	return n, nil
}

// flush stores the chunk.
func (w *chunkWriter) flush() error {
	err := w.jobs.update(w.ctx, func(tx pgx.Tx) error {
		b := &pgx.Batch{}
		b.Queue(lazily)
		b.Queue("update job set bytes = bytes + $3 where id = $1 and attempts = $2 and state = $4",
			w.of.Job, w.of.Number, len(w.chunk), async.Running)
		b.Queue(roomSQL, w.of.Client)
		b.Queue(insertChunk, w.of.Job, w.of.Number, w.name, w.number, w.chunk)

		results := tx.SendBatch(w.ctx, b)
		err := w.stored(results)
		err = errors.Join(err, results.Close())
		if errors.Is(err, async.ErrTaken) {
			return lost(w.ctx, tx, w.of)
		}
		return err
	})
	w.number++
	w.chunk = w.chunk[:0]
	return err
}

// stored reads the results of flush.
func (w *chunkWriter) stored(results pgx.BatchResults) error {
	if _, err := results.Exec(); err != nil {
		return err
	}

	tag, err := results.Exec()
	if err == nil && tag.RowsAffected() == 0 {
		err = async.ErrTaken
	}
	if err != nil {
		return err
	}

	var n counts
	if err := n.scan(results.QueryRow()); err != nil {
		return err
	}
	return w.room.Full(n.bytes, n.ownBytes)
}

func (w *chunkWriter) Close() error {
	if len(w.chunk) == 0 && w.number > 0 {
		return nil
	}
	if w.chunk == nil {
		w.chunk = []byte{} // no null: an empty file has one chunk
	}
	err := w.flush()
	w.chunk = nil
	return err
}

func (w *chunkWriter) Abandon() { w.chunk = nil }

// chunkReader reads a file, a few chunks at a time.
type chunkReader struct {
	ctx  context.Context
	jobs *Jobs
	of   async.Attempt
	name string
	size int64
	at   int64

	first int // the number of the first of parts
	parts [][]byte
}

func (r *chunkReader) Read(p []byte) (int, error) {
	if r.at >= r.size {
		return 0, io.EOF
	}

	number := int(r.at / chunkSize)
	if number < r.first || number >= r.first+len(r.parts) {
		parts, err := chunks(
			r.ctx,
			r.jobs.pool,
			r.of.Job,
			r.of.Number,
			r.name,
			number,
			number+chunksAtOnce,
		)
		if err = r.jobs.health.read(storeError(err)); err != nil {
			return 0, err
		}
		r.first, r.parts = number, parts
	}

	within := int(r.at % chunkSize)
	if len(r.parts) == 0 || within >= len(r.parts[number-r.first]) { // it was removed meanwhile
		return 0, io.ErrUnexpectedEOF
	}
	n := copy(p, r.parts[number-r.first][within:])
	r.at += int64(n)
	return n, nil
}

func (r *chunkReader) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += r.at
	case io.SeekEnd:
		offset += r.size
	}
	if offset < 0 {
		return 0, errors.New("database: a seek to before the start of a file")
	}
	r.at = offset
	return offset, nil
}

func (r *chunkReader) Close() error { return nil }
