package server_test

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"fhirdest.example/server/servertest"
)

// asker asks one request after the other, on a connection for as long as it stays open, and
// sends nothing twice.
type asker struct {
	d  *servertest.Destination
	c  *tls.Conn
	br *bufio.Reader
}

// ask sends a request and returns the status of its answer.
func (a *asker) ask(request string) (int, error) {
	if a.c == nil {
		c, err := tls.Dial("tcp", a.d.Addr, a.d.TLSClient("fhir.test"))
		if err != nil {
			return 0, err
		}
		a.c, a.br = c, bufio.NewReader(c)
	}

	_ = a.c.SetDeadline(time.Now().Add(2 * time.Minute))
	if _, err := io.WriteString(a.c, request); err != nil {
		return 0, err
	}
	res, err := http.ReadResponse(a.br, nil)
	if err != nil {
		return 0, err
	}
	if _, err := io.Copy(io.Discard, res.Body); err != nil {
		return 0, err
	}

	if res.Close {
		a.close()
	}
	return res.StatusCode, nil
}

func (a *asker) close() {
	if a.c != nil {
		a.c.Close()
		a.c = nil
	}
}

// Two destinations behind one gateway, under load: while one is stopped and started again,
// no request is lost, and it serves again afterwards.
func TestDestinationIsReplacedUnderLoad(t *testing.T) {
	first := servertest.Start(t, servertest.OnFiles("two destinations, each with its own"))
	first.Config.Data = "data2"
	second := first.Start(first.Listen())
	front, g := throughAll(t, first, nil, second)

	get := "GET " + metadata + " HTTP/1.1\r\nHost: fhir.test\r\n\r\n"
	post := "POST /acme/oauth/token HTTP/1.1\r\nHost: fhir.test\r\n" +
		"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 12\r\n\r\ngrant_type=x"
	var asked atomic.Int64
	stop := make(chan bool)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			a := &asker{d: front}
			defer a.close()
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}

				request, want := get, http.StatusOK
				if n%3 == 0 {
					request, want = post, http.StatusBadRequest
				}
				if status, err := a.ask(request); status != want {
					t.Errorf("client %d, request %d: status %d, %v", i, n, status, err)
					return
				}
				if asked.Add(1); (i+n)%10 == 0 {
					a.close()
				}
			}
		})
	}

	serves := func(d *servertest.Destination, yes bool) func() bool {
		return func() bool {
			var b strings.Builder
			if err := g.WriteMetrics(&b); err != nil {
				t.Error(err)
			}
			none := fmt.Sprintf("connections{route=\"acme\",address=%q} 0\n", d.Addr)
			return strings.Contains(b.String(), none) != yes
		}
	}
	for range 2 {
		first.Eventually("both serve", func() bool { return serves(first, true)() && serves(second, true)() })
		second.Stop()
		first.Eventually("one serves alone", serves(second, false))

		before := asked.Load()
		first.Eventually("it goes on", func() bool { return asked.Load() > before+50 })
		l, err := net.Listen("tcp", second.Addr)
		if err != nil {
			t.Fatal(err)
		}
		second = first.Start(l)
	}

	first.Eventually("the new one serves", serves(second, true))
	close(stop)
	wg.Wait()
}
