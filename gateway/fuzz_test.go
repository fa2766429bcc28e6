package gateway_test

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"fhirdest.example/gateway"
)

// FuzzRelay: what arrives at the destination is a beginning of what the client sent,
// byte for byte, and net/http there reads it as requests; where nothing arrives, the
// answer is one refusal, or none.
//
// Covers: case 289, 290, 292, 296, 309
func FuzzRelay(f *testing.F) {
	for _, in := range awkward {
		if len(in) < 1000 {
			f.Add([]byte(in))
		}
	}

	for _, c := range refusals {
		if len(c.in) < 1000 {
			f.Add([]byte(awkward["plain"] + c.in))
		}
	}

	for _, c := range upgrades {
		f.Add([]byte(c.in + get))
	}

	b := newBackend(f, func(c net.Conn) {
		br := bufio.NewReader(c)
		for {
			req, err := http.ReadRequest(br)
			if err == nil {
				_, err = io.Copy(io.Discard, req.Body)
			}
			if err != nil {
				if !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.As(err, new(net.Error)) {
					io.WriteString(c, "HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
				}
				return
			}

			io.WriteString(c, "HTTP/1.1 204 No Content\r\n\r\n")
		}
	})
	w := newEnv(f, b, func(c *gateway.Config) { c.Evidence = nil })
	f.Fuzz(func(t *testing.T, in []byte) {
		if len(in) > 4<<10 {
			return
		}

		b.mu.Lock()
		b.conns = nil
		b.mu.Unlock()
		w.t = t
		answer := w.ask(string(in))
		b.settle(t)
		got := strings.Join(b.all(), "")
		if !strings.HasPrefix(string(in), got) {
			t.Fatalf("sent %q, the destination got %q", in, got)
		}

		if got == "" && answer != "" && (!strings.HasPrefix(answer, "HTTP/1.1 4") &&
			!strings.HasPrefix(answer, "HTTP/1.1 505") || strings.Count(answer, "Connection: close") != 1) {
			t.Fatalf("%q is answered %q", in, answer)
		}
	})
}
