package postgres_test

import (
	"strings"
	"testing"

	"fhirdest.example/server/postgres"
)

// A configuration with which a destination must not start is refused with the reason,
// and never with the password that it has.
func TestConfigurationIsRefused(t *testing.T) {
	const host = "postgres://a@db.example.org/b?sslmode=verify-full"
	for _, row := range []struct {
		url, name   string
		connections int
		want        string // in the error; empty: nothing is wrong
	}{
		{host, "east", 0, ""},
		{"postgres://a@127.0.0.1/b", "east", 0, ""},
		{"postgres://a@/b?host=/run/postgresql", "east", 0, ""},
		{"postgres://a:secret1@db.example.org/b?sslmode=verify-full", "east", 0, "has a password"},
		{host + "&password=secret1", "east", 0, "has a password"},
		{"postgres://a@localhost:port/b", "east", 0, "cannot be parsed"},
		{"postgres://a@db.example.org/b", "east", 0, "has no sslmode"},
		{"postgres://a@localhost,db.example.org/b", "east", 0, "has no sslmode"},
		{host, "", 0, "the name of this destination"},
		{host, "-east", 0, "the name of this destination"},
		{host, "the east", 0, "the name of this destination"},
		{host, strings.Repeat("e", 51), 0, "the name of this destination"},
		{host, strings.Repeat("e", 50), 0, ""},
		{host, "east", -1, "number of connections"},
	} {
		err := postgres.Config{
			URL:         row.url,
			Name:        row.name,
			Connections: row.connections,
		}.Validate()
		switch {
		case row.want == "":
			if err != nil {
				t.Errorf("%s, %q: %v", row.url, row.name, err)
			}
		case err == nil || !strings.Contains(err.Error(), row.want) || strings.Contains(err.Error(), "secret1"):
			t.Errorf("%s, %q: %v, want %q", row.url, row.name, err, row.want)
		}
	}
}

// A database on another machine that is not reached by verified TLS is a warning.
func TestConfigurationWarnsOfTLS(t *testing.T) {
	for url, want := range map[string]string{
		"postgres://a@db.example.org/b?sslmode=disable":     "without TLS",
		"postgres://a@db.example.org/b?sslmode=prefer":      "without TLS",
		"postgres://a@db.example.org/b?sslmode=require":     "not compared",
		"postgres://a@db.example.org/b?sslmode=verify-full": "",
		"postgres://a@127.0.0.1/b?sslmode=disable":          "",
	} {
		got := strings.Join(postgres.Config{URL: url}.Warnings(), "\n")
		if (got == "") != (want == "") || !strings.Contains(got, want) {
			t.Errorf("%s: %q, want %q", url, got, want)
		}
	}
}
