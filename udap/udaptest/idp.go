package udaptest

import (
	"bytes"
	"crypto"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"fhirdest.example/certs"
	"fhirdest.example/udap"
	"fhirdest.example/udap/jose"
	"fhirdest.example/udap/trace"
)

// IDP is an identity provider with UDAP (UDAP Security 2.0, 6): it verifies what
// clients send for real, signs in whoever comes at once, and misbehaves on cue.
// Its fields are changed by Change.
type IDP struct {
	*httptest.Server
	Base string  // https://127.0.0.1:PORT/idp: base URL and issuer
	Own  *Client // signs the metadata
	Key  crypto.Signer

	Subject string         // who signs in
	Persona map[string]any // further claims of userinfo, and of the ID token

	// changes the metadata before it is signed; nil: nothing
	Metadata func(plain, signed Claims)
	OpenID   func(Claims) // the same for openid-configuration
	// the same for the answer of the authorization endpoint
	Redirect func(url.Values)
	IDToken  func(Claims)                                        // the same for the claims of the ID token
	Sign     func(Claims) string                                 // signs the ID token; nil: Key does, with its kid
	Token    func(Claims)                                        // changes the token response
	UserInfo func(Claims)                                        // changes what userinfo says
	Answer   map[string]func(http.ResponseWriter, *http.Request) // in place of an endpoint, by its last segment

	t        testing.TB
	verifier *udap.Verifier
	now      func() time.Time

	cues sync.RWMutex // guards the exported fields

	mu       sync.Mutex
	clients  map[trace.ClientID]registeredAtIDP
	codes    map[string]url.Values // the request that a code answers
	requests []string
	seen     []url.Values // requests of the authorization endpoint
	forms    []url.Values // requests of the token endpoint
}

type registeredAtIDP struct {
	udap.Binding
	redirects []string
}

// NewIDP starts an identity provider on a loopback address. own makes its
// certificate for its base URL; verifier decides which clients it trusts.
func NewIDP(
	t testing.TB, own func(base string) *Client, verifier *udap.Verifier, now func() time.Time,
) *IDP {
	t.Helper()
	p := &IDP{
		Key:      Key(t, certs.RSA2048, 20),
		Subject:  "person-1",
		Persona:  map[string]any{},
		Answer:   map[string]func(http.ResponseWriter, *http.Request){},
		t:        t,
		verifier: verifier,
		now:      now,
		clients:  map[trace.ClientID]registeredAtIDP{},
		codes:    map[string]url.Values{},
	}

	p.Server = httptest.NewTLSServer(p)
	t.Cleanup(p.Close)
	p.Base = p.URL + "/idp"
	p.Own = own(p.Base)
	return p
}

// Change changes fields while no request is being answered.
func (p *IDP) Change(f func()) {
	p.cues.Lock()
	defer p.cues.Unlock()
	f()
}

// Requests returns the method and the last segment of the path of every request.
func (p *IDP) Requests() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.requests)
}

// Count returns how often an endpoint was asked, by its last segment.
func (p *IDP) Count(endpoint string) (n int) {
	for _, r := range p.Requests() {
		if strings.HasSuffix(r, " "+endpoint) {
			n++
		}
	}
	return n
}

// Seen returns the parameters of the requests for authorization; Forms those of
// the requests for tokens.
func (p *IDP) Seen() []url.Values {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.seen)
}

// Forms returns the parameters of the requests for tokens.
func (p *IDP) Forms() []url.Values {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.forms)
}

// Forget forgets every registration, as a provider that was set up anew does.
func (p *IDP) Forget() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.clients = map[trace.ClientID]registeredAtIDP{}
}

// ServeHTTP answers every request.
func (p *IDP) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	endpoint := r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:]
	p.mu.Lock()
	p.requests = append(p.requests, r.Method+" "+endpoint)
	p.mu.Unlock()

	w.Header().Set("Date", p.now().UTC().Format(http.TimeFormat))
	p.cues.RLock()
	handler := p.Answer[endpoint]
	if handler == nil {
		defer p.cues.RUnlock()
		p.answer(endpoint, w, r)
		return
	}

	p.cues.RUnlock() // it may never end
	handler(w, r)
}

