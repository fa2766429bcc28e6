package several_test

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/jackc/pgx/v5"

	"fhirdest.example/certs"
	"fhirdest.example/server/lab"
	"fhirdest.example/server/people/users"
	"fhirdest.example/server/postgres"
	"fhirdest.example/server/postgres/local"
	"fhirdest.example/server/postgres/postgrestest"
	"fhirdest.example/server/servertest"
	"fhirdest.example/udap/trace"
)

// away is a destination whose PostgreSQL can be had away in several ways.
type away struct {
	*servertest.Destination
	t      *testing.T
	dir    string
	server *local.Server
	cutter *postgrestest.Cutter
	client *identity
	other  *identity              // one that registers
	grants string                 // what it registers for; empty: ofSystems
	id     trace.ClientID         // of client
	access string                 // a token of client; empty: it has none
	job    string                 // id of a job that was begun; empty: there are none
	lab    *servertest.LabSession // nil: there is no lab

	next func() bool // sends a request that needs the database, and reports success
	once func() call // makes a request that counts once
}

// newServer starts a server of its own for a test, and returns the URL of its database
// through what can cut it off.
func newServer(t *testing.T) (a *away, through string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "pg") // PostgreSQL's account must reach it
	must(t, err)
	a = &away{
		t:   t,
		dir: dir,
	}
	a.start()
	t.Cleanup(func() {
		if err := errors.Join(a.server.Stop(), os.RemoveAll(dir)); err != nil {
			t.Error(err)
		}
	})

	a.cutter, through = postgrestest.NewCutter(t, a.server.URL("postgres"))
	_, err = postgres.Migrate(t.Context(), postgres.Config{URL: through})
	must(t, err)
	return a, through
}

// begin starts the destination, with a person.
func (a *away) begin(through string, change ...func(*servertest.Env)) {
	a.t.Helper()
	a.Destination = servertest.Start(a.t, append(change, func(w *servertest.Env) {
		w.Config.Data = through
		w.Config.Postgres.Name = "a"
		w.Config.Users = "users.json"
		w.Config.Admin.Health = "127.0.0.1:0"
		hash, err := users.Hash("secret of alice")
		must(a.t, err)
		must(a.t, users.Write(filepath.Join(w.Dir, "users.json"), []users.User{{
			Username: "alice",
			Subject:  "subject-of-alice",
			Password: hash,
		}}))
	})...)
	a.client, a.other = a.identity("client"), a.identity("other")
}

func (a *away) identity(name string) *identity {
	a.t.Helper()
	uri := "https://" + name + ".test/app"
	return &identity{
		Identity: a.Client(a.A, uri),
		uri:      uri,
	}
}

// newAway starts a destination with everything that it can have, on a server of its own.
func newAway(t *testing.T) *away {
	t.Helper()
	a, through := newServer(t)
	a.begin(through, servertest.Lab, func(w *servertest.Env) { w.Config.Writable = true })
	a.lab = a.OpenLab(lab.OpenRequest{Name: "away"})
	s := a.Session(a.A, a.client.Identity, "system/*.cruds")
	a.id, a.access = s.Registered.ClientID, s.Token.Access
	a.next = func() bool { return read(a.Destination, a.access) == http.StatusOK }
	a.once = a.tokenCall

	res, text := a.Get("/acme/fhir/Patient/$export", "Authorization", a.bearer(), "Prefer", "respond-async")
	at := res.Header.Get("Content-Location")
	if a.job = at[strings.LastIndexByte(at, '/')+1:]; a.job == "" {
		t.Fatalf("%s %s", res.Status, text)
	}
	return a
}

