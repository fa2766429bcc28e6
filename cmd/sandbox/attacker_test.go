package main

import (
	"bytes"
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"fhirdest.example/certs"
	"fhirdest.example/cmd/internal/testbed"
	"fhirdest.example/udap/trace"
	"fhirdest.example/udap/udaptest"
)

// attacker is a stranger's test program: it knows the manifest and nothing
// else, and signs and writes whatever bytes it likes.
type attacker struct {
	t     *testing.T
	dir   string
	m     *testbed.Manifest
	http  map[string]*http.Client // by role: public, delegate, private
	oauth string                  // the issuer, as the metadata has it

	mu     sync.Mutex
	secret []string // texts that no log may have
}

func newAttacker(t *testing.T, dir string, m *testbed.Manifest) *attacker {
	t.Helper()
	a := &attacker{
		t:     t,
		dir:   dir,
		m:     m,
		http:  map[string]*http.Client{},
		oauth: strings.TrimSuffix(m.PublicBase, "/fhir") + "/oauth",
	}

	web, err := certs.LoadCertificates(dir + "/" + m.TLSCA)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	for _, c := range web {
		roots.AddCert(c)
	}

	private, err := url.Parse(m.PrivateBase)
	if err != nil {
		t.Fatal(err)
	}

	for role, name := range map[string]string{
		"public":   "localhost",
		"delegate": "delegate.localhost",
		"private":  private.Hostname(),
	} {
		address := m.Addresses[role]
		a.http[role] = &http.Client{
			Timeout:       2 * time.Minute,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
			Transport: &http.Transport{
				TLSClientConfig: &tls.Config{RootCAs: roots, ServerName: name, NextProtos: []string{"http/1.1"}},
				DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
					var d net.Dialer
					return d.DialContext(ctx, network, address)
				},
			},
		}

		t.Cleanup(a.http[role].CloseIdleConnections)
	}

	return a
}

// ca is the authority that issues to the members of a community.
func (a *attacker) ca(i int) *certs.CA {
	a.t.Helper()
	c := a.m.Communities[i]
	ca, err := certs.LoadCA(a.dir+"/"+c.Issuer.Cert, a.dir+"/"+c.Issuer.Key)
	if err != nil {
		a.t.Fatal(err)
	}
	return ca
}

// leaf mints a client; edit, when not nil, may change the template.
func (a *attacker) leaf(community int, uri string, key crypto.Signer, edit func(*certs.Template)) *udaptest.Client {
	a.t.Helper()
	tpl := certs.Template{
		CommonName: "attacker",
		URIs:       []string{uri},
		NotBefore:  time.Now().Add(-time.Hour),
		NotAfter:   time.Now().Add(24 * time.Hour),
		CRL:        []string{a.m.Communities[community].CRL},
	}

	if edit != nil {
		edit(&tpl)
	}
	ca := a.ca(community)
	cert, err := ca.Issue(tpl, key.Public())
	if err != nil {
		a.t.Fatal(err)
	}

	return &udaptest.Client{URI: uri, Key: key, Chain: ca.Chain(cert)}
}

// answer is what came back.
type answer struct {
	status int
	header http.Header
	body   string
	json   map[string]any
}

func (r answer) code() string        { s, _ := r.json["error"].(string); return s }
func (r answer) description() string { s, _ := r.json["error_description"].(string); return s }
func (r answer) text(name string) string {
	s, _ := r.json[name].(string)
	return s
}

// send sends a request to a path under the authorization server.
func (a *attacker) send(role, method, target string, body io.Reader, header ...string) answer {
	a.t.Helper()
	if !strings.HasPrefix(target, "https:") {
		target = a.oauth + target
	}
	req, err := http.NewRequest(method, target, body)
	if err != nil {
		a.t.Fatal(err)
	}

	for i := 0; i+1 < len(header); i += 2 {
		if header[i] == "Host" {
			req.Host = header[i+1]
			continue
		}
		req.Header.Add(header[i], header[i+1])
	}

	res, err := a.http[role].Do(req)
	if err != nil {
		a.t.Fatalf("%s %s: %v", method, target, err)
	}
	defer res.Body.Close()

	data, err := io.ReadAll(res.Body)
	if err != nil {
		a.t.Fatalf("%s %s: %v", method, target, err)
	}
	out := answer{status: res.StatusCode, header: res.Header, body: string(data)}
	_ = json.Unmarshal(data, &out.json) // judged by who expects JSON
	a.keep(out.text("access_token"))
	if out.status >= 500 {
		a.t.Errorf("%s %s: %d %s", method, target, out.status, out.body)
	}

	return out
}

func (a *attacker) keep(secret string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(secret) > 20 {
		a.secret = append(a.secret, secret)
	}
}

// sign signs claims as the client would, and notes the signature as a secret.
func (a *attacker) sign(c *udaptest.Client, claims udaptest.Claims) string {
	a.t.Helper()
	compact := c.Sign(a.t, claims)
	a.keep(compact[strings.LastIndexByte(compact, '.')+1:])
	return compact
}

