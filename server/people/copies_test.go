package people_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"fhirdest.example/server/servertest"
	"fhirdest.example/udap/client"
)

// tap holds back a request that a client sends.
type tap struct {
	mu      sync.Mutex // guards the fields below
	holding bool
	request string // the first that was held back, whole
}

// held is a connection behind a tap.
type held struct {
	net.Conn
	tap  *tap
	sent bytes.Buffer
}

var errHeld = errors.New("the request is held back")

func (t *tap) wrap(c net.Conn) net.Conn {
	return &held{
		Conn: c,
		tap:  t,
	}
}

// Write keeps what is sent while requests are held back.
func (h *held) Write(p []byte) (int, error) {
	h.tap.mu.Lock()
	defer h.tap.mu.Unlock()
	if !h.tap.holding {
		return h.Conn.Write(p)
	}

	h.sent.Write(p)
	req, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(h.sent.Bytes())))
	if err != nil {
		return len(p), nil // its header is not whole yet
	}
	if _, err := io.Copy(io.Discard, req.Body); err != nil {
		return len(p), nil
	}
	if h.tap.request == "" {
		h.tap.request = strings.Replace(h.sent.String(), "\r\n", "\r\nConnection: close\r\n", 1)
	}
	_ = h.Conn.Close()
	return len(p), errHeld
}

// hold returns the request that do sends, which is held back.
func (t *tap) hold(do func()) string {
	t.mu.Lock()
	t.holding, t.request = true, ""
	t.mu.Unlock()

	do()

	t.mu.Lock()
	defer t.mu.Unlock()
	t.holding = false
	return t.request
}

// storm sends copies of requests to two destinations, all at the same moment, and
// returns the bodies that came with 2xx. All others must be refused.
func storm(t *testing.T, copies int, to []*servertest.Destination, requests ...string) (good []string) {
	t.Helper()
	var mu sync.Mutex
	var all sync.WaitGroup
	start := make(chan struct{})
	for i := range copies {
		for j, request := range requests {
			all.Go(func() {
				<-start
				answer := to[(i+j)%len(to)].Raw(request)
				res, err := http.ReadResponse(bufio.NewReader(strings.NewReader(answer)), nil)
				if err != nil {
					t.Errorf("%v: %.300q", err, answer)
					return
				}

				body, _ := io.ReadAll(res.Body) // what came of it

				mu.Lock()
				defer mu.Unlock()
				switch {
				case res.StatusCode/100 == 2:
					good = append(good, string(body))
				case res.StatusCode/100 != 4:
					t.Errorf("%.500s", answer)
				}
			})
		}
	}
	close(start)
	all.Wait()
	return good
}

// onTwo is a destination with people, another one beside it whose clock is ahead, and a
// tap on what the clients of the first send.
func onTwo(t *testing.T, ahead time.Duration) (e *env, both []*servertest.Destination, tapped *tap) {
	e = newEnv(t, servertest.Database, func(w *servertest.Env) {
		w.Config.Rates.TokensPerClient = 10_000
		w.Config.Rates.RequestsPerAddress = 10_000
	})
	now := e.Now
	e.Now = func() time.Time { return now().Add(ahead) }
	second := e.Beside()
	e.Now = now

	tapped = new(tap)
	e.Wrap = tapped.wrap
	return e, []*servertest.Destination{e.Destination, second}, tapped
}

// Whatever is used once is used once over two destinations, also when their clocks
// differ: copies of one request are sent to both at the same moment, and one of them
// has the effect.
func TestCopiesAtTwoDestinations(t *testing.T) {
	for _, ahead := range []time.Duration{0, 30 * time.Second} {
		t.Run("ahead "+ahead.String(), func(t *testing.T) {
			e, both, tapped := onTwo(t, ahead)
			s := e.Session(e.A, e.Client(e.A, "https://machine.test/app"), "system/Patient.rs")
			proofs, err := client.NewProofs()
			if err != nil {
				t.Fatal(err)
			}
			ctx := context.Background()
			ask := func(s *servertest.Session) {
				_, _ = s.Client.Token(ctx, s.Discovered, client.TokenRequest{
					ClientID: s.Registered.ClientID,
					Scope:    "system/Patient.rs",
					B2B:      servertest.Treatment(),
				})
			}

			for name, do := range map[string]func() func(){
				"assertion": func() func() { return func() { ask(s) } },
				"statement": func() func() {
					other := e.Originator(e.A, e.Client(e.A, "https://new.test/app"))
					return func() { _, _ = other.Register(ctx, s.Discovered, registration()) }
				},
				"proof at the token endpoint": func() func() {
					e.Proofs = proofs
					defer func() { e.Proofs = nil }()
					s := e.Session(e.A, e.Client(e.A, "https://bound.test/app"), "system/Patient.rs")
					return func() { ask(s) }
				},
				"proof": func() func() {
					e.Proofs = proofs
					defer func() { e.Proofs = nil }()
					s := e.Session(e.A, e.Client(e.A, "https://bound.test/app"), "system/Patient.rs")
					return func() { _, _ = s.Client.Get(ctx, "Patient", s.Token.Access) }
				},
				"code": func() func() {
					a := e.app("https://code.test/app") // of its own: consent is remembered
					b := e.browser()
					b.allow(a.authorize(scopes), "alice")
					code := b.code()
					return func() { _, _ = a.exchange(code, scopes) }
				},
				"refresh token": func() func() {
					a := e.app("https://refresh.test/app")
					token := a.tokens("alice", "", scopes+" offline_access")
					return func() { _, _ = a.refresh(token) }
				},
			} {
				t.Run(name, func(t *testing.T) {
					request := tapped.hold(do())
					if good := storm(t, 40, both, request); len(good) != 1 {
						t.Errorf("%d copies had the effect of %.100q", len(good), request)
					}
				})
			}
		})
	}
}

// A code is used once over two destinations, and what came of one refresh token lives
// once, also with requests that have nothing else in common.
func TestOneGrantAtTwoDestinations(t *testing.T) {
	e, both, tapped := onTwo(t, 0)
	a := e.app("https://client.test/app")
	different := func(do func()) (all []string) {
		for range 10 {
			all = append(all, tapped.hold(do))
		}
		return all
	}

	b := e.browser()
	b.allow(a.authorize(scopes), "alice")
	code := b.code()
	exchanges := different(func() { _, _ = a.exchange(code, scopes) })
	if good := storm(t, 1, both, exchanges...); len(good) != 1 {
		t.Errorf("one code: %d tokens", len(good))
	}

	token := a.tokens("alice", "", scopes+" offline_access")
	refreshes := different(func() { _, _ = a.refresh(token) })
	answers := storm(t, 1, both, refreshes...)
	for _, d := range both {
		live := 0
		for _, answer := range answers {
			var got struct {
				Access string `json:"access_token"`
			}
			if err := json.Unmarshal([]byte(answer), &got); err != nil {
				t.Fatal(err)
			}
			res, _ := d.Get("/acme/fhir/Observation", "Authorization", "Bearer "+got.Access)
			if res.StatusCode == http.StatusOK {
				live++
			}
		}
		if len(answers) != len(refreshes) || live != 1 {
			t.Errorf("one refresh token: %d answers, of which %d work", len(answers), live)
		}
	}
}
