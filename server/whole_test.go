package server_test

import (
	"context"
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
// Covers: ER-06, S1-110, S1-184
func TestWholeExchange(t *testing.T) {
	d := servertest.Start(t)
	s := d.Session(d.A, d.Client(d.A, "https://client1.test/app"), "system/*.read")
	if !s.Registered.New || s.Token.Scope == "" {
		t.Errorf("registered %+v, token %+v", s.Registered, s.Token)
	}
	ctx := context.Background()
	read, err := s.Client.Get(ctx, "Patient?_count=2", s.Token.Access)
	if err != nil || read.Reply.Status != 200 || !strings.Contains(string(read.Reply.Body), `"fullUrl":"`+servertest.Base+"/Patient/") {
		t.Fatalf("read: %v %s", err, read.Reply.Body)
	}
	if _, err := s.Client.Cancel(ctx, s.Discovered, client.Registration{ClientName: "HTEST client", Contacts: []string{"mailto:test@client.test"}}); err != nil {
		t.Fatal(err)
	}
	if read, err = s.Client.Get(ctx, "Patient", s.Token.Access); err == nil && read.Reply.Status != 401 {
		t.Errorf("after cancelling: %d", read.Reply.Status)
	}
}

// Bearer tokens come in one Authorization header and nowhere else.
//
// Covers: case 230, case 231, case 232
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
		{"none", nil, patients, 401, "Bearer"},
		{"basic", []string{"Authorization", "Basic eDp5"}, patients, 401, `Bearer error="invalid_token"`},
		{"no scheme", []string{"Authorization", good}, patients, 401, `Bearer error="invalid_token"`},
		{"cut short", []string{"Authorization", "Bearer " + good[:len(good)-1]}, patients, 401, `Bearer error="invalid_token"`},
		{"changed", []string{"Authorization", "Bearer " + flip(good)}, patients, 401, `Bearer error="invalid_token"`},
		{"empty", []string{"Authorization", "Bearer "}, patients, 401, `Bearer error="invalid_token"`},
		{"two headers", []string{"Authorization", "Bearer " + good, "Authorization", "Bearer " + good}, patients, 400, `Bearer error="invalid_request"`},
		{"joined", []string{"Authorization", "Bearer " + good + ", Bearer " + good}, patients, 401, `Bearer error="invalid_token"`},
		{"in the query", nil, patients + "?access_token=" + good, 400, ""},
		{"no token, a write", nil, patients + "/p0001", 401, "Bearer"},
		{"no token, history", nil, patients + "/p0001/_history", 401, "Bearer"},
		{"no token, everything", nil, patients + "/p0001/$everything", 401, "Bearer"},
		{"no token, no such type", nil, "/acme/fhir/Nonsense", 401, "Bearer"},
		{"no token, the base", nil, "/acme/fhir", 401, "Bearer"},
	} {
		res, body := d.Get(c.target, c.header...)
		if res.StatusCode != c.want || res.Header.Get("WWW-Authenticate") != c.challenge {
			t.Errorf("%s: %d %q, want %d %q\n%s", c.name, res.StatusCode, res.Header.Get("WWW-Authenticate"), c.want, c.challenge, body)
		}
		if c.want >= 400 && strings.Contains(body, good[:20]) {
			t.Errorf("%s: the answer quotes the token", c.name)
		}
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
// as soon as the list is fetched again; the trace says why, and the decision
// is in the store for it had been authenticated.
//
// Covers: case 269
func TestRevocationAndTrace(t *testing.T) {
	d := servertest.Start(t)
	id := d.Client(d.A, "https://client1.test/app")
	s := d.Session(d.A, id, "system/*.read")
	d.Publish("a", d.A.Issuing, certs.RevokedEntry{Serial: id.Leaf().SerialNumber, Time: time.Now().Add(-time.Minute)})
	deadline := time.Now().Add(10 * time.Second)
	for {
		tok, err := s.Client.Token(context.Background(), s.Discovered, client.TokenRequest{ClientID: s.Registered.ClientID, Scope: "system/*.read", B2B: servertest.Treatment()})
		if err != nil {
			if tok.Refusal == nil || string(tok.Refusal.Code) != "invalid_client" || tok.Reply.TraceID == "" {
				t.Fatalf("refused with %+v", tok.Refusal)
			}
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("a revoked certificate still gets tokens")
		}
		time.Sleep(50 * time.Millisecond)
	}
	for path, want := range map[string]string{"/traces?code=invalid_client": "chain.revocation", "/traces?action=token": `"authenticated": true`} {
		if got := adminGet(t, d, path); !strings.Contains(got, want) {
			t.Errorf("%s lacks %s:\n%s", path, want, got)
		}
	}
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		if got := adminGet(t, d, "/traces?stored=1"); strings.Contains(got, `"action": "register"`) && strings.Contains(got, `"action": "token"`) && !strings.Contains(got, "chain.revocation\",\n        \"title\": \"No certificate of the path is revoked, and that is known\",\n        \"verdict\": \"refused\"") {
			break
		} else if time.Now().After(deadline) {
			t.Fatalf("stored decisions:\n%s", got)
		}
	}
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
		d := servertest.Start(t, func(w *servertest.World) { w.Config.Writable = c.writable })
		s := d.Session(d.A, d.Client(d.A, "https://client1.test/app"), "system/Patient.cruds")
		if s.Token.Scope != c.granted {
			t.Errorf("writable %v: granted %q, want %q", c.writable, s.Token.Scope, c.granted)
		}
		res := d.Do("POST", "/acme/fhir/Patient", strings.NewReader(patient), "Authorization", "Bearer "+s.Token.Access, "Content-Type", "application/fhir+json")
		if res.StatusCode != c.status {
			t.Errorf("writable %v: %d, want %d", c.writable, res.StatusCode, c.status)
		}
		if at := res.Header.Get("Location"); c.status == 201 && !strings.HasPrefix(at, servertest.Base+"/Patient/") {
			t.Errorf("Location %q is not under the public base", at)
		}
	}
}
