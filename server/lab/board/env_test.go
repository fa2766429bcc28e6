package board_test

import (
	"context"
	"crypto/x509"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"fhirdest.example/certs"
	"fhirdest.example/server/lab"
	"fhirdest.example/server/lab/board"
	"fhirdest.example/server/servertest/chromium"
	"fhirdest.example/udap/conform"
	"fhirdest.example/udap/conform/assess"
	"fhirdest.example/udap/fault/answer"
	"fhirdest.example/udap/trace"
	"fhirdest.example/udap/udaptest"
)

const sessionID = "0123456789abcdef0123456789abcdef"

// memory is a lab of one session in memory.
type memory struct {
	mu       sync.Mutex
	session  lab.Session
	ended    bool
	kept     []*lab.Kept
	watchers map[chan lab.Update]bool
	issuers  []lab.Issuer
}

func (m *memory) Sessions() []lab.Session {
	s, _ := m.Session(sessionID)
	return []lab.Session{s}
}

func (m *memory) Session(id string) (lab.Session, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if id != sessionID || m.ended {
		return lab.Session{}, lab.ErrNoSession
	}
	s := m.session
	s.Counts.Exchanges = uint64(len(m.kept))
	return s, nil
}

func (m *memory) Open(_ context.Context, o lab.OpenRequest) (lab.Session, error) {
	if o.Name == "" {
		return lab.Session{}, &lab.RequestError{Member: "name", Text: "give the session a name"}
	}
	return m.session, nil
}

func (m *memory) Exchanges(_ context.Context, _ string, first uint64, n int) ([]*lab.Kept, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if first > uint64(len(m.kept)) {
		return nil, nil
	}
	rest := m.kept[first-1:]
	return rest[:min(n, len(rest))], nil
}

func (m *memory) Watch(string) (<-chan lab.Update, func(), error) {
	c := make(chan lab.Update, 256)
	m.mu.Lock()
	m.watchers[c] = true
	m.mu.Unlock()
	return c, func() {
		m.mu.Lock()
		delete(m.watchers, c)
		m.mu.Unlock()
	}, nil
}

func (m *memory) add(x *conform.Exchange, a lab.Assessment) {
	m.mu.Lock()
	defer m.mu.Unlock()
	x.N = uint64(len(m.kept) + 1)
	a.Step = x.Step
	k := &lab.Kept{Exchange: x, Assessment: a}
	m.kept = append(m.kept, k)

	for c := range m.watchers {
		select {
		case c <- lab.Update{Session: m.session, Kept: k}:
		default:
		}
	}
}

// clear begins a new run.
func (m *memory) clear() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.kept = nil
	m.session.Run++
	for c := range m.watchers {
		c <- lab.Update{Session: m.session}
	}
}

// end ends the session, also for those who watch.
func (m *memory) end() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.ended = true
	for c := range m.watchers {
		c <- lab.Update{
			Session: m.session,
			Ended:   true,
		}
	}
}

func (m *memory) Issuers() []lab.Issuer { return m.issuers }

func (m *memory) SetFault(_ context.Context, _ string, names []string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.session.Faults = names
	return nil
}

func (m *memory) IssueClient(context.Context, string, lab.ClientRequest) (*lab.Client, error) {
	return &lab.Client{
		URI:      "https://x",
		Chain:    "-----BEGIN CERTIFICATE-----\n",
		Key:      "k",
		PKCS12:   []byte("abc"),
		Password: "p",
	}, nil
}

func (m *memory) Outcomes(context.Context, string) ([]conform.Outcome, error) {
	return []conform.Outcome{
		{
			Row:       "S1-107",
			Level:     "SHALL",
			Title:     "sub equals iss",
			Section:   "UDAP Security 3.1",
			Verdict:   conform.Shown,
			Exchanges: []uint64{2},
		},
		{
			Row:       "S1-109",
			Level:     "SHALL",
			Title:     "exp at most five minutes after iat",
			Section:   "UDAP Security 3.1",
			Verdict:   conform.Violated,
			Text:      "exp is 10 minutes after iat",
			Expected:  "300 s",
			Found:     "600 s",
			Remedy:    "let it live five minutes at most",
			Exchanges: []uint64{3},
		},
		{
			Row:     "S1-110",
			Level:   "SHOULD",
			Title:   "another",
			Section: "UDAP Security 3.1",
			Verdict: conform.NotExercised,
			Text:    "no refresh token was used",
		},
	}, nil
}

type env struct {
	*memory
	t      *testing.T
	world  *udaptest.Env
	server *httptest.Server
	url    string
}

func newEnv(t *testing.T, evidence ...string) *env {
	t.Helper()
	w := udaptest.New(t, certs.P256)
	e := &env{
		t:     t,
		world: w,
		memory: &memory{
			watchers: map[chan lab.Update]bool{},
			session: lab.Session{
				ID:      sessionID,
				Name:    "Table 7: Acme EHR",
				Base:    "https://localhost:8443/acme/lab/" + sessionID + "/fhir",
				Page:    "https://localhost:8443/acme/lab/" + sessionID + "/",
				Issuer:  "https://localhost:8443/acme/lab/" + sessionID + "/oauth",
				Profile: "ssraa-2",
				Mode:    "strict",
				Created: udaptest.Now,
				Expires: udaptest.Now.Add(120 * time.Hour),
			},
			issuers: []lab.Issuer{{
				Community: string(udaptest.CommunityA),
				Name:      "Community A",
				Anchors:   []*x509.Certificate{w.A.Root.Cert},
			}},
		},
	}
	b := board.New(board.Config{
		Lab:      e.memory,
		Root:     "/acme/lab/",
		Site:     "Acme lab",
		Evidence: evidence,
		Finish: func(context.Context, string) error {
			e.clear()
			return nil
		},
		Faults: answer.All(),
		Noticed: func(context.Context, string) ([]answer.Outcome, error) {
			return []answer.Outcome{
				{Fault: "metadata-expired", Verdict: answer.Noticed, Text: "no request followed", Seen: 1},
			}, nil
		},
		List:    true,
		Open:    true,
		Missing: http.NotFoundHandler(),
		Now:     func() time.Time { return udaptest.Now },
		Log:     slog.New(slog.NewTextHandler(t.Output(), nil)),
	})
	e.server = httptest.NewServer(b)

	t.Cleanup(e.server.Close)
	e.url = e.server.URL + "/acme/lab/"
	return e
}

