package client

import (
	"context"
	"crypto/x509"
	"net/http"
	"strings"
	"testing"
	"time"

	"fhirdest.example/certs"
	"fhirdest.example/udap/trace"
)

// healthy makes the destination answer all that the doctor asks for.
func (w *env) healthy() {
	w.dest.answer["/acme/fhir/.well-known/smart-configuration"] = status(200, "application/json",
		`{"token_endpoint":"`+w.dest.issuer+`/token","scopes_supported":["system/Patient.rs"]}`)
	w.dest.answer["/acme/fhir/metadata"] = status(200, "application/fhir+json",
		`{"resourceType":"CapabilityStatement","implementation":{"description":"x","url":"`+w.dest.base+`"}}`)
}

func TestDoctorFindsNothingWrong(t *testing.T) {
	w := newEnv(t)
	w.healthy()
	r := newClient(t, w.config()).Doctor(context.Background())
	if r.Wrong != 0 || r.Doubtful != 0 {
		t.Fatalf("%d wrong, %d doubtful: %+v", r.Wrong, r.Doubtful, r.Trace.Steps)
	}

	for _, s := range w.dest.seen() {
		if strings.HasPrefix(s, "POST") {
			t.Fatalf("the doctor sent %s", s)
		}
	}
}

// A findCase is one fault that the doctor must find.
type findCase struct {
	name        string
	set         func(*env, *Config)
	check       string
	verdict     trace.Verdict
	text        string
	mayFailElse bool
}

func (tc findCase) run(t *testing.T, w *env) {
	w.dest.mu.Lock()
	w.dest.answer, w.dest.change, w.dest.changeClaims = map[string]http.HandlerFunc{}, nil, nil
	w.dest.mu.Unlock()
	good := w.dest.id
	defer func() { w.dest.id = good }()

	w.healthy()
	cfg := w.config()
	tc.set(w, &cfg)
	r := newClient(t, cfg).Doctor(context.Background())
	others := 0
	found := false

	for _, s := range r.Trace.Steps {
		if s.Check == tc.check && s.Verdict == tc.verdict &&
			strings.Contains(s.Expected+s.Found+s.Remedy, tc.text) {
			found = true
		} else if s.Verdict == trace.Refused || s.Verdict == trace.Warned {
			others++
		}
	}

	if !found || others > 0 && !tc.mayFailElse || r.Wrong+r.Doubtful == 0 {
		t.Fatalf("want %s %s with %q; %d others; got %+v", tc.check, tc.verdict, tc.text, others, r.Trace.Steps)
	}
}

func TestDoctorFindsFaultsOfTheClient(t *testing.T) {
	// Covers: D-11, D-12, D-13, D-14, D-15, D-17, D-18, D-20, D-22, D-23, D-25
	w := newEnv(t)
	for _, tc := range []findCase{
		{"chain reversed", func(w *env, c *Config) {
			c.Chain = []*x509.Certificate{c.Chain[0], w.b.Issuing.Cert}
		}, "doctor.own.chain", trace.Refused, "order the chain", true},
		{"CA first", func(w *env, c *Config) {
			c.Chain = []*x509.Certificate{w.a.Issuing.Cert}
		}, "own.certificate", trace.Refused, "is a CA", true},
		{"intermediate missing", func(_ *env, c *Config) {
			c.Chain = c.Chain[:1]
		}, "doctor.own.chain", trace.Warned, "A Issuing CA", true},
		{"certificate runs out", func(w *env, c *Config) {
			id := w.leafWith(w.a, "p256", func(t *certs.Template) {
				t.NotAfter = epoch.Add(48 * time.Hour)
			}, clientURI)
			c.Chain, c.Key = id.Chain, id.Key
		}, "own.certificate", trace.Warned, "renew it", false},
		{"no list", func(w *env, c *Config) {
			id := w.leafWith(w.a, "p256", func(t *certs.Template) {
				t.CRL = []string{"http://127.0.0.1:1/a.crl", "http://127.0.0.1:2/b.crl"}
			}, clientURI)
			c.Chain, c.Key = id.Chain, id.Key
		}, "chain.revocation", trace.Refused, "http://127.0.0.1:2/b.crl", false},
		{"other community", func(w *env, c *Config) {
			id := w.leaf(w.b, "p256", clientURI)
			c.Chain, c.Key = id.Chain, id.Key
		}, "chain.path", trace.Refused, "", true},
		{"curve", func(w *env, c *Config) {
			id := w.leaf(w.a, "p384", clientURI)
			c.Chain, c.Key, c.Algorithm = id.Chain, id.Key, "ES256"
		}, "register.posted", trace.Refused, "P-384", true},
		{"P-384 not accepted there", func(w *env, c *Config) {
			id := w.leaf(w.a, "p384", clientURI)
			c.Chain, c.Key = id.Chain, id.Key
		}, "discover.algorithm", trace.Refused, "ES384", false},
		{"fragment lost", func(w *env, c *Config) {
			c.Community, c.Verifier.Communities[0].URI = tefca, tefca
			id := w.leaf(w.a, "p256", "https://client.example/app")
			c.Chain, c.Key = id.Chain, id.Key
		}, "doctor.own.fragment", trace.Warned, "OpenSSL", true},
		{"web anchor as community anchor", func(w *env, c *Config) {
			c.Verifier.Communities[0].Anchors = []*x509.Certificate{w.tlsCA.Cert}
		}, "doctor.anchors", trace.Warned, "both as", true},
		{"anchor run out", func(w *env, c *Config) {
			c.Now = func() time.Time { return epoch.AddDate(2, 0, 0) }
		}, "doctor.anchors", trace.Refused, "present root", true},
		{"one anchor, two communities", func(w *env, c *Config) {
			other := w.communityB()
			other.Anchors = []*x509.Certificate{w.a.Root.Cert}
			c.Verifier.Communities = append(c.Verifier.Communities, other)
		}, "doctor.anchors", trace.Warned, "ambiguous", false},
		{"community anchor as web anchor", func(w *env, c *Config) {
			c.TLSRoots = x509.NewCertPool()
			c.TLSRoots.AddCert(w.a.Root.Cert)
		}, "reply.connect", trace.Refused, "another matter", true},
		{"clock", func(_ *env, c *Config) {
			c.Now = func() time.Time { return epoch.Add(90 * time.Second) }
		}, "reply.clock", trace.Warned, "90 s ahead", false},
		{"web certificate runs out", func(_ *env, c *Config) {
			c.Now = func() time.Time { return epoch.AddDate(0, 0, 20) }
		}, "doctor.tls", trace.Warned, "soon", true},
	} {
		t.Run(tc.name, func(t *testing.T) { tc.run(t, w) })
	}
}

