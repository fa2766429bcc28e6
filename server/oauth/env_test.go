package oauth_test

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"fhirdest.example/certs"
	"fhirdest.example/fhir/scope"
	"fhirdest.example/server/bolt"
	"fhirdest.example/server/oauth"
	"fhirdest.example/server/oauth/idtoken"
	"fhirdest.example/udap/trace"
	"fhirdest.example/udap/udaptest"
)

const issuer = "https://fhir.test/oauth"

// env is a whole authorization server over TLS with a Bolt file, in an environment of
// trust. When the test ends it asserts that no secret came into a trace, that
// nothing was answered with a 5xx and that nobody dialled the canary.
type env struct {
	t      *testing.T
	w      *udaptest.Env
	path   string
	store  *bolt.Trust
	svc    *oauth.Service
	server *httptest.Server
	config oauth.Config
	wrap   func(oauth.Store) oauth.Store // may stand between the service and the store
	canary string                        // a URL of a listener that must not be dialled
	clock  atomic.Int64

	mu      sync.Mutex // guards traces and secrets
	traces  []*trace.Trace
	secrets []string
}

// newEnv starts one; edit may change the configuration first.
func newEnv(t *testing.T, edit ...func(*oauth.Config)) *env {
	t.Helper()
	return newEnvOf(t, "p256", edit...)
}

func newEnvOf(t *testing.T, kind certs.KeyKind, edit ...func(*oauth.Config)) *env {
	t.Helper()
	return newEnvWith(t, &env{w: udaptest.New(t, kind)}, edit...)
}

// newEnvWith starts an environment that may have its trust already.
func newEnvWith(t *testing.T, e *env, edit ...func(*oauth.Config)) *env {
	t.Helper()
	if e.w == nil {
		e.w = udaptest.New(t, "p256")
	}
	e.t, e.path = t, filepath.Join(t.TempDir(), "trust.bolt")
	e.clock.Store(e.w.Now.Unix())
	e.canary = startCanary(t)
	e.config = oauth.Config{
		Base:     udaptest.Base,
		Issuer:   issuer,
		Verifier: e.w.Verifier(),
		Explain:  oauth.ExplainClient,
		Now:      e.now,
		Record:   e.record,
		Scopes: catalogue(t, "system/Patient.rs", "system/Observation.rs", "system/Patient.read",
			"system/Condition.rs"),
		Personal: catalogue(t, "openid", "user/Patient.rs", "patient/Patient.rs"),
	}

	for _, f := range edit {
		f(&e.config)
	}
	if e.config.Interaction != nil && e.config.IDTokens == nil {
		e.config.IDTokens = idTokenKeys(t, 1)
	}
	e.start()
	t.Cleanup(e.stop)

	return e
}

