package assess_test

import (
	"cmp"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"fhirdest.example/udap/conform"
	"fhirdest.example/udap/conform/assess"
	"fhirdest.example/udap/trace"
	"fhirdest.example/udap/udaptest"
)

const (
	metadata  = "/fhir/.well-known/udap"
	register  = "/oauth/register"
	token     = "/oauth/token"
	authorize = "/oauth/authorize"
)

// script is a client whose exchanges with a destination are written down one by one.
type script struct {
	t      testing.TB
	client *udaptest.Client
	server *udaptest.Client
	assess *assess.Assessor
	sent   []*conform.Exchange
	all    []assess.Assessment
	now    time.Time

	// what the next requests differ in
	claims func(c udaptest.Claims)        // of the next JWT
	sign   func(c udaptest.Claims) string // makes the next JWT
	form   func(f url.Values)
	head   string // further lines of the request
	target string // of the next request for metadata
	traces []*trace.Trace

	id     string // client_id
	n      int    // of what was issued
	code   string // the last one
	asked  url.Values
	answer func(url.Values) // changes the next answer of the authorization endpoint
}

func newScript(t testing.TB, p conform.Profile) *script {
	t.Helper()
	w := udaptest.New(t, "p256")
	return &script{
		t:      t,
		client: w.Client(t, w.A.Int, udaptest.Client1URI, nil),
		server: w.Client(t, w.A.Int, udaptest.Base, nil),
		now:    udaptest.Now,
		assess: assess.New(assess.Setting{
			Base:    udaptest.Base,
			Issuer:  strings.TrimSuffix(udaptest.Token, "/token"),
			Profile: p,
		}),
	}
}

// send adds one exchange.
func (s *script) send(method, target, media, body string, status int, head, answer string) assess.Assessment {
	s.t.Helper()
	s.now = s.now.Add(2 * time.Second)
	if media != "" {
		s.head += "Content-Type: " + media + "\r\n"
	}

	x := &conform.Exchange{
		N:        uint64(len(s.sent) + 1),
		Received: s.now,
		Answered: s.now.Add(time.Millisecond),
		Address:  "192.0.2.1",
		Method:   method,
		Target:   target,
		Step:     assess.Classify(method, target, []byte(body)),
		Status:   status,
		Traces:   s.traces,
		Request: conform.Message{
			Head:   []byte(method + " " + target + " HTTP/1.1\r\nHost: fhir.test\r\n" + s.head + "\r\n"),
			Body:   []byte(body),
			Length: int64(len(body)),
		},
		Answer: conform.Message{
			Head:   fmt.Appendf(nil, "HTTP/1.1 %d \r\n%s\r\n", status, head),
			Body:   []byte(answer),
			Length: int64(len(answer)),
		},
	}
	s.head, s.traces, s.claims, s.form, s.sign = "", nil, nil, nil, nil

	s.sent = append(s.sent, x)
	out := s.assess.Add(x)
	s.all = append(s.all, out)
	return out
}

// jwt makes the next JWT of the client.
func (s *script) jwt(c udaptest.Claims) string {
	if s.claims != nil {
		s.claims(c)
	}
	for name, v := range c {
		if v == udaptest.Absent {
			delete(c, name)
		}
	}
	if s.sign != nil {
		return s.sign(c)
	}
	return s.client.Sign(s.t, c)
}

// discover reads the metadata; edit may change it.
func (s *script) discover(edit func(plain, signed udaptest.Claims)) assess.Assessment {
	s.t.Helper()
	doc := udaptest.Metadata(s.t, s.server, s.now, func(plain, signed udaptest.Claims) {
		plain["grant_types_supported"] = []string{"client_credentials", "authorization_code", "refresh_token"}
		plain["authorization_endpoint"] = "https://fhir.test" + authorize
		signed["authorization_endpoint"] = "https://fhir.test" + authorize
		if edit != nil {
			edit(plain, signed)
		}
	})
	target := cmp.Or(s.target, metadata)
	s.target = ""
	return s.send("GET", target, "", "", 200, "Content-Type: application/json\r\n", string(doc))
}

// register registers as a client of client_credentials.
func (s *script) register() assess.Assessment {
	s.t.Helper()
	return s.registers(s.client.Statement(s.now))
}

// interactive registers as a client of authorization_code.
func (s *script) interactive() assess.Assessment {
	s.t.Helper()
	return s.registers(s.client.Interactive(s.now))
}

func (s *script) registers(c udaptest.Claims) assess.Assessment {
	s.t.Helper()
	compact := s.jwt(c)
	body := s.json(map[string]any{
		"software_statement": compact,
		"udap":               "1",
	})
	s.n++
	if s.id == "" {
		s.id = fmt.Sprintf("client-%d", s.n)
	}
	answer := s.json(map[string]any{
		"client_id":   s.id,
		"grant_types": c["grant_types"],
		"scope":       c["scope"],
	})
	return s.send("POST", register, "application/json", body, 201, "", answer)
}

