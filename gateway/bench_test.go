package gateway_test

import (
	"io"
	"net"
	"testing"

	"fhirdest.example/gateway"
)

// BenchmarkRelay passes one small request and its answer at a time on kept
// connections; client and destination are in the figure.
func BenchmarkRelay(b *testing.B) {
	for _, evidence := range []bool{false, true} {
		b.Run(map[bool]string{false: "plain", true: "evidence"}[evidence], func(b *testing.B) { relay(b, evidence) })
	}
}

func relay(b *testing.B, evidence bool) {
	answer := []byte("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
	dest := newBackend(b, func(c net.Conn) {
		buf := make([]byte, 4<<10)
		for {
			if _, err := c.(tapped).Conn.Read(buf); err != nil {
				return
			}
			c.Write(answer)
		}
	})
	w := newEnv(b, dest, func(c *gateway.Config) {
		if !evidence {
			c.Evidence = nil
		}
	})

	request := []byte("GET /acme/fhir/Patient/1" + heads +
		"Accept: application/fhir+json\r\nAuthorization: Bearer 0123456789abcdef\r\n\r\n")
	b.ReportAllocs()
	b.SetParallelism(16)
	b.RunParallel(func(pb *testing.PB) {
		c := w.dial()
		buf := make([]byte, len(answer))
		for pb.Next() {
			c.Write(request)
			if _, err := io.ReadFull(c, buf); err != nil {
				b.Error(err)
				return
			}
		}
	})
}
