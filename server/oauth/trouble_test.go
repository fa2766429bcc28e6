package oauth_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"fhirdest.example/server/oauth"
	"fhirdest.example/udap"
	"fhirdest.example/udap/trace"
	"fhirdest.example/udap/udaptest"
)

// faulty is a store in which something happens before each change, or instead.
type faulty struct {
	oauth.Store
	before func() error
}

func (f *faulty) Register(
	ctx context.Context, s oauth.Spend, next oauth.Registration,
) (stored, previous *oauth.Registration, err error) {
	if err := f.before(); err != nil {
		return nil, nil, err
	}
	return f.Store.Register(ctx, s, next)
}

func (f *faulty) Cancel(
	ctx context.Context, s oauth.Spend, community trace.CommunityURI, client trace.ClientURI,
) (*oauth.Registration, error) {
	if err := f.before(); err != nil {
		return nil, err
	}
	return f.Store.Cancel(ctx, s, community, client)
}

func (f *faulty) Issue(ctx context.Context, s oauth.Spend, t oauth.Token) (oauth.Handle, error) {
	if err := f.before(); err != nil {
		return oauth.Handle{}, err
	}
	return f.Store.Issue(ctx, s, t)
}

func (f *faulty) Revoke(
	ctx context.Context, s oauth.Spend, owner trace.ClientID, h oauth.Handle, hash oauth.Hash,
) error {
	if err := f.before(); err != nil {
		return err
	}
	return f.Store.Revoke(ctx, s, owner, h, hash)
}

func (f *faulty) Spend(ctx context.Context, s oauth.Spend) error {
	if err := f.before(); err != nil {
		return err
	}
	return f.Store.Spend(ctx, s)
}

// faultyEnv has a registered client and a store of which before decides.
func faultyEnv(t *testing.T) (*env, *udaptest.Client, trace.ClientID, *faulty) {
	t.Helper()
	f := &faulty{before: func() error { return nil }}
	e := newEnvWith(t, &env{wrap: func(s oauth.Store) oauth.Store { f.Store = s; return f }})
	c := e.client(e.w.A, udaptest.Client1URI)
	return e, c, e.registered(c), f
}

// unavailable sends a request and asserts that it is answered with 503, that the
// answer has when to try again and not the cause, and that nothing is stored.
func (e *env) unavailable(path, contentType, body, secret string) {
	e.t.Helper()
	before := e.dump()
	res, err := e.server.Client().Post(e.server.URL+path, contentType, strings.NewReader(body))
	if err != nil {
		e.t.Fatal(err)
	}
	text, err := io.ReadAll(res.Body)
	if err := errors.Join(err, res.Body.Close()); err != nil {
		e.t.Fatal(err)
	}

	a := answer{res.StatusCode, res.Header, text, res.Close}
	if a.status != http.StatusServiceUnavailable || a.header.Get("Retry-After") == "" ||
		a.header.Get("Cache-Control") != "no-store" {
		e.t.Errorf("%d, header %v, %s", a.status, a.header, a.body)
	}
	e.checkRefusal(path, a, "temporarily_unavailable")
	if secret != "" && strings.Contains(string(a.body), secret) {
		e.t.Errorf("the cause is in the answer: %s", a.body)
	}

	if e.dump() != before {
		e.t.Error("something was stored")
	}
}

// A server that cannot store what it must never answers as if it had: it says
// when to try again, and the cause is for the operator alone.
//
// Covers: S1-114, case 178, D-37
func TestStoreTrouble(t *testing.T) {
	for _, req := range signedRequests() {
		t.Run(req.name, func(t *testing.T) {
			e, c, id, f := faultyEnv(t)
			f.before = func() error { return errors.New("write /secret/trust.bolt: no space left on device") }
			e.unavailable(req.path, req.contentType, req.body(e, c, id), "bolt")

			f.before = func() error { return nil }
			if a := e.token(c, udaptest.Assertion(id, e.now())); a.status != http.StatusOK {
				t.Errorf("afterwards: %d %s", a.status, a.body)
			}
		})
	}
}

