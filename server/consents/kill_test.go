package consents_test

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"fhirdest.example/fhir"
	"fhirdest.example/server/bolt"
	"fhirdest.example/server/consents"
	"fhirdest.example/server/oauth"
	"fhirdest.example/udap/trace"
)

const (
	killEnv = "CONSENTS_TEST_KILL_DIR"
	issuer  = "https://fhir.test/acme/oauth"
)

// now is the time of all grants here.
var now = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)

// site is a Keeper over the real files of a directory.
type site struct {
	*consents.Keeper
	trust   *bolt.Trust
	store   *bolt.FHIR
	service *fhir.Service
}

func open(dir string) (*site, error) {
	trust, err := bolt.OpenTrust(filepath.Join(dir, "trust.bolt"), bolt.Options{})
	if err != nil {
		return nil, err
	}
	store, err := bolt.OpenFHIR(filepath.Join(dir, "fhir.bolt"), bolt.Options{})
	if err != nil {
		return nil, err
	}

	service, err := fhir.New(fhir.Config{
		PublicBase: "https://fhir.test/acme/fhir",
		Store:      store,
		Authorize: func(*http.Request) (*fhir.Grant, *fhir.Denial) {
			return nil, &fhir.Denial{Status: http.StatusUnauthorized}
		},
		Now: time.Now,
	})
	if err != nil {
		return nil, err
	}

	s := &site{
		trust:   trust,
		store:   store,
		service: service,
	}
	s.Keeper = &consents.Keeper{
		Store:         trust,
		Resources:     store,
		Service:       func() *fhir.Service { return service },
		Forget:        trust.People().Forget,
		Issuer:        issuer,
		TokenLifetime: time.Hour,
		Now:           func() time.Time { return now },
		Log:           slog.New(slog.DiscardHandler),
	}
	return s, nil
}

func (s *site) close() error {
	if err := s.service.Close(); err != nil {
		return err
	}
	if err := s.store.Close(); err != nil {
		return err
	}
	return s.trust.Close()
}

// client registers the client of all grants here, or finds it.
func (s *site) client(ctx context.Context) (*oauth.Registration, error) {
	const id = trace.ClientID("client-1")
	if r, err := s.trust.Client(ctx, id); r != nil || err != nil {
		return r, err
	}
	stored, _, err := s.trust.Register(ctx, oauth.Spend{
		Community: "urn:a",
		Issuer:    "https://c.test/app",
		JTI:       "first",
		Until:     now.Add(6 * time.Minute),
		Expires:   now.Add(5 * time.Minute),
		Endpoint:  "register",
		Now:       now,
	}, oauth.Registration{
		ID:        id,
		Community: "urn:a",
		Client:    "https://c.test/app",
		Granted: oauth.Parameters{
			ClientName: "name",
			GrantTypes: []string{"authorization_code"},
			Contacts:   []string{"mailto:a@b.test"},
			Scope:      "patient/*.rs",
		},
		Statement: "a.b.c",
		Leaf:      []byte{1, 2},
		Created:   now,
		Changed:   now,
	})
	return stored, err
}

func grantOf(r *oauth.Registration, id oauth.GrantID) oauth.Grant {
	return oauth.Grant{
		ID:        id,
		ClientID:  r.ID,
		Community: r.Community,
		Client:    r.Client,
		Person: oauth.Person{
			Subject:  "person-" + string(id),
			FHIRUser: "Patient/1",
			SignedIn: now,
		},
		Patient:     "1",
		Scope:       []string{"patient/Observation.rs"},
		Created:     now,
		Expires:     now.Add(time.Hour),
		RefreshEnds: now.Add(time.Hour),
		Code: oauth.Code{
			Hash:        oauth.Hash{1},
			RedirectURI: "https://c.test/cb",
			Expires:     now.Add(time.Minute),
		},
	}
}

