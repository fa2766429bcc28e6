package server_test

import (
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"fhirdest.example/certs"
	"fhirdest.example/server/servertest"
	"fhirdest.example/udap"
)

// marked is one of many clients that ask at the same time. All that it sends has its
// mark, which no other client has.
type marked struct {
	d      *servertest.Destination
	mark   string
	uri    string
	id     *certs.Identity
	client string   // its client_id
	traces []string // of its answers
}

// marks finds the marks of clients in a text.
var marks = regexp.MustCompile(`mark-[0-9]{2}`)

func newMarked(d *servertest.Destination, i int) *marked {
	mark := fmt.Sprintf("mark-%02d", i)
	c := &marked{
		d:    d,
		mark: mark,
		uri:  "https://client.test/" + mark + strings.Repeat("x", 3*i), // each of its own length
	}
	c.id = d.Client(d.A, c.uri)
	return c
}

// own reports whether a text has the mark of this client, and that of no other.
func (c *marked) own(text string) bool {
	found := marks.FindAllString(text, -1)
	return len(found) > 0 && !slices.ContainsFunc(found, func(m string) bool { return m != c.mark })
}

// jwt returns a signed JWT of the client for an endpoint.
func (c *marked) jwt(t *testing.T, iss, endpoint, jti string, claims map[string]any) string {
	now := time.Now()
	claims["iss"] = iss
	claims["sub"] = iss
	claims["aud"] = c.d.Issuer + "/" + endpoint
	claims["iat"] = now.Unix()
	claims["exp"] = now.Unix() + 240
	claims["jti"] = c.mark + "-" + jti

	body, err := json.Marshal(claims)
	if err != nil {
		t.Error(err)
	}
	compact, err := udap.Sign(c.id.Key, c.id.Chain, "", body)
	if err != nil {
		t.Error(err)
	}
	return compact
}

// form returns the parameters of a request at which the client authenticates.
func (c *marked) form(t *testing.T, endpoint, jti string, more url.Values) string {
	form := url.Values{
		"udap":                  {"1"},
		"client_assertion_type": {"urn:ietf:params:oauth:client-assertion-type:jwt-bearer"},
	}
	form.Set("client_assertion", c.jwt(t, c.client, endpoint, endpoint+jti, map[string]any{
		"extensions": map[string]any{"hl7-b2b": map[string]any{
			"version":           "1",
			"organization_name": "name of " + c.mark,
			"organization_id":   "https://clinic.test/" + c.mark,
			"purpose_of_use":    []string{"urn:oid:2.16.840.1.113883.5.8#TREAT"},
		}},
	}))
	for name, values := range more {
		form[name] = values
	}
	return form.Encode()
}

// post sends a request and returns the members of the answer.
func (c *marked) post(
	t *testing.T, endpoint, contentType, body string, status int,
) (members map[string]any) {
	res, err := c.d.HTTP.Post(c.d.Issuer+"/"+endpoint, contentType, strings.NewReader(body))
	if err != nil {
		t.Error(err)
		return nil
	}
	defer res.Body.Close()

	text, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != status {
		t.Errorf("%s: %s: %d %s, %v", c.mark, endpoint, res.StatusCode, text, err)
	}
	if marks.Match(text) && !c.own(string(text)) {
		t.Errorf("%s: %s answers with what another client sent: %s", c.mark, endpoint, text)
	}
	if err := json.Unmarshal(text, &members); err != nil {
		t.Errorf("%s: %s: %v in %s", c.mark, endpoint, err, text)
	}
	c.traces = append(c.traces, res.Header.Get("Trace-Id"))
	return members
}

// leave sends a request for a token, the whole of it or a half, and goes away.
func (c *marked) leave(t *testing.T, body string, whole bool) {
	conn, err := tls.Dial("tcp", c.d.Addr, c.d.TLSClient("fhir.test"))
	if err != nil {
		t.Error(err)
		return
	}
	defer conn.Close()

	request := formPost(token, formType, body)
	if !whole {
		request = request[:len(request)-len(body)/2]
	}
	if _, err := io.WriteString(conn, request); err != nil {
		t.Error(err)
	}
}

