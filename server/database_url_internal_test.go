package server

import (
	"testing"

	"github.com/jackc/pgx/v5"
)

// The directory of a database's socket may have any name: PostgreSQL's URLs are decoded
// without taking a plus sign for a space.
func TestNameOfADatabaseSocket(t *testing.T) {
	for query, want := range map[string]string{
		"/run/postgresql":      "/run/postgresql",
		"/a%20b%2Bc%25d%26e=f": "/a b+c%d&e=f",
		"/a+b":                 "/a+b",
	} {
		t.Run(query, func(t *testing.T) {
			c := storage{Config{
				Dir:  "/etc",
				Data: "postgres://a@/b?host=" + query,
			}}
			got, err := pgx.ParseConfig(c.databaseURL())
			if err != nil {
				t.Fatal(err)
			}
			if got.Host != want {
				t.Errorf("%q, not %q", got.Host, want)
			}
		})
	}
}
