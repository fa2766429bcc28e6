package async

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"fhirdest.example/fhir"
	"fhirdest.example/udap/trace"
)

// Config is what a Manager needs. All fields but the limits must be set.
type Config struct {
	PublicBase string // FHIR base URL that clients know
	Store      Store
	Files      Files // closed by Close
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
	// Defaults: 1000 jobs, 50 of one client, of which 5 have not ended; files of 4 GiB,
	// of which half are one client's.
	Room
	Workers int           // jobs done at once by this destination; default 2
	Job     int64         // bytes of one job's files; default 2 GiB
	Time    time.Duration // of one job; default 1 h
	Keep    time.Duration // how long a result is kept; default 1 h
	// Lease is after how long without a sign of life another destination goes on with
	// a job, where several share the store; default 10 s.
	Lease time.Duration
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
	or(&l.Lease, 10*time.Second)
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
	Forget(ctx context.Context, mark string, retire bool) error
}

// Manager keeps jobs and does them, beside those of other destinations that share the
// store. It implements fhir.Jobs.
type Manager struct {
	Config
	wake     chan struct{}
	claiming sync.Mutex // held while a worker asks for a job

	mu       sync.Mutex // guards all below
	active   map[string]*Work
	held     map[string]int // jobs under way here by client
	removed  []string       // jobs of which something may be left
	unstored []ending       // that could not be stored yet
	failing  bool           // the last claim failed
}

// New returns a Manager over the jobs that its store has. Nothing is done before Run.
func New(ctx context.Context, c Config) (*Manager, error) {
	if c.Store == nil || c.Files == nil || c.Now == nil || c.Live == nil || c.Decided == nil || c.Failed == nil {
		return nil, errors.New("async: Store, Files, Now, Live, Decided and Failed must be set")
	}

	c.Limits = c.Limits.withDefaults()
	m := &Manager{
		Config: c,
		wake:   make(chan struct{}, 1),
		active: map[string]*Work{},
		held:   map[string]int{},
	}

	var jobs []Job
	err := m.Store.Jobs(ctx, func(j Job) bool {
		jobs = append(jobs, j)
		return true
	})
	if err == nil {
		err = m.Files.Recover(ctx, jobs)
	}
	if err != nil {
		return nil, err
	}
	return m, nil
}

// Close releases the files. Run must have ended.
func (m *Manager) Close() error { return m.Files.Close() }

// Run does the jobs with a service until ctx ends; then it waits for those under
// way, which are done again by another destination or at the next start.
func (m *Manager) Run(ctx context.Context, s Service) {
	var workers sync.WaitGroup
	for range m.Limits.Workers {
		workers.Go(func() { m.work(ctx, s) })
	}

	look := time.NewTicker(lookEvery)
	defer look.Stop()
	sweep := time.NewTicker(sweepEvery)
	defer sweep.Stop()

	for ctx.Err() == nil {
		m.nudge()
		m.storeAgain(ctx, s)
		m.removeOver(ctx, s)
		select {
		case <-ctx.Done():
		case <-look.C:
		case <-sweep.C:
			if err := m.Files.Sweep(ctx); err != nil {
				m.Failed(err)
			}
		}
	}

	workers.Wait()
}

const (
	// lookEvery is how often jobs are looked for that another destination has stored or
	// left, and whose time is over.
	lookEvery = 2 * time.Second
	// sweepEvery is how often files are looked for that belong to no job.
	sweepEvery = 5 * time.Minute
)

// removeOver removes the jobs whose results have been kept long enough, and what is
// left of those that were removed.
func (m *Manager) removeOver(ctx context.Context, s Service) {
	over, err := m.Store.Over(ctx, m.Now())
	if err != nil {
		m.failedClaim(ctx, err)
		return
	}

	m.mu.Lock()
	removed := m.removed
	m.removed = nil
	m.mu.Unlock()

	for _, id := range over {
		if err := m.Store.Remove(ctx, id); err != nil && !errors.Is(err, ErrNoJob) {
			m.Failed(err)
			continue
		}
		removed = append(removed, id)
	}

	for _, id := range removed {
		m.removeFiles(ctx, id)
		if err := s.Forget(ctx, markOf(id), false); err != nil {
			m.Failed(err)
			m.removeLater(id)
		}
	}
}

// removeLater has what may be left of a job removed.
func (m *Manager) removeLater(id string) {
	m.mu.Lock()
	m.removed = append(m.removed, id)
	m.mu.Unlock()
}

