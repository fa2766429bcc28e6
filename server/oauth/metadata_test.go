package oauth_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"io"
	"math/big"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"fhirdest.example/certs"
	"fhirdest.example/server/oauth"
	"fhirdest.example/udap"
	"fhirdest.example/udap/trace"
	"fhirdest.example/udap/udaptest"
)

const metadataPath = "/fhir/.well-known/udap"

// countingKey counts the signatures that are made with an RSA key.
type countingKey struct {
	*rsa.PrivateKey
	signatures *atomic.Int32
}

// rsaIdentity is a certificate of this server with an RSA key.
func rsaIdentity(t *testing.T, w *udaptest.Env, ca *certs.CA, edit func(*certs.Template)) oauth.Identity {
	t.Helper()
	c := w.ClientWith(t, ca, udaptest.Base, udaptest.Key(t, certs.KeyKind("rsa2048"), 20), edit)
	return oauth.Identity{Chain: c.Chain, Key: c.Key}
}

func identity(c *udaptest.Client) oauth.Identity { return oauth.Identity{Chain: c.Chain, Key: c.Key} }

// newMetadataEnv has certificates in both communities.
func newMetadataEnv(t *testing.T, edit ...func(*udaptest.Env, *oauth.Config)) *env {
	t.Helper()
	var w *udaptest.Env
	e := &env{}
	return newEnvWith(t, e, func(cfg *oauth.Config) {
		w = e.w
		cfg.Members = []oauth.Member{
			{
				Community: w.A.Community,
				Identities: []oauth.Identity{
					identity(w.Client(t, w.A.Int, udaptest.Base, nil)),
					rsaIdentity(t, w, w.A.Int, nil),
				},
			},
			{Community: w.B.Community, Identities: []oauth.Identity{rsaIdentity(t, w, w.B.Int, nil)}},
		}

		for _, f := range edit {
			f(w, cfg)
		}
	})
}

