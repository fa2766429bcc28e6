package client

import (
	"bytes"
	"context"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"fhirdest.example/certs"
	"fhirdest.example/udap"
)

func status(code int, contentType, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		w.WriteHeader(code)
		_, _ = io.WriteString(w, body)
	}
}

func redirectTo(url string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, url, http.StatusTemporaryRedirect) }
}

const discoveryPath = "/acme/fhir/.well-known/udap"

// A stopCase is one fault at which discovery ends.
type stopCase struct {
	name        string
	set         func(*env, *Config)
	check, text string
}

// Nothing is sent after a discovery that failed.
func (tc stopCase) run(t *testing.T) {
	w := newEnv(t)
	cfg := w.config()
	tc.set(w, &cfg)
	c := newClient(t, cfg)
	d, err := c.Discover(context.Background())
	wantStop(t, d.Trace, err, tc.check, tc.text)
	out, err := c.Register(context.Background(), d, goodRegistration())
	wantStop(t, out.Trace, err, "discover.signed_metadata", "discover first")

	tok, err := c.Token(context.Background(), d, TokenRequest{ClientID: "x"})
	wantStop(t, tok.Trace, err, "discover.signed_metadata", "discover first")
	if n := len(w.dest.seen()); n > 1 {
		t.Fatalf("more than the discovery was sent: %v", w.dest.seen())
	}
}

func TestDiscoveryStopsAtTheAnswer(t *testing.T) {
	// Covers: S1-016, case 333
	for _, tc := range []stopCase{
		{"no such community", func(w *env, c *Config) {
			c.Community = "urn:other"
			c.Verifier.Communities[0].URI = "urn:other"
		}, "discover.found", "no certificate for the community"},
		{"no UDAP", func(w *env, _ *Config) {
			w.dest.answer[discoveryPath] = status(404, "text/plain", "no")
		}, "discover.found", "wrong base URL"},
		{"gateway has no route", func(w *env, _ *Config) {
			w.dest.answer[discoveryPath] = status(421, "application/fhir+json",
				`{"resourceType":"OperationOutcome","issue":[{"code":"not-found","diagnostics":"host"}]}`)
		}, "discover.found", "host of the URL is not one"},
		{"redirect", func(w *env, _ *Config) {
			w.dest.answer[discoveryPath] = redirectTo(w.dest.base + "/Patient/1")
		}, "discover.found", "never followed"},
		{"web page", func(w *env, _ *Config) {
			w.dest.answer[discoveryPath] = status(200, "text/html", "<html>")
		}, "reply.body", "web page"},
		{"member twice", func(w *env, _ *Config) {
			w.dest.answer[discoveryPath] = status(200, "application/json", `{"a":1,"a":2}`)
		}, "reply.body", "duplicate"},
		{"too long", func(w *env, _ *Config) {
			w.dest.answer[discoveryPath] = status(200, "application/json", strings.Repeat(" ", maxAnswer+1))
		}, "reply.body", "at most"},
		{"down", func(w *env, _ *Config) {
			w.dest.answer[discoveryPath] = status(502, "text/plain", "")
		}, "discover.found", "next hop"},
		{"broken", func(w *env, _ *Config) {
			w.dest.answer[discoveryPath] = status(500, "text/plain", "")
		}, "discover.found", "fault of the destination"},
	} {
		t.Run(tc.name, tc.run)
	}
}

