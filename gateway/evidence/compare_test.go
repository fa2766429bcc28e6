package evidence

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"
)

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

// dayOfTraffic writes n exchanges, one each 100 ms, of clients that keep their connections
// for ten requests, one of five going straight and one of five mapped. ahead is how far each
// hop's clock is ahead.
func dayOfTraffic(t *testing.T, n int, ahead [3]time.Duration) []string {
	t.Helper()
	hops := []*hop{
		newHop(t, "originator", Options{}),
		newHop(t, "gateway", Options{}),
		newHop(t, "destination", Options{}),
	}

	for i := range n {
		ask, answer := fmt.Sprint("ask ", i), fmt.Sprint("answer ", i)
		for j, h := range hops {
			straight, sent := i/10%5 == 0, ask
			if straight && j == 1 {
				continue
			}

			h.n = i*100 + int(ahead[j]/time.Millisecond)
			if h.conn = fmt.Sprint("c", i/10); i%10 == 0 {
				h.seq = 0
			}
			if mapped := i/10%5 == 1; mapped && j == 1 {
				h.mapped(ask, "inner "+ask)
				sent = ""
			} else if mapped && j == 2 {
				sent = "inner " + ask
			}

			if sent != "" {
				h.add(0, sent, sent)
			}
			h.add(200, answer, answer)
		}
	}

	return path(hops)
}

// What has been matched does not wait for the end of the files, whatever the clocks show:
// exchanges and links are let go. What is straight is so two minutes later.
func TestCompareLetsGo(t *testing.T) {
	const n = 20_000
	for name, ahead := range map[string][3]time.Duration{
		"one clock":                 {},
		"five minutes apart":        {0, 5 * time.Minute, -5 * time.Minute},
		"the gateway an hour ahead": {0, time.Hour, 0},
		"all a day apart":           {24 * time.Hour, 0, -24 * time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			c := newComparison(nil, func(*Finding) {})
			defer c.close()
			if err := c.open(dayOfTraffic(t, n, ahead)); err != nil {
				t.Fatal(err)
			}

			held := 0
			for more := true; more; {
				var err error
				if more, err = c.step(); err != nil {
					t.Fatal(err)
				}
				held = max(held, len(c.links)+len(c.aging)+len(c.loose))
			}

			if most := 4 * int(straightAfter/(100*time.Millisecond)); held > most {
				t.Errorf("%d exchanges wait at once, want %d at most", held, most)
			}
			if len(c.recent.chains) > 2*recentMany+1 || len(c.recent.counts) > 2*recentMany+1 {
				t.Errorf("%d and %d recent exchanges", len(c.recent.chains), len(c.recent.counts))
			}

			if err := c.leftOver(); err != nil {
				t.Fatal(err)
			}
			want := Summary{Messages: 2 * n, Straight: 2 * n / 5, Mapped: n / 5, Identical: 2*n - 3*n/5}
			got := c.summary
			if got.Messages != want.Messages || got.Straight != want.Straight || got.Mapped != want.Mapped ||
				got.Identical != want.Identical {
				t.Errorf("got %+v, want %+v; first %+v", got, want, got.First)
			}
		})
	}
}

// Connections that have long been idle are forgotten, once there are many.
func TestIdleConnectionsAreForgotten(t *testing.T) {
	s := &source{conns: map[string]*conn{}}
	for i := range 3 * connsKept {
		s.assemble(&Line{
			Time: start.Add(time.Duration(i) * time.Second),
			Dir:  "request",
			Conn: fmt.Sprint(i),
			Seq:  1,
		})

		s.assemble(&Line{
			Time:   start.Add(time.Duration(i) * time.Second),
			Dir:    "response",
			Status: 200,
			Conn:   fmt.Sprint(i),
			Seq:    1,
		})
	}

	if len(s.conns) > connsKept+1 {
		t.Errorf("%d connections are kept", len(s.conns))
	}
}
