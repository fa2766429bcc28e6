//go:build unix

package gateway

import (
	"crypto/tls"
	"testing"
)

// Connections by default, and what descriptors and memory make of those that are set.
func TestDefaultConnections(t *testing.T) {
	for name, c := range map[string]struct {
		limits      Limits
		descriptors int
		want        int
	}{
		"of the memory":           {Limits{}, 1 << 20, 192 << 20 / (36 << 10)},
		"of more memory":          {Limits{Memory: 1 << 30}, 1 << 20, 768 << 20 / (36 << 10)},
		"of the descriptors":      {Limits{}, 300, 118},
		"without a memory limit":  {Limits{Memory: -1}, 1064, 500},
		"set":                     {Limits{Connections: 7}, 300, 7},
		"set, beyond descriptors": {Limits{Connections: 250}, 300, 118},
		"hardly any descriptors":  {Limits{}, 10, 1},
	} {
		t.Run(name, func(t *testing.T) {
			if got := c.limits.withDefaults(c.descriptors).Connections; got != c.want {
				t.Errorf("%d, want %d", got, c.want)
			}
		})
	}
}

// At the ceiling a new upstream replaces one that does nothing, and none that is in use.
func TestUpstreamsAtTheCeiling(t *testing.T) {
	s := upstreams{memory: &budget{}}
	var all []*upstream
	for range 2 {
		raw, _ := rawPair(t)
		u := &upstream{
			endpoint: new(endpoint),
			raw:      raw,
			tls:      tls.Client(raw, &tls.Config{InsecureSkipVerify: true}),
		}

		if !s.reserve(2) {
			t.Fatal("there is no place below the ceiling")
		}
		s.add(u)
		all = append(all, u)
	}

	for _, u := range all {
		if !u.acquire() {
			t.Fatal("an open one cannot be used")
		}
	}

	if s.reserve(2) {
		t.Error("one in use gave up its place")
	}

	all[1].park()
	if !s.reserve(2) || s.count() != 1 {
		t.Errorf("an idle one was not closed: %d are open", s.count())
	}
	if all[1].acquire() {
		t.Error("the closed one can be used")
	}
	if _, err := all[1].raw.Write([]byte("x")); err == nil {
		t.Error("it is open")
	}

	s.release()
	s.close(all[0], true)
	if n := s.memory.used.Load(); n != 0 || s.count() != 0 || s.dialled != 0 {
		t.Errorf("%d bytes are still counted", n)
	}
}
