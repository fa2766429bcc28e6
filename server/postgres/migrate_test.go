package postgres_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"fhirdest.example/server/postgres"
	"fhirdest.example/server/postgres/postgrestest"
)

func TestMain(m *testing.M) { postgrestest.Main(m) }

// Migrate makes the schemas of an empty database once, and leaves one of a later
// program as it is.
func TestMigrate(t *testing.T) {
	c := postgres.Config{URL: postgrestest.Empty(t)}
	for _, from := range []int{0, 1} {
		done, err := postgres.Migrate(t.Context(), c)
		if err != nil || len(done) != 3 {
			t.Fatalf("%v, %v", done, err)
		}
		for _, m := range done {
			if m.From != min(from, m.To) && from == 0 || m.To < 1 || from == 1 && m.From != m.To {
				t.Errorf("%+v", m)
			}
		}
	}

	conn, err := pgx.Connect(t.Context(), c.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	if _, err := conn.Exec(t.Context(), "update fhir.version set version = 1000"); err != nil {
		t.Fatal(err)
	}
	_, err = postgres.Migrate(t.Context(), c)
	if hinted := (*postgres.Error)(nil); !errors.As(err, &hinted) || !strings.Contains(err.Error(), "version 1000") {
		t.Errorf("a schema of a later program: %v", err)
	}
}

// A password in the URL is refused, and is not in the error.
func TestPasswordInURL(t *testing.T) {
	for _, u := range []string{
		"postgres://a:secret1@localhost/b",
		"postgres://a@localhost/b?password=secret1",
		"postgres://a:secret1@localhost:port/b",
	} {
		_, err := postgres.Migrate(t.Context(), postgres.Config{URL: u})
		if err == nil || strings.Contains(err.Error(), "secret1") {
			t.Errorf("%s: %v", u, err)
		}
	}
}