const formType = "application/x-www-form-urlencoded"

// register registers the client.
func (c *marked) register(t *testing.T) {
	statement := c.jwt(t, c.uri, "register", "register", map[string]any{
		"client_name":                "name of " + c.mark,
		"contacts":                   []string{"mailto:" + c.mark + "@client.test"},
		"grant_types":                []string{"client_credentials"},
		"token_endpoint_auth_method": "private_key_jwt",
		"scope":                      "system/Patient.rs system/Observation.rs",
	})
	body := fmt.Sprintf(`{"software_statement":%q,"udap":"1"}`, statement)
	answer := c.post(t, "register", "application/json", body, http.StatusCreated)
	c.client, _ = answer["client_id"].(string)
	if answer["client_name"] != "name of "+c.mark {
		t.Errorf("%s is registered as %v", c.mark, answer)
	}
}

// session registers, and asks for tokens and about them, between requests whose answers
// nobody waits for.
func (c *marked) session(t *testing.T) {
	c.register(t)
	granted := url.Values{
		"grant_type": {"client_credentials"},
		"scope":      {"system/Patient.rs"},
	}
	refused := url.Values{
		"grant_type": {"client_credentials"},
		"scope":      {"system/" + c.mark + ".rs"},
	}

	for _, n := range []string{"1", "2"} {
		c.leave(t, c.form(t, "token", "half"+n, granted), false)
		answer := c.post(t, "token", formType, c.form(t, "token", n, granted), http.StatusOK)
		access, _ := answer["access_token"].(string)
		c.leave(t, c.form(t, "token", "whole"+n, granted), true)

		about := c.post(t, "introspect", formType,
			c.form(t, "introspect", n, url.Values{"token": {access}}), http.StatusOK)
		if about["active"] != true || about["client_id"] != c.client {
			t.Errorf("%s: its token is %v", c.mark, about)
		}

		c.post(t, "token", formType, c.form(t, "token", "refused"+n, refused), http.StatusBadRequest)
	}
}

// checkRecords looks for what the client's traces and AuditEvents have of other clients.
func (c *marked) checkRecords(t *testing.T, reader *servertest.Session) {
	for _, trace := range c.traces {
		var text string
		c.d.Eventually("trace "+trace+" is found", func() (found bool) {
			var status int
			status, text = page(t, c.d, "/traces/"+trace)
			return status == http.StatusOK
		})
		if !c.own(text) || !strings.Contains(text, c.client) {
			t.Errorf("a trace of %s is not its own: %s", c.mark, text)
		}
	}

	var audited []string
	for _, ev := range auditOf(t, reader, "agent:identifier="+url.QueryEscape(c.client)) {
		audited = append(audited, ev.entity("trace"))
		if ev.entity("client") != c.uri {
			t.Errorf("a record of %s is about %s", c.mark, ev.entity("client"))
		}
	}
	for _, trace := range c.traces {
		if !slices.Contains(audited, trace) {
			t.Errorf("%s: no record of the decision with trace %s in %v", c.mark, trace, audited)
		}
	}
}

// Clients that ask a whole destination at the same time, and some of which go away in the
// middle of a request, get answers, traces and audit records with nothing of one another,
// though their requests use the same memory one after the other.
func TestManyClientsKeepToThemselves(t *testing.T) {
	d, reader := auditor(t)
	var all []*marked
	for i := range 64 {
		all = append(all, newMarked(d, i))
	}

	var work sync.WaitGroup
	for _, c := range all {
		work.Go(func() { c.session(t) })
	}
	work.Wait()

	if t.Failed() {
		return
	}
	for _, c := range all {
		c.checkRecords(t, reader)
	}
}
