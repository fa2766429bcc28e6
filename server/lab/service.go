package lab

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"fhirdest.example/server/rate"
	"fhirdest.example/udap/conform"
)

// Service has the sessions of a destination. Its methods may be called at once from
// different goroutines.
type Service struct {
	cfg       Config
	bases     bases
	inbox     *inbox
	sites     *sites
	plainRate *rate.Limiter
	own       pendingTraces // of the destination itself

	mu       sync.Mutex
	sessions map[string]*live
	ended    bool
	watchers int // of all sessions
}

// New returns the lab of a destination, with the sessions that its store has.
// Directories of sessions that are gone are removed.
func New(cfg Config) (*Service, error) {
	if cfg.Now == nil || cfg.Log == nil || cfg.Store == nil {
		return nil, errors.New("lab: no clock, no log or no store")
	}

	cfg.Settings = cfg.Settings.WithDefaults()
	dir, err := filepath.Abs(cfg.Dir)
	if err != nil {
		return nil, err
	}

	cfg.Dir = dir
	s := &Service{
		cfg:       cfg,
		bases:     newBases(cfg),
		inbox:     newInbox(),
		plainRate: rate.New(plainPerMinute),
		sessions:  map[string]*live{},
	}
	s.sites = newSites(s)
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, err
	}

	stored, err := cfg.Store.Sessions(context.Background())
	if err != nil {
		return nil, err
	}

	for _, known := range stored {
		s.sessions[known.ID] = s.revive(known)
	}
	if err := s.plain(); err != nil {
		return nil, err
	}

	return s, s.sweep()
}

// plain makes or removes the session of the destination's own base.
func (s *Service) plain() error {
	ctx := context.Background()
	known := s.sessions[Plain]
	switch {
	case !s.cfg.Settings.Plain && known != nil:
		delete(s.sessions, Plain)
		return s.cfg.Store.Remove(ctx, Plain)

	case !s.cfg.Settings.Plain:
		return nil

	case known != nil:
		known.session.Base, known.session.Issuer = s.cfg.Plain, s.cfg.Own
		return s.cfg.Store.Update(ctx, known.session)
	}

	session := Session{
		ID:      Plain,
		Name:    "whoever uses the plain base URL",
		Base:    s.cfg.Plain,
		Issuer:  s.cfg.Own,
		Page:    s.cfg.Public + "/lab/" + Plain + "/",
		Mode:    Strict,
		Created: s.cfg.Now(),
	}
	s.sessions[Plain] = s.revive(session)

	return s.cfg.Store.Create(ctx, session, s.room())
}

// room is how many sessions the store may have.
func (s *Service) room() int {
	if s.cfg.Settings.Plain {
		return s.cfg.Settings.Sessions + 1
	}
	return s.cfg.Settings.Sessions
}

// sweep removes the directories of no session.
func (s *Service) sweep() error {
	entries, err := os.ReadDir(s.cfg.Dir)
	if err != nil {
		return err
	}

	var errs []error
	for _, e := range entries {
		if s.sessions[e.Name()] == nil {
			errs = append(errs, os.RemoveAll(filepath.Join(s.cfg.Dir, e.Name())))
		}
	}

	return errors.Join(errs...)
}

// Settings returns the settings, with defaults.
func (s *Service) Settings() Settings { return s.cfg.Settings }

// Issuers returns the authorities that issue certificates for sessions.
func (s *Service) Issuers() []Issuer { return s.cfg.Issuers }

// Open opens a session, ready to be used. It returns a *RequestError, or ErrFull when
// there are too many: even without those that have expired, and without one to which
// nothing came for an hour, or, if it was used before, for twelve.
func (s *Service) Open(ctx context.Context, req OpenRequest) (Session, error) {
	if err := req.check(); err != nil {
		return Session{}, err
	}
	if err := (Faults{s}).check(req.Faults); err != nil {
		return Session{}, err
	}

	s.expire(ctx)
	id := newID()
	now := s.cfg.Now()
	session := Session{
		ID:      id,
		Name:    req.Name,
		Base:    s.cfg.Public + "/lab/" + id + "/fhir",
		Issuer:  s.cfg.Public + "/lab/" + id + "/oauth",
		Page:    s.cfg.Public + "/lab/" + id + "/",
		Profile: req.Profile,
		Mode:    cmp.Or(req.Mode, Strict),
		Faults:  req.Faults,
		Created: now,
		Expires: now.Add(s.cfg.Settings.Keep),
	}
	err := s.cfg.Store.Create(ctx, session, s.room())
	if errors.Is(err, ErrFull) && s.makeRoom(ctx) {
		err = s.cfg.Store.Create(ctx, session, s.room())
	}
	if err != nil {
		return Session{}, err
	}

	l := s.revive(session)
	s.mu.Lock()
	s.sessions[id] = l
	s.mu.Unlock()

	release, err := s.sites.acquire(l) // what is wrong with it is known at once
	if err != nil {
		return Session{}, errors.Join(err, s.Close(ctx, id))
	}

	release()
	return session, nil
}