// get asks for a document, past what checkAnswer holds for the endpoints.
func (e *env) get(method, target string, header http.Header) answer {
	e.t.Helper()
	req, err := http.NewRequest(method, e.server.URL+target, nil)
	if err != nil {
		e.t.Fatal(err)
	}
	if header != nil {
		req.Header = header
		req.Host = header.Get("Host")
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
	if res.StatusCode >= 500 {
		e.t.Errorf("%s %.80s: %d", method, target, res.StatusCode)
	}

	return answer{res.StatusCode, res.Header, b, res.Close}
}

func (e *env) metadata(community trace.CommunityURI) answer {
	target := metadataPath
	if community != "" {
		target += "?community=" + url.QueryEscape(string(community))
	}
	return e.get("GET", target, nil)
}

func (e *env) believe(a answer, community trace.CommunityURI) (*udap.ServerMetadata, error) {
	return e.w.Verifier().Metadata(e.t.Context(), a.body, udap.ExpectMetadata{
		Now:       e.now(),
		Base:      udaptest.Base,
		Community: community,
	}, trace.NewTrace("discover", e.now()))
}

func claimsOf(t *testing.T, compact string) (header, claims map[string]any) {
	t.Helper()
	parts := strings.Split(compact, ".")
	for i, into := range []*map[string]any{&header, &claims} {
		b, err := base64.RawURLEncoding.DecodeString(parts[i])
		if err == nil {
			err = json.Unmarshal(b, into)
		}
		if err != nil {
			t.Fatal(err)
		}
	}

	return header, claims
}

// Covers: S1-009, S1-010, S1-011, S1-012, S1-013, S1-014, S1-015, S1-018, S1-022, S1-023,
// S1-024, S1-025, S1-026, S1-028, S1-029, S1-030, S1-031, S1-032, S1-033, S1-034, S1-035,
// S1-036, S1-037, S1-039, S1-040, S1-041, S1-042, S1-043, S1-044, S1-045, S1-046, S1-047,
// S1-118, S2-03, S2-04, S2-05
func TestUDAPDocument(t *testing.T) {
	e := newMetadataEnv(t)
	a := e.metadata("")
	if a.status != 200 || a.header.Get("Content-Type") != "application/json" {
		t.Fatalf("%d %s", a.status, a.body)
	}
	var got map[string]any
	if err := json.Unmarshal(a.body, &got); err != nil {
		t.Fatal(err)
	}

	delete(got, "signed_metadata")
	algorithms := []any{"RS256", "ES256", "RS384", "ES384"}
	want := map[string]any{
		"udap_versions_supported": []any{"1"}, "udap_profiles_supported": []any{"udap_dcr", "udap_authn", "udap_authz"},
		"udap_authorization_extensions_supported": []any{"hl7-b2b", "hl7-b2b-user"}, "udap_authorization_extensions_required": []any{"hl7-b2b"},
		"udap_certifications_supported": []any{}, "udap_certifications_required": []any{},
		"grant_types_supported": []any{"client_credentials"},
		"scopes_supported": []any{
			"system/Patient.rs",
			"system/Observation.rs",
			"system/Patient.read",
			"system/Condition.rs",
		},
		"token_endpoint": issuer + "/token", "registration_endpoint": issuer + "/register",
		"introspection_endpoint": issuer + "/introspect", "dpop_signing_alg_values_supported": algorithms,
		"revocation_endpoint":                              issuer + "/revoke",
		"token_endpoint_auth_methods_supported":            []any{"private_key_jwt"},
		"token_endpoint_auth_signing_alg_values_supported": algorithms, "registration_endpoint_jwt_signing_alg_values_supported": algorithms,
	}

	g, _ := json.Marshal(got)
	w, _ := json.Marshal(want)
	if string(g) != string(w) {
		t.Errorf("got  %s\nwant %s", g, w)
	}
}

// Covers: S1-009, S1-027, S1-037, S1-038, S1-039, S1-057, S2-03
func TestUDAPDocumentWithAuthorizationCode(t *testing.T) {
	e := newMetadataEnv(t, func(_ *udaptest.Env, c *oauth.Config) { c.Interaction = nobody{} })
	a := e.metadata("")
	_, claims := claimsOf(t, a.text("signed_metadata"))
	if a.text("authorization_endpoint") != issuer+"/authorize" ||
		claims["authorization_endpoint"] != issuer+"/authorize" {
		t.Errorf("authorization_endpoint: plain %v, signed %v", a.member("authorization_endpoint"),
			claims["authorization_endpoint"])
	}

	if got, _ := json.Marshal(a.member(
		"grant_types_supported")); string(got) != `["client_credentials","authorization_code","refresh_token"]` {
		t.Errorf("grant types %s", got)
	}
	if got, _ := json.Marshal(a.member("scopes_supported")); !strings.Contains(string(got), "openid") {
		t.Errorf("scopes %s", got)
	}
}

// Covers: S1-048, S1-049, S1-050, S1-051, S1-052, S1-053, S1-054, S1-055, S1-056, S1-058,
// S1-059, S1-060, S1-062, S1-063, S2-01, S2-06, case 003, case 006
func TestSignedMetadata(t *testing.T) {
	e := newMetadataEnv(t)
	jtis := map[any]bool{}
	for _, community := range []trace.CommunityURI{udaptest.CommunityA, udaptest.CommunityB} {
		a := e.metadata(community)
		m, err := e.believe(a, community)
		if err != nil || m.TokenEndpoint != a.text("token_endpoint") ||
			m.RegistrationEndpoint != a.text("registration_endpoint") {
			t.Fatalf("%s: %+v, %v", community, m, err)
		}
		header, claims := claimsOf(t, a.text("signed_metadata"))
		if header["alg"] != "RS256" || claims["iss"] != udaptest.Base || claims["sub"] != udaptest.Base {
			t.Errorf("%s: %v, %v", community, header["alg"], claims)
		}

		if life := claims["exp"].(float64) - claims["iat"].(float64); life <= 0 || life > 365*24*3600 ||
			claims["iat"].(float64) > float64(e.now().Unix()) {
			t.Errorf("%s: lives %v s", community, life)
		}
		jtis[claims["jti"]] = true
		e.advance(time.Hour)
		_, claims = claimsOf(t, e.metadata(community).text("signed_metadata"))
		jtis[claims["jti"]] = true
	}

	if len(jtis) != 4 {
		t.Errorf("4 signings, %d jti", len(jtis))
	}
	if _, err := e.believe(e.metadata(udaptest.CommunityA), udaptest.CommunityB); err == nil {
		t.Error("A's metadata is believed in B")
	}
}

// Covers: S1-064, S1-065, S2-02, case 002
func TestUnknownCommunity(t *testing.T) {
	e := newMetadataEnv(t)
	for range 2 {
		if a := e.metadata("urn:nope"); a.status != 204 || len(a.body) != 0 {
			t.Errorf("%d %s", a.status, a.body)
		}
	}
	e = newMetadataEnv(t, func(_ *udaptest.Env, c *oauth.Config) { c.UnknownCommunityDefault = true })
	if a, b := e.metadata("urn:nope"), e.metadata(""); a.status != 200 || !bytes.Equal(a.body, b.body) {
		t.Errorf("by configuration the default metadata: %d", a.status)
	}
}

// Covers: case 001, case 014
func TestMetadataNeverFollowsTheRequest(t *testing.T) {
	e := newMetadataEnv(t)
	want := e.metadata("").body
	for _, h := range []http.Header{
		{"Host": {"evil.example"}},
		{
			"X-Forwarded-Host":  {"evil.example"},
			"X-Forwarded-Proto": {"http"},
			"Forwarded":         {"host=evil.example;proto=http"},
		},
	} {
		if a := e.get("GET", metadataPath, h); !bytes.Equal(a.body, want) {
			t.Errorf("%v: other metadata", h)
		}
	}

	private := strings.TrimPrefix(e.server.URL, "https://")
	_, claims := claimsOf(t, e.metadata("").text("signed_metadata"))
	all, _ := json.Marshal(claims)

	for _, leak := range []string{private, "127.0.0.1", "localhost", e.path} {
		if bytes.Contains(want, []byte(leak)) || bytes.Contains(all, []byte(leak)) {
			t.Errorf("%q is in the metadata", leak)
		}
	}
}

// Covers: case 004
func TestOddCommunities(t *testing.T) {
	e := newMetadataEnv(t)
	for name, query := range map[string]string{
		"twice": "community=" + string(
			udaptest.CommunityA) + "&community=" + string(
			udaptest.CommunityB), "64 KiB": "community=" + strings.Repeat("a", 64<<10),
		"NUL": "community=%00", "CR LF": "community=%0d%0aX:%20y", "script": "community=%3Cscript%3E", "badly escaped": "community=%zz", "semicolon": "community=a;b",
	} {
		t.Run(name, func(t *testing.T) {
			a := e.get("GET", metadataPath+"?"+query, nil)
			if a.status != 400 || bytes.Contains(a.body, []byte("<script>")) || a.header.Get("X") != "" {
				t.Errorf("%s: %d %.200s", name, a.status, a.body)
				return
			}
			e.checkRefusal(name, a, "invalid_request")
		})
	}

	if a := e.get("GET", metadataPath+"?community=", nil); a.status != 200 {
		t.Errorf("empty: %d", a.status)
	}
}

// Covers: case 005
func TestMetadataIsNotMixedUp(t *testing.T) {
	e := newMetadataEnv(t)
	for _, community := range []trace.CommunityURI{udaptest.CommunityB, "", udaptest.CommunityA} {
		a := e.metadata(community)
		want := community
		if want == "" {
			want = udaptest.CommunityA
		}
		if _, err := e.believe(a, want); err != nil || !strings.HasPrefix(a.header.Get("Cache-Control"), "private") {
			t.Errorf("%q: %v, %s", community, err, a.header.Get("Cache-Control"))
		}
	}
}

// Covers: S1-019, case 007
func TestWithheldMetadata(t *testing.T) {
	for _, c := range []struct {
		name, reason string
		spoil        func(*env, *oauth.Config)
	}{
		{"expired", "chain.validity", func(e *env, c *oauth.Config) {
			c.Members[0].Identities = []oauth.Identity{rsaIdentity(t, e.w, e.w.A.Int, func(tpl *certs.Template) {
				tpl.NotAfter = e.w.Now.Add(-time.Second)
			})}
		}},
		{"EC key", "RSA", func(e *env, c *oauth.Config) { c.Members[0].Identities = c.Members[0].Identities[:1] }},
		{"wrong SAN", "metadata", func(e *env, c *oauth.Config) {
			c.Members[0].Identities = []oauth.Identity{rsaIdentity(t, e.w, e.w.A.Int, func(tpl *certs.Template) {
				tpl.URIs = []string{udaptest.Base + "/"}
			})}
		}},
		{"stale list", "chain.revocation", func(e *env, _ *oauth.Config) {
			e.w.PublishList(t, e.w.A.Int, certs.CRLTemplate{
				Number:     8,
				ThisUpdate: e.w.Now.Add(-48 * time.Hour),
				NextUpdate: e.w.Now.Add(-24 * time.Hour),
			})
		}},
		{"another community's certificate", "chain.path", func(e *env, c *oauth.Config) {
			c.Members[0].Identities = []oauth.Identity{rsaIdentity(t, e.w, e.w.X.Int, nil)}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := &env{}
			e = newMetadataEnvWith(t, e, func(cfg *oauth.Config) { c.spoil(e, cfg) })
			if a := e.metadata(udaptest.CommunityA); a.status != 204 {
				t.Errorf("%s: %d %.200s", c.name, a.status, a.body)
			}
			if a := e.metadata(udaptest.CommunityB); a.status != 200 {
				t.Errorf("%s: the other community: %d", c.name, a.status)
			}

			if _, err := e.believe(e.metadata(""), udaptest.CommunityB); err != nil {
				t.Errorf("%s: default metadata: %v", c.name, err)
			}
			withheld := e.svc.Withheld(t.Context())
			if len(withheld) != 1 || withheld[0].Community != udaptest.CommunityA ||
				!strings.Contains(withheld[0].Reason, c.reason) {
				t.Errorf("%s: withheld: %+v", c.name, withheld)
			}
		})
	}

	e := newEnv(t)
	if a := e.metadata(""); a.status != 404 {
		t.Errorf("no community at all: %d", a.status)
	}
}

func newMetadataEnvWith(t *testing.T, e *env, spoil func(*oauth.Config)) *env {
	t.Helper()
	return newEnvWith(t, e, func(cfg *oauth.Config) {
		cfg.Members = []oauth.Member{
			{
				Community: e.w.A.Community,
				Identities: []oauth.Identity{
					identity(e.w.Client(t, e.w.A.Int, udaptest.Base, nil)),
					rsaIdentity(t, e.w, e.w.A.Int, nil),
				},
			},
			{Community: e.w.B.Community, Identities: []oauth.Identity{rsaIdentity(t, e.w, e.w.B.Int, nil)}},
		}

		spoil(cfg)
	})
}

// Covers: S1-013, case 008, case 009, case 011
func TestMetadataMethods(t *testing.T) {
	e := newMetadataEnv(t)
	for _, path := range []string{
		metadataPath,
		"/fhir/.well-known/smart-configuration",
		"/.well-known/oauth-authorization-server/oauth",
		"/oauth/jwks",
	} {
		get, head := e.get("GET", path, nil), e.get("HEAD", path, nil)
		if get.status != 200 || head.status != 200 || len(head.body) != 0 {
			t.Errorf("%s: GET %d, HEAD %d with %d bytes", path, get.status, head.status, len(head.body))
		}

		for _, name := range []string{
			"Content-Type", "Content-Length", "ETag", "Cache-Control",
		} {
			if get.header.Get(name) == "" || get.header.Get(name) != head.header.Get(name) {
				t.Errorf("%s: %s: GET %q, HEAD %q", path, name, get.header.Get(name), head.header.Get(name))
			}
		}

		for _, method := range []string{"POST", "PUT", "OPTIONS", "TRACE", "DELETE", "get"} {
			if a := e.get(method, path, nil); a.status != 405 || a.header.Get("Allow") != "GET, HEAD" {
				t.Errorf("%s %s: %d, Allow %q", method, path, a.status, a.header.Get("Allow"))
			}
		}

		if a := e.get("GET", path, http.Header{"Authorization": {"Bearer junk"}}); a.status != 200 {
			t.Errorf("%s with junk credentials: %d", path, a.status)
		}
		same := e.get("GET", path, http.Header{"If-None-Match": {`"x", W/` + get.header.Get("ETag")}})
		if same.status != 304 || len(same.body) != 0 {
			t.Errorf("%s: If-None-Match: %d", path, same.status)
		}
	}
}

// Covers: case 013
func TestOneSignaturePerPeriod(t *testing.T) {
	var signatures atomic.Int32
	e := &env{}
	e = newMetadataEnvWith(t, e, func(c *oauth.Config) {
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			t.Fatal(err)
		}
		counted := countingKey{key, &signatures}
		id := e.w.ClientWith(t, e.w.A.Int, udaptest.Base, counted, nil)
		c.Members[0].Identities = []oauth.Identity{identity(id)}
	})

	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			for range 20 {
				e.metadata(udaptest.CommunityA)
			}
		})
	}

	wg.Wait()
	if n := signatures.Load(); n != 1 {
		t.Errorf("1000 requests, %d signatures", n)
	}
	e.advance(11 * time.Minute)
	e.metadata(udaptest.CommunityA)
	if n := signatures.Load(); n != 2 {
		t.Errorf("after the period: %d signatures", n)
	}
}

