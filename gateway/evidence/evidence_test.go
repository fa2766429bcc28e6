package evidence

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
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

// hop writes the file of one hop; its lines get a time each.
type hop struct {
	t    *testing.T
	path string
	log  *Log
	n    int
}

func newHop(t *testing.T, name string, opt Options) *hop {
	t.Helper()
	opt.Now = func() time.Time { return start }
	h := &hop{t: t, path: filepath.Join(t.TempDir(), name+".jsonl")}
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
	m := &wire.Message{
		Time:     start.Add(time.Duration(h.n) * time.Millisecond),
		Conn:     "c",
		Seq:      uint64(h.n),
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

func TestLineHasExactlyTheKeys(t *testing.T) {
	h := newHop(t, `ga"te`, Options{})
	h.add(0, "abc", "abc")
	h.add(200, "", "xy")
	h.log.Close()
	b, _ := os.ReadFile(h.path)
	want := `{"time":"2026-01-02T03:04:05.001Z","hop":"ga\"te","route":"acme","conn":"c","seq":1,"dir":"request","method":"GET","status":0,"bytesIn":3,"bytesOut":3,` +
		`"sha256In":"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad","sha256Out":"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"}` + "\n"
	first, rest, _ := strings.Cut(string(b), "\n")
	if first+"\n" != want {
		t.Errorf("line is\n%s\nwant\n%s", first, want)
	}

	var l Line
	if err := json.Unmarshal([]byte(rest), &l); err != nil || l.SHA256In != "" || l.BytesOut != 2 ||
		l.Dir != "response" {
		t.Errorf("second line %s: %v", rest, err)
	}
	if info, _ := os.Stat(h.path); info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v", info.Mode())
	}
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

func TestCompare(t *testing.T) {
	for name, c := range map[string]struct {
		fill func(o, g, d, s *hop)
		want string
		code int
	}{
		"identical": {func(o, g, d, s *hop) {
			for _, h := range []*hop{o, g, d, s} {
				h.add(0, "ask", "ask")
				h.add(200, "answer", "answer")
			}
		}, "request identical ;response identical ;", 0},
		"straight": {func(o, g, d, s *hop) {
			o.add(0, "ask", "ask")
			s.add(0, "ask", "ask")
		}, "request straight ;", 0},
		"the same both ways": {func(o, g, d, s *hop) {
			for _, h := range []*hop{o, g, d, s, o, s} {
				h.add(0, "ask", "ask")
			}
		}, "request identical ;request straight ;", 0},
		"request tampered with between gateway and delegate": {func(o, g, d, s *hop) {
			o.add(0, "ask", "ask")
			g.add(0, "ask", "ask")
			d.add(0, "asK", "asK")
			s.add(0, "asK", "asK")
		}, "request differs delegate;", 1},
		"request tampered with inside the gateway": {func(o, g, d, s *hop) {
			o.add(0, "ask", "ask")
			g.add(0, "ask", "asK")
			d.add(0, "asK", "asK")
			s.add(0, "asK", "asK")
		}, "request differs gateway;", 1},
		"response tampered with between delegate and gateway": {func(o, g, d, s *hop) {
			o.add(200, "answeR", "answeR")
			g.add(200, "answeR", "answeR")
			d.add(200, "answer", "answer")
			s.add(200, "answer", "answer")
		}, "response differs gateway;", 1},
		"not at the delegate": {func(o, g, d, s *hop) {
			for _, h := range []*hop{o, g, s} {
				h.add(0, "ask", "ask")
			}
		}, "request differs delegate;", 1},
		"answered by the gateway": {func(o, g, d, s *hop) {
			o.add(0, "ask", "ask")
			g.add(0, "ask", "")
			g.add(404, "", "no route")
			o.add(404, "no route", "no route")
		}, "request answered gateway;response answered gateway;", 0},
		"cut at the gateway": {func(o, g, d, s *hop) {
			o.add(0, "ask more", "ask more")
			g.add(0, "ask more", "ask")
			d.add(0, "ask", "ask")
			s.add(0, "ask", "ask")
		}, "request differs gateway;", 1},
		"mapped by the gateway": {func(o, g, d, s *hop) {
			o.add(0, "ask", "ask")
			g.mapped("ask", "inner ask")
			d.add(0, "inner ask", "inner ask")
			s.add(0, "inner ask", "inner ask")
			for _, h := range []*hop{o, g, d, s} {
				h.add(200, "answer", "answer")
			}
		}, "request mapped gateway;response identical ;", 0},
		"mapped by both": {func(o, g, d, s *hop) {
			o.add(0, "ask", "ask")
			g.mapped("ask", "inner ask")
			d.mapped("inner ask", "innermost ask")
			s.add(0, "innermost ask", "innermost ask")
		}, "request mapped gateway;", 0},
		"mapped, then tampered with on the way to the delegate": {func(o, g, d, s *hop) {
			o.add(0, "ask", "ask")
			g.mapped("ask", "inner ask")
			d.add(0, "inner asK", "inner asK")
			s.add(0, "inner asK", "inner asK")
		}, "request differs delegate;", 1},
		"mapped, then tampered with inside the delegate": {func(o, g, d, s *hop) {
			o.add(0, "ask", "ask")
			g.mapped("ask", "inner ask")
			d.add(0, "inner ask", "inner asK")
			s.add(0, "inner asK", "inner asK")
		}, "request differs delegate;", 1},
		"mapped, then tampered with on the way to the destination": {func(o, g, d, s *hop) {
			o.add(0, "ask", "ask")
			g.mapped("ask", "inner ask")
			d.mapped("inner ask", "innermost ask")
			s.add(0, "innermost asK", "innermost asK")
		}, "request differs destination;", 1},
		"tampered with before it was mapped": {func(o, g, d, s *hop) {
			o.add(0, "ask", "ask")
			g.mapped("asK", "inner asK")
			d.add(0, "inner asK", "inner asK")
			s.add(0, "inner asK", "inner asK")
		}, "request differs gateway;", 1},
		"mapped, and not at the delegate": {func(o, g, d, s *hop) {
			o.add(0, "ask", "ask")
			g.mapped("ask", "inner ask")
			s.add(0, "inner ask", "inner ask")
		}, "request differs delegate;", 1},
		"an answer is never mapped": {func(o, g, d, s *hop) {
			for _, h := range []*hop{o, g} {
				h.add(200, "inner answer", "inner answer")
			}
			d.put(200, "answer", "inner answer", func(m *wire.Message) { m.Mapped = true })
			s.add(200, "answer", "answer")
		}, "response differs delegate;", 1},
		"the gateway tells another status": {func(o, g, d, s *hop) {
			for _, h := range []*hop{o, d, s} {
				h.add(200, "answer", "answer")
			}
			g.add(500, "answer", "answer")
		}, "response differs gateway;", 1},
		"the delegate tells another method": {func(o, g, d, s *hop) {
			for _, h := range []*hop{o, g, s} {
				h.add(0, "ask", "ask")
			}
			d.put(0, "ask", "ask", func(m *wire.Message) { m.Method = "POST" })
		}, "request differs delegate;", 1},
		"equal answers to other methods": {func(o, g, d, s *hop) {
			for _, h := range []*hop{o, g, s} {
				h.add(404, "none", "none")
			}
			d.put(404, "none", "none", func(m *wire.Message) { m.Method = "POST" })
		}, "response identical ;", 0},
		"the gateway could not read it": {func(o, g, d, s *hop) {
			o.add(0, "ask", "ask")
			g.put(0, "ask", "", func(m *wire.Message) { m.Method = "" })
			g.add(400, "", "no")
			o.add(400, "no", "no")
		}, "request answered gateway;response answered gateway;", 0},
		"mapped beside straight in the mapped form": {func(o, g, d, s *hop) {
			o.add(0, "inner ask", "inner ask")
			s.add(0, "inner ask", "inner ask")
			o.add(0, "ask", "ask")
			g.mapped("ask", "inner ask")
			d.add(0, "inner ask", "inner ask")
			s.add(0, "inner ask", "inner ask")
		}, "request mapped gateway;request straight ;", 0},
		"an answer that the client did not wait for": {func(o, g, d, s *hop) {
			g.add(200, "answer", "")
			d.add(200, "answer", "answer")
			s.add(200, "answer", "answer")
		}, "response differs gateway;", 1},
		"two tampered of the same kind": {func(o, g, d, s *hop) {
			for i := range 2 {
				for _, h := range []*hop{o, g} {
					h.add(0, fmt.Sprint("ask", i), fmt.Sprint("ask", i))
				}
				for _, h := range []*hop{d, s} {
					h.add(0, fmt.Sprint("asK", i), fmt.Sprint("asK", i))
				}
			}
		}, "request differs delegate;request differs delegate;", 1},
	} {
		hops := []*hop{
			newHop(t, "originator", Options{}),
			newHop(t, "gateway", Options{}),
			newHop(t, "delegate", Options{}),
			newHop(t, "destination", Options{}),
		}
		c.fill(hops[0], hops[1], hops[2], hops[3])
		p := path(hops)
		sum, got := compare(t, p)
		if got != c.want || sum.ExitCode() != c.code {
			t.Errorf("%s: %q, exit %d; want %q, exit %d", name, got, sum.ExitCode(), c.want, c.code)
		}

		// The order of the manifest: destination first, originator last.
		if _, got := compare(t, []string{p[3], p[1], p[2], p[0]}); got != c.want {
			t.Errorf("%s, in the manifest's order: %q", name, got)
		}
	}
}

func TestReport(t *testing.T) {
	a, b := newHop(t, "originator", Options{}), newHop(t, "destination", Options{})
	a.add(0, "ask", "ask")
	b.add(0, "asK", "asK")
	p := path([]*hop{a, b})
	var text, js bytes.Buffer
	if code, err := Report(&text, p, false); code != 1 || err != nil ||
		!strings.Contains(text.String(), "differs at destination: originator sent 3 bytes") {
		t.Errorf("exit %d, %v:\n%s", code, err, &text)
	}

	if code, err := Report(&js, p, true); code != 1 || err != nil {
		t.Errorf("exit %d, %v", code, err)
	}
	var doc struct {
		Messages []Finding
		Summary  Summary
	}
	if err := json.Unmarshal(js.Bytes(), &doc); err != nil || len(doc.Messages) != 1 ||
		doc.Summary.First.Hop != "destination" {
		t.Errorf("%v: %s", err, &js)
	}

	if _, err := Report(&js, []string{p[0], p[0] + "x"}, true); err == nil {
		t.Error("a missing file is not told")
	}
}

func TestRotationKeepsEveryLine(t *testing.T) {
	a, b := newHop(t, "originator", Options{
		Rotate: 2000,
		Flush:  time.Millisecond,
	}), newHop(t, "destination", Options{Sync: SyncInterval})

	for i := range 200 {
		a.add(0, fmt.Sprint(i), fmt.Sprint(i))
		b.add(0, fmt.Sprint(i), fmt.Sprint(i))
		if i%20 == 0 {
			a.log.Flush()
		}
	}

	p := path([]*hop{a, b})
	olds, _ := rotated(p[0])
	if sum, _ := compare(t, p); sum.Identical != 200 || len(olds) < 5 {
		t.Errorf("%+v, %d files", sum, len(olds))
	}
}

func TestSyncEachIsDurableAtReturn(t *testing.T) {
	h := newHop(t, "gateway", Options{Sync: SyncEach})
	var wg sync.WaitGroup
	for range 50 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			if err := h.log.Record(&wire.Message{Time: start, In: digest("x"), Out: digest("x")}); err != nil {
				t.Error(err)
			}
		}()
	}

	wg.Wait()
	b, _ := os.ReadFile(h.path)
	if n := bytes.Count(b, []byte("\n")); n != 50 {
		t.Errorf("%d lines are in the file when Record has returned 50 times", n)
	}
	h.log.Close()
}

