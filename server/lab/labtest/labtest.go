// Package labtest has the test that any store of the lab must pass.
package labtest

import (
	"errors"
	"fmt"
	"reflect"
	"testing"
	"time"

	"fhirdest.example/server/lab"
	"fhirdest.example/udap/conform"
	"fhirdest.example/udap/trace"
)

// Test tests a store. open opens the same, empty store, and opens it again after it
// has been closed.
func Test(t *testing.T, open func(testing.TB) lab.Store) {
	t.Helper()
	for _, row := range []struct {
		name string
		test func(*fixture)
	}{
		{"sessions", (*fixture).sessions},
		{"room", (*fixture).room},
		{"exchanges", (*fixture).exchanges},
		{"apart", (*fixture).apart},
		{"reports", (*fixture).reports},
	} {
		t.Run(row.name, func(t *testing.T) {
			f := &fixture{T: t, open: open}
			f.Store = open(t)
			t.Cleanup(func() { f.Store.Close() })
			row.test(f)
		})
	}
}

type fixture struct {
	*testing.T
	lab.Store
	open func(testing.TB) lab.Store
}

func (f *fixture) ok(err error) {
	f.Helper()
	if err != nil {
		f.Fatal(err)
	}
}

func (f *fixture) restart() {
	f.Helper()
	f.ok(f.Store.Close())
	f.Store = f.open(f.T)
}

var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func session(id string, after time.Duration) lab.Session {
	return lab.Session{
		ID:      id,
		Name:    "name of " + id,
		Mode:    lab.Strict,
		Faults:  []string{"one"},
		Created: start.Add(after),
		Expires: start.Add(time.Hour),
	}
}

// exchange has bytes that are no text.
func exchange(n uint64) *conform.Exchange {
	return &conform.Exchange{
		N:        n,
		Received: start.Add(time.Duration(n) * time.Second),
		Method:   "GET",
		Target:   fmt.Sprintf("/%d", n),
		Step:     conform.Read,
		Request: conform.Message{
			Head: []byte("GET / HTTP/1.1\r\nX: \xff\x00\r\n\r\n"),
			Body: []byte{0, 1, 2, 0xff},
		},
		Answer: conform.Message{Head: []byte("HTTP/1.1 200 OK\r\n\r\n")},
		Traces: []*trace.Trace{{ID: "t", Action: "a", Steps: []trace.Step{}}},
	}
}

func (f *fixture) ids() (ids []string) {
	f.Helper()
	all, err := f.Sessions(f.Context())
	f.ok(err)
	for _, s := range all {
		ids = append(ids, s.ID)
	}
	return ids
}

func (f *fixture) sessions() {
	second, first := session("aa", time.Minute), session("bb", 0)
	f.ok(f.Create(f.Context(), second, 5))
	f.ok(f.Create(f.Context(), first, 5))
	first.Faults, first.Counts.Dropped = nil, 7
	f.ok(f.Update(f.Context(), first))

	f.restart()
	all, err := f.Sessions(f.Context())
	f.ok(err)
	if want := []lab.Session{first, second}; !reflect.DeepEqual(all, want) {
		f.Errorf("sessions:\n%+v, want\n%+v", all, want)
	}

	f.ok(f.Remove(f.Context(), "aa"))
	f.ok(f.Remove(f.Context(), "aa"))
	if got := fmt.Sprint(f.ids()); got != "[bb]" {
		f.Errorf("sessions %s", got)
	}
	if err := f.Update(f.Context(), second); !errors.Is(err, lab.ErrNoSession) {
		f.Errorf("update of one that was removed: %v", err)
	}
}

func (f *fixture) room() {
	f.ok(f.Create(f.Context(), session("a", 0), 2))
	f.ok(f.Create(f.Context(), session("b", 0), 2))
	if err := f.Create(f.Context(), session("c", 0), 2); !errors.Is(err, lab.ErrFull) {
		f.Errorf("one too many: %v", err)
	}
	f.ok(f.Remove(f.Context(), "a"))
	f.ok(f.Create(f.Context(), session("c", 0), 2))
}

// numbers returns the numbers of exchanges.
func (f *fixture) numbers(id string, from uint64, n int) string {
	f.Helper()
	all, err := f.Exchanges(f.Context(), id, from, n)
	f.ok(err)
	numbers := []uint64{}
	for _, e := range all {
		numbers = append(numbers, e.N)
	}
	return fmt.Sprint(numbers)
}

func (f *fixture) exchanges() {
	s := session("a", 0)
	if err := f.Append(f.Context(), s, nil); !errors.Is(err, lab.ErrNoSession) {
		f.Errorf("exchanges of no session: %v", err)
	}

	f.ok(f.Create(f.Context(), s, 5))
	s.Counts.Exchanges = 300
	var many []*conform.Exchange
	for n := range uint64(300) {
		many = append(many, exchange(n+1))
	}
	f.ok(f.Append(f.Context(), s, many[:150]))
	f.ok(f.Append(f.Context(), s, many[150:]))

	f.restart()
	all, err := f.Exchanges(f.Context(), "a", 1, 1000)
	f.ok(err)
	if !reflect.DeepEqual(all, many) {
		f.Errorf("%d exchanges are not as they were", len(all))
	}

	for _, row := range []struct {
		from uint64
		n    int
		want string
	}{
		{1, 2, "[1 2]"}, {255, 3, "[255 256 257]"}, {300, 9, "[300]"}, {301, 9, "[]"},
	} {
		if got := f.numbers("a", row.from, row.n); got != row.want {
			f.Errorf("from %d: %s", row.from, got)
		}
	}

	s.Counts = lab.Counts{}
	f.ok(f.Clear(f.Context(), s))
	if got := f.numbers("a", 1, 9); got != "[]" {
		f.Errorf("after Clear: %s", got)
	}
	if kept, _ := f.Sessions(f.Context()); kept[0].Counts != s.Counts {
		f.Errorf("after Clear: %+v", kept[0])
	}
}

// apart: sessions share nothing, also where one id begins with another.
func (f *fixture) apart() {
	for i, id := range []string{"a", "ab", "b"} {
		s := session(id, 0)
		f.ok(f.Create(f.Context(), s, 5))
		f.ok(f.Append(f.Context(), s, []*conform.Exchange{exchange(uint64(i + 1))}))
	}

	f.ok(f.Remove(f.Context(), "a"))
	for id, want := range map[string]string{"a": "[]", "ab": "[2]", "b": "[3]", "": "[]"} {
		if id != "" {
			if got := f.numbers(id, 0, 9); got != want {
				f.Errorf("%q: %s", id, got)
			}
		}
	}
}

func (f *fixture) reports() {
	f.ok(f.Create(f.Context(), session("a", 0), 5))
	f.ok(f.PutReport(f.Context(), "a", "last", []byte("one")))
	f.ok(f.PutReport(f.Context(), "a", "last", []byte("two")))
	if err := f.PutReport(f.Context(), "b", "last", []byte("x")); !errors.Is(err, lab.ErrNoSession) {
		f.Errorf("report of no session: %v", err)
	}

	f.restart()
	for _, row := range []struct{ id, name, want string }{
		{"a", "last", "two"}, {"a", "other", ""}, {"b", "last", ""},
	} {
		got, err := f.Report(f.Context(), row.id, row.name)
		if f.ok(err); string(got) != row.want {
			f.Errorf("%s %s: %q", row.id, row.name, got)
		}
	}

	f.ok(f.Remove(f.Context(), "a"))
	if got, err := f.Report(f.Context(), "a", "last"); got != nil || err != nil {
		f.Errorf("after Remove: %q, %v", got, err)
	}
}
