package postgres

import (
	"context"
	"sync"

	"github.com/jackc/pgx/v5"
)

// leading is the first key of the advisory locks of those who lead.
const leading = 0x66686974

// leads are what this process does for all destinations on the database, or would do.
// Each has a connection of its own, whose session holds an advisory lock while it
// leads: the server frees it when the process ends, and some ten seconds after it was
// cut off (see sessionLimits).
type leads struct {
	mu    sync.Mutex
	names map[string]*lead
}

type lead struct {
	conn *pgx.Conn
	held bool
}

// Lead reports whether this process, of all that share the database, is the one that
// does what a name names. It remains so while the process and its connection live; what
// is done at the moment in which the connection is lost may be done by another, too.
func (s *FHIR) Lead(ctx context.Context, name string) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, roundTrip)
	defer cancel()
	s.leads.mu.Lock()
	defer s.leads.mu.Unlock()

	l := s.leads.names[name]
	if l == nil {
		conn, err := pgx.ConnectConfig(ctx, s.db.pool.Config().ConnConfig)
		if err != nil {
			return false, storeError(err)
		}
		l = &lead{conn: conn}
		if s.leads.names == nil {
			s.leads.names = map[string]*lead{}
		}
		s.leads.names[name] = l
	}

	err := l.try(ctx, name)
	if err != nil {
		s.leads.drop(name)
	}
	return l.held && err == nil, storeError(err)
}

// try finds out whether the session holds the lock, and gets it if it is free.
func (l *lead) try(ctx context.Context, name string) error {
	if l.held {
		return l.conn.Ping(ctx)
	}
	return l.conn.QueryRow(ctx, "select pg_try_advisory_lock($1, hashtext($2))", leading, name).Scan(&l.held)
}

func (s *leads) drop(name string) {
	ctx, cancel := context.WithTimeout(context.Background(), connectTimeout)
	defer cancel()
	_ = s.names[name].conn.Close(ctx) // the server frees the lock either way
	delete(s.names, name)
}

func (s *leads) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name := range s.names {
		s.drop(name)
	}
}
