package client

import (
	"context"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"fhirdest.example/certs"
	"fhirdest.example/udap"
	"fhirdest.example/udap/trace"
	"fhirdest.example/udap/udaptest"
)

const callback = "https://client1.test/callback"

// login is a client that has registered with an identity provider and is about to
// send a person there.
type login struct {
	*Client
	env     *udaptest.Env
	idp     *udaptest.IDP
	found   *Discovery
	openid  *OpenID
	request Authorization
}

func newLogin(t *testing.T) *login {
	t.Helper()
	env := udaptest.New(t, certs.P256)
	now := func() time.Time { return env.Now }
	idp := udaptest.NewIDP(t, func(base string) *udaptest.Client {
		return env.ClientWith(t, env.A.Int, base, udaptest.Key(t, certs.RSA2048, 21), nil)
	}, env.Verifier(), now)

	ours := env.Client(t, env.A.Int, udaptest.Client1URI, nil)
	roots := x509.NewCertPool()
	roots.AddCert(idp.Certificate())
	c := must(New(Config{
		Base:      idp.Base,
		Community: udaptest.CommunityA,
		Chain:     ours.Chain,
		Key:       ours.Key,
		Verifier: &udap.Verifier{
			Communities: []*udap.Community{env.A.Community},
			Revocation:  env,
		},
		TLSRoots: roots,
		Now:      now,
	}))
	t.Cleanup(c.Close)

	l := &login{Client: c, env: env, idp: idp}
	l.register(t)
	return l
}

func (l *login) register(t *testing.T) {
	t.Helper()
	ctx := context.Background()
	var err error
	l.found, err = l.Discover(ctx)
	noError(t, l.found.Trace, err)
	l.openid, err = l.OpenID(ctx, l.idp.Base)
	noError(t, l.openid.Trace, err)

	reg, err := l.Register(ctx, l.found, Registration{
		ClientName:   "Clinic",
		Contacts:     []string{"mailto:ops@client1.test"},
		LogoURI:      "https://client1.test/logo.png",
		RedirectURIs: []string{callback},
		GrantTypes:   []string{"authorization_code"},
		Scope:        "openid udap",
	})
	noError(t, reg.Trace, err)

	l.request = Authorization{
		ClientID:    reg.ClientID,
		RedirectURI: callback,
		Scope:       "openid udap",
		State:       NewSecret(),
		Verifier:    NewSecret(),
		Nonce:       NewSecret(),
	}
}

// visit sends a browser to the provider and returns the query that it comes back with.
func (l *login) visit(t *testing.T) string {
	t.Helper()
	target, err := l.AuthorizationURL(l.found, l.request, trace.NewTrace("login", l.env.Now))
	if err != nil {
		t.Fatal(err)
	}

	browser := l.idp.Server.Client()
	browser.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	res, err := browser.Get(target)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()

	back := res.Header.Get("Location")
	if res.StatusCode != http.StatusFound || !strings.HasPrefix(back, callback+"?") {
		t.Fatalf("%s to %q", res.Status, back)
	}
	return strings.TrimPrefix(back, callback+"?")
}

// tokens visits the provider and exchanges the code.
func (l *login) tokens(t *testing.T) *Token {
	t.Helper()
	tr := trace.NewTrace("login", l.env.Now)
	back, err := ReadRedirect(l.visit(t), l.request.State, l.openid.Issuer, l.openid.AnnouncesIssuer, tr)
	if err != nil {
		t.Fatal(err)
	}

	token, err := l.Exchange(context.Background(), l.found, CodeRequest{
		ClientID:    l.request.ClientID,
		Code:        back.Code,
		RedirectURI: callback,
		Verifier:    l.request.Verifier,
		Scope:       l.request.Scope,
	})
	noError(t, token.Trace, err)

	return token
}

func (l *login) verify(token *Token, maxAge time.Duration) (*IDToken, *trace.Trace, error) {
	tr := trace.NewTrace("login", l.env.Now)
	id, err := l.VerifyIDToken(context.Background(), l.openid, token.IDToken, ExpectIDToken{
		ClientID: l.request.ClientID,
		Nonce:    l.request.Nonce,
		Access:   token.Access,
		MaxAge:   maxAge,
	}, tr)
	return id, tr, err
}

// A person signs in at an identity provider, and the client learns who it is.
// Covers: S1-245, S1-247, S1-248, S1-249, S1-250, S1-253, S1-256
func TestLogin(t *testing.T) {
	l := newLogin(t)
	l.idp.Persona["fhirUser"] = "Patient/1"
	token := l.tokens(t)
	id, tr, err := l.verify(token, 0)
	noError(t, tr, err)
	if id.Issuer != l.idp.Base || id.Subject != "person-1" || !id.AuthTime.Equal(l.env.Now) ||
		id.Text("fhirUser") != "Patient/1" {
		t.Errorf("%+v", id)
	}

	info, err := l.UserInfo(context.Background(), l.openid, token.Access, id.Subject)
	noError(t, info.Trace, err)
	if info.Text("fhirUser") != "Patient/1" {
		t.Errorf("userinfo %v", info.claims)
	}

	q := l.idp.Seen()[0]
	if q.Get("response_type") != "code" || q.Get("scope") != "openid udap" || q.Get("redirect_uri") != callback ||
		q.Get("state") != l.request.State || q.Get("code_challenge") != challenge(l.request.Verifier) {
		t.Errorf("request %v", q)
	}
}