// answer answers a request for which there is no other handler.
func (p *IDP) answer(endpoint string, w http.ResponseWriter, r *http.Request) {
	switch endpoint {
	case "udap":
		_, _ = w.Write(p.metadata(w))
	case "openid-configuration":
		p.json(w, http.StatusOK, p.openid())
	case "jwks":
		p.jwks(w)
	case "register":
		p.register(w, r)

	case "authorize":
		p.authorize(w, r)
	case "token":
		p.token(w, r)
	case "userinfo":
		p.userinfo(w)
	default:
		http.NotFound(w, r)
	}
}

func (p *IDP) json(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // a client that goes away is its own affair
}

func (p *IDP) refuse(w http.ResponseWriter, code, text string) {
	p.json(
		w,
		http.StatusBadRequest,
		map[string]string{"error": code, "error_description": text},
	)
}

func (p *IDP) metadata(w http.ResponseWriter) []byte {
	w.Header().Set("Content-Type", "application/json")
	return Metadata(p.t, p.Own, p.now(), func(plain, signed Claims) {
		for _, c := range []Claims{plain, signed} {
			c["token_endpoint"] = p.Base + "/token"
			c["registration_endpoint"] = p.Base + "/register"
			c["authorization_endpoint"] = p.Base + "/authorize"
		}

		plain["udap_profiles_supported"] = []string{"udap_dcr", "udap_authn", "udap_authz", "udap_to"}
		plain["udap_authorization_extensions_required"] = []string{}
		plain["grant_types_supported"] = []string{"authorization_code"}
		plain["scopes_supported"] = []string{"openid", "udap", "fhirUser", "profile"}
		if p.Metadata != nil {
			p.Metadata(plain, signed)
		}
	})
}

func (p *IDP) openid() Claims {
	c := Claims{
		"issuer":                                p.Base,
		"authorization_endpoint":                p.Base + "/authorize",
		"token_endpoint":                        p.Base + "/token",
		"userinfo_endpoint":                     p.Base + "/userinfo",
		"jwks_uri":                              p.Base + "/jwks",
		"response_types_supported":              []string{"code"},
		"subject_types_supported":               []string{"public"},
		"id_token_signing_alg_values_supported": []string{"RS256"},
		"authorization_response_iss_parameter_supported": true,
	}

	if p.OpenID != nil {
		p.OpenID(c)
	}
	return c
}

// IDPKeyID is the kid of an IDP's key.
const IDPKeyID = "idp-1"

func (p *IDP) jwks(w http.ResponseWriter) {
	key, err := jose.EncodeKey(p.Key.Public())
	if err != nil {
		p.t.Error(err)
		return
	}

	text, err := json.Marshal(key)
	if err != nil {
		p.t.Error(err)
		return
	}

	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write([]byte(`{"keys":[{"kid":"` + IDPKeyID + `",` + string(text[1:]) + `]}`))
}

func (p *IDP) register(w http.ResponseWriter, r *http.Request) {
	var body struct {
		Statement string `json:"software_statement"`
	}
	data, _ := io.ReadAll(r.Body)
	_ = json.Unmarshal(data, &body) // an empty statement is refused below

	s, err := p.verifier.Statement(r.Context(), body.Statement, udap.Expect{
		Now:      p.now(),
		Audience: p.Base + "/register",
	}, trace.NewTrace("register", p.now()))
	if err != nil {
		p.refuse(w, "invalid_software_statement", err.Error())
		return
	}

	p.mu.Lock()
	defer p.mu.Unlock()
	id := trace.ClientID("at-idp-" + JTI()[:8])
	p.clients[id] = registeredAtIDP{
		Binding: udap.Binding{
			Community: s.Community.URI,
			Client:    s.Client,
		},
		redirects: s.Metadata.RedirectURIs,
	}

	p.json(w, http.StatusCreated, Claims{
		"client_id":                  id,
		"software_statement":         body.Statement,
		"grant_types":                s.Metadata.GrantTypes,
		"redirect_uris":              s.Metadata.RedirectURIs,
		"scope":                      strings.Join(s.Metadata.Scope, " "),
		"token_endpoint_auth_method": "private_key_jwt",
	})
}

