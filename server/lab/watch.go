package lab

import "sync"

// Bounds of watching.
const (
	perSession = 32  // watchers of one session
	ofAll      = 256 // of all sessions
	behind     = 256 // updates that a watcher may be behind
)

// watcher is somebody who sees the updates of a session.
type watcher struct {
	updates chan Update
	close   sync.Once
}

// Watch returns the updates of a session from now on. The channel is closed when the
// session ends, when the service does, and when its reader is too slow: what was
// missed is among Exchanges. The caller must call cancel. It returns ErrBusy when
// there are too many watchers.
//
// To miss nothing, call Watch first and Exchanges after it: what is in both has the
// same number.
func (s *Service) Watch(id string) (updates <-chan Update, cancel func(), err error) {
	l, err := s.find(id)
	if err != nil {
		return nil, nil, err
	}

	w := &watcher{updates: make(chan Update, behind)}
	if err := s.admit(l, w); err != nil {
		return nil, nil, err
	}

	return w.updates, sync.OnceFunc(func() {
		l.mu.Lock()
		l.dropWatcher(w)
		l.mu.Unlock()
		s.left()
	}), nil
}

// admit adds a watcher, if there is room.
func (s *Service) admit(l *live, w *watcher) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()

	switch {
	case s.ended:
		return ErrClosed
	case l.gone:
		return ErrNoSession
	case s.watchers >= ofAll, len(l.watchers) >= perSession:
		return ErrBusy
	}

	s.watchers++
	l.watchers[w] = struct{}{}
	return nil
}

func (s *Service) left() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.watchers--
}

// publish hands an update to all watchers. The caller holds mu.
func (l *live) publish(u Update) {
	for w := range l.watchers {
		select {
		case w.updates <- u:
		default: // it reads again from the store
			l.dropWatcher(w)
		}
	}
}

// dropWatcher ends one watching. The caller holds mu.
func (l *live) dropWatcher(w *watcher) {
	delete(l.watchers, w)
	w.close.Do(func() {
		close(w.updates)
	})
}

// dismiss ends the watching of a session.
func (l *live) dismiss() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for w := range l.watchers {
		l.dropWatcher(w)
	}
}
