package fetch

import (
	"net/http"
	"strings"
	"testing"
	"time"
)

// Key sets come over https or from an origin that is named, are fetched once
// for many and again after a while, and never from an internal address.
// Covers: S2-24, case 098
func TestKeySet(t *testing.T) {
	c := newClock()
	set := `{"keys":[]}`
	p := newListServer(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(set)) })
	s := newSource(t, c, Config{Allow: []string{p.URL}, Refresh: time.Minute})

	for range 3 {
		if got, err := s.KeySet(t.Context(), p.URL+"/jwks"); err != nil || string(got) != set {
			t.Fatalf("%q %v", got, err)
		}
	}

	if n := p.hits.Load(); n != 1 {
		t.Errorf("fetched %d times", n)
	}
	c.move(2 * time.Minute)
	set = `{"keys":[{}]}`
	if got, err := s.KeySet(t.Context(), p.URL+"/jwks"); err != nil || string(got) != set {
		t.Errorf("after a while: %q %v", got, err)
	}

	hits := p.hits.Load()
	closed := newSource(t, c, Config{})
	for place, says := range map[string]string{
		p.URL + "/jwks": "https only",
		"https" + strings.TrimPrefix(p.URL, "http") + "/jwks": "not a public address",
		"file:///etc/passwd": "",
	} {
		t.Run(place, func(t *testing.T) {
			if _, err := closed.KeySet(t.Context(), place); err == nil || !strings.Contains(err.Error(), says) {
				t.Errorf("%s: %v", place, err)
			}
		})
	}

	if p.hits.Load() != hits {
		t.Error("somebody connected")
	}
}
