package oauth_test

import (
	"bytes"
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
	"fhirdest.example/udap/trace"
	"fhirdest.example/udap/udaptest"
)

const issuer = "https://fhir.test/oauth"

// rig is a whole authorization server over TLS with a Bolt file, in a world of
// trust. When the test ends it asserts that no secret came into a trace, that
// nothing was answered with a 5xx and that nobody dialled the canary.
type rig struct {
	t      *testing.T
	w      *udaptest.World
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

// newRig starts one; edit may change the configuration first.
func newRig(t *testing.T, edit ...func(*oauth.Config)) *rig {
	t.Helper()
	return newRigOf(t, "p256", edit...)
}

func newRigOf(t *testing.T, kind certs.KeyKind, edit ...func(*oauth.Config)) *rig {
	t.Helper()
	return newRigWith(t, &rig{w: udaptest.New(t, kind)}, edit...)
}

// newRigWith starts a rig that may have its world already.
func newRigWith(t *testing.T, r *rig, edit ...func(*oauth.Config)) *rig {
	t.Helper()
	if r.w == nil {
		r.w = udaptest.New(t, "p256")
	}
	r.t, r.path = t, filepath.Join(t.TempDir(), "trust.bolt")
	r.clock.Store(r.w.Now.Unix())
	r.canary = startCanary(t)
	r.config = oauth.Config{
		Base:     udaptest.Base,
		Issuer:   issuer,
		Verifier: r.w.Verifier(),
		Explain:  oauth.ExplainClient,
		Now:      r.now,
		Record:   r.record,
		Scopes: catalogue(t, "system/Patient.rs", "system/Observation.rs", "system/Patient.read",
			"system/Condition.rs"),
		Personal: catalogue(t, "openid", "user/Patient.rs", "patient/Patient.rs"),
	}

	for _, f := range edit {
		f(&r.config)
	}
	r.start()
	t.Cleanup(r.stop)

	return r
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
func (r *rig) start() {
	r.t.Helper()
	var err error
	if r.store, err = bolt.OpenTrust(r.path, bolt.Options{}); err != nil {
		r.t.Fatal(err)
	}
	cfg := r.config
	cfg.Store = r.store
	if r.wrap != nil {
		cfg.Store = r.wrap(r.store)
	}

	if r.svc, err = oauth.New(cfg); err != nil {
		r.t.Fatal(err)
	}
	mux := http.NewServeMux()
	r.svc.Routes(func(u string, h http.Handler) {
		p, err := url.Parse(u)
		if err != nil {
			r.t.Fatal(err)
		}
		mux.Handle(p.Path, h)
	})

	r.svc.Documents(func(u string, h http.Handler) {
		mux.Handle(strings.TrimPrefix(u, "https://fhir.test"), h)
	})
	r.server = httptest.NewTLSServer(mux)
}

func (r *rig) stop() {
	r.server.Close()
	if err := r.store.Close(); err != nil {
		r.t.Error(err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()

	log, err := json.Marshal(r.traces)
	if err != nil {
		r.t.Fatal(err)
	}

	for _, s := range r.secrets {
		if bytes.Contains(log, []byte(s)) {
			r.t.Errorf("a secret is in the log: %.20s…", s)
		}
	}
}

// restart closes everything and starts again on the same file.
func (r *rig) restart() {
	r.server.Close()
	if err := r.store.Close(); err != nil {
		r.t.Fatal(err)
	}
	r.start()
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

func (r *rig) now() time.Time { return time.Unix(r.clock.Load(), 0) }

func (r *rig) advance(d time.Duration) { r.clock.Add(int64(d / time.Second)) }

func (r *rig) record(tr *trace.Trace) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.traces = append(r.traces, tr)
}

func (r *rig) lastTrace() *trace.Trace {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.traces[len(r.traces)-1]
}

// secret remembers what must never come into a trace: whole tokens, and the
// signatures of JWTs.
func (r *rig) secret(text string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := text
	if i := strings.LastIndexByte(text, '.'); i >= 0 {
		s = text[i+1:]
	}
	if len(s) >= 20 {
		r.secrets = append(r.secrets, s)
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
func (r *rig) send(method, path, contentType, body string, header http.Header) answer {
	r.t.Helper()
	req, err := http.NewRequest(method, r.server.URL+path, strings.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	maps.Copy(req.Header, header)
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}

	res, err := r.server.Client().Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer res.Body.Close()

	b, err := io.ReadAll(res.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	a := answer{res.StatusCode, res.Header, b, res.Close}
	r.checkAnswer(a)

	return a
}

func (r *rig) checkAnswer(a answer) {
	r.t.Helper()
	if a.status >= 500 {
		r.t.Errorf("answered %d: %s", a.status, a.body)
	}

	for name, want := range map[string]string{
		"Content-Type":  "application/json",
		"Cache-Control": "no-store",
		"Pragma":        "no-cache",
	} {
		if got := a.header.Get(name); got != want {
			r.t.Errorf("%s: %q, want %q", name, got, want)
		}
	}

	if a.header.Get("Trace-Id") == "" {
		r.t.Error("no Trace-Id")
	}
	if len(a.header.Values("Access-Control-Allow-Origin")) > 0 {
		r.t.Error("CORS on an endpoint for machines")
	}
}

// dump is the whole file without used jti and what goes with them.
func (r *rig) dump() string {
	r.t.Helper()
	var b bytes.Buffer
	if err := r.store.Dump(&b); err != nil {
		r.t.Fatal(err)
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
func (r *rig) refused(name string, wantStatus int, wantCodes string, s spends, do func() answer) answer {
	r.t.Helper()
	before, jti := r.dump(), r.store.LiveJTI()
	a := do()
	if a.status != wantStatus {
		r.t.Errorf("%s: status %d, want %d: %s", name, a.status, wantStatus, a.body)
		return a
	}

	r.checkRefusal(name, a, wantCodes)
	if after := r.dump(); after != before {
		r.t.Errorf("%s: something was stored:\n%s\nbefore:\n%s", name, after, before)
	}
	if spent := r.store.LiveJTI() - jti; (spent == 1) != bool(s) || spent > 1 {
		r.t.Errorf("%s: %d jti spent, and it should be %v", name, spent, s)
	}

	return a
}

func (r *rig) checkRefusal(name string, a answer, wantCodes string) {
	r.t.Helper()
	var m map[string]any
	if err := json.Unmarshal(a.body, &m); err != nil {
		r.t.Errorf("%s: %v in %s", name, err, a.body)
	}

	for k := range m {
		if k != "error" && k != "error_description" && k != "error_uri" {
			r.t.Errorf("%s: member %q in a refusal", name, k)
		}
	}

	if !slices.Contains(strings.Fields(wantCodes), a.text("error")) {
		r.t.Errorf("%s: error %q, want %s: %s", name, a.text("error"), wantCodes, a.body)
	}
	description := a.text("error_description")
	if description == "" || strings.ContainsFunc(description, func(c rune) bool {
		return c < 0x20 || c > 0x7e || c == '"' || c == '\\'
	}) {
		r.t.Errorf("%s: error_description %q", name, description)
	}

	if tr := r.lastTrace(); string(tr.Code) != a.text("error") || tr.Steps[len(tr.Steps)-1].Verdict != trace.Refused {
		r.t.Errorf("%s: trace with code %q ends in %+v", name, tr.Code, tr.Steps[len(tr.Steps)-1])
	}
}

// client issues a certificate of a community.
func (r *rig) client(h *udaptest.Hierarchy, uri string) *udaptest.Client {
	r.t.Helper()
	return r.w.Client(r.t, h.Int, uri, nil)
}

func (r *rig) registerBody(statement string, more map[string]any) string {
	body := map[string]any{"software_statement": r.secret(statement), "udap": "1"}
	for k, v := range more {
		body[k] = v
		if v == udaptest.Absent {
			delete(body, k)
		}
	}

	b, err := json.Marshal(body)
	if err != nil {
		r.t.Fatal(err)
	}
	return string(b)
}

// register posts a statement with these claims.
func (r *rig) register(c *udaptest.Client, claims udaptest.Claims) answer {
	r.t.Helper()
	return r.send("POST", "/oauth/register", "application/json", r.registerBody(c.Sign(r.t, claims), nil), nil)
}

// registered is register for a client that must succeed; it returns the id.
func (r *rig) registered(c *udaptest.Client, edit ...func(udaptest.Claims) udaptest.Claims) trace.ClientID {
	r.t.Helper()
	claims := c.Statement(r.now())
	for _, f := range edit {
		claims = f(claims)
	}
	a := r.register(c, claims)
	if a.status != 201 && a.status != 200 || a.text("client_id") == "" {
		r.t.Fatalf("registration: %d %s", a.status, a.body)
	}
	return trace.ClientID(a.text("client_id"))
}

func with(name string, value any) func(udaptest.Claims) udaptest.Claims {
	return func(c udaptest.Claims) udaptest.Claims { return c.With(name, value) }
}

// form is a good token request with an assertion.
func (r *rig) form(assertion string) url.Values {
	return url.Values{
		"grant_type": {"client_credentials"}, "udap": {"1"}, "scope": {"system/Patient.rs"},
		"client_assertion_type": {
			"urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
		}, "client_assertion": {r.secret(assertion)},
	}
}

func (r *rig) post(path string, form url.Values) answer {
	r.t.Helper()
	return r.send("POST", path, "application/x-www-form-urlencoded", form.Encode(), nil)
}

// token asks for a token with these claims and changed parameters.
func (r *rig) token(c *udaptest.Client, claims udaptest.Claims, params ...string) answer {
	r.t.Helper()
	form := r.form(c.Sign(r.t, claims))
	set(form, params)
	a := r.post("/oauth/token", form)
	if text := a.text("access_token"); text != "" {
		r.secret(text)
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
func (r *rig) issued(c *udaptest.Client, id trace.ClientID, params ...string) string {
	r.t.Helper()
	a := r.token(c, udaptest.Assertion(id, r.now()), params...)
	if a.status != 200 || a.text("access_token") == "" {
		r.t.Fatalf("token: %d %s", a.status, a.body)
	}
	return a.text("access_token")
}

// tell asks the introspection or revocation endpoint about a token.
func (r *rig) tell(path string, c *udaptest.Client, id trace.ClientID, token string, params ...string) answer {
	r.t.Helper()
	form := r.form(c.Sign(r.t, udaptest.Assertion(id, r.now()).With("aud", issuer+path[len("/oauth"):])))
	form.Del("grant_type")
	form.Del("scope")
	form.Set("token", token)
	set(form, params)
	return r.post(path, form)
}

func (r *rig) active(c *udaptest.Client, id trace.ClientID, token string) bool {
	r.t.Helper()
	a := r.tell("/oauth/introspect", c, id, token)
	if a.status != 200 {
		r.t.Fatalf("introspection: %d %s", a.status, a.body)
	}
	return a.member("active") == true
}
