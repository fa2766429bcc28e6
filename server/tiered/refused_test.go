package tiered_test

import (
	"crypto/x509"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"fhirdest.example/server/oauth"
	"fhirdest.example/server/tiered"
	"fhirdest.example/udap/udaptest"
)

// No address is asked that is not that of a configured provider, byte for byte: the
// client is redirected with invalid_idp and its own state.
//
// Covers: S1-240, S1-241, case 204, case 206
func TestAddressesNotConfigured(t *testing.T) {
	e := newEnv(t)
	canary := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		t.Errorf("asked: %s", r.URL)
	}))
	defer canary.Close()
	port := canary.Listener.Addr().String()

	for _, idp := range []string{
		canary.URL, "http://" + port + "/idp", "https://" + port + "/idp", "https://trusted@" + port,
		strings.Replace(e.idp.Base, "https://", "https://trusted@", 1), e.idp.Base + "#@" + port,
		e.idp.Base + "/", e.idp.Base + "?x=y", strings.ToUpper(e.idp.Base), e.idp.URL, e.idp.Base + "/../idp",
		"https://169.254.169.254/latest/meta-data", "https://[::1]/idp", "https://0x7f000001/idp", "https://localhost:22",
		"file:///etc/passwd", "gopher://" + port, "//" + port, "javascript:alert(1)", "idp", "\x00", " " + e.idp.Base,
		"https://127.0.0.1.nip.io/idp", strings.Repeat("x", 3000),
	} {
		t.Run(idp, func(t *testing.T) {
			if got := e.told(e.get(e.browser(), e.request(idp))); got != "invalid_idp" {
				t.Errorf("told %s", got)
			}
		})
	}

	if n := len(e.idp.Requests()) + len(e.other.Requests()); n != 0 {
		t.Errorf("%d requests to providers", n)
	}
}

// A provider whose metadata is not in order gets no registration, and the client
// invalid_idp.
//
// Covers: S1-238, S1-240, S1-241, case 205, case 208
func TestProvidersNotTrusted(t *testing.T) {
	e := newEnv(t)
	own := e.idp.Own
	signer := func(h *udaptest.Hierarchy, uri string) func() {
		return func() { e.idp.Own = e.w.ClientWith(t, h.Int, uri, own.Key, nil) }
	}
	change := func(f func(plain, signed udaptest.Claims)) func() { return func() { e.idp.Metadata = f } }
	both := func(name, value string) func() {
		return change(func(plain, signed udaptest.Claims) { plain[name], signed[name] = value, value })
	}

	for name, spoil := range map[string]func(){
		"of no community":            signer(e.w.X, e.idp.Base),
		"of another community":       signer(e.w.A, e.idp.Base),
		"of another base":            func() { e.idp.Own = e.other.Own },
		"with a slash in the SAN":    signer(e.w.B, e.idp.Base+"/"),
		"expired":                    change(func(_, s udaptest.Claims) { s["exp"] = e.now().Add(-time.Hour).Unix() }),
		"iss of another":             change(func(_, s udaptest.Claims) { s["iss"] = e.other.Base }),
		"no signed token endpoint":   change(func(_, s udaptest.Claims) { delete(s, "token_endpoint") }),
		"no signed registration":     change(func(_, s udaptest.Claims) { delete(s, "registration_endpoint") }),
		"no authorization endpoint":  change(func(p, s udaptest.Claims) { delete(p, "authorization_endpoint"); delete(s, "authorization_endpoint") }),
		"tokens at another provider": both("token_endpoint", e.other.Base+"/token"),
		"registration elsewhere":     both("registration_endpoint", e.other.Base+"/register"),
		"people sent elsewhere":      both("authorization_endpoint", "https://x.test/authorize"),
		"plain http":                 both("token_endpoint", "http://x.test/token"),
		"without the scope udap":     change(func(p, _ udaptest.Claims) { p["scopes_supported"] = []string{"openid"} }),
		"without openid":             change(func(p, _ udaptest.Claims) { p["scopes_supported"] = []string{"udap"} }),
		"without a list of scopes":   change(func(p, _ udaptest.Claims) { delete(p, "scopes_supported") }),
		"without people":             change(func(p, _ udaptest.Claims) { p["grant_types_supported"] = []string{"client_credentials"} }),
		"another issuer":             func() { e.idp.OpenID = func(c udaptest.Claims) { c["issuer"] = e.other.Base } },
		"keys of another": func() {
			e.idp.OpenID = func(c udaptest.Claims) { c["jwks_uri"] = e.other.Base + "/jwks" }
		},
		"revoked": func() { e.w.Publish(t, e.w.B.Int, own.Leaf().SerialNumber) },
	} {
		t.Run(name, func(t *testing.T) {
			e.idp.Change(func() { e.idp.Own, e.idp.Metadata, e.idp.OpenID = own, nil, nil })
			e.w.Publish(t, e.w.B.Int)
			e.idp.Change(spoil)
			e.advance(time.Minute)

			if got := e.told(e.get(e.browser(), e.request(e.idp.Base))); got != "invalid_idp" {
				t.Errorf("told %s", got)
			}
		})
	}

	for _, p := range []*udaptest.IDP{e.idp, e.other} {
		if p.Count("register")+p.Count("token")+p.Count("authorize") != 0 {
			t.Errorf("%s was sent something: %q", p.Base, p.Requests())
		}
	}
}

