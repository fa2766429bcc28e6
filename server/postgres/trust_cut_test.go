package postgres_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"fhirdest.example/fhir"
	"fhirdest.example/server/oauth"
	"fhirdest.example/server/oauth/storetest"
	"fhirdest.example/server/people"
	"fhirdest.example/server/postgres"
	"fhirdest.example/server/postgres/local"
	"fhirdest.example/server/postgres/postgrestest"
)

// The connection is cut at each point of a transaction, in either direction. Whatever
// the outcome: what was answered with success is there; what is said to be unknown
// counts as used here; what was refused is free everywhere; and no two destinations
// ever issue a token for one assertion.
//
// Covers: case 131
func TestTrustCutAnywhere(t *testing.T) {
	t.Parallel() // most of it waits
	at := postgrestest.New(t)
	direct := openAt(t, at)
	c, through := postgrestest.NewCutter(t, at)
	s := openAt(t, through)
	if _, _, err := direct.Register(t.Context(), storetest.Spend("register"), oauth.Registration{
		ID:        "c",
		Community: "urn:a",
		Client:    "https://c.test",
	}); err != nil {
		t.Fatal(err)
	}

	token := func(n int) oauth.Token {
		return oauth.Token{
			Hash:     oauth.Hash{byte(n), byte(n >> 8)},
			ClientID: "c",
			Expires:  storetest.Start.Add(time.Hour),
		}
	}
	for n := range 3 { // statements are prepared on each connection
		if _, err := s.Issue(t.Context(), storetest.Spend(fmt.Sprint("warm ", n)), token(n)); err != nil {
			t.Fatal(err)
		}
	}
	c.Arm(0, -1)
	if _, err := s.Issue(t.Context(), storetest.Spend("measured"), token(0)); err != nil {
		t.Fatal(err)
	}
	whole := c.Arm(0, -1)

	outcomes := map[string]int{}
	n := 0
	for direction := range 2 {
		for after := 0; after <= whole[direction]+7; after += 7 {
			n++
			jti := storetest.Spend(fmt.Sprint("cut ", n))
			c.Arm(direction, after)
			h, err := s.Issue(t.Context(), jti, token(n))
			c.Arm(direction, -1)

			here, there := s.Spend(t.Context(), jti), direct.Spend(t.Context(), jti)
			switch {
			case err == nil:
				outcomes["answered"]++
				held, err := direct.Live(t.Context(), h, token(n).Hash)
				if err != nil || held.Token == nil || !isReplayed(here) || !isReplayed(there) {
					t.Errorf("cut %d after %d: a token was answered: %+v, %v, %v", direction, after, held, here, there)
				}

			case errors.Is(err, oauth.ErrUnknown):
				outcomes["unknown"]++
				if !isReplayed(here) || there != nil && !isReplayed(there) || !errors.Is(err, fhir.ErrUnavailable) {
					t.Errorf("cut %d after %d: the outcome is unknown: %v, %v", direction, after, here, there)
				}

			default:
				outcomes["refused"]++
				if here != nil || !isReplayed(there) || !errors.Is(err, fhir.ErrUnavailable) {
					t.Errorf("cut %d after %d: refused with %v: %v, %v", direction, after, err, here, there)
				}
			}
		}
	}

	t.Logf("outcomes of %d cuts: %v", n, outcomes)
	if outcomes["answered"] == 0 || outcomes["unknown"] == 0 {
		t.Errorf("the cuts did not meet each part of a transaction: %v", outcomes)
	}
	if h := s.Health(); len(h) > 0 {
		t.Errorf("alarms when all is well again: %q", h)
	}
}

func isReplayed(err error) bool { return errors.As(err, new(*oauth.Replayed)) }

// openAt opens a store on a database, which is closed at the end.
func openAt(t testing.TB, at string) *postgres.Trust {
	t.Helper()
	d := &trustDatabase{config: postgres.Config{
		URL:  at,
		Name: "one",
	}}
	return d.second(t)
}

// A destination that is cut off while it has the lock holds the others up no longer than
// the server's limits allow, and what it has not committed is undone.
func TestTrustCutOffHolder(t *testing.T) {
	t.Parallel() // most of it waits
	at := postgrestest.New(t)
	direct := openAt(t, at)
	c, through := postgrestest.NewCutter(t, at)
	s := openAt(t, through)
	if err := s.Spend(t.Context(), storetest.Spend("warm")); err != nil {
		t.Fatal(err)
	}

	// The answer to its first round trip never comes.
	release := c.Hold(1)
	t.Cleanup(release)
	lost := make(chan error, 1)
	go func() { lost <- s.Spend(t.Context(), storetest.Spend("lost")) }()
	conn := connect(t, at)
	for holders := 0; holders == 0; {
		if err := conn.QueryRow(t.Context(), `select count(*) from pg_locks
			where locktype = 'advisory' and granted`).Scan(&holders); err != nil {
			t.Fatal(err)
		}
	}

	if err := direct.Spend(t.Context(), storetest.Spend("other")); err != nil {
		t.Errorf("at the other destination: %v", err)
	}
	if err := <-lost; !errors.Is(err, fhir.ErrUnavailable) || errors.Is(err, oauth.ErrUnknown) {
		t.Errorf("cut off before the commit: %v", err)
	}
	release()
	if err := s.Spend(t.Context(), storetest.Spend("lost")); err != nil {
		t.Errorf("sent again, since nothing of it was stored: %v", err)
	}
	if err := direct.Spend(t.Context(), storetest.Spend("lost")); !isReplayed(err) {
		t.Errorf("sent to the other after that: %v", err)
	}
}

