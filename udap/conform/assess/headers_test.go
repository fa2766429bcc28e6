package assess_test

import (
	"crypto/x509"
	"strings"
	"testing"

	"fhirdest.example/certs"
	"fhirdest.example/udap/conform"
	"fhirdest.example/udap/forge"
	"fhirdest.example/udap/trace"
	"fhirdest.example/udap/udaptest"
)

// headerRows are about the form, the header and the signature of JWTs.
var headerRows = []rowTest{
	{"S1-001", machine, rawPayload(`{"iss":"a","iss":"b"}`), "claims of the software statement cannot be read"},
	{"S1-002", machine, rewritten(func(jwt string) string { return jwt + "=" }), "is not a JWS"},
	{"S1-003", machine, rewritten(func(jwt string) string { return jwt + ".AAAA" }), "three segments"},
	{"S1-003", nil, rewritten(jsonForm), "JSON serialization"},
	{"S1-003", nil, func(s *script) {
		s.discover(nil)
		s.traces = decided("register.body", "an object in place of a string")
		s.send("POST", register, "application/json",
			`{"software_statement":{"payload":"e30"},"udap":"1"}`, 400, "", "{}")
	}, "software_statement is an object, not a JWT"},
	{"S1-003", nil, rewritten(func(jwt string) string { return jwt + ".AAAA.AAAA" }), "encrypted"},
	{"S1-004", signedWith("rsa2048", "RS256"), nil, ""},
	{"S1-005", signedWith("p256", "ES256"), nil, ""},
	{"S1-006", signedWith("p384", "ES384"), nil, ""},
	{"S1-007", machine, header("alg", "HS256"), "an algorithm that UDAP does not allow"},
	{"S1-007", nil, header("alg", forge.Absent), "has no alg"},
	{"S1-007", nil, header("alg", "none"), "is not signed: the alg of its header is none"},
	{"S1-007", nil, func(s *script) {
		s.discover(nil)
		s.sign = func(c udaptest.Claims) string {
			jwt := headed(s, "alg", "none")(c)
			return jwt[:strings.LastIndexByte(jwt, '.')+1]
		}
		s.traces = decided("jws.form", "an empty signature")
		s.register()
	}, "is not signed: the alg of its header is none"},
	{"S1-008", machine, header("x5c", forge.Absent), "has no x5c"},
	{"S1-008", nil, header("x5c", []string{"-----BEGIN CERTIFICATE-----"}), "cannot be read"},
	{"S1-008", nil, func(s *script) {
		s.discover(nil)
		s.sign = func(c udaptest.Claims) string {
			chain := s.client.Chain
			reversed := []*x509.Certificate{chain[1], chain[0]}
			return s.client.SignChain(s.t, c, reversed...)
		}
		s.claims = change("client_name", "Reversed")
		s.register()
	}, "a CA's, not the client's"},
	{"S1-073", verified, refusal("jws.alg", "ES256 needs P-256, the certificate has P-384"), "ES256 needs P-256"},
	{"S1-074", verified, refusal("jws.signature", "made by the key of x5c[1]"), "made by the key of x5c[1]"},
	{"S1-151", verifiedToken, func(s *script) {
		ready(s)
		s.traces = decided("jws.signature", "the signature is wrong")
		s.token()
	}, "the signature is wrong"},
	{"S2-24", func(s *script) {
		ready(s)
		s.sign = headed(s, "jku", "https://client1.test/keys", "x5c", forge.Absent)
		s.token()
	}, header("jku", "https://client1.test/keys"), "has jku in place of x5c"},
	{"C-12", verified, refusal("chain.validity", "the certificate expired"), "the certificate expired"},
}

// verified registers, and the destination verifies the signature.
func verified(s *script) {
	s.discover(nil)
	s.traces = passing("jws.signature", "chain.path")
	s.register()
}

// verifiedToken asks for a token, and the destination verifies the signature.
func verifiedToken(s *script) {
	ready(s)
	s.traces = passing("jws.signature")
	s.token()
}

// passing is a trace of checks that passed.
func passing(checks ...string) []*trace.Trace {
	t := &trace.Trace{}
	for _, name := range checks {
		t.Steps = append(t.Steps, trace.Step{
			Check:   name,
			Verdict: trace.Passed,
		})
	}
	return []*trace.Trace{t}
}

// rewritten registers with a statement that is changed after it was signed.
func rewritten(f func(jwt string) string) func(s *script) {
	return func(s *script) {
		s.discover(nil)
		s.sign = func(c udaptest.Claims) string { return f(s.client.Sign(s.t, c)) }
		s.register()
	}
}

// jsonForm is a JWT in the JSON serialization.
func jsonForm(jwt string) string {
	parts := strings.Split(jwt, ".")
	return `{"protected":"` + parts[0] + `","payload":"` + parts[1] + `","signature":"` + parts[2] + `"}`
}

// rawPayload registers with a statement of exactly this payload.
func rawPayload(payload string) func(s *script) {
	return func(s *script) {
		s.discover(nil)
		s.sign = func(udaptest.Claims) string {
			raw := (*forge.Client)(s.client).Raw()
			jwt, err := raw.Sign(forge.Header("ES256", s.client.Chain...), []byte(payload))
			if err != nil {
				s.t.Fatal(err)
			}
			return jwt
		}
		s.register()
	}
}

// header registers with a member of the JWT's header changed.
func header(name string, value any) func(s *script) {
	return func(s *script) {
		s.discover(nil)
		s.sign = headed(s, name, value)
		s.register()
	}
}

// headed makes JWTs with members of the header changed: name, value, ...
func headed(s *script, members ...any) func(c udaptest.Claims) string {
	more := map[string]any{}
	for i := 0; i < len(members); i += 2 {
		more[members[i].(string)] = members[i+1]
	}
	return func(c udaptest.Claims) string {
		raw := (*forge.Client)(s.client).Raw()
		jwt, err := raw.Sign(forge.HeaderWith("ES256", more, s.client.Chain...), c.JSON(s.t))
		if err != nil {
			s.t.Fatal(err)
		}
		return jwt
	}
}

// signedWith registers with a key of a kind.
func signedWith(kind certs.KeyKind, alg string) func(s *script) {
	return func(s *script) {
		w := udaptest.New(s.t, kind)
		s.client = w.Client(s.t, w.A.Int, udaptest.Client1URI, nil)
		s.discover(func(plain, _ udaptest.Claims) {
			plain["registration_endpoint_jwt_signing_alg_values_supported"] = []string{alg}
		})
		s.traces = passing("jws.signature")
		s.register()
	}
}

// Covers: S1-001, S1-002, S1-003, S1-004, S1-005, S1-006, S1-007, S1-008, S1-072, S1-073, S1-074, S1-151, S1-152,
// S1-161, S1-175, S2-24
func TestHeaders(t *testing.T) { run(t, conform.SSRAA2, headerRows) }