func (s *script) json(v any) string {
	s.t.Helper()
	b, err := json.Marshal(v, json.Deterministic(true))
	if err != nil {
		s.t.Fatal(err)
	}
	return string(b)
}

// token asks for a token by client_credentials.
func (s *script) token() assess.Assessment {
	s.t.Helper()
	return s.asks(url.Values{"grant_type": {"client_credentials"}})
}

// asks sends a token request, whose answer has the token "access-N" and, but for
// client_credentials, the refresh token "refresh-N".
func (s *script) asks(form url.Values) assess.Assessment {
	s.t.Helper()
	s.n++
	answer := map[string]any{
		"access_token": fmt.Sprintf("access-%d", s.n),
		"token_type":   "Bearer",
	}
	if form.Get("grant_type") != "client_credentials" {
		answer["refresh_token"] = fmt.Sprintf("refresh-%d", s.n)
	}
	return s.posts(form, 200, s.json(answer))
}

func (s *script) posts(form url.Values, status int, answer string) assess.Assessment {
	s.t.Helper()
	c := udaptest.Assertion(trace.ClientID(s.id), s.now)
	if form.Get("grant_type") != "client_credentials" {
		delete(c, "extensions")
	}
	form.Set("client_assertion", s.jwt(c))
	form.Set("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
	form.Set("udap", "1")
	if s.form != nil {
		s.form(form)
	}
	return s.send("POST", token, "application/x-www-form-urlencoded", form.Encode(), status, "", answer)
}

// outcome returns the outcome of a row.
func (s *script) outcome(row string) conform.Outcome {
	s.t.Helper()
	for _, o := range s.assess.Rows() {
		if o.Row == row {
			return o
		}
	}
	s.t.Fatalf("no row %s", row)
	return conform.Outcome{}
}

// wrong returns the rows that are violated or warned about.
func (s *script) wrong() []string {
	var out []string
	for _, o := range s.assess.Rows() {
		if o.Verdict == conform.Violated || o.Verdict == conform.Warned {
			out = append(out, o.Row+": "+o.Text)
		}
	}
	return out
}

// authorize asks for a code, which is in the answer.
func (s *script) authorize(edit func(q url.Values)) assess.Assessment {
	s.t.Helper()
	s.n++
	q := url.Values{
		"response_type":         {"code"},
		"client_id":             {s.id},
		"redirect_uri":          {redirect},
		"scope":                 {"user/Patient.rs"},
		"state":                 {"state-of-request-" + udaptest.JTI()},
		"code_challenge":        {udaptest.JTI()},
		"code_challenge_method": {"S256"},
	}
	if edit != nil {
		edit(q)
	}

	s.asked = q
	s.code = fmt.Sprintf("code-%d", s.n)
	answer := url.Values{
		"code":  {s.code},
		"state": {s.asked.Get("state")},
	}
	if s.answer != nil {
		s.answer(answer)
		s.answer = nil
	}
	location := redirect + "?" + answer.Encode()
	return s.send("GET", authorize+"?"+q.Encode(), "", "", 303, "Location: "+location+"\r\n", "")
}

const redirect = "https://client1.test/cb"

// redeem exchanges the code.
func (s *script) redeem() assess.Assessment {
	s.t.Helper()
	form := url.Values{
		"grant_type":    {"authorization_code"},
		"code":          {s.code},
		"code_verifier": {udaptest.JTI()},
	}
	if s.asked.Has("redirect_uri") {
		form.Set("redirect_uri", s.asked.Get("redirect_uri"))
	}
	return s.asks(form)
}

// refresh uses a refresh token.
func (s *script) refresh(value string) assess.Assessment {
	s.t.Helper()
	return s.asks(url.Values{
		"grant_type":    {"refresh_token"},
		"refresh_token": {value},
	})
}

// read reads with an access token; empty is without one.
func (s *script) read(target, access string, status int, answer string) assess.Assessment {
	s.t.Helper()
	if access != "" {
		s.head += "Authorization: Bearer " + access + "\r\n"
	}
	return s.send("GET", target, "", "", status, "", answer)
}

// access returns the name of the last token that was issued.
func (s *script) access() string { return fmt.Sprintf("access-%d", s.n) }

// decided is a trace of a check that refused.
func decided(check, found string) []*trace.Trace {
	return []*trace.Trace{
		{
			Steps: []trace.Step{
				{
					Check:   check,
					Title:   "the rule",
					Verdict: trace.Refused,
					Found:   found,
				},
			},
			RefusedBy: check,
		},
	}
}