// A registration that the provider refuses, or answers with another, ends at the
// client.
// Covers: S1-239, S1-240, S1-241
func TestRegistrationRefused(t *testing.T) {
	e := newEnv(t)
	for name, answer := range map[string]func(http.ResponseWriter, *http.Request){
		"refused": func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, `{"error":"unapproved_software_statement"}`, http.StatusBadRequest)
		},
		"without a client_id": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusCreated)
			_, _ = w.Write([]byte(`{}`))
		},
		"redirected": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, e.other.Base+"/register", http.StatusTemporaryRedirect)
		},
	} {
		t.Run(name, func(t *testing.T) {
			e.idp.Change(func() { e.idp.Answer["register"] = answer })
			e.advance(time.Minute)
			if got := e.told(e.get(e.browser(), e.request(e.idp.Base))); got != "invalid_idp" {
				t.Errorf("told %s", got)
			}
		})
	}

	if e.other.Count("register") != 0 {
		t.Error("a redirect was followed")
	}
	e.idp.Change(func() { delete(e.idp.Answer, "register") })
	e.advance(time.Minute)
	e.depart(e.browser())
}

// An answer that is not that of the provider to the sign-in that this browser began
// signs nobody in. Where the browser's sign-in is known it ends with server_error at
// the client, else on a page; no answer counts twice.
//
// Covers: S1-270, S1-271, S1-272, case 207, case 210, case 211
func TestAnswersRefused(t *testing.T) {
	e := newEnv(t)
	edit := func(answer string, f func(url.Values)) string {
		u, err := url.Parse(answer)
		e.must(err)
		q := u.Query()
		f(q)
		u.RawQuery = q.Encode()
		return u.String()
	}
	set := func(name, value string) func(string) string {
		return func(answer string) string { return edit(answer, func(v url.Values) { v.Set(name, value) }) }
	}
	del := func(name string) func(string) string {
		return func(answer string) string { return edit(answer, func(v url.Values) { v.Del(name) }) }
	}

	for name, row := range map[string]struct {
		change func(answer string) string
		want   string
	}{
		"another state":       {set("state", "another"), "server_error"},
		"the client's state":  {set("state", clients), "server_error"},
		"no state":            {del("state"), "server_error"},
		"two states":          {func(a string) string { return a + "&state=x" }, "server_error"},
		"iss of another":      {set("iss", e.other.Base), "server_error"},
		"no iss":              {del("iss"), "server_error"},
		"iss with a slash":    {set("iss", e.idp.Base+"/"), "server_error"},
		"code and error":      {set("error", "access_denied"), "server_error"},
		"neither":             {del("code"), "server_error"},
		"two codes":           {func(a string) string { return a + "&code=x" }, "server_error"},
		"another code":        {set("code", "another"), "invalid_idp"},
		"an error of the IdP": {func(a string) string { return set("error", "login_required")(del("code")(a)) }, "access_denied"},
		"an error and another state": {func(a string) string {
			return set("state", "x")(set("error", "access_denied")(del("code")(a)))
		}, "server_error"},
	} {
		t.Run(name, func(t *testing.T) {
			b := e.browser()
			answer := e.trip(b)
			if got := e.told(e.get(b, row.change(answer))); got != row.want {
				t.Errorf("told %s, want %s", got, row.want)
			}
			if p := e.get(b, answer); p.status != http.StatusBadRequest || e.who() != nil {
				t.Errorf("the true answer afterwards: %+v", p)
			}
		})
	}
}

