package async

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"sync"
	"time"

	"fhirdest.example/fhir"
	"fhirdest.example/udap/trace"
)

// Config is what a Manager needs. All fields but the limits must be set.
type Config struct {
	PublicBase string // FHIR base URL that clients know
	Dir        string // directory of the jobs' files; made when absent
	Store      Store
	Now        func() time.Time
	Kinds      map[string]Kind // by the name of the interaction; all others are done by Service
	// Live reports whether what a grant comes from is still what it was: a job whose
	// token was revoked, or whose client was cancelled or has lost rights, ends.
	Live func(ctx context.Context, g *fhir.Grant) (bool, error)
	// Decided gets the trace of each refusal.
	Decided func(*trace.Trace)
	// Failed is called with failures that are not the client's.
	Failed func(error)
	Limits Limits
}

// Limits bound what jobs may use. A zero is the default that is named.
type Limits struct {
	Room                  // defaults: 1000 jobs, 50 of one client, of which 5 have not ended
	Workers int           // jobs done at once; default 2
	Disk    int64         // bytes of all files; default 4 GiB
	Share   int64         // bytes of the files of one client; default half of Disk
	Job     int64         // bytes of one job's files; default 2 GiB
	Time    time.Duration // of one job; default 1 h
	Keep    time.Duration // how long a result is kept; default 1 h
}

func (l Limits) withDefaults() Limits {
	or(&l.All, 1000)
	or(&l.PerClient, 50)
	or(&l.Active, 5)
	or(&l.Workers, 2)
	or(&l.Disk, 4<<30)
	or(&l.Share, l.Disk/2)
	or(&l.Job, 2<<30)
	or(&l.Time, time.Hour)
	or(&l.Keep, time.Hour)
	return l
}

func or[T comparable](p *T, otherwise T) {
	var zero T
	if *p == zero {
		*p = otherwise
	}
}

// Kind is a kind of work.
type Kind interface {
	// Check refuses a request that cannot be done, before it becomes a job. Its
	// error is the answer (fhir.Refuse).
	Check(ctx context.Context, a *fhir.Asked) error
	// Do does the work and calls w.Finish. Work that was interrupted by a restart
	// is done again; w.Again reports that. It stops with ctx.
	Do(ctx context.Context, w *Work) error
}

// Service is the part of fhir.Service that jobs need.
type Service interface {
	Perform(ctx context.Context, a *fhir.Asked, again bool, o fhir.PerformOptions) ([]byte, error)
	Forget(ctx context.Context, mark string) error
}

// Manager keeps jobs and does them. It implements fhir.Jobs.
type Manager struct {
	Config
	root *os.Root
	disk *disk
	wake chan struct{}

	mu       sync.Mutex // guards all below
	pending  []ticket   // in the order in which the jobs were stored
	active   map[string]*Work
	held     map[string]int // jobs under way by client
	ends     []expiry       // of ended jobs
	unstored []ending       // that could not be stored yet
}

// ticket is a job that waits for a worker.
type ticket struct{ id, client string }

// expiry is when an ended job is removed.
type expiry struct {
	id string
	at time.Time
}

// New returns a Manager over the jobs that its store has, and removes files that
// belong to none of them. Nothing is done before Run.
func New(ctx context.Context, c Config) (*Manager, error) {
	if c.Store == nil || c.Now == nil || c.Live == nil || c.Decided == nil || c.Failed == nil {
		return nil, errors.New("async: Store, Now, Live, Decided and Failed must be set")
	}

	c.Limits = c.Limits.withDefaults()
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		return nil, err
	}

	root, err := os.OpenRoot(c.Dir)
	if err != nil {
		return nil, err
	}

	m := &Manager{
		Config: c,
		root:   root,
		disk:   newDisk(c.Limits),
		wake:   make(chan struct{}, 1),
		active: map[string]*Work{},
		held:   map[string]int{},
	}
	if err := m.load(ctx); err != nil {
		return nil, errors.Join(err, root.Close())
	}

	return m, nil
}

// load puts the stored jobs in their places.
func (m *Manager) load(ctx context.Context) error {
	known := map[string]bool{}
	err := m.Store.Jobs(ctx, func(j Job) bool {
		known[j.ID] = j.State != Failed
		m.disk.occupy(j.ID, j.Asked.Grant.Client, j.Bytes)
		switch j.State {
		case Pending, Running:
			m.pending = append(m.pending, ticket{j.ID, j.Asked.Grant.Client})
		default:
			m.ends = append(m.ends, expiry{j.ID, j.Expires})
		}

		return true
	})
	if err != nil {
		return err
	}

	return m.removeOrphans(known)
}

