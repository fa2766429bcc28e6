package examine_test

import (
	"bytes"
	"context"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"fhirdest.example/server/bolt"
	"fhirdest.example/server/servertest"
	"fhirdest.example/udap/conform"
	"fhirdest.example/udap/conform/examine"
)

// Nothing is left at the destination: its store has the registration of another client
// as it was and no other one; also when the examination is interrupted, and when the
// destination accepts what it should not. What a person agreed to is recorded there, and
// gives nothing, since there is no such client any more.
func TestNothingIsLeftBehind(t *testing.T) {
	for _, c := range []struct {
		name  string
		until string // the last check before an interrupt; empty: there is none
		fault fault
	}{
		{name: "the whole examination"},
		{name: "interrupted after registering", until: "register.accepted"},
		{name: "interrupted with two clients", until: "code.exchange"},
		{name: "a fault", fault: lacks(registerPath, nil, "statement.aud")},
		{name: "no cancellation at first", fault: onceRefused()},
	} {
		t.Run(c.name, func(t *testing.T) {
			d, _ := start(t)
			other := d.Session(d.A, d.Client(d.A, "https://other.test/app"), "system/Patient.rs")
			f := newFaulty(t, d)
			f.has(c.fault)

			ctx, interrupt := context.WithCancel(context.Background())
			defer interrupt()
			s := setting(t, d, f.address)
			s.Found = func(f examine.Finding) {
				if f.Check == c.until {
					interrupt()
				}
			}
			r, err := examine.Run(ctx, s)
			if err != nil || len(r.Left) > 0 {
				t.Fatalf("left: %v, %v", r.Left, err)
			}
			if c.until != "" && r.Findings[len(r.Findings)-1].Reason != "the examination was interrupted" {
				t.Errorf("not interrupted: %+v", r.Findings[len(r.Findings)-1])
			}

			res, _ := d.Get("/acme/fhir/Patient", "Authorization", "Bearer "+other.Token.Access)
			if res.StatusCode != 200 {
				t.Errorf("the other client's token: %s", res.Status)
			}
			if got := stored(t, d); len(got) != 1 || !strings.Contains(got[0], "https://other.test/app") {
				t.Errorf("the store has %d registrations: %q", len(got), got)
			}
		})
	}
}

// What a destination registers by a wrong statement, under another name, is cancelled by
// the same mistake; where it refuses that, the report names the client_id.
func TestStraysAreCancelled(t *testing.T) {
	for _, c := range []struct {
		name    string
		refuses bool
	}{
		{name: "cancelled"},
		{name: "refused", refuses: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			d, _ := start(t)
			f := newFaulty(t, d)
			strays := map[any]bool{}
			f.has(func(e *exchange, next func()) {
				next()
				_, claims := e.document()
				switch {
				case !e.at(registerPath) || e.refusedBy() != "statement.iss":
				case !cancels(nil, claims):
					e.accept()
					strays[claims["iss"]] = true
				case !c.refuses:
					e.set(http.StatusOK, members{"grant_types": []string{}})
					delete(strays, claims["iss"])
				}
			})

			s := setting(t, d, f.address)
			s.Login = nil
			r, err := examine.Run(context.Background(), s)
			if err != nil {
				t.Fatal(err)
			}
			if left := len(strays) > 0; left != c.refuses || left != (len(r.Left) > 0) {
				t.Errorf("strays %v, reported %q", strays, r.Left)
			}
			if c.refuses && !strings.Contains(r.Left[0], "client_id accepted, registered by a statement with ") {
				t.Errorf("%q", r.Left)
			}
		})
	}
}

// onceRefused is a destination that refuses the first cancellation of each client, as
// one does that is busy.
func onceRefused() fault {
	refused := map[any]bool{}
	return func(e *exchange, next func()) {
		_, claims := e.document()
		if e.at(registerPath) && cancels(nil, claims) && !refused[claims["iss"]] {
			refused[claims["iss"]] = true
			e.refuse("invalid_client_metadata")
			return
		}
		next()
	}
}

// stored returns the registrations that a destination has, after its end.
func stored(t *testing.T, d *servertest.Destination) (rows []string) {
	t.Helper()
	d.Stop()
	trust, err := bolt.OpenTrust(filepath.Join(d.Dir, d.Config.Data, "trust.bolt"), bolt.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer trust.Close()

	var text bytes.Buffer
	if err := trust.Dump(&text); err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(text.String()) {
		if strings.HasPrefix(line, `"registrations"/`) {
			rows = append(rows, line)
		}
	}
	return rows
}

// Every requirement that binds a server is in a check, or has its reason why not; and
// none in both. The outcomes of a run have each of them once, with words.
func TestEveryServerRowIsAccountedFor(t *testing.T) {
	checked := map[string]bool{}
	for _, c := range examine.Checks() {
		for _, id := range strings.Fields(c.Rows) {
			if row, ok := conform.Lookup(id); !ok || !row.Binds(conform.Server, conform.TEFCA) {
				t.Errorf("%s names %s, which binds no server", c.Name, id)
			}
			checked[id] = true
		}
	}

	for _, p := range conform.Profiles() {
		r := &examine.Report{Profile: p}
		var ids []string
		for _, o := range r.Outcomes() {
			ids = append(ids, o.Row)
			if o.Verdict != conform.NotExercised || (o.Text == "") != checked[o.Row] {
				t.Errorf("%s is checked: %v, %s: %q", o.Row, checked[o.Row], o.Verdict, o.Text)
			}
		}
		for _, row := range conform.Rows() {
			if row.Binds(conform.Server, p) != slices.Contains(ids, row.ID) {
				t.Errorf("%s: %s is in the outcomes: %v", p, row.ID, slices.Contains(ids, row.ID))
			}
		}
	}
}

// Names are unique, and a check explains itself.
func TestChecksAreNamed(t *testing.T) {
	seen := map[string]bool{}
	for _, c := range examine.Checks() {
		if seen[c.Name] || c.Title == "" || c.Rows == "" || c.Rule == "" || c.Remedy == "" {
			t.Errorf("%+v", c)
		}
		seen[c.Name] = true
	}
}
