package oauth_test

import (
	"crypto"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"fhirdest.example/server/oauth"
	"fhirdest.example/server/oauth/dpop"
	"fhirdest.example/udap/client"
	"fhirdest.example/udap/jose"
	"fhirdest.example/udap/trace"
	"fhirdest.example/udap/udaptest"
)

const (
	tokenURL = issuer + "/token"
	dataURL  = udaptest.Base + "/Patient"
)

// holder is a client with a key to which its tokens are bound.
type holder struct {
	*env

	client *udaptest.Client
	id     trace.ClientID
	key    crypto.Signer
	proofs *client.Proofs
}

func newHolder(t *testing.T, edit ...func(*oauth.Config)) *holder {
	t.Helper()
	e, c, id := clientEnv(t, edit...)
	h := &holder{
		env:    e,
		client: c,
		id:     id,
	}
	h.key, h.proofs = newProofs(t, 7)
	return h
}

// newProofs makes proofs by the nth key of the tests.
func newProofs(t *testing.T, n int) (crypto.Signer, *client.Proofs) {
	t.Helper()
	key := udaptest.Key(t, "p256", n)
	p, err := client.ProofsWith(key)
	if err != nil {
		t.Fatal(err)
	}
	return key, p
}

// proof makes a proof by the holder's key; token is empty for the token endpoint.
func (h *holder) proof(method, url, token string) string {
	h.t.Helper()
	p, err := h.proofs.Proof(method, url, token, h.now())
	if err != nil {
		h.t.Fatal(err)
	}
	return h.secret(p)
}

// form is a good token request with a new assertion.
func (h *holder) form() url.Values {
	return h.env.form(h.client.Sign(h.t, udaptest.Assertion(h.id, h.now())))
}

// ask sends a token request with these proofs.
func (h *holder) ask(form url.Values, proofs ...string) answer {
	h.t.Helper()
	a := h.send("POST", "/oauth/token", "application/x-www-form-urlencoded", form.Encode(),
		http.Header{"Dpop": proofs})
	if text := a.text("access_token"); text != "" {
		h.secret(text)
	}
	return a
}

// bound is a token that is bound to the holder's key.
func (h *holder) bound() string {
	h.t.Helper()
	a := h.ask(h.form(), h.proof("POST", tokenURL, ""))
	if a.status != 200 || a.text("token_type") != "DPoP" {
		h.t.Fatalf("token: %d %s", a.status, a.body)
	}
	return a.text("access_token")
}

// use presents a token for data.
func (h *holder) use(scheme, token string, proofs ...string) (*oauth.Access, error) {
	r := dataRequest(scheme + " " + token)
	r.Header["Dpop"] = proofs
	return h.svc.BearerRequest(r, func(*http.Request) string { return dataURL })
}

// usable asserts that a token with a new proof is accepted.
func (h *holder) usable(token string) {
	h.t.Helper()
	access, err := h.use("DPoP", token, h.proof("GET", dataURL, token))
	if err != nil || access.Confirmation != h.proofs.Thumbprint() {
		h.t.Errorf("%+v, %v", access, err)
	}
}