func TestDiscoveryStopsAtTheSignedMetadata(t *testing.T) {
	// Covers: S2-07, case 333, D-01, D-08, D-13, D-15, D-31
	for _, tc := range []stopCase{
		{"unsigned", func(w *env, _ *Config) {
			w.dest.change = func(d map[string]any) { delete(d, "signed_metadata") }
		}, "metadata.document", "signed_metadata"},
		{"wrong SAN", func(w *env, _ *Config) {
			w.dest.id = w.leaf(w.a, "rsa2048", w.dest.base+"x")
		}, "metadata.iss", "x"},
		{"another base", func(w *env, _ *Config) {
			other := w.dest.base + "/other"
			w.dest.id = w.leaf(w.a, "rsa2048", other)
			w.dest.changeClaims = func(c map[string]any) { c["iss"], c["sub"] = other, other }
		}, "metadata.base", "/other"},
		{"expired metadata", func(w *env, _ *Config) {
			w.dest.changeClaims = func(c map[string]any) {
				c["iat"], c["exp"] = epoch.Add(-2*time.Hour).Unix(), epoch.Add(-time.Hour).Unix()
			}
		}, "metadata.exp", "ago"},
		{"expired certificate", func(w *env, _ *Config) {
			w.dest.id = w.leafWith(w.a, "rsa2048", func(t *certs.Template) {
				t.NotAfter = epoch.Add(-time.Minute)
			}, w.dest.base)
		}, "chain.validity", ""},
		{"untrusted community", func(w *env, _ *Config) {
			w.dest.id = w.leaf(w.b, "rsa2048", w.dest.base)
		}, "chain.path", ""},
		{"no list to be had", func(w *env, _ *Config) {
			w.dest.id = w.leafWith(w.a, "rsa2048", func(t *certs.Template) {
				t.CRL = []string{w.lists.URL + "/none"}
			}, w.dest.base)
			w.lists.Close()
		}, "chain.revocation", ""},
		{"endpoint not https", func(w *env, _ *Config) {
			w.dest.changeClaims = func(c map[string]any) { c["token_endpoint"] = "http://localhost/token" }
		}, "metadata.endpoints", "http"},
		{"no anchor", func(_ *env, c *Config) {
			c.Verifier = &udap.Verifier{}
		}, "discover.signed_metadata", "anchor of the trust community"},
	} {
		t.Run(tc.name, tc.run)
	}
}

func TestDiscoveryStopsAtTheConnection(t *testing.T) {
	// Covers: case 333
	for _, tc := range []stopCase{
		{"TLS anchor missing", func(_ *env, c *Config) {
			c.TLSRoots = x509.NewCertPool()
		}, "reply.connect", "anchor of the web server's certificate"},
		{"TLS name", func(w *env, c *Config) {
			c.Base = strings.Replace(c.Base, "localhost", "127.0.0.1", 1)
		}, "reply.connect", "is for localhost"},
		{"nobody listens", func(w *env, c *Config) { w.dest.Close() }, "reply.connect", "nothing listens"},
		{"TLS expired", func(_ *env, c *Config) {
			c.Now = func() time.Time { return epoch.AddDate(0, 2, 0) }
		}, "reply.connect", "counts from"},
	} {
		t.Run(tc.name, tc.run)
	}
}

func TestSwappedEndpoint(t *testing.T) {
	// Covers: case 333, S2-06
	w := newEnv(t)
	w.dest.change = func(d map[string]any) { d["token_endpoint"] = "https://evil.example/token" }
	d, err := newClient(t, w.config()).Discover(context.Background())
	if err != nil || d.Token != w.dest.issuer+"/token" || len(d.Trace.Warnings()) != 1 {
		t.Fatalf("token endpoint %q, error %v, warnings %v: the signed value counts, with a warning", d.Token, err,
			d.Trace.Warnings())
	}
}