// grantUntilKilled is the second process: it grants and withdraws, and writes what it
// begins and what it has done.
func grantUntilKilled(dir string) error {
	s, err := open(dir)
	if err != nil {
		return err
	}
	ctx := context.Background()
	r, err := s.client(ctx)
	if err != nil {
		return err
	}

	for n := time.Now().UnixNano(); ; n++ {
		g := grantOf(r, oauth.GrantID(fmt.Sprintf("%032x", n)))
		fmt.Println("begun", g.ID)
		if err := s.Approve(ctx, g, r); err != nil {
			return err
		}
		fmt.Println("granted", g.ID)
		if n%2 == 0 {
			continue
		}

		fmt.Println("withdrawing", g.ID)
		if err := s.Withdraw(ctx, g.ID, g.Person.Subject); err != nil {
			return err
		}
		fmt.Println("withdrawn", g.ID)
	}
}

// Killed at any moment, the server has no Consent in force without its grant, and what
// it has acknowledged is so: a grant that was given has both, one that was withdrawn
// has neither.
// Covers: FS-302
func TestKill(t *testing.T) {
	if dir := os.Getenv(killEnv); dir != "" {
		fmt.Fprintln(os.Stderr, grantUntilKilled(dir)) // returns only when it cannot go on
		os.Exit(1)
	}

	dir := t.TempDir()
	for round := range 5 {
		last := killed(t, dir, 20+7*round)
		s, err := open(dir)
		if err != nil {
			t.Fatal(err)
		}
		s.verify(t, last)
		if err := s.close(); err != nil {
			t.Fatal(err)
		}
	}
}

// killed runs the second process, kills it after some lines, and returns the last that
// it wrote about each grant.
func killed(t *testing.T, dir string, lines int) map[oauth.GrantID]string {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestKill$")
	cmd.Env = append(os.Environ(), killEnv+"="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}

	last := map[oauth.GrantID]string{}
	scanner := bufio.NewScanner(out)
	for n := 0; scanner.Scan(); n++ {
		if what, id, ok := strings.Cut(scanner.Text(), " "); ok {
			last[oauth.GrantID(id)] = what
		}
		if n == lines {
			_ = cmd.Process.Kill() // what it wrote before that is still read
		}
	}
	_ = cmd.Wait()
	if len(last) == 0 {
		t.Fatal("nothing was granted")
	}
	return last
}

func (s *site) verify(t *testing.T, last map[oauth.GrantID]string) {
	t.Helper()
	for id, what := range last {
		g, err := s.trust.Grant(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		inForce, err := s.Active(t.Context(), &oauth.Grant{
			Consent: "grant-" + string(id),
			Person:  oauth.Person{FHIRUser: "Patient/1"},
			Patient: "1",
			Scope:   []string{"patient/Observation.rs"},
		})
		if err != nil {
			t.Fatal(err)
		}

		if inForce && g == nil {
			t.Errorf("%s %s: its Consent is in force without it", what, id)
		}
		if want := what == "granted"; what[0] != 'b' && what != "withdrawing" && (want != inForce || want != (g != nil)) {
			t.Errorf("%s %s: the grant is there: %v, its Consent is in force: %v", what, id, g != nil, inForce)
		}
	}
}

// A grant that ends in another way than by its person leaves a Consent that Repair
// makes inactive; one that is there keeps its own.
func TestRepair(t *testing.T) {
	s, err := open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.close() })
	r, err := s.client(t.Context())
	if err != nil {
		t.Fatal(err)
	}

	gone := grantOf(r, "000000000000000000000000000000a1")
	kept := grantOf(r, "000000000000000000000000000000a2")
	for _, g := range []oauth.Grant{gone, kept} {
		if err := s.Approve(t.Context(), g, r); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.trust.Withdraw(t.Context(), gone.ID, gone.Person.Subject); err != nil {
		t.Fatal(err)
	}
	if err := s.Repair(t.Context()); err != nil {
		t.Fatal(err)
	}

	for g, want := range map[*oauth.Grant]bool{&gone: false, &kept: true} {
		g.Consent = "grant-" + string(g.ID)
		if active, err := s.Active(t.Context(), g); err != nil || active != want {
			t.Errorf("%s: %v, %v", g.ID, active, err)
		}
	}
}
