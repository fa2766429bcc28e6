package forward_test

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"fhirdest.example/server/forward"
)

// repository is a FHIR server that accepts AuditEvents.
type repository struct {
	mu      sync.Mutex
	stored  []string                  // the ids in the order in which they were accepted
	refuse  func(id string) bool      // nil: nothing
	spoil   func(n int) bool          // of the nth request; nil: none
	answer  func(http.ResponseWriter) // of a spoilt request
	n       int
	faults  []string
	headers http.Header // of the last request
}

// bundle is what is posted.
type bundle struct {
	Type  string `json:"type"`
	Entry []struct {
		FullURL  string         `json:"fullUrl"`
		Resource jsontext.Value `json:"resource"`
		Request  struct {
			Method string `json:"method"`
			URL    string `json:"url"`
		} `json:"request"`
	} `json:"entry"`
}

func (p *repository) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.n++
	p.headers = r.Header
	if p.spoil != nil && p.spoil(p.n) {
		p.answer(w)
		return
	}

	var b bundle
	err = errors.Join(err, json.Unmarshal(body, &b))
	if err != nil || r.Method != "POST" || r.URL.Path != "/fhir" || b.Type != "batch" || len(b.Entry) > 200 {
		p.faults = append(p.faults, fmt.Sprint(r.Method, " ", r.URL, " ", b.Type, " ", len(b.Entry), " ", err))
	}

	var results []string
	for _, e := range b.Entry {
		var res struct {
			ID string `json:"id"`
		}
		if err := json.Unmarshal(e.Resource, &res); err != nil || e.Request.Method != "POST" ||
			e.Request.URL != "AuditEvent" || e.FullURL != "https://fhir.example/fhir/AuditEvent/"+res.ID {
			p.faults = append(p.faults, fmt.Sprintf("%+v", e))
		}

		status := "201 Created"
		if p.refuse != nil && p.refuse(res.ID) {
			status = "422 Unprocessable Entity"
		} else {
			p.stored = append(p.stored, strings.TrimPrefix(res.ID, "a"))
		}
		results = append(results, `{"response":{"status":"`+status+`"}}`)
	}

	w.Header().Set("Content-Type", "application/fhir+json")
	fmt.Fprintf(w, `{"resourceType":"Bundle","type":"batch-response","entry":[%s]}`, strings.Join(results, ","))
}

// start serves the repository with TLS.
func (p *repository) start(e *env, change ...func(*tls.Config)) string {
	s := httptest.NewUnstartedServer(p)
	s.TLS = e.receiver("collector.example")
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	for _, f := range change {
		f(s.TLS)
	}
	s.StartTLS()
	e.tb.Cleanup(s.Close)
	return s.URL + "/fhir"
}

func (e *env) feed(url string, own ...tls.Certificate) *forward.Feed {
	return &forward.Feed{
		URL:  url,
		From: "https://fhir.example/fhir",
		TLS:  e.sender(own...),
		Now:  time.Now,
	}
}

// Every record arrives once, in order, as a Bundle of type batch.
//
// Covers: FS-402
func TestFeedPostsBatches(t *testing.T) {
	e, m, p := newEnv(t), records(450), &repository{}
	feed := e.feed(p.start(e))
	feed.Token = func() (string, error) { return "the-token", nil }
	f := e.run(m, feed)
	e.Eventually("all records arrive", func() bool { return f.State().Position == 450 })

	p.mu.Lock()
	defer p.mu.Unlock()
	if got := fmt.Sprint(p.stored); got != wholeRecord(450) || len(p.faults) > 0 || p.n != 3 {
		t.Errorf("stored %s in %d requests, faults %q", got, p.n, p.faults)
	}
	if p.headers.Get("Authorization") != "Bearer the-token" ||
		p.headers.Get("Content-Type") != "application/fhir+json" {
		t.Errorf("headers %v", p.headers)
	}
}