// A disk that goes away: the error shows, lines wait, and those that could not are told
// of in the file and by Compare.
func TestLossIsNeverSilent(t *testing.T) {
	h := newHop(t, "gateway", Options{Flush: time.Millisecond, Rotate: 1})
	h.add(0, "before", "before")
	h.log.Flush()
	dir, gone := filepath.Dir(h.path), filepath.Join(t.TempDir(), "gone")
	if err := os.Rename(dir, gone); err != nil {
		t.Fatal(err)
	}
	lost, kept := 0, 1
	for i := 0; lost < 100; i++ { // what is kept is bounded
		if h.log.Record(&wire.Message{
			Time:   start,
			Method: "GET",
			In:     digest(fmt.Sprint(i)),
			Out:    digest(fmt.Sprint(i)),
		}) != nil {
			lost++
		} else if kept++; kept > 10_000 {
			t.Fatalf("%d lines are kept for a disk that fails", kept)
		}
	}

	if h.log.Flush() == nil || h.log.Err() == nil || h.log.Lost() != int64(lost) {
		t.Fatalf("error %v, %d lost of which the log says %d", h.log.Err(), lost, h.log.Lost())
	}
	if err := errors.Join(os.Rename(gone, dir), h.log.Flush()); err != nil {
		t.Fatal(err)
	}
	p := path([]*hop{h, newHop(t, "destination", Options{})})
	sum, _ := compare(t, p)
	if sum.Lost != int64(lost) || sum.Messages != int64(kept) || sum.ExitCode() != 1 {
		t.Errorf("%d lost, but: %+v", lost, sum)
	}
}

