package server_test

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"fhirdest.example/server/lab"
	"fhirdest.example/server/servertest"
	"fhirdest.example/udap/client"
)

// Whoever knows one session learns nothing of another, and changes nothing in it nor
// at the destination: not by guessed identifiers, by its tokens, by its registrations or
// by its certificates.
func TestSessionsCannotSeeEachOther(t *testing.T) {
	d := servertest.Start(t, servertest.Lab)
	one, two := d.OpenLab(lab.OpenRequest{Name: "one"}), d.OpenLab(lab.OpenRequest{Name: "two"})
	id := d.Client(d.A, "https://client.test/a")
	mine := one.Destination.Session(d.A, id, "system/Patient.rs")
	at := func(s *servertest.LabSession, path string) string {
		return strings.TrimPrefix(s.Session.Page, "https://fhir.test") + path
	}

	for _, target := range []string{at(two, "fhir/Patient"), "/acme/fhir/Patient"} {
		res, _ := d.Get(target, "Authorization", "Bearer "+mine.Token.Access)
		if res.StatusCode != http.StatusUnauthorized {
			t.Errorf("a token of another session at %s: %s", target, res.Status)
		}
	}

	for _, there := range []*servertest.Destination{two.Destination, d} {
		o := there.Originator(d.A, id)
		found, err := o.Discover(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		_, err = o.Token(context.Background(), found, client.TokenRequest{
			ClientID: mine.Registered.ClientID,
			Scope:    "system/Patient.rs",
			B2B:      servertest.Treatment(),
		})
		if err == nil {
			t.Errorf("a registration of another session counts at %s", there.Base)
		}

		if _, err := o.Cancel(context.Background(), found, client.Registration{ClientName: "x"}); err == nil {
			t.Errorf("a registration of another session is cancelled at %s", there.Base)
		}
	}

	if _, err := mine.Client.Get(context.Background(), "Patient?_count=1", mine.Token.Access); err != nil {
		t.Errorf("the session is disturbed: %v", err)
	}

	for _, k := range one.Kept() {
		if strings.Contains(k.Target, two.Session.ID) {
			t.Errorf("one session has %s", k.Target)
		}
	}

	for _, k := range two.Kept() {
		if strings.Contains(k.Target, one.Session.ID) {
			t.Errorf("the other session has %s", k.Target)
		}
	}
}

// An unknown session answers like any unknown path, but for what names the path.
func TestUnknownSessionsAreUnknownPaths(t *testing.T) {
	d := servertest.Start(t, servertest.Lab)
	known := d.OpenLab(lab.OpenRequest{})
	guessed := strings.Repeat("0", len(known.Session.ID))

	for _, rest := range []string{
		"", "/", "/fhir", "/fhir/.well-known/udap", "/fhir/Patient", "/oauth/token", "/oauth/register",
		"/api/session", "/api/exchanges", "/rows", "/x/1", "/fhir//",
	} {
		for _, id := range []string{
			guessed, strings.ToUpper(known.Session.ID), known.Session.ID[1:], known.Session.ID + "0",
			"%2e%2e", ".", "lab", known.Session.ID + "%00",
		} {
			res, body := d.Get("/acme/lab/" + id + rest)
			other, want := d.Get("/acme/none/" + id + rest)
			same := res.StatusCode == other.StatusCode && body == want

			for _, h := range []http.Header{res.Header, other.Header} {
				h.Del("Date")
				h.Del("Trace-Id")
			}

			if !same || fmt.Sprint(res.Header) != fmt.Sprint(other.Header) {
				t.Errorf("%s%s: %s %v %s, want %s %v %s",
					id, rest, res.Status, res.Header, body, other.Status, other.Header, want)
			}
		}
	}
}

// The lab holds no more than it is configured to.
func TestTheLabIsBounded(t *testing.T) {
	d := servertest.Start(t, servertest.Lab, func(w *servertest.Env) {
		w.Config.Lab.Sessions = 3
		w.Config.Lab.Exchanges = 5
		w.Config.Lab.AtWork = 1
	})

	var all []*servertest.LabSession
	for range 3 {
		all = append(all, d.OpenLab(lab.OpenRequest{}))
	}
	res := d.Do(http.MethodPost, "/acme/lab/api/sessions", strings.NewReader("{}"), "Content-Type", "application/json")
	if res.StatusCode < 400 || res.StatusCode == http.StatusInternalServerError {
		t.Errorf("one session too many: %s", res.Status)
	}

	for range 3 { // stores are closed and opened again by turns
		for _, s := range all {
			if res, _ := d.Get(s.Session.Base + "/metadata"); res.StatusCode != http.StatusOK {
				t.Errorf("metadata of a session: %s", res.Status)
			}
		}
	}

	for range 4 {
		d.Get(all[0].Session.Base + "/metadata")
	}
	if kept := all[0].Kept(); len(kept) != 5 {
		t.Errorf("%d exchanges are kept, want 5", len(kept))
	}
	if s := d.LabSession(all[0].Session.ID).Session; s.Counts.Dropped != 2 {
		t.Errorf("counts %+v, want 2 that are not kept", s.Counts)
	}
}

// A session that has expired is gone with its directory.
func TestSessionsExpire(t *testing.T) {
	var later atomic.Int64
	d := servertest.Start(t, servertest.OnFiles("the files of a session"), servertest.Lab, func(w *servertest.Env) {
		w.Now = func() time.Time { return time.Now().Add(time.Duration(later.Load())) }
		w.Config.Lab.Keep = time.Hour
	})
	s := d.OpenLab(lab.OpenRequest{})
	dir := filepath.Join(d.Dir, "data", "lab", s.Session.ID)
	if _, err := os.Stat(filepath.Join(dir, "trust.bolt")); err != nil {
		t.Fatal(err)
	}

	later.Store(int64(2 * time.Hour))
	if res, _ := d.Get("/acme/lab/" + s.Session.ID + "/fhir/metadata"); res.StatusCode != http.StatusNotFound {
		t.Errorf("an expired session: %s", res.Status)
	}
	d.OpenLab(lab.OpenRequest{})
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("its directory: %v", err)
	}
}

