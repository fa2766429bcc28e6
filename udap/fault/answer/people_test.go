package answer_test

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"fhirdest.example/certs"
	"fhirdest.example/udap"
	"fhirdest.example/udap/client"
	"fhirdest.example/udap/fault/answer"
	"fhirdest.example/udap/trace"
	"fhirdest.example/udap/udaptest"
)

const callback = "https://client1.test/cb"

// provider is a server where people sign in, behind a front.
type provider struct {
	*front
	env *udaptest.Env
	idp *udaptest.IDP
	own *certs.Identity // of the clients
	at  string          // address of the front
	tls *http.Transport // that connects to it
}

func newProvider(t *testing.T) *provider {
	t.Helper()
	p := &provider{
		front: &front{},
		env:   udaptest.New(t, certs.P256),
	}
	now := func() time.Time { return p.env.Now.Add(time.Duration(p.moved.Load())) }
	p.clock = now
	p.idp = udaptest.NewIDP(t, func(base string) *udaptest.Client {
		return p.env.ClientWith(t, p.env.A.Int, base, udaptest.Key(t, certs.RSA2048, 21), nil)
	}, p.env.Verifier(), now)
	ours := p.env.Client(t, p.env.A.Int, udaptest.Client1URI, nil)
	p.own = &certs.Identity{
		Chain: ours.Chain,
		Key:   ours.Key,
	}
	p.backend = p.idp

	s := httptest.NewUnstartedServer(p.front)
	s.TLS = &tls.Config{Certificates: p.idp.TLS.Certificates}
	s.StartTLS()
	t.Cleanup(s.Close)
	p.at = s.Listener.Addr().String()
	p.tls = dialing("127.0.0.1", p.at)
	roots := x509.NewCertPool()
	roots.AddCert(p.idp.Certificate())
	p.tls.TLSClientConfig = &tls.Config{RootCAs: roots}
	t.Cleanup(p.tls.CloseIdleConnections)

	p.tools = answer.Tools{
		Base:    p.idp.Base,
		Issuer:  p.idp.Base,
		Now:     now,
		Applied: applied,
		Communities: []answer.Community{
			{
				URI:     udaptest.CommunityA,
				Issuing: p.env.A.Int,
				Own: &certs.Identity{
					Chain: p.idp.Own.Chain,
					Key:   p.idp.Own.Key,
				},
			},
		},
	}
	return p
}

// Our originator notices every fault of a sign-in; a client that looks at nothing
// ignores every one.
func TestSignInsNoticeOrIgnore(t *testing.T) {
	p := newProvider(t)
	for _, f := range answer.All() {
		person := f.Stage == answer.Authorization || f.Stage == answer.IDToken
		if !person && f.Name != "registration-other-redirect" {
			continue
		}
		t.Run(f.Name, func(t *testing.T) {
			p.choose(f)
			expect(t, p.front, f, answer.NotSeen)

			err := p.careful(t)
			expect(t, p.front, f, answer.Noticed, fmt.Sprint(err))

			p.choose(f)
			p.naive(t)
			expect(t, p.front, f, answer.Ignored)
		})
	}
}

// Without a fault our originator comes to the end, so that none of the above is
// noticed for another reason.
func TestWithoutFaultAllIsWell(t *testing.T) {
	p := newProvider(t)
	p.choose(nil)
	if err := p.careful(t); err == nil || !strings.Contains(err.Error(), "404") {
		t.Errorf("a sign-in ends with %v, not with the records that are not there", err)
	}

	d := newDestination(t)
	d.choose(nil)
	if err := d.careful(t, "https://careful.test/app"); err != nil {
		t.Errorf("a machine ends with %v", err)
	}
}