// An error text of a provider is shown to nobody.
// Covers: S1-273, case 211
func TestErrorTextOfAProvider(t *testing.T) {
	e := newEnv(t)
	const text = `<script>alert("x")</script>`
	e.idp.Change(func() {
		e.idp.Redirect = func(v url.Values) {
			v.Del("code")
			v.Set("error", text)
			v.Set("error_description", text)
			v.Set("error_uri", "https://x.test/")
		}
	})

	b := e.browser()
	p := e.get(b, e.trip(b))
	if e.told(p) != "access_denied" {
		t.Errorf("told %s", e.told(p))
	}
	if got := p.location + p.body; strings.Contains(got, "alert") || strings.Contains(got, "x.test") {
		t.Errorf("passed on: %s", got)
	}
}

// Whoever is sent an answer that another browser's sign-in got is not signed in, nor
// is the other; a used one is worth nothing; an old one neither.
//
// Covers: S1-270, case 207, case 210
func TestAnswersOfOthers(t *testing.T) {
	e := newEnv(t)
	attacker, victim := e.browser(), e.browser()
	answer := e.trip(attacker)
	if p := e.get(victim, answer); p.status != http.StatusBadRequest || p.location != "" || e.who() != nil {
		t.Errorf("a browser without a sign-in: %+v", p)
	}

	own := e.depart(victim)
	if got := e.told(e.get(victim, answer)); got != "server_error" || e.who() != nil {
		t.Errorf("a browser with a sign-in of its own: %s", got)
	}
	if p := e.get(victim, e.get(victim, own).location); p.status != http.StatusBadRequest || e.who() != nil {
		t.Errorf("its own sign-in afterwards: %+v", p)
	}

	if e.get(attacker, answer); e.who() == nil {
		t.Error("the first browser's sign-in was ended by the other")
	}
	if p := e.get(attacker, answer); p.status != http.StatusBadRequest || e.who() != nil {
		t.Errorf("used twice: %+v", p)
	}

	late := e.trip(attacker)
	e.advance(11 * time.Minute)
	if got := e.told(e.get(attacker, late)); got != "server_error" || e.who() != nil {
		t.Errorf("an old answer: %s", got)
	}

	mixed := strings.Replace(e.trip(attacker), e.callbackOf(e.idp.Base), e.callbackOf(e.other.Base), 1)
	if p := e.get(attacker, mixed); p.status != http.StatusBadRequest || e.who() != nil {
		t.Errorf("an answer at another provider's redirect URI: %+v", p)
	}
	if e.other.Count("token") != 0 {
		t.Error("a code of one provider was sent to another")
	}
}

// callbackOf returns the redirect URI for a provider.
func (e *env) callbackOf(base string) string {
	target, err := url.Parse(e.get(e.browser(), e.request(base)).location)
	e.must(err)
	return target.Query().Get("redirect_uri")
}