// A token that was asked for with a proof is bound to the proof's key: so say the
// answer and introspection, and it is worth nothing to somebody without the key.
// Covers: case 178, case 228, case 230
func TestBoundToken(t *testing.T) {
	h := newHolder(t)
	token := h.bound()
	h.usable(token)
	a := h.tell("/oauth/introspect", h.client, h.id, token)
	cnf, _ := a.member("cnf").(map[string]any)
	if a.text("token_type") != "DPoP" || cnf["jkt"] != h.proofs.Thumbprint() {
		t.Errorf("introspection: %s", a.body)
	}

	stranger := &holder{env: h.env}
	_, stranger.proofs = newProofs(t, 8)
	unbound := h.issued(h.client, h.id)
	another := h.bound()
	for name, row := range map[string]struct {
		scheme, token string
		proofs        []string
		code          trace.Code
		challenge     string
	}{
		"as a bearer token": {"Bearer", token, nil, trace.InvalidToken, `Bearer error="invalid_token"`},
		"as a bearer token, proven": {
			"Bearer", token, []string{h.proof("GET", dataURL, token)}, trace.InvalidToken,
			"Bearer",
		},
		"without a proof": {"DPoP", token, nil, trace.InvalidDPoPProof, "DPoP"},
		"with two proofs": {
			"DPoP", token, []string{h.proof("GET", dataURL, token), "x"}, trace.InvalidDPoPProof,
			"DPoP",
		},
		"by another key": {
			"DPoP", token, []string{stranger.proof("GET", dataURL, token)}, trace.InvalidDPoPProof,
			"DPoP",
		},
		"for another token": {
			"DPoP", token, []string{h.proof("GET", dataURL, another)}, trace.InvalidDPoPProof,
			"DPoP",
		},
		"for the token endpoint": {
			"DPoP", token, []string{h.proof("POST", tokenURL, "")}, trace.InvalidDPoPProof, "DPoP",
		},
		"for another method": {
			"DPoP", token, []string{h.proof("PUT", dataURL, token)}, trace.InvalidDPoPProof,
			"DPoP",
		},
		"for another URL": {
			"DPoP", token, []string{h.proof("GET", dataURL+"/1", token)}, trace.InvalidDPoPProof,
			"DPoP",
		},
		"for the private URL": {
			"DPoP", token,
			[]string{h.proof("GET", "https://destination.localhost/fhir/Patient", token)},
			trace.InvalidDPoPProof, "DPoP",
		},
		"a bearer token, proven": {
			"DPoP", unbound, []string{h.proof("GET", dataURL, unbound)}, trace.InvalidToken,
			"DPoP",
		},
		"no token of this server":    {"DPoP", "x", []string{h.proof("GET", dataURL, "x")}, trace.InvalidToken, "DPoP"},
		"a bearer token in capitals": {"BEARER", unbound, nil, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := h.use(row.scheme, row.token, row.proofs...)
			if row.code == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}

			var got *oauth.Refusal
			if !errors.As(err, &got) || got.Of.Code != row.code || got.Status != http.StatusUnauthorized ||
				!strings.HasPrefix(got.Header.Get("WWW-Authenticate"), row.challenge) || got.Trace != h.lastTrace().ID {
				t.Errorf("%+v, %v", got, err)
			}
		})
	}

	h.usable(token)
}

// A proof is used once at a resource: again, at once, and after a restart.
func TestProofOnceAtResource(t *testing.T) {
	h := newHolder(t)
	token := h.bound()
	proof := h.proof("GET", dataURL, token)
	var accepted atomic.Int32
	var wg sync.WaitGroup

	for range 50 {
		wg.Go(func() {
			if _, err := h.use("DPoP", token, proof); err == nil {
				accepted.Add(1)
			} else if oauth.RefusalOf(err).Of.Check != "dpop.jti" {
				t.Error(err)
			}
		})
	}

	wg.Wait()
	if n := accepted.Load(); n != 1 {
		t.Errorf("one proof was accepted %d times", n)
	}

	h.restart()
	if _, err := h.use("DPoP", token, proof); oauth.RefusalOf(err).Of.Check != "dpop.jti" {
		t.Errorf("after a restart: %v", err)
	}
	h.usable(token)
}

// A proof at the token endpoint is used up with what it brought, and so is the
// assertion beside a proof that was used before; one that is refused before the
// client is known uses up nothing.
func TestProofOnceAtToken(t *testing.T) {
	h := newHolder(t)
	proof := h.proof("POST", tokenURL, "")
	var accepted atomic.Int32
	var wg sync.WaitGroup

	for range 20 {
		form := h.form()
		wg.Go(func() {
			// The last trace may be another request's: only the answer is this one's.
			if a := h.ask(form, proof); a.status == 200 {
				accepted.Add(1)
			} else if a.status != 400 || a.text("error") != "invalid_dpop_proof" {
				t.Errorf("race: %d %s", a.status, a.body)
			}
		})
	}

	wg.Wait()
	if n := accepted.Load(); n != 1 {
		t.Errorf("one proof brought %d tokens", n)
	}

	h.restart()
	form := h.form()
	h.refused("used before", 400, "invalid_dpop_proof", spendsJTI, func() answer { return h.ask(form, proof) })
	h.refused("the assertion beside it", 400, "invalid_client", spendsNothing, func() answer {
		return h.ask(form, h.proof("POST", tokenURL, ""))
	})

	form = h.form()
	h.refused("for another URL", 400, "invalid_dpop_proof", spendsNothing, func() answer {
		return h.ask(form, h.proof("POST", issuer+"/introspect", ""))
	})
	h.refused("two", 400, "invalid_dpop_proof", spendsNothing, func() answer { return h.ask(form, proof, proof) })
	late := h.proof("POST", tokenURL, "")
	h.advance(2 * time.Minute)
	h.refused("old", 400, "invalid_dpop_proof", spendsNothing, func() answer { return h.ask(form, late) })

	if a := h.ask(form, h.proof("POST", tokenURL, "")); a.status != 200 {
		t.Errorf("the assertion was not used up, and yet: %d %s", a.status, a.body)
	}
}

