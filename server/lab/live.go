package lab

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"fhirdest.example/udap/conform"
	"fhirdest.example/udap/trace"
)

// live is a session in memory.
type live struct {
	service *Service

	// The mutexes are acquired in this order, after that of the Service.

	// writing is held while what is stored of the session changes.
	writing sync.Mutex

	// Invariant: assessor is nil, or it has seen the exchanges 1 to len(assessments),
	// which are all that are stored, unless writing is held.
	assessing   sync.Mutex
	assessor    Assessor
	assessments []Assessment
	used        time.Time // last time that they were needed

	mu       sync.Mutex
	session  Session
	gone     bool // it is being removed
	watchers map[*watcher]struct{}
	underway map[*capture]struct{} // exchanges that are not handed on

	traces  pendingTraces
	place   place // guarded by sites.mu
	faulted faulted
}

func (s *Service) revive(known Session) *live {
	return &live{
		service:  s,
		session:  known,
		watchers: map[*watcher]struct{}{},
	}
}

func (l *live) state() Session {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.session
}

func (l *live) expired(now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.gone || !l.session.Expires.IsZero() && !now.Before(l.session.Expires)
}

// end keeps further requests off, and ends the watching.
func (l *live) end() {
	l.mu.Lock()
	l.gone = true
	l.publish(Update{Session: l.session, Ended: true})
	l.mu.Unlock()
	l.dismiss()
}

// change changes the stored session.
func (l *live) change(ctx context.Context, f func(*Session)) error {
	l.writing.Lock()
	defer l.writing.Unlock()

	changed := l.state()
	f(&changed)
	if err := l.service.cfg.Store.Update(ctx, changed); err != nil {
		return err
	}

	l.mu.Lock()
	defer l.mu.Unlock()
	f(&l.session)
	l.publish(Update{Session: l.session})
	return nil
}

// clear removes the exchanges.
func (l *live) clear(ctx context.Context) error {
	l.writing.Lock()
	defer l.writing.Unlock()

	cleared := l.state()
	cleared.Counts = Counts{Clients: cleared.Counts.Clients}
	cleared.Run++
	if err := l.service.cfg.Store.Clear(ctx, cleared); err != nil {
		return err
	}

	l.forget()
	l.mu.Lock()
	defer l.mu.Unlock()

	l.session.Counts, l.session.Run = cleared.Counts, cleared.Run
	l.publish(Update{Session: l.session})
	return nil
}

// replayed is how many exchanges are read at once.
const replayed = 200

// assess makes sure that there is an assessor, which has seen all exchanges that are
// stored. The caller holds assessing.
func (l *live) assess(ctx context.Context) error {
	l.used = l.service.cfg.Now()
	if l.assessor != nil {
		return nil
	}

	session := l.state()
	assessor := l.service.cfg.assessor(session)
	var assessments []Assessment
	for {
		some, err := l.service.cfg.Store.Exchanges(ctx, session.ID, uint64(len(assessments))+1, replayed)
		if err != nil {
			return err
		}
		if len(some) == 0 {
			break
		}

		for _, e := range some {
			assessments = append(assessments, assessor.Add(e))
		}
	}

	l.assessor, l.assessments = assessor, assessments
	return nil
}

// assessed returns stored exchanges with what is found about them.
func (l *live) assessed(ctx context.Context, found []*conform.Exchange) ([]*Kept, error) {
	l.assessing.Lock()
	defer l.assessing.Unlock()
	if err := l.assess(ctx); err != nil {
		return nil, err
	}

	var all []*Kept
	for _, e := range found {
		k := &Kept{Exchange: e}
		if e.N <= uint64(len(l.assessments)) {
			k.Assessment = l.assessments[e.N-1]
		}
		all = append(all, k)
	}

	return all, nil
}

func (l *live) rows(ctx context.Context) ([]conform.Outcome, error) {
	l.assessing.Lock()
	defer l.assessing.Unlock()
	if err := l.assess(ctx); err != nil {
		return nil, err
	}
	return l.assessor.Rows(), nil
}

// forget gives up what is known of the exchanges in memory.
func (l *live) forget() {
	l.assessing.Lock()
	defer l.assessing.Unlock()
	l.assessor, l.assessments = nil, nil
}

// forgetIdle gives up assessors that were not needed for a while.
func (s *Service) forgetIdle() {
	now := s.cfg.Now()
	for _, l := range s.all() {
		l.assessing.Lock()
		if now.Sub(l.used) > idle {
			l.assessor, l.assessments = nil, nil
		}
		l.assessing.Unlock()
	}
}

func (s *Service) all() []*live {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Values(s.sessions))
}

// maxTraces bounds the traces that wait for their exchange: one for each that may wait
// to be stored, and some of decisions that belong to none.
const maxTraces = maxWaiting + 256

// pendingTraces are decisions whose exchange has not ended yet, by their ids.
type pendingTraces struct {
	mu    sync.Mutex
	byID  map[string]*trace.Trace
	order []string
}

func (p *pendingTraces) add(t *trace.Trace) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.byID == nil {
		p.byID = map[string]*trace.Trace{}
	}
	p.byID[t.ID] = t
	p.order = append(p.order, t.ID)
	if len(p.order) > maxTraces {
		delete(p.byID, p.order[0])
		p.order = p.order[1:]
	}
}

// take returns the traces with some ids, as far as they are there.
func (p *pendingTraces) take(ids []string) (found []*trace.Trace) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, id := range ids {
		if t := p.byID[id]; t != nil {
			found = append(found, t)
			delete(p.byID, id)
			p.order = slices.DeleteFunc(p.order, func(other string) bool {
				return other == id
			})
		}
	}
	return found
}

// Decided gets a decision of the destination itself, such as one about a request that
// cannot be framed.
func (s *Service) Decided(t *trace.Trace) { s.own.add(t) }

// begin notes that an exchange is under way, and over that it is handed on.
func (l *live) begin(c *capture) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.underway == nil {
		l.underway = map[*capture]struct{}{}
	}
	l.underway[c] = struct{}{}
}

func (l *live) over(c *capture) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.underway, c)
}

// patience is how long a report waits for exchanges that are under way: a client has an
// answer before the destination knows that it was sent.
const patience = time.Second

// Settle waits until the exchanges of a session that are under way now are over, for a
// second at most, and what has ended is stored.
func Settle(ctx context.Context, s *Service, id string) error {
	l, err := s.find(id)
	if err != nil {
		return err
	}

	l.mu.Lock()
	all := slices.Collect(maps.Keys(l.underway))
	l.mu.Unlock()
	short, cancel := context.WithTimeout(ctx, patience)
	defer cancel()

	for _, c := range all {
		select {
		case <-c.over:
		case <-short.Done():
		}
	}

	return s.Flush(ctx)
}
