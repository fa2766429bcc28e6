package oauth_test

import (
	"encoding/json"
	"testing"
	"time"

	"fhirdest.example/certs"
	"fhirdest.example/server/oauth"
	"fhirdest.example/udap"
	"fhirdest.example/udap/trace"
	"fhirdest.example/udap/udaptest"
)

const certificationURI = "https://certifier.test/basic"

func certify(e *env, signer *udaptest.Client, edit ...func(udaptest.Claims) udaptest.Claims) string {
	claims := udaptest.Claims{
		"iss": signer.URI, "sub": udaptest.Client1URI, "jti": udaptest.JTI(), "iat": e.now().Add(
			-time.Hour).Unix(), "exp": e.now().AddDate(2, 0, 0).Unix(),
		"certification_name": "Basic", "certification_uris": []string{certificationURI}, "grant_types": []string{"client_credentials"},
		"certification_status_endpoint": e.canary,
	}
	for _, f := range edit {
		claims = f(claims)
	}
	return e.secret(signer.Sign(e.t, claims))
}

// Covers: S1-033, S1-034, S1-116, S1-117, S1-118, S2-05, S2-17, case 117, case 127
func TestCertifications(t *testing.T) {
	for _, needed := range []bool{false, true} {
		e := newMetadataEnv(t, func(w *udaptest.Env, c *oauth.Config) {
			p := &w.A.Community.Policy
			p.Certifications = []string{certificationURI}
			if needed {
				p.CertificationsNeeded = p.Certifications
				p.Certifiers = []udap.Certifier{{URI: "https://certifier.test/"}}
			}
		})
		a := e.metadata(udaptest.CommunityA)
		supported, _ := json.Marshal(a.member("udap_certifications_supported"))

		required, _ := json.Marshal(a.member("udap_certifications_required"))
		if string(supported) != `["`+certificationURI+`"]` || (string(required) == `[]`) == needed {
			t.Errorf("metadata: supported %s, required %s", supported, required)
		}
		testCertifications(t, e, needed)
	}
}

func testCertifications(t *testing.T, e *env, needed bool) {
	c := e.client(e.w.A, udaptest.Client1URI)
	certifier := e.w.ClientWith(t, e.w.A.Int, "https://certifier.test/", udaptest.Key(t, certs.KeyKind("p256"), 50),
		nil)
	stranger := e.w.ClientWith(t, e.w.X.Int, "https://certifier.test/", udaptest.Key(t, certs.KeyKind("p256"), 51), nil)
	post := func(list []string) answer {
		return e.postRegistration(e.registerBody(c.Sign(t, c.Statement(e.now())), map[string]any{
			"certifications": list,
		}))
	}

	good := certify(e, certifier)
	if a := post([]string{good}); a.status != 201 || len(a.member("certifications").([]any)) != 1 ||
		a.member("certifications").([]any)[0] != good {
		t.Errorf("good: %d %s", a.status, a.body)
	}

	for name, tc := range map[string]struct{ jwt, code string }{
		"none":          {"", "invalid_client_metadata"},
		"bad signature": {good[:len(good)-4] + "AAAA", "invalid_certification"},
		"untrusted":     {certify(e, stranger), "unapproved_certification"},
		"expired": {
			certify(e, certifier, with("exp", e.now().Add(-time.Hour).Unix()),
				with("iat", e.now().Add(-2*time.Hour).Unix())),
			"invalid_certification",
		},
		"other client": {certify(e, certifier, with("sub", udaptest.Client2URI)), "invalid_certification"},
		"four years":   {certify(e, certifier, with("exp", e.now().AddDate(4, 0, 0).Unix())), "invalid_certification"},
		"other server": {certify(e, certifier, with("aud", "https://other.test/")), "invalid_certification"},
		"contradicts": {
			certify(e, certifier, with("grant_types", []string{"authorization_code"})),
			"invalid_certification",
		},
		"unknown": {
			certify(e, certifier, with("certification_uris", []string{"https://other.test/x"})),
			"invalid_client_metadata",
		},
		"no JWT": {"x", "invalid_client_metadata invalid_certification"},
	} {
		list := []string{tc.jwt}
		if tc.jwt == "" {
			list = []string{}
		}
		if needed {
			e.refused(name, 400, tc.code, spendsNothing, func() answer { return post(list) })
			continue
		}

		a := post(list)
		if a.status != 200 || a.member("certifications") != nil {
			t.Errorf("%s: %d %s", name, a.status, a.body)
		}
		reg, err := e.store.Client(t.Context(), trace.ClientID(a.text("client_id")))
		if err != nil || len(reg.Certifications) != 0 {
			t.Errorf("%s: kept after the change: %+v, %v", name, reg, err)
		}
	}
}