func (e *env) chromium() *chromium.Browser {
	return chromium.Start(e.t, map[string]string{"127.0.0.1": strings.TrimPrefix(e.server.URL, "http://")})
}

// page returns the URL of a page of the session.
func (e *env) page(path string) string {
	return e.url + sessionID + "/" + path
}

// get returns a page.
func (e *env) get(url string) string {
	e.t.Helper()
	res, err := http.Get(url)
	if err != nil {
		e.t.Fatal(err)
	}
	defer res.Body.Close()

	body, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		e.t.Fatalf("%s: %d, %v", url, res.StatusCode, err)
	}
	return string(body)
}

func (e *env) exchange(step conform.Step, status int, target string) *conform.Exchange {
	return &conform.Exchange{
		Received: udaptest.Now,
		Answered: udaptest.Now.Add(20 * time.Millisecond),
		Method:   "POST",
		Target:   target,
		Step:     step,
		Status:   status,
		Address:  "192.0.2.7",
		Request: conform.Message{
			Head: []byte("POST " + target +
				" HTTP/1.1\r\nHost: localhost:8443\r\nContent-Type: application/json\r\n\r\n"),
			SHA256: strings.Repeat("ab12", 16),
		},
		Answer: conform.Message{
			Head:   []byte(fmt.Sprintf("HTTP/1.1 %d X\r\nContent-Type: application/json\r\n\r\n", status)),
			Body:   []byte(`{"error":"invalid_software_statement"}`),
			Length: 38,
			SHA256: strings.Repeat("cd34", 16),
		},
	}
}

var colours = []string{"green", "amber", "red"}

func (e *env) fill() {
	for i, uri := range []string{
		"https://acme.example/ehr",
		"https://nord.example/app",
		"https://research.example/export-tool",
		"https://very.long.example/clients/with/a/long/path#T-TREAT",
	} {
		e.client(i, uri)
	}

	e.add(e.exchange(conform.Other, 404, "/acme/lab/"+sessionID+"/fhir//.well-known/udap"), lab.Assessment{
		Lane:   "c99",
		Client: assess.Known{Name: "client at 192.0.2.2"},
		Colour: "red",
		Text:   "not found",
		Findings: []conform.Finding{
			{Text: "we saw one request for …/fhir//.well-known/udap: there is a slash too many"},
		},
	})
}

func (e *env) client(i int, uri string) {
	c := e.world.Client(e.t, e.world.A.Int, uri, nil)
	claims := c.Statement(udaptest.Now)
	known := assess.Known{Name: "client at 192.0.2.1"}
	statement := c.Sign(e.t, claims)

	for j, step := range []conform.Step{conform.Discover, conform.Register, conform.Token, conform.Read}[:4-i%3] {
		x := e.exchange(step, 200, "/acme/lab/"+sessionID+"/oauth/register")
		if step == conform.Register {
			known.Name, known.URI = uri, trace.ClientURI(uri)
			known.Community = udaptest.CommunityA
			if i%2 == 0 {
				known.Name = "Client " + uri
			}
		}

		a := lab.Assessment{
			Lane:   fmt.Sprint("c", i),
			Client: known,
			Colour: "green",
			Text:   "accepted",
		}
		if step == conform.Register {
			body := `{"software_statement":"` + statement + `","certifications":[],"udap":"1"}`
			x.Request.Body, x.Request.Length = []byte(body), int64(len(body))
			a.Colour = colours[(i+j)%3]
			if a.Colour == "red" {
				x.Status = 400
				a.Text = "exp is ten minutes after iat; five at most are allowed"
				a.Findings = []conform.Finding{
					{
						Row:      "S1-109",
						Verdict:  conform.Violated,
						Text:     "exp is ten minutes after iat",
						Expected: "at most 300 s",
						Found:    "600 s",
						Remedy:   "let it live five minutes at most",
					},
				}
			}

			if a.Colour == "amber" {
				a.Text = "contacts has an address without mailto:"
			}
			tr := trace.NewTrace("register", udaptest.Now)
			tr.Community, tr.Client = udaptest.CommunityA, trace.ClientURI(uri)

			for _, check := range trace.Checks() {
				if strings.HasPrefix(check.Name, "statement.") {
					tr.Pass(check, "as the rule has it", "so it is")
				}
			}

			x.Traces = append(x.Traces, tr)
		}

		e.add(x, a)
		if step == conform.Read {
			for range 40 {
				e.add(e.exchange(step, 200, "/acme/lab/"+sessionID+"/fhir/Patient"), lab.Assessment{
					Lane:   fmt.Sprint("c", i),
					Client: known,
					Colour: "green",
					Text:   "read",
				})
			}
		}
	}
}
