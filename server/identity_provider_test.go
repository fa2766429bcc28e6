package server_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"fhirdest.example/server"
	"fhirdest.example/server/servertest"
)

// identityProvider is a destination with fhir: off under a base of its own.
func identityProvider(w *servertest.Env) {
	w.Config.Public, w.Config.FHIR = "https://fhir.test/idp", "off"
	w.Config.Private = strings.Replace(w.Config.Private, "/acme/fhir", "/idp", 1)
	for name, c := range map[string]int{"a": 0, "b": 1} {
		community := w.A
		if c == 1 {
			community = w.B
		}
		w.WriteIdentity(name, w.Issue(name, community, w.Key("rsa2048"), w.Config.Public))
	}
}

// With fhir: off there is no FHIR service at the base, nor a document about one;
// the metadata is there, lists the scopes of sign-in alone, and names endpoints
// below the base, which is the issuer, too.
// Covers: S1-027, S1-235, S2-23
func TestIdentityProvider(t *testing.T) {
	d := servertest.Start(t, identityProvider)
	for _, path := range []string{
		"/idp", "/idp/metadata", "/idp/Patient", "/idp/.well-known/smart-configuration",
		"/idp/Patient/1?_format=json",
	} {
		if res, text := d.Get(path); res.StatusCode != http.StatusNotFound ||
			!strings.HasPrefix(res.Header.Get("Content-Type"), "application/json") {
			t.Errorf("%s: %s %s", path, res.Status, text)
		}
	}

	res, text := d.Get("/idp/.well-known/udap")
	if res.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s", res.Status, text)
	}

	var m struct {
		Profiles     []string `json:"udap_profiles_supported"`
		Grants       []string `json:"grant_types_supported"`
		Token        string   `json:"token_endpoint"`
		Registration string   `json:"registration_endpoint"`
	}
	if err := json.Unmarshal([]byte(text), &m); err != nil {
		t.Fatal(err)
	}

	if m.Token != "https://fhir.test/idp/token" || m.Registration != "https://fhir.test/idp/register" {
		t.Errorf("endpoints %s and %s", m.Token, m.Registration)
	}
	if !slices.Contains(m.Profiles, "udap_to") || slices.Contains(m.Grants, "client_credentials") {
		t.Errorf("profiles %q, grant types %q", m.Profiles, m.Grants)
	}
	if res, text := d.Get("/.well-known/oauth-authorization-server/idp"); res.StatusCode != http.StatusOK ||
		!strings.Contains(text, `"issuer":"https://fhir.test/idp"`) {
		t.Errorf("RFC 8414: %s %s", res.Status, text)
	}
}

// What is wrong with the identity providers of a configuration is complained
// about, all at once.
func TestIdentityProvidersChecked(t *testing.T) {
	w := servertest.NewEnv(t)
	own := server.Certificate{Chain: "a.pem", Key: "a.key"}
	w.Config.IDPs = []server.IDP{
		{Base: "http://idp.test/idp", Community: servertest.URIA, Certificate: own},
		{Base: "https://idp.test/idp", Community: "urn:nobody", Certificate: own},
		{Base: "https://idp.test/idp", Community: servertest.URIB, Contact: "ops@idp.test"},
		{
			Base:        "https://idp2.test/idp",
			Community:   servertest.URIB,
			Certificate: own,
			Match:       []string{"email"},
		},
	}

	err := w.Config.Check(time.Now())
	for _, want := range []string{
		"idps[0].base", "idps[1].community", "idps[2].base: https://idp.test/idp is already idps[1]",
		"idps[2]: no key pair", "idps[2].contact", "idps: there is no users: file",
		`idps[3].match[0]: "email" cannot be compared`, "idps[3].match: only email",
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("no complaint %q in:\n%v", want, err)
		}
	}
}