// idTokenKeys returns keys of ID tokens, by the numbers of the tests' keys.
func idTokenKeys(t testing.TB, numbers ...int) idtoken.Keys {
	t.Helper()
	var text []byte
	for _, n := range numbers {
		text = append(text, udaptest.KeyPEM(t, "rsa2048", n)...)
	}
	keys, err := idtoken.ParseKeys(text)
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

func catalogue(t testing.TB, supported ...string) scope.Catalogue {
	t.Helper()
	c, err := scopeCatalogue(supported...)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func scopeCatalogue(supported ...string) (scope.Catalogue, error) {
	return scope.NewCatalogue(supported, nil, func(_, param string) bool { return param == "category" })
}

// start opens the store and serves; stop undoes it and looks at what was left.
func (e *env) start() {
	e.t.Helper()
	var err error
	if e.store, err = bolt.OpenTrust(e.path, bolt.Options{}); err != nil {
		e.t.Fatal(err)
	}
	cfg := e.config
	cfg.Store = e.store
	if e.wrap != nil {
		cfg.Store = e.wrap(e.store)
	}

	if e.svc, err = oauth.New(cfg); err != nil {
		e.t.Fatal(err)
	}
	mux := http.NewServeMux()
	e.svc.Routes(func(u string, h http.Handler) {
		p, err := url.Parse(u)
		if err != nil {
			e.t.Fatal(err)
		}
		mux.Handle(p.Path, h)
	})

	e.svc.Documents(func(u string, h http.Handler) {
		mux.Handle(strings.TrimPrefix(u, "https://fhir.test"), h)
	})
	e.server = httptest.NewTLSServer(mux)
}

func (e *env) stop() {
	e.server.Close()
	if err := e.store.Close(); err != nil {
		e.t.Error(err)
	}
	e.mu.Lock()
	defer e.mu.Unlock()

	log, err := json.Marshal(e.traces)
	if err != nil {
		e.t.Fatal(err)
	}

	for _, s := range e.secrets {
		if bytes.Contains(log, []byte(s)) {
			e.t.Errorf("a secret is in the log: %.20s…", s)
		}
	}
}

// restart closes everything and starts again on the same file.
func (e *env) restart() {
	e.server.Close()
	if err := e.store.Close(); err != nil {
		e.t.Fatal(err)
	}
	e.start()
}

func startCanary(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var accepted atomic.Int32
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			accepted.Add(1)
			_ = c.Close()
		}
	}()

	t.Cleanup(func() {
		_ = l.Close()
		<-done
		if n := accepted.Load(); n != 0 {
			t.Errorf("the canary was dialled %d times", n)
		}
	})

	return "http://" + l.Addr().String()
}

func (e *env) now() time.Time { return time.Unix(e.clock.Load(), 0) }

func (e *env) advance(d time.Duration) { e.clock.Add(int64(d / time.Second)) }

func (e *env) record(tr *trace.Trace) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.traces = append(e.traces, tr)
}

func (e *env) lastTrace() *trace.Trace {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.traces[len(e.traces)-1]
}

// secret remembers what must never come into a trace: whole tokens, and the
// signatures of JWTs.
func (e *env) secret(text string) string {
	e.mu.Lock()
	defer e.mu.Unlock()
	s := text
	if i := strings.LastIndexByte(text, '.'); i >= 0 {
		s = text[i+1:]
	}
	if len(s) >= 20 {
		e.secrets = append(e.secrets, s)
	}
	return text
}

// answer is what the server said.
type answer struct {
	status int
	header http.Header
	body   []byte
	closed bool // the connection, by the server's word
}

func (a answer) member(name string) any {
	var m map[string]any
	_ = json.Unmarshal(a.body, &m)
	return m[name]
}

func (a answer) text(name string) string {
	s, _ := a.member(name).(string)
	return s
}

// send makes any request and checks what holds for every answer.
func (e *env) send(method, path, contentType, body string, header http.Header) answer {
	e.t.Helper()
	req, err := http.NewRequest(method, e.server.URL+path, strings.NewReader(body))
	if err != nil {
		e.t.Fatal(err)
	}
	maps.Copy(req.Header, header)
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}

	res, err := e.server.Client().Do(req)
	if err != nil {
		e.t.Fatal(err)
	}
	defer res.Body.Close()

	b, err := io.ReadAll(res.Body)
	if err != nil {
		e.t.Fatal(err)
	}
	a := answer{res.StatusCode, res.Header, b, res.Close}
	e.checkAnswer(a)

	return a
}

func (e *env) checkAnswer(a answer) {
	e.t.Helper()
	if a.status >= 500 {
		e.t.Errorf("answered %d: %s", a.status, a.body)
	}

	for name, want := range map[string]string{
		"Content-Type":  "application/json",
		"Cache-Control": "no-store",
		"Pragma":        "no-cache",
	} {
		if got := a.header.Get(name); got != want {
			e.t.Errorf("%s: %q, want %q", name, got, want)
		}
	}

	if a.header.Get("Trace-Id") == "" {
		e.t.Error("no Trace-Id")
	}
	if len(a.header.Values("Access-Control-Allow-Origin")) > 0 {
		e.t.Error("CORS on an endpoint for machines")
	}
}