// Close releases the directory. Run must have ended.
func (m *Manager) Close() error { return m.root.Close() }

// Run does the jobs with a service until ctx ends; then it waits for those under
// way, which are done again at the next start.
func (m *Manager) Run(ctx context.Context, s Service) {
	var workers sync.WaitGroup
	for range m.Limits.Workers {
		workers.Go(func() { m.work(ctx, s) })
	}

	m.nudge()
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()

	for ctx.Err() == nil {
		m.storeAgain(ctx, s)
		m.sweep(ctx, s)
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}

	workers.Wait()
}

// sweepEvery is how often jobs are looked at whose time is over.
const sweepEvery = 5 * time.Second

// sweep removes the jobs whose results have been kept long enough.
func (m *Manager) sweep(ctx context.Context, s Service) {
	now := m.Now()
	var over []expiry

	m.mu.Lock()
	kept := m.ends[:0]
	for _, e := range m.ends {
		if now.Before(e.at) {
			kept = append(kept, e)
		} else {
			over = append(over, e)
		}
	}

	m.ends = kept
	m.mu.Unlock()

	for _, e := range over {
		err := m.Store.Remove(ctx, e.id)
		if err == nil || errors.Is(err, ErrNoJob) { // it was cancelled
			err = s.Forget(ctx, markOf(e.id))
		}
		if err != nil {
			m.Failed(err)
			m.mu.Lock()
			m.ends = append(m.ends, e)
			m.mu.Unlock()
			continue
		}

		m.removeFiles(e.id)
	}
}

func (m *Manager) nudge() {
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

// work is one worker.
func (m *Manager) work(ctx context.Context, s Service) {
	for {
		t, ok := m.next()
		if ok {
			m.nudge() // there may be more for the others
			m.do(ctx, s, t)
			m.release(t)
			continue
		}

		select {
		case <-ctx.Done():
			m.nudge() // the other workers end, too
			return
		case <-m.wake:
			if ctx.Err() != nil {
				m.nudge()
				return
			}
		}
	}
}

// next takes the first job whose client has no other under way, so that no client
// has all the workers.
func (m *Manager) next() (ticket, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i, t := range m.pending {
		if m.held[t.client] > 0 && m.Limits.Workers > 1 {
			continue
		}

		m.pending = append(m.pending[:i:i], m.pending[i+1:]...)
		m.held[t.client]++
		return t, true
	}

	return ticket{}, false
}

func (m *Manager) release(t ticket) {
	m.mu.Lock()
	if m.held[t.client]--; m.held[t.client] == 0 {
		delete(m.held, t.client)
	}
	m.mu.Unlock()
	m.nudge()
}

// A job that ends the server each time must not do so for ever. Attempts that got
// further than all before are no such thing, and neither are those that ended because
// the server was stopped in order; but even of attempts that each get a little further
// there are not endlessly many.
const (
	maxFruitless = 3
	maxAttempts  = 20
)

// hopeless reports whether a job was begun often enough.
func (j *Job) hopeless() bool {
	return j.Fruitless > maxFruitless || j.Attempts-j.Stopped > maxAttempts
}

// do does one job, and stores how it ended.
func (m *Manager) do(ctx context.Context, s Service, t ticket) {
	if ctx.Err() != nil {
		return // it is pending still
	}

	job, err := m.begin(ctx, t.id)
	if err != nil {
		if !errors.Is(err, ErrNoJob) {
			m.Failed(err)
		}
		return
	}

	ctx, cancel := context.WithTimeout(ctx, m.Limits.Time)
	defer cancel()
	w := &Work{
		Job:    job,
		m:      m,
		cancel: cancel,
	}

	m.mu.Lock()
	m.active[job.ID] = w
	m.mu.Unlock()

	err = m.attempt(ctx, s, w)
	m.mu.Lock()
	delete(m.active, job.ID)
	m.mu.Unlock()
	m.end(ctx, s, w, err)
}

// begin notes that a job is begun.
func (m *Manager) begin(ctx context.Context, id string) (job Job, err error) {
	err = m.Store.Update(ctx, id, func(j *Job) error {
		j.State = Running
		j.Attempts++
		j.Fruitless++
		job = *j
		return nil
	})
	return job, err
}

// attempt does a job's work. A panic in it is that job's failure only.
func (m *Manager) attempt(ctx context.Context, s Service, w *Work) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("async: job %s panicked: %v\n%s", w.ID, p, debug.Stack())
		}
	}()

	if w.hopeless() {
		return fhir.Refuse(500, "exception", "The server stopped each time that this was done.", "")
	}
	if err := w.prepare(); err != nil {
		return err
	}
	if err := w.Alive(ctx); err != nil {
		return err
	}
	if k := m.Kinds[w.Asked.Interaction]; k != nil {
		return k.Do(ctx, w)
	}

	return m.interaction(ctx, s, w)
}

