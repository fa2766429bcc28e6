package postgres_test

import (
	"context"
	"errors"
	"net/url"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"fhirdest.example/fhir"
	"fhirdest.example/server/oauth"
	"fhirdest.example/server/oauth/storetest"
	"fhirdest.example/server/postgres"
	"fhirdest.example/server/postgres/local"
	"fhirdest.example/server/postgres/postgrestest"
)

// connected connects to a database, past the stores.
func connected(t *testing.T, url string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = conn.Close(context.Background()) // the test may have ended its server
	})
	return conn
}

func executed(t *testing.T, conn *pgx.Conn, statement string, args ...any) {
	t.Helper()
	if _, err := conn.Exec(t.Context(), statement, args...); err != nil {
		t.Fatal(err)
	}
}

// A database that accepts no writes for a while, as one that another server replaces,
// is not available and says why; once it accepts them the next request is served,
// whatever sessions were begun meanwhile.
func TestNoWritesAccepted(t *testing.T) {
	address := postgrestest.New(t)
	c := postgres.Config{
		URL:  address,
		Name: "east",
	}
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	name := strings.Trim(u.Path, "/")
	admin := connected(t, postgrestest.Server(t).URL(local.Account))
	endSessions := func() {
		executed(t, admin, "select pg_terminate_backend(pid, 60000) from pg_stat_activity where datname = $1", name)
	}

	trust := openTrustOf(t, c)
	resources := openFHIR(t, c)
	presence, err := postgres.Appear(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	defer presence.Close()

	executed(t, admin, "alter database "+name+" set default_transaction_read_only = on")
	endSessions()
	if err := trust.Spend(t.Context(), storetest.Spend("a")); !errors.Is(err, fhir.ErrUnavailable) ||
		!strings.Contains(err.Error(), "accepts no writes") {
		t.Errorf("Spend: %v", err)
	}
	if err := putObservation(t, resources, "a", 0); !errors.Is(err, fhir.ErrUnavailable) {
		t.Errorf("Update: %v", err)
	}
	err = presence.Check(t.Context())
	if hinted := (*postgres.Error)(nil); !errors.As(err, &hinted) || !strings.Contains(hinted.Hint, "writes") {
		t.Errorf("Check: %v", err)
	}
	if image, err := postgres.OpenImage(t.Context(), c); err != nil {
		t.Errorf("it cannot be copied: %v", err)
	} else if err := image.Close(); err != nil {
		t.Error(err)
	}

	executed(t, admin, "alter database "+name+" reset default_transaction_read_only")
	if err := trust.Spend(t.Context(), storetest.Spend("a")); err != nil {
		t.Errorf("Spend afterwards: %v", err)
	}
	if err := putObservation(t, resources, "a", 0); err != nil {
		t.Errorf("Update afterwards: %v", err)
	}
	if err := presence.Check(t.Context()); err != nil {
		t.Errorf("Check afterwards: %v", err)
	}
}

// registered registers a client, by a statement that a reader compares.
func registered(t *testing.T, s *postgres.Trust, jti, statement string) {
	t.Helper()
	_, _, err := s.Register(t.Context(), storetest.Spend(jti), oauth.Registration{
		ID:        "client",
		Community: "urn:test",
		Client:    "https://client.test/app",
		Statement: statement,
	})
	if err != nil {
		t.Fatal(err)
	}
}

// A server takes over that lacks the latest changes, and others follow on it under the
// same numbers: what a destination has kept of the former server counts no more.
func TestServerOfEarlierState(t *testing.T) {
	dir := serverDirectory(t)
	server, restart := ownServer(t, dir, local.Options{})
	c := postgres.Config{
		URL:  server.URL("postgres"),
		Name: "east",
	}
	trust, resources := openTrustOf(t, c), openFHIR(t, c)
	registered(t, trust, "1", "first")
	if err := putObservation(t, resources, "a", 0); err != nil {
		t.Fatal(err)
	}
	former := consentLog(t, resources)

	if err := server.Stop(); err != nil {
		t.Fatal(err)
	}
	data, saved := filepath.Join(dir, "data"), filepath.Join(dir, "saved")
	run(t, "cp", "-a", data, saved)
	server = restart()
	registered(t, trust, "2", "lost")
	if err := putObservation(t, resources, "a", 1); err != nil {
		t.Fatal(err)
	}
	if v, err := version(t, resources, "a"); err != nil || v != 2 {
		t.Fatalf("version %d, %v", v, err)
	}
	if r, err := trust.Client(t.Context(), "client"); err != nil || r == nil || r.Statement != "lost" {
		t.Fatalf("%+v, %v", r, err)
	}

	if err := server.Stop(); err != nil {
		t.Fatal(err)
	}
	run(t, "rm", "-r", data)
	run(t, "mv", saved, data)
	restart()
	c.Name = "west"
	other, others := openTrustOf(t, c), openFHIR(t, c)
	registered(t, other, "3", "second")
	if err := putObservation(t, others, "b", 0); err != nil {
		t.Fatal(err)
	}

	r, err := trust.Client(t.Context(), "client")
	if err != nil || r == nil || r.Statement != "second" {
		t.Errorf("the registration is %+v, %v", r, err)
	}
	for id, want := range map[string]uint64{"a": 1, "b": 1} {
		if v, err := version(t, resources, id); err != nil || v != want {
			t.Errorf("Observation/%s has version %d, %v", id, v, err)
		}
	}
	if consentLog(t, resources) == former {
		t.Error("the log of changes is that of the former server")
	}
}

// consentLog returns what identifies the log of changes of Consents.
func consentLog(t *testing.T, s fhir.Store) (log any) {
	t.Helper()
	err := s.View(t.Context(), func(sn fhir.Snapshot) error {
		_, log = sn.(fhir.Dated).LastChange(t.Context(), "Consent")
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return log
}

func run(t *testing.T, name string, args ...string) {
	t.Helper()
	if text, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v: %s", name, err, text)
	}
}

// Who may open more connections than the database accepts is warned, and the others that
// run count; so is who uses one that may lose what it has confirmed.
func TestServerWarnings(t *testing.T) {
	server, _ := ownServer(t, serverDirectory(t), local.Options{})
	c := postgres.Config{
		URL:         server.URL("postgres"),
		Name:        "east",
		Connections: 50,
	}
	if list := c.ServerWarnings(t.Context()); len(list) > 0 {
		t.Errorf("one alone: %q", list)
	}

	other := c
	other.Name = "west"
	presence, err := postgres.Appear(t.Context(), other)
	if err != nil {
		t.Fatal(err)
	}
	defer presence.Close()
	list := c.ServerWarnings(t.Context())
	if len(list) != 1 || !strings.Contains(list[0], "2 destinations may open 308") {
		t.Errorf("with another one: %q", list)
	}

	c.Connections = 1
	admin := connected(t, c.URL)
	name := "full_page_writes" // which, unlike others, a server that runs accepts anew
	executed(t, admin, "alter system set "+name+" = off")
	executed(t, admin, "select pg_reload_conf()")
	for list = nil; len(list) == 0 && t.Context().Err() == nil; { // its first process reads the file when it can
		list = c.ServerWarnings(t.Context())
	}
	if len(list) != 1 || !strings.HasPrefix(list[0], name+" is off") {
		t.Errorf("with %s off: %q", name, list)
	}
	c.URL = postgrestest.New(t) // of a server for tests: nothing waits for the disk
	if list := strings.Join(c.ServerWarnings(t.Context()), "; "); !strings.Contains(list, "fsync is off") ||
		!strings.Contains(list, "synchronous_commit is off") {
		t.Errorf("a server that waits for no disk: %q", list)
	}
}

// A server that has no connection left for a destination says so at its start, with the
// settings to change.
func TestTooManyConnections(t *testing.T) {
	server, _ := ownServer(t, serverDirectory(t), local.Options{
		Settings: []string{"max_connections=12", "superuser_reserved_connections=1", "max_wal_senders=0"},
	})
	executed(t, connected(t, server.URL("postgres")), "create role destination login")
	at := strings.Replace(server.URL("postgres"), "postgres://postgres@", "postgres://destination@", 1)
	for {
		conn, err := pgx.Connect(t.Context(), at)
		if err != nil {
			break
		}
		t.Cleanup(func() { _ = conn.Close(context.Background()) }) // its server ends, too
	}

	_, err := postgres.Appear(t.Context(), postgres.Config{
		URL:  at,
		Name: "east",
	})
	hinted := (*postgres.Error)(nil)
	if !errors.As(err, &hinted) || !strings.Contains(hinted.Hint, "max_connections") ||
		!strings.Contains(hinted.Hint, "postgres.connections") {
		t.Errorf("%v", err)
	}
}
