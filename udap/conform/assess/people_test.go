package assess_test

import (
	"net/url"
	"testing"

	"fhirdest.example/udap/conform"
	"fhirdest.example/udap/udaptest"
)

// personRows are about the exchange of codes and refresh tokens.
var personRows = []rowTest{
	{"S1-136", person, func(s *script) {
		readyForPerson(s)
		s.authorize(nil)
		s.redeem()
		s.redeem()
	}, "the code was used before"},
	{"S1-139", person, nil, ""},
	{"S1-141", person, personForm(with("grant_type", "code")), "grant_type is none that"},
	{"S1-142", person, personForm(without("code")), "has no code"},
	{"S1-142", nil, func(s *script) {
		readyForPerson(s)
		s.posts(url.Values{
			"grant_type": {"authorization_code"},
			"code":       {"invented"},
		}, 400, `{"error":"invalid_grant"}`)
	}, "none that was issued here"},
	{"S1-143", person, personForm(with("redirect_uri", redirect+"/")), "not that of the authorization request"},
	{"S1-163", person, func(s *script) {
		readyForPerson(s)
		s.send("PUT", token, "application/x-www-form-urlencoded", "grant_type=authorization_code", 405, "", "{}")
	}, "the token request is a PUT"},
	{"S1-164", person, func(s *script) {
		readyForPerson(s)
		s.authorize(nil)
		s.head = "Authorization: Basic abcd\r\n"
		s.redeem()
	}, "has an Authorization header"},
	{"S1-167", person, func(s *script) {
		readyForPerson(s)
		s.authorize(without("redirect_uri"))
		s.form = with("redirect_uri", redirect)
		s.redeem()
	}, "asked for without it"},
	{"S1-169", person, personForm(with("client_assertion_type", "jwt")), "client_assertion_type is not that"},
	{"S1-170", person, personForm(without("client_assertion")), "no client_assertion"},
	{"S1-171", person, personForm(with("udap", "true")), "no udap with the value 1"},
	{"S1-185", person, func(s *script) {
		readyForPerson(s)
		s.token()
	}, "registered for authorization_code asked for a token by client_credentials"},
	{"S1-199", person, func(s *script) {
		readyForPerson(s)
		s.authorize(nil)
		s.claims = change("extensions", map[string]any{"hl7-b2b": udaptest.B2B()})
		s.redeem()
	}, "hl7-b2b object is sent in the code flow"},
	{"S1-231", person, nil, ""},
	{"S1-232", person, func(s *script) {
		readyForPerson(s)
		s.authorize(nil)
		s.redeem()
		s.form = with("grant_type", "refresh")
		s.refresh("refresh-3")
	}, "grant_type is none that"},
	{"S1-233", person, func(s *script) {
		readyForPerson(s)
		s.posts(url.Values{"grant_type": {"refresh_token"}}, 400, "{}")
	}, "no refresh_token"},
	{"S1-234", person, func(s *script) {
		readyForPerson(s)
		s.authorize(nil)
		s.redeem()
		s.form = without("client_assertion")
		s.refresh("refresh-3")
	}, "no client_assertion"},
	{"C-05", person, func(s *script) {
		readyForPerson(s)
		s.authorize(nil)
		s.redeem()
		s.refresh("refresh-3")
		s.refresh("refresh-3")
	}, "that was replaced is used again"},
}

// askingRows are about authorization requests.
var askingRows = []rowTest{
	{"S1-127", accepted, func(s *script) {
		readyForPerson(s)
		s.traces = decided("authorize.redirect_uri", "https://other.test/cb")
		s.authorize(nil)
	}, "https://other.test/cb"},
	{"S1-128", person, asking(with("response_type", "token")), "response_type is not code"},
	{"S1-129", person, asking(without("client_id")), "has no client_id"},
	{"S1-129", nil, asking(with("client_id", udaptest.Client1URI)), "client_id of the authorization request is a URI"},
	{"S1-130", person, nil, ""},
	{"S1-236", tiered("udap"), tiered("user/Patient.rs"), "without the scope udap"},
	{"S1-237", tiered("udap"), asking(func(q url.Values) {
		q.Set("scope", "udap")
		q.Set("idp", "idp.test")
	}), "idp is not the base URL"},
	{"S1-244", func(s *script) {
		readyForPerson(s)
		s.answer = func(q url.Values) {
			q.Del("code")
			q.Set("error", "invalid_idp")
		}
		s.authorize(nil)
		s.authorize(nil)
	}, nil, ""},
	{"S1-256", asking(with("scope", "openid udap")), asking(with("scope", "udap")), "without openid and without idp"},
	{"S1-274", func(s *script) {
		readyForPerson(s)
		s.answer = with("state", "altered")
		s.authorize(nil)
		s.authorize(nil)
	}, func(s *script) {
		readyForPerson(s)
		s.answer = with("state", "altered")
		s.authorize(nil)
		s.redeem()
	}, "although state of the answer was not that of the request"},
	{"S1-275", person, asking(without("state")), "has no state"},
	{"S1-276", person, func(s *script) {
		readyForPerson(s)
		s.authorize(with("state", "the-one-and-only-state"))
		s.authorize(with("state", "the-one-and-only-state"))
	}, "the same state was sent before"},
	{"S1-276", nil, asking(with("state", "xyz")), "state can be guessed"},
	{"S2-13", person, asking(without("code_challenge")), "has no code_challenge"},
	{"S2-13", nil, asking(with("code_challenge_method", "plain")), "code_challenge_method is not S256"},
	{"S2-13", nil, personForm(without("code_verifier")), "redeemed without code_verifier"},
	{"C-06", person, func(s *script) {
		readyForPerson(s)
		s.authorize(with("code_challenge", "the-same"))
		s.authorize(with("code_challenge", "the-same"))
	}, "the same code_challenge was sent before"},
	{"C-07", asking(with("nonce", "n-1")), func(s *script) {
		readyForPerson(s)
		s.authorize(with("nonce", "n-1"))
		s.authorize(with("nonce", "n-1"))
	}, "the same nonce was sent before"},
}

// accepted asks for a code, and the destination finds nothing wrong.
func accepted(s *script) {
	readyForPerson(s)
	s.traces = passing("authorize.redirect_uri", "authorize.parameters")
	s.authorize(nil)
}

// tiered names a provider with a scope.
func tiered(scope string) func(s *script) {
	return asking(func(q url.Values) {
		q.Set("scope", scope)
		q.Set("idp", "https://idp.test/oidc")
	})
}

// Covers: S1-136, S1-139, S1-140, S1-141, S1-142, S1-143, S1-145, S1-163, S1-164, S1-165, S1-166, S1-167, S1-168,
// S1-169, S1-170, S1-171, S1-185, S1-199, S1-222, S1-231, S1-232, S1-233, S1-234
func TestCodesAndRefreshTokens(t *testing.T) { run(t, conform.SSRAA2, personRows) }

// Covers: S1-127, S1-128, S1-129, S1-130, S1-188, S1-189, S1-236, S1-237, S1-244, S1-256, S1-274, S1-275, S1-276,
// S2-13
func TestAuthorizationRequests(t *testing.T) { run(t, conform.SSRAA2, askingRows) }