// A client that was cancelled while its person was at the provider gets no answer.
func TestClientCancelledMeanwhile(t *testing.T) {
	e := newEnv(t)
	b := e.browser()
	answer := e.trip(b)
	now := e.now()
	_, err := e.store.Cancel(t.Context(), oauth.Spend{
		Community: udaptest.CommunityA,
		Issuer:    udaptest.Client1URI,
		JTI:       "cancel",
		Since:     now,
		Until:     now.Add(time.Minute),
		Expires:   now.Add(time.Minute),
		Now:       now,
	}, udaptest.CommunityA, udaptest.Client1URI)
	e.must(err)
	if p := e.get(b, answer); p.status != http.StatusBadRequest || p.location != "" || e.who() != nil {
		t.Errorf("%+v", p)
	}
	if e.idp.Count("token") != 0 {
		t.Error("the code was exchanged")
	}
}

// Another method than GET has no meaning at a redirect URI.
func TestMethodOfTheAnswer(t *testing.T) {
	e := newEnv(t)
	res, err := e.browser().Post(e.callbackOf(e.idp.Base), "text/plain", nil)
	e.must(err)
	defer res.Body.Close()
	if res.StatusCode != http.StatusMethodNotAllowed || res.Header.Get("Allow") != http.MethodGet {
		t.Errorf("%s, Allow %q", res.Status, res.Header.Get("Allow"))
	}
}

// Whatever a token response is but a good one, nobody is signed in; a refresh token
// in it is of no interest.
//
// Covers: S1-279, S1-283, S1-291, case 216
func TestTokenResponses(t *testing.T) {
	e := newEnv(t)
	for name, row := range map[string]struct {
		change func(udaptest.Claims)
		answer func(http.ResponseWriter, *http.Request)
		want   string
	}{
		"no id_token":        {change: func(c udaptest.Claims) { delete(c, "id_token") }, want: "invalid_idp"},
		"an empty id_token":  {change: func(c udaptest.Claims) { c["id_token"] = "" }, want: "invalid_idp"},
		"an access token":    {change: func(c udaptest.Claims) { c["id_token"] = c["access_token"] }, want: "invalid_idp"},
		"no access token":    {change: func(c udaptest.Claims) { delete(c, "access_token") }, want: "invalid_idp"},
		"another token type": {change: func(c udaptest.Claims) { c["token_type"] = "mac" }, want: "invalid_idp"},
		"an error in a 200":  {change: func(c udaptest.Claims) { c["error"] = "invalid_grant" }, want: "invalid_idp"},
		"a refresh token":    {change: func(c udaptest.Claims) { c["refresh_token"] = "secret-refresh" }},
		"HTML":               {answer: page200("text/html", "<p>hello"), want: "invalid_idp"},
		"nothing":            {answer: page200("application/json", ""), want: "invalid_idp"},
		"more than a MiB":    {answer: page200("application/json", strings.Repeat(" ", 2<<20)), want: "invalid_idp"},
		"a redirect": {answer: func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, e.other.Base+"/token", http.StatusTemporaryRedirect)
		}, want: "invalid_idp"},
		"cut short": {answer: cutShort, want: "temporarily_unavailable"},
	} {
		t.Run(name, func(t *testing.T) {
			e.idp.Change(func() { e.idp.Token, e.idp.Answer["token"] = row.change, row.answer })
			b := e.browser()
			p := e.get(b, e.trip(b))
			if row.want == "" {
				if e.who() == nil {
					t.Errorf("not signed in: %+v", p)
				}
				return
			}
			if got := e.told(p); got != row.want || e.who() != nil {
				t.Errorf("told %s, want %s", got, row.want)
			}
		})
	}
	if e.other.Count("token") != 0 {
		t.Error("a redirect was followed with an authentication token")
	}
}