// A destination that is trusted may still lead clients about: what it signs is
// followed, and told.
func TestEndpointsOfTwoServers(t *testing.T) {
	w := newEnv(t)
	w.dest.changeClaims = func(c map[string]any) { c["token_endpoint"] = "https://victim.example/token" }
	w.dest.change = func(d map[string]any) { d["token_endpoint"] = "https://victim.example/token" }
	d, err := newClient(t, w.config()).Discover(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if warned := d.Trace.Warnings(); len(warned) != 1 || warned[0].Check != "discover.endpoints" ||
		!strings.Contains(warned[0].Found, "https://victim.example:443") {
		t.Errorf("warnings %+v", warned)
	}
}

func TestSlashedBase(t *testing.T) {
	// Covers: D-01, D-04
	w := newEnv(t)
	slashed := w.dest.base + "/"
	w.dest.id = w.leaf(w.a, "rsa2048", slashed)
	w.dest.changeClaims = func(c map[string]any) { c["iss"], c["sub"] = slashed, slashed }
	d, err := newClient(t, w.config()).Discover(context.Background())
	if err != nil || len(d.Trace.Warnings()) != 1 {
		t.Fatalf("error %v, warnings %v", err, d.Trace.Warnings())
	}
}

func TestDiscoveryWarns(t *testing.T) {
	// Covers: S1-020, S1-021, D-25
	for name, tc := range map[string]struct {
		set   func(*env)
		check string
		text  string
	}{
		"profiles missing": {func(w *env) {
			w.dest.change = func(d map[string]any) { d["udap_profiles_supported"] = []string{} }
		}, "discover.profiles", `udap_profiles_supported [] lacks "udap_dcr"`},
		"no versions": {func(w *env) {
			w.dest.change = func(d map[string]any) { delete(d, "udap_versions_supported") }
		}, "discover.profiles", "udap_versions_supported is absent"},
		"another version": {func(w *env) {
			w.dest.change = func(d map[string]any) { d["udap_versions_supported"] = []string{"2"} }
		}, "discover.profiles", `[2] lacks "1"`},
		"authorization_code without its endpoint": {func(w *env) {
			w.dest.change = func(d map[string]any) {
				d["grant_types_supported"] = []string{"authorization_code", "client_credentials"}
			}
		}, "metadata.endpoints", "other grant types can be used"},
		"certification required": {func(w *env) {
			w.dest.change = func(d map[string]any) { d["udap_certifications_required"] = []string{"urn:c"} }
		}, "discover.required", "urn:c"},
		"clock": {func(w *env) {
			w.dest.answer[discoveryPath] = func(rw http.ResponseWriter, r *http.Request) {
				rw.Header().Set("Date", epoch.Add(-2*time.Minute).Format(http.TimeFormat))
				w.dest.discovery(rw, r)
			}
		}, "reply.clock", "120 s ahead"},
		"media type": {func(w *env) {
			w.dest.answer[discoveryPath] = func(rw http.ResponseWriter, r *http.Request) {
				w.dest.discovery(textual{rw}, r)
			}
		}, "reply.body", "text/plain"},
	} {
		w := newEnv(t)
		tc.set(w)
		d, err := newClient(t, w.config()).Discover(context.Background())
		got := d.Trace.Warnings()
		if err != nil || len(got) != 1 || got[0].Check != tc.check ||
			!strings.Contains(got[0].Found+got[0].Remedy, tc.text) {
			t.Errorf("%s: error %v, warnings %+v; want %s with %q", name, err, got, tc.check, tc.text)
		}
	}
}

// textual says text/plain whatever the handler says.
type textual struct{ http.ResponseWriter }

func (t textual) WriteHeader(code int) {
	t.Header().Set("Content-Type", "text/plain")
	t.ResponseWriter.WriteHeader(code)
}

func TestPostIsNeverRedirected(t *testing.T) {
	// Covers: S2-20, case 333
	w, ctx := newEnv(t), context.Background()
	var hits atomic.Int64
	w.dest.answer["/elsewhere"] = func(http.ResponseWriter, *http.Request) { hits.Add(1) }
	for _, p := range []string{"/acme/oauth/register", "/acme/oauth/token", "/acme/fhir/Patient/1"} {
		w.dest.answer[p] = redirectTo("/elsewhere")
	}
	c := newClient(t, w.config())
	d, err := c.Discover(ctx)
	noError(t, d.Trace, err)

	reg, err := c.Register(ctx, d, goodRegistration())
	wantStop(t, reg.Trace, err, "register.accepted", "/elsewhere")
	tok, err := c.Token(ctx, d, TokenRequest{ClientID: "x", B2B: goodB2B()})
	wantStop(t, tok.Trace, err, "token.given", "never followed")
	read, err := c.Get(ctx, "Patient/1", "sesame")
	wantStop(t, read.Trace, err, "get.read", "never followed")
	if hits.Load() != 0 {
		t.Fatal("a redirect was followed")
	}
}

func TestTokenStaysUnderTheBase(t *testing.T) {
	// Covers: S2-22
	w, ctx := newEnv(t), context.Background()
	c := newClient(t, w.config())
	for _, bad := range []string{
		"https://evil.example/Patient/1", "http" + strings.TrimPrefix(w.dest.base,
			"https") + "/Patient/1", w.dest.base + "x/Patient",
		w.dest.issuer + "/token", "../oauth/token", "a/%2e%2e/%2e%2e/oauth", strings.Replace(w.dest.base, "https://",
			"https://u@", 1) + "/x",
	} {
		read, err := c.Get(ctx, bad, "sesame")
		wantStop(t, read.Trace, err, "get.target", "base")
	}

	if n := len(w.dest.seen()); n != 0 {
		t.Fatalf("%v was sent", w.dest.seen())
	}

	for _, good := range []string{"Patient/1", "/Patient/1", w.dest.base + "/Patient/1"} {
		read, err := c.Get(ctx, good, "sesame")
		noError(t, read.Trace, err)
	}

	read, err := c.Get(ctx, "Patient/1", "stale")
	wantStop(t, read.Trace, err, "get.read", "no token")
	if !strings.Contains(read.Refusal.Hint, `invalid_token`) {
		t.Fatalf("hint %q", read.Refusal.Hint)
	}
}

func TestDialElsewhere(t *testing.T) {
	// Covers: ER-21
	w := newEnv(t)
	_, port, _ := net.SplitHostPort(w.dest.Listener.Addr().String())
	var host string
	w.dest.answer[discoveryPath] = func(rw http.ResponseWriter, r *http.Request) {
		host = r.Host
		w.dest.discovery(rw, r)
	}
	public := strings.Replace(w.dest.base, "localhost:"+port, "public.example", 1)
	w.dest.base, w.dest.issuer = public, "https://public.example/acme/oauth"

	w.dest.id = w.leaf(w.a, "rsa2048", public)
	cfg := w.config()
	cfg.Base, cfg.Dial = public, "127.0.0.1:"+port
	d, err := newClient(t, cfg).Discover(context.Background())
	wantStop(t, d.Trace, err, "reply.connect", "is for localhost, not for public.example")
	cfg.DialName = "localhost"
	d, err = newClient(t, cfg).Discover(context.Background())
	noError(t, d.Trace, err)

	if host != "public.example" {
		t.Fatalf("Host was %q, want that of the URL", host)
	}
}

// recorder keeps what crosses a connection.
type recorder struct {
	net.Conn
	out *bytes.Buffer
}

func (r recorder) Write(p []byte) (int, error) {
	r.out.Write(p)
	return r.Conn.Write(p)
}

func TestWrapSeesPlainBytes(t *testing.T) {
	w := newEnv(t)
	var sent bytes.Buffer
	cfg := w.config()
	cfg.Wrap = func(c net.Conn) net.Conn { return recorder{c, &sent} }
	d, err := newClient(t, cfg).Discover(context.Background())
	noError(t, d.Trace, err)
	if !strings.HasPrefix(sent.String(),
		"GET /acme/fhir/.well-known/udap?community=urn%3Aexample%3Acommunity%3Aa HTTP/1.1\r\n") {
		t.Fatalf("the tap saw %q", sent.String())
	}
}

func TestParseBase(t *testing.T) {
	// Covers: D-04, D-05
	for in, want := range map[string][2]string{
		"https://h/acme/fhir":                                        {"https://h/acme/fhir", ""},
		"https://h/acme/fhir/":                                       {"https://h/acme/fhir", ""},
		"https://h:8443/acme/fhir/.well-known/udap":                  {"https://h:8443/acme/fhir", ""},
		"https://h/acme/fhir/.well-known/udap/?community=urn%3Aa%23": {"https://h/acme/fhir", "urn:a#"},
		" https://h ": {"https://h", ""},
	} {
		base, community, err := ParseBase(in)
		if err != nil || base != want[0] || string(community) != want[1] {
			t.Errorf("ParseBase(%q) = %q, %q, %v", in, base, community, err)
		}
	}

	for _, bad := range []string{
		"", "http://h/fhir", "h/fhir", "https://", "https://u@h/x", "https://h/x#y",
		"https://h/%zz", "https://h/?a=%zz",
	} {
		if _, _, err := ParseBase(bad); err == nil {
			t.Errorf("ParseBase(%q) was taken", bad)
		}
	}

	if _, err := New(Config{Base: "https://h/"}); err == nil {
		t.Error("a client without a clock was made")
	}
}

// What a destination's own metadata says it does not support is not tried, an
// empty list included; what its metadata does not mention is.
func TestUnsupportedWorkflows(t *testing.T) {
	// Covers: S1-020, S1-021
	for name, tc := range map[string]struct {
		member string
		value  any
		check  string // at which registration or token stops; empty: it goes on
	}{
		"no version":         {"udap_versions_supported", []string{}, "discover.profiles"},
		"another version":    {"udap_versions_supported", []string{"2"}, "discover.profiles"},
		"no profile":         {"udap_profiles_supported", []string{}, "discover.profiles"},
		"no grant type":      {"grant_types_supported", []string{}, "discover.grant"},
		"another grant type": {"grant_types_supported", []string{"authorization_code"}, "discover.grant"},
		"no algorithm": {
			"registration_endpoint_jwt_signing_alg_values_supported",
			[]string{},
			"discover.algorithm",
		},
		"profiles unknown":    {"udap_profiles_supported", nil, ""},
		"grant types unknown": {"grant_types_supported", nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			w, ctx := newEnv(t), context.Background()
			w.dest.change = func(d map[string]any) {
				if delete(d, tc.member); tc.value != nil {
					d[tc.member] = tc.value
				}
			}

			c := newClient(t, w.config())
			d, err := c.Discover(ctx)
			if err != nil {
				t.Fatal(err)
			}
			reg, err := c.Register(ctx, d, goodRegistration())
			if tc.check == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}

			wantStop(t, reg.Trace, err, tc.check, "")
		})
	}
}