// Sign counts and signs.
func (k countingKey) Sign(random io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	k.signatures.Add(1)
	return k.PrivateKey.Sign(random, digest, opts)
}

// Covers: S1-017, S2-25, case 015
func TestDocumentsAgree(t *testing.T) {
	for _, code := range []bool{false, true} {
		e := newMetadataEnv(t, func(_ *udaptest.Env, c *oauth.Config) {
			if code {
				c.Interaction = nobody{}
			}
		})
		u := e.metadata("")
		if b := e.metadata(udaptest.CommunityB); b.text("registration_endpoint") != u.text("registration_endpoint") {
			t.Error("one registration does not serve both communities' metadata")
		}

		for _, path := range []string{
			"/fhir/.well-known/smart-configuration",
			"/.well-known/oauth-authorization-server/oauth",
		} {
			d := e.get("GET", path, nil)
			for _, name := range []string{"token_endpoint", "registration_endpoint", "authorization_endpoint", "introspection_endpoint", "revocation_endpoint",
				"grant_types_supported", "scopes_supported", "token_endpoint_auth_methods_supported", "token_endpoint_auth_signing_alg_values_supported"} {
				a, _ := json.Marshal(u.member(name))
				b, _ := json.Marshal(d.member(name))
				if !bytes.Equal(a, b) {
					t.Errorf("%s %s: %s, in UDAP's %s", path, name, b, a)
				}
			}

			if got, _ := json.Marshal(d.member("code_challenge_methods_supported")); string(got) != `["S256"]` {
				t.Errorf("%s: challenge methods %s", path, got)
			}
		}

		if scopes, _ := u.member("scopes_supported").([]any); slices.Contains(scopes, any("udap")) {
			t.Error("scope udap without udap_to")
		}
	}
}

