package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"fhirdest.example/fhir"
	"fhirdest.example/server/audit"
	"fhirdest.example/server/oauth"
	"fhirdest.example/server/oauth/storetest"
	"fhirdest.example/server/postgres"
	"fhirdest.example/server/postgres/postgrestest"
	"fhirdest.example/udap/trace"
)

// jwt is the use of a JWT that lives five minutes from iat, under a clock skew of one.
func jwt(jti string, iat, now time.Time) oauth.Spend {
	exp := iat.Add(5 * time.Minute)
	return oauth.Spend{
		Community: "urn:a",
		Issuer:    "iss",
		JTI:       jti,
		Since:     iat.Add(-time.Minute),
		Until:     exp.Add(time.Minute),
		Expires:   exp,
		Endpoint:  "token",
		Now:       now,
	}
}

// After the clock of one destination was ahead and was set back nothing can be told
// apart at any of them: that is an alarm. The operator has the present time accepted
// while they run, and what was used before stays used.
//
// Covers: case 098
func TestTrustClockWasAhead(t *testing.T) {
	at := postgrestest.New(t)
	one, two := openAt(t, at), openAt(t, at)
	now := storetest.Start
	used := jwt("used", now, now)
	ahead := now.Add(24 * time.Hour)
	if err := errors.Join(
		one.Spend(t.Context(), used),
		one.Spend(t.Context(), jwt("ahead", ahead, ahead)),
	); err != nil {
		t.Fatal(err)
	}

	later := now.Add(2 * time.Minute)
	for _, s := range []*postgres.Trust{one, two} {
		if err := s.Spend(t.Context(), jwt("a", later, later)); !errors.Is(err, oauth.ErrSwept) {
			t.Errorf("after the clock was set back: %v", err)
		}
		if h := strings.Join(s.Health(), "\n"); !strings.Contains(h, "accept-time") || !strings.Contains(h, "2027-01-16T") {
			t.Errorf("alarms: %q", h)
		}
	}

	until, err := postgres.AcceptTime(t.Context(), postgres.Config{URL: at}, later)
	if err != nil || until.Before(ahead.Add(-2*time.Minute)) {
		t.Fatalf("accepted, until %s: %v", until, err)
	}
	soon := later.Add(time.Minute + time.Second)
	for i, s := range []*postgres.Trust{one, two} {
		if err := s.Spend(t.Context(), used); !errors.Is(err, oauth.ErrRestored) {
			t.Errorf("used before the clock was ahead: %v", err)
		}
		if err := s.Spend(t.Context(), jwt(fmt.Sprint(i), soon, soon)); err != nil || len(s.Health()) > 0 {
			t.Errorf("a new JWT: %v, alarms %q", err, s.Health())
		}
		if err := s.Spend(t.Context(), jwt("ahead", ahead, soon)); !isReplayed(err) {
			t.Errorf("used while the clock was ahead: %v", err)
		}
	}
	if until, err := postgres.AcceptTime(t.Context(), postgres.Config{URL: at}, soon); err != nil || !until.IsZero() {
		t.Errorf("with nothing to accept: %s, %v", until, err)
	}
}

// What is over is removed while requests come, whichever destination they come to, in
// bounded pieces; the count of used jti is that of the rows.
//
// Covers: case 098
func TestTrustSweeps(t *testing.T) {
	at := postgrestest.New(t)
	stores := []*postgres.Trust{openAt(t, at), openAt(t, at)}
	c := oauth.Registration{ID: "c", Community: "urn:a", Client: "https://c.test"}
	if _, _, err := stores[0].Register(t.Context(), storetest.Spend("c"), c); err != nil {
		t.Fatal(err)
	}
	conn := connect(t, at)
	if _, err := conn.Exec(t.Context(), `
		insert into trust.spent select sha256(i::text::bytea), 1, 1, 'x' from generate_series(1, 9000) i;
		update trust.state set spent = spent + 9000`); err != nil {
		t.Fatal(err)
	}

	for i := range 90 {
		now := storetest.Start.Add(time.Duration(i) * time.Minute)
		if _, err := stores[i%2].Issue(t.Context(), jwt(fmt.Sprint(i), now, now), oauth.Token{
			ClientID: "c",
			Expires:  now.Add(time.Hour),
		}); err != nil {
			t.Fatal(err)
		}
	}

	var jti, tokens int
	if err := conn.QueryRow(t.Context(), `select (select count(*) from trust.spent),
		(select count(*) from trust.token)`).Scan(&jti, &tokens); err != nil {
		t.Fatal(err)
	}
	if jti > 12 || tokens > 62 || stores[0].LiveJTI() != jti || stores[1].LiveJTI() != jti {
		t.Errorf("after 90 minutes: %d jti, %d counted, %d tokens", jti, stores[0].LiveJTI(), tokens)
	}
}

