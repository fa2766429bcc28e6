package gateway_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"testing"
)

// The evidence knows of a message before anyone else has a byte of it, so that a
// gateway that is killed at any moment leaves none untold.
func TestNothingGoesOutUnannounced(t *testing.T) {
	var w *env
	known := func(where string, want int) {
		if calls, _ := w.evidence.owed(); calls != want {
			t.Errorf("%s: %d messages are known, want %d", where, calls, want)
		}
	}
	b := newBackend(t, func(c net.Conn) {
		br := bufio.NewReader(c)
		if _, err := br.Peek(1); err != nil {
			return
		}

		known("the first byte of a request", 1)
		req, err := http.ReadRequest(br)
		if err != nil {
			return
		}

		io.Copy(io.Discard, req.Body)
		io.WriteString(c, "HTTP/1.1 103 Early Hints\r\n\r\n")
		io.WriteString(c, "HTTP/1.1 200 OK\r\n\r\nto the end")
	})
	w = newEnv(t, b, nil)
	c := w.dial()
	io.WriteString(c, post+"Content-Length: 3\r\n\r\na")

	io.WriteString(c, "bc")
	got := make([]byte, len("HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\n\r\nt"))
	if _, err := io.ReadFull(c, got); err != nil {
		t.Fatal(err)
	}
	known("the first byte of an answer", 3)
	c.Close()
	w.idle()

	w.evidence.clear()
	if answer := w.ask("GET /none" + heads + "\r\n"); status(answer) != "404" {
		t.Fatal(answer)
	}
	known("an answer of the gateway's own", 2)
	w.idle()
	if calls, lines := w.evidence.owed(); calls != lines {
		t.Errorf("%d messages went out, and %d have their line", calls, lines)
	}
}
