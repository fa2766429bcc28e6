package client

import (
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"fhirdest.example/certs"
	"fhirdest.example/udap"
	"fhirdest.example/udap/fetch"
	"fhirdest.example/udap/trace"
)

// epoch is what every clock in these tests says unless moved.
var epoch = time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)

const (
	communityA = "urn:example:community:a"
	communityB = "urn:example:community:b"
	clientURI  = "https://client.example/app#one"
)

// env is two trust communities, a web of TLS, a lists' server and one small
// but real destination that judges with a real udap.Verifier.
type env struct {
	a, b   *certs.Community
	tlsCA  *certs.CA
	lists  *httptest.Server
	roots  *x509.CertPool
	dest   *destination
	client *certs.Identity
}

var makeAuthorities = sync.OnceValues(func() (a, b *certs.Community) {
	plan := certs.CommunityPlan{Name: "A", Key: "rsa2048", NotBefore: epoch.Add(-time.Hour), Life: 24 * 365 * time.Hour}
	a, errA := certs.NewCommunity(plan)
	plan.Name = "B"
	b, errB := certs.NewCommunity(plan)
	if errA != nil || errB != nil {
		panic(fmt.Sprint(errA, errB))
	}

	return a, b
})

func newEnv(t *testing.T) *env {
	t.Helper()
	w := &env{roots: x509.NewCertPool()}
	w.a, w.b = makeAuthorities()
	w.lists = httptest.NewServer(http.HandlerFunc(w.serveList))
	t.Cleanup(w.lists.Close)
	key := must(certs.NewKey("p256"))
	w.tlsCA = must(certs.NewRoot(certs.Template{
		CommonName: "TLS",
		NotBefore:  epoch.Add(-time.Hour),
		NotAfter:   epoch.AddDate(1, 0, 0),
	}, key))

	w.roots.AddCert(w.tlsCA.Cert)
	w.dest = newDestination(t, w)
	w.client = w.leaf(w.a, "p256", clientURI)
	return w
}

// rsaKey is one for all: making one takes longer than most tests.
var rsaKey = sync.OnceValue(func() crypto.Signer { return must(certs.NewKey("rsa2048")) })

