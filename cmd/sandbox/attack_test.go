package main

import (
	"bytes"
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"fhirdest.example/certs"
	"fhirdest.example/cmd/internal/testbed"
	"fhirdest.example/udap/jose"
	"fhirdest.example/udap/trace"
	"fhirdest.example/udap/udaptest"
)

// attacker is a stranger's test program: it knows the manifest and nothing
// else, and signs and writes whatever bytes it likes.
type attacker struct {
	t     *testing.T
	dir   string
	m     *testbed.Manifest
	http  map[string]*http.Client // by role: public, private
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

	for role, name := range map[string]string{"public": "localhost", "private": private.Hostname()} {
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

// forged is a JWT that is wrong in one way.
type forged struct {
	name, check string
	make        func(a *attacker, c *udaptest.Client, claims []byte) string
}

func header(text string) func(*attacker, *udaptest.Client, []byte) string {
	return func(a *attacker, c *udaptest.Client, claims []byte) string {
		var x5c []string
		for _, cert := range c.Chain {
			x5c = append(x5c, `"`+base64.StdEncoding.EncodeToString(cert.Raw)+`"`)
		}
		alg := jose.AlgorithmFor(c.Key.Public())
		text := strings.NewReplacer("ALG", alg, "X5C", "["+strings.Join(x5c, ",")+"]").Replace(text)
		return udaptest.Raw{Alg: alg, Key: c.Key}.Sign(a.t, []byte(text), claims)
	}
}

var forgeries = []forged{
	{"crit empty", "jws.header", header(`{"alg":"ALG","crit":[],"x5c":X5C}`)},
	{"crit exp", "jws.header", header(`{"alg":"ALG","crit":["exp"],"exp":1,"x5c":X5C}`)},
	{"alg in two cases", "jws.form", header(`{"alg":"ALG","Alg":"none","x5c":X5C}`)},
	{"x5c in two cases", "jws.form", header(`{"alg":"ALG","x5C":[],"x5c":X5C}`)},
	{"alg in lower case", "jws.alg", header(`{"alg":"es256","x5c":X5C}`)},
	{"typ of an access token", "jws.header", header(`{"alg":"ALG","typ":"at+jwt","x5c":X5C}`)},
	{"typ of a DPoP proof", "jws.header", header(`{"alg":"ALG","typ":"dpop+jwt","x5c":X5C}`)},
	{"x5c null", "x5c.form", header(`{"alg":"ALG","x5c":null}`)},
	{"another thumbprint", "x5c.thumbprint", header(`{"alg":"ALG","x5t#S256":"x","x5c":X5C}`)},
	{"header of two objects", "jws.form", header(`{"alg":"ALG","x5c":X5C}{}`)},
	{"DER signature, or one byte more", "jws.signature", func(a *attacker, c *udaptest.Client, claims []byte) string {
		alg := jose.AlgorithmFor(c.Key.Public())
		input := udaptest.Segment(udaptest.Header(alg, c.Chain...)) + "." + udaptest.Segment(claims)
		raw := udaptest.Raw{Alg: alg, Key: c.Key}.Signature(a.t, []byte(input))
		if strings.HasPrefix(alg, "ES") {
			der, err := asn1.Marshal(struct{ R, S *big.Int }{
				new(big.Int).SetBytes(raw[:len(raw)/2]),
				new(big.Int).SetBytes(raw[len(raw)/2:]),
			})
			if err != nil {
				a.t.Fatal(err)
			}

			return input + "." + udaptest.Segment(der)
		}

		return input + "." + udaptest.Segment(append(raw, 0))
	}},
	{"algorithm of another curve or key", "jws.signature", func(a *attacker, c *udaptest.Client, claims []byte) string {
		own, other := jose.AlgorithmFor(c.Key.Public()), "ES384"
		if own == other {
			other = "RS256"
		}
		return udaptest.Raw{Alg: own, Key: c.Key}.Sign(a.t, udaptest.Header(other, c.Chain...), claims)
	}},
	{"issuer first", "jws.signature", func(a *attacker, c *udaptest.Client, claims []byte) string {
		alg := jose.AlgorithmFor(c.Key.Public())
		return udaptest.Raw{Alg: alg, Key: c.Key}.Sign(a.t, udaptest.Header(alg, c.Chain[1], c.Chain[0]), claims)
	}},
	{"loose bits in the signature", "jws.form", func(a *attacker, c *udaptest.Client, claims []byte) string {
		alg := jose.AlgorithmFor(c.Key.Public())
		return udaptest.Raw{Alg: alg, Key: c.Key}.Sign(a.t, udaptest.Header(alg, c.Chain...), claims) + "="
	}},
}

// attackers are the kinds of keys that the guide names.
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

// Other people's attack programs against the finished programs: straight and
// through the intermediaries, with each kind of key, before and after a kill.
//
// Covers: case 016, case 018, case 023, case 032, case 036, case 041, case 089, case 092,
// case 121, case 128, case 129, case 131, case 143, case 150, case 222, case 225, row 11
// of the diagnostics, row 18 of the diagnostics, row 26 of the diagnostics
func TestAttacksFromOutside(t *testing.T) {
	ownTemp(t)
	st, d := bedFor(t, testbed.Config{Separate: true}, nil)
	a := newAttacker(t, d.dir, d.manifest)
	var members []victim

	for i, k := range attackerKeys {
		for _, role := range []string{"public", "private"} {
			uri := fmt.Sprintf("https://attacker.example/%d/%s", i, role)
			members = append(members, a.join(role, a.leaf(0, uri, udaptest.Key(t, k.kind, 1), nil), k.alg))
		}
	}

	twin := a.join("public", a.leaf(1, members[0].client.URI, udaptest.Key(t, certs.P384, 2), nil), "ES384")

	for _, role := range []string{"public", "private"} {
		for _, m := range members[2:] {
			for _, f := range forgeries {
				name := fmt.Sprintf("%s, %s, %s", f.name, jose.AlgorithmFor(m.client.Key.Public()), role)
				a.refused(name, a.register(role, f.make(a, m.client, a.statement(m.client).JSON(t))),
					"invalid_software_statement", f.check)
				a.refused(name, a.form(role, "/token", a.params(f.make(a, m.client, a.assertion(m.id).JSON(t)))),
					"invalid_client", f.check)
			}
		}

		a.crossings(role, members[0], twin)
		a.replays(role, members)
	}

	a.race(members[0])
	a.ends(members[1])

	killDestination(t, st, d)
	a.http["private"].CloseIdleConnections() // which the kill has ended
	for _, role := range []string{"public", "private"} {
		a.replays(role, members[2:])
		a.crossings(role, members[0], twin)
	}

	if a.read("public", members[1].token) != http.StatusUnauthorized ||
		a.read("private", members[2].token) != http.StatusOK {
		t.Error("a token that was ended works after the kill, or one that was not does not")
	}
	a.logs()
}

// crossings: one client URI in two communities is two clients.
func (a *attacker) crossings(role string, one, twin victim) {
	a.t.Helper()
	if r := a.ask(role, "/introspect", one.client, one.id, twin.token); r.body != `{"active":false}` {
		a.t.Errorf("%s: the twin's token: %s", role, r.body)
	}
	if r := a.ask(role, "/revoke", one.client, one.id, twin.token); r.status != http.StatusOK {
		a.t.Errorf("%s: revoking the twin's token: %d %s", role, r.status, r.body)
	}
	if r := a.ask(role, "/introspect", twin.client, twin.id, twin.token); r.json["active"] != true {
		a.t.Errorf("%s: the twin's own token: %s", role, r.body)
	}

	a.refused("as the twin", a.form(role, "/token", a.params(a.sign(one.client, a.assertion(twin.id)))),
		"invalid_client", "chain.path")
	a.refused("the twin as the other", a.form(role, "/token", a.params(a.sign(twin.client, a.assertion(one.id)))),
		"invalid_client", "chain.path")
}

// replays: what was used once is used, at every endpoint.
func (a *attacker) replays(role string, members []victim) {
	a.t.Helper()
	for _, m := range members {
		a.refused("assertion again", a.form(role, "/token", a.params(m.spent)), "invalid_client", "client.jti")
		a.refused("statement again", a.register(role, m.statement), "invalid_software_statement", "register.jti")
		jti := udaptest.JTI()
		first := a.form(role, "/token", a.params(a.sign(m.client, a.assertion(m.id).With("jti", jti))))
		p := a.params(a.sign(m.client, a.assertion(m.id).With("jti", jti).With("aud", a.oauth+"/introspect")), "token",
			m.token)
		r := a.form(role, "/introspect", p)
		if first.status != http.StatusOK || !strings.Contains(r.description(), "at the token endpoint") {
			a.t.Errorf("%d; the same jti at another endpoint: %s", first.status, r.body)
		}

		a.refused("the same jti at another endpoint", r, "invalid_client", "client.jti")
	}
}

// race: one assertion, sent many times at once by both ways, gets one token.
func (a *attacker) race(m victim) {
	a.t.Helper()
	assertion := a.sign(m.client, a.assertion(m.id))
	var all sync.WaitGroup
	var good atomic.Int32

	for i := range 32 {
		all.Go(func() {
			if r := a.form([]string{"public", "private"}[i%2], "/token",
				a.params(assertion)); r.status == http.StatusOK {
				good.Add(1)
			}
		})
	}

	all.Wait()
	if good.Load() != 1 {
		a.t.Errorf("one assertion got %d tokens", good.Load())
	}
}

// ends: a change that takes rights away, and a cancel, end tokens at once; who
// registers again is another client.
func (a *attacker) ends(m victim) {
	a.t.Helper()
	uri := m.client.URI
	person := m.client.Interactive(time.Now()).With("aud", a.oauth+"/register").With("scope", "openid user/Patient.rs")
	if r := a.register("public", a.sign(m.client, person)); r.status != http.StatusOK || r.text("client_id") != m.id {
		a.t.Errorf("change of grant type: %d %s", r.status, r.body)
	}
	if got := a.read("private", m.token); got != http.StatusUnauthorized {
		a.t.Errorf("a token of the former grant type: %d", got)
	}

	a.refused("former grant type", a.form("public", "/token", a.params(a.sign(m.client, a.assertion(m.id)))),
		"unauthorized_client", "token.grant")
	now := time.Now().Unix()
	cancel := udaptest.Claims{
		"iss":         uri,
		"sub":         uri,
		"aud":         a.oauth + "/register",
		"jti":         udaptest.JTI(),
		"iat":         now,
		"exp":         now + 60,
		"grant_types": []string{},
		"client_name": 5,
	}
	if r := a.register("private", a.sign(m.client, cancel)); r.status != http.StatusOK {
		a.t.Errorf("cancel: %d %s", r.status, r.body)
	}

	a.refused("cancelled", a.form("public", "/token", a.params(a.sign(m.client, a.assertion(m.id)))), "invalid_client",
		"assertion.iss")
	again := a.register("public", a.sign(m.client, a.statement(m.client)))
	if again.status != http.StatusCreated || again.text("client_id") == m.id {
		a.t.Errorf("registered again: %d %s", again.status, again.body)
	}
	a.refused("the former identifier", a.form("public", "/token", a.params(a.sign(m.client, a.assertion(m.id)))),
		"invalid_client", "assertion.iss")
}

// publish signs a list of an authority with this number and puts it where the
// lists' server finds it.
func (a *attacker) publish(ca *certs.CA, name string, number int64, revoked ...*x509.Certificate) {
	a.t.Helper()
	tpl := certs.CRLTemplate{Number: number, ThisUpdate: time.Now(), NextUpdate: time.Now().Add(time.Hour)}
	for _, c := range revoked {
		tpl.Revoked = append(tpl.Revoked, certs.RevokedEntry{Serial: c.SerialNumber, Time: time.Now(), Reason: 1})
	}
	der, err := ca.CRL(tpl)
	if err == nil {
		err = certs.WriteFile(filepath.Join(a.dir, name), der, certs.ModePublic)
	}

	if err != nil {
		a.t.Fatal(err)
	}
}

// fetched waits until the destination has fetched what a list's file now holds: until
// it asks for it twice, as it may have been under way.
func (a *attacker) fetched(name string) {
	a.t.Helper()
	asked := func() int {
		return strings.Count(mustRead(a.t, filepath.Join(a.dir, "community.log")), "path=/"+name+" ")
	}
	for before, end := asked(), time.Now().Add(time.Minute); asked() < before+2; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			a.t.Fatalf("%s is not fetched again", name)
		}
	}
}

