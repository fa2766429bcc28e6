package lab

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// sites are the sites of sessions that have their stores open: few at once, the one
// that was used last the longest.
type sites struct {
	service *Service

	// mu guards the places of all sessions. changed is for whoever waits until one is
	// neither being opened nor closed.
	mu      sync.Mutex
	changed *sync.Cond
	open    map[*live]struct{} // opening and closing ones included
	ended   bool
}

// place is where a session has its site.
type place struct {
	state  state
	site   Site
	users  int // requests under way
	last   time.Time
	cancel context.CancelFunc
	done   chan struct{} // Run has returned
}

type state uint8

const (
	closed state = iota
	moving       // being opened or closed
	atWork
)

func newSites(s *Service) *sites {
	all := &sites{
		service: s,
		open:    map[*live]struct{}{},
	}
	all.changed = sync.NewCond(&all.mu)
	return all
}

// acquire makes sure that a session's site is open and stays so until release. The
// error is ErrBusy, ErrNoSession or ErrClosed, or why it cannot be opened.
func (s *sites) acquire(l *live) (release func(), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := &l.place
	for p.state != atWork {
		switch {
		case s.ended:
			return nil, ErrClosed
		case l.expired(s.service.cfg.Now()):
			return nil, ErrNoSession
		case p.state == moving:
			s.changed.Wait()
		case len(s.open) < s.service.cfg.Settings.AtWork:
			if err := s.start(l); err != nil {
				return nil, err
			}

		default:
			if err := s.makeRoom(); err != nil {
				return nil, err
			}
		}
	}

	p.users++
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		p.users--
		p.last = s.service.cfg.Now()
		s.changed.Broadcast()
	}, nil
}

// start opens a site. The caller holds mu, which it gives up meanwhile.
func (s *sites) start(l *live) error {
	p := &l.place
	p.state = moving
	s.open[l] = struct{}{}
	s.mu.Unlock()
	site, err := s.service.openSite(l)
	s.mu.Lock()
	defer s.changed.Broadcast()

	if err != nil {
		p.state = closed
		delete(s.open, l)
		return err
	}

	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		site.Run(ctx)
	}()

	*p = place{
		state:  atWork,
		site:   site,
		last:   s.service.cfg.Now(),
		cancel: cancel,
		done:   done,
	}

	return nil
}

// openSite makes what a session needs and returns its site.
func (s *Service) openSite(l *live) (Site, error) {
	session := l.state()
	dir := s.cfg.dirOf(session)
	identities, err := issuing{s.cfg}.identities(session, dir)
	if err != nil {
		return nil, fmt.Errorf("lab: certificates of a session: %w", err)
	}

	return s.cfg.NewSite(Place{
		Session:    session,
		Public:     session.Base,
		Private:    s.cfg.Private + "/lab/" + session.ID + "/fhir",
		Issuer:     session.Issuer,
		Data:       dir,
		Identities: identities,
		Decided:    l.traces.add,
	})
}

// makeRoom closes the site that nobody has used for longest, or waits for one that is
// being closed. The caller holds mu.
func (s *sites) makeRoom() error {
	var oldest *live
	moves := false
	for l := range s.open {
		p := &l.place
		moves = moves || p.state == moving
		if p.state == atWork && p.users == 0 && (oldest == nil || p.last.Before(oldest.place.last)) {
			oldest = l
		}
	}

	switch {
	case oldest != nil:
		s.stop(oldest)
	case moves:
		s.changed.Wait()
	default:
		return ErrBusy
	}

	return nil
}

// stop closes a site that nobody uses. The caller holds mu, which it gives up
// meanwhile.
func (s *sites) stop(l *live) {
	p := &l.place
	p.state = moving
	s.mu.Unlock()
	p.cancel()
	<-p.done
	if err := p.site.Close(); err != nil {
		s.service.cfg.Log.Error("the stores of a session of the lab could not be closed", "cause", err)
	}

	s.mu.Lock()
	*p = place{}
	delete(s.open, l)
	s.changed.Broadcast()
}

// evict closes the site of a session that gets no further requests.
func (s *sites) evict(l *live) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for l.place.state != closed {
		if l.place.state == atWork && l.place.users == 0 {
			s.stop(l)
			continue
		}
		s.changed.Wait()
	}
}

// closeIdle closes what nobody has used for a while.
func (s *sites) closeIdle(after time.Duration) {
	now := s.service.cfg.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.list() {
		p := &l.place
		if p.state == atWork && p.users == 0 && now.Sub(p.last) > after {
			s.stop(l)
		}
	}
}

// closeAll closes all sites, and keeps further ones from being opened.
func (s *sites) closeAll() {
	s.mu.Lock()
	s.ended = true
	all := s.list()
	s.mu.Unlock()
	for _, l := range all {
		s.evict(l)
	}
}

// list returns the open sites. The caller holds mu.
func (s *sites) list() (all []*live) {
	for l := range s.open {
		all = append(all, l)
	}
	return all
}

// count returns how many sites are open.
func (s *sites) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.open)
}