// A network that drops packets holds nobody up for ever, and the others not at all:
// each call ends with an error that says that the database cannot be reached, and the
// next one after the network is back succeeds.
func TestTrustNetworkHolds(t *testing.T) {
	t.Parallel() // most of it waits
	at := postgrestest.New(t)
	direct := openAt(t, at)
	c, through := postgrestest.NewCutter(t, at)
	s := openAt(t, through)
	if _, _, err := s.Register(t.Context(), storetest.Spend("warm"), oauth.Registration{
		ID:        "c",
		Community: "urn:a",
		Client:    "https://c.test",
	}); err != nil {
		t.Fatal(err)
	}
	hash := oauth.Hash{1}
	handle, err := s.Issue(t.Context(), storetest.Spend("token"), oauth.Token{ // of others some are refused from memory
		Hash:     hash,
		ClientID: "c",
		Expires:  storetest.Start.Add(time.Hour),
	})
	if err != nil {
		t.Fatal(err)
	}

	release := c.Hold(0, 1)
	t.Cleanup(release)
	var calls sync.WaitGroup
	for name, call := range map[string]func() error{
		"spend":   func() error { return s.Spend(t.Context(), storetest.Spend("held")) },
		"live":    func() error { _, err := s.Live(t.Context(), handle, hash); return err },
		"grants":  func() error { _, err := s.Grants(t.Context(), "person"); return err },
		"session": func() error { _, err := s.People().Session(t.Context(), people.SessionID{}); return err },
	} {
		calls.Go(func() {
			if err := call(); !errors.Is(err, fhir.ErrUnavailable) || errors.Is(err, oauth.ErrUnknown) {
				t.Errorf("%s: %v", name, err)
			}
		})
	}
	if err := direct.Spend(t.Context(), storetest.Spend("other")); err != nil {
		t.Errorf("at the other destination: %v", err)
	}
	calls.Wait()

	release()
	if err := s.Spend(t.Context(), storetest.Spend("afterwards")); err != nil {
		t.Errorf("when the network is back: %v", err)
	}
}

// Without its database a store answers at once that it cannot be reached, and goes on
// with the next request after PostgreSQL was killed and started again.
func TestTrustServerKilled(t *testing.T) {
	t.Parallel() // most of it waits
	server, restart := ownServer(t, serverDirectory(t), local.Options{})
	s := openAt(t, server.URL("postgres"))
	jti := storetest.Spend("before")
	if err := s.Spend(t.Context(), jti); err != nil {
		t.Fatal(err)
	}

	if err := server.Kill(); err != nil && !strings.Contains(err.Error(), "finished") {
		t.Fatal(err)
	}
	// Its processes notice the end of the first one by one.
	for err := s.Spend(t.Context(), jti); !errors.Is(err, fhir.ErrUnavailable); {
		err = s.Spend(t.Context(), jti)
	}
	for name, err := range map[string]error{
		"spend":  s.Spend(t.Context(), storetest.Spend("without")),
		"client": func() error { _, err := s.Client(t.Context(), "c"); return err }(),
		"live":   func() error { _, err := s.Live(t.Context(), oauth.Handle{}, oauth.Hash{}); return err }(),
		"grants": func() error { _, err := s.Grants(t.Context(), "person"); return err }(),
	} {
		if !errors.Is(err, fhir.ErrUnavailable) || errors.Is(err, oauth.ErrUnknown) {
			t.Errorf("%s without a database: %v", name, err)
		}
	}
	if h := s.Health(); len(h) != 1 {
		t.Errorf("alarms without a database: %q", h)
	}

	restart()
	if err := s.Spend(t.Context(), jti); !isReplayed(err) {
		t.Errorf("used before the crash: %v", err)
	}
	if err := s.Spend(t.Context(), storetest.Spend("without")); err != nil {
		t.Errorf("refused while the database was away: %v", err)
	}
	if _, err := s.Grants(t.Context(), "person"); err != nil || len(s.Health()) > 0 {
		t.Errorf("afterwards: %v, alarms %q", err, s.Health())
	}
}

// A session that the server ends during the commit leaves the outcome unknown: the end
// may come before the commit took effect, or after. The JWT counts as used.
func TestTrustEndedDuringCommit(t *testing.T) {
	at := postgrestest.New(t)
	s := openAt(t, at)
	conn := connect(t, at)
	const gate = 77
	if _, err := conn.Exec(t.Context(), fmt.Sprintf(`
		create function trust.wait() returns trigger language plpgsql as
			'begin perform pg_advisory_xact_lock(%[1]d); return null; end';
		create constraint trigger wait after insert on trust.spent
			deferrable initially deferred for each row execute function trust.wait();
		select pg_advisory_lock(%[1]d)`, gate)); err != nil {
		t.Fatal(err)
	}

	jti := storetest.Spend("x")
	outcome := make(chan error, 1)
	go func() { outcome <- s.Spend(t.Context(), jti) }()
	const end = `select count(pg_terminate_backend(pid)) from pg_locks
		where locktype = 'advisory' and objid = $1 and not granted`
	for ended := 0; ended == 0; {
		select {
		case err := <-outcome:
			t.Fatalf("before its session was ended: %v", err)
		default:
		}
		if err := conn.QueryRow(t.Context(), end, gate).Scan(&ended); err != nil {
			t.Fatal(err)
		}
	}

	if err := <-outcome; !errors.Is(err, oauth.ErrUnknown) {
		t.Errorf("a commit whose session was ended: %v", err)
	}
	if _, err := conn.Exec(t.Context(), "select pg_advisory_unlock($1)", gate); err != nil {
		t.Fatal(err)
	}
	if err := s.Spend(t.Context(), jti); !isReplayed(err) {
		t.Errorf("its JWT, again: %v", err)
	}
}