// A refused request uses up assertion and proof, like one that is granted.
func TestProofOfRefusedRequest(t *testing.T) {
	h := newHolder(t)
	form, proof := h.form(), h.proof("POST", tokenURL, "")
	form.Set("scope", "system/Unknown.rs")
	before := h.store.LiveJTI()
	if a := h.ask(form, proof); a.text("error") != "invalid_scope" {
		t.Fatalf("%d %s", a.status, a.body)
	}
	if n := h.store.LiveJTI() - before; n != 2 {
		t.Errorf("%d jti were used up, want those of the assertion and of the proof", n)
	}

	if a := h.ask(h.form(), proof); a.text("error") != "invalid_dpop_proof" {
		t.Errorf("the proof again: %d %s", a.status, a.body)
	}
}

// Where a nonce is demanded, the answer has it, nothing is used up, and a nonce of
// an earlier process or of ten minutes ago is asked for again.
func TestDPoPNonce(t *testing.T) {
	h := newHolder(t, func(c *oauth.Config) { c.DPoPNonce = true })
	form := h.form()
	first := h.refused("no nonce", 400, "use_dpop_nonce", spendsNothing, func() answer {
		return h.ask(form, h.proof("POST", tokenURL, ""))
	})
	nonce := first.header.Get("DPoP-Nonce")
	if nonce == "" {
		t.Fatal("no DPoP-Nonce")
	}

	a := h.ask(form, h.proofWith("POST", tokenURL, "", nonce))
	token := a.text("access_token")
	if a.status != 200 || token == "" {
		t.Fatalf("with the nonce: %d %s", a.status, a.body)
	}

	if _, err := h.use("DPoP", token, h.proofWith("GET", dataURL, token, nonce)); err != nil {
		t.Error(err)
	}
	demanded := func(name, nonce string) {
		t.Helper()
		_, err := h.use("DPoP", token, h.proofWith("GET", dataURL, token, nonce))
		got := oauth.RefusalOf(err)
		if err == nil || got.Status != 401 || got.Of.Code != trace.UseDPoPNonce || got.Header.Get("DPoP-Nonce") == "" ||
			!strings.HasPrefix(got.Header.Get("WWW-Authenticate"), `DPoP error="use_dpop_nonce"`) {
			t.Errorf("%s: %+v", name, got)
		}
	}
	demanded("no nonce", "")

	h.restart()
	demanded("of an earlier process", nonce)
	h.advance(10 * time.Minute)
	demanded("old", nonce)
}

// proofWith makes a proof with a nonce; empty: without one.
func (h *holder) proofWith(method, target, token, nonce string) string {
	h.t.Helper()
	claims := udaptest.Claims{
		"jti": udaptest.JTI(),
		"htm": method,
		"htu": target,
		"iat": h.now().Unix(),
	}

	if token != "" {
		claims["ath"] = dpop.Hash(token)
	}
	if nonce != "" {
		claims["nonce"] = nonce
	}

	proof, err := jose.Sign(h.key, jose.Header{
		Type: "dpop+jwt",
		JWK:  true,
	}, "", claims.JSON(h.t))
	if err != nil {
		h.t.Fatal(err)
	}

	return h.secret(proof)
}
