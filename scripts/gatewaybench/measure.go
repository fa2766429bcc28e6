package main

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"os"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"fhirdest.example/scripts/measure"
)

// measurement gives figures for one target.
type measurement struct {
	name  string // on the command line
	title string // its case
	run   func(h *env, t *target, d time.Duration) measure.Values
}

// Cases.
const (
	load32     = "200 bytes, 32 clients"
	load256    = "200 bytes, 256 clients"
	load64K    = "64 KiB, 32 clients"
	load10M    = "10 MiB, 4 clients"
	lowRate    = "latency at 400 requests a second"
	connecting = "new connections"
	idling     = "500 idle clients"

	megabytes = "MB/s"
)

var measurements = []measurement{
	{"32", load32, func(h *env, t *target, d time.Duration) measure.Values {
		return h.load(t, 32, 200, d)
	}},
	{"256", load256, func(h *env, t *target, d time.Duration) measure.Values {
		v := h.load(t, 256, 200, d)
		if v != nil {
			v["MB busy"] = resident(t)
		}
		return v
	}},
	{"64k", load64K, func(h *env, t *target, d time.Duration) measure.Values {
		return h.load(t, 32, 64<<10, d)
	}},
	{"10m", load10M, func(h *env, t *target, d time.Duration) measure.Values {
		return h.load(t, 4, 10<<20, d)
	}},
	{"latency", lowRate, (*env).latency},
	{"connections", connecting, (*env).connections},
	{"idle", idling, (*env).idle},
}

// load has so many clients ask for answers of a size, one after another, on
// connections that are kept.
func (h *env) load(t *target, clients, size int, d time.Duration) measure.Values {
	var conns []*asker
	for range clients {
		a, err := h.dial(t)
		if err != nil {
			return nil
		}
		defer a.conn.Close()

		if a.ask(size) != nil {
			return nil
		}
		conns = append(conns, a)
	}

	var total atomic.Int64
	var wg sync.WaitGroup
	before, start := cpuTime(t), time.Now()
	stop := start.Add(d)

	for _, a := range conns {
		wg.Add(1)
		go func() {
			defer wg.Done()
			n := int64(0)
			for time.Now().Before(stop) && a.ask(size) == nil {
				n++
			}

			total.Add(n)
		}()
	}

	wg.Wait()
	took := time.Since(start)
	n := float64(total.Load())
	v := measure.Values{
		measure.PerSecond: n / took.Seconds(),
		measure.CPUMicros: (cpuTime(t) - before).Seconds() * 1e6 / n,
	}
	if size >= 64<<10 {
		v[megabytes] = n * float64(size) / took.Seconds() / 1e6
	}
	return v
}

// asker is one client's connection.
type asker struct {
	conn *tls.Conn
	buf  []byte
}

func (h *env) dial(t *target) (*asker, error) {
	c, err := tls.Dial("tcp", t.addr, h.tls(t))
	if err != nil {
		return nil, err
	}
	return &asker{
		conn: c,
		buf:  make([]byte, 16<<10),
	}, nil
}

// ask sends a request and reads the whole answer.
func (a *asker) ask(size int) error {
	req := append(a.buf[:0], "GET /acme/"...)
	req = strconv.AppendInt(req, int64(size), 10)
	req = append(req,
		" HTTP/1.1\r\nHost: fhir.test\r\nAccept: application/fhir+json\r\nAuthorization: Bearer "+
			"0123456789abcdef0123456789abcdef\r\nUser-Agent: bench\r\n\r\n"...)
	if _, err := a.conn.Write(req); err != nil {
		return err
	}

	head := 0
	have := 0
	for head == 0 || have < head+size {
		into := a.buf
		if head == 0 {
			into = a.buf[have:]
		}
		n, err := a.conn.Read(into)
		if err != nil {
			return err
		}

		have += n
		if head == 0 {
			if i := bytes.Index(a.buf[:have], []byte("\r\n\r\n")); i >= 0 {
				head = i + 4
				if !bytes.HasPrefix(a.buf, []byte("HTTP/1.1 200")) {
					return fmt.Errorf("answered %q", a.buf[:head])
				}
			}
		}
	}

	return nil
}

// latency asks at a fixed low rate on connections that are kept.
func (h *env) latency(t *target, d time.Duration) measure.Values {
	const clients, each = 8, 50 // together 400 a second
	var mu sync.Mutex
	var all []time.Duration
	var wg sync.WaitGroup

	for i := range clients {
		a, err := h.dial(t)
		if err != nil {
			return nil
		}

		wg.Add(1)
		go func() {
			defer wg.Done()
			defer a.conn.Close()
			a.ask(200)
			time.Sleep(time.Duration(i) * time.Second / each / clients)
			tick := time.NewTicker(time.Second / each)
			defer tick.Stop()

			for stop := time.Now().Add(d); time.Now().Before(stop); <-tick.C {
				start := time.Now()
				if a.ask(200) != nil {
					return
				}

				took := time.Since(start)
				mu.Lock()
				all = append(all, took)
				mu.Unlock()
			}
		}()
	}

	wg.Wait()
	if len(all) == 0 {
		return nil
	}

	slices.Sort(all)
	us := func(q float64) float64 {
		return float64(all[int(q*float64(len(all)-1))].Microseconds())
	}
	return measure.Values{
		"p50 µs": us(0.5),
		"p99 µs": us(0.99),
	}
}

// connections makes new ones, each with one request.
func (h *env) connections(t *target, d time.Duration) measure.Values {
	var total atomic.Int64
	var wg sync.WaitGroup
	before, start := cpuTime(t), time.Now()

	for range 16 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for time.Since(start) < d {
				a, err := h.dial(t)
				if err != nil {
					continue
				}

				if a.ask(200) == nil {
					total.Add(1)
				}
				a.conn.Close()
			}
		}()
	}

	wg.Wait()
	n := float64(total.Load())
	return measure.Values{
		measure.PerSecond: n / time.Since(start).Seconds(),
		measure.CPUMicros: (cpuTime(t) - before).Seconds() * 1e6 / n,
	}
}

// idle starts the target anew and holds idle clients that have each asked once.
func (h *env) idle(t *target, _ time.Duration) measure.Values {
	if t.name == "direct" || len(t.pids) > 1 {
		return nil
	}

	fresh := &target{
		name: t.name,
		addr: t.addr,
		sni:  t.sni,
	}

	h.end(t)
	if err := h.boot(fresh, t.boot[0], t.boot[1:]...); err != nil {
		return nil
	}

	*t = *fresh
	time.Sleep(300 * time.Millisecond)
	const clients = 500
	atStart := resident(t)

	for range clients {
		a, err := h.dial(t)
		if err != nil {
			return nil
		}
		defer a.conn.Close()

		a.ask(200)
	}

	time.Sleep(5 * time.Second) // what is not needed any more goes back
	return measure.Values{
		"MB at start": atStart,
		"KB a client": (resident(t) - atStart) * 1000 / clients,
	}
}

// end ends the program of a target.
func (h *env) end(t *target) {
	for i, c := range h.running {
		if c.Process.Pid == t.pids[0] {
			c.Process.Signal(os.Interrupt)
			c.Wait()
			h.running = append(h.running[:i], h.running[i+1:]...)
			return
		}
	}
}

// cpuTime is the processor time that the target has used.
func cpuTime(t *target) time.Duration { return measure.CPUOf(t.pids...) }

// resident is the target's memory in MB.
func resident(t *target) float64 { return float64(measure.MemoryOf(t.pids...).Resident) / 1e6 }
