package main

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// measurement gives figures for one target.
type measurement struct {
	name string
	run  func(h *env, t *target, d time.Duration) map[string]float64
}

var measurements = []measurement{
	{"32", func(h *env, t *target, d time.Duration) map[string]float64 {
		r := h.load(t, 32, 200, d)
		return map[string]float64{
			rows[0]: r.perSecond,
			rows[1]: r.cpu,
		}
	}},
	{"256", func(h *env, t *target, d time.Duration) map[string]float64 {
		r := h.load(t, 256, 200, d)
		return map[string]float64{
			rows[2]:  r.perSecond,
			rows[3]:  r.cpu,
			rows[13]: rss(t),
		}
	}},
	{"64k", func(h *env, t *target, d time.Duration) map[string]float64 {
		r := h.load(t, 32, 64<<10, d)
		return map[string]float64{
			rows[4]: r.perSecond * 65536 / 1e6,
			rows[5]: r.cpu,
		}
	}},
	{"10m", func(h *env, t *target, d time.Duration) map[string]float64 {
		r := h.load(t, 4, 10<<20, d)
		return map[string]float64{rows[6]: r.perSecond * 10 * 1048576 / 1e6}
	}},
	{"latency", (*env).latency},
	{"connections", (*env).connections},
	{"idle", (*env).idle},
}

// loaded is the outcome of a load.
type loaded struct {
	perSecond float64
	cpu       float64 // µs of the target's processor time per request
}

// load has so many clients ask for answers of a size, one after another, on
// connections that are kept.
func (h *env) load(t *target, clients, size int, d time.Duration) loaded {
	var conns []*asker
	for range clients {
		a, err := h.dial(t)
		if err != nil {
			return loaded{}
		}
		defer a.conn.Close()

		if a.ask(size) != nil {
			return loaded{}
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
	return loaded{n / took.Seconds(), (cpuTime(t) - before).Seconds() * 1e6 / n}
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
func (h *env) latency(t *target, d time.Duration) map[string]float64 {
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
	return map[string]float64{
		"p50": us(0.5),
		"p99": us(0.99),
	}
}

// connections makes new ones, each with one request.
func (h *env) connections(t *target, d time.Duration) map[string]float64 {
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
	return map[string]float64{
		rows[9]:  n / time.Since(start).Seconds(),
		rows[10]: (cpuTime(t) - before).Seconds() * 1e3 / n,
	}
}

// idle starts the target anew and holds idle clients that have each asked once.
func (h *env) idle(t *target, _ time.Duration) map[string]float64 {
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
	atStart := rss(t)

	for range clients {
		a, err := h.dial(t)
		if err != nil {
			return nil
		}
		defer a.conn.Close()

		a.ask(200)
	}

	time.Sleep(5 * time.Second) // what is not needed any more goes back
	return map[string]float64{
		rows[11]: atStart,
		rows[12]: (rss(t) - atStart) * 1000 / clients,
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

// family is the target's processes with their children.
func family(t *target) (pids []int) {
	pids = append(pids, t.pids...)
	for _, p := range t.pids {
		files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", p))
		for _, f := range files {
			b, _ := os.ReadFile(f)
			for _, c := range strings.Fields(string(b)) {
				n, _ := strconv.Atoi(c)
				pids = append(pids, n)
			}
		}
	}

	return pids
}

// cpuTime is the processor time that the target has used.
func cpuTime(t *target) (sum time.Duration) {
	for _, p := range family(t) {
		b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p))
		_, rest, _ := strings.Cut(string(b), ") ")
		f := strings.Fields(rest)
		if len(f) < 13 {
			continue
		}

		user, _ := strconv.Atoi(f[11])
		system, _ := strconv.Atoi(f[12])
		sum += time.Duration(user+system) * 10 * time.Millisecond // USER_HZ is 100
	}

	return sum
}

// rss is the target's resident memory in MB.
func rss(t *target) (sum float64) {
	for _, p := range family(t) {
		b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/statm", p))
		f := strings.Fields(string(b))
		if len(f) > 2 {
			all, _ := strconv.Atoi(f[1])
			sum += float64(all*os.Getpagesize()) / 1e6
		}
	}

	return sum
}
