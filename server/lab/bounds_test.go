package lab_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"fhirdest.example/certs"
	"fhirdest.example/gateway/wire"
	"fhirdest.example/server/bolt"
	"fhirdest.example/server/lab"
	"fhirdest.example/udap/conform"
	"fhirdest.example/udap/jose"
)

// site is that of a session at which nothing is served.
type site struct{ http.Handler }

func (site) Run(ctx context.Context) { <-ctx.Done() }

func (site) Close() error { return nil }

// service is a lab over a real store.
type service struct {
	*testing.T
	*lab.Service
}

func start(t *testing.T, settings lab.Settings) *service {
	t.Helper()
	community, err := certs.NewCommunity(certs.CommunityPlan{
		Name:      "A",
		Key:       "p256",
		NotBefore: time.Now().Add(-time.Hour),
		Life:      240 * time.Hour,
	})
	if err != nil {
		t.Fatal(err)
	}

	dir := t.TempDir()
	store, err := bolt.OpenLab(filepath.Join(dir, "lab.bolt"), bolt.Options{})
	if err != nil {
		t.Fatal(err)
	}

	issuer := lab.Issuer{
		Community: "urn:a",
		CA:        community.Issuing,
	}
	s, err := lab.New(lab.Config{
		Settings: settings,
		Public:   "https://fhir.test/acme",
		Private:  "https://private.test/acme",
		Plain:    "https://fhir.test/acme/fhir",
		Own:      "https://fhir.test/acme/oauth",
		Dir:      filepath.Join(dir, "lab"),
		Issuers:  []lab.Issuer{issuer},
		Store:    store,
		NewSite:  func(lab.Place) (lab.Site, error) { return site{http.NotFoundHandler()}, nil },
		Now:      time.Now,
		Log:      slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}

	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.Run(ctx)
	}()
	t.Cleanup(func() {
		stop()
		<-done
		store.Close()
	})

	return &service{t, s}
}

func (s *service) open() lab.Session {
	s.Helper()
	session, err := s.Open(s.Context(), lab.OpenRequest{})
	if err != nil {
		s.Fatal(err)
	}
	return session
}

func (s *service) watch(id string) (<-chan lab.Update, func()) {
	s.Helper()
	updates, cancel, err := s.Watch(id)
	if err != nil {
		s.Fatal(err)
	}
	return updates, cancel
}

// send brings one exchange to a session, as a listener does.
func (s *service) send(to lab.Session, body string) {
	s.Helper()
	head := []byte("POST " + strings.TrimPrefix(to.Base, "https://fhir.test") + "/Patient HTTP/1.1\r\n\r\n")
	c := s.Copy(nil, "c1", head)
	if c == nil {
		s.Fatal("the request is captured by no session")
	}
	c.RequestHead(head)
	c.RequestBody([]byte(body))
	c.Ended(&wire.Message{Seq: 1}, &wire.Message{Status: http.StatusNotFound}, false)
}

func (s *service) flush() {
	s.Helper()
	if err := s.Flush(s.Context()); err != nil {
		s.Fatal(err)
	}
}

// isRefused fails the test unless an error is about a member of a request.
func (s *service) isRefused(err error, member string) {
	s.Helper()
	var request *lab.RequestError
	if !errors.As(err, &request) || request.Member != member {
		s.Errorf("error %v, want one about %s", err, member)
	}
}

// A session has at most 32 watchers and the lab 256; one that leaves makes room.
func TestWatchersAreBounded(t *testing.T) {
	s := start(t, lab.Settings{})
	var leave func()
	for range 8 {
		session := s.open()
		for range 32 {
			_, leave = s.watch(session.ID)
			defer leave()
		}
		if _, _, err := s.Watch(session.ID); !errors.Is(err, lab.ErrBusy) {
			t.Errorf("one watcher too many of a session: %v", err)
		}
	}

	last := s.open()
	if _, _, err := s.Watch(last.ID); !errors.Is(err, lab.ErrBusy) {
		t.Errorf("one watcher too many of all: %v", err)
	}
	leave()
	leave() // counts once
	_, leave = s.watch(last.ID)
	defer leave()
	if _, _, err := s.Watch(last.ID); !errors.Is(err, lab.ErrBusy) {
		t.Errorf("one watcher too many again: %v", err)
	}
}

// A watcher that reads nothing is ended, and holds nothing up.
func TestSlowWatchersAreEnded(t *testing.T) {
	s := start(t, lab.Settings{})
	session := s.open()
	updates, cancel := s.watch(session.ID)
	defer cancel()

	const many = 300
	for range many {
		s.send(session, "")
	}
	s.flush()

	seen := 0
	for open := true; open; {
		select {
		case _, open = <-updates:
			seen++
		default:
			t.Fatalf("after %d updates the channel is open", seen)
		}
	}
	kept, err := s.Exchanges(t.Context(), session.ID, 1, many+1)
	if err != nil || len(kept) != many {
		t.Errorf("%d exchanges are kept, %v", len(kept), err)
	}
}

// Who watches a session sees that it ends.
func TestWatchersSeeTheEnd(t *testing.T) {
	s := start(t, lab.Settings{})
	session := s.open()
	updates, cancel := s.watch(session.ID)
	defer cancel()

	if err := s.Close(t.Context(), session.ID); err != nil {
		t.Fatal(err)
	}
	if u, open := <-updates; !open || !u.Ended {
		t.Errorf("update %+v, %t", u, open)
	}
	if _, open := <-updates; open {
		t.Error("an update after the end")
	}
}

// A session keeps no more bytes than it may, and its report says that it does not.
func TestSizeOfASession(t *testing.T) {
	s := start(t, lab.Settings{Size: 40_000})
	session := s.open()
	for range 10 {
		s.send(session, strings.Repeat("x", 6000)) // about 12,000 bytes with what is around it
	}
	s.flush()

	session, err := s.Session(session.ID)
	if err != nil {
		t.Fatal(err)
	}
	if n := session.Counts; n.Exchanges != 3 || n.Dropped != 7 || n.Bytes > 40_000 {
		t.Errorf("counts %+v", n)
	}
	r, err := lab.MakeReport(t.Context(), s.Service, session.ID)
	if err != nil {
		t.Fatal(err)
	}
	if notes := fmt.Sprint(r.Notes); !strings.Contains(notes, "7 requests were not kept") {
		t.Errorf("notes %s", notes)
	}
}

// Of a long body the beginning is kept, with its whole length; of an answer that was cut
// off, that it was.
func TestCapturesAreBounded(t *testing.T) {
	s := start(t, lab.Settings{})
	session := s.open()
	head := []byte("GET /acme/lab/" + session.ID + "/fhir/Patient HTTP/1.1\r\n\r\n")
	const long = conform.MaxKept + 10_000

	c := s.Copy(nil, "c1", head)
	c.RequestHead(head)
	c.AnswerHead([]byte("HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 100_000)))
	for range long / 1000 {
		c.AnswerBody(make([]byte, 1000))
	}
	c.Ended(&wire.Message{Seq: 7}, &wire.Message{Status: http.StatusOK}, true)
	s.flush()

	k, err := s.Exchange(t.Context(), session.ID, 1)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(k.Answer.Body); n != conform.MaxKept || k.Answer.Length != long/1000*1000 {
		t.Errorf("%d bytes of %d are kept", n, k.Answer.Length)
	}
	if n := len(k.Answer.Head); n != 64<<10 {
		t.Errorf("%d bytes of the head are kept", n)
	}
	if !k.Cut || k.Status != http.StatusOK || k.Seq != 7 || k.Answer.SHA256 != "" || k.Received.IsZero() {
		t.Errorf("cut %t, status %d, request %d, digest %q, received %s", k.Cut, k.Status, k.Seq, k.Answer.SHA256,
			k.Received)
	}
}

// A session has at most a hundred certificates, whatever else is cleared; a request that
// cannot be read is none of them.
func TestCertificatesAreBounded(t *testing.T) {
	s := start(t, lab.Settings{})
	session := s.open()
	issue := func(csr string) error {
		_, err := s.IssueClient(t.Context(), session.ID, lab.ClientRequest{
			Key: "ec",
			CSR: csr,
		})
		return err
	}

	s.isRefused(issue("no request"), "csr")
	for range 100 {
		if err := issue(""); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Clear(t.Context(), session.ID); err != nil {
		t.Fatal(err)
	}
	s.isRefused(issue(""), "client")
	if again, _ := s.Session(session.ID); again.Counts.Clients != 100 || again.Run != session.Run+1 {
		t.Errorf("run %d, counts %+v", again.Run, again.Counts)
	}
}

// A session has at most eight faults, the plain one none, and names are short text.
func TestRequestsOfTestersAreBounded(t *testing.T) {
	s := start(t, lab.Settings{Plain: true})
	var names []string
	for _, f := range (lab.Faults{Service: s.Service}).All()[:9] {
		names = append(names, f.Name)
	}

	for _, row := range []struct {
		member string
		req    lab.OpenRequest
	}{
		{"faults", lab.OpenRequest{Faults: names}},
		{"faults", lab.OpenRequest{Faults: []string{"none"}}},
		{"name", lab.OpenRequest{Name: strings.Repeat("n", lab.MaxName+1)}},
		{"name", lab.OpenRequest{Name: "a\nb"}},
		{"name", lab.OpenRequest{Name: "\xff"}},
		{"mode", lab.OpenRequest{Mode: "lenient"}},
		{"profile", lab.OpenRequest{Profile: "other"}},
	} {
		_, err := s.Open(t.Context(), row.req)
		s.isRefused(err, row.member)
	}

	if _, err := s.Open(t.Context(), lab.OpenRequest{Faults: names[:8]}); err != nil {
		t.Error(err)
	}
	s.isRefused(s.SetFault(t.Context(), lab.Plain, names[:1]), "faults")
	s.isRefused(s.PutReport(t.Context(), lab.Plain, "last", make([]byte, 4<<20+1)), "report")
}

// A key with which no client could sign here gets no certificate, and the tester learns
// which would.
func TestKeysThatNoDestinationAccepts(t *testing.T) {
	s := start(t, lab.Settings{})
	session := s.open()
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	_, edwards, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	curve := func(c elliptic.Curve) *ecdsa.PrivateKey {
		key, err := ecdsa.GenerateKey(c, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		return key
	}

	for name, key := range map[string]crypto.Signer{
		"RSA of 1024 bits": small,
		"Ed25519":          edwards,
		"P-521":            curve(elliptic.P521()),
		"":                 curve(elliptic.P384()),
	} {
		der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
		if err != nil {
			t.Fatal(err)
		}
		csr := pem.EncodeToMemory(&pem.Block{
			Type:  "CERTIFICATE REQUEST",
			Bytes: der,
		})
		_, err = s.IssueClient(t.Context(), session.ID, lab.ClientRequest{CSR: string(csr)})
		if name == "" {
			if err != nil {
				t.Errorf("P-384: %v", err)
			}
			continue
		}

		s.isRefused(err, "csr")
		if err == nil || !strings.Contains(err.Error(), jose.SoundKeys) {
			t.Errorf("%s: %v", name, err)
		}
	}

	if again, _ := s.Session(session.ID); again.Counts.Clients != 1 {
		t.Errorf("counts %+v", again.Counts)
	}
}
