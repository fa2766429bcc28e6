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

// faultyRig has a registered client and a store of which before decides.
func faultyRig(t *testing.T) (*rig, *udaptest.Client, trace.ClientID, *faulty) {
	t.Helper()
	f := &faulty{before: func() error { return nil }}
	r := newRigWith(t, &rig{wrap: func(s oauth.Store) oauth.Store { f.Store = s; return f }})
	c := r.client(r.w.A, udaptest.Client1URI)
	return r, c, r.registered(c), f
}

// A server that cannot store what it must answers nothing that sounds like
// done, says when to try again, and tells the cause to nobody but the operator.
//
// Covers: S1-114, case 178, row 37 of the diagnostics
func TestStoreTrouble(t *testing.T) {
	r, c, id, f := faultyRig(t)
	token := r.issued(c, id)
	f.before = func() error { return errors.New("write /secret/trust.bolt: no space left on device") }
	authenticated := func(endpoint string) url.Values {
		form := r.form(c.Sign(t, udaptest.Assertion(id, r.now()).With("aud", issuer+"/"+endpoint)))
		set(form, []string{"token", token, "grant_type", "-", "scope", "-"})
		return form
	}
	for _, x := range []struct{ name, path, kind, body string }{
		{"register", "/oauth/register", "application/json", r.registerBody(c.Sign(t, c.Statement(r.now())), nil)},
		{
			"cancel",
			"/oauth/register",
			"application/json",
			r.registerBody(c.Sign(t, c.Statement(r.now()).With("grant_types", []string{})), nil),
		},
		{
			"token",
			"/oauth/token",
			"application/x-www-form-urlencoded",
			r.form(c.Sign(t, udaptest.Assertion(id, r.now()))).Encode(),
		},
		{"introspect", "/oauth/introspect", "application/x-www-form-urlencoded", authenticated("introspect").Encode()},
		{"revoke", "/oauth/revoke", "application/x-www-form-urlencoded", authenticated("revoke").Encode()},
	} {
		before := r.dump()
		res, err := r.server.Client().Post(r.server.URL+x.path, x.kind, strings.NewReader(x.body))
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
		r.checkRefusal(x.name, a, "temporarily_unavailable")
		if strings.Contains(string(a.body), "bolt") {
			t.Errorf("%s: the cause is told: %s", x.name, a.body)
		}

		if r.dump() != before {
			t.Errorf("%s: something was stored", x.name)
		}
	}

	f.before = func() error { return nil }
	if a := r.token(c, udaptest.Assertion(id, r.now())); a.status != http.StatusOK {
		t.Errorf("afterwards: %d %s", a.status, a.body)
	}
}

// A registration that is cancelled while a token is being judged gets none.
//
// Covers: S1-122, case 129, case 143
func TestRegistrationEndsMeanwhile(t *testing.T) {
	r, c, id, f := faultyRig(t)
	f.before = func() error {
		f.before = func() error { return nil }
		if a := r.register(c, c.Statement(r.now()).With("grant_types", []string{})); a.status != http.StatusOK {
			t.Errorf("cancel: %d %s", a.status, a.body)
		}
		return nil
	}

	a := r.token(c, udaptest.Assertion(id, r.now()))
	if a.status != http.StatusBadRequest {
		t.Errorf("%d %s", a.status, a.body)
	}
	r.checkRefusal("cancelled meanwhile", a, "invalid_client")
}