// within asks until the answer is as wanted, for as long as a new list may
// take to count.
func (a *attacker) within(name string, want int, ask func() answer) answer {
	a.t.Helper()
	r := ask()
	for end := time.Now().Add(time.Minute); r.status != want && time.Now().Before(end); r = ask() {
		time.Sleep(100 * time.Millisecond)
	}
	if r.status != want {
		a.t.Errorf("%s: %d %s, want %d", name, r.status, r.body, want)
	}
	return r
}

// A second issuing authority of the community, made by the tester from the
// root's key: what its list and the root's say counts within the refresh, and
// an older list undoes nothing, not even after a kill.
//
// Covers: case 068, case 069, case 070, case 072, row 13 of the diagnostics, row 15 of the diagnostics
func TestRevocationFromOutside(t *testing.T) {
	ownTemp(t)
	st, d := bedFor(t, testbed.Config{Separate: true}, nil)
	a := newAttacker(t, d.dir, d.manifest)
	root, err := certs.LoadCA(d.file("a-root.pem"), d.file("a-root.key"))
	if err != nil {
		t.Fatal(err)
	}
	place := func(name string) []string {
		return []string{strings.TrimSuffix(d.manifest.Communities[0].CRL, "a.crl") + name}
	}
	tpl := certs.Template{
		CommonName: "Second issuing",
		NotBefore:  time.Now().Add(-time.Hour),
		NotAfter:   time.Now().Add(time.Hour),
		CRL:        place("a-root.crl"),
	}
	second, err := root.NewCA(tpl, udaptest.Key(t, certs.P384, 7))
	if err != nil {
		t.Fatal(err)
	}

	tpl.CommonName, tpl.CRL, tpl.URIs = "member", place("second.crl"), []string{"https://second.example/app"}
	key := udaptest.Key(t, certs.P256, 8)
	leaf, err := second.Issue(tpl, key.Public())
	if err != nil {
		t.Fatal(err)
	}
	c := &udaptest.Client{URI: tpl.URIs[0], Key: key, Chain: second.Chain(leaf)}
	a.refused("no list yet", a.register("public", a.sign(c, a.statement(c))), "unapproved_software_statement",
		"chain.revocation")

	a.publish(second, "second.crl", 5)
	older := mustRead(t, d.file("second.crl"))
	id := a.within("with a list", http.StatusCreated, func() answer {
		return a.register("public", a.sign(c, a.statement(c)))
	}).text("client_id")
	token := func() answer { return a.form("public", "/token", a.params(a.sign(c, a.assertion(id)))) }
	issued := a.within("a token", http.StatusOK, token).text("access_token")

	a.publish(second, "second.crl", 6, leaf)
	r := a.within("revoked", http.StatusBadRequest, token)
	a.refused("revoked", r, "invalid_client", "chain.revocation")

	for _, want := range []string{
		"certificate 0 of the path", "CN=member", "decimal " + leaf.SerialNumber.String(),
		"list number 6 from " + tpl.CRL[0], "reason keyCompromise",
	} {
		if !strings.Contains(r.description(), want) {
			t.Errorf("%q is not in %s", want, r.description())
		}
	}

	// A token that is out ends by its own time, one hour at most (UDAP JWT 6.2).
	if got := a.read("public", issued); got != http.StatusOK {
		t.Errorf("a token issued before: %d", got)
	}

	// An older list, genuine all the same, beside a memory that is gone; then
	// a newer one of another key.
	if err := os.WriteFile(d.file("second.crl"), []byte(older), 0o600); err != nil {
		t.Fatal(err)
	}
	a.publish(&certs.CA{Cert: second.Cert, Key: key}, "forged.crl", 9)
	killDestination(t, st, d)
	a.refused("an older list after a kill", token(), "invalid_client", "chain.revocation")
	a.fetched("second.crl")
	a.refused("an older list, later", token(), "invalid_client", "chain.revocation")
	if err := os.Rename(d.file("forged.crl"), d.file("second.crl")); err != nil {
		t.Fatal(err)
	}

	a.fetched("second.crl")
	a.refused("a list of another key", token(), "invalid_client", "chain.revocation")
	a.publish(second, "second.crl", 7)
	a.within("a newer list clears it", http.StatusOK, token)

	old, err := certs.LoadCRL(d.file("a-root.crl"))
	if err != nil {
		t.Fatal(err)
	}
	a.publish(root, "a-root.crl", old.Number.Int64()+1, second.Cert)
	r = a.within("its authority revoked", http.StatusBadRequest, token)
	a.refused("its authority revoked", r, "invalid_client", "chain.revocation")
	if !strings.Contains(r.description(), "certificate 1 of the path") ||
		!strings.Contains(r.description(), "CN=Second issuing") {
		t.Errorf("which certificate: %s", r.description())
	}

	a.logs()
}
