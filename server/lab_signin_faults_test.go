package server_test

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"fhirdest.example/server/lab"
	"fhirdest.example/server/servertest"
	"fhirdest.example/udap/client"
	"fhirdest.example/udap/client/forms"
	"fhirdest.example/udap/fault/answer"
	"fhirdest.example/udap/trace"
)

// signIn is an originator with people in a session of the lab.
type signIn struct {
	*client.Client
	found   *client.Discovery
	id      trace.ClientID
	browser *forms.Browser
}

const signInScope = "openid fhirUser user/Patient.rs"

func newSignIn(t *testing.T, d *servertest.Destination, s *servertest.LabSession) *signIn {
	t.Helper()
	ctx := context.Background()
	o := &signIn{Client: s.Destination.Originator(d.A, d.Client(d.A, "https://client.test/app"))}
	var err error
	if o.found, err = o.Discover(ctx); err != nil {
		t.Fatal(err)
	}
	registered, err := o.Register(ctx, o.found, client.Registration{
		ClientName:   "Clinic",
		Contacts:     []string{"mailto:ops@client.test"},
		LogoURI:      "https://client.test/logo.png",
		RedirectURIs: []string{appRedirect},
		GrantTypes:   []string{"authorization_code"},
		Scope:        signInScope,
	})
	if err != nil {
		t.Fatal(err)
	}
	o.id = registered.ClientID
	if o.browser, err = forms.New(d.HTTP.Transport, appRedirect); err != nil {
		t.Fatal(err)
	}

	return o
}

// run signs a clinician in and reads, until the originator stops.
func (o *signIn) run(ctx context.Context, t *testing.T, now *trace.Trace) error {
	t.Helper()
	openid, err := o.OpenIDOf(ctx, o.found)
	if err != nil {
		return err
	}

	a := client.Authorization{
		ClientID:    o.id,
		RedirectURI: appRedirect,
		Scope:       signInScope,
		State:       client.NewSecret(),
		Verifier:    client.NewSecret(),
		Nonce:       client.NewSecret(),
	}
	target, err := o.AuthorizationURL(o.found, a, now)
	if err != nil {
		return err
	}
	alice := &forms.Person{
		Username: "alice",
		Password: "correct horse",
	}
	query, err := alice.Visit(ctx, o.browser, target)
	if err != nil {
		t.Fatal(err)
	}

	back, err := client.ReadRedirect(query, a.State, openid.Issuer, openid.AnnouncesIssuer, now)
	if err != nil {
		return err
	}
	if back.Refusal != nil {
		return now.Refuse(trace.Check{Name: "redirect"}, back.Refusal.Code, trace.Finding{})
	}
	tok, err := o.Exchange(ctx, o.found, client.CodeRequest{
		ClientID:    o.id,
		Code:        back.Code,
		RedirectURI: appRedirect,
		Verifier:    a.Verifier,
		Scope:       a.Scope,
	})
	if err != nil {
		return err
	}

	who, err := o.VerifyIDToken(ctx, openid, tok.IDToken, client.ExpectIDToken{
		ClientID: o.id,
		Nonce:    a.Nonce,
		Access:   tok.Access,
		MaxAge:   -1,
	}, now)
	if err != nil {
		return err
	}
	if openid.UserInfo != "" {
		if _, err := o.UserInfo(ctx, openid, tok.Access, who.Subject); err != nil {
			return err
		}
	}
	_, err = o.Get(ctx, "Patient?_count=1", tok.Access)
	return err
}

// The faults of a sign-in are in what the real pages, token endpoint and keys of a
// session answer, and our originator stops at each where it should.
func TestFaultsOfASignInInASession(t *testing.T) {
	d := servertest.Start(t, servertest.Lab, withClinician(t))
	s := d.OpenLab(lab.OpenRequest{})
	o := newSignIn(t, d, s)
	ctx := context.Background()
	if err := o.run(ctx, t, trace.NewTrace("login", d.Now())); err != nil {
		t.Fatalf("without a fault: %v", err)
	}

	for _, f := range answer.All() {
		stops := map[answer.Stage]string{
			answer.Authorization: "login.answer",
			answer.IDToken:       "id_token.",
		}[f.Stage]
		switch {
		case stops == "":
			continue
		case f.Name == "userinfo-other-subject":
			stops = "openid.userinfo"
		case f.Name == "authorization-other-code":
			stops = "token.given"
		case strings.Contains(f.Title, "the error "):
			stops = "redirect"
		}
		t.Run(f.Name, func(t *testing.T) {
			s.API("POST", "faults", map[string][]string{"faults": {f.Name}}, http.StatusOK, nil)
			err := o.run(ctx, t, trace.NewTrace("login", d.Now()))
			if err == nil || !strings.Contains(err.Error(), ": "+stops) {
				t.Errorf("it ends with %v, not at %s", err, stops)
			}
			s.Eventually("an answer has the fault", func() bool {
				e := faults(t, s)[f.Name]
				return e.Outcome != nil && e.Outcome.Seen != 0 && e.Outcome.Verdict != answer.Ignored
			})
		})
	}
}