func TestJWKS(t *testing.T) {
	e := newMetadataEnv(t)
	var set struct {
		Keys []map[string]any `json:"keys"`
	}
	if err := json.Unmarshal(e.get("GET", "/oauth/jwks", nil).body, &set); err != nil {
		t.Fatal(err)
	}
	if len(set.Keys) != 2 || set.Keys[0]["kty"] != "EC" || set.Keys[1]["kty"] != "RSA" {
		t.Fatalf("keys: %+v", set.Keys)
	}

	n, err := base64.RawURLEncoding.DecodeString(set.Keys[1]["n"].(string))
	key := udaptest.Key(t, certs.KeyKind("rsa2048"), 20).Public().(*rsa.PublicKey)
	if err != nil || new(big.Int).SetBytes(n).Cmp(key.N) != 0 || set.Keys[1]["d"] != nil {
		t.Errorf("RSA key: %v, %v", set.Keys[1], err)
	}
}

// Documents that speak for every community list RS256 first, whatever each
// accepts: clients in the field take the first algorithm.
//
// Covers: S1-017, S1-042
func TestRS256IsListedFirst(t *testing.T) {
	e := newMetadataEnv(t, func(w *udaptest.Env, _ *oauth.Config) {
		w.A.Community.Policy.Algorithms = []string{"ES384", "ES256"}
		w.B.Community.Policy.Algorithms = []string{"ES256", "RS256"}
	})

	for _, path := range []string{
		"/fhir/.well-known/smart-configuration",
		"/.well-known/oauth-authorization-server/oauth",
	} {
		got := e.get("GET", path, nil).member("token_endpoint_auth_signing_alg_values_supported")
		if !reflect.DeepEqual(got, []any{"RS256", "ES256", "ES384"}) {
			t.Errorf("%s: %v", path, got)
		}
	}
}

