package client

import (
	"context"
	"crypto/x509"
	"errors"
	"strings"
	"testing"

	"fhirdest.example/certs"
	"fhirdest.example/udap/trace"
)

func newClient(t *testing.T, cfg Config) *Client {
	t.Helper()
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func goodRegistration() Registration {
	return Registration{ClientName: "Test App", Contacts: []string{"mailto:a@example.org"}, Scope: "system/Patient.rs"}
}

func goodB2B() *B2B {
	return &B2B{
		OrganizationID: "https://example.org/fhir/Organization/1",
		PurposeOfUse:   []string{"urn:oid:2.16.840.1.113883.5.8#TREAT"},
	}
}

func TestWholeSession(t *testing.T) {
	// Covers: S2-07, S2-11, S2-20, S1-066, S1-067, S1-071, S1-223, S1-224, S1-225, S1-226, S1-227, S1-228, ER-21
	w, ctx := newEnv(t), context.Background()
	for _, kind := range []certs.KeyKind{"p256", "rsa2048"} {
		t.Run(string(kind), func(t *testing.T) {
			cfg := w.config()
			id := w.leaf(w.a, kind, "https://client.example/"+string(kind)+"#x")
			cfg.Chain, cfg.Key = id.Chain, id.Key
			c := newClient(t, cfg)
			d, err := c.Discover(ctx)
			noError(t, d.Trace, err)
			reg, err := c.Register(ctx, d, goodRegistration())
			noError(t, reg.Trace, err)

			if !reg.New || reg.Scope != "system/Patient.rs" {
				t.Fatalf("registered %+v", reg)
			}
			again, err := c.Register(ctx, d, goodRegistration())
			noError(t, again.Trace, err)
			if again.New || again.ClientID != reg.ClientID {
				t.Fatalf("changed %+v, first %+v", again, reg)
			}

			tok, err := c.Token(ctx, d, TokenRequest{ClientID: reg.ClientID, Scope: reg.Scope, B2B: goodB2B()})
			noError(t, tok.Trace, err)
			read, err := c.Get(ctx, "Patient/1", tok.Access)
			noError(t, read.Trace, err)
			if string(read.Reply.Body) != `{"resourceType":"Patient","id":"1"}` {
				t.Fatalf("read %s", read.Reply.Body)
			}
			gone, err := c.Cancel(ctx, d, goodRegistration())
			noError(t, gone.Trace, err)

			if !gone.Cancelled {
				t.Fatalf("cancelled %+v", gone)
			}
			late, err := c.Token(ctx, d, TokenRequest{ClientID: reg.ClientID, Scope: reg.Scope, B2B: goodB2B()})
			wantStop(t, late.Trace, err, "token.given", "Trace-Id is feed")
			if late.Refusal.Code != trace.InvalidClient || late.Refusal.Hint == "" {
				t.Fatalf("refusal %+v", late.Refusal)
			}
		})
	}
}

func noError(t *testing.T, tr *trace.Trace, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%v\n%+v", err, tr.Steps)
	}
	if len(tr.Steps) == 0 {
		t.Fatal("nothing was checked")
	}
	for _, s := range tr.Warnings() {
		t.Fatalf("warning: %+v", s)
	}
}

func wantStop(t *testing.T, tr *trace.Trace, err error, check, text string) {
	t.Helper()
	var e *trace.Error
	if !errors.As(err, &e) {
		t.Fatalf("error %v, want a refusal by %s", err, check)
	}
	last := tr.Steps[len(tr.Steps)-1]
	all := last.Expected + " " + last.Found + " " + last.Remedy
	if e.Check != check || last.Check != check || !strings.Contains(all, text) {
		t.Fatalf("stopped by %s: %q; want %s with %q", e.Check, all, check, text)
	}
}

