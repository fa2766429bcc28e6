package oauth_test

import (
	"context"
	"errors"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"fhirdest.example/server/oauth"
	"fhirdest.example/udap/trace"
	"fhirdest.example/udap/udaptest"
)

// launched is an environment with two apps that can be opened from an EHR.
type launched struct {
	*env
	app, other trace.ClientID
}

func newLaunched(t *testing.T) *launched {
	t.Helper()
	e := newEnv(t, func(c *oauth.Config) {
		c.Interaction = nobody{}
		c.Personal = catalogue(t, "openid", "launch", "launch/patient", "patient/Patient.rs")
	})
	register := func(uri string) trace.ClientID {
		c := e.client(e.w.A, uri)
		a := e.register(c, c.Interactive(e.now()).With("scope", "openid launch launch/patient patient/Patient.rs"))
		if a.status != 201 {
			t.Fatalf("registration: %d %s", a.status, a.body)
		}
		return trace.ClientID(a.text("client_id"))
	}
	return &launched{e, register(udaptest.Client1URI), register("https://client2.test/app")}
}

// parse has the server look at an authorization request.
func (e *launched) parse(scope, launch string) (*oauth.AuthorizationRequest, *trace.Trace, error) {
	v := url.Values{
		"response_type":         {"code"},
		"client_id":             {string(e.app)},
		"redirect_uri":          {"https://client1.test/cb"},
		"state":                 {"a-state"},
		"scope":                 {scope},
		"code_challenge":        {strings.Repeat("A", 43)},
		"code_challenge_method": {"S256"},
	}

	if launch != "" {
		v.Set("launch", launch)
	}
	tr := trace.NewTrace("authorize", e.now())
	r, err := e.svc.ParseAuthorization(context.Background(), v.Encode(), tr)
	return r, tr, err
}

func (e *launched) start(l oauth.Launch) string {
	e.t.Helper()
	text, expires, err := e.svc.StartLaunch(context.Background(), l)
	if err != nil || expires.Sub(e.now()) > 10*time.Minute {
		e.t.Fatalf("launch: until %v, %v", expires, err)
	}
	return e.secret(text)
}

// approve is what a person who is signed in agrees to.
func (e *launched) approve(r *oauth.AuthorizationRequest, patient string) (string, error) {
	return e.svc.Approve(context.Background(), r, oauth.Approval{
		Person:  oauth.Person{Subject: "dr-jones", SignedIn: e.now()},
		Patient: patient,
		Scope:   r.Scope,
	})
}

// A launch brings its patient and encounter to the app that it is for, once, and
// outlives a restart.
func TestLaunchIsUsedOnce(t *testing.T) {
	e := newLaunched(t)
	handle := e.start(oauth.Launch{ClientID: e.app, Patient: "p1", Encounter: "e1"})
	e.restart()

	r, _, err := e.parse("launch patient/Patient.rs", handle)
	if err != nil || r.EHR == nil || r.EHR.Patient != "p1" || r.EHR.Encounter != "e1" {
		t.Fatalf("%+v, %v", r, err)
	}
	if _, err := e.approve(r, "p2"); err == nil {
		t.Error("a patient that is not that of the launch was granted")
	}

	again, _, err := e.parse("launch patient/Patient.rs", handle)
	if err != nil {
		t.Fatalf("an unused launch is refused: %v", err)
	}
	if redirect, err := e.approve(r, "p1"); err != nil || !strings.Contains(redirect, "code=") {
		t.Fatalf("%q, %v", redirect, err)
	}
	all, err := e.store.Grants(context.Background(), "dr-jones")
	if err != nil || len(all) != 0 {
		t.Errorf("grants before the code is redeemed: %v, %v", all, err)
	}

	if !strings.Contains(e.dump(), `"encounter":"e1"`) && !strings.Contains(e.dump(), `\"encounter\":\"e1\"`) {
		t.Error("the grant does not have the encounter")
	}

	var refused *trace.Error
	if _, err := e.approve(again, "p1"); !errors.As(err, &refused) || refused.Check != "authorize.launch" {
		t.Errorf("used twice: %v", err)
	}
	if _, _, err := e.parse("launch patient/Patient.rs", handle); err == nil {
		t.Error("a used launch is found")
	}
}