// careful goes through a sign-in as our originator does, and stops where it stops.
func (p *provider) careful(t *testing.T) error {
	t.Helper()
	ctx := context.Background()
	c, err := client.New(client.Config{
		Base:      p.idp.Base,
		Community: udaptest.CommunityA,
		Chain:     p.own.Chain,
		Key:       p.own.Key,
		Verifier: &udap.Verifier{
			Communities: []*udap.Community{p.env.A.Community},
			Revocation:  p.env,
		},
		TLSRoots: p.tls.TLSClientConfig.RootCAs,
		Dial:     p.at,
		Now:      p.now,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)

	found, err := c.Discover(ctx)
	if err != nil {
		return err
	}
	openid, err := c.OpenID(ctx, p.idp.Base)
	if err != nil {
		return err
	}

	reg, err := c.Register(ctx, found, client.Registration{
		ClientName:   "Careful",
		Contacts:     []string{"mailto:a@client1.test"},
		LogoURI:      "https://client1.test/logo.png",
		RedirectURIs: []string{callback},
		GrantTypes:   []string{"authorization_code"},
		Scope:        "openid udap",
	})
	if err != nil {
		return err
	}
	return p.signIn(ctx, t, c, found, openid, reg.ClientID)
}

// browse sends a browser to a URL and returns the query with which it comes back.
func (p *provider) browse(t *testing.T, target string) string {
	t.Helper()
	browser := &http.Client{
		Transport: p.tls,
		CheckRedirect: func(*http.Request, []*http.Request) error {
			return http.ErrUseLastResponse
		},
	}
	res, err := browser.Get(target)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()

	location, ok := strings.CutPrefix(res.Header.Get("Location"), callback+"?")
	if !ok {
		t.Fatalf("%s: %s to %q", target, res.Status, res.Header.Get("Location"))
	}
	return location
}

// signIn signs a person in, verifies who it is, and reads.
func (p *provider) signIn(
	ctx context.Context, t *testing.T, c *client.Client, found *client.Discovery, openid *client.OpenID,
	id trace.ClientID,
) error {
	t.Helper()
	a := client.Authorization{
		ClientID:    id,
		RedirectURI: callback,
		Scope:       "openid udap",
		State:       client.NewSecret(),
		Verifier:    client.NewSecret(),
		Nonce:       client.NewSecret(),
	}
	tr := trace.NewTrace("login", p.now())
	target, err := c.AuthorizationURL(found, a, tr)
	if err != nil {
		return err
	}

	back, err := client.ReadRedirect(p.browse(t, target), a.State, openid.Issuer, openid.AnnouncesIssuer, tr)
	switch {
	case err != nil:
		return err
	case back.Refusal != nil:
		return fmt.Errorf("no code: %s", back.Refusal.Reason())
	}

	tok, err := c.Exchange(ctx, found, client.CodeRequest{
		ClientID:    id,
		Code:        back.Code,
		RedirectURI: callback,
		Verifier:    a.Verifier,
		Scope:       a.Scope,
	})
	if err != nil {
		return err
	}

	who, err := c.VerifyIDToken(ctx, openid, tok.IDToken, client.ExpectIDToken{
		ClientID: id,
		Nonce:    a.Nonce,
		Access:   tok.Access,
		MaxAge:   -1,
	}, tr)
	if err != nil {
		return err
	}
	if _, err := c.UserInfo(ctx, openid, tok.Access, who.Subject); err != nil {
		return err
	}
	_, err = c.Get(ctx, "Patient/1", tok.Access)
	return err
}

// naive signs a person in and looks at nothing.
func (p *provider) naive(t *testing.T) {
	t.Helper()
	n := newNaive(t, p.front, p.own, udaptest.Client1URI, p.tls.Clone())
	n.redirect = callback
	n.discover(string(udaptest.CommunityA))
	n.register()

	verifier := client.NewSecret()
	v, err := url.ParseQuery(p.browse(t, n.issuer+"/authorize?"+url.Values{
		"response_type":         {"code"},
		"client_id":             {n.clientID},
		"redirect_uri":          {callback},
		"scope":                 {"openid udap"},
		"state":                 {"state"},
		"nonce":                 {"nonce"},
		"code_challenge":        {challenge(verifier)},
		"code_challenge_method": {"S256"},
	}.Encode()))
	if err != nil {
		t.Fatal(err)
	}

	code := "no-code"
	if i := slices.IndexFunc(v["code"], func(s string) bool { return s != "" }); i >= 0 {
		code = v["code"][i]
	}
	n.ask(url.Values{
		"grant_type":    {"authorization_code"},
		"code":          {code},
		"redirect_uri":  {callback},
		"code_verifier": {verifier},
	})
	n.do("GET", n.issuer+"/userinfo", "", "")
	n.read()
}

func challenge(verifier string) string {
	sum := sha256.Sum256([]byte(verifier))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}
