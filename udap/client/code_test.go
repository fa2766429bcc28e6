package client

import (
	"context"
	"net/url"
	"strings"
	"testing"

	"fhirdest.example/udap/trace"
	"fhirdest.example/udap/udaptest"
)

// A client of people asks for a code, exchanges it and refreshes by the letter of
// RFC 6749, authenticated by a new authentication token each time; parameters of
// the answer that it does not know change nothing.
//
// Covers: S1-126, S1-127, S1-128, S1-129, S1-130, S1-139, S1-140, S1-141, S1-142, S1-143,
// S1-144, S1-145, S1-165, S1-166, S1-167, S1-168, S1-185, S1-188, S1-189, S1-222, S1-231,
// S1-232, S1-233, S1-234, S1-236, S1-237
func TestCodeRequests(t *testing.T) {
	l := newLogin(t)
	l.idp.Redirect = func(v url.Values) { v.Set("session_state", "unknown") }
	l.request.Further = url.Values{"idp": {"https://idp.test/"}}
	token := l.tokens(t)
	asked, redeemed := l.idp.Seen()[0], l.idp.Forms()[0]

	for name, want := range map[string]string{
		"response_type": "code",
		"client_id":     string(l.request.ClientID),
		"redirect_uri":  callback,
		"scope":         "openid udap",
		"idp":           "https://idp.test/",
	} {
		if asked.Get(name) != want {
			t.Errorf("authorization request: %s %q, want %q", name, asked.Get(name), want)
		}
	}
	if strings.Contains(asked.Get("scope"), "launch") {
		t.Error("a launch scope is asked for")
	}

	l.idp.Metadata = func(plain, _ udaptest.Claims) {
		plain["grant_types_supported"] = []string{"authorization_code", "refresh_token"}
	}
	var err error
	if l.found, err = l.Discover(context.Background()); err != nil {
		t.Fatal(err)
	}

	next, err := l.Refresh(context.Background(), l.found, RefreshRequest{
		ClientID: l.request.ClientID,
		Refresh:  "a-refresh-token",
		Scope:    "openid",
	})
	if err == nil || next.Refusal == nil || next.Refusal.Code != trace.InvalidGrant {
		t.Errorf("a provider without refresh tokens: %+v, %v", next, err)
	}
	refreshed := l.idp.Forms()[1]

	for name, pair := range map[string][2]string{ // of both forms
		"grant_type":            {"authorization_code", "refresh_token"},
		"redirect_uri":          {callback, ""},
		"code_verifier":         {l.request.Verifier, ""},
		"refresh_token":         {"", "a-refresh-token"},
		"scope":                 {"", "openid"},
		"udap":                  {"1", "1"},
		"client_id":             {"", ""},
		"client_secret":         {"", ""},
		"client_assertion_type": {assertionType, assertionType},
	} {
		if redeemed.Get(name) != pair[0] || refreshed.Get(name) != pair[1] {
			t.Errorf("%s: %q and %q, want %q", name, redeemed.Get(name), refreshed.Get(name), pair)
		}
	}

	one, two := redeemed.Get("client_assertion"), refreshed.Get("client_assertion")
	if redeemed.Get("code") == "" || token.Access == "" || one == two || strings.Count(one, ".") != 2 {
		t.Errorf("code %q, assertions %q and %q", redeemed.Get("code"), one, two)
	}
}
