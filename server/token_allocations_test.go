package server_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"io"
	"runtime"
	"testing"
	"time"

	"fhirdest.example/certs"
	"fhirdest.example/server"
	"fhirdest.example/server/oauth"
	"fhirdest.example/server/servertest"
)

// mostAllocations bounds what one token may allocate in a whole destination, with
// everything that is done beside it: net/http, TLS and framing, limits, metrics, the
// line of the log, the decision and the audit record.
const mostAllocations = 126

// A token costs a whole destination few allocations, where 32 clients who ask at the
// same time share a commit. Their number, unlike time, is about the same on
// every machine.
func TestAllocationsOfAToken(t *testing.T) {
	for _, kind := range []certs.KeyKind{"p256", "rsa2048"} {
		t.Run(string(kind), func(t *testing.T) {
			d := newWhole(t, servertest.OnFiles("the client of a database allocates, too"))
			id := d.Issue("client", d.A, d.Key(kind), "https://client1.test/app")
			s := d.Session(d.A, id, "system/*.read")
			d.Get("/acme/fhir/Patient?name=x", "Authorization", "Bearer "+s.Token.Access) // loads tables

			const (
				clients = 32
				rounds  = 20
			)
			var requests [][]byte
			for range clients * (2 + rounds) {
				requests = append(requests, []byte(d.tokenRequest(t, id, s.Registered.ClientID)))
			}

			var all [clients]*leanClient
			for i := range all {
				all[i] = newLeanClient(t, d, requests[i])
			}
			requests = requests[clients:]
			h := newHold(server.TrustOf(d.server))

			got := testing.AllocsPerRun(rounds, func() {
				h.begin()
				for i, c := range all {
					c.send(t, requests[i])
				}
				h.end(t, clients)
				for _, c := range all {
					c.receive(t)
				}
				requests = requests[clients:]
			}) / clients
			t.Logf("%.0f allocations a token", got)
			if got > mostAllocations {
				t.Errorf("a token costs %.0f allocations, more than %d", got, mostAllocations)
			}
		})
	}
}

// hold keeps a store from committing until many tokens wait for it. They then share
// one commit, however fast the disk is and however busy the machine.
type hold struct {
	store  oauth.Store
	begun  chan struct{}
	ended  chan struct{}
	stacks []byte
}

func newHold(store oauth.Store) *hold {
	return &hold{
		store:  store,
		begun:  make(chan struct{}),
		ended:  make(chan struct{}),
		stacks: make([]byte, 8<<20),
	}
}

// begin returns when the store does work that lasts until end.
func (h *hold) begin() {
	now := time.Now()
	spend := oauth.Spend{
		Community: "urn:test",
		Issuer:    "hold",
		JTI:       rand.Text(),
		Until:     now.Add(time.Minute),
		Expires:   now.Add(time.Minute),
		Endpoint:  "token",
		Now:       now,
	}

	go func() {
		_, _ = h.store.Exchange(
			context.Background(),
			spend,
			"",
			func(*oauth.Grant) oauth.Change {
				h.begun <- struct{}{}
				<-h.ended
				return oauth.Change{Err: oauth.ErrNoGrant}
			},
		)
	}()
	<-h.begun
}

// end has the store go on when n tokens wait for it.
func (h *hold) end(t *testing.T, n int) {
	waiting := []byte("(*Trust).Issue(")
	until := time.Now().Add(time.Minute)
	for bytes.Count(h.stacks[:runtime.Stack(h.stacks, true)], waiting) < n {
		if time.Now().After(until) {
			h.ended <- struct{}{}
			t.Fatal("the requests do not reach the store")
		}
		runtime.Gosched()
	}

	h.ended <- struct{}{}
}

// leanClient is a connection that allocates nothing by itself. All its answers are of
// one length.
type leanClient struct {
	conn   *tls.Conn
	answer []byte
}

// newLeanClient connects, and learns the length of an answer from a first request.
func newLeanClient(t *testing.T, d whole, first []byte) *leanClient {
	t.Helper()
	conn, err := tls.Dial("tcp", d.Addr, d.TLSClient("fhir.test"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })

	c := &leanClient{
		conn:   conn,
		answer: make([]byte, 16<<10),
	}
	c.send(t, first)
	n, err := io.ReadAtLeast(conn, c.answer, len("HTTP/1.1 200 OK"))
	if err != nil {
		t.Fatal(err)
	}
	c.answer = c.answer[:n]
	return c
}

func (c *leanClient) send(t *testing.T, request []byte) {
	if _, err := c.conn.Write(request); err != nil {
		t.Fatal(err)
	}
}

// receive reads an answer, which must be a success.
func (c *leanClient) receive(t *testing.T) {
	if _, err := io.ReadFull(c.conn, c.answer); err != nil {
		t.Fatal(err)
	}
	if !bytes.HasPrefix(c.answer, []byte("HTTP/1.1 200 OK\r\n")) || !bytes.HasSuffix(c.answer, []byte("}")) {
		t.Fatalf("%s", c.answer)
	}
}