// After the clock was ahead and was set back the server cannot recognise a JWT that
// is sent again: that is no verdict about the client.
func TestClockSetBack(t *testing.T) {
	for _, req := range signedRequests() {
		t.Run(req.name, func(t *testing.T) {
			e, c, id, f := faultyEnv(t)
			f.before = func() error { return fmt.Errorf("store: %w", oauth.ErrSwept) }
			e.unavailable(req.path, req.contentType, req.body(e, c, id), "")
		})
	}
}

// busySource is a source of CRLs that has no time for a new fetch.
type busySource struct {
	udap.RevocationSource
	busy atomic.Bool
}

func (b *busySource) CRLs(ctx context.Context, q udap.CRLQuery) []udap.CRLAnswer {
	if b.busy.Load() {
		return []udap.CRLAnswer{{URL: "http://crl.test/ca.crl", Err: udap.ErrUnavailable}}
	}
	return b.RevocationSource.CRLs(ctx, q)
}

// A server too busy to fetch a CRL says so: that is no verdict about the client,
// and its JWT is not used up.
//
// Covers: S1-114, D-13
func TestBusyServer(t *testing.T) {
	for _, rule := range []udap.RevocationRule{udap.RevocationRequired, udap.RevocationSoft} {
		for _, req := range signedRequests() {
			t.Run(string(rule)+" "+req.name, func(t *testing.T) {
				source := &busySource{}
				e, c, id := clientEnv(t, func(cfg *oauth.Config) {
					source.RevocationSource = cfg.Verifier.Revocation
					cfg.Verifier.Revocation = source
					cfg.Verifier.Communities[0].Policy.Revocation = rule
				})
				body := req.body(e, c, id)
				source.busy.Store(true)

				spent := e.store.LiveJTI()
				e.unavailable(req.path, req.contentType, body, "")
				if e.store.LiveJTI() != spent {
					t.Error("the jti was used up")
				}

				source.busy.Store(false)
				if a := e.send("POST", req.path, req.contentType, body, nil); a.status != 200 {
					t.Errorf("the same request afterwards: %d %s", a.status, a.body)
				} else if token := a.text("access_token"); token != "" {
					e.secret(token)
				}
			})
		}
	}
}

// A registration that is cancelled while a token is being judged gets none.
//
// Covers: S1-122, case 129, case 143
func TestRegistrationEndsMeanwhile(t *testing.T) {
	e, c, id, f := faultyEnv(t)
	f.before = func() error {
		f.before = func() error { return nil }
		if a := e.register(c, c.Statement(e.now()).With("grant_types", []string{})); a.status != http.StatusOK {
			t.Errorf("cancel: %d %s", a.status, a.body)
		}
		return nil
	}

	a := e.token(c, udaptest.Assertion(id, e.now()))
	if a.status != http.StatusBadRequest {
		t.Errorf("%d %s", a.status, a.body)
	}
	e.checkRefusal("cancelled meanwhile", a, "invalid_client")
}

// A request whose turn did not come when its body had arrived is recorded as the
// server's trouble, not as a broken body.
//
// Covers: S1-114
func TestNoTurn(t *testing.T) {
	e := newEnv(t)
	for _, req := range signedRequests() {
		t.Run(req.name, func(t *testing.T) {
			broken := io.MultiReader(strings.NewReader("{}"), failing{fmt.Errorf("busy: %w", udap.ErrUnavailable)})
			r := httptest.NewRequest("POST", req.path, broken)
			r.Header.Set("Content-Type", req.contentType)
			w := httptest.NewRecorder()
			e.svc.Routes(func(u string, h http.Handler) {
				if strings.HasSuffix(u, req.path) {
					h.ServeHTTP(w, r)
				}
			})

			if got := e.lastTrace().Code; w.Code != 503 || got != trace.TemporarilyUnavailable {
				t.Errorf("%d, recorded as %s\n%s", w.Code, got, w.Body)
			}
		})
	}
}

// failing is a reader that fails.
type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }
