package main

import (
	"context"
	"crypto/x509"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"fhirdest.example/certs"
	"fhirdest.example/cmd/internal/testbed"
	"fhirdest.example/server"
	"fhirdest.example/udap/client"
)

// mutation is a change under which exactly its claim must fail.
type mutation struct {
	claim string
	why   string
	want  string // part of the reason
	make  func(t *testing.T, d *demo)
}

// mutations change what the demonstration is given; those of the actors'
// configurations are below.
var mutations = []mutation{
	{"discovery", "the anchor known is another community's", "chain.path", func(t *testing.T, d *demo) {
		d.verifier.Communities[0].Anchors = d.verifier.Communities[1].Anchors
	}},
	{"registered", "the certificate is of an issuer that no community has", "unapproved_software_statement", func(t *testing.T, d *demo) {
		d.manifest.Communities[0].Issuer = testbed.KeyPair{Cert: "tls/ca.pem", Key: "tls/ca.key"}
		d.main, d.discovery = nil, nil
		if _, err := showDiscovery(t.Context(), d); err != nil {
			t.Fatal(err)
		}
	}},
	{"token", "the client_id is nobody's", "invalid_client", func(t *testing.T, d *demo) {
		reg := *d.registered
		reg.ClientID = "nobody"
		d.registered = &reg
	}},
	{"data", "it does not come through the intermediaries", "evidence of gateway.jsonl", func(t *testing.T, d *demo) {
		c, err := d.newClient(d.community(0), d.main, "private", "")
		if err != nil {
			t.Fatal(err)
		}
		fresh, err := d.askToken(t.Context(), c, d.discovery, d.registered.ClientID,
			"system/Patient.rs system/Observation.read")
		if err != nil {
			t.Fatal(err)
		}

		d.main.client, d.token = c, fresh
		if _, err := d.search(t.Context(), c, "Observation?_count=1&_id=unlike-"+d.run); err != nil {
			t.Fatal(err)
		}
	}},
	{"straight", "the private address is the gateway's", "unrecognized name", func(t *testing.T, d *demo) {
		d.manifest.Addresses["private"] = d.manifest.Addresses["public"]
	}},
	{"replaced", "it is not replaced", "the same key as before", func(t *testing.T, d *demo) {
		d.replaceGateway = func(context.Context) (string, error) { return "", nil }
	}},
	{"either", "the other gateway changes a byte", "by the public listener the patient has other bytes", func(t *testing.T, d *demo) {
		d.manifest.Addresses["public"] = otherGateway(t, d, true)
		var err error
		if d.main.client, err = d.newClient(d.community(0), d.main, "public", ""); err != nil {
			t.Fatal(err)
		}
	}},
	{"either", "the other gateway keeps the body and changes the head", "the destination sent it 0 times", func(t *testing.T, d *demo) {
		d.manifest.Addresses["public"] = otherGateway(t, d, false)
		var err error
		if d.main.client, err = d.newClient(d.community(0), d.main, "public", ""); err != nil {
			t.Fatal(err)
		}
	}},
	{"names", "the delegate has the destination's certificate", "no certificate for delegate.localhost", func(t *testing.T, d *demo) {
		d.manifest.Addresses["delegate"] = d.manifest.Addresses["private"]
	}},
	{"names", "a hop behind it has the public name's certificate", "is good for localhost too", func(t *testing.T, d *demo) {
		d.manifest.Gateways = []string{d.manifest.Gateways[0], d.manifest.Gateways[0]}
		d.manifest.Addresses["delegate"] = d.manifest.Addresses["public"]
	}},
	{"copied", "what was copied is not all of the token", "401", func(t *testing.T, d *demo) {
		spoiled := *d.token
		spoiled.Access = spoiled.Access[1:]
		d.token = &spoiled
	}},
	{"minted", "the gateway holds the client's key", "the destination gave a token", func(t *testing.T, d *demo) {
		leak(t, d, d.main.identity)
		editGateway(t, d, ownPair, "  - cert: leaked.pem\n    key: leaked.key\n")
	}},
	{"at once", "the gateway keeps answers and gives them again", "still works", func(t *testing.T, d *demo) {
		d.manifest.Addresses["public"] = otherGateway(t, d, false)
	}},
	{"minted", "the gateway holds the client's key beside its own", "the destination gave a token", func(t *testing.T, d *demo) {
		leak(t, d, d.main.identity)
		editGateway(t, d, ownPair, ownPair+"  - cert: leaked.pem\n    key: leaked.key\n")
	}},
	{"person", "the password is another's", "refused the sign-in of ana", func(_ *testing.T, d *demo) {
		d.manifest.Users[0].Password = "another-password"
	}},
	{"person", "it is another person", "the ID token is about", func(_ *testing.T, d *demo) {
		d.manifest.Users[0].Username, d.manifest.Users[0].Password = d.manifest.Users[1].Username, d.manifest.Users[1].Password
	}},
	{"person", "the other record is a list of the person's own", "reads Patient?_count=1 too", func(_ *testing.T, d *demo) {
		d.manifest.Users[1].Patient = "Patient?_count=1"
	}},
	{"person", "it does not come through the intermediaries", "evidence of gateway.jsonl", func(t *testing.T, d *demo) {
		d.manifest.Addresses["public"] = otherGateway(t, d, false)
	}},
	{"tiered", "the provider is none of the destination's", "invalid_idp", func(_ *testing.T, d *demo) {
		d.manifest.IDP += "/"
	}},
	{"tiered", "the person has no account at the provider", "refused the sign-in of nobody", func(_ *testing.T, d *demo) {
		d.manifest.Users[0].Username = "nobody"
	}},
	{"tiered", "the account is somebody else's", "the ID token is about", func(_ *testing.T, d *demo) {
		d.manifest.Users[0].Username, d.manifest.Users[0].Password = d.manifest.Users[1].Username, d.manifest.Users[1].Password
	}},
	{"bound", "the copier has the key", "another key: 200, not 401", func(t *testing.T, d *demo) {
		key, err := client.NewProofs()
		if err != nil {
			t.Fatal(err)
		}
		d.newKey = func() (*client.Proofs, error) { return key, nil }
	}},
	{"consented", "the purpose is none that the patient denies", "for TREAT: 200, not 404", func(_ *testing.T, d *demo) {
		d.unwanted = "TREAT"
	}},
	{"consented", "the auditor is none", "lacks: application 110122", func(_ *testing.T, d *demo) {
		d.manifest.Auditor = &d.manifest.Clients[1]
	}},
	{"consented", "the record has no reads", "lacks: application read R patient 0", func(t *testing.T, d *demo) {
		d.auditorDial = auditorAsks(t, d, "AuditEvent", "_count=500", "_count=500&action:not=R")
	}},
	{"consented", "the record has no decisions of Consents", "lacks: steward AuthZ-Consent E Consent HMARKT 4", func(t *testing.T, d *demo) {
		d.auditorDial = auditorAsks(t, d, "AuditEvent", "_count=500", "_count=500&subtype:not=AuthZ-Consent")
	}},
	{"consented", "the record has no withdrawal", "lacks: application 110137 D patient 0", func(t *testing.T, d *demo) {
		d.auditorDial = auditorAsks(t, d, "AuditEvent", "_count=500", "_count=500&action:not=D")
	}},
	{"consented", "the record has no request with a dead token", "0 refusals with the trace", func(t *testing.T, d *demo) {
		d.auditorDial = auditorAsks(t, d, "AuditEvent", "outcome=4", "outcome=8")
	}},
	{"consented", "a disclosure is left out", "lacks: application Patient 1", func(t *testing.T, d *demo) {
		d.auditorDial = auditorAsks(t, d, "$disclosures", "_count=500", "_count=3")
	}},
	{"consented", "a refused read is a disclosure", "; steward HMARKT Patient 2", func(t *testing.T, d *demo) {
		d.auditorDial = gatewayWith(t, d, func(inner http.RoundTripper) http.RoundTripper {
			return miscounter{inner}
		})
	}},
	{"consented", "the chain is broken", "the destination is not sound", func(_ *testing.T, d *demo) {
		d.verifyAudit = verifierOf(func(r *server.AuditReport) { r.Intact = false })
	}},
	{"consented", "whatever is verified is sound", "nothing was found", func(_ *testing.T, d *demo) {
		d.verifyAudit = verifierOf(func(r *server.AuditReport) { r.Intact = true })
	}},
	{"consented", "verification names another record", "this was found: ", func(_ *testing.T, d *demo) {
		d.verifyAudit = verifierOf(func(r *server.AuditReport) {
			for i := range r.Findings {
				r.Findings[i].ID = "a1"
			}
		})
	}},
	{"examined", "the bad client makes no mistake", "the client with a wrong audience violates nothing", func(_ *testing.T, d *demo) {
		d.mistakenAud = func(found *client.Discovery) string { return found.Token }
	}},
	{"examined", "there is no lab where it should be", "404", func(_ *testing.T, d *demo) {
		d.manifest.Lab += "oratory"
	}},
	{"examined", "the gateway keeps answers and gives them again", "evidence of gateway.jsonl", func(t *testing.T, d *demo) {
		d.manifest.Addresses["public"] = otherGateway(t, d, false)
	}},
	{"revoked", "the list refuses everyone", "not revoked is refused, too", func(t *testing.T, d *demo) {
		d.manifest.Addresses["public"] = gatewayWith(t, d, func(inner http.RoundTripper) http.RoundTripper {
			return &refuser{inner: inner}
		})
	}},
	{"change", "the change is signed for another client URI", "made another registration", func(t *testing.T, d *demo) {
		p, err := d.newParty(d.community(0), "stranger", certs.P256)
		if err != nil {
			t.Fatal(err)
		}
		d.main = p
	}},
	{"gateway", "the program is the destination", "links fhirdest.example/", func(t *testing.T, d *demo) {
		d.gatewayPrograms = append(slices.Clone(d.gatewayPrograms),
			filepath.Join(filepath.Dir(d.gatewayPrograms[0]), "destination"))
	}},
	{"gateway", "it serves with the key of a community's issuer", " of " + testbed.CommunityA, func(t *testing.T, d *demo) {
		leakKey(t, d, d.manifest.Communities[0].Issuer.Key)
	}},
	{"gateway", "it serves with the key of a client", "the key of ", func(t *testing.T, d *demo) {
		leakKey(t, d, d.manifest.Clients[0].Key)
	}},
	{"gateway", "it has a client's key beside its own certificate", "holds the key of ", func(t *testing.T, d *demo) {
		editGateway(t, d, "tls/gateway.key", d.manifest.Clients[0].Key)
	}},
	{"gateway", "its configuration names an anchor", "holds a certificate of " + testbed.CommunityA, func(t *testing.T, d *demo) {
		text := mustRead(t, d.file("delegate.yaml"))
		if err := os.WriteFile(d.file("extra.yaml"),
			[]byte(strings.Replace(text, "ca: tls/ca.pem", "ca: a-root.pem", 1)), 0o600); err != nil {
			t.Fatal(err)
		}
		d.manifest.Configs["delegate"] = "extra.yaml"
	}},
}

// ownPair is what the gateway's configuration says of its certificate.
const ownPair = "  - cert: tls/gateway.pem\n    key: tls/gateway.key\n"

// leak writes a certificate and its key beside the gateway's configuration.
func leak(t *testing.T, d *demo, id *certs.Identity) {
	t.Helper()
	if err := certs.WriteIdentity(d.file("leaked.pem"), d.file("leaked.key"), id); err != nil {
		t.Fatal(err)
	}
}

// editGateway has the demonstration look at another configuration than the gateway's.
func editGateway(t *testing.T, d *demo, from, to string) {
	t.Helper()
	text := mustRead(t, d.file("gateway.yaml"))
	edited := strings.Replace(text, from, to, 1)
	if edited == text {
		t.Fatalf("gateway.yaml has no %q", from)
	}
	if err := os.WriteFile(d.file("leaked.yaml"), []byte(edited), 0o600); err != nil {
		t.Fatal(err)
	}
	d.manifest.Configs["gateway"] = "leaked.yaml"
}

// leakKey has the gateway's own name certified by nobody of a community, for a key of
// one.
func leakKey(t *testing.T, d *demo, keyFile string) {
	t.Helper()
	key, err := certs.LoadKey(d.file(keyFile))
	if err != nil {
		t.Fatal(err)
	}
	root, err := certs.NewRoot(certs.Template{
		CommonName: "localhost",
		DNS:        []string{"localhost"},
		NotBefore:  d.now(),
		NotAfter:   d.now().Add(time.Hour),
	}, key)
	if err != nil {
		t.Fatal(err)
	}

	leak(t, d, &certs.Identity{Chain: []*x509.Certificate{root.Cert}, Key: key})
	editGateway(t, d, ownPair, "  - cert: leaked.pem\n    key: leaked.key\n")
}

// TestEachClaimFailsUnderItsMutation shows that no claim holds by itself: the
// claims before it hold, and it alone is spoiled.
func TestEachClaimFailsUnderItsMutation(t *testing.T) {
	ownTemp(t)
	_, d := bedFor(t, testbed.Config{Separate: true}, nil)
	for _, m := range mutations {
		t.Run(m.claim+": "+m.why, func(t *testing.T) {
			spoiled, at := freshCopy(t, d), index(t, m.claim)
			for _, c := range claims[:min(at, 4)] { // what it builds upon
				if r := spoiled.showOne(t.Context(), c); r.outcome != held {
					t.Fatalf("%s before it: %s, %s", c.name, r.outcome, r.detail)
				}
			}

			m.make(t, spoiled)
			spoiled.settleTime = 3 * time.Second // what never comes is not waited for as long
			r := spoiled.showOne(t.Context(), claims[at])
			if r.outcome != failed || !strings.Contains(r.detail, m.want) {
				t.Errorf("%s (%s), expected FAILED with %q", r.outcome, r.detail, m.want)
			}
		})
	}
}

func index(t *testing.T, name string) int {
	t.Helper()
	i := slices.IndexFunc(claims, func(c claim) bool { return c.name == name })
	if i < 0 {
		t.Fatalf("no claim %q", name)
	}
	return i
}

// freshCopy is another demonstration against the same actors, with files of its
// own that a mutation may change.
func freshCopy(t *testing.T, d *demo) *demo {
	t.Helper()
	m := *d.manifest
	m.Communities = slices.Clone(m.Communities)
	m.Users = slices.Clone(m.Users)
	m.Addresses, m.Configs = maps.Clone(m.Addresses), maps.Clone(m.Configs)
	out, err := newDemo(d.dir, &m, time.Now)
	if err != nil {
		t.Fatal(err)
	}

	t.Cleanup(func() { _ = out.close() })
	out.replaceGateway, out.revokeTime = d.replaceGateway, d.revokeTime
	out.gatewayPrograms, out.gatewayReason = d.gatewayPrograms, d.gatewayReason
	return out
}

// TestClaimsFailWhenTheActorsAreWrong runs the whole demonstration against a
// destination that does not look at revocation and takes two communities for
// one, and a relay that changes a byte: exactly these three claims fail.
func TestClaimsFailWhenTheActorsAreWrong(t *testing.T) {
	ownTemp(t)
	_, d := bedFor(t, testbed.Config{Tamper: true}, func(w *testbed.Env) {
		file := filepath.Join(w.Dir, "destination.yaml")
		text := mustRead(t, file)
		for _, r := range [][2]string{
			{
				"    anchors: ['a-root.pem']\n",
				"    anchors: ['a-root.pem', 'b-root.pem']\n    policy:\n      revocation: 'off'\n",
			},
			{"    anchors: ['b-root.pem']\n", "    anchors: ['b-root.pem']\n    sharedAnchors: true\n"},
		} {
			if !strings.Contains(text, r[0]) {
				t.Fatalf("%s has no %q", file, r[0])
			}
			text = strings.Replace(text, r[0], r[1], 1)
		}

		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	})

	var out strings.Builder
	results := d.showAll(t.Context(), claims, &out)
	expect(t, out.String(), map[string]string{
		"communities": "FAILED",
		"revoked":     "FAILED",
		"identical":   "FAILED",
	})

	if verdict(results) == nil {
		t.Error("the verdict is good")
	}

	for name, want := range map[string]string{
		"communities": "reached our registration", "revoked": "still worked 3s later", "identical": "differs at delegate",
	} {
		t.Run(name, func(t *testing.T) {
			if r := results[index(t, name)]; !strings.Contains(r.detail, want) {
				t.Errorf("%s: %q, want %q", name, r.detail, want)
			}
		})
	}
}
