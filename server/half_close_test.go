package server_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"

	"fhirdest.example/server/servertest"
)

// halfClosing ends its sending side as soon as it has sent a whole request.
type halfClosing struct {
	net.Conn
	how func(net.Conn) error

	mu   sync.Mutex
	sent bytes.Buffer
}

func (c *halfClosing) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sent.Write(p)
	n, err := c.Conn.Write(p)
	if err != nil {
		return n, err
	}

	r, bad := http.ReadRequest(bufio.NewReader(bytes.NewReader(c.sent.Bytes())))
	if bad != nil {
		return n, nil
	}
	if _, bad = io.Copy(io.Discard, r.Body); bad != nil {
		return n, nil
	}

	return n, c.how(c.Conn)
}

// A client that ends its side of the connection after its request gets the same
// answers as one that does not.
func TestHalfClosedClientsAreServed(t *testing.T) {
	for name, how := range map[string]func(net.Conn) error{
		"close_notify": func(c net.Conn) error { return c.(*tls.Conn).CloseWrite() },
		"FIN":          func(c net.Conn) error { return c.(*tls.Conn).NetConn().(*net.TCPConn).CloseWrite() },
	} {
		t.Run(name, func(t *testing.T) {
			d := servertest.Start(t)
			d.Wrap = func(c net.Conn) net.Conn { return &halfClosing{Conn: c, how: how} }
			for range 10 {
				// Each client has a certificate of its own, whose path and revocation are
				// looked up while its side is closed.
				s := d.Session(d.A, d.Client(d.A, "https://client.test/half"), "system/Patient.rs")
				res, err := s.Client.Get(context.Background(), "Patient", s.Token.Access)
				if err != nil || res.Reply.Status != 200 {
					t.Errorf("a search: %v %v", res, err)
				}
			}
		})
	}
}
