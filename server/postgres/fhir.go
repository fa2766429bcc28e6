package postgres

import (
	"context"
	"errors"
	"sync/atomic"

	"github.com/jackc/pgx/v5"

	"fhirdest.example/fhir"
	"fhirdest.example/server/shared"
)

// FHIR is the schema fhir: resources, their versions, their index and the audit
// records. It implements fhir.Store.
//
// Those who change it do so one after another, over all destinations: each holds an
// advisory lock from the beginning of its transaction to the commit, so that numbers
// of resources and of changes rise in the order of the commits. Updates that wait in
// one process share a transaction.
//
// Reading waits for nobody. It begins with a query for the number of the last change,
// which those who read at the same time share; what this process has kept of earlier
// reading is used as far as it is the same in that state (see cache), and the first
// that is not kept begins a transaction, together with its statement.
//
// PostgreSQL removes no old row while a snapshot may need it. Views are short: an export
// is one for each batch of resources, and a snapshot that asks nothing for 10 s is ended
// by the server.
type FHIR struct {
	db      *database
	name    string
	commits *shared.Committer[*state]
	fresh   *freshness
	cache   *cache
	leads   leads
	rules   atomic.Value // string: those of the index that this process knows; none before it has set them
	indexer indexer
}

var _ fhir.Store = (*FHIR)(nil)

// fhirWriter is the advisory lock of who changes the schema fhir.
const fhirWriter = 0x66686973

// fhirParameters are those of the connections beside sessionLimits.
var fhirParameters = map[string]string{"lock_timeout": lockTimeout}

// acquireWriter waits for the lock. A destination that is cut off or hangs while it has
// it loses it soon: between its statements it only computes what was prepared before.
const acquireWriter = "select pg_advisory_xact_lock($1), " +
	"set_config('idle_in_transaction_session_timeout', '5s', true)"

// maxShared bounds how many updates one commit may carry.
const maxShared = 256

var errClosed = errors.New("the store is closed")

// OpenFHIR connects to the schema fhir, which must be there: see Migrate.
func OpenFHIR(ctx context.Context, c Config) (*FHIR, error) {
	db, err := open(ctx, c, "fhir", fhirParameters)
	if err != nil {
		return nil, err
	}

	s := &FHIR{
		db:    db,
		name:  c.Name,
		cache: newCache(c.Cache),
	}
	s.fresh = &freshness{query: s.latest}
	s.commits = shared.New(shared.Engine[*state]{
		Begin:    s.begin,
		Settle:   (*state).settle,
		Commit:   s.commit,
		Rollback: func(st *state) { st.rollback() },
		Most:     maxShared,
		Closed:   &failure{err: errClosed},
	})
	return s, nil
}

// Close commits what is under way and ends the connections.
func (s *FHIR) Close() error {
	s.commits.Close()
	s.indexer.close()
	s.leads.close()
	return s.db.Close()
}

// Health returns what an operator must know: why the last transaction failed, and
// damaged rows that were met.
func (s *FHIR) Health() []string {
	return s.db.health.alarms()
}

// View implements fhir.Store.
func (s *FHIR) View(ctx context.Context, f func(fhir.Snapshot) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}

	n, err := s.fresh.get(ctx)
	if err == nil {
		err = s.accepts(n)
	}
	if err != nil {
		return s.db.health.read(err)
	}

	st := s.newState(reading)
	st.base = n
	err = s.view(st, f)
	if st.moved {
		st = s.newState(reading)
		if err = st.send(ctx, &pgx.Batch{}); err == nil {
			err = s.view(st, f)
		}
	}
	return s.db.health.read(err)
}

// reading is a transaction that reads one state.
var reading = pgx.TxOptions{
	IsoLevel:   pgx.RepeatableRead,
	AccessMode: pgx.ReadOnly,
}

func (s *FHIR) view(st *state, f func(fhir.Snapshot) error) error {
	defer st.end()
	err := f(fhir.NewSnapshot(st, &st.audit))
	if st.err != nil {
		return st.err // whatever f makes of it
	}
	return err
}

// Update implements fhir.Store.
func (s *FHIR) Update(ctx context.Context, f func(fhir.Change) error) error {
	return s.commits.Do(ctx, func(st *state) error {
		err := f(fhir.NewChange(st, &st.audit))
		if st.err != nil {
			return st.err // the transaction has failed, whatever f makes of it
		}
		return err
	})
}

// newState returns a transaction that is not begun.
func (s *FHIR) newState(o pgx.TxOptions) *state {
	st := &state{
		session: session{
			db:      s.db,
			options: o,
		},
		store: s,
	}
	var note func()
	var n numbers
	st.opening = func(b *pgx.Batch) { note = s.queueNumbers(b, &n) }
	st.opened = func() error {
		note()
		return st.move(n)
	}
	st.audit.state = st
	return st
}

// begin begins a shared transaction of those who change the store.
func (s *FHIR) begin() (st *state, err error) {
	err = s.db.again(func() error {
		st = s.newState(pgx.TxOptions{})
		st.changing = newPending()
		opening := st.opening
		st.opening = func(b *pgx.Batch) {
			b.Queue(acquireWriter, int64(fhirWriter))
			opening(b)
			st.audit.queueEnds(b)
			st.queueSetting(b, fhir.SettledSetting) // every change reads it
		}

		err := st.send(context.Background(), &pgx.Batch{})
		if err != nil {
			st.rollback()
		}
		return err
	})
	if err != nil {
		return nil, s.db.health.commit(err)
	}
	return st, nil
}

func (s *FHIR) commit(st *state) error {
	err := st.commit()
	if rules := st.changing.settings[fhir.IndexSetting]; err == nil && len(rules) > 0 {
		s.rules.Store(string(rules))
	}
	if err == nil {
		s.committed(st.numbers.docs, st.audit.ends.indexed)
	}
	return s.db.health.commit(err)
}

// accepts refuses a state whose index is being made by other rules than those of this
// process, or was: a destination of another version has begun with that, and this one
// would find what it must not, or not find what it should.
func (s *FHIR) accepts(n numbers) error {
	if known, ok := s.rules.Load().(string); ok && len(known) == 8 && n.rules != known {
		return &failure{err: errOtherRules}
	}
	return nil
}

var errOtherRules = errors.New(
	"a destination of another version has made the search index anew: update this one")