// What is no launch of this client is refused by redirect, with the reason.
func TestLaunchesRefused(t *testing.T) {
	e := newLaunched(t)
	foreign := e.start(oauth.Launch{ClientID: e.other, Patient: "p1"})
	old := e.start(oauth.Launch{ClientID: e.app, Patient: "p1"})
	good := e.start(oauth.Launch{ClientID: e.app, Patient: "p1"})
	for _, row := range []struct {
		name, launch string
		after        time.Duration
		says         string
	}{
		{"no handle", "x", 0, "no handle of this server"},
		{"unknown", good[:63] + map[bool]string{true: "B", false: "A"}[good[63] == 'A'], 0, "unknown"},
		{"of another client", foreign, 0, "another client"},
		{"expired", old, 11 * time.Minute, "expired"},
	} {
		t.Run(row.name, func(t *testing.T) {
			e.advance(row.after)
			_, tr, err := e.parse("launch patient/Patient.rs", row.launch)
			var redirect *oauth.RedirectRefusal
			if !errors.As(err, &redirect) || redirect.Of.Check != "authorize.launch" ||
				!strings.Contains(redirect.Location, "error=invalid_request") {
				t.Fatalf("%v", err)
			}
			last := tr.Steps[len(tr.Steps)-1]
			if !strings.Contains(last.Found, row.says) || strings.Contains(last.Found, row.launch) &&
				row.launch != "x" {
				t.Errorf("found %q, want %q", last.Found, row.says)
			}
		})
	}

	_, _, err := e.svc.StartLaunch(context.Background(), oauth.Launch{ClientID: "unknown", Patient: "p1"})
	if !errors.Is(err, oauth.ErrNoRegistration) {
		t.Errorf("a launch of an unknown client: %v", err)
	}
}

// The scope launch and the parameter launch have a meaning together alone; what
// there is without the other is left out, and the client is warned.
func TestLaunchWithoutItsScope(t *testing.T) {
	e := newLaunched(t)
	handle := e.start(oauth.Launch{ClientID: e.app, Patient: "p1"})
	for _, row := range []struct {
		name, scope, launch string
		granted             []string
	}{
		{"scope alone", "launch openid", "", []string{"openid"}},
		{"parameter alone", "openid", handle, []string{"openid"}},
		{"neither", "openid", "", []string{"openid"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			r, tr, err := e.parse(row.scope, row.launch)
			if err != nil || r.EHR != nil || !slices.Equal(r.Scope, row.granted) {
				t.Fatalf("%+v, %v", r, err)
			}
			if warned(tr, "authorize.launch") == (row.name == "neither") {
				t.Errorf("warnings: %+v", tr.Warnings())
			}
		})
	}

	if _, _, err := e.parse("launch", ""); err == nil {
		t.Error("the scope launch alone, without a launch, is granted")
	}
}

// A scope that is not granted, though others are, is named in the trace with what was
// probably meant.
//
// Covers: D-41
func TestMisspeltScopeAtTheAuthorizationEndpoint(t *testing.T) {
	e := newLaunched(t)
	r, tr, err := e.parse("OpenID patient/Patient.rs", "")
	if err != nil || !slices.Equal(r.Scope, []string{"patient/Patient.rs"}) {
		t.Fatalf("%+v, %v", r, err)
	}
	warnings := tr.Warnings()
	if len(warnings) != 1 || !strings.Contains(warnings[0].Remedy, `did you mean "openid"?`) {
		t.Errorf("%+v", warnings)
	}
}