// removeFiles removes the files of a job. The job may be removed by its worker and by
// its client at once.
func (m *Manager) removeFiles(ctx context.Context, id string) {
	if err := m.Files.Remove(ctx, id); err != nil {
		m.Failed(err)
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
		job, ok := m.next(ctx)
		if ok {
			m.nudge() // there may be more for the others
			m.do(ctx, s, job)
			m.release(job.Asked.Grant.Client)
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

// next begins the first job whose client has no other under way here, so that no
// client has all the workers.
func (m *Manager) next(ctx context.Context) (Job, bool) {
	m.claiming.Lock()
	defer m.claiming.Unlock()
	if ctx.Err() != nil {
		return Job{}, false
	}

	var busy []string
	if m.Limits.Workers > 1 {
		m.mu.Lock()
		busy = slices.Sorted(maps.Keys(m.held))
		m.mu.Unlock()
	}

	job, err := m.Store.Claim(ctx, m.Limits.Lease, busy)
	m.failedClaim(ctx, err)
	if err != nil {
		return Job{}, false
	}

	m.mu.Lock()
	m.held[job.Asked.Grant.Client]++
	m.mu.Unlock()
	return job, true
}

// failedClaim reports that the store cannot be asked for jobs, once until it can.
func (m *Manager) failedClaim(ctx context.Context, err error) {
	failing := err != nil && !errors.Is(err, ErrNoJob) && ctx.Err() == nil
	m.mu.Lock()
	began := failing && !m.failing
	m.failing = failing
	m.mu.Unlock()

	if began {
		m.Failed(err)
	}
}

func (m *Manager) release(client string) {
	m.mu.Lock()
	if m.held[client]--; m.held[client] == 0 {
		delete(m.held, client)
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
func (m *Manager) do(ctx context.Context, s Service, job Job) {
	ctx, cancel := context.WithTimeout(ctx, m.Limits.Time)
	defer cancel()
	w := &Work{
		Job:    job,
		m:      m,
		ctx:    ctx,
		cancel: cancel,
	}

	m.mu.Lock()
	m.active[job.ID] = w
	m.mu.Unlock()
	renewing, stop := context.WithCancel(ctx)
	var renewed sync.WaitGroup
	renewed.Go(func() { m.renew(renewing, w) })

	err := m.attempt(ctx, s, w)
	stop()
	renewed.Wait()
	m.mu.Lock()
	delete(m.active, job.ID)
	m.mu.Unlock()
	m.end(ctx, s, w, err)
}

// renew renews the lease of work until ctx ends, and ends work that is no longer ours.
// While the store cannot be reached the work goes on: whatever it changes is refused
// if another destination has it by then.
func (m *Manager) renew(ctx context.Context, w *Work) {
	tick := time.NewTicker(m.Limits.Lease / 5)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}

		if isLost(m.Store.Renew(ctx, w.attempt(), m.Limits.Lease, w.reported())) {
			w.lose()
			return
		}
	}
}

// isLost reports whether an error is that an attempt is no longer the job's.
func isLost(err error) bool {
	return errors.Is(err, ErrNoJob) || errors.Is(err, ErrTaken) || errors.Is(err, fhir.ErrOvertaken)
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
	if err := w.prepare(ctx); err != nil {
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

// endTime bounds how long it may take to store how a job ended.
const endTime = time.Minute

// end stores how a job ended.
func (m *Manager) end(ctx context.Context, s Service, w *Work, err error) {
	stopped := ctx.Err() != nil && !errors.Is(ctx.Err(), context.DeadlineExceeded)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), endTime)
	defer cancel()
	if isLost(err) {
		w.cancelled.Store(true)
	}
	if err != nil && stopped && !w.cancelled.Load() {
		m.interrupted(ctx, w)
		return
	}

	e := ending{
		work:    w,
		at:      m.Now(),
		failure: failureOf(err),
	}
	if e.failure != nil && e.failure.Status >= 500 && !w.cancelled.Load() {
		m.Failed(err)
	}
	m.store(ctx, s, e)
}

// interrupted notes that the server was stopped while a job was under way: the job is
// done again.
func (m *Manager) interrupted(ctx context.Context, w *Work) {
	err := w.update(ctx, func(j *Job) {
		j.State = Pending
		j.Stopped++
		j.Fruitless = max(0, j.Fruitless-1)
	})
	if err != nil && !isLost(err) {
		m.Failed(err)
	}
}

// store stores how a job ended. When that fails, it is tried again later, and after
// its lease or at the next start the job is done again.
func (m *Manager) store(ctx context.Context, s Service, e ending) {
	w := e.work
	err := w.update(ctx, func(j *Job) {
		j.Ended, j.Expires = e.at, e.at.Add(m.Limits.Keep)
		if e.failure != nil {
			j.State, j.Failure = Failed, e.failure
			j.Files, j.Bytes = nil, 0
			return
		}

		j.State, j.Failure = Done, nil
		j.Files, j.Bytes, j.ContentType = w.made, w.bytes.Load(), w.contentType
	})

	switch {
	case errors.Is(err, ErrTaken): // all else is the later attempt's
	case errors.Is(err, ErrNoJob): // cancelled
		m.removeFiles(ctx, w.ID)
		m.removeLater(w.ID)
	case err != nil:
		m.Failed(err)
		m.mu.Lock()
		m.unstored = append(m.unstored, e)
		m.mu.Unlock()
	default:
		if e.failure != nil { // nobody can download what it has made
			m.removeFiles(ctx, w.ID)
		}
		// Whoever made an earlier attempt may still be at it.
		if err := s.Forget(ctx, markOf(w.ID), w.Again()); err != nil {
			m.Failed(err) // it is tried again when the job expires
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
