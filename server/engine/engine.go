// Package engine opens the stores of a site: Bolt files of a data directory, or schemas
// of a PostgreSQL database that several destinations share. It alone knows which engine
// there is; its callers know the interfaces.
package engine

import (
	"context"
	"crypto/rand"
	"errors"
	"time"

	"fhirdest.example/fhir"
	"fhirdest.example/fhir/async"
	"fhirdest.example/fhir/trail"
	"fhirdest.example/server/audit"
	"fhirdest.example/server/bolt"
	"fhirdest.example/server/lab"
	"fhirdest.example/server/oauth"
	"fhirdest.example/server/people"
	"fhirdest.example/server/postgres"
	"fhirdest.example/server/tiered"
	"fhirdest.example/udap/fetch"
)

// Trust is the store of registrations, tokens, used jti, CRLs and decisions.
type Trust interface {
	oauth.Store
	fetch.ListStore
	audit.Store
	// Expiring calls visit with the registrations whose certificates expire
	// before a time, the earliest first, until it returns false; CountExpiring
	// counts them without reading them.
	Expiring(ctx context.Context, before time.Time, visit func(*oauth.Registration) bool) error
	CountExpiring(ctx context.Context, before time.Time) (int, error)
	// People returns the store of sessions and remembered decisions.
	People() people.Store
	// LiveJTI returns how many used jti are remembered.
	LiveJTI() int
	// Health returns what an operator must know of the store, as sentences.
	Health() []string
	Close() error
}

// Resources is the store of resources and of the audit record.
type Resources interface {
	fhir.Store
	// VerifyAudit verifies the audit record as it is now; see trail.Verify.
	VerifyAudit(ctx context.Context, earlier trail.Checkpoint) (*trail.Report, error)
	Health() []string
	Close() error
}

// Jobs is the store of the work in the background.
type Jobs interface {
	async.Store
	Health() []string
}

// Stores are those of a site; nil when they could not be opened.
type Stores struct {
	Trust     Trust
	Resources Resources
	Jobs      Jobs
	Trips     tiered.Store // a part of Trust
	Lab       lab.Store    // nil: there is no lab

	presence *postgres.Presence // nil: the stores are files
}

// Close closes what is open.
func (s Stores) Close() error {
	var errs []error
	if s.Trust != nil {
		errs = append(errs, s.Trust.Close())
	}
	if s.Resources != nil {
		errs = append(errs, s.Resources.Close())
	}
	if s.Jobs != nil {
		errs = append(errs, s.Jobs.Close())
	}
	if s.Lab != nil {
		errs = append(errs, s.Lab.Close())
	}
	if s.presence != nil {
		errs = append(errs, s.presence.Close())
	}

	return errors.Join(errs...)
}

// Health returns what an operator must know of the stores, as sentences.
func (s Stores) Health() []string {
	var all []string
	all = append(all, s.Trust.Health()...)
	all = append(all, s.Resources.Health()...)
	all = append(all, s.Jobs.Health()...)
	if s.Lab != nil {
		all = append(all, s.Lab.Health()...)
	}
	if s.presence != nil {
		all = append(all, s.presence.Health()...)
	}
	return all
}

// Pools returns how the connections of each store to a database are used; none with
// files.
func (s Stores) Pools() []postgres.Pool {
	if s.presence == nil {
		return nil
	}
	return []postgres.Pool{postgres.PoolOf(s.Trust), postgres.PoolOf(s.Resources), postgres.PoolOf(s.Jobs)}
}

// Secret returns 32 random bytes that all destinations on a database have under a name;
// nil with files.
func (s Stores) Secret(ctx context.Context, name string) ([]byte, error) {
	shared, ok := s.Trust.(*postgres.Trust)
	if !ok {
		return nil, nil
	}

	propose := make([]byte, 32)
	_, _ = rand.Read(propose) // never fails (Go 1.24)
	return shared.Shared().Swap(ctx, name, nil, propose)
}

// Reach reports why the stores cannot be reached at this moment; nil when they can.
// Files that are open can be.
func (s Stores) Reach(ctx context.Context) error {
	if s.presence == nil {
		return nil
	}
	return s.presence.Check(ctx)
}

// Await has stores that could not be reached try again, for at most two seconds.
func (s Stores) Await(ctx context.Context) {
	if s.presence != nil {
		s.presence.Await(ctx)
	}
}

// Watch returns when ctx ends, with nil, or when the destination must end because
// another one has its name on the database. It calls changed with why the stores cannot
// be used when that begins, and with nil at its end.
func (s Stores) Watch(ctx context.Context, changed func(error)) error {
	if s.presence == nil {
		<-ctx.Done()
		return nil
	}
	return s.presence.Watch(ctx, changed)
}

// Settings are where the stores are.
type Settings struct {
	Data     string          // directory of the Bolt files
	Database postgres.Config // without a URL: there is none, and Data counts
	Lab      string          // directory of the lab's file; empty: there is no lab
}

// Engine opens the stores of a site.
type Engine interface {
	// Open opens all stores, and makes what does not exist. What was opened is
	// returned with an error, too.
	Open(ctx context.Context) (Stores, error)

	// OpenResources is Open for the resources alone, of a destination that does
	// not run.
	OpenResources(ctx context.Context) (Stores, error)

	// Probe finds out whether Open would succeed, and makes nothing. It reports
	// whether a destination with these stores runs, which is no error.
	Probe(ctx context.Context) (running bool, err error)

	// VerifyAudit verifies the audit record of a destination that does not run,
	// else its error is one that HeldOpen knows.
	VerifyAudit(ctx context.Context, earlier trail.Checkpoint) (*trail.Report, error)

	// Backup makes a backup, and verifies it.
	Backup(ctx context.Context, m Move) (*bolt.Backup, error)

	// Restore puts a backup in the place of what the stores have, of a destination
	// that does not run. It returns under what names that is kept.
	Restore(ctx context.Context, m Move) (replaced []string, err error)

	// AcceptTime has a destination that does not run go on from now, after the clock
	// was ahead and was set back: see bolt.AcceptTime.
	AcceptTime(ctx context.Context, now time.Time) (until time.Time, err error)
}

// Of returns the engine that the settings ask for.
func Of(s Settings) Engine {
	if s.Database.URL != "" {
		return database{s}
	}
	return files{s}
}

// HeldOpen reports whether an error is that another process has the store open.
func HeldOpen(err error) bool {
	return errors.Is(err, bolt.ErrInUse) || errors.Is(err, postgres.ErrNameTaken)
}

// HintOf returns what to do about the error of a store; empty when it has no hint.
func HintOf(err error) string {
	if e := (*bolt.Error)(nil); errors.As(err, &e) {
		return e.Hint
	}
	if e := (*postgres.Error)(nil); errors.As(err, &e) {
		return e.Hint
	}
	return ""
}
