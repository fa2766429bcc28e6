package people_test

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"

	"fhirdest.example/server/servertest"
)

// withoutTables has the database of a destination without its tables until the function
// that it returns is called.
func withoutTables(t *testing.T, e *env) (back func()) {
	t.Helper()
	rename := func(from, to string) {
		conn, err := pgx.Connect(context.Background(), e.Config.Data)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close(context.Background())
		if _, err := conn.Exec(context.Background(), "alter schema "+from+" rename to "+to); err != nil {
			t.Fatal(err)
		}
	}
	rename("trust", "away")
	back = sync.OnceFunc(func() { rename("away", "trust") })
	t.Cleanup(back)
	return back
}

// While the database is away a person sees a page that says so, with 503 and
// Retry-After, at each step of signing in, agreeing, withdrawing and signing out; what
// they had begun goes on when it is back, and nothing was done meanwhile.
func TestPagesWhileDatabaseIsAway(t *testing.T) {
	e := newEnv(t, servertest.Database)
	a := e.app("https://client.test/app")
	b := e.browser()
	var before string
	sorry := func(step string, do func()) {
		t.Helper()
		before = b.page
		back := withoutTables(t, e)
		do()
		if b.res.StatusCode != http.StatusServiceUnavailable || b.res.Header.Get("Retry-After") == "" ||
			!strings.Contains(b.page, "<main") || !strings.HasPrefix(b.res.Header.Get("Content-Type"), "text/html") {
			t.Errorf("%s: %s, Retry-After %q\n%s", step, b.res.Status, b.res.Header.Get("Retry-After"), b.page)
		}
		back()
		b.page = before // the person goes back
	}

	request := a.authorize(scopes)
	sorry("the request", func() { b.open(request) })
	b.open(request)
	b.shows(http.StatusOK, "Sign in")
	sorry("signing in", func() { b.signIn("alice") })
	b.signIn("alice")
	b.shows(http.StatusOK, "Alice Patient")
	sorry("agreeing", func() { b.send("approve") })
	b.send("approve")
	code := b.code()
	back := withoutTables(t, e)
	if _, err := a.exchange(code, scopes); err == nil {
		t.Error("a code was redeemed without a database")
	}
	back()
	if _, err := a.exchange(code, scopes); err != nil {
		t.Errorf("the code, when the database is back: %v", err)
	}

	sorry("what was agreed to", func() { b.open(site + "/grants") })
	b.open(site + "/grants")
	b.shows(http.StatusOK, "Health Companion")
	sorry("withdrawing", func() { b.send("") })
	sorry("signing out", func() { b.open(site + "/signout") })
	b.open(site + "/grants")
	b.shows(http.StatusOK, "Health Companion")
	b.send("")
	b.shows(http.StatusOK)
}
