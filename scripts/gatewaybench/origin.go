package main

import (
	"bytes"
	"crypto/tls"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"fhirdest.example/gateway/wire"
)

// recording is what the last recorded connections brought, for the fidelity table.
type recording struct {
	mu  sync.Mutex
	raw []byte
}

// runOrigin serves as the destination. By path: /acme/N answers N bytes; /acme/answer/I
// gives awkward answer I as it is; /acme/recorded answers the raw bytes of the last
// request that was none of these.
func runOrigin(addr, dir string) error {
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, "origin.test.pem"),
		filepath.Join(dir, "origin.test.key"))
	if err != nil {
		return err
	}

	l, err := tls.Listen("tcp", addr, &tls.Config{
		Certificates:                []tls.Certificate{pair},
		NextProtos:                  []string{"http/1.1"},
		DynamicRecordSizingDisabled: true,
	})
	if err != nil {
		return err
	}
	if os.Getppid() == 1 {
		return os.ErrProcessDone
	}

	rec := &recording{}
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		go rec.serve(c)
	}
}

// bodies are answers of a size, whole.
var bodies sync.Map

func sized(n int) []byte {
	if b, ok := bodies.Load(n); ok {
		return b.([]byte)
	}
	b := append([]byte("HTTP/1.1 200 OK\r\nContent-Type: application/fhir+json\r\nContent-Length: "+strconv.Itoa(
		n)+"\r\n\r\n"), bytes.Repeat([]byte("x"), n)...)
	bodies.Store(n, b)
	return b
}

func (rec *recording) serve(c net.Conn) {
	defer c.Close()
	buf, have := make([]byte, 128<<10), 0
	for {
		end, target, err := next(buf[:have])
		if err != nil {
			return
		}
		if end == 0 {
			n, err := c.Read(buf[have:])
			if have += n; err != nil {
				return
			}
			continue
		}

		close := rec.answer(c, target, buf[:end])
		have = copy(buf, buf[end:have])
		if close {
			return
		}
	}
}

// next frames the first request in b.
func next(b []byte) (end int, target string, err error) {
	var h wire.Head
	n, err := h.End(b, len(b)+1)
	if err != nil || n == 0 {
		return 0, "", err
	}

	var r wire.Request
	if err := wire.ParseRequest(b[:n], &r); err != nil {
		return 0, "", err
	}

	body := wire.NewBody(r.Framing, r.Length)
	k, done, err := body.Feed(b[n:])
	if err != nil || !done {
		return 0, "", err
	}

	return n + k, string(r.Target), nil
}

func (rec *recording) answer(w io.Writer, target string, raw []byte) (close bool) {
	_, path, _ := strings.Cut(target, "/acme/")
	if n, err := strconv.Atoi(path); err == nil {
		w.Write(sized(n))
		return false
	}

	rec.mu.Lock()
	defer rec.mu.Unlock()
	if i, ok := strings.CutPrefix(path, "answer/"); ok {
		n, _ := strconv.Atoi(i)
		io.WriteString(w, awkwardAnswers[n].raw)
		return awkwardAnswers[n].close
	}
	if path == "recorded" {
		io.WriteString(w,
			"HTTP/1.1 200 OK\r\nContent-Length: "+strconv.Itoa(len(rec.raw))+"\r\n\r\n"+string(rec.raw))
		rec.raw = nil
		return false
	}

	rec.raw = append([]byte(nil), raw...)
	io.WriteString(w, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
	return false
}