// What comes back to the redirect URI is used only if it answers the request.
// Covers: S1-270, S1-272, case 207, case 210
func TestRedirectsRefused(t *testing.T) {
	const state, issuer = "the-state", "https://idp.test"
	for name, row := range map[string]struct {
		query     string
		announced bool
		found     string
	}{
		"no state":            {"code=1", false, "another one"},
		"another state":       {"code=1&state=x", false, "another one"},
		"two states":          {"code=1&state=the-state&state=x", false, "two values of state"},
		"two codes":           {"code=1&code=2&state=the-state", false, "two values of code"},
		"another issuer":      {"code=1&state=the-state&iss=https://x.test", false, "x.test"},
		"no announced issuer": {"code=1&state=the-state", true, `iss ""`},
		"code and error":      {"code=1&error=access_denied&state=the-state", false, "both or neither"},
		"nothing":             {"state=the-state", false, "both or neither"},
		"bad escape":          {"code=%zz&state=the-state", false, "escape"},
		"error, other state":  {"error=access_denied&state=x", false, "another one"},
	} {
		t.Run(name, func(t *testing.T) {
			tr := trace.NewTrace("login", epoch)
			_, err := ReadRedirect(row.query, state, issuer, row.announced, tr)
			wantStop(t, tr, err, "login.answer", row.found)
			if strings.Contains(name, "other state") != errors.Is(err, ErrState) &&
				!strings.HasSuffix(name, " state") {
				t.Errorf("cause %v", err)
			}
		})
	}

	tr := trace.NewTrace("login", epoch)
	r, err := ReadRedirect("error=access_denied&error_description=no&state=the-state&iss="+url.QueryEscape(issuer),
		state, issuer, true, tr)
	if err != nil || r.Refusal == nil || r.Refusal.Code != trace.AccessDenied || r.Code != "" {
		t.Errorf("an error of the server: %+v, %v", r, err)
	}
}

// Each claim of an ID token that is not as it must be ends the login.
// Covers: S1-282, S1-289, S1-290, case 213
func TestIDTokenClaimsRefused(t *testing.T) {
	l := newLogin(t)
	at := func(d time.Duration) int64 { return l.env.Now.Add(d).Unix() }
	own := string(l.request.ClientID)
	for name, row := range map[string]struct {
		claim string
		value any
		check string
	}{
		"another issuer":       {"iss", "https://x.test", "iss"},
		"issuer with a slash":  {"iss", l.idp.Base + "/", "iss"},
		"no issuer":            {"iss", udaptest.Absent, "iss"},
		"another audience":     {"aud", "another", "aud"},
		"two audiences":        {"aud", []string{own, "another"}, "aud"},
		"no audience":          {"aud", udaptest.Absent, "aud"},
		"another azp":          {"azp", "another", "aud"},
		"expired":              {"exp", at(-2 * time.Minute), "times"},
		"exp as text":          {"exp", "4102444800", "times"},
		"no exp":               {"exp", udaptest.Absent, "times"},
		"a year of life":       {"exp", at(365 * 24 * time.Hour), "times"},
		"issued in the future": {"iat", at(time.Hour), "times"},
		"issued last week":     {"iat", at(-7 * 24 * time.Hour), "times"},
		"no iat":               {"iat", udaptest.Absent, "times"},
		"a fraction":           {"iat", 1.5e9 + .5, "times"},
		"signed in long ago":   {"auth_time", at(-time.Hour), "times"},
		"will sign in":         {"auth_time", at(time.Hour), "times"},
		"no auth_time":         {"auth_time", udaptest.Absent, "times"},
		"another nonce":        {"nonce", "another", "nonce"},
		"no nonce":             {"nonce", udaptest.Absent, "nonce"},
		"no sub":               {"sub", udaptest.Absent, "sub"},
		"an empty sub":         {"sub", "", "sub"},
		"a long sub":           {"sub", strings.Repeat("x", 300), "sub"},
		"sub with NUL":         {"sub", "person-1\x00", "sub"},
		"sub in look-alikes":   {"sub", "pers\u043en-1", "sub"},
		"another at_hash":      {"at_hash", "x", "at_hash"},
	} {
		t.Run(name, func(t *testing.T) {
			l.idp.IDToken = func(c udaptest.Claims) { c[row.claim] = row.value }
			_, tr, err := l.verify(l.tokens(t), 5*time.Minute)
			var e *trace.Error
			if !errors.As(err, &e) || e.Check != "id_token."+row.check {
				t.Errorf("%v\n%+v", err, tr.Steps)
			}
		})
	}
}

// A nonce is good for the one request that it was sent with.
// Covers: case 213
func TestNonceOfAnotherLogin(t *testing.T) {
	l := newLogin(t)
	token := l.tokens(t)
	l.request.Nonce = NewSecret()
	_, tr, err := l.verify(token, -1)
	wantStop(t, tr, err, "id_token.nonce", "another one")
}

