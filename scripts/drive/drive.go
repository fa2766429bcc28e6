// Package drive sends prepared requests over keep-alive connections and measures how
// many are answered, for benchmarks of FHIR servers.
package drive

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"fhirdest.example/fhir/sample"
	"fhirdest.example/scripts/measure"
)

// Token is the bearer token of requests that have one.
const Token = "0123456789abcdef0123456789abcdef"

// Requests makes requests about the patients that have these ids.
type Requests struct {
	Patients []string
	Base     string // path of the FHIR base; empty: /fhir
	Token    string // bearer token; empty: none is sent
}

// patient returns one of the ids.
func (r Requests) patient() string { return r.Patients[rand.IntN(len(r.Patients))] }

// Read reads a patient.
func (r Requests) Read() []byte {
	return r.Get("/Patient/" + r.patient())
}

// Search asks for a page of 20 observations of a patient.
func (r Requests) Search() []byte {
	return r.Get("/Observation?patient=" + r.patient() + "&_count=20")
}

// Create creates an observation.
func (r Requests) Create() []byte {
	return r.post("/Observation", r.observation())
}

// Transaction creates ten of them.
func (r Requests) Transaction() []byte {
	return r.post("", r.bundle())
}

// Get reads whatever is below the base.
func (r Requests) Get(target string) []byte {
	return []byte("GET " + r.base() + target + " HTTP/1.1\r\nHost: fhir.test\r\n" +
		"Accept: application/fhir+json\r\n" + r.credentials() + "\r\n")
}

func (r Requests) post(target, body string) []byte {
	return []byte("POST " + r.base() + target + " HTTP/1.1\r\nHost: fhir.test\r\n" +
		"Content-Type: application/fhir+json\r\n" +
		"Content-Length: " + strconv.Itoa(len(body)) + "\r\n" + r.credentials() + "\r\n" + body)
}

func (r Requests) base() string {
	if r.Base == "" {
		return "/fhir"
	}
	return r.Base
}

func (r Requests) credentials() string {
	if r.Token == "" {
		return ""
	}
	return "Authorization: Bearer " + r.Token + "\r\n"
}

func (r Requests) observation() string {
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
		rand.Uint64(), r.patient(),
		1+rand.IntN(28), rand.IntN(24), rand.IntN(60), 50+rand.IntN(60))
}

func (r Requests) bundle() string {
	entries := make([]string, 10)
	for i := range entries {
		entries[i] = `{"resource":` + r.observation() +
			`,"request":{"method":"POST","url":"Observation"}}`
	}
	return `{"resourceType":"Bundle","type":"transaction","entry":[` + strings.Join(entries, ",") + `]}`
}

// Kind is a kind of requests that servers are compared by.
type Kind struct {
	Name    string
	Clients int // connections
	Next    func(Requests) []byte
}

// Kinds returns the kinds that every FHIR benchmark has.
func Kinds() []Kind {
	return []Kind{
		{"read", 32, Requests.Read},
		{"search of 20", 32, Requests.Search},
		{"create", 32, Requests.Create},
		{"transaction of 10", 8, Requests.Transaction},
	}
}

// Server is one that answers such requests.
type Server struct {
	Name    string
	Address string
	Requests
	// CPU returns the processor time that server and load have used; nil: this process
	// is both.
	CPU func() time.Duration
}

// Turns compares servers by every kind of requests that o wants, for so long in each
// round. The names of the cases begin with prefix.
func Turns(r *measure.Run, o *measure.Options, d time.Duration, prefix string, servers ...Server) error {
	for _, k := range Kinds() {
		if !o.Wants(k.Name) {
			continue
		}

		var sides []measure.Side
		for _, s := range servers {
			sides = append(sides, measure.Side{
				Name: s.Name,
				Do: func() (measure.Values, error) {
					return Run(s.Address, k.Clients, d, func() []byte { return k.Next(s.Requests) }, s.CPU)
				},
			})
		}

		if err := r.Turns(prefix+k.Name, o.Rounds, sides...); err != nil {
			return err
		}
	}

	return nil
}

// Goals sets the least ratios of the rates of one server to those of another, by the
// name of the kind, for the kinds that o wants.
func Goals(r *measure.Run, o *measure.Options, prefix, server, of string, least map[string]float64) {
	for _, k := range Kinds() {
		if least[k.Name] == 0 || !o.Wants(k.Name) {
			continue
		}
		r.Goals(measure.Goal{
			Case:  prefix + k.Name,
			Unit:  measure.PerSecond,
			Side:  server,
			Of:    of,
			Least: least[k.Name],
		})
	}
}

// PatientsFor returns how many patients of the sample have about that many resources.
func PatientsFor(resources int) (int, error) {
	const some = 50
	n := 0
	err := sample.Generate(some, func(string, string, []byte) error {
		n++
		return nil
	})
	return max(1, resources*some/max(n, 1)), err
}

// Run sends requests over that many connections for a while and returns how many were
// answered in a second, and at what cost. cpu returns the processor time that both
// sides have used; nil: that of this process.
func Run(
	addr string, clients int, d time.Duration, next func() []byte, cpu func() time.Duration,
) (measure.Values, error) {
	if cpu == nil {
		cpu = measure.CPU
	}

	var done atomic.Int64
	var failed atomic.Pointer[error] // of one of them
	var wg sync.WaitGroup
	start, before := time.Now(), cpu()

	for range clients {
		wg.Add(1)
		go func() {
			defer wg.Done()
			c, err := net.Dial("tcp", addr)
			if err == nil {
				err = client(c, &done, func() []byte {
					if time.Since(start) >= d {
						return nil
					}
					return next()
				})
			}

			if err != nil {
				failed.Store(&err)
			}
		}()
	}

	wg.Wait()
	if err := failed.Load(); err != nil {
		return nil, *err
	}

	n := float64(done.Load())
	return measure.Values{
		measure.PerSecond: n / time.Since(start).Seconds(),
		measure.CPUMicros: float64((cpu() - before).Microseconds()) / n,
	}, nil
}

// Send sends each request once, over that many connections, and returns the processor
// time of each, as cpu counts it.
func Send(
	dial func() (net.Conn, error), clients int, requests [][]byte, cpu func() time.Duration,
) (measure.Values, error) {
	var next, done atomic.Int64
	var failed atomic.Pointer[error] // of one of them
	var wg sync.WaitGroup
	conns := make([]net.Conn, clients)
	for i := range conns {
		c, err := dial()
		if err != nil {
			return nil, err
		}
		defer c.Close()
		conns[i] = c
	}

	before := cpu()
	for _, c := range conns {
		wg.Go(func() {
			err := client(c, &done, func() []byte {
				i := next.Add(1) - 1
				if i >= int64(len(requests)) {
					return nil
				}
				return requests[i]
			})
			if err != nil {
				failed.Store(&err)
			}
		})
	}

	wg.Wait()
	if err := failed.Load(); err != nil {
		return nil, *err
	}

	return measure.Values{
		measure.CPUMicros: float64((cpu() - before).Microseconds()) / float64(len(requests)),
	}, nil
}

// client sends requests over a connection until there is none, and closes it.
func client(c net.Conn, done *atomic.Int64, next func() []byte) error {
	defer c.Close()
	r := bufio.NewReaderSize(c, 64<<10)
	for request := next(); request != nil; request = next() {
		if _, err := c.Write(request); err != nil {
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
