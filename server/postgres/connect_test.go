package postgres_test

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"fhirdest.example/certs"
	"fhirdest.example/server/postgres"
	"fhirdest.example/server/postgres/local"
	"fhirdest.example/udap/udaptest"
)

// serverDirectory returns a directory that PostgreSQL's account can reach, and removes
// it at the end.
func serverDirectory(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "pg")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// ownServer starts a server of the test's own, with the schemas in the database
// postgres, and returns how it is started again.
func ownServer(t *testing.T, dir string, o local.Options) (server *local.Server, restart func() *local.Server) {
	t.Helper()
	o.Durable = true
	start := func() *local.Server {
		s, err := local.Start(context.Background(), dir, o)
		for err != nil && strings.Contains(err.Error(), "still in use") { // by one that was killed
			s, err = local.Start(context.Background(), dir, o)
		}
		if err != nil {
			t.Fatal(err)
		}
		return s
	}

	running := start()
	t.Cleanup(func() {
		if err := running.Stop(); err != nil {
			t.Error(err)
		}
	})
	if _, err := postgres.Migrate(t.Context(), postgres.Config{URL: running.URL("postgres")}); err != nil {
		t.Fatal(err)
	}
	return running, func() *local.Server {
		running = start()
		return running
	}
}

// secureServer starts a server that wants a password and TLS of whoever comes by TCP. It
// returns the port, and the file of the authority that its certificate is of, which
// has the name localhost.
func secureServer(t *testing.T) (port int, authority string) {
	t.Helper()
	dir := serverDirectory(t)
	authority = filepath.Join(t.TempDir(), "ca.pem")
	write(t, dir, authority)

	l := udaptest.Listen(t)
	port = l.Addr().(*net.TCPAddr).Port
	l.Close()
	server, _ := ownServer(t, dir, local.Options{
		Port: port,
		Settings: []string{
			"ssl=on",
			"ssl_cert_file=" + filepath.Join(dir, "server.pem"),
			"ssl_key_file=" + filepath.Join(dir, "server-key.pem"),
			"hba_file=" + filepath.Join(dir, "hba.conf"),
		},
	})

	conn, err := pgx.Connect(t.Context(), server.URL("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	if _, err := conn.Exec(t.Context(), `create role destination login password 'right secret';
		grant usage on schema trust to destination;
		grant all on all tables in schema trust to destination;
		grant all on all sequences in schema trust to destination`); err != nil {
		t.Fatal(err)
	}
	return port, authority
}

// write makes the files of a server with TLS.
func write(t *testing.T, dir, authority string) {
	t.Helper()
	key := func() crypto.Signer {
		k, err := certs.NewKey(certs.P256)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	valid := certs.Template{
		CommonName: "database",
		NotBefore:  time.Now().Add(-time.Hour),
		NotAfter:   time.Now().Add(time.Hour),
	}
	ca, err := certs.NewRoot(valid, key())
	if err != nil {
		t.Fatal(err)
	}
	valid.DNS = []string{"localhost"}
	identity := &certs.Identity{Key: key()}
	leaf, err := ca.Issue(valid, identity.Key.Public())
	if err != nil {
		t.Fatal(err)
	}
	identity.Chain = ca.Chain(leaf)

	hba := "local all postgres trust\nhostssl all all 127.0.0.1/32 scram-sha-256\n"
	if err := errors.Join(
		certs.WriteCertificates(authority, ca.Cert),
		certs.WriteIdentity(filepath.Join(dir, "server.pem"), filepath.Join(dir, "server-key.pem"), identity),
		os.WriteFile(filepath.Join(dir, "hba.conf"), []byte(hba), 0o600),
	); err != nil {
		t.Fatal(err)
	}

	if os.Getuid() != 0 {
		return
	}
	account, err := user.Lookup(local.Account)
	if err != nil {
		t.Fatal(err)
	}
	uid, _ := strconv.Atoi(account.Uid) // numbers on this system
	gid, _ := strconv.Atoi(account.Gid)
	for _, name := range []string{"server.pem", "server-key.pem", "hba.conf"} {
		if err := os.Chown(filepath.Join(dir, name), uid, gid); err != nil {
			t.Fatal(err)
		}
	}
}

// The password comes from a file or from the one that PGPASSFILE names, is in no error,
// and the server's certificate must be of the authority and have its name.
func TestConnect(t *testing.T) {
	port, authority := secureServer(t)
	files := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(files, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	right := file("right", "right secret\nanother line\n")
	wrong := file("wrong", "wrong secret\n")
	passes := file("pgpass", fmt.Sprintf("localhost:%d:postgres:destination:right secret\n", port))
	none := file("none", "")

	verified := "sslmode=verify-full&sslrootcert=" + authority
	for _, row := range []struct {
		name, host, parameters string
		password, pgpass       string
		want                   string // in the error; empty: it connects
	}{
		{"a password file", "localhost", verified, right, none, ""},
		{"PGPASSFILE", "localhost", verified, "", passes, ""},
		{"a password file before PGPASSFILE", "localhost", verified, wrong, passes, "password authentication failed"},
		{"no password", "localhost", verified, "", none, "password"},
		{"a file that is not there", "localhost", verified, filepath.Join(files, "absent"), none, "no such file"},
		{"another name", "127.0.0.1", verified, right, none, "certificate"},
		{"another authority", "localhost", "sslmode=verify-full", right, none, "certificate"},
		{"no TLS", "localhost", "sslmode=disable", right, none, "no pg_hba.conf entry"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Setenv("PGPASSFILE", row.pgpass)
			s, err := postgres.OpenTrust(t.Context(), postgres.Config{
				URL:          fmt.Sprintf("postgres://destination@%s:%d/postgres?%s", row.host, port, row.parameters),
				PasswordFile: row.password,
			})
			if err == nil {
				if _, err := s.Client(t.Context(), "nobody"); err != nil {
					t.Error(err)
				}
				if err := s.Close(); err != nil {
					t.Error(err)
				}
			}

			if row.want == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), row.want) || strings.Contains(err.Error(), "secret") {
				t.Errorf("got %v, want %q", err, row.want)
			}
			if hinted := (*postgres.Error)(nil); !errors.As(err, &hinted) || hinted.Hint == "" {
				t.Errorf("%v has no hint", err)
			}
		})
	}
}
