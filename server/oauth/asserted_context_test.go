package oauth_test

import (
	"crypto/sha256"
	"encoding/base64"
	"net/url"
	"strings"
	"testing"

	"fhirdest.example/server/oauth"
	"fhirdest.example/udap"
	"fhirdest.example/udap/trace"
	"fhirdest.example/udap/udaptest"
)

// personal is a client of a person, in one community.
type personal struct {
	*env
	client *udaptest.Client
	id     trace.ClientID
}

func newPersonal(t *testing.T, uri string, rule udap.UserRule) *personal {
	t.Helper()
	e := newEnv(t, func(c *oauth.Config) {
		c.Interaction = nobody{}
		c.Resources = func([]byte) error { return nil }
		c.Personal = catalogue(t, "openid", "offline_access", "patient/Patient.rs")
		c.Verifier.Communities[0].Policy.B2BUser = rule
		c.Verifier.Communities[0].Policy.PurposeFromSAN = strings.Contains(uri, "#T-")
	})
	c := e.client(e.w.A, uri)
	a := e.register(c, c.Interactive(e.now()).With("scope", "openid offline_access patient/Patient.rs"))
	if a.status != 201 {
		t.Fatalf("registration: %d %s", a.status, a.body)
	}

	return &personal{e, c, trace.ClientID(a.text("client_id"))}
}

// code has a person approve, and returns the code and its verifier.
func (p *personal) code() (code, verifier string) {
	p.t.Helper()
	verifier = strings.Repeat("v", 43)
	sum := sha256.Sum256([]byte(verifier))
	r, err := p.svc.ParseAuthorization(p.t.Context(), url.Values{
		"response_type":         {"code"},
		"client_id":             {string(p.id)},
		"redirect_uri":          {"https://client1.test/cb"},
		"state":                 {"a-state"},
		"scope":                 {"offline_access patient/Patient.rs"},
		"code_challenge":        {base64.RawURLEncoding.EncodeToString(sum[:])},
		"code_challenge_method": {"S256"},
	}.Encode(), nil)
	if err != nil {
		p.t.Fatal(err)
	}

	redirect, err := p.svc.Approve(p.t.Context(), r, oauth.Approval{
		Person:  oauth.Person{Subject: "person-1", SignedIn: p.now()},
		Patient: "p1",
		Scope:   r.Scope,
	})
	if err != nil {
		p.t.Fatal(err)
	}

	u, err := url.Parse(redirect)
	if err != nil {
		p.t.Fatal(err)
	}
	return u.Query().Get("code"), verifier
}

// redeem exchanges a new code, with these extensions in the authentication token.
func (p *personal) redeem(extensions any) answer {
	p.t.Helper()
	code, verifier := p.code()
	return p.token(p.client, udaptest.Assertion(p.id, p.now()).With("extensions", extensions),
		"grant_type", "authorization_code", "code", code, "redirect_uri", "https://client1.test/cb",
		"code_verifier", verifier, "scope", "-")
}

func (p *personal) refresh(token string, extensions any) answer {
	p.t.Helper()
	return p.token(p.client, udaptest.Assertion(p.id, p.now()).With("extensions", extensions),
		"grant_type", "refresh_token", "refresh_token", p.secret(token), "scope", "-")
}

// The context of a person's client is what hl7-b2b-user asserts, validated; hl7-b2b,
// which belongs to businesses, is never recorded. A refreshed token has the context
// of its grant.
//
// Covers: S1-199, S2-21, S2-22, case 158, case 159
func TestContextOfAPersonsClient(t *testing.T) {
	const treat, shownUser = "8#TREAT", `"hl7-b2b-user":{"version":"1","purpose_of_use":["urn:oid:2.16.840.1.113883.5.8#PATRQT"]`
	bad := user()
	bad["purpose_of_use"] = "none"
	p := newPersonal(t, udaptest.Client1URI, udap.UserOptional)

	for _, row := range []struct {
		name       string
		extensions any
		refused    bool
		warned     bool
		shown      string // at introspection; empty: no context
	}{
		{"none", udaptest.Absent, false, false, ""},
		{"a business's", map[string]any{udap.B2BKey: udaptest.B2B()}, false, true, ""},
		{"a bad one of a business", map[string]any{udap.B2BKey: "x"}, false, true, ""},
		{"a person's", map[string]any{udap.B2BUserKey: user()}, false, false, shownUser},
		{"both", map[string]any{udap.B2BUserKey: user(), udap.B2BKey: udaptest.B2B()}, false, true, shownUser},
		{"a bad one of a person", map[string]any{udap.B2BUserKey: bad}, true, false, ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			a := p.redeem(row.extensions)
			if row.refused {
				p.checkRefusal(row.name, a, "invalid_grant")
				return
			}

			if a.status != 200 || warned(p.lastTrace(), "token.extension") != row.warned {
				t.Fatalf("%d %s, warnings %v", a.status, a.body, p.lastTrace().Warnings())
			}

			next := p.refresh(a.text("refresh_token"), udaptest.Absent)
			if next.status != 200 {
				t.Fatalf("refresh: %d %s", next.status, next.body)
			}

			for _, token := range []string{a.text("access_token"), next.text("access_token")} {
				shown := string(p.tell("/oauth/introspect", p.client, p.id, token).body)
				if strings.Contains(shown, treat) || !strings.Contains(shown, row.shown) ||
					strings.Contains(shown, "extensions") != (row.shown != "") {
					t.Errorf("shown: %s", shown)
				}
			}

			if strings.Contains(p.dump(), "1974-12-25") {
				t.Error("particulars of the person are stored")
			}
		})
	}
}

// Where a community requires hl7-b2b-user, no first token is issued without it, and
// a mistake in it does not use up the code's grant; a refresh need not repeat it.
func TestRequiredUserOfAPersonsClient(t *testing.T) {
	p := newPersonal(t, udaptest.Client1URI, udap.UserRequired)
	p.checkRefusal("none", p.redeem(udaptest.Absent), "invalid_grant")

	a := p.redeem(map[string]any{udap.B2BUserKey: user()})
	if a.status != 200 {
		t.Fatalf("%d %s", a.status, a.body)
	}
	refused := p.refresh(a.text("refresh_token"), map[string]any{udap.B2BUserKey: "x"})
	p.checkRefusal("a bad one at a refresh", refused, "invalid_grant")
	if next := p.refresh(a.text("refresh_token"), udaptest.Absent); next.status != 200 {
		t.Errorf("refresh: %d %s", next.status, next.body)
	}
}

// A person's client for individual access need not send tefca_ias; one that it sends
// is validated, and recognised under its old name.
func TestIndividualAccessOfAPersonsClient(t *testing.T) {
	p := newPersonal(t, "https://client1.test/app#T-IAS", udap.UserOptional)
	for name, row := range map[string]struct {
		extensions any
		status     int
		warned     string
	}{
		"none":         {udaptest.Absent, 200, ""},
		"the old name": {map[string]any{"tefca-ias": map[string]any{}}, 200, "b2b.extensions"},
		"no id_token":  {map[string]any{udap.IASKey: map[string]any{"version": "1"}}, 400, ""},
		"no patient": {map[string]any{udap.IASKey: map[string]any{
			"version":  "1",
			"id_token": "e30.e30.c2ln",
		}}, 200, "ias.patient_information"},
	} {
		t.Run(name, func(t *testing.T) {
			a := p.redeem(row.extensions)
			if a.status != row.status || row.warned != "" && !warned(p.lastTrace(), row.warned) {
				t.Errorf("%d %s\n%+v", a.status, a.body, p.lastTrace().Warnings())
			}
		})
	}
}
