package oauth_test

import (
	"net/url"
	"strings"
	"testing"

	"fhirdest.example/udap/trace"
	"fhirdest.example/udap/udaptest"
)

const formType = "application/x-www-form-urlencoded"

// formEndpoints are the endpoints that read forms.
var formEndpoints = []string{"/oauth/token", "/oauth/introspect", "/oauth/revoke"}

// goodForm is a request that its endpoint answers with 200.
func (e *env) goodForm(path string, c *udaptest.Client, id trace.ClientID) url.Values {
	e.t.Helper()
	form := e.form(c.Sign(e.t, udaptest.Assertion(id, e.now()).With("aud", issuer+path[len("/oauth"):])))
	if path != "/oauth/token" {
		form.Del("grant_type")
		form.Del("scope")
		form.Set("token", "x")
	}
	return form
}

// sent posts a raw form and returns the answer; a token in it is a secret.
func (e *env) sent(path, body string) answer {
	e.t.Helper()
	a := e.send("POST", path, formType, body, nil)
	if token := a.text("access_token"); token != "" {
		e.secret(token)
	}
	return a
}

// Covers: S1-183, case 141
func TestParametersWithoutValueAreAbsent(t *testing.T) {
	e, c, id := clientEnv(t)
	for _, path := range formEndpoints {
		for _, tail := range []string{
			"&client_secret=", "&client_secret", "&assertion=", "&client_id=", "&resource=", "&code=", "&refresh_token",
			"&unknown=&unknown=", "&udap=", "&client_assertion=", "&client_assertion_type=&client_assertion_type=",
			"&token_type_hint=", "&client_secret=&client_secret=", "&=", "&", "&%75dap=",
		} {
			t.Run(path+tail, func(t *testing.T) {
				if a := e.sent(path, e.goodForm(path, c, id).Encode()+tail); a.status != 200 {
					t.Errorf("%d %s", a.status, a.body)
				}
			})
		}

		for _, name := range []string{"udap", "client_assertion", "client_assertion_type", "grant_type", "token"} {
			form := e.goodForm(path, c, id)
			if !form.Has(name) || name == "udap" && path != "/oauth/token" {
				continue
			}

			form.Del(name)
			for _, tail := range []string{"&" + name, "&" + name + "=", "&" + name + "=&" + name + "="} {
				t.Run(path+" only"+tail, func(t *testing.T) {
					e.refused(name, 400, "invalid_request", spendsNothing, func() answer {
						return e.sent(path, form.Encode()+tail)
					})
				})
			}
		}
	}
}

// Covers: S1-183, case 141
func TestParametersWithTwoValues(t *testing.T) {
	e, c, id := clientEnv(t)
	for _, path := range formEndpoints {
		for _, tail := range []string{"&udap=1", "&x=1&x=1", "&x=1&x=&x=2", "&client_secret=a"} {
			t.Run(path+tail, func(t *testing.T) {
				form := e.goodForm(path, c, id).Encode()
				e.refused(tail, 400, "invalid_request", spendsNothing, func() answer {
					return e.sent(path, form+tail)
				})
				if a := e.sent(path, form); a.status != 200 {
					t.Errorf("without it: %d %s", a.status, a.body)
				}
			})
		}
	}
}

// A body of ASCII alone is accepted in any charset that contains ASCII; another
// body is UTF-8.
//
// Covers: S1-163, case 101, case 142
func TestCharsets(t *testing.T) {
	e, c, id := clientEnv(t)
	other := e.client(e.w.A, udaptest.Client2URI)
	for _, row := range []struct {
		charset string
		status  int
		tail    string // of a form; for JSON, the value of a member
	}{
		{"ISO-8859-1", 200, ""}, {"iso-8859-15", 200, ""}, {"us-ascii", 200, ""}, {"windows-1252", 200, ""},
		{`"utf-8"`, 200, ""}, {"UTF-8", 200, "\u00e4"}, {"latin1", 200, ""}, {"cp1252", 200, ""},
		{"ISO-8859-1", 415, "\u00e4"}, {"ISO-8859-1", 415, "\xe4"}, {"us-ascii", 415, "\u00e4"},
		{"utf-16", 415, ""}, {"UTF-16LE", 415, ""}, {"utf-32", 415, ""}, {"utf-7", 415, ""}, {"IBM037", 415, ""}, {"x", 415, ""},
	} {
		for _, path := range append(formEndpoints, "/oauth/register") {
			t.Run(path+" "+row.charset+" "+row.tail, func(t *testing.T) {
				contentType, body := formType, ""
				if path == "/oauth/register" {
					contentType = "application/json"
					body = strings.TrimSuffix(e.registerBody(other.Sign(t, other.Statement(e.now())), nil), "}") +
						`,"x":"` + row.tail + `"}`
				} else {
					body = e.goodForm(path, c, id).Encode() + "&x=" + row.tail
				}

				send := func() answer { return e.send("POST", path, contentType+"; charset="+row.charset, body, nil) }
				if row.status == 415 {
					e.refused(row.charset, 415, "invalid_request", spendsNothing, send)
					return
				}

				a := send()
				if token := a.text("access_token"); token != "" {
					e.secret(token)
				}
				if a.status != 200 && !(a.status == 201 && path == "/oauth/register") {
					t.Errorf("%d %s", a.status, a.body)
				}
			})
		}
	}
}

// Introspection and revocation accept the other names of this server as aud,
// and warn; the token endpoint accepts its own URL only.
//
// Covers: S1-155, case 143, case 224
func TestAudienceOfTokenRequests(t *testing.T) {
	e, c, id := clientEnv(t)
	for _, path := range formEndpoints {
		own := issuer + path[len("/oauth"):]
		for _, row := range []struct {
			aud      any
			accepted bool
			warned   bool
		}{
			{own, true, false},
			{[]string{own}, true, false},
			{udaptest.Token, true, path != "/oauth/token"},
			{[]string{udaptest.Token}, true, path != "/oauth/token"},
			{issuer, path != "/oauth/token", true},
			{issuer + "/", false, false},
			{udaptest.Registration, false, false},
			{udaptest.Base, false, false},
			{[]string{own, udaptest.Base}, false, false},
			{"https://other.test/token", false, false},
		} {
			t.Run(path, func(t *testing.T) {
				form := e.goodForm(path, c, id)
				form.Set("client_assertion", e.secret(c.Sign(t, udaptest.Assertion(id, e.now()).With("aud", row.aud))))
				if !row.accepted {
					e.refused("aud", 400, "invalid_client", spendsNothing, func() answer {
						return e.sent(path, form.Encode())
					})
					return
				}

				if a := e.sent(path, form.Encode()); a.status != 200 ||
					warned(e.lastTrace(), "assertion.aud") != row.warned {
					t.Errorf("aud %v: %d %s, warnings %+v", row.aud, a.status, a.body, e.lastTrace().Warnings())
				}
			})
		}
	}
}
