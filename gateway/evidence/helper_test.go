package evidence

import (
	"crypto/sha256"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"fhirdest.example/gateway/wire"
)

var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func digest(s string) wire.Digest {
	if s == "" {
		return wire.Digest{}
	}
	return wire.Digest{Bytes: int64(len(s)), Sum: sha256.Sum256([]byte(s))}
}

// hop writes the file of one hop; its lines get a time each, and a request the next number.
type hop struct {
	t    *testing.T
	path string
	log  *Log
	n    int    // lines
	seq  uint64 // of the latest request
	conn string
}

func newHop(t *testing.T, name string, opt Options) *hop {
	t.Helper()
	opt.Now = func() time.Time { return start }
	h := &hop{t: t, conn: "c", path: filepath.Join(t.TempDir(), name+".jsonl")}
	var err error
	if h.log, err = Open(h.path, name, opt); err != nil {
		t.Fatal(err)
	}
	return h
}

// add records a request, or with a status a response.
func (h *hop) add(status int, in, out string) {
	h.t.Helper()
	h.put(status, in, out, func(*wire.Message) {})
}

// mapped records a request that a mapped route changed.
func (h *hop) mapped(in, out string) {
	h.t.Helper()
	h.put(0, in, out, func(m *wire.Message) { m.Mapped = true })
}

func (h *hop) put(status int, in, out string, change func(*wire.Message)) {
	h.t.Helper()
	h.n++
	if status == 0 {
		h.seq++
	}
	m := &wire.Message{
		Time:     start.Add(time.Duration(h.n) * time.Millisecond),
		Conn:     h.conn,
		Seq:      h.seq,
		Route:    "acme",
		Method:   "GET",
		Status:   status,
		Response: status > 0,
		In:       digest(in),
		Out:      digest(out),
	}
	change(m)

	if err := h.log.Record(m); err != nil {
		h.t.Fatal(err)
	}
}

func path(hops []*hop) (p []string) {
	for _, h := range hops {
		h.log.Close()
		p = append(p, h.path)
	}
	return p
}

// compare returns the verdicts, each with its hop, in the order of reporting.
func compare(t *testing.T, paths []string) (*Summary, string) {
	t.Helper()
	var s strings.Builder
	sum, err := Compare(paths, func(f *Finding) { fmt.Fprintf(&s, "%s %s %s;", f.Dir, f.Verdict, f.Hop) })
	if err != nil {
		t.Fatal(err)
	}
	return sum, s.String()
}