func keyOf(kind certs.KeyKind) crypto.Signer {
	if kind == "rsa2048" {
		return rsaKey()
	}
	return must(certs.NewKey(kind))
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// leaf issues a member's certificate with the given URIs.
func (w *env) leaf(c *certs.Community, kind certs.KeyKind, uris ...string) *certs.Identity {
	return w.leafWith(c, kind, func(*certs.Template) {}, uris...)
}

func (w *env) leafWith(
	c *certs.Community, kind certs.KeyKind, change func(*certs.Template), uris ...string,
) *certs.Identity {
	key := keyOf(kind)
	tmpl := certs.Template{
		CommonName: "member",
		URIs:       uris,
		NotBefore:  epoch.Add(-time.Hour),
		NotAfter:   epoch.AddDate(0, 6, 0),
		CRL:        []string{w.lists.URL + "/" + c.Issuing.Cert.Subject.CommonName[:1] + "/issuing.crl"},
	}
	change(&tmpl)

	cert := must(c.Issuing.Issue(tmpl, key.Public()))
	return &certs.Identity{Chain: []*x509.Certificate{cert, c.Issuing.Cert}, Key: key}
}

func (w *env) serveList(rw http.ResponseWriter, r *http.Request) {
	ca := w.a.Issuing
	switch r.URL.Path {
	case "/B/issuing.crl":
		ca = w.b.Issuing
	case "/A/root.crl":
		ca = w.a.Root
	}

	_, _ = rw.Write(must(ca.CRL(certs.CRLTemplate{
		Number:     1,
		ThisUpdate: epoch.Add(-time.Minute),
		NextUpdate: epoch.Add(24 * time.Hour),
	})))
}

// verifier believes the communities given; the issuing CA's own status comes
// from a configured list, as it has no distribution point here.
func (w *env) verifier(now func() time.Time, communities ...*udap.Community) *udap.Verifier {
	src := must(fetch.New(fetch.Config{
		Allow: []string{w.lists.URL}, Now: now,
		Configured: []fetch.Configured{{Place: w.lists.URL + "/A/root.crl"}},
	}))
	return &udap.Verifier{Communities: communities, Revocation: src}
}

func (w *env) communityA() *udap.Community {
	return &udap.Community{URI: communityA, Name: "A", Anchors: []*x509.Certificate{w.a.Root.Cert}}
}

func (w *env) communityB() *udap.Community {
	return &udap.Community{URI: communityB, Name: "B", Anchors: []*x509.Certificate{w.b.Root.Cert}}
}

// config is a good originator's; a test changes one thing.
func (w *env) config() Config {
	now := func() time.Time { return epoch }
	return Config{
		Base:      w.dest.base,
		Community: communityA,
		Chain:     w.client.Chain,
		Key:       w.client.Key,
		Verifier:  w.verifier(now, w.communityA()),
		TLSRoots:  w.roots,
		Now:       now,
		Timeout:   2 * time.Minute,
	}
}

// destination is a small one: it judges statements and assertions for real and
// keeps registrations in a map.
type destination struct {
	*httptest.Server
	t        *testing.T
	base     string // https://localhost:PORT/acme/fhir
	issuer   string // https://localhost:PORT/acme/oauth
	id       *certs.Identity
	verifier *udap.Verifier

	change       func(doc map[string]any) // of the discovery document
	changeClaims func(claims map[string]any)
	answer       map[string]http.HandlerFunc // in place of the usual answer, by path

	mu       sync.Mutex
	clients  map[trace.ClientID]udap.Binding
	scopes   map[trace.ClientID]string
	requests []string // method and path of each
}

func newDestination(t *testing.T, w *env) *destination {
	d := &destination{
		t:       t,
		answer:  map[string]http.HandlerFunc{},
		clients: map[trace.ClientID]udap.Binding{},
		scopes:  map[trace.ClientID]string{},
	}
	d.Server = httptest.NewUnstartedServer(d)
	d.Listener.(*net.TCPListener).Addr()

	_, port, _ := net.SplitHostPort(d.Listener.Addr().String())
	origin := "https://localhost:" + port
	d.base, d.issuer = origin+"/acme/fhir", origin+"/acme/oauth"
	d.id = w.leaf(w.a, "rsa2048", d.base)
	d.TLS = &tls.Config{Certificates: []tls.Certificate{w.web("localhost")}}
	d.verifier = w.verifier(func() time.Time { return epoch }, w.communityA(), w.communityB())
	d.StartTLS()
	t.Cleanup(d.Close)

	return d
}

// web issues a web server's certificate.
func (w *env) web(name string) tls.Certificate {
	key := must(certs.NewKey("p256"))
	cert := must(w.tlsCA.Issue(certs.Template{
		CommonName: name,
		DNS:        []string{name},
		NotBefore:  epoch.Add(-time.Hour),
		NotAfter:   epoch.AddDate(0, 1, 0),
	}, key.Public()))
	id := certs.Identity{Chain: []*x509.Certificate{cert}, Key: key}
	return id.TLS()
}

func (d *destination) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	d.mu.Lock()
	d.requests = append(d.requests, r.Method+" "+r.URL.Path)
	d.mu.Unlock()
	if r.ProtoMajor != 1 || r.Header.Get("Accept-Encoding") != "" {
		d.t.Errorf("%s %s: protocol %s, Accept-Encoding %q", r.Method, r.URL.Path, r.Proto,
			r.Header.Get("Accept-Encoding"))
	}
	w.Header().Set("Date", epoch.Format(http.TimeFormat))

	w.Header().Set("Trace-Id", "feed")
	handlers := map[string]http.HandlerFunc{
		"/acme/fhir/.well-known/udap": d.discovery, "/acme/oauth/register": d.register,
		"/acme/oauth/token": d.token, "/acme/fhir/Patient/1": d.patient,
	}
	maps.Copy(handlers, d.answer)
	h, ok := handlers[r.URL.Path]
	if !ok {
		h = http.NotFound
	}

	h(w, r)
}

func (d *destination) seen() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.requests)
}

func (d *destination) discovery(w http.ResponseWriter, r *http.Request) {
	if c := r.URL.Query().Get("community"); c != "" && c != communityA {
		w.WriteHeader(http.StatusNoContent)
		return
	}

	claims := map[string]any{
		"iss": d.base, "sub": d.base, "jti": "m1", "iat": epoch.Unix(), "exp": epoch.Add(time.Hour).Unix(),
		"registration_endpoint": d.issuer + "/register", "token_endpoint": d.issuer + "/token",
	}
	if d.changeClaims != nil {
		d.changeClaims(claims)
	}
	doc := map[string]any{
		"udap_versions_supported": []string{"1"}, "udap_profiles_supported": []string{"udap_dcr", "udap_authn", "udap_authz"},
		"grant_types_supported": []string{"client_credentials"}, "scopes_supported": []string{"system/Patient.rs"},
		"udap_authorization_extensions_supported": []string{"hl7-b2b"}, "udap_authorization_extensions_required": []string{"hl7-b2b"},
		"udap_certifications_supported": []string{}, "udap_certifications_required": []string{},
		"token_endpoint_auth_methods_supported":                  []string{"private_key_jwt"},
		"token_endpoint_auth_signing_alg_values_supported":       []string{"RS256", "ES256"},
		"registration_endpoint_jwt_signing_alg_values_supported": []string{"RS256", "ES256"},
		"registration_endpoint":                                  d.issuer + "/register", "token_endpoint": d.issuer +
			"/token",
	}

	compact, err := udap.Sign(d.id.Key, d.id.Chain, "RS256", must(json.Marshal(claims)))
	if err != nil {
		d.t.Error(err)
	}
	doc["signed_metadata"] = compact
	if d.change != nil {
		d.change(doc)
	}

	reply(w, http.StatusOK, doc)
}