// dump is the whole file without used jti and what goes with them.
func (e *env) dump() string {
	e.t.Helper()
	var b bytes.Buffer
	if err := e.store.Dump(&b); err != nil {
		e.t.Fatal(err)
	}
	var kept []string

	for _, line := range strings.Split(b.String(), "\n") {
		if !strings.HasPrefix(line, `"jti"`) && !strings.HasPrefix(line, `"meta"`) {
			kept = append(kept, line)
		}
	}

	return strings.Join(kept, "\n")
}

// spends tells how a refusal must leave the used jti.
type spends bool

const (
	spendsNothing spends = false
	spendsJTI     spends = true
)

// refused sends something and asserts that it is refused with one of the
// statuses and codes and stores nothing. wantCodes are separated by spaces.
func (e *env) refused(name string, wantStatus int, wantCodes string, s spends, do func() answer) answer {
	e.t.Helper()
	before, jti := e.dump(), e.store.LiveJTI()
	a := do()
	if a.status != wantStatus {
		e.t.Errorf("%s: status %d, want %d: %s", name, a.status, wantStatus, a.body)
		return a
	}

	e.checkRefusal(name, a, wantCodes)
	if after := e.dump(); after != before {
		e.t.Errorf("%s: something was stored:\n%s\nbefore:\n%s", name, after, before)
	}
	if spent := e.store.LiveJTI() - jti; (spent == 1) != bool(s) || spent > 1 {
		e.t.Errorf("%s: %d jti spent, and it should be %v", name, spent, s)
	}

	return a
}

func (e *env) checkRefusal(name string, a answer, wantCodes string) {
	e.t.Helper()
	var m map[string]any
	if err := json.Unmarshal(a.body, &m); err != nil {
		e.t.Errorf("%s: %v in %s", name, err, a.body)
	}

	for k := range m {
		if k != "error" && k != "error_description" && k != "error_uri" {
			e.t.Errorf("%s: member %q in a refusal", name, k)
		}
	}

	if !slices.Contains(strings.Fields(wantCodes), a.text("error")) {
		e.t.Errorf("%s: error %q, want %s: %s", name, a.text("error"), wantCodes, a.body)
	}
	description := a.text("error_description")
	if description == "" || strings.ContainsFunc(description, func(c rune) bool {
		return c < 0x20 || c > 0x7e || c == '"' || c == '\\'
	}) {
		e.t.Errorf("%s: error_description %q", name, description)
	}

	if tr := e.lastTrace(); string(tr.Code) != a.text("error") || tr.Steps[len(tr.Steps)-1].Verdict != trace.Refused {
		e.t.Errorf("%s: trace with code %q ends in %+v", name, tr.Code, tr.Steps[len(tr.Steps)-1])
	}
}

// client issues a certificate of a community.
func (e *env) client(h *udaptest.Hierarchy, uri string) *udaptest.Client {
	e.t.Helper()
	return e.w.Client(e.t, h.Int, uri, nil)
}

func (e *env) registerBody(statement string, more map[string]any) string {
	body := map[string]any{"software_statement": e.secret(statement), "udap": "1"}
	for k, v := range more {
		body[k] = v
		if v == udaptest.Absent {
			delete(body, k)
		}
	}

	b, err := json.Marshal(body)
	if err != nil {
		e.t.Fatal(err)
	}
	return string(b)
}

// register posts a statement with these claims.
func (e *env) register(c *udaptest.Client, claims udaptest.Claims) answer {
	e.t.Helper()
	return e.send("POST", "/oauth/register", "application/json", e.registerBody(c.Sign(e.t, claims), nil), nil)
}

