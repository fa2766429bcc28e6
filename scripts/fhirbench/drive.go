package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// measurement is one kind of request, as both servers get it.
type measurement struct {
	name       string
	clients    int
	goal       float64 // of ours over bare; 0 for none
	ours, bare func(*env) func() []byte
}

func measurements() []measurement {
	read := func(auth bool) func(*env) func() []byte {
		return func(w *env) func() []byte {
			return func() []byte {
				return get("/fhir/Patient/"+w.ids[rand.IntN(len(w.ids))], auth)
			}
		}
	}

	page := func(auth bool) func(*env) func() []byte {
		return func(w *env) func() []byte {
			return func() []byte {
				return get(
					"/fhir/Observation?patient="+w.ids[rand.IntN(len(w.ids))]+"&_count=20",
					auth,
				)
			}
		}
	}

	create := func(auth bool) func(*env) func() []byte {
		return func(w *env) func() []byte {
			return func() []byte {
				return post("/fhir/Observation", observation(w), auth)
			}
		}
	}

	transaction := func(auth bool) func(*env) func() []byte {
		return func(w *env) func() []byte {
			return func() []byte {
				return post("/fhir", bundle(w), auth)
			}
		}
	}
	return []measurement{
		{"read", 32, 0.6, read(true), read(false)},
		{"search, 20 entries", 32, 0.55, page(true), page(false)},
		{"create", 32, 0.6, create(true), create(false)},
		{"transaction of 10", 8, 0, transaction(true), transaction(false)},
	}
}

func get(target string, auth bool) []byte {
	return []byte("GET " + target + " HTTP/1.1\r\nHost: fhir.test\r\nAccept: application/fhir+json\r\n" + credentials(
		auth) + "\r\n")
}

func post(target, body string, auth bool) []byte {
	return []byte("POST " + target + " HTTP/1.1\r\nHost: fhir.test\r\nContent-Type: application/fhir+json\r\n" +
		"Content-Length: " + strconv.Itoa(len(body)) + "\r\n" + credentials(auth) + "\r\n" + body)
}

func credentials(auth bool) string {
	if auth {
		return "Authorization: Bearer " + token + "\r\n"
	}
	return ""
}

func observation(w *env) string {
	return fmt.Sprintf(`{"resourceType":"Observation",`+
		`"meta":{"profile":["http://hl7.org/fhir/us/core/StructureDefinition/us-core-heart-rate"],`+
		`"security":[{"system":"http://terminology.hl7.org/CodeSystem/v3-ActReason","code":"HTEST"}]},`+
		`"identifier":[{"system":"urn:bench","value":"%x"}],"status":"final",`+
		`"category":[{"coding":[{"system":"http://terminology.hl7.org/CodeSystem/observation-category",`+
		`"code":"vital-signs"}]}],"code":{"coding":[{"system":"http://loinc.org","code":"8867-4",`+
		`"display":"Heart rate"}],"text":"Heart rate"},"subject":{"reference":"Patient/%s"},`+
		`"effectiveDateTime":"2026-02-%02dT%02d:%02d:00Z",`+
		`"valueQuantity":{"value":%d,"unit":"beats/minute","system":"http://unitsofmeasure.org",`+
		`"code":"/min"}}`,
		rand.Uint64(), w.ids[rand.IntN(len(w.ids))],
		1+rand.IntN(28), rand.IntN(24), rand.IntN(60), 50+rand.IntN(60))
}

func bundle(w *env) string {
	entries := make([]string, 10)
	for i := range entries {
		entries[i] = `{"resource":` + observation(w) +
			`,"request":{"method":"POST","url":"Observation"}}`
	}
	return `{"resourceType":"Bundle","type":"transaction","entry":[` + strings.Join(entries, ",") + `]}`
}

// rate is what one measurement gave.
type rate struct {
	perSecond float64
	cpu       float64 // microseconds of both sides' processor time per request
}

// cpuTime is the processor time that this process has used.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// drive sends requests over that many connections for a while and gives how
// many were answered in a second, and at what cost.
func drive(addr string, clients int, d time.Duration, next func() []byte) (rate, error) {
	var done atomic.Int64
	var failed atomic.Value
	var wg sync.WaitGroup
	start, cpu := time.Now(), cpuTime()

	for range clients {
		wg.Add(1)
		go func() {
			defer wg.Done()
			if err := client(addr, start.Add(d), next, &done); err != nil {
				failed.Store(err)
			}
		}()
	}

	wg.Wait()
	if err, ok := failed.Load().(error); ok {
		return rate{}, err
	}

	n := float64(done.Load())
	return rate{
		n / time.Since(start).Seconds(),
		float64((cpuTime() - cpu).Microseconds()) / n,
	}, nil
}

func client(addr string, until time.Time, next func() []byte, done *atomic.Int64) error {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return err
	}
	defer c.Close()

	r := bufio.NewReaderSize(c, 64<<10)
	for time.Now().Before(until) {
		if _, err := c.Write(next()); err != nil {
			return err
		}
		if err := readAnswer(r); err != nil {
			return err
		}
		done.Add(1)
	}

	return nil
}

// readAnswer reads one answer with a Content-Length and refuses all but 2xx.
func readAnswer(r *bufio.Reader) error {
	status := ""
	length := 0
	for {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return err
		}

		line = bytes.TrimRight(line, "\r\n")
		if len(line) == 0 {
			break
		}

		if status == "" {
			status = string(line)
		}
		if v, ok := bytes.CutPrefix(line, []byte("Content-Length: ")); ok {
			length, _ = strconv.Atoi(string(v))
		}
	}

	if !strings.HasPrefix(status, "HTTP/1.1 2") {
		body := make([]byte, min(length, 500))
		io.ReadFull(r, body)
		return fmt.Errorf("%s: %s", status, body)
	}

	_, err := r.Discard(length)
	return err
}

// median takes the middle of each figure by itself.
func median(all []rate) rate {
	var perSecond, cpu []float64
	for _, r := range all {
		perSecond, cpu = append(perSecond, r.perSecond), append(cpu, r.cpu)
	}
	slices.Sort(perSecond)
	slices.Sort(cpu)
	return rate{perSecond[len(all)/2], cpu[len(all)/2]}
}