// interactionTime bounds one interaction in the background. It may hold one state
// of the store for that long.
const interactionTime = time.Minute

// interaction does a job that is a single FHIR interaction.
func (m *Manager) interaction(ctx context.Context, s Service, w *Work) error {
	body, err := s.Perform(ctx, &w.Asked, w.Again(), fhir.PerformOptions{
		Mark:    markOf(w.ID),
		Timeout: min(interactionTime, m.Limits.Time),
	})
	if err != nil {
		return err
	}
	return w.Finish("", body)
}

// markOf is the mark of a job's change in the store of resources.
func markOf(id string) string { return "job/" + id }

// ending is a job that has ended.
type ending struct {
	work    *Work
	at      time.Time
	failure *Failure // nil when it is done
}

// end stores how a job ended.
func (m *Manager) end(ctx context.Context, s Service, w *Work, err error) {
	stopped := ctx.Err() != nil && !errors.Is(ctx.Err(), context.DeadlineExceeded)
	ctx = context.WithoutCancel(ctx)
	if err != nil && stopped && !w.cancelled.Load() {
		m.interrupted(ctx, w.ID)
		return
	}

	e := ending{
		work:    w,
		at:      m.Now(),
		failure: failureOf(err),
	}
	if e.failure != nil { // nobody can download what it has made
		m.removeFiles(w.ID)
		if e.failure.Status >= 500 && !w.cancelled.Load() {
			m.Failed(err)
		}
	}

	m.store(ctx, s, e)
}

// interrupted notes that the server was stopped while a job was under way: the job is
// done again.
func (m *Manager) interrupted(ctx context.Context, id string) {
	err := m.Store.Update(ctx, id, func(j *Job) error {
		j.Stopped++
		j.Fruitless = max(0, j.Fruitless-1)
		return nil
	})
	if err != nil && !errors.Is(err, ErrNoJob) {
		m.Failed(err)
	}
}

// store stores how a job ended. When that fails, it is tried again later, and at the
// next start the job is done again.
func (m *Manager) store(ctx context.Context, s Service, e ending) {
	w := e.work
	err := m.Store.Update(ctx, w.ID, func(j *Job) error {
		j.Ended, j.Expires = e.at, e.at.Add(m.Limits.Keep)
		if e.failure != nil {
			j.State, j.Failure = Failed, e.failure
			j.Files, j.Bytes = nil, 0
			return nil
		}

		j.State, j.Failure = Done, nil
		j.Files, j.Bytes, j.ContentType = w.made, w.bytes.Load(), w.contentType
		return nil
	})

	switch {
	case errors.Is(err, ErrNoJob): // cancelled
		m.removeFiles(w.ID)
		m.expire(w.ID, e.at)
	case err != nil:
		m.Failed(err)
		m.mu.Lock()
		m.unstored = append(m.unstored, e)
		m.mu.Unlock()
	default:
		m.expire(w.ID, e.at.Add(m.Limits.Keep))
		if err := s.Forget(ctx, markOf(w.ID)); err != nil {
			m.Failed(err)
		}
	}
}

// storeAgain stores how those jobs ended of which that has failed.
func (m *Manager) storeAgain(ctx context.Context, s Service) {
	m.mu.Lock()
	again := m.unstored
	m.unstored = nil
	m.mu.Unlock()

	for _, e := range again {
		m.store(ctx, s, e)
	}
}

// expire has the rest of a job removed at a time.
func (m *Manager) expire(id string, at time.Time) {
	m.mu.Lock()
	m.ends = append(m.ends, expiry{id, at})
	m.mu.Unlock()
}

// failureOf is why a job failed, as its client learns it.
func failureOf(err error) *Failure {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, context.DeadlineExceeded):
		return &Failure{
			Status: 422,
			Code:   "too-costly",
			Text:   "The work took longer than a job may: ask for less.",
		}
	}

	status, code, text := fhir.Explain(unwritable(err))
	return &Failure{status, code, text}
}