// Answers that accept nothing change no position, and every record arrives once
// the receiver is well again.
func TestFeedReceiversThatMisbehave(t *testing.T) {
	status := func(code int, header ...string) func(http.ResponseWriter) {
		return func(w http.ResponseWriter) {
			for i := 0; i < len(header); i += 2 {
				w.Header().Set(header[i], header[i+1])
			}
			w.WriteHeader(code)
		}
	}
	text := func(s string) func(http.ResponseWriter) {
		return func(w http.ResponseWriter) { io.WriteString(w, s) }
	}
	seen := make(chan struct{}) // closed when the failure of the slow one was seen
	release := sync.OnceFunc(func() { close(seen) })

	for _, row := range []struct {
		name    string
		answer  func(http.ResponseWriter)
		problem string
	}{
		{"500", status(500), "answered 500"},
		{"401", status(401), "does not accept the token"},
		{"404", status(404), "audit.feed.url"},
		{"redirect", status(307, "Location", "https://elsewhere.example/"), "redirects are not followed"},
		{"no body", status(200), "no Bundle"},
		{"not FHIR", text("<html>"), "no Bundle"},
		{"another bundle", text(`{"resourceType":"Bundle","type":"searchset"}`), "no Bundle"},
		{"too few results", text(`{"resourceType":"Bundle","type":"batch-response"}`), "0 results for"},
		{"an endless answer", text(strings.Repeat("x", 5<<20)), "longer than"},
		{"cut", func(w http.ResponseWriter) { panic(http.ErrAbortHandler) }, "EOF"},
		{"slow", func(http.ResponseWriter) { <-seen }, "deadline"},
	} {
		t.Run(row.name, func(t *testing.T) {
			e, m := newEnv(t), records(40)
			var spoilt atomic.Bool
			spoilt.Store(true)
			p := &repository{
				spoil:  func(int) bool { return spoilt.Load() },
				answer: row.answer,
			}
			f := e.run(m, e.feed(p.start(e)), func(c *forward.Config) {
				if row.name == "slow" {
					t.Cleanup(release)
					c.Limit = 300 * time.Millisecond
				}
			})

			e.Eventually("it fails", func() bool { return f.State().Failures > 0 })
			if s := f.State(); !strings.Contains(s.Problem, row.problem) || s.Position != 0 || s.Lag != 40 ||
				!s.Since.Equal(m.events[0].Time) {
				t.Errorf("state %+v", s)
			}
			spoilt.Store(false)
			if row.name == "slow" {
				release()
			}
			e.Eventually("all records arrive", func() bool { return f.State().Position == 40 })

			p.mu.Lock()
			defer p.mu.Unlock()
			if got := firsts(p.stored); got != wholeRecord(40) || len(p.faults) > 0 {
				t.Errorf("stored %s, faults %q", got, p.faults)
			}
		})
	}
}

// Retry-After, in both of its forms, is waited for; a receiver cannot make it
// longer than an hour.
func TestFeedWaitsAsAsked(t *testing.T) {
	for _, row := range []struct {
		name, after string
		least, most time.Duration
	}{
		{"seconds", "2000", 2000 * time.Second, 2001 * time.Second},
		{"date", time.Now().Add(45 * time.Minute).UTC().Format(http.TimeFormat), 40 * time.Minute, 46 * time.Minute},
		{"for ever", "2000000000", time.Hour, time.Hour + time.Second},
		{"words", "soon", time.Minute / 2, time.Minute},
		{"absent", "", time.Minute / 2, time.Minute},
	} {
		t.Run(row.name, func(t *testing.T) {
			e, m := newEnv(t), records(2)
			p := &repository{
				spoil: func(int) bool { return true },
				answer: func(w http.ResponseWriter) {
					w.Header().Set("Retry-After", row.after)
					w.WriteHeader(http.StatusTooManyRequests)
				},
			}
			began := time.Now()
			f := e.run(m, e.feed(p.start(e)), func(c *forward.Config) {
				c.Now = func() time.Time { return began }
				c.Pause = time.Minute // no second refusal before the first is seen
			})
			e.Eventually("it is refused", func() bool { return f.State().Failures > 0 })
			if wait := f.State().Next.Sub(began); wait < row.least || wait > row.most {
				t.Errorf("waits %v", wait)
			}
		})
	}
}

