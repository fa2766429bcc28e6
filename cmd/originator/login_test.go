package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"fhirdest.example/certs"
	"fhirdest.example/udap/udaptest"
)

// provider is an identity provider with an originator that is registered there.
type provider struct {
	*udaptest.IDP
	t        *testing.T
	dir      string
	redirect string
}

func newProvider(t *testing.T) *provider {
	t.Helper()
	env := udaptest.New(t, certs.P256)
	env.A.Community.Policy.AllowLoopbackRedirect = true
	p := &provider{t: t, dir: t.TempDir(), redirect: freeRedirect(t)}
	p.IDP = udaptest.NewIDP(t, func(base string) *udaptest.Client {
		return env.ClientWith(t, env.A.Int, base, udaptest.Key(t, certs.RSA2048, 21), nil)
	}, env.Verifier(), func() time.Time { return env.Now })

	ours := env.Client(t, env.A.Int, udaptest.Client1URI, nil)
	err := errors.Join(
		certs.WriteIdentity(p.file("chain.pem"), p.file("key.pem"), &certs.Identity{
			Chain: ours.Chain,
			Key:   ours.Key,
		}),
		certs.WriteCertificates(p.file("anchor.pem"), env.A.Root.Cert),
		certs.WriteCertificates(p.file("tls.pem"), p.Certificate()),
	)
	if err != nil {
		t.Fatal(err)
	}

	p.must("register", "-cert", p.file("chain.pem"), "-key", p.file("key.pem"),
		"-anchor", p.file("anchor.pem"), "-tls-ca", p.file("tls.pem"), "-revocation", "off",
		"-community", string(udaptest.CommunityA), "-name", "Test App", "-contact", "mailto:a@example.org",
		"-grant", "authorization_code", "-redirect", p.redirect, "-logo", "https://example.org/logo.png",
		"-scope", "openid fhirUser", p.Base)
	return p
}

func (p *provider) file(name string) string { return filepath.Join(p.dir, name) }

// freeRedirect returns a redirect URI at a loopback port that nothing uses.
func freeRedirect(t *testing.T) string {
	t.Helper()
	l := udaptest.Listen(t)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return "http://" + l.Addr().String() + "/callback"
}

// do runs a command by the clock of the environment. visit gets the URL that a
// browser is to open, and a writer for what is pasted.
func (p *provider) do(
	visit func(target string, paste io.Writer), command string, args ...string,
) (stdout, stderr string, err error) {
	p.t.Helper()
	o, err := parseOptions(command, append(args, "-session", p.file("session.json")))
	if err != nil {
		return "", "", err
	}

	in, paste := io.Pipe()
	log, lines := io.Pipe()
	var out, all bytes.Buffer
	c := &call{
		options: o,
		out:     &printer{out: &out, err: lines},
		in:      in,
		now:     func() time.Time { return udaptest.Now },
	}
	if err := c.prepare(); err != nil {
		return "", "", err
	}

	done := make(chan struct{})
	go func() {
		defer close(done)
		for s := bufio.NewScanner(log); s.Scan(); {
			fmt.Fprintln(&all, s.Text())
			if strings.HasPrefix(s.Text(), "https://") {
				go visit(s.Text(), paste)
			}
		}
	}()

	err = commands[command](context.Background(), c)
	_ = lines.Close()
	<-done
	return out.String(), all.String(), err
}

func (p *provider) must(command string, args ...string) string {
	p.t.Helper()
	out, log, err := p.do(nil, command, args...)
	if err != nil {
		p.t.Fatalf("%s: %v\n%s", command, err, log)
	}
	return out
}

// browser follows redirects as a browser does, and returns the status of the last
// answer.
func (p *provider) browser(target string) int {
	b := &http.Client{Transport: p.Server.Client().Transport}
	res, err := b.Get(target)
	if err != nil {
		p.t.Errorf("browser: %v", err)
		return 0
	}
	defer res.Body.Close()
	return res.StatusCode
}

// address returns where the provider sends a browser.
func (p *provider) address(target string) string {
	b := &http.Client{
		Transport: p.Server.Client().Transport,
		CheckRedirect: func(*http.Request, []*http.Request) error {
			return http.ErrUseLastResponse
		},
	}
	res, err := b.Get(target)
	if err != nil {
		p.t.Errorf("browser: %v", err)
		return ""
	}
	defer res.Body.Close()
	return res.Header.Get("Location")
}

