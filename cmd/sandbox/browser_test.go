package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"fhirdest.example/cmd/internal/testbed"
	"fhirdest.example/server/servertest/chromium"
	"fhirdest.example/udap/client"
	"fhirdest.example/udap/client/forms"
	"fhirdest.example/udap/trace"
)

// inChromium has a person sign in with a real browser; at is where the password is
// typed in.
func inChromium(t *testing.T, v *visit, b *chromium.Browser, at string) (code string) {
	t.Helper()
	tr := trace.NewTrace("login", v.now())
	target, err := v.client.AuthorizationURL(v.found, v.request, tr)
	if err != nil {
		t.Fatal(err)
	}

	b.Open(target)
	if u, err := url.Parse(b.URL()); err != nil || u.Host != at {
		t.Fatalf("the browser is at %s, not at %s: %s", b.URL(), at, b.Text())
	}
	b.Fill("#username", v.user.Username)
	b.Fill("#password", v.user.Password)
	b.Press("button[value=signin]")

	for n := 0; !strings.HasPrefix(b.URL(), v.request.RedirectURI); n++ {
		if n == forms.MostPages {
			t.Fatalf("the browser is at %s: %s", b.URL(), b.Text())
		}
		b.Press("button[value=approve]")
	}

	u, err := url.Parse(b.URL())
	if err != nil {
		t.Fatal(err)
	}
	back, err := client.ReadRedirect(u.RawQuery, v.request.State, v.openid.Issuer, v.openid.AnnouncesIssuer, tr)
	if err != nil || back.Code == "" {
		t.Fatalf("came back with %s: %v", u.RawQuery, err)
	}
	return back.Code
}

// People sign in with a real browser, at the destination and at the identity provider,
// through both intermediaries; and again after destination and provider were started
// anew, when each of them knows the other still.
// Covers: S1-245, S1-257, S1-297, case 220
func TestPeopleInChromium(t *testing.T) {
	ownTemp(t)
	bed, d := bedFor(t, testbed.Config{}, nil)
	app := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprint(w, `<!DOCTYPE html><html lang="en"><title>The application</title><h1>The application</h1>`)
	}))
	defer app.Close()
	public, idp := testbed.HostOf(d.manifest.PublicBase), testbed.HostOf(d.manifest.IDP)
	hosts := map[string]string{
		"originator.example": app.Listener.Addr().String(),
		public:               d.manifest.Addresses["public"],
		idp:                  d.manifest.Addresses["idp"],
	}
	for _, row := range []struct {
		name, at string
		idp      bool
		restart  []string
	}{
		{"here", public, false, nil},
		{"elsewhere", idp, true, nil},
		{"elsewhere-again", idp, true, []string{"destination", "idp"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			for _, actor := range row.restart {
				if err := bed.Supervisor.Stop(actor); err != nil {
					t.Fatal(err)
				}
				if err := bed.Supervisor.Start(t.Context(), actor); err != nil {
					t.Fatal(err)
				}
			}

			v, err := newVisit(t.Context(), d, row.name, row.idp)
			if err != nil {
				t.Fatal(err)
			}
			defer v.client.Close()

			token, err := v.tokens(t.Context(), inChromium(t, v, chromium.Start(t, hosts), row.at))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := v.get(t.Context(), v.client, v.user.Patient, token.Access); err != nil {
				t.Error(err)
			}
		})
	}
}
