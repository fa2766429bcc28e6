package fetch

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"
	"time"

	"fhirdest.example/udap"
	"fhirdest.example/udap/trace"
)

// ListStore keeps the last list of each place over restarts, so that none can
// be rolled back and a place that is down at start does no harm. Keys are
// printable and at most a few kilobytes long.
type ListStore interface {
	LoadCRL(key string) (StoredCRL, bool, error)
	SaveCRL(key string, l StoredCRL) error
}

// WatchedStore is a ListStore that several processes share. Its SaveCRL returns ErrOlder
// when another process has kept a list that this one may not follow.
type WatchedStore interface {
	ListStore
	// WatchCRLs calls kept with the key of each list that any process keeps, or with
	// an empty one when it may be any, until ctx ends.
	WatchCRLs(ctx context.Context, kept func(key string)) error
}

// ErrOlder is the error of a WatchedStore for a list that is older than the one it has.
var ErrOlder = errors.New("another process has kept a newer list")

// StoredCRL is a list as it came, and when.
type StoredCRL struct {
	DER     []byte
	Fetched time.Time
}

// MemoryStore is a ListStore that forgets at exit. Its zero value is ready.
type MemoryStore struct {
	mu    sync.Mutex
	lists map[string]StoredCRL
}

// LoadCRL returns what SaveCRL last kept under key.
func (m *MemoryStore) LoadCRL(key string) (StoredCRL, bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	l, ok := m.lists[key]
	return l, ok, nil
}

// SaveCRL keeps a list under key in place of the one before.
func (m *MemoryStore) SaveCRL(key string, l StoredCRL) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.lists == nil {
		m.lists = map[string]StoredCRL{}
	}
	m.lists[key] = l
	return nil
}

func (k key) text() string {
	return hex.EncodeToString(k.issuer[:]) + " " + k.place
}

// stored returns the CRL that an earlier run kept, if it is still genuine. One
// that has expired is kept too: nothing older may follow it. A store that cannot
// be read is an error: to go on without its CRL could roll a revocation back.
func (s *Source) stored(k key, issuer *x509.Certificate) (*x509.RevocationList, time.Time, error) {
	if s.cfg.Store == nil {
		return nil, time.Time{}, nil
	}

	l, ok, err := s.cfg.Store.LoadCRL(k.text())
	if err != nil {
		return nil, time.Time{}, fmt.Errorf("%w: the CRL kept of %s cannot be read: %w", udap.ErrUnavailable,
			k.place, err)
	}
	if !ok {
		return nil, time.Time{}, nil
	}

	list, err := x509.ParseRevocationList(l.DER)
	// Checked as of its own day: one that has expired still is the floor.
	if err != nil || udap.CheckCRL(list, issuer, list.ThisUpdate) != nil {
		return nil, time.Time{}, nil
	}

	return list, l.Fetched, nil
}

// keep stores a list that is about to be used, once. A failure is reported in
// the state, tried again with the next fetch, and does not stop the list from
// counting now.
func (s *Source) keep(e *entry, list *x509.RevocationList) error {
	if s.cfg.Store == nil || e.kept == list {
		return nil
	}
	if err := s.cfg.Store.SaveCRL(e.key.text(), StoredCRL{
		DER:     list.Raw,
		Fetched: s.cfg.Now(),
	}); err != nil {
		return fmt.Errorf("the list was fetched but could not be kept: %w", err)
	}

	e.kept = list
	return nil
}

// adopt puts the list that another process has kept in the place of an older one. An
// empty key: of any place.
func (s *Source) adopt(key string) {
	s.mu.Lock()
	var entries []*entry
	for _, e := range s.entries {
		if key == "" || key == e.key.text() {
			entries = append(entries, e)
		}
	}
	s.mu.Unlock()

	for _, e := range entries {
		list, fetched, err := s.stored(e.key, e.issuer)
		if err != nil || list == nil {
			continue // what is known still counts, and the next fetch reports a store that cannot be read
		}

		s.mu.Lock()
		if e.list == nil || !Older(list, e.list) && !bytes.Equal(list.Raw, e.list.Raw) {
			e.keep(list, fetched)
			e.odd = missingNumber(list)
			s.evict(e)
		}
		s.mu.Unlock()
	}
}

// watch adopts the lists that other processes keep, until ctx ends.
func (s *Source) watch(ctx context.Context) {
	if w, ok := s.cfg.Store.(WatchedStore); ok {
		_ = w.WatchCRLs(ctx, s.adopt) // it ends with ctx
	}
}

// configured are the places whose lists may speak for a community's issuers.
func (s *Source) configured(community trace.CommunityURI) []string {
	var out []string
	for _, c := range s.cfg.Configured {
		if c.Community == "" || c.Community == community {
			out = append(out, c.Place)
		}
	}
	return out
}