// registered is register for a client that must succeed; it returns the id.
func (e *env) registered(c *udaptest.Client, edit ...func(udaptest.Claims) udaptest.Claims) trace.ClientID {
	e.t.Helper()
	claims := c.Statement(e.now())
	for _, f := range edit {
		claims = f(claims)
	}
	a := e.register(c, claims)
	if a.status != 201 && a.status != 200 || a.text("client_id") == "" {
		e.t.Fatalf("registration: %d %s", a.status, a.body)
	}
	return trace.ClientID(a.text("client_id"))
}

func with(name string, value any) func(udaptest.Claims) udaptest.Claims {
	return func(c udaptest.Claims) udaptest.Claims { return c.With(name, value) }
}

// form is a good token request with an assertion.
func (e *env) form(assertion string) url.Values {
	return url.Values{
		"grant_type": {"client_credentials"}, "udap": {"1"}, "scope": {"system/Patient.rs"},
		"client_assertion_type": {
			"urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
		}, "client_assertion": {e.secret(assertion)},
	}
}

func (e *env) post(path string, form url.Values) answer {
	e.t.Helper()
	return e.send("POST", path, "application/x-www-form-urlencoded", form.Encode(), nil)
}

// token asks for a token with these claims and changed parameters.
func (e *env) token(c *udaptest.Client, claims udaptest.Claims, params ...string) answer {
	e.t.Helper()
	form := e.form(c.Sign(e.t, claims))
	set(form, params)
	a := e.post("/oauth/token", form)
	if text := a.text("access_token"); text != "" {
		e.secret(text)
	}
	return a
}

// set changes parameters, given as name, value, name, value; "-" removes one.
func set(form url.Values, params []string) {
	for i := 0; i+1 < len(params); i += 2 {
		form.Set(params[i], params[i+1])
		if params[i+1] == "-" {
			form.Del(params[i])
		}
	}
}

// issued is token for a request that must succeed.
func (e *env) issued(c *udaptest.Client, id trace.ClientID, params ...string) string {
	e.t.Helper()
	a := e.token(c, udaptest.Assertion(id, e.now()), params...)
	if a.status != 200 || a.text("access_token") == "" {
		e.t.Fatalf("token: %d %s", a.status, a.body)
	}
	return a.text("access_token")
}

// tell asks the introspection or revocation endpoint about a token.
func (e *env) tell(path string, c *udaptest.Client, id trace.ClientID, token string, params ...string) answer {
	e.t.Helper()
	form := e.form(c.Sign(e.t, udaptest.Assertion(id, e.now()).With("aud", issuer+path[len("/oauth"):])))
	form.Del("grant_type")
	form.Del("scope")
	form.Set("token", token)
	set(form, params)
	return e.post(path, form)
}

func (e *env) active(c *udaptest.Client, id trace.ClientID, token string) bool {
	e.t.Helper()
	a := e.tell("/oauth/introspect", c, id, token)
	if a.status != 200 {
		e.t.Fatalf("introspection: %d %s", a.status, a.body)
	}
	return a.member("active") == true
}

// bearer asks what an access token allows.
func (e *env) bearer(token string) (*oauth.Access, error) {
	return e.svc.Bearer(e.t.Context(), oauth.Presented{Scheme: "Bearer", Token: token})
}

// dataRequest is a request for data with these Authorization headers.
func dataRequest(authorization ...string) *http.Request {
	r := httptest.NewRequest("GET", udaptest.Base+"/Patient", nil)
	r.Header["Authorization"] = authorization
	return r
}

// dial opens a connection on which a test writes its request by itself.
func (e *env) dial() *tls.Conn {
	e.t.Helper()
	trust := e.server.Client().Transport.(*http.Transport).TLSClientConfig
	c, err := tls.Dial("tcp", e.server.Listener.Addr().String(), &tls.Config{
		RootCAs:    trust.RootCAs,
		ServerName: "example.com",
		MinVersion: tls.VersionTLS12,
	})
	if err != nil {
		e.t.Fatal(err)
	}

	e.t.Cleanup(func() { _ = c.Close() })
	return c
}
