package gateway_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"testing"
	"time"
)

// A body far larger than what may be held goes both ways through two gateways in
// constant memory.
func TestLargeBodyInConstantMemory(t *testing.T) {
	const size = 160 << 20
	b := newBackend(t, func(c net.Conn) {
		c = c.(tapped).Conn // its bytes are not kept
		br := bufio.NewReaderSize(c, 64<<10)
		req, err := http.ReadRequest(br)
		if err != nil {
			return
		}

		fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", size)
		io.CopyBuffer(c, struct{ io.Reader }{req.Body}, make([]byte, 64<<10))
	})
	inbound, delegate := twoHops(t, b, nil)
	c := inbound.dial()

	held, stop := make(chan uint64), make(chan bool)
	go func() { // garbage, of other tests too, is not what is held
		for most := uint64(0); ; {
			var m runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&m)
			most = max(most, m.HeapAlloc)
			select {
			case <-stop:
				held <- most
				return
			case <-time.After(50 * time.Millisecond):
			}
		}
	}()

	piece := make([]byte, 64<<10)
	go func() {
		fmt.Fprintf(c, "POST /acme%sContent-Length: %d\r\n\r\n", heads, size)
		for range size / len(piece) {
			c.Write(piece)
		}
	}()

	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	n, err := io.Copy(io.Discard, resp.Body)
	close(stop)
	if err != nil || n != size {
		t.Fatalf("%d bytes came back, %v", n, err)
	}

	if got := <-held; got > 64<<20 {
		t.Errorf("%d MiB of heap for %d MiB of body", got>>20, size>>20)
	}

	for _, s := range []*sink{inbound.evidence, delegate.evidence} {
		for _, m := range s.await(t, 2) {
			if m.In != m.Out || m.In.Bytes < size {
				t.Errorf("evidence %+v", m)
			}
		}
	}
}
