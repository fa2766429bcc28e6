package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/jackc/pgx/v5"

	"fhirdest.example/fhir"
	"fhirdest.example/fhir/sample"
	"fhirdest.example/fhir/scope"
	"fhirdest.example/scripts/drive"
	"fhirdest.example/scripts/measure"
	"fhirdest.example/server/bolt"
	"fhirdest.example/server/postgres"
	"fhirdest.example/server/postgres/local"
)

// env is both services over the same resources.
type env struct {
	dir            string
	server         *local.Server
	patients       []string // ids
	bolt, postgres string   // addresses
	closers        []func() error
}

func (e *env) close() {
	for i := len(e.closers) - 1; i >= 0; i-- {
		_ = e.closers[i]() // a benchmark is over
	}
}

// serverSettings are those of a server that has a machine of this size to itself.
var serverSettings = []string{
	"shared_buffers=1GB",
	"max_wal_size=4GB",
	"checkpoint_timeout=15min",
}

func newEnv(ctx context.Context, out io.Writer, resources int) (e *env, err error) {
	e = &env{}
	if e.dir, err = os.MkdirTemp("", "pgbench"); err != nil {
		return e, err
	}
	e.closers = append(e.closers, func() error { return os.RemoveAll(e.dir) })

	patients, err := drive.PatientsFor(resources)
	if err != nil {
		return e, err
	}
	for i := range patients {
		e.patients = append(e.patients, sample.PatientID(i))
	}

	if e.bolt, err = e.startBolt(ctx, out, patients); err != nil {
		return e, err
	}
	e.postgres, err = e.startPostgres(ctx, out, patients)
	return e, err
}

func (e *env) startBolt(ctx context.Context, out io.Writer, patients int) (string, error) {
	s, err := bolt.OpenFHIR(filepath.Join(e.dir, "fhir.bolt"), bolt.Options{})
	if err != nil {
		return "", err
	}
	e.closers = append(e.closers, s.Close)
	return e.serve(ctx, out, "Bolt", s, patients)
}

func (e *env) startPostgres(ctx context.Context, out io.Writer, patients int) (string, error) {
	if err := os.Chmod(e.dir, 0o711); err != nil { // the server has an account of its own
		return "", err
	}

	server, err := local.Start(ctx, filepath.Join(e.dir, "pg"), local.Options{
		Durable:  true,
		Settings: serverSettings,
	})
	if err != nil {
		return "", err
	}
	e.server = server
	e.closers = append(e.closers, server.Stop)

	c := postgres.Config{URL: server.URL("postgres")}
	if _, err := postgres.Migrate(ctx, c); err != nil {
		return "", err
	}
	s, err := postgres.OpenFHIR(ctx, c)
	if err != nil {
		return "", err
	}
	e.closers = append(e.closers, s.Close)
	addr, err := e.serve(ctx, out, "PostgreSQL", s, patients)
	if err == nil {
		err = e.settle(ctx, out, c)
	}
	return addr, err
}

// settle does what the server's autovacuum does within minutes after a load, so that
// what is measured is not the state of those minutes, and opens the store once more.
func (e *env) settle(ctx context.Context, out io.Writer, c postgres.Config) error {
	conn, err := pgx.Connect(ctx, c.URL)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	if _, err := conn.Exec(ctx, "vacuum (analyze)"); err != nil {
		return err
	}

	start := time.Now()
	again, err := postgres.OpenFHIR(ctx, c)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "PostgreSQL: opened again in %.0f ms\n", time.Since(start).Seconds()*1000)
	return again.Close()
}

// serve fills a store and serves it. The tokens are not its matter: every request has
// the same grant.
func (e *env) serve(
	ctx context.Context, out io.Writer, name string, s fhir.Store, patients int,
) (addr string, err error) {
	scopes, _ := scope.ParseSet([]string{"system/*.cruds"})
	h, err := fhir.New(fhir.Config{
		PublicBase: "https://fhir.test/fhir",
		Store:      s,
		Now:        time.Now,
		Authorize: func(*http.Request) (*fhir.Grant, *fhir.Denial) {
			return &fhir.Grant{
				Scopes:   scopes,
				Client:   "client-1",
				TokenID:  "t1",
				Purposes: []string{"urn:oid:2.16.840.1.113883.5.8#TREAT"},
			}, nil
		},
		Failed: func(_ *http.Request, err error) {
			fmt.Fprintln(out, "failed:", err)
		},
	})
	if err != nil {
		return "", err
	}
	e.closers = append(e.closers, h.Close)

	start, cpu := time.Now(), e.cpu()
	if err := h.Seed(ctx, patients); err != nil {
		return "", err
	}
	fmt.Fprintf(out, "%s: %d patients loaded in %.1f s, CPU %.1f s\n", name, patients,
		time.Since(start).Seconds(), (e.cpu() - cpu).Seconds())

	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	srv := &http.Server{Handler: h}
	go func() { _ = srv.Serve(l) }() // ends with Close
	e.closers = append(e.closers, srv.Close)
	return l.Addr().String(), nil
}

// sizes prints how much disk each store has taken.
func (e *env) sizes(ctx context.Context, out io.Writer) error {
	info, err := os.Stat(filepath.Join(e.dir, "fhir.bolt"))
	if err != nil {
		return err
	}
	tables, err := e.tables(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "on disk: Bolt %d MB, PostgreSQL %s\n", info.Size()>>20, tables)
	return nil
}

// cpu returns the processor time that this process and the server have used.
func (e *env) cpu() time.Duration {
	total := measure.CPU()
	if e.server != nil {
		total += measure.CPUOf(e.server.PID())
	}
	return total
}
