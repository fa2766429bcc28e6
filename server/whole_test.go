package server_test

import (
	"context"
	"io"
	"strings"
	"testing"
	"time"

	"fhirdest.example/certs"
	"fhirdest.example/server/servertest"
	"fhirdest.example/udap/client"
)

// An originator that holds nothing but a certificate of a community discovers,
// registers, gets a token and reads; what it had is gone when it cancels.
//
// Covers: ER-06, ER-23, S1-110, S1-184
func TestWholeExchange(t *testing.T) {
	d := servertest.Start(t)
	s := d.Session(d.A, d.Client(d.A, "https://client1.test/app"), "system/*.read")
	if !s.Registered.New || s.Token.Scope == "" {
		t.Errorf("registered %+v, token %+v", s.Registered, s.Token)
	}
	ctx := context.Background()
	read, err := s.Client.Get(ctx, "Patient?_count=2", s.Token.Access)
	if err != nil || read.Reply.Status != 200 ||
		!strings.Contains(string(read.Reply.Body), `"fullUrl":"`+servertest.Base+"/Patient/") {
		t.Fatalf("read: %v %s", err, read.Reply.Body)
	}

	if _, err := s.Client.Cancel(ctx, s.Discovered, client.Registration{
		ClientName: "HTEST client",
		Contacts:   []string{"mailto:test@client.test"},
	}); err != nil {
		t.Fatal(err)
	}

	if read, err = s.Client.Get(ctx, "Patient", s.Token.Access); err == nil && read.Reply.Status != 401 {
		t.Errorf("after cancelling: %d", read.Reply.Status)
	}
}