// A record that the receiver refuses is named, all before it are accepted, and none
// after it is lost.
func TestFeedStopsAtARefusedRecord(t *testing.T) {
	e, m := newEnv(t), records(20)
	var bad atomic.Bool
	bad.Store(true)
	p := &repository{refuse: func(id string) bool { return bad.Load() && id == "a12" }}
	f := e.run(m, e.feed(p.start(e)))
	e.Eventually("it stops", func() bool { return f.State().Failures > 3 })
	if s := f.State(); s.Position != 11 || !strings.Contains(s.Problem, "record a12") ||
		!strings.Contains(s.Problem, "422") {
		t.Errorf("state %+v", s)
	}

	bad.Store(false)
	e.Eventually("the rest arrives", func() bool { return f.State().Position == 20 })
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, ev := range m.events {
		if !slices.Contains(p.stored, strings.TrimPrefix(ev.ID, "a")) {
			t.Errorf("record %s is missing", ev.ID)
		}
	}
}

// A Forwarder goes on where the one before it was, and stores a position only
// after the collector has accepted it.
func TestForwardingGoesOnAfterARestart(t *testing.T) {
	e, m, p := newEnv(t), records(30), &repository{}
	url := p.start(e)
	first, stop := e.start(m, e.feed(url))
	e.Eventually("all records arrive", func() bool { return first.State().Position == 30 })
	m.add(10)
	e.Eventually("the next arrive", func() bool { return first.State().Position == 40 })

	stop()
	m.add(10)
	second := e.run(m, e.feed(url))
	e.Eventually("the second has all", func() bool { return second.State().Position == 50 })
	if s := second.State(); s.Sent != 10 {
		t.Errorf("the second sent %d records", s.Sent)
	}
	for i := 1; i < len(m.saved); i++ {
		if m.saved[i] < m.saved[i-1] {
			t.Errorf("the position went back: %v", m.saved)
		}
	}
}

// Records that were removed before the collector accepted them are counted, and do
// not hold up those after them.
func TestRemovedRecordsAreCounted(t *testing.T) {
	e, m, p := newEnv(t), records(30), &repository{}
	m.events = m.events[12:]
	f := e.run(m, e.feed(p.start(e)))
	e.Eventually("the rest arrives", func() bool { return f.State().Position == 30 })
	if s := f.State(); s.Missed != 12 || s.Sent != 18 {
		t.Errorf("state %+v", s)
	}
}

// The token is read for each request, and one that cannot be read is a failure
// that is tried again.
func TestFeedReadsItsTokenAgain(t *testing.T) {
	e, m, p := newEnv(t), records(1), &repository{}
	feed := e.feed(p.start(e))
	var there atomic.Bool
	feed.Token = func() (string, error) {
		if !there.Load() {
			return "", errors.New("no such file")
		}
		return "fresh", nil
	}

	f := e.run(m, feed)
	e.Eventually("it fails", func() bool { return f.State().Failures > 0 })
	there.Store(true)
	e.Eventually("it works", func() bool { return f.State().Position == 1 })
	if got := p.headers.Get("Authorization"); got != "Bearer fresh" {
		t.Errorf("Authorization: %s", got)
	}
}

// A receiver may ask for a certificate in the place of a token.
func TestFeedWithAClientCertificate(t *testing.T) {
	e, m, p := newEnv(t), records(1), &repository{}
	url := p.start(e, func(c *tls.Config) { c.ClientAuth = tls.RequireAndVerifyClientCert })
	without := e.run(records(1), e.feed(url))
	e.Eventually("it fails", func() bool { return without.State().Failures > 0 })
	f := e.run(m, e.feed(url, e.identity("sender.example")))
	e.Eventually("it works", func() bool { return f.State().Position == 1 })
	if s := without.State(); s.Position != 0 || !strings.Contains(s.Problem, "certificate") {
		t.Errorf("without one: %+v", s)
	}
}