// Registered values that replace what was asked for end the workflow.
func TestRegistrationThatWasReplaced(t *testing.T) {
	// Covers: S2-10
	const good = `"client_id":"x","grant_types":["client_credentials"],"token_endpoint_auth_method":"private_key_jwt",` +
		`"scope":"system/Patient.rs"`
	for name, tc := range map[string]struct {
		body  string
		check string // empty: accepted
		text  string // in the refusal, or in the one warning
	}{
		"as asked but for the statement": {`{` + good + `}`, "", "does not repeat software_statement"},
		"another grant type": {
			`{` + strings.Replace(good, "client_credentials", "authorization_code", 1) + `}`, "register.granted",
			"authorization_code",
		},
		"a further grant type": {
			`{` + strings.Replace(good, `"client_credentials"`, `"client_credentials","refresh_token"`, 1) + `}`,
			"register.granted", "refresh_token",
		},
		"another method": {
			`{` + strings.Replace(good, "private_key_jwt", "client_secret_basic", 1) + `}`, "register.granted",
			"client_secret_basic",
		},
		"another statement": {`{"software_statement":"a.b.c",` + good + `}`, "register.granted", "a.b.c"},
		"redirects nobody asked for are ignored": {
			`{"redirect_uris":["https://x.example"],` + good + `}`, "", "does not repeat software_statement",
		},
		"nulls are absent": {
			`{"error":null,"software_statement":null,"redirect_uris":null,` + good + `}`, "",
			"does not repeat software_statement",
		},
		"more scopes": {
			`{` + strings.Replace(good, "Patient.rs", "*.rs", 1) + `}`,
			"",
			"without being asked for",
		},
		"an error with 200": {
			`{"error":"invalid_client_metadata",` + good + `}`,
			"register.accepted",
			"invalid_client_metadata",
		},
	} {
		t.Run(name, func(t *testing.T) {
			w, ctx := newEnv(t), context.Background()
			c := newClient(t, w.config())
			d, err := c.Discover(ctx)
			noError(t, d.Trace, err)
			w.dest.answer["/acme/oauth/register"] = status(200, "application/json", tc.body)
			reg, err := c.Register(ctx, d, goodRegistration())
			if tc.check != "" {
				wantStop(t, reg.Trace, err, tc.check, tc.text)
				return
			}

			if got := reg.Trace.Warnings(); err != nil || len(got) != 1 || !strings.Contains(got[0].Remedy, tc.text) {
				t.Fatalf("error %v, warnings %+v; want one with %q", err, got, tc.text)
			}
		})
	}
}