// newProvider starts an identity provider in the same way.
func newProvider(t *testing.T) *away {
	t.Helper()
	a, through := newServer(t)
	a.begin(through, func(w *servertest.Env) {
		w.Config.Public, w.Config.FHIR = "https://fhir.test/idp", "off"
		w.Config.Private = strings.Replace(w.Config.Private, "/acme/fhir", "/idp", 1)
		for name, of := range map[string]*certs.Community{"a": w.A, "b": w.B} {
			w.WriteIdentity(name, w.Issue(name, of, w.Key("rsa2048"), w.Config.Public))
		}
	})
	a.Issuer = "https://fhir.test/idp"
	a.grants = ofPeople
	a.once = func() call { return a.registerCall(a.Issuer + "/register") }
	a.next = func() bool {
		status, _ := a.call(a.once())
		return status/100 == 2
	}

	var registered struct {
		ID trace.ClientID `json:"client_id"`
	}
	status, text := a.call(call{
		method: "POST",
		target: a.Issuer + "/register",
		header: []string{"Content-Type", "application/json"},
		body:   registration(t, a.Destination, a.client, ofPeople),
	})
	if err := json.Unmarshal([]byte(text), &registered); err != nil || status/100 != 2 {
		t.Fatalf("%d %v %s", status, err, text)
	}
	a.id = registered.ID
	return a
}

// isProvider reports whether the destination is an identity provider, which has neither a
// FHIR service nor a lab.
func (a *away) isProvider() bool { return a.grants == ofPeople }

func (a *away) bearer() string { return "Bearer " + cmp.Or(a.access, "none") }

// start starts PostgreSQL.
func (a *away) start() {
	a.t.Helper()
	var err error
	if a.server, err = local.Start(context.Background(), a.dir, local.Options{}); err != nil {
		a.t.Fatal(err)
	}
}

// signal sends a signal to every process of PostgreSQL.
func (a *away) signal(sig syscall.Signal) {
	a.t.Helper()
	first := strconv.Itoa(a.server.PID())
	text, err := os.ReadFile("/proc/" + first + "/task/" + first + "/children")
	if err != nil {
		a.t.Fatal(err)
	}
	for _, word := range append(strings.Fields(string(text)), first) {
		if pid, err := strconv.Atoi(word); err == nil {
			_ = syscall.Kill(pid, sig) // one may have ended
		}
	}
}

// admin runs statements past the destination, in another database.
func (a *away) admin(database string, statements ...string) {
	a.t.Helper()
	conn, err := pgx.Connect(a.t.Context(), a.server.URL(database))
	if err != nil {
		a.t.Fatal(err)
	}
	defer conn.Close(context.Background())
	for _, statement := range statements {
		if _, err := conn.Exec(a.t.Context(), statement); err != nil {
			a.t.Fatal(err)
		}
	}
}

// ways are those in which a database can be away. Each function returns what ends it.
func (a *away) ways() map[string]func() (end func()) {
	const endAll = "select pg_terminate_backend(pid, 60000) from pg_stat_activity where datname = 'postgres'"
	return map[string]func() func(){
		"stopped": func() func() {
			if err := a.server.Stop(); err != nil {
				a.t.Fatal(err)
			}
			return a.start
		},
		"hung": func() func() {
			a.signal(syscall.SIGSTOP)
			return func() { a.signal(syscall.SIGCONT) }
		},
		"cut off silently": func() func() { return a.cutter.Hold(0, 1) },
		"accepting no connections": func() func() {
			a.admin("template1", "alter database postgres allow_connections false", endAll)
			return func() { a.admin("template1", "alter database postgres allow_connections true") }
		},
		"without its tables": func() func() {
			a.admin("postgres", "alter schema trust rename to t", "alter schema fhir rename to f",
				"alter schema jobs rename to j")
			return func() {
				a.admin("postgres", "alter schema t rename to trust", "alter schema f rename to fhir",
					"alter schema j rename to jobs")
			}
		},
	}
}

// bound is how long an answer may last while the database is away: five seconds, and as
// much again on a machine that is busy.
const bound = 10 * time.Second