// Covers: S1-004, S1-005, S1-006, case 012
func TestAdvertisedEqualsAccepted(t *testing.T) {
	e := newMetadataEnv(t)
	algorithms, _ := e.metadata("").member("token_endpoint_auth_signing_alg_values_supported").([]any)
	if len(algorithms) != 4 {
		t.Fatalf("algorithms %v", algorithms)
	}
	kinds := map[string]certs.KeyKind{"RS256": "rsa2048", "RS384": "rsa2048", "ES256": "p256", "ES384": "p384"}

	for _, a := range algorithms {
		alg := a.(string)
		uri := "https://client1.test/" + alg
		c := e.w.ClientWith(t, e.w.A.Int, uri, udaptest.Key(t, kinds[alg], 30), nil)
		sign := func(claims udaptest.Claims) string {
			return e.secret(udaptest.Raw{
				Alg: alg,
				Key: c.Key,
			}.Sign(t, udaptest.Header(alg, c.Chain...), claims.JSON(t)))
		}
		b := e.send("POST", "/oauth/register", "application/json", e.registerBody(sign(c.Statement(e.now())), nil), nil)
		if b.status != 201 {
			t.Errorf("%s: registration: %d %s", alg, b.status, b.body)
			continue
		}

		tok := e.post("/oauth/token", e.form(sign(udaptest.Assertion(trace.ClientID(b.text("client_id")), e.now()))))
		if tok.status != 200 {
			t.Errorf("%s: token: %d %s", alg, tok.status, tok.body)
		}
		e.secret(tok.text("access_token"))
	}

	id := e.registered(e.client(e.w.A, udaptest.Client1URI))
	for alg, kind := range map[string]certs.KeyKind{"RS512": "rsa2048", "PS256": "rsa2048"} {
		c := e.w.ClientWith(t, e.w.A.Int, udaptest.Client1URI, udaptest.Key(t, kind, 30), nil)
		sign := func(claims udaptest.Claims) string {
			return e.secret(udaptest.Raw{
				Alg: alg,
				Key: c.Key,
			}.Sign(t, udaptest.Header(alg, c.Chain...), claims.JSON(t)))
		}
		e.refused(alg+" register", 400, "invalid_software_statement", spendsNothing, func() answer {
			return e.send("POST", "/oauth/register", "application/json",
				e.registerBody(sign(c.Statement(e.now())), nil), nil)
		})

		e.refused(alg+" token", 400, "invalid_client", spendsNothing, func() answer {
			return e.post("/oauth/token", e.form(sign(udaptest.Assertion(id, e.now()))))
		})
	}
}

