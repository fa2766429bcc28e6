package wire

import (
	"net"
	"time"
)

// ClientConn is a dialled connection whose messages are followed.
type ClientConn struct {
	net.Conn
	tap *Tap
}

// Client follows the messages on a dialled connection, commonly a *tls.Conn after
// its handshake, as http.Transport.DialTLSContext returns it. It changes nothing
// and refuses nothing; record gets every message and must not keep it. The
// Transport must speak HTTP/1.1 (TLS NextProtos http/1.1).
func Client(
	conn net.Conn, id string, now func() time.Time, record func(*Message),
) *ClientConn {
	return &ClientConn{conn, NewTap(id, now, record)}
}

// Read receives bytes of responses.
func (c *ClientConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.tap.Responses(p[:n])
	return n, err
}

// Write sends bytes of requests.
func (c *ClientConn) Write(p []byte) (int, error) {
	// Before the wire, as the answer may be read before Write returns, and must
	// find its request. Bytes that then fail to go out leave both columns longer
	// than what the next hop has, which is what comparing is for.
	c.tap.Requests(p)
	return c.Conn.Write(p)
}

// Close ends the connection and reports what was unfinished on it.
func (c *ClientConn) Close() error {
	err := c.Conn.Close()
	c.tap.End()
	return err
}