// A lifetime that is absent or cannot be used does not make the token useless.
func TestTokenLifetimes(t *testing.T) {
	for name, tc := range map[string]struct {
		expires string // the member as it is sent; empty: absent
		life    time.Duration
		warned  bool
	}{
		"usual":        {`"expires_in":300,`, 300 * time.Second, false},
		"longest":      {`"expires_in":3600,`, time.Hour, false},
		"too long":     {`"expires_in":3601,`, 3601 * time.Second, true},
		"absent":       {"", 0, true},
		"null":         {`"expires_in":null,`, 0, true},
		"no error":     {`"error":null,"expires_in":300,`, 300 * time.Second, false},
		"a string":     {`"expires_in":"300",`, 0, true},
		"zero":         {`"expires_in":0,`, 0, true},
		"negative":     {`"expires_in":-5,`, 0, true},
		"no number":    {`"expires_in":{},`, 0, true},
		"a fraction":   {`"expires_in":0.5,`, 0, true},
		"very long":    {`"expires_in":9e99,`, 0, true},
		"milliseconds": {`"expires_in":3600000,`, 3600000 * time.Second, true},
	} {
		t.Run(name, func(t *testing.T) {
			w, ctx := newEnv(t), context.Background()
			c := newClient(t, w.config())
			d, err := c.Discover(ctx)
			noError(t, d.Trace, err)
			w.dest.answer["/acme/oauth/token"] = status(200, "application/json",
				`{"access_token":"t",`+tc.expires+`"token_type":"Bearer","scope":"a"}`)

			tok, err := c.Token(ctx, d, TokenRequest{ClientID: "x", Scope: "a", B2B: goodB2B()})
			if err != nil {
				t.Fatal(err)
			}
			want := time.Time{}
			if tc.life > 0 {
				want = epoch.Add(tc.life)
			}

			if warned := len(tok.Trace.Warnings()) == 1; !tok.Expires.Equal(want) || warned != tc.warned {
				t.Errorf("expires %v, want %v; warnings %+v", tok.Expires, want, tok.Trace.Warnings())
			}
		})
	}
}