func TestOpenEndsAHalfLine(t *testing.T) {
	h := newHop(t, "gateway", Options{})
	h.add(0, "x", "x")
	h.log.Close()
	f, _ := os.OpenFile(h.path, os.O_APPEND|os.O_WRONLY, 0)
	f.WriteString(`{"time":"20`)
	f.Close()
	l, err := Open(h.path, "gateway", Options{Now: func() time.Time { return start }})
	if err != nil {
		t.Fatal(err)
	}

	l.Record(&wire.Message{Time: start, In: digest("y"), Out: digest("y")})
	l.Close()
	sum, _ := compare(t, []string{h.path, h.path})
	if sum.Identical != 2 || sum.Unreadable != 2 || sum.ExitCode() != 1 {
		t.Errorf("%+v", sum)
	}
}

func TestFastAndSlowReadTheSame(t *testing.T) {
	for _, mapped := range []bool{false, true} {
		b := appendMessage(nil, `"gateway"`, &wire.Message{
			Time:     start.Add(123456),
			Conn:     "a-1",
			Seq:      7,
			Route:    "r",
			Response: true,
			Method:   "HEAD",
			Status:   304,
			In:       digest("in"),
			Out:      digest("out"),
			Mapped:   mapped,
		})

		var fast, slow Line
		if !parseFast(b, &fast) {
			t.Fatal("our own line is not read fast")
		}
		if err := json.Unmarshal(b, &slow); err != nil || fast != slow || fast.Mapped != mapped {
			t.Errorf("%v\n%+v\n%+v", err, fast, slow)
		}
	}
}

// Half a million lines a hop stay in bounds: what is matched is forgotten.
func TestCompareStreams(t *testing.T) {
	if testing.Short() {
		return
	}

	a, b := newHop(t, "originator", Options{}), newHop(t, "destination", Options{})
	for i := range 100_000 {
		s := fmt.Sprint(i)
		a.add(0, s, s)
		b.add(0, s, s)
	}

	peak := 0
	p := path([]*hop{a, b})
	sum, err := Compare(p, func(*Finding) { peak++ })
	if err != nil || sum.Identical != 100_000 || peak != 100_000 {
		t.Errorf("%+v, %v", sum, err)
	}
}

// What is straight or mapped does not wait for the end of the files: its lines, links
// and parts are let go once its time is over.
func TestStraightAndMappedAreLetGo(t *testing.T) {
	const n = 20_000
	hops := []*hop{
		newHop(t, "originator", Options{}),
		newHop(t, "gateway", Options{}),
		newHop(t, "destination", Options{}),
	}
	o, g, d := hops[0], hops[1], hops[2]

	for i := range n {
		for _, h := range hops {
			h.n = i * 100 // one in 100 ms
		}
		straight, via := fmt.Sprint("straight ", i), fmt.Sprint("via ", i)
		o.add(0, straight, straight)
		d.add(0, straight, straight)
		o.add(0, via, via)
		g.mapped(via, "inner "+via)

		d.add(0, "inner "+via, "inner "+via)
		for _, h := range []*hop{o, d} {
			h.add(200, "answer to "+straight, "answer to "+straight)
		}
	}

	c := &comparison{links: map[link]*queue{}, each: func(*Finding) {}, window: joinWindow}
	defer c.close()
	if err := c.open(path(hops)); err != nil {
		t.Fatal(err)
	}
	if err := c.match(); err != nil {
		t.Fatal(err)
	}

	most := int(joinWindow/(100*time.Millisecond)) + 10 // of each kind in the last window
	if c.summary.Mapped != n || int(c.summary.Straight) < 2*(n-most) || len(c.links) > 4*most ||
		len(c.aging) > 4*most || len(c.loose) > 0 {
		t.Errorf("before the end %+v; %d links, %d aging, %d loose", c.summary, len(c.links), len(c.aging),
			len(c.loose))
	}

	c.leftOver()
	if c.summary.Straight != 2*n || c.summary.Differs != 0 {
		t.Errorf("in the end %+v", c.summary)
	}
}

// A hop whose clock is an hour off changes no verdict.
func TestCompareWithAClockThatIsOff(t *testing.T) {
	for _, off := range []int{-3_600_000, 3_600_000} {
		hops := []*hop{
			newHop(t, "originator", Options{}),
			newHop(t, "gateway", Options{}),
			newHop(t, "destination", Options{}),
		}

		for i := range 1000 {
			for j, h := range hops {
				h.n = i * 10_000 // one in 10 s
				if j == 1 {
					h.n += off
				}
				h.add(0, fmt.Sprint(i), fmt.Sprint(i))
			}
		}

		if sum, _ := compare(t, path(hops)); sum.Identical != 1000 || sum.Messages != 1000 {
			t.Errorf("off by %d ms: %+v", off, sum)
		}
	}
}