func TestDoctorFindsFaultsOfTheServer(t *testing.T) {
	// Covers: D-01, D-03, D-04, D-06, D-08, D-20, D-31, D-40, D-41
	w := newEnv(t)
	for _, tc := range []findCase{
		{"base in no SAN", func(w *env, _ *Config) {
			w.dest.id = w.leaf(w.a, "rsa2048", w.dest.base+"/x", w.dest.base+"/y")
		}, "metadata.iss", trace.Refused, "/y", true},
		{"server certificate runs out", func(w *env, _ *Config) {
			w.dest.id = w.leafWith(w.a, "rsa2048", func(t *certs.Template) {
				t.NotAfter = epoch.Add(48 * time.Hour)
			}, w.dest.base)
		}, "doctor.server", trace.Warned, "operator", false},
		{"members", func(w *env, _ *Config) {
			w.dest.change = func(d map[string]any) {
				d["scopes_supported"] = "x"
				delete(d, "udap_versions_supported")
			}
		}, "doctor.members", trace.Warned, "udap_versions_supported is absent, scopes_supported has the wrong type", true},
		{"misspelt", func(w *env, _ *Config) {
			w.dest.change = func(d map[string]any) { d["authorize_endpoint"] = "https://x/" }
		}, "doctor.words", trace.Warned, "authorization_endpoint", false},
		{"private host", func(w *env, _ *Config) {
			w.dest.change = func(d map[string]any) { d["token_endpoint"] = "https://internal.example/token" }
		}, "doctor.hosts", trace.Warned, "internal.example", true},
		{"fhiruser", func(w *env, _ *Config) {
			w.dest.change = func(d map[string]any) {
				d["scopes_supported"] = []string{"system/Patient.rs", "fhiruser"}
			}
		}, "doctor.tiered", trace.Warned, "fhirUser", true},
		{"tiered without scopes", func(w *env, _ *Config) {
			w.dest.change = func(d map[string]any) {
				d["udap_profiles_supported"] = []string{"udap_dcr", "udap_authn", "udap_to"}
			}
		}, "doctor.tiered", trace.Warned, "udap_to without the scope openid, udap_to without the scope udap", false},
		{"SMART differs", func(w *env, _ *Config) {
			w.dest.answer["/acme/fhir/.well-known/smart-configuration"] = status(200, "application/json",
				`{"token_endpoint":"`+w.dest.issuer+`/token/","scopes_supported":["launch"]}`)
		}, "doctor.smart", trace.Warned, "slash at the end", false},
		{"no CapabilityStatement", func(w *env, _ *Config) {
			w.dest.answer["/acme/fhir/metadata"] = status(404, "text/plain", "")
		}, "doctor.capability", trace.Warned, "FHIR base", false},
		{"calls itself otherwise", func(w *env, _ *Config) {
			w.dest.answer["/acme/fhir/metadata"] = status(200, "application/fhir+json",
				`{"resourceType":"CapabilityStatement","implementation":{"url":"http://internal/fhir"}}`)
		}, "doctor.capability", trace.Warned, "http://internal/fhir", false},
		{"not there", func(w *env, _ *Config) {
			w.dest.answer[discoveryPath] = http.NotFound
		}, "discover.found", trace.Refused, "wrong base URL", false},
	} {
		t.Run(tc.name, func(t *testing.T) { tc.run(t, w) })
	}
}

func TestDoctorWithoutAnything(t *testing.T) {
	w := newEnv(t)
	w.healthy()
	cfg := w.config()
	cfg.Chain, cfg.Key, cfg.Verifier = nil, nil, nil
	r := newClient(t, cfg).Doctor(context.Background())
	if r.Wrong != 1 {
		t.Fatalf("%+v: want one fault, the missing anchor", r.Trace.Steps)
	}
}