// Only a key that the issuer publishes signs an ID token, by an algorithm that the
// issuer announces; what the header brings is never trusted.
// Covers: S1-282, case 212
func TestIDTokenSignaturesRefused(t *testing.T) {
	l := newLogin(t)
	other := udaptest.Key(t, certs.RSA2048, 22)
	segment := func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }
	raw := func(header string) func(udaptest.Claims) string {
		return func(c udaptest.Claims) string {
			return udaptest.Raw{Alg: "RS256", Key: l.idp.Key}.Sign(t, []byte(header), c.JSON(t))
		}
	}

	stranger := l.env.ClientWith(t, l.env.X.Int, l.idp.Base, l.idp.Key, nil)
	otherCommunity := l.env.ClientWith(t, l.env.B.Int, l.idp.Base, l.idp.Key, nil)

	for name, row := range map[string]struct {
		sign func(udaptest.Claims) string
		text string
	}{
		"alg none": {func(c udaptest.Claims) string {
			return segment(`{"alg":"none"}`) + "." + segment(string(c.JSON(t))) + "."
		}, "signature"},
		"HS256": {raw(`{"alg":"HS256","kid":"idp-1"}`), "alg"},
		"a key of another provider": {func(c udaptest.Claims) string {
			return udaptest.SignIDToken(t, other, c)
		}, "another key"},
		"an algorithm that is not announced": {raw(`{"alg":"RS384","kid":"idp-1"}`), "RS384"},
		"jwk in the header":                  {raw(`{"alg":"RS256","kid":"idp-1","jwk":{}}`), "jwk"},
		"jku in the header":                  {raw(`{"alg":"RS256","kid":"idp-1","jku":"https://x.test"}`), "jku"},
		"a chain to a stranger": {func(c udaptest.Claims) string {
			return stranger.Sign(t, c)
		}, "another chain"},
		"a chain to another community": {func(c udaptest.Claims) string {
			return otherCommunity.Sign(t, c)
		}, "another chain"},
		"x5c of another key": {func(c udaptest.Claims) string {
			header := udaptest.Header("RS256", l.idp.Own.Chain...)
			return udaptest.Raw{Alg: "RS256", Key: l.idp.Key}.Sign(t, header, c.JSON(t))
		}, "another key"},
		"an access token's type": {raw(`{"alg":"RS256","kid":"idp-1","typ":"at+jwt"}`), "typ"},
		"nothing":                {func(udaptest.Claims) string { return "" }, "none"},
	} {
		t.Run(name, func(t *testing.T) {
			l.idp.Sign = row.sign
			_, tr, err := l.verify(l.tokens(t), -1)
			wantStop(t, tr, err, "id_token.signature", row.text)
		})
	}

	l.idp.Sign = raw(`{"alg":"RS256","kid":"another"}`)
	_, tr, err := l.verify(l.tokens(t), -1)
	wantStop(t, tr, err, "id_token.keys", "another")
}

// The metadata of OpenID Connect must be the issuer's, and keep to its origin;
// userinfo must be about the same person.
// Covers: case 208, case 215
func TestOpenIDRefused(t *testing.T) {
	l := newLogin(t)
	ctx := context.Background()
	for name, row := range map[string]struct {
		change func(udaptest.Claims)
		text   string
	}{
		"another issuer":      {func(c udaptest.Claims) { c["issuer"] = "https://x.test" }, "x.test"},
		"a slash":             {func(c udaptest.Claims) { c["issuer"] = l.idp.Base + "/" }, "slash"},
		"keys elsewhere":      {func(c udaptest.Claims) { c["jwks_uri"] = "https://x.test/jwks" }, "jwks_uri at"},
		"userinfo elsewhere":  {func(c udaptest.Claims) { c["userinfo_endpoint"] = "https://x.test/" }, "userinfo"},
		"no keys":             {func(c udaptest.Claims) { delete(c, "jwks_uri") }, "none"},
		"an issuer of a kind": {func(c udaptest.Claims) { c["issuer"] = 1 }, "issuer"},
	} {
		t.Run(name, func(t *testing.T) {
			l.idp.OpenID = row.change
			p, err := l.OpenID(ctx, l.idp.Base)
			wantStop(t, p.Trace, err, "openid.metadata", row.text)
		})
	}

	l.idp.OpenID = nil
	token := l.tokens(t)
	for name, handler := range map[string]func(http.ResponseWriter, *http.Request){
		"somebody else": nil,
		"a redirect": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "https://x.test", http.StatusFound)
		},
		"a JWT": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/jwt")
			_, _ = w.Write([]byte("e30.e30."))
		},
	} {
		t.Run("userinfo: "+name, func(t *testing.T) {
			l.idp.Answer["userinfo"] = handler
			if u, err := l.UserInfo(ctx, l.openid, token.Access, "another"); err == nil || u.claims != nil {
				t.Errorf("accepted: %v", u.claims)
			}
		})
	}
}
