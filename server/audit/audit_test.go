package audit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"fhirdest.example/udap/trace"
)

var (
	signature  = trace.Check{Name: "jws.signature"}
	path       = trace.Check{Name: "chain.path"}
	revocation = trace.Check{Name: "chain.revocation"}
	audience   = trace.Check{Name: "statement.aud"}
)

func proved(action string) *trace.Trace {
	t := trace.NewTrace(action, time.Unix(1e9, 0))
	t.Pass(signature, "", "")
	t.Pass(path, "", "")
	return t
}

// memory is a Store that can be made to fail.
type memory struct {
	mu   sync.Mutex
	kept []Decision
	err  error
}

func (m *memory) SaveDecisions(d []Decision) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.err != nil {
		return m.err
	}
	m.kept = append(m.kept, d...)
	return nil
}

func (m *memory) Decision(id string) (Decision, bool, error) {
	for _, d := range m.kept {
		if d.Trace.ID == id {
			return d, true, nil
		}
	}
	return Decision{}, false, m.err
}

func (m *memory) Decisions(n int) ([]Decision, error) { return m.kept[:min(n, len(m.kept))], m.err }

func TestAuthenticated(t *testing.T) {
	late := proved("register")
	_ = late.Refuse(audience, trace.InvalidSoftwareStatement, trace.Finding{})
	revoked := proved("register")
	_ = revoked.Refuse(revocation, trace.UnapprovedSoftwareStatement, trace.Finding{})
	unsigned := trace.NewTrace("register", time.Unix(1e9, 0))
	unsigned.Pass(path, "", "")
	_ = unsigned.Refuse(signature, trace.InvalidSoftwareStatement, trace.Finding{})
	warned := trace.NewTrace("register", time.Unix(1e9, 0))
	warned.Warn(signature, trace.Finding{})

	warned.Pass(path, "", "")
	person := trace.NewTrace("signout", time.Unix(1e9, 0))
	person.Person = "p1"
	for _, c := range []struct {
		name  string
		trace *trace.Trace
		want  bool
	}{
		{"proved", proved("token"), true},
		{"refused after the proof", late, true},
		{"revoked", revoked, false},
		{"bad signature", unsigned, false},
		{"a proof only warned about", warned, false},
		{"a person", person, true},
		{"nothing checked", trace.NewTrace("token", time.Unix(1e9, 0)), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := Authenticated(c.trace); got != c.want {
				t.Errorf("%s: %v, want %v", c.name, got, c.want)
			}
		})
	}
}

// Covers: case 269
func TestRingIsBoundedAndNewestFirst(t *testing.T) {
	l := New(Config{Keep: 3})
	var ids []string
	for i := range 7 {
		tr := trace.NewTrace(fmt.Sprint("a", i), time.Unix(1e9, 0))
		ids = append(ids, tr.ID)
		l.Record(tr)
	}

	got := l.Recent(10)
	if len(got) != 3 || got[0].Trace.Action != "a6" || got[2].Trace.Action != "a4" {
		t.Fatalf("recent: %+v", got)
	}
	if _, ok, _ := l.Find(ids[6]); !ok {
		t.Error("the newest is not found")
	}
	if _, ok, _ := l.Find(ids[0]); ok {
		t.Error("one that fell out of the ring is found")
	}

	if n := len(New(Config{}).Recent(5)); n != 0 {
		t.Errorf("an empty log has %d decisions", n)
	}
}

// Only what was proved reaches the store, so an outsider cannot fill it.
//
// Covers: case 269
func TestOnlyAuthenticatedDecisionsAreStored(t *testing.T) {
	m := &memory{}
	l := New(Config{Keep: 1, Store: m})
	stranger := trace.NewTrace("register", time.Unix(1e9, 0))
	_ = stranger.Refuse(signature, trace.InvalidSoftwareStatement, trace.Finding{Found: "x"})
	member := proved("token")
	l.Record(member)
	l.Record(stranger)
	l.Flush()

	if len(m.kept) != 1 || m.kept[0].Trace.ID != member.ID {
		t.Fatalf("stored %+v", m.kept)
	}
	if _, ok, err := l.Find(member.ID); !ok || err != nil {
		t.Errorf("a decision that left the ring is not found in the store: %v", err)
	}
	want := map[Count]uint64{
		{Action: "token", Outcome: "granted"}:                                               1,
		{Action: "register", Outcome: "invalid_software_statement", Check: "jws.signature"}: 1,
	}

	if got := l.Counts(); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("counts %v, want %v", got, want)
	}
}

// What a person did is stored, and what they were refused; not each page.
func TestWhatPeopleLookAtIsNotStored(t *testing.T) {
	m := &memory{}
	l := New(Config{Keep: 1, Store: m})
	record := func(effect trace.Effect, code trace.Code) string {
		tr := trace.NewTrace("consent", time.Unix(1e9, 0))
		tr.Person, tr.Effect, tr.Code = "p1", effect, code
		l.Record(tr)
		return tr.ID
	}
	record("", "")
	want := []string{record(trace.Approved, ""), record("", trace.AccessDenied)}
	l.Flush()

	var got []string
	for _, d := range m.kept {
		got = append(got, d.Trace.ID)
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("stored %v, want %v", got, want)
	}
}

func TestLostDecisionsAreCounted(t *testing.T) {
	m := &memory{err: errors.New("disk full")}
	var log bytes.Buffer
	l := New(Config{Keep: 2, Store: m, Log: slog.New(slog.NewTextHandler(&log, nil))})
	l.Record(proved("token"))
	l.Flush()
	if l.Lost() != 1 || !strings.Contains(log.String(), "disk full") {
		t.Errorf("lost %d, log %s", l.Lost(), log.String())
	}

	m.err = nil
	for range maxPending + 5 {
		l.Record(proved("token"))
	}
	l.Flush()
	if l.Lost() != 6 || len(m.kept) != maxPending {
		t.Errorf("lost %d, kept %d", l.Lost(), len(m.kept))
	}
}

func TestRunFlushesAtTheEnd(t *testing.T) {
	m := &memory{}
	l := New(Config{Keep: 2, Store: m, Every: time.Hour})
	l.Record(proved("token"))
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	l.Run(ctx)
	if len(m.kept) != 1 {
		t.Errorf("kept %d after the end", len(m.kept))
	}
}

// Covers: case 279
func TestOneDecisionIsOneLineOfTheLog(t *testing.T) {
	var log bytes.Buffer
	l := New(Config{Keep: 2, Log: slog.New(slog.NewTextHandler(&log, nil))})
	tr := proved("token")
	tr.Client = "https://x/\n\x1b[31mtime=now level=INFO msg=forged"
	l.Record(tr)
	if strings.Count(log.String(), "\n") != 1 || strings.Contains(log.String(), "\x1b") {
		t.Errorf("log: %q", log.String())
	}
}

// A refusal is in the log with what was found and how to mend it.
func TestRefusalsAreLoggedWithTheirReason(t *testing.T) {
	var log bytes.Buffer
	l := New(Config{Keep: 2, Log: slog.New(slog.NewTextHandler(&log, nil))})
	tr := trace.NewTrace("token", time.Now())
	_ = tr.Refuse(trace.Check{Name: "assertion.exp"}, trace.InvalidClient, trace.Finding{
		Expected: "exp after now",
		Found:    "46 s ago",
		Remedy:   "make a new one",
	})

	l.Record(tr)

	for _, want := range []string{
		"level=INFO", "outcome=invalid_client", "check=assertion.exp", `found="46 s ago"`, `expected="exp after now"`,
		`remedy="make a new one"`,
	} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("no %s in %s", want, log.String())
		}
	}
}
