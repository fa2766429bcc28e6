package lab

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"testing"
	"time"
)

// fakeSite counts what is open of a fixture.
type fakeSite struct {
	http.Handler
	f  *siteFixture
	id string
}

func (fakeSite) Run(ctx context.Context) { <-ctx.Done() }

func (s fakeSite) Close() error {
	s.f.mu.Lock()
	defer s.f.mu.Unlock()
	delete(s.f.open, s.id)
	return nil
}

// siteFixture is a lab whose sites are fakes.
type siteFixture struct {
	*testing.T
	service *Service
	now     time.Time

	mu   sync.Mutex
	open map[string]bool
	most int
	fail error
}

func newSiteFixture(t *testing.T, atWork int) *siteFixture {
	f := &siteFixture{
		T:    t,
		now:  time.Now(),
		open: map[string]bool{},
	}
	f.service = &Service{
		sessions: map[string]*live{},
		cfg: Config{
			Settings: Settings{AtWork: atWork}.WithDefaults(),
			Dir:      t.TempDir(),
			Now:      func() time.Time { return f.now },
			Log:      slog.New(slog.DiscardHandler),
			NewSite: func(p Place) (Site, error) {
				f.mu.Lock()
				defer f.mu.Unlock()
				if f.open[p.Session.ID] {
					t.Errorf("%s is opened twice", p.Session.ID)
				}
				if f.fail != nil {
					return nil, f.fail
				}
				f.open[p.Session.ID] = true
				f.most = max(f.most, len(f.open))
				return fakeSite{http.NotFoundHandler(), f, p.Session.ID}, nil
			},
		},
	}
	f.service.sites = newSites(f.service)
	t.Cleanup(f.service.sites.closeAll)
	return f
}

func (f *siteFixture) session(id string) *live {
	return f.service.revive(Session{ID: id})
}

func (f *siteFixture) acquire(l *live) func() {
	f.Helper()
	release, err := f.service.sites.acquire(l)
	if err != nil {
		f.Fatal(err)
	}
	return release
}

func (f *siteFixture) isOpen(ids ...string) {
	f.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, id := range ids {
		if !f.open[id] || len(f.open) != len(ids) {
			f.Errorf("open are %v, want %v", f.open, ids)
		}
	}
	if len(ids) == 0 && len(f.open) > 0 {
		f.Errorf("open are %v", f.open)
	}
}

// The site that was used longest ago makes room; one that is in use does not.
func TestFewSitesAreOpen(t *testing.T) {
	f := newSiteFixture(t, 2)
	a, b, c := f.session("a"), f.session("b"), f.session("c")
	f.acquire(a)()
	f.now = f.now.Add(time.Second)
	f.acquire(b)()
	f.now = f.now.Add(time.Second)
	held := f.acquire(a)
	f.acquire(c)()
	f.isOpen("a", "c")

	alsoHeld := f.acquire(c)
	if _, err := f.service.sites.acquire(b); !errors.Is(err, ErrBusy) {
		t.Errorf("with all in use: %v", err)
	}
	held()
	f.acquire(b)()
	f.isOpen("b", "c")
	alsoHeld()

	for _, l := range []*live{b, a} { // where nobody waits, the order of use decides
		f.now = f.now.Add(time.Second)
		f.acquire(l)()
	}
	f.isOpen("a", "b")
}

// Sites that nobody uses are closed after a while, and opened again.
func TestIdleSitesAreClosed(t *testing.T) {
	f := newSiteFixture(t, 4)
	a, b := f.session("a"), f.session("b")
	held := f.acquire(a)
	f.acquire(b)()
	f.now = f.now.Add(idle + time.Second)
	f.service.sites.closeIdle(idle)
	f.isOpen("a")

	held()
	f.now = f.now.Add(idle + time.Second)
	f.service.sites.closeIdle(idle)
	f.isOpen()
	f.acquire(a)()
	f.isOpen("a")
}

// A site that cannot be opened takes no room, and one of a session that has ended, or
// of a lab that has, is not opened.
func TestSitesThatCannotBeOpened(t *testing.T) {
	f := newSiteFixture(t, 1)
	a := f.session("a")
	f.fail = errors.New("no space")
	if _, err := f.service.sites.acquire(a); !errors.Is(err, f.fail) {
		t.Errorf("error %v", err)
	}
	f.fail = nil
	f.acquire(a)()

	gone := f.session("gone")
	gone.end()
	if _, err := f.service.sites.acquire(gone); !errors.Is(err, ErrNoSession) {
		t.Errorf("of a session that has ended: %v", err)
	}
	f.service.sites.closeAll()
	f.isOpen()
	if _, err := f.service.sites.acquire(a); !errors.Is(err, ErrClosed) {
		t.Errorf("of a lab that has ended: %v", err)
	}
}

// Many requests of many sessions at once open each site once, and never too many.
func TestSitesUnderLoad(t *testing.T) {
	f := newSiteFixture(t, 3)
	var all []*live
	for i := range 8 {
		all = append(all, f.session(fmt.Sprint("s", i)))
	}

	var work sync.WaitGroup
	for i := range 32 {
		work.Go(func() {
			for n := range 50 {
				release, err := f.service.sites.acquire(all[(i+n)%len(all)])
				switch {
				case errors.Is(err, ErrBusy):
				case err != nil:
					t.Error(err)
				default:
					release()
				}
			}
		})
	}
	work.Wait()

	f.mu.Lock()
	defer f.mu.Unlock()
	if f.most > 3 {
		t.Errorf("%d sites were open at once", f.most)
	}
}