// Bearer tokens come in one Authorization header and nowhere else.
//
// Covers: ER-22 (authentication), case 230, case 231, case 232, FS-201, FS-202, FS-203, FS-206
func TestBearerHeader(t *testing.T) {
	d := servertest.Start(t)
	good := d.Session(d.A, d.Client(d.A, "https://client1.test/app"), "system/*.read").Token.Access
	const patients = "/acme/fhir/Patient"
	for _, c := range []struct {
		name      string
		header    []string
		target    string
		want      int
		challenge string
	}{
		{"bearer", []string{"Authorization", "Bearer " + good}, patients, 200, ""},
		{"lower case", []string{"Authorization", "bearer " + good}, patients, 200, ""},
		{"none", nil, patients, 401, `Bearer realm="fhir"`},
		{"basic", []string{"Authorization", "Basic eDp5"}, patients, 401, `Bearer realm="fhir"`}, // RFC 6750 3.1: no token was sent
		{
			"DPoP", []string{"Authorization", "DPoP " + good}, patients, 401,
			`DPoP error="invalid_token", algs="RS256 ES256 RS384 ES384"`,
		},
		{"no scheme", []string{"Authorization", good}, patients, 401, `Bearer realm="fhir"`},
		{
			"cut short", []string{"Authorization", "Bearer " + good[:len(good)-1]}, patients, 401,
			`Bearer error="invalid_token"`,
		},
		{"changed", []string{"Authorization", "Bearer " + flip(good)}, patients, 401, `Bearer error="invalid_token"`},
		{"empty", []string{"Authorization", "Bearer "}, patients, 401, `Bearer error="invalid_token"`},
		{
			"two headers",
			[]string{"Authorization", "Bearer " + good, "Authorization", "Bearer " + good},
			patients, 400, `Bearer error="invalid_request"`,
		},
		{
			"joined", []string{"Authorization", "Bearer " + good + ", Bearer " + good}, patients,
			401, `Bearer error="invalid_token"`,
		},
		{"in the query", nil, patients + "?access_token=" + good, 400, ""},
		{"no token, a write", nil, patients + "/p0001", 401, `Bearer realm="fhir"`},
		{"no token, history", nil, patients + "/p0001/_history", 401, `Bearer realm="fhir"`},
		{"no token, everything", nil, patients + "/p0001/$everything", 401, `Bearer realm="fhir"`},
		{"no token, no such type", nil, "/acme/fhir/Nonsense", 401, `Bearer realm="fhir"`},
		{"no token, the base", nil, "/acme/fhir", 401, `Bearer realm="fhir"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			res, body := d.Get(c.target, c.header...)
			if res.StatusCode != c.want || res.Header.Get("WWW-Authenticate") != c.challenge {
				t.Errorf("%s: %d %q, want %d %q\n%s", c.name, res.StatusCode, res.Header.Get("WWW-Authenticate"),
					c.want,
					c.challenge, body)
			}

			if trace := res.Header.Get("Trace-Id"); c.want == 401 &&
				!strings.Contains(d.Log.String(), "trace="+trace+" action=bearer") {
				t.Errorf("%s: no decision in the log with the trace %q", c.name, trace)
			}

			if c.want >= 400 && strings.Contains(body, good[:20]) {
				t.Errorf("%s: the answer quotes the token", c.name)
			}
		})
	}

	if strings.Contains(d.Log.String(), good[20:]) {
		t.Error("the log has a token")
	}
}

func flip(token string) string {
	last := token[len(token)-5]
	to := byte('A')
	if last == 'A' {
		to = 'B'
	}
	return token[:len(token)-5] + string(to) + token[len(token)-4:]
}

// A certificate that is revoked after the registration gets no further token
// as soon as the list is fetched again; the trace has the reason, and the decision
// is in the store for it had been authenticated.
//
// Covers: case 269
func TestRevocationAndTrace(t *testing.T) {
	d := servertest.Start(t)
	id := d.Client(d.A, "https://client1.test/app")
	s := d.Session(d.A, id, "system/*.read")
	d.Publish("a", d.A.Issuing, certs.RevokedEntry{Serial: id.Leaf().SerialNumber, Time: time.Now().Add(-time.Minute)})
	d.Eventually("a revoked certificate gets no tokens", func() bool {
		tok, err := s.Client.Token(context.Background(), s.Discovered, client.TokenRequest{
			ClientID: s.Registered.ClientID,
			Scope:    "system/*.read",
			B2B:      servertest.Treatment(),
		})
		if err != nil {
			if tok.Refusal == nil || string(tok.Refusal.Code) != "invalid_client" || tok.Reply.TraceID == "" {
				t.Fatalf("refused with %+v", tok.Refusal)
			}
		}

		return err != nil
	})

	for path, want := range map[string]string{
		"/traces?code=invalid_client": "chain.revocation",
		"/traces?action=token":        `"authenticated": true`,
	} {
		if got := adminGet(t, d, path); !strings.Contains(got, want) {
			t.Errorf("%s lacks %s:\n%s", path, want, got)
		}
	}

	d.Eventually("the decisions of those who were authenticated are stored", func() bool {
		got := adminGet(t, d, "/traces?stored=1")
		return strings.Contains(got, `"action": "register"`) && strings.Contains(got, `"action": "token"`) &&
			!strings.Contains(got,
				"chain.revocation\",\n        \"title\": \"No certificate of the path is revoked, and that is known\",\n        \"verdict\": \"refused\"")
	})
}

// Scopes that change data are granted where the operator allows it, and only
// then can a client change any.
//
// Covers: S1-098, S2-14
func TestWritableIsTheOperatorsChoice(t *testing.T) {
	patient := `{"resourceType":"Patient","name":[{"family":"HTEST"}]}`
	for _, c := range []struct {
		writable bool
		granted  string
		status   int
	}{{false, "system/Patient.rs", 403}, {true, "system/Patient.cruds", 201}} {
		d := servertest.Start(t, func(w *servertest.Env) { w.Config.Writable = c.writable })
		s := d.Session(d.A, d.Client(d.A, "https://client1.test/app"), "system/Patient.cruds")
		if s.Token.Scope != c.granted {
			t.Errorf("writable %v: granted %q, want %q", c.writable, s.Token.Scope, c.granted)
		}
		res := d.Do("POST", "/acme/fhir/Patient", strings.NewReader(patient), "Authorization",
			"Bearer "+s.Token.Access, "Content-Type", "application/fhir+json")
		if res.StatusCode != c.status {
			t.Errorf("writable %v: %d, want %d", c.writable, res.StatusCode, c.status)
		}

		if at := res.Header.Get("Location"); c.status == 201 && !strings.HasPrefix(at, servertest.Base+"/Patient/") {
			t.Errorf("Location %q is not under the public base", at)
		}
	}
}

// An originator that sends its leaf alone is served when the destination has a
// certificate of the same issuer: nothing need be fetched.
func TestLeafAloneOfOurOwnIssuer(t *testing.T) {
	d := servertest.Start(t)
	id := d.Client(d.A, "https://client1.test/app")
	s := d.Session(d.A, &certs.Identity{Chain: id.Chain[:1], Key: id.Key}, "system/Patient.rs")
	if s.Token.Access == "" {
		t.Error("no token")
	}
}

// A wildcard covers the types that there are, listed or not, and no other
// word; a client that asks for nothing else gets a short list of what there is.
//
// Covers: S2-14, S2-16, D-39
func TestWildcardCoversTypesOnly(t *testing.T) {
	d := servertest.Start(t)
	s := d.Session(d.A, d.Client(d.A, "https://client1.test/app"), "system/Nope.read system/Basic.read")
	if s.Token.Scope != "system/Basic.read" {
		t.Errorf("granted %q, want system/Basic.read alone", s.Token.Scope)
	}
	_, err := s.Client.Register(context.Background(), s.Discovered, client.Registration{
		ClientName: "HTEST client",
		Contacts:   []string{"mailto:test@client.test"},
		Scope:      "system/Nope.read",
	})
	if err == nil {
		t.Fatal("a scope for no type was granted")
	}

	for _, want := range []string{"invalid_client_metadata", "system/*.read", "more; found system/Nope.read"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%v: does not say %q", err, want)
		}
	}
}

// A client whose certificate soon runs out is shown, and counted as a metric;
// one with a year left is not.
func TestExpiringClientsAreShown(t *testing.T) {
	d := servertest.Start(t)
	key := d.Key("p256")
	now := time.Now()
	leaf, err := d.A.Issuing.Issue(certs.Template{
		CommonName: "soon\x1b[2J\u202e\u009b",
		URIs:       []string{"https://soon.test/app"},
		NotBefore:  now.Add(-time.Hour),
		NotAfter:   now.Add(10 * 24 * time.Hour),
		CRL:        []string{d.Lists.URL + "/a.crl"},
	}, key.Public())
	if err != nil {
		t.Fatal(err)
	}

	d.Session(d.A, &certs.Identity{Chain: d.A.Issuing.Chain(leaf), Key: key}, "system/*.read")
	d.Session(d.A, d.Client(d.A, "https://later.test/app"), "system/*.read")
	ready := adminGet(t, d, "/ready")
	_, clients, _ := strings.Cut(ready, `"clientCertificates"`)
	if !strings.Contains(clients, "https://soon.test/app") || !strings.Contains(clients, `"daysLeft": 9`) ||
		strings.Contains(clients, "https://later.test/app") {
		t.Errorf("client certificates: %s", clients)
	}

	if strings.ContainsAny(ready, "\u202e\u009b") || strings.Contains(ready, `\u001b`) {
		t.Errorf("a name can turn the page's text or a terminal: %q", clients)
	}
	if !strings.Contains(adminGet(t, d, "/metrics"), "destination_client_certificates_expiring 1") {
		t.Error("the metric does not count it")
	}
}

// The URL of the operator's page can be given to clients or not; without it they get one
// sentence for each code and nothing of the machine.
//
// Covers: case 014, case 310
func TestExplainOperator(t *testing.T) {
	ask := func(explain string) (string, *servertest.Destination) {
		d := servertest.Start(t, func(w *servertest.Env) { w.Config.Explain = explain })
		res := d.Do("POST", "/acme/oauth/token", strings.NewReader("grant_type=x"), "Content-Type",
			"application/x-www-form-urlencoded")
		b, err := io.ReadAll(res.Body)
		if err != nil || res.Header.Get("Trace-Id") == "" {
			t.Fatalf("%v %v", err, res.Header)
		}
		if page := adminGet(t, d,
			"/traces/"+res.Header.Get("Trace-Id")); !strings.Contains(page, `"verdict": "refused"`) {
			t.Errorf("the operator has no trace: %s", page)
		}

		return string(b), d
	}
	if text, d := ask("client"); !strings.Contains(text, d.Admin+"/traces/") {
		t.Errorf("explain: client has no page: %s", text)
	}

	if text, d := ask("operator"); strings.Contains(text, d.Admin) || strings.Contains(text, "error_uri") ||
		strings.Contains(text, "127.0.0.1") {
		t.Errorf("explain: operator tells %s", text)
	}
}
