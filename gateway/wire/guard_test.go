package wire

import (
	"bufio"
	"errors"
	"net"
	"net/http"
	"testing"
)

// FuzzGuard: a request that the guard lets through is never refused by net/http's
// server itself, which would answer without headers and in plain text.
func FuzzGuard(f *testing.F) {
	for _, s := range []string{get + "\r\n", "GET /%zz HTTP/1.1\r\nHost: a\r\n\r\n", "GET /%20 HTTP/1.1\r\nHost: a\r\n\r\n", "GET x HTTP/1.1\r\nHost: a\r\n\r\n",
		"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", "GET http://a/x HTTP/1.1\r\nHost: a\r\n\r\n", "GET http://a:x/ HTTP/1.1\r\nHost: a:x\r\n\r\n", "CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n",
		"CONNECT /x HTTP/1.1\r\nHost: a\r\n\r\n", get + "Expect: x\r\n\r\n", get + "Expect:\r\n\r\n", get +
			"Expect: 100-continue\r\n\r\n",
		get + "Transfer-Encoding: chunked\r\nTrailer: A, Content-Length\r\n\r\n0\r\n\r\n", get +
			"Transfer-Encoding: chunked\r\nTrailer: A\r\n\r\n0\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: \r\n\r\n", "GET / HTTP/1.1\r\nHost: [::1%25x]:1\r\n\r\n", get + "X: \x80\r\n\r\n"} {
		f.Add([]byte(s))
	}

	f.Fuzz(func(t *testing.T, in []byte) {
		var g guard
		g.hold(in)
		if g.passed == 0 {
			return
		}
		if res := servedBy(t, in[:g.passed]); res.Header.Get("Ours") == "" {
			t.Fatalf("net/http answers %q by itself: %s", in, res.Status)
		}
	})
}

// servedBy gives a request to net/http's server, whose handler marks its answers.
func servedBy(t *testing.T, request []byte) *http.Response {
	t.Helper()
	here, there := net.Pipe()
	defer here.Close()

	s := &http.Server{
		DisableGeneralOptionsHandler: true,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Ours", "1")
			w.Header().Set("Connection", "close") // without reading the body
		}),
	}
	defer s.Close()

	go s.Serve(&oneConn{conn: there})
	go here.Write(request)
	res, err := http.ReadResponse(bufio.NewReader(here), nil)
	if err != nil {
		t.Fatalf("%q: %v", request, err)
	}

	return res
}

// oneConn is a listener with one connection.
type oneConn struct{ conn net.Conn }

func (l *oneConn) Accept() (net.Conn, error) {
	c := l.conn
	l.conn = nil
	if c == nil {
		return nil, net.ErrClosed
	}
	return c, nil
}

func (l *oneConn) Close() error   { return nil }
func (l *oneConn) Addr() net.Addr { return &net.TCPAddr{} }

// What net/http would refuse in its own words is refused in ours; a gateway, which
// has no reader behind it, passes it on.
func TestUnread(t *testing.T) {
	for _, c := range []struct {
		head string
		want error
	}{
		{"GET / HTTP/1.1\r\nExpect: the worst\r\n", errExpect},
		{"GET / HTTP/1.1\r\nExpect: 100-continue, x\r\n", errExpect},
		{"GET / HTTP/1.1\r\nExpect: 100-Continue\r\n", nil},
		{"GET / HTTP/1.1\r\nExpect: \r\n", nil},
		{"GET / HTTP/1.1\r\nTrailer: A, transfer-Encoding\r\n", errTrailer},
		{"GET / HTTP/1.1\r\nTrailer: A\r\n", nil},
		{"GET /%zz HTTP/1.1\r\n", errTargetForm},
		{"GET /%2 HTTP/1.1\r\n", errTargetForm},
		{"GET /a?%zz HTTP/1.1\r\n", nil},
		{"GET x HTTP/1.1\r\n", errTargetForm},
		{"OPTIONS * HTTP/1.1\r\n", nil},
		{"CONNECT h:1 HTTP/1.1\r\n", nil},
	} {
		t.Run(c.head, func(t *testing.T) {
			var g guard
			g.hold([]byte(c.head + "Host: h\r\n\r\n"))
			if !errors.Is(g.err, c.want) || (c.want == nil) != (g.passed > 0) {
				t.Errorf("%q: %v, want %v", c.head, g.err, c.want)
			}
			var r Request
			if err := ParseRequest([]byte(c.head+"Host: h\r\n\r\n"), &r); err != nil {
				t.Errorf("%q: a gateway refuses it: %v", c.head, err)
			}
		})
	}
}