// A provider whose token endpoint does not answer, or not to the end, is unavailable.
//
// Covers: case 219
func TestTokenResponsesThatDoNotEnd(t *testing.T) {
	e := newEnv(t, func(e *env) { e.config.Timeout = time.Second })
	for name, answer := range map[string]func(http.ResponseWriter, *http.Request){
		"none":        never,
		"half of one": half,
	} {
		t.Run(name, func(t *testing.T) {
			e.eventually(e.idp)
			e.idp.Change(func() { e.idp.Answer["token"] = answer })
			b := e.browser()
			if got := e.told(e.get(b, e.trip(b))); got != "temporarily_unavailable" || e.who() != nil {
				t.Errorf("told %s", got)
			}
		})
	}
}

// never answers nothing until the client has gone, and then ends the connection: an
// answer that follows would still reach a client that is about to close its side.
func never(_ http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body) // before that nobody looks whether the client is there
	<-r.Context().Done()
	panic(http.ErrAbortHandler)
}

// half begins an answer that it does not end.
func half(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = io.WriteString(w, `{"`)
	_ = http.NewResponseController(w).Flush()
	never(w, r)
}

// cutShort ends the connection within an answer.
func cutShort(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Length", "100")
	_, _ = io.WriteString(w, `{"`)
	_ = http.NewResponseController(w).Flush()
	panic(http.ErrAbortHandler)
}

func page200(contentType, body string) func(http.ResponseWriter, *http.Request) {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		_, _ = w.Write([]byte(body))
	}
}

// An ID token of another signer, of another sign-in, or of another provider that is
// as trusted signs nobody in. (Each claim is tested with the client.)
//
// Covers: S1-282, S1-289, S1-291, case 212, case 213
func TestIDTokensRefused(t *testing.T) {
	e := newEnv(t)
	stranger := e.w.ClientWith(t, e.w.X.Int, e.idp.Base, e.idp.Key, nil)
	var earlier string
	for name, row := range map[string]struct {
		claims func(udaptest.Claims)
		sign   func(udaptest.Claims) string
	}{
		"of another provider": {sign: func(c udaptest.Claims) string {
			return udaptest.SignIDToken(t, e.other.Own.Key, c)
		}},
		"with a chain to a stranger": {sign: func(c udaptest.Claims) string { return stranger.Sign(t, c) }},
		"unsigned": {sign: func(c udaptest.Claims) string {
			return udaptest.Segment([]byte(`{"alg":"none"}`)) + "." + udaptest.Segment(c.JSON(t)) + "."
		}},
		"iss of another provider": {claims: func(c udaptest.Claims) { c["iss"] = e.other.Base }},
		"for another client":      {claims: func(c udaptest.Claims) { c["aud"] = "another" }},
		"of an earlier sign-in": {sign: func(c udaptest.Claims) string {
			if earlier == "" {
				earlier = udaptest.SignIDToken(t, e.idp.Key, c.With("nonce", "of-an-earlier-sign-in"))
			}
			return earlier
		}},
		"expired": {claims: func(c udaptest.Claims) { c["exp"] = e.now().Add(-time.Hour).Unix() }},
		"no sub":  {claims: func(c udaptest.Claims) { delete(c, "sub") }},
	} {
		t.Run(name, func(t *testing.T) {
			e.idp.Change(func() { e.idp.IDToken, e.idp.Sign = row.claims, row.sign })
			b := e.browser()
			if got := e.told(e.get(b, e.trip(b))); got != "invalid_idp" || e.who() != nil {
				t.Errorf("told %s", got)
			}
		})
	}
}

// What is wrong with a configuration is reported, all at once.
func TestConfigChecked(t *testing.T) {
	_, err := tiered.New(tiered.Config{
		Issuer:    "http://fhir.test",
		Providers: []tiered.Provider{{Base: "http://idp.test", Chain: []*x509.Certificate{{SerialNumber: big.NewInt(1)}}}},
	})
	for _, want := range []string{"issuer", "no store", "is no https URL", "no certificate for http://idp.test"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("no %q in %v", want, err)
		}
	}
}