func reply(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}

func oauthError(w http.ResponseWriter, status int, err error) {
	e := trace.Error{Code: "server_error", Detail: err.Error()}
	if u, ok := err.(*trace.Error); ok {
		e = *u
	}
	reply(w, status, map[string]string{
		"error":             string(e.Code),
		"error_description": e.Detail,
		"error_uri":         "https://localhost/decisions/feed",
	})
}

func (d *destination) register(w http.ResponseWriter, r *http.Request) {
	var body struct {
		Statement string `json:"software_statement"`
		UDAP      string `json:"udap"`
	}
	data, _ := io.ReadAll(r.Body)
	if err := json.Unmarshal(data, &body); err != nil || body.UDAP != "1" ||
		r.Header.Get("Content-Type") != "application/json" {
		d.t.Errorf("registration body %q: %v", data, err)
	}

	tr := trace.NewTrace("register", epoch)
	s, err := d.verifier.Statement(r.Context(), body.Statement, udap.Expect{
		Now:      epoch,
		Audience: d.issuer + "/register",
	}, tr)
	if err != nil {
		oauthError(w, http.StatusBadRequest, err)
		return
	}

	id, status := d.keep(s)
	reply(w, status, map[string]any{
		"client_id": id, "software_statement": body.Statement, "grant_types": append([]string{},
			s.Metadata.GrantTypes...),
		"scope": strings.Join(s.Metadata.Scope,
			" "), "client_name": s.Metadata.ClientName, "token_endpoint_auth_method": "private_key_jwt",
	})
}

func (d *destination) keep(s *udap.SoftwareStatement) (trace.ClientID, int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for id, b := range d.clients {
		if b.Client == s.Client && b.Community == s.Community.URI {
			d.scopes[id] = strings.Join(s.Metadata.Scope, " ")
			if s.Metadata.Cancels() {
				delete(d.clients, id)
			}
			return id, http.StatusOK
		}
	}

	id := trace.ClientID(fmt.Sprintf("client-%d", len(d.scopes)+1))
	d.clients[id] = udap.Binding{Community: s.Community.URI, Client: s.Client}
	d.scopes[id] = strings.Join(s.Metadata.Scope, " ")
	return id, http.StatusCreated
}

func (d *destination) token(w http.ResponseWriter, r *http.Request) {
	if err := r.ParseForm(); err != nil || r.Header.Get("Authorization") != "" || r.PostForm.Has("client_secret") ||
		r.PostForm.Get("udap") != "1" {
		d.t.Errorf("token request %v, header %v: %v", r.PostForm, r.Header, err)
	}
	lookup := func(id trace.ClientID) (udap.Binding, bool) {
		d.mu.Lock()
		defer d.mu.Unlock()
		b, ok := d.clients[id]
		return b, ok
	}

	tr := trace.NewTrace("token", epoch)
	ant, err := d.verifier.Assertion(r.Context(), r.PostForm.Get("client_assertion"), "", udap.Expect{
		Now:      epoch,
		Audience: d.issuer + "/token",
	}, lookup, tr)
	if err == nil && ant.Extensions["hl7-b2b"] == nil {
		err = &trace.Error{Code: trace.InvalidGrant, Detail: "hl7-b2b is missing"}
	}
	if err != nil {
		oauthError(w, http.StatusBadRequest, err)
		return
	}

	reply(w, http.StatusOK, map[string]any{
		"access_token": "sesame",
		"token_type":   "Bearer",
		"expires_in":   3600,
		"scope":        r.PostForm.Get("scope"),
	})
}

func (d *destination) patient(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Authorization") != "Bearer sesame" {
		w.Header().Set("WWW-Authenticate", `Bearer error="invalid_token"`)
		w.Header().Set("Content-Type", "application/fhir+json")
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = io.WriteString(w,
			`{"resourceType":"OperationOutcome","issue":[{"severity":"error","code":"login","diagnostics":"no token"}]}`)
		return
	}
	w.Header().Set("Content-Type", "application/fhir+json")
	_, _ = io.WriteString(w, `{"resourceType":"Patient","id":"1"}`)
}
