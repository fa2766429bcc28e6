package oauth_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"fhirdest.example/server/oauth"
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

// A server that cannot store what it must answers nothing that sounds like
// done, says when to try again, and tells the cause to nobody but the operator.
//
// Covers: S1-114, case 178, row 37 of the diagnostics
func TestStoreTrouble(t *testing.T) {
	e, c, id, f := faultyEnv(t)
	token := e.issued(c, id)
	f.before = func() error { return errors.New("write /secret/trust.bolt: no space left on device") }
	authenticated := func(endpoint string) url.Values {
		form := e.form(c.Sign(t, udaptest.Assertion(id, e.now()).With("aud", issuer+"/"+endpoint)))
		set(form, []string{"token", token, "grant_type", "-", "scope", "-"})
		return form
	}
	for _, x := range []struct{ name, path, kind, body string }{
		{"register", "/oauth/register", "application/json", e.registerBody(c.Sign(t, c.Statement(e.now())), nil)},
		{
			"cancel",
			"/oauth/register",
			"application/json",
			e.registerBody(c.Sign(t, c.Statement(e.now()).With("grant_types", []string{})), nil),
		},
		{
			"token",
			"/oauth/token",
			"application/x-www-form-urlencoded",
			e.form(c.Sign(t, udaptest.Assertion(id, e.now()))).Encode(),
		},
		{"introspect", "/oauth/introspect", "application/x-www-form-urlencoded", authenticated("introspect").Encode()},
		{"revoke", "/oauth/revoke", "application/x-www-form-urlencoded", authenticated("revoke").Encode()},
	} {
		before := e.dump()
		res, err := e.server.Client().Post(e.server.URL+x.path, x.kind, strings.NewReader(x.body))
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(res.Body)
		if err := errors.Join(err, res.Body.Close()); err != nil {
			t.Fatal(err)
		}

		a := answer{res.StatusCode, res.Header, body, res.Close}
		if a.status != http.StatusServiceUnavailable || a.header.Get("Retry-After") == "" ||
			a.header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: %d, header %v, %s", x.name, a.status, a.header, a.body)
		}
		e.checkRefusal(x.name, a, "temporarily_unavailable")
		if strings.Contains(string(a.body), "bolt") {
			t.Errorf("%s: the cause is told: %s", x.name, a.body)
		}

		if e.dump() != before {
			t.Errorf("%s: something was stored", x.name)
		}
	}

	f.before = func() error { return nil }
	if a := e.token(c, udaptest.Assertion(id, e.now())); a.status != http.StatusOK {
		t.Errorf("afterwards: %d %s", a.status, a.body)
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