func TestOwnFaults(t *testing.T) {
	// Covers: S2-11, S1-075, S1-076, S1-202, S1-221, D-02, D-11, D-18, D-20
	w, ctx := newEnv(t), context.Background()
	two := w.leaf(w.a, "p256", "https://client.example/1", "https://client.example/2/")
	none := w.leaf(w.a, "p256")
	old := w.leafWith(w.a, "p256", func(t *certs.Template) { t.NotAfter = epoch.Add(-1) }, clientURI)
	cases := []struct {
		name        string
		cfg         func(*Config)
		reg         func(*Registration)
		check, text string
	}{
		{"no identity", func(c *Config) { c.Key = nil }, nil, "own.certificate", "certificate chain of this client"},
		{"CA first", func(c *Config) {
			c.Chain = []*x509.Certificate{c.Chain[1], c.Chain[0]}
		}, nil, "own.certificate", "is a CA"},
		{"expired", func(c *Config) { c.Chain, c.Key = old.Chain, old.Key }, nil, "own.certificate", "counts from"},
		{"no URI", func(c *Config) { c.Chain, c.Key = none.Chain, none.Key }, nil, "own.uri", "ask the community"},
		{"two URIs", func(c *Config) {
			c.Chain, c.Key = two.Chain, two.Key
		}, nil, "own.uri", "https://client.example/1, https://client.example/2/"},
		{"another URI", func(c *Config) {
			c.ClientURI = "https://client.example/app#one/"
		}, nil, "own.uri", "slash at the end"},
		{"key of another", func(c *Config) {
			c.Key = two.Key
		}, nil, "register.posted", "not that of the certificate"},
		{"wrong algorithm", func(c *Config) { c.Algorithm = "ES384" }, nil, "discover.algorithm", "ES384"},
		{"no name", nil, func(r *Registration) { r.ClientName = "" }, "register.parameters", "client_name"},
		{"no contact", nil, func(r *Registration) {
			r.Contacts = []string{"a@example.org"}
		}, "register.parameters", "mailto"},
		{"no scope", nil, func(r *Registration) { r.Scope = "" }, "register.parameters", "scope"},
		{"both grants", nil, func(r *Registration) {
			r.GrantTypes = []string{grantCode, grantClientCredentials}
		}, "register.parameters", "either"},
		{"redirect for a machine", nil, func(r *Registration) {
			r.RedirectURIs = []string{"https://x/"}
		}, "register.parameters", "no redirect_uris"},
		{"code without redirect", nil, func(r *Registration) {
			r.GrantTypes = []string{grantCode}
		}, "register.parameters", "redirect_uris"},
		{"redirect not https", nil, func(r *Registration) {
			r.GrantTypes, r.RedirectURIs = []string{grantCode}, []string{"http://x/"}
		}, "register.parameters", "https redirect_uris"},
		{"no logo", nil, func(r *Registration) {
			r.GrantTypes, r.RedirectURIs, r.LogoURI = []string{grantCode}, []string{"https://x/"}, "https://x/logo.svg"
		}, "register.parameters", "logo_uri"},
		{"refresh for a machine", nil, func(r *Registration) {
			r.GrantTypes = []string{grantClientCredentials, grantRefresh}
		}, "register.parameters", "alone"},
		{"grant not offered", nil, func(r *Registration) {
			r.GrantTypes, r.RedirectURIs, r.LogoURI = []string{grantCode}, []string{"https://x/"}, "https://x/logo.png"
		}, "discover.grant", "authorization_code"},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			cfg, reg := w.config(), goodRegistration()
			if tc.cfg != nil {
				tc.cfg(&cfg)
			}
			if tc.reg != nil {
				tc.reg(&reg)
			}
			c := newClient(t, cfg)
			d, err := c.Discover(ctx)
			noError(t, d.Trace, err)

			out, err := c.Register(ctx, d, reg)
			wantStop(t, out.Trace, err, tc.check, tc.text)
		})
	}

	for _, r := range w.dest.seen() {
		if strings.HasPrefix(r, "POST") {
			t.Fatalf("%s was sent although we were at fault", r)
		}
	}
}

func TestTokenFaults(t *testing.T) {
	// Covers: S2-20, S2-21, S1-221
	w, ctx := newEnv(t), context.Background()
	c := newClient(t, w.config())
	d, err := c.Discover(ctx)
	noError(t, d.Trace, err)

	for name, tc := range map[string]struct {
		req         TokenRequest
		check, text string
	}{
		"not registered": {TokenRequest{B2B: goodB2B()}, "token.posted", "register first"},
		"no organisation": {
			TokenRequest{ClientID: "x", B2B: &B2B{PurposeOfUse: []string{"a"}}},
			"token.hl7-b2b",
			"organization_id",
		},
		"no purpose": {
			TokenRequest{ClientID: "x", B2B: &B2B{OrganizationID: "urn:x"}},
			"token.hl7-b2b",
			"purpose_of_use",
		},
		"consent, no policy": {
			TokenRequest{
				ClientID: "x",
				B2B: &B2B{
					OrganizationID:   "urn:x",
					PurposeOfUse:     []string{"a"},
					ConsentReference: []string{"https://x"},
				},
			},
			"token.hl7-b2b",
			"consent_policy",
		},
	} {
		t.Run(name, func(t *testing.T) {
			out, err := c.Token(ctx, d, tc.req)
			wantStop(t, out.Trace, err, tc.check, tc.text)
			_ = name
		})
	}

	for _, r := range w.dest.seen() {
		if strings.HasPrefix(r, "POST") {
			t.Fatalf("%s was sent although we were at fault", r)
		}
	}
}

func TestOtherCommunityIsRefused(t *testing.T) {
	w, ctx := newEnv(t), context.Background()
	cfg := w.config()
	stranger := w.leaf(w.b, "p256", clientURI)
	cfg.Chain, cfg.Key = stranger.Chain[:1], stranger.Key
	c := newClient(t, cfg)
	d, err := c.Discover(ctx)
	noError(t, d.Trace, err)
	out, err := c.Register(ctx, d, goodRegistration())
	wantStop(t, out.Trace, err, "register.accepted", "unapproved_software_statement")

	if out.Refusal.Code != trace.UnapprovedSoftwareStatement || !strings.Contains(out.Refusal.Hint, "anchor") ||
		out.Refusal.TraceID != "feed" || out.Refusal.Page == "" {
		t.Fatalf("refusal %+v", out.Refusal)
	}
}

func TestDemandsOfACommunity(t *testing.T) {
	// Covers: D-38
	w, ctx := newEnv(t), context.Background()
	cfg := w.config()
	cfg.Verifier.Communities[0].Policy.RequiredMetadata = []string{"client_uri", "policy_uri", "contacts"}
	c := newClient(t, cfg)
	d, err := c.Discover(ctx)
	noError(t, d.Trace, err)
	reg := goodRegistration()
	reg.PolicyURI = "https://client.example/policy"

	out, err := c.Register(ctx, d, reg)
	if got := out.Trace.Warnings(); err != nil || len(got) != 1 || got[0].Expected != "client_uri" {
		t.Fatalf("error %v, warnings %+v: want one for client_uri", err, got)
	}
}
