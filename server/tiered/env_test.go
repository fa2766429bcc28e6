package tiered_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"path/filepath"
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
	"fhirdest.example/server/people/users"
	"fhirdest.example/server/tiered"
	"fhirdest.example/udap"
	"fhirdest.example/udap/trace"
	"fhirdest.example/udap/udaptest"
)

const (
	issuer  = "https://fhir.test/oauth"
	back    = "https://client1.test/cb"
	clients = "the-clients-state"
)

// env is an authorization server with a Bolt file, that sends people to identity
// providers in community B; its clients are of community A. Its pages are bare: they
// write what they were called with.
type env struct {
	t      *testing.T
	w      *udaptest.Env
	idp    *udaptest.IDP
	other  *udaptest.IDP // another provider, as trusted
	config tiered.Config
	users  []users.User
	path   string
	clock  atomic.Int64
	client trace.ClientID

	store  *bolt.Trust
	oauth  *oauth.Service
	tiered *tiered.Service
	server *httptest.Server

	mu     sync.Mutex
	traces []*trace.Trace
	person *oauth.Person // who signed in last
}

// newEnv starts one; edit may change the configuration first.
func newEnv(t *testing.T, edit ...func(*env)) *env {
	t.Helper()
	e := &env{
		t:    t,
		w:    udaptest.New(t, certs.P256),
		path: filepath.Join(t.TempDir(), "trust.bolt"),
	}
	e.clock.Store(e.w.Now.Unix())
	e.idp, e.other = e.newIDP(21), e.newIDP(22)

	ours := e.w.Client(t, e.w.B.Int, udaptest.Base, nil)
	for _, p := range []*udaptest.IDP{e.idp, e.other} {
		roots := x509.NewCertPool()
		roots.AddCert(p.Certificate())
		e.config.Providers = append(e.config.Providers, tiered.Provider{
			Base:      p.Base,
			Community: udaptest.CommunityB,
			Chain:     ours.Chain,
			Key:       ours.Key,
			Roots:     roots,
		})
	}

	e.config.Issuer, e.config.Now, e.config.Record = issuer, e.now, e.record
	e.config.Verifier = func(uri trace.CommunityURI) *udap.Verifier {
		if uri != udaptest.CommunityB {
			t.Errorf("members of %s are asked for", uri)
		}
		return &udap.Verifier{
			Communities: []*udap.Community{e.w.B.Community},
			Revocation:  e.w,
		}
	}

	e.users = []users.User{{
		Username:   "ana",
		Subject:    "subject-ana",
		FHIRUser:   "Patient/1",
		Identities: []users.Identity{{Issuer: e.idp.Base, Subject: "person-1"}},
	}}

	for _, f := range edit {
		f(e)
	}

	e.start()
	t.Cleanup(e.stop)
	e.client = e.register(e.w.A, udaptest.Client1URI, "openid udap user/Patient.rs")
	return e
}

// newIDP starts an identity provider of community B. Two of one number have one key.
func (e *env) newIDP(n int) *udaptest.IDP {
	return udaptest.NewIDP(e.t, func(base string) *udaptest.Client {
		return e.w.ClientWith(e.t, e.w.B.Int, base, udaptest.Key(e.t, certs.RSA2048, n), nil)
	}, e.w.Verifier(), e.now)
}

func (e *env) now() time.Time { return time.Unix(e.clock.Load(), 0) }

func (e *env) advance(d time.Duration) { e.clock.Add(int64(d / time.Second)) }

func (e *env) record(tr *trace.Trace) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.traces = append(e.traces, tr)
}

// decided returns the last trace of an action.
func (e *env) decided(action string) *trace.Trace {
	e.mu.Lock()
	defer e.mu.Unlock()
	for i := len(e.traces) - 1; i >= 0; i-- {
		if e.traces[i].Action == action {
			return e.traces[i]
		}
	}
	e.t.Fatalf("no trace of %s", action)
	return nil
}

func (e *env) must(err error) {
	e.t.Helper()
	if err != nil {
		e.t.Fatal(err)
	}
}

func (e *env) start() {
	var err error
	e.store, err = bolt.OpenTrust(e.path, bolt.Options{})
	e.must(err)

	system, err := scope.NewCatalogue([]string{"system/Patient.rs"}, nil, nil)
	e.must(err)
	personal, err := scope.NewCatalogue([]string{"openid", "udap", "user/Patient.rs"}, nil, nil)
	e.must(err)
	keys, err := idtoken.ParseKeys(udaptest.KeyPEM(e.t, "rsa2048", 1))
	e.must(err)
	e.oauth, err = oauth.New(oauth.Config{
		Base:        udaptest.Base,
		Issuer:      issuer,
		Verifier:    e.w.Verifier(),
		Store:       e.store,
		Scopes:      system,
		Personal:    personal,
		Explain:     oauth.ExplainClient,
		Record:      e.record,
		Now:         e.now,
		Interaction: e,
		IDTokens:    keys,
	})
	e.must(err)

	directory, err := users.New(e.users)
	e.must(err)
	cfg := e.config
	cfg.Store = bolt.Trips{Trust: e.store}
	cfg.Users = func() *users.Directory { return directory }
	e.tiered, err = tiered.New(cfg)
	e.must(err)
	e.tiered.Use(e.oauth, e)

	mux := http.NewServeMux()
	mount := func(u string, h http.Handler) { mux.Handle(strings.TrimPrefix(u, "https://fhir.test"), h) }
	e.oauth.Routes(mount)
	e.tiered.Routes(mount)
	e.server = httptest.NewTLSServer(mux)
}