func TestAnswersThatBreakTheRules(t *testing.T) {
	// Covers: S1-067, S2-15, S2-10
	w, ctx := newEnv(t), context.Background()
	c := newClient(t, w.config())
	d, err := c.Discover(ctx)
	noError(t, d.Trace, err)
	at := func(path, body string) { w.dest.answer[path] = status(200, "application/json", body) }
	req := TokenRequest{ClientID: "x", Scope: "a b", B2B: goodB2B()}

	at("/acme/oauth/register", `{}`)
	reg, err := c.Register(ctx, d, goodRegistration())
	wantStop(t, reg.Trace, err, "register.client_id", "client_id")
	at("/acme/oauth/register", `{"client_id":"x","grant_types":["client_credentials"],"scope":"other"}`)
	reg, err = c.Register(ctx, d, goodRegistration())
	if err != nil || len(reg.Trace.Warnings()) != 1 {
		t.Fatalf("%v, warnings %v: want one for the scope", err, reg.Trace.Warnings())
	}

	gone, err := c.Cancel(ctx, d, goodRegistration())
	wantStop(t, gone.Trace, err, "register.granted", "client_credentials")
	if gone.Cancelled {
		t.Fatal("taken as cancelled")
	}
	at("/acme/oauth/token", `{"error":"invalid_scope","access_token":"t","token_type":"Bearer"}`)
	refusedWith200, err := c.Token(ctx, d, req)
	wantStop(t, refusedWith200.Trace, err, "token.given", "invalid_scope")

	at("/acme/oauth/token", `{"access_token":"t","token_type":"MAC"}`)
	tok, err := c.Token(ctx, d, req)
	wantStop(t, tok.Trace, err, "token.given", "MAC")

	for _, text := range []string{`t\r\nX: y`, `t t`, `t\u0000`, `tä`} {
		at("/acme/oauth/token", `{"access_token":"`+text+`","token_type":"Bearer"}`)
		tok, err = c.Token(ctx, d, req)
		wantStop(t, tok.Trace, err, "token.given", "visible ASCII")
		if tok.Access != "" {
			t.Errorf("%q is kept", tok.Access)
		}
	}

	at("/acme/oauth/token", `{"access_token":"t","token_type":"bearer","expires_in":7200,"scope":"a"}`)
	tok, err = c.Token(ctx, d, req)
	if err != nil || len(tok.Trace.Warnings()) != 2 || tok.Scope != "a" {
		t.Fatalf("%v, warnings %+v: want lifetime and scope", err, tok.Trace.Warnings())
	}
	w.dest.answer["/acme/oauth/token"] = func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "7")
		w.WriteHeader(http.StatusTooManyRequests)
	}

	tok, err = c.Token(ctx, d, req)
	wantStop(t, tok.Trace, err, "token.given", "wait 7 s")
}