// A person signs in through the browser; the tokens are in a file of their owner
// alone, and what is no answer to this login changes nothing.
func TestLoginThroughTheBrowser(t *testing.T) {
	p := newProvider(t)
	p.Persona["fhirUser"] = "Practitioner/7"
	out, log, err := p.do(func(target string, _ io.Writer) {
		for path, want := range map[string]int{
			"?code=x&state=forged":         400,
			"?error=x&state=":              400,
			"/elsewhere?code=x&state=some": 404,
		} {
			res, err := http.Get(p.redirect + path)
			if err != nil || res.StatusCode != want {
				t.Errorf("%s: %v %v, want %d", path, res, err, want)
				continue
			}
			_ = res.Body.Close()
		}
		if got := p.browser(target); got != http.StatusOK {
			t.Errorf("the browser ends with %d", got)
		}
	}, "login", "-browser", "none")
	if err != nil {
		t.Fatalf("%v\n%s", err, log)
	}

	for _, line := range []string{"person   person-1", "fhirUser Practitioner/7", "scope    openid fhirUser"} {
		if !strings.Contains(out, line+"\n") {
			t.Errorf("no line %q in\n%s", line, out)
		}
	}

	info, err := os.Stat(p.file("session.json"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the session file: %v %v", info, err)
	}
	s, err := loadSession(p.file("session.json"))
	if err != nil || s.Subject != "person-1" || !strings.HasPrefix(s.Token, "access-") ||
		strings.Contains(out+log, s.Token) {
		t.Errorf("the session: %+v %v", s, err)
	}

	asked := p.Seen()[0]
	if asked.Get("code_challenge_method") != "S256" || asked.Get("aud") != p.Base || len(asked.Get("state")) < 43 ||
		len(asked.Get("nonce")) < 43 {
		t.Errorf("asked for %v", asked)
	}
}

// Where nothing can listen, the address that the browser ends at is pasted.
func TestLoginByPasting(t *testing.T) {
	p := newProvider(t)
	for name, row := range map[string]struct {
		edit func(address string) string
		says string // of the failure; empty: none
	}{
		"the address":     {func(a string) string { return a }, ""},
		"another address": {func(string) string { return "https://x.test/?code=1" }, "not the redirect URI"},
		"another state":   {func(a string) string { return edited(a, "state", "x") }, "login.answer"},
		"another issuer":  {func(a string) string { return edited(a, "iss", "https://x.test") }, "login.answer"},
		"no issuer":       {func(a string) string { return edited(a, "iss", "") }, "login.answer"},
		"another code":    {func(a string) string { return edited(a, "code", "x") }, "invalid_grant"},
		"refused":         {func(a string) string { return edited(a, "code", "") + "&error=access_denied" }, "access_denied"},
	} {
		t.Run(name, func(t *testing.T) {
			_, log, err := p.do(func(target string, paste io.Writer) {
				fmt.Fprintln(paste, row.edit(p.address(target)))
			}, "login", "-browser", "none", "-paste")
			if (err == nil) != (row.says == "") || err != nil && !strings.Contains(err.Error()+log, row.says) {
				t.Errorf("%v, want %q\n%s", err, row.says, log)
			}
		})
	}
}

// edited changes a parameter of an address; an empty value removes it.
func edited(address, name, value string) string {
	base, query, _ := strings.Cut(address, "?")
	v, _ := url.ParseQuery(query)
	v.Del(name)
	if value != "" {
		v.Set(name, value)
	}
	return base + "?" + v.Encode()
}

// A provider that misbehaves gets no further, and nothing of it is kept.
func TestLoginAtAMisbehavingServer(t *testing.T) {
	p := newProvider(t)
	for name, row := range map[string]struct {
		change func()
		check  string
	}{
		"nonce of another login": {func() {
			p.IDToken = func(c udaptest.Claims) { c["nonce"] = "another" }
		}, "id_token.nonce"},
		"no ID token": {func() {
			p.Token = func(c udaptest.Claims) { c["id_token"] = udaptest.Absent }
		}, "id_token.signature"},
		"another person in userinfo": {func() {
			p.UserInfo = func(c udaptest.Claims) { c["sub"] = "another" }
		}, "openid.userinfo"},
		"a token endpoint that is not signed": {func() {
			p.OpenID = func(c udaptest.Claims) { c["token_endpoint"] = "https://x.test/token" }
		}, "openid.issuer"},
	} {
		t.Run(name, func(t *testing.T) {
			p.IDToken, p.Token, p.UserInfo, p.OpenID = nil, nil, nil, nil
			row.change()
			_, log, err := p.do(func(target string, paste io.Writer) {
				fmt.Fprintln(paste, p.address(target))
			}, "login", "-browser", "none", "-paste")
			if err == nil || !strings.Contains(log, "FAIL  "+row.check) {
				t.Errorf("%v, want %s\n%s", err, row.check, log)
			}
			if s, err := loadSession(p.file("session.json")); err != nil || s.Token != "" {
				t.Errorf("kept: %+v %v", s, err)
			}
		})
	}
}

// A server that publishes nothing about its people can give access where nobody asks
// who the person is.
func TestLoginWithoutOpenID(t *testing.T) {
	p := newProvider(t)
	p.Answer["openid-configuration"] = http.NotFound
	p.Redirect = func(v url.Values) { v.Del("iss") }
	_, log, err := p.do(nil, "login", "-browser", "none", "-paste")
	if err == nil || !strings.Contains(log, "FAIL  openid.metadata") {
		t.Errorf("with the scope openid: %v\n%s", err, log)
	}

	_, log, err = p.do(func(target string, paste io.Writer) {
		u, _ := url.Parse(target)
		fmt.Fprintln(paste, p.redirect+"?code=x&state="+u.Query().Get("state"))
	}, "login", "-browser", "none", "-paste", "-scope", "fhirUser")
	if err == nil || !strings.Contains(log, "going on without") || !strings.Contains(log, "ok    login.answer") ||
		!strings.Contains(log, "FAIL  token.given") {
		t.Errorf("without it: %v\n%s", err, log)
	}
}