// A session to which nothing came for an hour gives its place to another one; one that
// was used does not.
func TestUnusedSessionsMakeRoom(t *testing.T) {
	var later atomic.Int64
	d := servertest.Start(t, servertest.Lab, func(w *servertest.Env) {
		w.Now = func() time.Time { return time.Now().Add(time.Duration(later.Load())) }
		w.Config.Lab.Sessions = 2
	})
	used, idle := d.OpenLab(lab.OpenRequest{}), d.OpenLab(lab.OpenRequest{})
	d.Get(used.Session.Base + "/metadata")
	used.Kept()

	open := func() int {
		return d.Do(http.MethodPost, "/acme/lab/api/sessions", strings.NewReader("{}"),
			"Content-Type", "application/json").StatusCode
	}
	if got := open(); got == http.StatusCreated {
		t.Error("a session too many is opened")
	}
	later.Store(int64(2 * time.Hour))
	if got := open(); got != http.StatusCreated {
		t.Errorf("after two hours: %d", got)
	}
	for s, want := range map[*servertest.LabSession]int{used: http.StatusOK, idle: http.StatusNotFound} {
		if res, _ := d.Get(s.Session.Base + "/metadata"); res.StatusCode != want {
			t.Errorf("%s: %s, want %d", s.Session.ID, res.Status, want)
		}
	}
}

// Where every session was used, the one to which nothing came for the longest time gives
// its place to another one, after twelve hours at least.
func TestAbandonedSessionsMakeRoom(t *testing.T) {
	var later atomic.Int64
	d := servertest.Start(t, servertest.Lab, func(w *servertest.Env) {
		w.Now = func() time.Time { return time.Now().Add(time.Duration(later.Load())) }
		w.Config.Lab.Sessions = 2
	})
	visited, left := d.OpenLab(lab.OpenRequest{}), d.OpenLab(lab.OpenRequest{})
	visit := func(s *servertest.LabSession) {
		d.Get(s.Session.Base + "/metadata")
		s.Kept()
	}
	open := func() int {
		return d.Do(http.MethodPost, "/acme/lab/api/sessions", strings.NewReader("{}"),
			"Content-Type", "application/json").StatusCode
	}

	visit(visited)
	visit(left)
	later.Store(int64(11 * time.Hour))
	if got := open(); got == http.StatusCreated {
		t.Error("a session gave way after eleven hours")
	}

	visit(visited)
	later.Store(int64(13 * time.Hour))
	if got := open(); got != http.StatusCreated {
		t.Errorf("after thirteen hours: %d", got)
	}
	for s, want := range map[*servertest.LabSession]int{visited: http.StatusOK, left: http.StatusNotFound} {
		if res, _ := d.Get(s.Session.Base + "/metadata"); res.StatusCode != want {
			t.Errorf("%s: %s, want %d", s.Session.ID, res.Status, want)
		}
	}
}