// After how long a session gives its place to another.
const (
	unused    = time.Hour      // to which nothing ever came
	abandoned = 12 * time.Hour // to which nothing came any more
)

// makeRoom removes the oldest session that was never used, or else the one to which
// nothing came for the longest time. It reports whether there was one.
func (s *Service) makeRoom(ctx context.Context) bool {
	gone := s.quietest(unused, func(found Session) bool { return found.Counts == Counts{} })
	if gone == "" {
		gone = s.quietest(abandoned, func(Session) bool { return true })
	}
	return gone != "" && s.Close(ctx, gone) == nil
}

// quietest returns the id of the session to which nothing came for the longest time, and
// for more than a least one; empty if there is none.
func (s *Service) quietest(least time.Duration, fits func(Session) bool) (id string) {
	now := s.cfg.Now()
	for _, session := range s.Sessions() {
		if quiet := session.quiet(now); session.ID != Plain && quiet > least && fits(session) {
			id, least = session.ID, quiet
		}
	}
	return id
}

func newID() string {
	var id [16]byte
	_, _ = rand.Read(id[:]) // crypto/rand.Read never fails (Go 1.24)
	return hex.EncodeToString(id[:])
}

// check returns a *RequestError, or nil.
func (r OpenRequest) check() error {
	switch {
	case len(r.Name) > MaxName || !utf8.ValidString(r.Name) || strings.ContainsFunc(r.Name, unicode.IsControl):
		return &RequestError{
			Member: "name",
			Text:   "a name has at most 100 bytes of printable text",
		}

	case r.Profile != "" && !slices.Contains(Profiles, r.Profile):
		return &RequestError{
			Member: "profile",
			Text:   "the profiles are " + strings.Join(Profiles, ", "),
		}

	case r.Mode != "" && r.Mode != Strict && r.Mode != Observe:
		return &RequestError{
			Member: "mode",
			Text:   "the modes are strict and observe",
		}
	}

	return nil
}

// Load returns how many sessions there are, how many have their stores open, and how
// many exchanges wait to be stored.
func (s *Service) Load() (sessions, open, waiting int) {
	return len(s.all()), s.sites.count(), s.inbox.count()
}

// Session returns a session, or ErrNoSession.
func (s *Service) Session(id string) (Session, error) {
	l, err := s.find(id)
	if err != nil {
		return Session{}, err
	}
	return l.state(), nil
}

// Sessions returns all sessions, the newest first; the plain one is the last.
func (s *Service) Sessions() []Session {
	var all []Session
	for _, l := range s.all() {
		all = append(all, l.state())
	}

	slices.SortFunc(all, func(a, b Session) int {
		return cmp.Or(
			cmp.Compare(len(b.ID), len(a.ID)),
			b.Created.Compare(a.Created),
			cmp.Compare(a.ID, b.ID),
		)
	})

	return all
}

// find returns a session that has not expired.
func (s *Service) find(id string) (*live, error) {
	s.mu.Lock()
	l := s.sessions[id]
	s.mu.Unlock()
	if l == nil || l.expired(s.cfg.Now()) {
		return nil, ErrNoSession
	}
	return l, nil
}

// Close removes a session with all that it kept. Of the plain session the exchanges
// alone are removed.
func (s *Service) Close(ctx context.Context, id string) error {
	s.mu.Lock()
	l := s.sessions[id]
	s.mu.Unlock()

	switch {
	case l == nil:
		return ErrNoSession
	case id == Plain:
		return s.Clear(ctx, id)
	}

	l.end()
	s.sites.evict(l)

	err := s.cfg.Store.Remove(ctx, id)
	if err == nil {
		err = os.RemoveAll(filepath.Join(s.cfg.Dir, id))
	}
	if err != nil {
		return err
	}

	s.mu.Lock()
	delete(s.sessions, id)
	s.mu.Unlock()
	return nil
}

