package client

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"fhirdest.example/udap/udaptest"
)

// The issuer of a destination is found where it is published, and its metadata must
// name the endpoints that are signed.
func TestOpenIDOf(t *testing.T) {
	l := newLogin(t)
	ctx := context.Background()
	smart := func(issuer string) func(http.ResponseWriter, *http.Request) {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_, _ = w.Write([]byte(`{"issuer":"` + issuer + `"}`))
		}
	}
	for name, row := range map[string]struct {
		smart  func(http.ResponseWriter, *http.Request)
		openid func(udaptest.Claims)
		check  string // refuses; empty: accepted
		text   string
	}{
		"at the base":    {nil, nil, "", ""},
		"by SMART":       {smart(l.idp.Base), nil, "", ""},
		"another origin": {smart("https://x.test"), nil, "openid.issuer", "x.test"},
		"another issuer": {smart(l.idp.Base + "/other"), nil, "openid.metadata", "they part"},
		"another token": {nil, func(c udaptest.Claims) {
			c["token_endpoint"] = l.idp.Base + "/x"
		}, "openid.issuer", "token_endpoint"},
		"no token": {nil, func(c udaptest.Claims) {
			delete(c, "token_endpoint")
		}, "openid.issuer", "token_endpoint"},
		"other authorize": {nil, func(c udaptest.Claims) {
			c["authorization_endpoint"] = "https://x.test/"
		}, "openid.issuer", "x.test"},
	} {
		t.Run(name, func(t *testing.T) {
			l.idp.OpenID = row.openid
			l.idp.Answer["smart-configuration"] = row.smart
			p, err := l.OpenIDOf(ctx, l.found)
			if row.check != "" {
				wantStop(t, p.Trace, err, row.check, row.text)
				return
			}
			noError(t, p.Trace, err)
			if p.Issuer != l.idp.Base || !p.AnnouncesIssuer {
				t.Errorf("%+v", p)
			}
		})
	}

	p, err := l.OpenIDOf(ctx, &Discovery{})
	wantStop(t, p.Trace, err, "discover.signed_metadata", "discover first")
}

// The doctor says whether people can be signed in safely.
func TestDoctorLooksAtOpenID(t *testing.T) {
	l := newLogin(t)
	for name, row := range map[string]struct {
		openid func(udaptest.Claims)
		warns  string // empty: nothing
	}{
		"well": {nil, ""},
		"no iss": {func(c udaptest.Claims) {
			delete(c, "authorization_response_iss_parameter_supported")
		}, "RFC 9207"},
		"unsigned":   {func(c udaptest.Claims) { c["token_endpoint"] = "https://x.test" }, "signed endpoints"},
		"no key set": {func(c udaptest.Claims) { delete(c, "jwks_uri") }, "jwks_uri"},
	} {
		t.Run(name, func(t *testing.T) {
			l.idp.OpenID = row.openid
			tr := l.Doctor(context.Background()).Discovery.Trace
			warned := ""
			for _, s := range tr.Warnings() {
				if s.Check == "doctor.openid" {
					warned += s.Expected + " " + s.Found
				}
			}
			if (warned == "") != (row.warns == "") || !strings.Contains(warned, row.warns) {
				t.Errorf("warned %q, want %q", warned, row.warns)
			}
		})
	}
}
