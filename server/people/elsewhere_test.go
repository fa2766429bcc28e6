package people_test

import (
	"encoding/base64"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"fhirdest.example/server/oauth"
	"fhirdest.example/server/people"
	"fhirdest.example/server/people/users"
	"fhirdest.example/udap/client"
	"fhirdest.example/udap/trace"
)

// signInElsewhere gives a browser the session of alice, who signed in at another
// identity provider at a time. The destination is restarted.
func (e *env) signInElsewhere(b *browser, at time.Time) {
	e.t.Helper()
	e.Stop()
	directory, err := users.Read(filepath.Join(e.Dir, "users.json"))
	if err != nil {
		e.t.Fatal(err)
	}
	stores := e.Stores()

	service, err := people.New(people.Config{
		Issuer:  site,
		Users:   func() *users.Directory { return directory },
		Store:   stores.Trust.People(),
		Records: stores.Trust,
		Log:     slog.New(slog.NewTextHandler(io.Discard, nil)),
		Now:     e.Now,
	})
	if err != nil {
		e.t.Fatal(err)
	}

	answer := httptest.NewRecorder()
	err = service.SignedIn(
		answer,
		httptest.NewRequest(http.MethodGet, site+"/callback", nil),
		oauth.Person{
			Subject:    "subject-of-alice",
			IdP:        "https://idp.test/idp",
			IdPSubject: "alice-elsewhere",
			SignedIn:   at,
		},
		"",
		trace.NewTrace("test", e.Now()),
	)
	if err != nil {
		e.t.Fatal(err)
	}
	if err := stores.Close(); err != nil {
		e.t.Fatal(err)
	}

	u, _ := url.Parse(site) // a constant
	b.http.Jar.SetCookies(u, answer.Result().Cookies())
	e.restart()
	b.http.Transport = e.HTTP.Transport
}

// authTime returns auth_time of an ID token, as it is written.
func authTime(t *testing.T, token *client.Token) string {
	t.Helper()
	_, rest, _ := strings.Cut(token.IDToken, ".")
	payload, _, _ := strings.Cut(rest, ".")
	claims, err := base64.RawURLEncoding.DecodeString(payload)
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(claims), `"auth_time":`)
	text, _, _ := strings.Cut(after, ",")
	return strings.TrimSuffix(text, "}")
}

// max_age and auth_time count from the time at which the person proved who they are,
// which is before the session began when they did so at another identity provider
// (OpenID Connect Core 2 and 3.1.2.1). The session lives from its own beginning on.
//
// Covers: case 220
func TestAuthTimeOfAnotherProvider(t *testing.T) {
	e := newEnv(t)
	a := e.app("https://client.test/app")
	b := e.browser()
	at := time.Now().Add(-people.Life - time.Hour).Truncate(time.Second)
	e.signInElsewhere(b, at)

	b.open(a.authorize(scopes))
	b.shows(http.StatusOK, "Allow access")
	b.send("approve")
	token, err := a.exchange(b.code(), scopes)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := authTime(t, token), fmt.Sprint(at.Unix()); got != want {
		t.Errorf("auth_time %q, want %s", got, want)
	}

	b.open(a.authorize(scopes, "prompt", "none", "max_age", "3600"))
	if q := b.answer(); q.Get("error") != "login_required" {
		t.Errorf("within max_age of the session's beginning alone: %v", q)
	}
	b.open(a.authorize(scopes, "prompt", "none", "max_age", "36000"))
	b.code()
}

// A provider whose clock is ahead does not make a sign-in of the future.
func TestAuthTimeAhead(t *testing.T) {
	e := newEnv(t)
	a := e.app("https://client.test/app")
	b := e.browser()
	e.signInElsewhere(b, time.Now().Add(time.Hour))

	b.allow(a.authorize(scopes), "alice")
	token, err := a.exchange(b.code(), scopes)
	if err != nil {
		t.Fatal(err)
	}

	seconds := authTime(t, token)
	if now := fmt.Sprint(time.Now().Unix()); len(seconds) != len(now) || seconds > now {
		t.Errorf("auth_time %q at %s", seconds, now)
	}
}
