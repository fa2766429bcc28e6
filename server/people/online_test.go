package people_test

import (
	"context"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"fhirdest.example/server/people"
	"fhirdest.example/server/servertest"
	"fhirdest.example/udap/client"
)

// onlineScope is what a client asks for that has access for as long as the session.
const onlineScope = "openid launch/patient online_access patient/Observation.rs"

// online registers a client that may ask for onlineScope.
func (e *env) online() *app {
	e.t.Helper()
	r := registration()
	r.Scope += " online_access"
	return e.appOf(e.A, e.Client(e.A, "https://client.test/app"), r)
}

// refresh refreshes a token.
func (a *app) refresh(token *client.Token) (*client.Token, error) {
	a.t.Helper()
	return a.client.Refresh(context.Background(), a.found, client.RefreshRequest{
		ClientID: a.ClientID,
		Refresh:  token.Refresh,
	})
}

// granted is a browser in which a person has granted onlineScope, and the token.
func (a *app) granted() (*browser, *client.Token) {
	a.t.Helper()
	b := a.browser()
	b.allow(a.authorize(onlineScope), "alice")
	token, err := a.exchange(b.code(), onlineScope)
	if err != nil {
		a.t.Fatal(err)
	}
	return b, token
}

// over fails unless a token and its refresh token have no effect.
func (a *app) over(when string, token *client.Token) {
	a.t.Helper()
	if status := a.read(token.Access); status != http.StatusUnauthorized {
		a.t.Errorf("%s: the access token: %d", when, status)
	}
	_, err := a.refresh(token)
	if err == nil || !strings.Contains(err.Error(), "invalid_grant") {
		a.t.Errorf("%s: the refresh token: %v", when, err)
	}
}

// newAheadEnv starts a destination whose clock can be put forward.
func newAheadEnv(t *testing.T) (e *env, ahead *atomic.Int64) {
	t.Helper()
	ahead = new(atomic.Int64)
	e = newEnv(t, func(w *servertest.Env) {
		w.Now = func() time.Time {
			return time.Now().Add(time.Duration(ahead.Load()))
		}
	})
	return e, ahead
}

// Access of the kind online_access goes on while the browser sends no request, and
// ends with the session after Life, though the browser never comes back: at once, when
// another sign-in has removed what is left of the session, and after a restart.
//
// Covers: case 176
func TestOnlineAccessEndsWithTheLifeOfItsSession(t *testing.T) {
	e, ahead := newAheadEnv(t)
	a := e.online()
	token := a.tokens("alice", "", onlineScope)
	offline := a.tokens("alice", "", scopes+" offline_access")

	ahead.Add(int64(people.Life - time.Minute))
	token, err := a.refresh(token)
	if err != nil {
		t.Fatalf("before the session's end: %v", err)
	}
	if status := e.read(token.Access); status != http.StatusOK {
		t.Fatalf("before the session's end: %d", status)
	}

	ahead.Add(int64(2 * time.Minute))
	a.over("after the session's end", token)

	b := e.browser()
	b.open(site + "/signin")
	b.signIn("doctor")
	a.over("after the sign-in of another person", token)

	e.restart()
	a.over("after a restart", token)

	if _, err := a.refresh(offline); err != nil {
		t.Errorf("offline access: %v", err)
	}
}

// A browser that was idle has to sign in again. That ends its former session, and what
// ended with it, while the application was not touched by the idle time itself.
//
// Covers: case 176
func TestAnotherSignInEndsOnlineAccess(t *testing.T) {
	e, ahead := newAheadEnv(t)
	a := e.online()
	b, token := a.granted()

	ahead.Add(int64(people.Idle + time.Minute))
	b.open(site + "/grants")
	b.shows(http.StatusOK, "Password")
	token, err := a.refresh(token)
	if err != nil {
		t.Fatalf("after the idle time: %v", err)
	}

	b.signIn("alice")
	b.shows(http.StatusOK, "No application has access")
	a.over("after another sign-in", token)
}

// Sign-out on a page that was idle ends the access too.
//
// Covers: case 176
func TestSignOutOfAnIdleBrowserEndsOnlineAccess(t *testing.T) {
	e, ahead := newAheadEnv(t)
	a := e.online()
	b, token := a.granted()

	b.open(site + "/signout")
	ahead.Add(int64(people.Idle + time.Minute))
	b.send("")
	a.over("after the sign-out", token)
}