// Covers: S1-105, S2-10
func TestCommunityDemandsMetadata(t *testing.T) {
	e := newEnv(t, func(c *oauth.Config) {
		c.Verifier.Communities[0].Policy.RequiredMetadata = []string{"client_uri", "tos_uri"}
	})
	c := e.client(e.w.A, udaptest.Client1URI)
	e.refused("without", 400, "invalid_client_metadata", spendsNothing, func() answer {
		return e.register(c, c.Statement(e.now()))
	})
	e.registered(c, with("client_uri", "https://client1.test"), with("tos_uri", "https://client1.test/tos"))
	e.registered(e.client(e.w.B, udaptest.Client1URI)) // the other community demands nothing
}

// Covers: S1-028, S1-063, S1-198, case 160
func TestTEFCA(t *testing.T) {
	uri := "https://client1.test/app#T-IAS"
	e := newMetadataEnv(t, func(w *udaptest.Env, c *oauth.Config) {
		c.Resources = func([]byte) error { return nil }
		w.A.Community.Policy.PurposeFromSAN = true
		w.A.Community.Policy.PurposesOfUse = udap.TEFCAEditions()[0].URIs()
	})
	listed, _ := json.Marshal(e.metadata(udaptest.CommunityA).member("udap_authorization_extensions_supported"))
	other, _ := json.Marshal(e.metadata(udaptest.CommunityB).member("udap_authorization_extensions_supported"))
	if string(listed) != `["hl7-b2b","hl7-b2b-user","tefca_ias"]` ||
		string(other) != `["hl7-b2b","hl7-b2b-user"]` {
		t.Errorf("extensions: %s and %s", listed, other)
	}

	c := e.client(e.w.A, uri)
	id := e.registered(c)
	b := udaptest.B2B()
	b["purpose_of_use"] = []string{"urn:oid:2.16.840.1.113883.3.7204.1.5.2.1#T-IAS"}
	ask := func(ext map[string]any) answer {
		ext[udap.B2BKey] = b
		return e.token(c, udaptest.Assertion(id, e.now()).With("extensions", ext))
	}
	e.refused("no tefca_ias", 400, "invalid_grant", spendsJTI, func() answer { return ask(map[string]any{}) })

	e.refused("its old name", 400, "invalid_grant", spendsJTI, func() answer {
		return ask(map[string]any{"tefca-ias": map[string]any{"id_token": "x"}})
	})
	a := ask(map[string]any{
		"tefca_ias": map[string]any{
			"version":             "1",
			"id_token":            e.secret("a-secret-identity-token-0123456789"),
			"patient_information": map[string]any{"resourceType": "Patient", "id": "HTEST"},
			"consent_policy":      []string{"urn:oid:2.16.840.1.113883.3.7204.1.1.1.1.2.1"},
		},
	})
	if a.status != 200 {
		t.Fatalf("%d %s", a.status, a.body)
	}

	access, err := e.bearer(a.text("access_token"))
	const kept = `{"version":"1","consent_policy":["urn:oid:2.16.840.1.113883.3.7204.1.1.1.1.2.1"]}`
	if err != nil || len(access.Extensions) != 2 || access.Extensions[udap.B2BKey] == nil ||
		string(access.Extensions[udap.IASKey]) != kept {
		t.Errorf("kept of the context: %v, %v", access, err)
	}
}