func (e *env) stop() {
	e.server.Close()
	e.must(e.store.Close())
}

func (e *env) restart() {
	e.stop()
	e.start()
}

// Authorize implements oauth.Interaction.
func (e *env) Authorize(w http.ResponseWriter, r *http.Request, req *oauth.AuthorizationRequest) {
	if !e.tiered.Begin(w, r, req) {
		_, _ = io.WriteString(w, "sign in here")
	}
}

// Refuse implements oauth.Interaction and tiered.People.
func (e *env) Refuse(w http.ResponseWriter, _ *http.Request, refusal *oauth.Refusal, _ *trace.Trace) {
	for name, values := range refusal.Header {
		w.Header()[name] = values
	}
	http.Error(w, refusal.Error(), refusal.Status)
}

// Reach implements oauth.Interaction.
func (e *env) Reach(context.Context, *oauth.Grant) (oauth.Reach, error) {
	return oauth.Reach{
		Enabled:     true,
		AllPatients: true,
	}, nil
}

// SignedIn implements tiered.People.
func (e *env) SignedIn(w http.ResponseWriter, _ *http.Request, p oauth.Person, query string, _ *trace.Trace) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.person = &p
	_, err := io.WriteString(w, "consent for "+p.Subject+" on "+query)
	return err
}

// who returns who signed in since it was last called.
func (e *env) who() *oauth.Person {
	e.mu.Lock()
	defer e.mu.Unlock()
	p := e.person
	e.person = nil
	return p
}

// register registers a client for people.
func (e *env) register(h *udaptest.Hierarchy, uri, scope string) trace.ClientID {
	e.t.Helper()
	c := e.w.Client(e.t, h.Int, uri, nil)
	statement := c.Sign(e.t, c.Interactive(e.now()).With("scope", scope))
	body, err := json.Marshal(map[string]string{"software_statement": statement, "udap": "1"})
	e.must(err)
	res, err := e.browser().Post(issuer+"/register", "application/json", bytes.NewReader(body))
	e.must(err)
	defer res.Body.Close()

	text, err := io.ReadAll(res.Body)
	e.must(err)
	var answer struct {
		ID trace.ClientID `json:"client_id"`
	}
	if err := json.Unmarshal(text, &answer); err != nil || answer.ID == "" {
		e.t.Fatalf("registration: %s %s", res.Status, text)
	}

	return answer.ID
}

// request is an authorization request that names a provider; edit may change it.
func (e *env) request(idp string, edit ...func(url.Values)) string {
	v := url.Values{
		"response_type":         {"code"},
		"client_id":             {string(e.client)},
		"redirect_uri":          {back},
		"scope":                 {"openid udap user/Patient.rs"},
		"state":                 {clients},
		"code_challenge":        {"E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"},
		"code_challenge_method": {"S256"},
		"idp":                   {idp},
	}

	for _, f := range edit {
		f(v)
	}
	return issuer + "/authorize?" + v.Encode()
}

// browser is a person's: it keeps cookies, and follows no redirect by itself.
func (e *env) browser() *http.Client {
	jar, err := cookiejar.New(nil)
	e.must(err)
	return &http.Client{
		Jar: jar,
		Transport: &http.Transport{
			TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, // the name is not the test certificate's
			DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
				if strings.HasPrefix(address, "fhir.test:") {
					address = e.server.Listener.Addr().String()
				}
				return (&net.Dialer{}).DialContext(ctx, network, address)
			},
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// page is an answer to a browser.
type page struct {
	status   int
	location string
	body     string
}

func (e *env) get(b *http.Client, target string) page {
	e.t.Helper()
	res, err := b.Get(target)
	e.must(err)
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	e.must(err)
	if res.StatusCode >= 500 && res.StatusCode != http.StatusServiceUnavailable {
		e.t.Errorf("%s: %s %s", target, res.Status, body)
	}
	return page{res.StatusCode, res.Header.Get("Location"), string(body)}
}

// depart begins a trip and returns the provider's URL.
func (e *env) depart(b *http.Client, edit ...func(url.Values)) string {
	e.t.Helper()
	p := e.get(b, e.request(e.idp.Base, edit...))
	if !strings.HasPrefix(p.location, e.idp.Base+"/authorize?") {
		e.t.Fatalf("not sent to the provider: %+v", p)
	}
	return p.location
}

// trip goes to the provider and comes back; it returns the URL of the answer.
func (e *env) trip(b *http.Client, edit ...func(url.Values)) string {
	e.t.Helper()
	p := e.get(b, e.depart(b, edit...))
	if !strings.HasPrefix(p.location, issuer+"/callback/") {
		e.t.Fatalf("not sent back: %+v", p)
	}
	return p.location
}

// told returns the error that the client gets by redirect, with its own state.
func (e *env) told(p page) string {
	e.t.Helper()
	u, err := url.Parse(p.location)
	e.must(err)
	q := u.Query()
	if !strings.HasPrefix(p.location, back+"?") || q.Get("state") != clients || q.Get("iss") != issuer ||
		q.Has("code") {
		return fmt.Sprintf("no error for the client: %+v", p)
	}
	return q.Get("error")
}
