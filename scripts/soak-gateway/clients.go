package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const heads = " HTTP/1.1\r\nHost: " + host + "\r\n"

// The kinds of slow clients.
var kinds = []struct {
	name  string
	first string // what is sent at once
	drip  string // what is sent every few seconds afterwards; empty: nothing
}{
	{"heads of 50 KiB", "GET /x" + heads + "X: " + strings.Repeat("x", 50<<10), "x"},
	{"small heads", "GET /x" + heads + "X: ", "x"},
	{"bodies", "POST /x" + heads + "Content-Length: 100000\r\n\r\nabc", "x"},
	{"readers", "GET /large" + heads + "\r\n", ""},
	{"idle", "", ""},
}

// dripEvery is how often a slow client sends a byte.
const dripEvery = 4 * time.Second

// crowd is the slow clients.
type crowd struct {
	connected, again atomic.Int64
	counts           []atomic.Int64 // of connections that ended, by kind
}

// crowd starts slow clients, which connect again when they are thrown out.
func (e *env) crowd(ctx context.Context, n int) *crowd {
	c := &crowd{counts: make([]atomic.Int64, len(kinds))}
	ready := make(chan bool, 16) // so many handshakes at once
	for i := range n {
		go func() {
			for first := true; ctx.Err() == nil; first = false {
				ready <- true
				conn, err := e.dial()
				<-ready
				if err != nil {
					wait(ctx, time.Second)
					continue
				}

				if first {
					c.connected.Add(1)
				} else {
					c.again.Add(1)
				}

				beSlow(ctx, conn, i%len(kinds))
				conn.Close()
				c.counts[i%len(kinds)].Add(1)
				wait(ctx, dripEvery)
			}
		}()
	}

	return c
}

// beSlow does what its kind does until the connection ends.
func beSlow(ctx context.Context, c *tls.Conn, kind int) {
	c.NetConn().(*net.TCPConn).SetReadBuffer(32 << 10) // the system has memory for so many
	io.WriteString(c, kinds[kind].first)
	if kinds[kind].drip == "" {
		wait(ctx, time.Hour)
		return
	}

	for ctx.Err() == nil {
		wait(ctx, dripEvery)
		if _, err := io.WriteString(c, kinds[kind].drip); err != nil {
			return
		}
	}
}

func wait(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// waitUntilConnected returns how many have connected once all have, or a minute is over.
func (c *crowd) waitUntilConnected(n int) int64 {
	for end := time.Now().Add(time.Minute); c.connected.Load() < int64(n) && time.Now().Before(end); {
		time.Sleep(100 * time.Millisecond)
	}
	return c.connected.Load()
}

// ended returns how many connections of each kind have ended.
func (c *crowd) ended() map[string]int64 {
	m := map[string]int64{}
	for i := range kinds {
		m[kinds[i].name] = c.counts[i].Load()
	}
	return m
}

// latencies are those of honest requests.
type latencies struct {
	mu     sync.Mutex
	all    []time.Duration
	failed int
}

// honest sends requests at a steady rate over kept connections, each of which waits for
// nobody: what is late counts from when it was due.
func (e *env) honest(length time.Duration) *latencies {
	const connections = 20
	h := &latencies{}
	due := make(chan time.Time, honestRate*int(length.Seconds()+1))
	var wg sync.WaitGroup

	for range connections {
		wg.Go(func() { e.askEach(due, h) })
	}

	t := time.NewTicker(time.Second / honestRate)
	defer t.Stop()
	for end := time.Now().Add(length); time.Now().Before(end); {
		due <- <-t.C
	}

	close(due)
	wg.Wait()

	return h
}

// askEach sends a request for each time in due.
func (e *env) askEach(due <-chan time.Time, h *latencies) {
	var conn *tls.Conn
	var br *bufio.Reader
	for at := range due {
		err := error(nil)
		if conn == nil {
			if conn, err = e.dial(); err == nil {
				br = bufio.NewReader(conn)
			}
		}

		if err == nil {
			err = ask(conn, br)
		}

		took := time.Since(at)
		h.mu.Lock()
		if err != nil {
			h.failed++
		} else {
			h.all = append(h.all, took)
		}

		h.mu.Unlock()
		if err != nil && conn != nil {
			conn.Close()
			conn = nil
		}
	}

	if conn != nil {
		conn.Close()
	}
}

func ask(c *tls.Conn, br *bufio.Reader) error {
	c.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.WriteString(c, "GET /Patient/1"+heads+"\r\n"); err != nil {
		return err
	}

	resp, err := http.ReadResponse(br, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()

	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("status %d", resp.StatusCode)
	}

	return nil
}

// percentile returns the latency that a share of the requests has at most.
func (h *latencies) percentile(share float64) time.Duration {
	if len(h.all) == 0 {
		return 0
	}
	slices.Sort(h.all)
	return h.all[min(len(h.all)-1, int(share*float64(len(h.all))))].Round(100 * time.Microsecond)
}
