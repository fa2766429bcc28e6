package server_test

import (
	"bufio"
	"context"
	"net/http"
	"strings"
	"testing"

	"fhirdest.example/server/lab"
	"fhirdest.example/server/servertest"
)

// Events of a session arrive as they happen, at the public site, and a stream goes on
// where another ended.
func TestEventsOfASession(t *testing.T) {
	d := servertest.Start(t, servertest.Lab)
	s := d.OpenLab(lab.OpenRequest{})
	events := func(last string) *bufio.Scanner {
		ctx, cancel := context.WithCancel(context.Background())
		t.Cleanup(cancel)
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.Session.Page+"api/events", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Last-Event-ID", last)
		res, err := d.HTTP.Do(req)
		if err != nil {
			t.Fatal(err)
		}

		t.Cleanup(func() { res.Body.Close() })
		if res.StatusCode != http.StatusOK {
			t.Fatalf("events: %s", res.Status)
		}
		return bufio.NewScanner(res.Body)
	}

	next := func(lines *bufio.Scanner) (id, text string) {
		for lines.Scan() {
			if n, ok := strings.CutPrefix(lines.Text(), "id: "); ok {
				id = n
			}
			if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
				return id, data
			}
		}

		t.Fatalf("the stream ended: %v", lines.Err())
		return "", ""
	}

	watched := events("")
	for i, path := range []string{"/metadata", "/.well-known/udap", "//"} {
		d.Get(s.Session.Base + path)
		id, text := next(watched)
		if id != string(rune('1'+i)) || !strings.Contains(text, path+`"`) {
			t.Errorf("event %s: %s", id, text)
		}
	}

	if id, text := next(events("2")); id != "3" || !strings.Contains(text, `fhir//"`) {
		t.Errorf("after the second: %s %s", id, text)
	}
}
