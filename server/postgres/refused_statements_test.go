package postgres_test

import (
	"errors"
	"fmt"
	"testing"

	"fhirdest.example/fhir"
	"fhirdest.example/server/oauth"
	"fhirdest.example/server/oauth/storetest"
	"fhirdest.example/server/postgres/postgrestest"
)

// Whatever a server refuses a statement or a commit for, the store is not available,
// nothing was done, and the next request after that is served.
func TestServerRefuses(t *testing.T) {
	at := postgrestest.New(t)
	s := openAt(t, at)
	admin := connect(t, at)
	executed(t, admin, `create function trust.refuse() returns trigger language plpgsql as
		'begin raise exception using errcode = tg_argv[0]; end'`)

	for _, when := range []string{"not deferrable", "deferrable initially deferred"} {
		for code, what := range map[string]string{
			"53100": "the disk is full",
			"53200": "out of memory",
			"55P03": "a lock was not free in time",
			"57014": "the statement was cancelled",
			"25006": "it is read-only after a failover",
			"58030": "input or output failed",
			"XX001": "a page is damaged",
		} {
			t.Run(what+", "+when, func(t *testing.T) {
				jti := storetest.Spend(t.Name())
				executed(t, admin, fmt.Sprintf(`create constraint trigger refuse after insert on trust.spent %s
					for each row execute function trust.refuse('%s')`, when, code))
				if err := s.Spend(t.Context(), jti); !errors.Is(err, fhir.ErrUnavailable) ||
					errors.Is(err, oauth.ErrUnknown) {
					t.Errorf("%v", err)
				}
				executed(t, admin, "drop trigger refuse on trust.spent")
				if err := s.Spend(t.Context(), jti); err != nil {
					t.Errorf("afterwards: %v", err)
				}
				if err := s.Spend(t.Context(), jti); !isReplayed(err) {
					t.Errorf("once more: %v", err)
				}
			})
		}
	}
}

// Sessions that the server ends, because it is shut down or an administrator ends them,
// are replaced: no request fails for those that were idle.
func TestSessionsEnded(t *testing.T) {
	at := postgrestest.New(t)
	s := openAt(t, at)
	admin := connect(t, at)
	for n := range 5 {
		jti := storetest.Spend(fmt.Sprint(n))
		if err := s.Spend(t.Context(), jti); err != nil {
			t.Fatal(err)
		}
		executed(t, admin, `select pg_terminate_backend(pid, 60000) from pg_stat_activity
			where datname = current_database() and pid <> pg_backend_pid()`)
		if err := s.Spend(t.Context(), jti); !isReplayed(err) {
			t.Errorf("after the sessions were ended: %v", err)
		}
	}
}

// Whoever waits too long for another destination that has the lock is refused, and
// nothing of it is done; the lock free again, it is served.
func TestLockTimeout(t *testing.T) {
	t.Parallel() // most of it waits
	at := postgrestest.New(t)
	s := openAt(t, at)
	holder := connect(t, at)
	const lock = 0x7472757374
	executed(t, holder, "select pg_advisory_lock($1)", int64(lock))
	jti := storetest.Spend("waits")
	if err := s.Spend(t.Context(), jti); !errors.Is(err, fhir.ErrUnavailable) || errors.Is(err, oauth.ErrUnknown) {
		t.Errorf("while another has the lock: %v", err)
	}
	executed(t, holder, "select pg_advisory_unlock($1)", int64(lock))
	if err := s.Spend(t.Context(), jti); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}