// While PostgreSQL is away every endpoint that needs it answers 503 with Retry-After and
// in its own format, in bounded time; what needs no store works, and so does the very
// next request when it is back. Nothing fills the log.
//
// Covers: case 131
func TestDatabaseAway(t *testing.T) {
	for name, begin := range map[string]func(*testing.T) *away{
		"a destination":        newAway,
		"an identity provider": newProvider,
	} {
		t.Run(name, func(t *testing.T) {
			a := begin(t)
			for name, begin := range a.ways() {
				t.Run(name, func(t *testing.T) {
					a.t = t
					a.goesAway(begin)
				})
			}

			log := a.Log.String()
			for _, text := range []string{"the FHIR service failed", "decisions could not be stored"} {
				if n := strings.Count(log, text); n > 10 {
					t.Errorf("the log has %q %d times", text, n)
				}
			}
			if !strings.Contains(log, "stores cannot be used") {
				t.Error("the log does not have that the database was away")
			}
		})
	}
}

// goesAway has the database away once.
func (a *away) goesAway(begin func() (end func())) {
	a.t.Helper()
	for _, c := range a.calls() { // a probe may still be under way since the database was away last
		a.Eventually("there is an answer before: "+c.String(), func() bool {
			status, _ := a.call(c)
			return status < http.StatusInternalServerError
		})
	}
	once := a.once()

	end := sync.OnceFunc(begin())
	a.t.Cleanup(end)
	a.callAll(append(a.calls(), once))
	if _, text := a.call(call{method: "GET", target: a.Admin + "/metrics"}); !strings.Contains(text,
		"destination_stores_reachable 0") {
		a.t.Error("/metrics does not report that the stores cannot be reached")
	}

	end()
	if !a.next() {
		a.t.Error("the next request has failed")
	}
	a.Eventually("/ready has no probe any more that began before the end", func() bool {
		status, _ := a.call(call{method: "GET", target: a.Admin + "/ready"})
		return status == http.StatusOK
	})
	a.spentOnce(once)
	a.Eventually("the log has the end", func() bool {
		begun, ended := strings.Count(a.Log.String(), "stores cannot be used"),
			strings.Count(a.Log.String(), "stores can be used again")
		return begun == ended
	})
}

// spentOnce fails if a request that counts once is granted more than once, after its
// answer was 503.
func (a *away) spentOnce(c call) {
	a.t.Helper()
	first, text := a.call(c)
	if first/100 != 2 && !strings.Contains(text, "jti") {
		a.t.Errorf("the request, again: %d %s", first, text)
	}
	if second, text := a.call(c); second != http.StatusBadRequest {
		a.t.Errorf("the request, once more: %d %s", second, text)
	}
}

// callAll sends requests, some at a time, while the database is away.
func (a *away) callAll(all []call) {
	a.t.Helper()
	next := make(chan call)
	var work sync.WaitGroup
	var longest atomic.Int64
	for range 16 {
		work.Go(func() {
			for c := range next {
				begun := time.Now()
				status, text := a.call(c)
				lasted := time.Since(begun)
				if lasted > bound {
					a.t.Errorf("%s: %d after %v", c, status, lasted)
				}
				if was := longest.Load(); int64(lasted) > was {
					longest.CompareAndSwap(was, int64(lasted))
				}
				switch {
				case c.needs && (status != http.StatusServiceUnavailable || !strings.Contains(text, c.format)):
					a.t.Errorf("%s: %d %.300s", c, status, text)
				case !c.needs && status >= 500 && status != http.StatusServiceUnavailable:
					a.t.Errorf("%s: %d %.300s", c, status, text)
				case c.free && status >= 500:
					a.t.Errorf("%s needs no store: %d %.300s", c, status, text)
				}
			}
		})
	}
	for _, c := range all {
		next <- c
	}
	close(next)
	work.Wait()
	a.t.Logf("%d requests, the longest %v", len(all), time.Duration(longest.Load()))
}