// Clear removes the exchanges of a session, so that a new run begins. Registrations
// and tokens at the session stay.
func (s *Service) Clear(ctx context.Context, id string) error {
	l, err := s.find(id)
	if err != nil {
		return err
	}
	if err := s.Flush(ctx); err != nil {
		return err
	}
	return l.clear(ctx)
}

// Exchanges returns at most n exchanges of a session from a number on, in order, with
// what is found about each.
func (s *Service) Exchanges(ctx context.Context, id string, from uint64, n int) ([]*Kept, error) {
	l, err := s.find(id)
	if err != nil {
		return nil, err
	}

	found, err := s.cfg.Store.Exchanges(ctx, id, from, n)
	if err != nil {
		return nil, err
	}
	return l.assessed(ctx, found)
}

// Exchange returns one exchange, or ErrNoExchange.
func (s *Service) Exchange(ctx context.Context, id string, n uint64) (*Kept, error) {
	found, err := s.Exchanges(ctx, id, n, 1)
	switch {
	case err != nil:
		return nil, err
	case len(found) == 0 || found[0].N != n:
		return nil, ErrNoExchange
	}
	return found[0], nil
}

// Outcomes returns what is known about each requirement on a client.
func (s *Service) Outcomes(ctx context.Context, id string) ([]conform.Outcome, error) {
	l, err := s.find(id)
	if err != nil {
		return nil, err
	}
	return l.rows(ctx)
}

// SetFault replaces the deliberate faults of a session; no names: there are none. It
// returns a *RequestError for a name that is not known.
func (s *Service) SetFault(ctx context.Context, id string, names []string) error {
	l, err := s.find(id)
	if err != nil {
		return err
	}
	if id == Plain && len(names) > 0 {
		return &RequestError{
			Member: "faults",
			Text:   "the plain session answers as the destination does: open a session for faults",
		}
	}
	if err := (Faults{s}).check(names); err != nil {
		return err
	}

	return l.change(ctx, func(session *Session) {
		session.Faults = slices.Clone(names)
	})
}

// Report returns a report that PutReport kept; nil when there is none of that name.
func (s *Service) Report(ctx context.Context, id, name string) ([]byte, error) {
	if _, err := s.find(id); err != nil {
		return nil, err
	}
	return s.cfg.Store.Report(ctx, id, name)
}

// PutReport keeps a report of a session, at most 4 MiB.
func (s *Service) PutReport(ctx context.Context, id, name string, report []byte) error {
	if _, err := s.find(id); err != nil {
		return err
	}
	if len(report) > 4<<20 || len(name) > MaxName {
		return &RequestError{
			Member: "report",
			Text:   "a report has at most 4 MiB, and its name 100 bytes",
		}
	}
	return s.cfg.Store.PutReport(ctx, id, name, report)
}

// expire removes the sessions that have expired.
func (s *Service) expire(ctx context.Context) {
	now := s.cfg.Now()
	for _, l := range s.all() {
		if !l.expired(now) {
			continue
		}

		id := l.state().ID
		if err := s.Close(ctx, id); err != nil {
			s.cfg.Log.Error("a session of the lab could not be removed", "session", id[:8], "cause", err)
		}
	}
}

// idle is after how long without a request a session's stores are closed, and what is
// remembered of its exchanges in memory is given up.
const idle = 10 * time.Minute

// Run stores what is captured and removes what has expired, until ctx ends; then it
// closes all.
func (s *Service) Run(ctx context.Context) {
	var work sync.WaitGroup
	work.Go(func() { s.record(ctx) })

	tick := time.NewTicker(time.Minute)
	defer tick.Stop()
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-tick.C:
			s.expire(ctx)
			s.sites.closeIdle(idle)
			s.forgetIdle()
		}
	}

	work.Wait()
	s.sites.closeAll()
}

// Stop ends all watching, so that answers that last come to an end. It is called
// before the listeners are drained.
func (s *Service) Stop() {
	s.mu.Lock()
	s.ended = true
	s.mu.Unlock()
	for _, l := range s.all() {
		l.dismiss()
	}
}