// connect returns a connection of the superuser to a database.
func connect(t *testing.T, at string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), at)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

// A row that cannot be what was written harms who needs it, and nobody else.
func TestTrustDamagedRows(t *testing.T) {
	at := postgrestest.New(t)
	s := openAt(t, at)
	for _, name := range []string{"bad", "good"} {
		r := oauth.Registration{
			ID:        trace.ClientID(name),
			Community: "urn:a",
			Client:    trace.ClientURI("https://" + name + ".test"),
		}
		if _, _, err := s.Register(t.Context(), storetest.Spend(name), r); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := connect(t, at).Exec(t.Context(), `update trust.registration
		set body = 'damaged', version = nextval('trust.versions') where client_id = 'bad'`); err != nil {
		t.Fatal(err)
	}

	token := oauth.Token{ClientID: "bad"}
	_, err := s.Client(t.Context(), "bad")
	_, issued := s.Issue(t.Context(), storetest.Spend("issue"), token)
	for _, err := range []error{err, issued} {
		if !errors.Is(err, oauth.ErrDamaged) || !errors.Is(err, fhir.ErrDamaged) ||
			!strings.Contains(err.Error(), "registration") {
			t.Errorf("a damaged registration: %v", err)
		}
	}
	if h := strings.Join(s.Health(), "\n"); !strings.Contains(h, "registration is damaged") {
		t.Errorf("alarms: %q", h)
	}

	token.ClientID = "good"
	if _, err := s.Issue(t.Context(), storetest.Spend("issue"), token); err != nil {
		t.Errorf("another client, with the jti that was refused: %v", err)
	}
}

// Decisions of all destinations are read by each, newest first; each keeps so many.
func TestDecisions(t *testing.T) {
	at := postgrestest.New(t)
	var stores []*postgres.Trust
	for _, name := range []string{"east", "west"} {
		d := &trustDatabase{config: postgres.Config{
			URL:  at,
			Name: name,
		}}
		stores = append(stores, d.second(t))
	}

	save := func(s *postgres.Trust, ids ...string) {
		t.Helper()
		var all []audit.Decision
		for _, id := range ids {
			all = append(all, audit.Decision{
				Authenticated: true,
				Trace:         trace.Trace{ID: id},
			})
		}
		if err := s.SaveDecisions(all); err != nil {
			t.Fatal(err)
		}
	}
	save(stores[0], "e1", "e2")
	save(stores[1], "w1")
	save(stores[0], "e3")

	for _, s := range stores {
		all, err := s.Decisions(3)
		var ids []string
		for _, d := range all {
			ids = append(ids, d.Trace.ID)
		}
		if err != nil || !slices.Equal(ids, []string{"e3", "w1", "e2"}) {
			t.Errorf("decisions %v, %v", ids, err)
		}
		if d, ok, err := s.Decision("w1"); err != nil || !ok || !d.Authenticated {
			t.Errorf("one by its id: %+v, %v, %v", d, ok, err)
		}
		if _, ok, err := s.Decision("none"); err != nil || ok {
			t.Errorf("one that is not there: %v, %v", ok, err)
		}
	}

	many := make([]string, 5_001)
	for i := range many {
		many[i] = fmt.Sprint("m", i)
	}
	save(stores[0], many...)
	all, err := stores[1].Decisions(10_000)
	if err != nil || len(all) != 5_001 { // of west's, one
		t.Errorf("%d decisions are kept, %v", len(all), err)
	}
}