// authorize signs Subject in and redirects with a code.
func (p *IDP) authorize(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	p.mu.Lock()
	defer p.mu.Unlock()

	p.seen = append(p.seen, q)
	client, known := p.clients[trace.ClientID(q.Get("client_id"))]
	switch {
	case !known || !slices.Contains(client.redirects, q.Get("redirect_uri")):
		http.Error(w, "unknown client or redirect URI", http.StatusBadRequest)
		return
	case q.Get("response_type") != "code" || q.Get("code_challenge_method") != "S256" ||
		!slices.Contains(strings.Fields(q.Get("scope")), "openid"):
		http.Error(
			w,
			"not an OpenID Connect request with PKCE",
			http.StatusBadRequest,
		)
		return
	}

	code := JTI()
	p.codes[code] = q
	answer := url.Values{
		"code":  {code},
		"state": {q.Get("state")},
		"iss":   {p.Base},
	}

	if p.Redirect != nil {
		p.Redirect(answer)
	}
	http.Redirect(
		w,
		r,
		q.Get("redirect_uri")+"?"+answer.Encode(),
		http.StatusFound,
	)
}

func (p *IDP) token(w http.ResponseWriter, r *http.Request) {
	_ = r.ParseForm() // what is missing is refused below
	p.mu.Lock()
	defer p.mu.Unlock()

	p.forms = append(p.forms, r.PostForm)

	ant, err := p.verifier.Assertion(r.Context(), r.PostForm.Get("client_assertion"), "", udap.Expect{
		Now:      p.now(),
		Audience: p.Base + "/token",
	}, func(id trace.ClientID) (udap.Binding, bool) {
		c, ok := p.clients[id]
		return c.Binding, ok
	}, trace.NewTrace("token", p.now()))
	if err != nil {
		p.refuse(w, "invalid_client", err.Error())
		return
	}

	asked, ok := p.codes[r.PostForm.Get("code")]
	delete(p.codes, r.PostForm.Get("code"))
	sum := sha256.Sum256([]byte(r.PostForm.Get("code_verifier")))
	if !ok || asked.Get("client_id") != string(ant.ClientID) ||
		asked.Get("redirect_uri") != r.PostForm.Get("redirect_uri") ||
		asked.Get("code_challenge") != base64.RawURLEncoding.EncodeToString(sum[:]) {
		p.refuse(
			w,
			"invalid_grant",
			"the code is not of this client, redirect URI and verifier",
		)
		return
	}

	answer := Claims{
		"access_token": "access-" + JTI(),
		"token_type":   "Bearer",
		"expires_in":   300,
		"scope":        asked.Get("scope"),
	}
	answer["id_token"] = p.idToken(asked, answer["access_token"].(string))
	if p.Token != nil {
		p.Token(answer)
	}

	p.json(w, http.StatusOK, json.RawMessage(answer.JSON(p.t)))
}

func (p *IDP) idToken(asked url.Values, access string) string {
	sum := sha256.Sum256([]byte(access))
	now := p.now().Unix()
	c := Claims{
		"iss":       p.Base,
		"sub":       p.Subject,
		"aud":       asked.Get("client_id"),
		"iat":       now,
		"exp":       now + 300,
		"auth_time": now,
		"nonce":     asked.Get("nonce"),
		"at_hash":   base64.RawURLEncoding.EncodeToString(sum[:16]),
	}

	for name, v := range p.Persona {
		c[name] = v
	}
	if p.IDToken != nil {
		p.IDToken(c)
	}

	if p.Sign != nil {
		return p.Sign(c)
	}
	return SignIDToken(p.t, p.Key, c)
}

// SignIDToken signs claims with a key, as an IDP whose key it is.
func SignIDToken(t testing.TB, key crypto.Signer, c Claims) string {
	t.Helper()
	compact, err := jose.Sign(key, jose.Header{KeyID: IDPKeyID}, "", c.JSON(t))
	must(t, err)
	return compact
}

func (p *IDP) userinfo(w http.ResponseWriter) {
	c := Claims{"sub": p.Subject}
	for name, v := range p.Persona {
		c[name] = v
	}
	if p.UserInfo != nil {
		p.UserInfo(c)
	}
	p.json(w, http.StatusOK, json.RawMessage(bytes.TrimSpace(c.JSON(p.t))))
}