// refused judges a refusal as every client sees it, and the trace behind it.
func (a *attacker) refused(name string, r answer, code, check string) {
	a.t.Helper()
	if r.status != http.StatusBadRequest || r.code() != code || !strings.HasPrefix(r.description(), check+": ") {
		a.t.Errorf("%s: %d %s, want %s by %s", name, r.status, r.body, code, check)
		return
	}

	for member := range r.json {
		if !slices.Contains([]string{"error", "error_description", "error_uri"}, member) {
			a.t.Errorf("%s: the body has %q", name, member)
		}
	}

	if r.header.Get("Cache-Control") != "no-store" || r.header.Get("Content-Type") != "application/json" {
		a.t.Errorf("%s: %v", name, r.header)
	}
	id := r.header.Get("Trace-Id")
	res, err := http.Get(a.m.Admin + "/traces/" + id)
	if err != nil {
		a.t.Fatal(err)
	}
	defer res.Body.Close()

	var d struct {
		Trace trace.Trace `json:"trace"`
	}
	if err := json.NewDecoder(res.Body).Decode(&d); err != nil || d.Trace.ID != id || len(d.Trace.Steps) == 0 {
		a.t.Errorf("%s: trace %s: %v", name, id, err)
		return
	}

	last := d.Trace.Steps[len(d.Trace.Steps)-1]
	if last.Verdict != trace.Refused || last.Check != check || last.Expected == "" || last.Found == "" {
		a.t.Errorf("%s: the trace ends with %+v", name, last)
	}
}

// logs searches every file that an actor wrote for what none may have.
func (a *attacker) logs() {
	a.t.Helper()
	for _, pattern := range []string{"*.log", "*.jsonl"} {
		files, err := filepath.Glob(filepath.Join(a.dir, pattern))
		if err != nil || len(files) == 0 {
			a.t.Fatalf("%s: %v %v", pattern, files, err)
		}

		for _, file := range files {
			text := mustRead(a.t, file)
			for _, secret := range a.secret {
				if strings.Contains(text, secret) {
					a.t.Errorf("%s has the secret %.12s…", filepath.Base(file), secret)
				}
			}

			if strings.Contains(text, "panic") {
				a.t.Errorf("%s has a panic", filepath.Base(file))
			}
		}
	}
}

func (a *attacker) register(role string, statement string) answer {
	a.t.Helper()
	body, err := json.Marshal(map[string]any{"software_statement": statement, "udap": "1"})
	if err != nil {
		a.t.Fatal(err)
	}
	return a.send(role, "POST", "/register", bytes.NewReader(body), "Content-Type", "application/json")
}

func (a *attacker) form(role, path string, p url.Values) answer {
	a.t.Helper()
	return a.send(role, "POST", path, strings.NewReader(p.Encode()), "Content-Type",
		"application/x-www-form-urlencoded")
}

func (a *attacker) params(assertion string, more ...string) url.Values {
	p := url.Values{"grant_type": {"client_credentials"}, "udap": {"1"}, "scope": {"system/Patient.rs"},
		"client_assertion_type": {
			"urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
		}, "client_assertion": {assertion}}
	for i := 0; i+1 < len(more); i += 2 {
		p.Set(more[i], more[i+1])
	}
	return p
}

func (a *attacker) statement(c *udaptest.Client) udaptest.Claims {
	return c.Statement(time.Now()).With("aud", a.oauth+"/register")
}

func (a *attacker) assertion(id string) udaptest.Claims {
	return udaptest.Assertion(trace.ClientID(id), time.Now()).With("aud", a.oauth+"/token")
}

// ask introspects or revokes a token.
func (a *attacker) ask(role, path string, c *udaptest.Client, id, token string) answer {
	a.t.Helper()
	p := a.params(a.sign(c, a.assertion(id).With("aud", a.oauth+path)), "token", token)
	p.Del("scope")
	p.Del("grant_type")
	return a.form(role, path, p)
}

// read asks for a resource and returns the status.
func (a *attacker) read(role, token string) int {
	a.t.Helper()
	return a.send(role, "GET", a.m.PublicBase+"/Patient?_count=1", nil, "Authorization", "Bearer "+token).status
}

// attackerKeys are the kinds of keys that the guide names.
var attackerKeys = []struct {
	kind certs.KeyKind
	alg  string
}{{certs.RSA2048, "RS256"}, {certs.RSA2048, "RS384"}, {certs.P256, "ES256"}, {certs.P384, "ES384"}}

// victim is a client that has registered and holds a token.
type victim struct {
	client    *udaptest.Client
	id, token string
	spent     string // an assertion that has been used
	statement string // the statement that registered it
}

// join registers a client and gets a token, signing with a given algorithm.
func (a *attacker) join(role string, c *udaptest.Client, alg string) victim {
	a.t.Helper()
	sign := func(claims udaptest.Claims) string {
		compact := udaptest.Raw{Alg: alg, Key: c.Key}.Sign(a.t, udaptest.Header(alg, c.Chain...), claims.JSON(a.t))
		a.keep(compact[strings.LastIndexByte(compact, '.')+1:])
		return compact
	}
	m := victim{client: c, statement: sign(a.statement(c))}
	r := a.register(role, m.statement)
	m.id = r.text("client_id")

	m.spent = sign(a.assertion(m.id))
	got := a.form(role, "/token", a.params(m.spent))
	m.token = got.text("access_token")
	if r.status != http.StatusCreated || got.status != http.StatusOK || a.read(role, m.token) != http.StatusOK {
		a.t.Fatalf("%s %s: %d %s, %d %s", role, alg, r.status, r.body, got.status, got.body)
	}

	return m
}
