package main

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"fhirdest.example/server/servertest"
)

// done is what clients were told is done, before a server was killed.
type done struct {
	mu      sync.Mutex
	created []string             // type and id
	last    map[string]time.Time // when reads were answered, by X-Request-Id
	latest  time.Time            // when the last of them was sent that was answered
}

func (d *done) create(at string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.created = append(d.created, at)
}

func (d *done) read(id string, sent, answered time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.last[id] = answered
	if sent.After(d.latest) {
		d.latest = sent
	}
}

// load creates and reads until the server is gone. It closes begun when it has read.
func (d *done) load(p *process, token, name string, begun chan<- struct{}) {
	for i := 0; ; i++ {
		id := fmt.Sprint(name, "-", i)
		res, err := send(p, http.MethodPost, "/Patient", token, id, `{"resourceType":"Patient","active":true}`)
		if err != nil {
			return
		}
		at := strings.TrimPrefix(res.Header.Get("Location"), servertest.Base+"/")
		typed, _, ok := strings.Cut(at, "/_history/")
		if res.StatusCode != http.StatusCreated || !ok {
			return
		}
		d.create(typed)

		sent := time.Now()
		res, err = send(p, http.MethodGet, "/"+typed, token, id, "")
		if err != nil || res.StatusCode != http.StatusOK {
			return
		}
		d.read(id, sent, time.Now())
		if i == 0 {
			close(begun)
		}
	}
}

// send sends a request to a server that may be killed meanwhile.
func send(p *process, method, path, token, id, body string) (*http.Response, error) {
	req, err := http.NewRequest(method, servertest.Base+path, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Content-Type", "application/fhir+json")
	req.Header.Set("X-Request-Id", id)
	res, err := p.d.HTTP.Do(req)
	if err != nil {
		return nil, err
	}
	_, err = io.Copy(io.Discard, res.Body)
	res.Body.Close()
	return res, err
}

// atRisk is for how long a read may be without its record on disk while others are
// answered.
const atRisk = time.Second

// Killed at any moment under load, the server leaves a whole chain of audit records:
// that of every change that was answered, and of every read that was answered a second
// before the last one began.
//
// Covers: FS-401, FS-413, case 269
func TestAuditSurvivesKill(t *testing.T) {
	w := newEnv(t)
	w.Config.Writable = true
	w.Config.Patients = 0
	path := config(t, w)
	p := startProcess(t, w, path)
	s := p.d.Session(w.A, w.Client(w.A, "https://audited.test"), "system/*.cruds system/AuditEvent.rs")
	token := s.Token.Access

	checkpoint := ""
	for round := range 3 {
		d := &done{last: map[string]time.Time{}}
		var clients sync.WaitGroup
		var begun [4]chan struct{}
		for i := range begun {
			begun[i] = make(chan struct{})
			clients.Go(func() { d.load(p, token, fmt.Sprintf("r%d-%d", round, i), begun[i]) })
		}
		for _, c := range begun {
			select {
			case <-c:
			case <-time.After(time.Minute):
				t.Fatal("nothing is done")
			}
		}
		time.Sleep(time.Duration(1200+rand.IntN(500)) * time.Millisecond) // any moment
		p.kill()
		clients.Wait()

		code, stdout, stderr := runIt("audit", "verify", "-config", path, "-json", "-checkpoint", checkpoint)
		var report struct {
			Intact     bool   `json:"intact"`
			Checkpoint string `json:"checkpoint"`
		}
		must(t, json.Unmarshal([]byte(stdout), &report))
		if code != 0 || !report.Intact {
			t.Fatalf("round %d: %d %s%s", round, code, stdout, stderr)
		}
		checkpoint = report.Checkpoint
		p = startProcess(t, w, path)
		d.check(t, p, token)
	}
	p.kill()
}

// check looks for the records of what was done.
func (d *done) check(t *testing.T, p *process, token string) {
	t.Helper()
	created := p.recorded(t, token, "action=C")
	for _, at := range d.created {
		if created[at] != 1 {
			t.Errorf("created %s: %d records", at, created[at])
		}
	}

	read := p.recorded(t, token, "action=R")
	checked := 0
	for id, at := range d.last {
		if at.After(d.latest.Add(-atRisk)) {
			continue
		}
		checked++
		if read[id] != 1 {
			t.Errorf("read %s, %v before the last: %d records", id, d.latest.Sub(at), read[id])
		}
	}
	t.Logf("%d created, %d read long enough before", len(d.created), checked)
}

// recorded counts the records of each resource, and of each X-Request-Id, among those
// that a query finds.
func (p *process) recorded(t *testing.T, token, query string) map[string]int {
	t.Helper()
	counts := map[string]int{}
	next := servertest.Base + "/AuditEvent?_count=1000&" + query
	for next != "" {
		_, body := p.d.Get(next, "Authorization", "Bearer "+token)
		var page struct {
			Link []struct {
				Relation string `json:"relation"`
				URL      string `json:"url"`
			} `json:"link"`
			Entry []struct {
				Resource struct {
					Entity []struct {
						What struct {
							Reference  string `json:"reference"`
							Identifier struct {
								Value string `json:"value"`
							} `json:"identifier"`
						} `json:"what"`
					} `json:"entity"`
				} `json:"resource"`
			} `json:"entry"`
		}
		must(t, json.Unmarshal([]byte(body), &page))
		for _, e := range page.Entry {
			for _, n := range e.Resource.Entity {
				if at, _, versioned := strings.Cut(n.What.Reference, "/_history/"); versioned {
					counts[at]++
				}
				counts[n.What.Identifier.Value]++
			}
		}

		next = ""
		for _, l := range page.Link {
			if l.Relation == "next" {
				next = l.URL
			}
		}
	}
	return counts
}