// gatedSource is a source of CRLs that waits for its gate once it is shut.
type gatedSource struct {
	udap.RevocationSource
	shut    atomic.Bool
	reached chan struct{}
	gate    chan struct{}
}

func (g *gatedSource) CRLs(ctx context.Context, q udap.CRLQuery) []udap.CRLAnswer {
	if g.shut.Load() {
		g.reached <- struct{}{}
		<-g.gate
	}
	return g.RevocationSource.CRLs(ctx, q)
}

// While one request signs the metadata again, and waits for a revocation list,
// others get the metadata there was.
// Covers: S1-019
func TestMetadataIsServedWhileItIsSigned(t *testing.T) {
	source := &gatedSource{reached: make(chan struct{}, 10), gate: make(chan struct{})}
	e := newMetadataEnvWith(t, &env{}, func(cfg *oauth.Config) {
		source.RevocationSource = cfg.Verifier.Revocation
		cfg.Verifier.Revocation = source
	})
	before := e.metadata(udaptest.CommunityA)

	e.advance(10 * time.Minute)
	source.shut.Store(true)
	first, second := make(chan answer, 1), make(chan answer, 1)
	go func() { first <- e.metadata(udaptest.CommunityA) }()
	<-source.reached
	source.shut.Store(false)
	go func() { second <- e.metadata(udaptest.CommunityA) }()

	select {
	case got := <-second:
		if got.status != 200 || !bytes.Equal(got.body, before.body) {
			t.Errorf("meanwhile: %d %.200s", got.status, got.body)
		}
	case <-time.After(time.Minute):
		t.Error("a request waits for the list that another waits for")
	}

	close(source.gate)
	if got := <-first; got.status != 200 || bytes.Equal(got.body, before.body) {
		t.Errorf("signed again: %d %.200s", got.status, got.body)
	}
}
