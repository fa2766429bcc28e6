package server_test

import (
	"context"
	"strings"
	"testing"

	"fhirdest.example/certs"
	"fhirdest.example/server/servertest"
	"fhirdest.example/udap/client"
)

// A client of the first edition sends no scope to the token endpoint and bare
// codes as purposes of use. Where the community's profile is ssraa-1 it gets
// what it registered, and the trace has what a stricter server will want; where
// it is ssraa-2 and scope is required it is refused.
//
// Covers: D-44
func TestFirstEditionByConfiguration(t *testing.T) {
	const (
		noScope  = "the registered scopes were granted; a stricter server refuses a request without scope"
		bareCode = "a bare code is accepted because the community's policy allows it (purposeCodes: any)"
	)
	d := servertest.Start(t, func(w *servertest.Env) {
		strict, codes := true, "uri"
		w.Config.Communities[0].Profile = "ssraa-1"
		w.Config.Communities[1].Policy.ScopeRequired = &strict
		w.Config.Communities[1].Policy.PurposeCodes = &codes
	})

	old := &client.B2B{
		OrganizationName: "HTEST clinic",
		OrganizationID:   "https://clinic.test/organization/1",
		PurposeOfUse:     []string{"TREAT"},
	}
	for _, c := range []struct {
		name    string
		request client.TokenRequest
		told    []string // by the trace, under edition 1
		refused string   // the code, under edition 2
	}{
		{"no scope", client.TokenRequest{B2B: servertest.Treatment()}, []string{noScope}, "invalid_scope"},
		{"bare code", client.TokenRequest{Scope: "system/Patient.rs", B2B: old}, []string{bareCode}, "invalid_grant"},
		{"both", client.TokenRequest{B2B: old}, []string{noScope, bareCode}, "invalid_grant"},
	} {
		t.Run(c.name, func(t *testing.T) {
			old, read := askedBy(t, d, d.A, c.request)
			if old.Scope != "system/Patient.rs" || read != 200 {
				t.Errorf("%s under edition 1: granted %q, reading %d: %+v", c.name, old.Scope, read, old.Refusal)
			}
			trace := adminGet(t, d, "/traces/"+old.Reply.TraceID)

			for _, words := range []string{noScope, bareCode} {
				if want := strings.Contains(strings.Join(c.told, "\n"), words); strings.Contains(trace, words) != want {
					t.Errorf("%s under edition 1: told %q is not %v:\n%s", c.name, words, want, trace)
				}
			}

			if strict, _ := askedBy(t, d, d.B, c.request); strict.Refusal == nil ||
				string(strict.Refusal.Code) != c.refused {
				t.Errorf("%s under edition 2: %+v", c.name, strict.Refusal)
			}
		})
	}
}

// askedBy sends a token request of a new client of a community, and reads with
// what it got.
func askedBy(
	t *testing.T, d *servertest.Destination, c *certs.Community, r client.TokenRequest,
) (tok *client.Token, read int) {
	t.Helper()
	s := d.Session(c, d.Client(c, "https://client1.test/app"), "system/Patient.rs")
	r.ClientID = s.Registered.ClientID
	tok, err := s.Client.Token(context.Background(), s.Discovered, r)
	if err != nil {
		return tok, 0
	}

	res, _ := d.Get("/acme/fhir/Patient", "Authorization", "Bearer "+tok.Access)
	return tok, res.StatusCode
}
