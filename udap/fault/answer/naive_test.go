package answer_test

import (
	"crypto/tls"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"fhirdest.example/certs"
	"fhirdest.example/udap/forge"
)

// naive is a client that looks at nothing: it uses what it can get out of an answer,
// asks once more at once when an answer is no good, and then goes on.
type naive struct {
	t      *testing.T
	http   *http.Client
	id     *certs.Identity
	uri    string
	base   string
	issuer string
	now    func() time.Time
	later  func(time.Duration)

	endpoints map[string]string
	clientID  string
	redirect  string // registers for people; empty: for a machine
	token     string
}

const wantedScope = "system/Patient.rs system/Observation.rs"

// lenient returns the members of whatever a body is.
func lenient(body []byte) map[string]any {
	out := map[string]any{}
	_ = json.Unmarshal(body, &out) // nothing can be read: nothing is known
	return out
}

func word(o map[string]any, name, otherwise string) string {
	if s, ok := o[name].(string); ok && s != "" {
		return s
	}
	return otherwise
}

// do sends a request, and sends it again when it is not answered with success.
func (n *naive) do(method, target, mediaType, body string) []byte {
	n.t.Helper()
	var answer []byte
	for range 2 {
		req, err := http.NewRequest(method, target, strings.NewReader(body))
		if err != nil {
			n.t.Fatal(err)
		}
		req.Header.Set("Content-Type", mediaType)
		if n.token != "" {
			req.Header.Set("Authorization", "Bearer "+n.token)
		}

		res, err := n.http.Do(req)
		if err != nil {
			continue
		}
		answer, _ = io.ReadAll(res.Body) // what arrived counts
		res.Body.Close()
		if res.StatusCode < 300 {
			break
		}
	}
	return answer
}

func (n *naive) discover(community string) {
	n.t.Helper()
	doc := lenient(n.do("GET", n.base+"/.well-known/udap?community="+url.QueryEscape(community), "", ""))
	n.endpoints = map[string]string{}
	for _, name := range []string{"register", "token", "authorize"} {
		member := map[string]string{
			"register":  "registration_endpoint",
			"token":     "token_endpoint",
			"authorize": "authorization_endpoint",
		}[name]
		n.endpoints[name] = word(doc, member, n.issuer+"/"+name)
	}
}

func (n *naive) sign(c forge.Claims) string {
	n.t.Helper()
	client := forge.Client{
		Key:   n.id.Key,
		Chain: n.id.Chain,
	}
	compact, err := client.SignChain(c, n.id.Chain...)
	if err != nil {
		n.t.Fatal(err)
	}
	return compact
}

// register registers twice and keeps the first client_id.
func (n *naive) register() {
	n.t.Helper()
	for range 2 {
		audience := n.issuer + "/register"
		c := forge.Statement(n.uri, audience, n.now()).With("scope", wantedScope)
		if n.redirect != "" {
			c = forge.Interactive(n.uri, audience, n.now()).
				With("grant_types", []string{"authorization_code"}).
				With("redirect_uris", []string{n.redirect}).
				With("scope", "openid udap")
		}

		body, _ := json.Marshal(map[string]string{ // strings can be encoded
			"software_statement": n.sign(c),
			"udap":               "1",
		})
		answer := n.do("POST", n.endpoints["register"], "application/json", string(body))
		if n.clientID == "" {
			n.clientID = word(lenient(answer), "client_id", "")
		}
	}
	if n.clientID == "" {
		n.clientID = "a-client-id"
	}
}

// ask asks for a token with the parameters of a grant, three times with the same
// when it gets none.
func (n *naive) ask(form url.Values) {
	n.t.Helper()
	form.Set("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
	form.Set("client_assertion", n.sign(forge.Assertion(
		forgeID(n.clientID),
		n.issuer+"/token",
		n.now(),
	)))
	form.Set("udap", "1")

	n.token = ""
	answer := n.do("POST", n.endpoints["token"], "application/x-www-form-urlencoded", form.Encode())
	n.token = strings.Map(func(r rune) rune {
		if r <= ' ' || r > '~' {
			return -1
		}
		return r
	}, word(lenient(answer), "access_token", "no-token"))
}

// read reads pages of patients wherever they are, then one patient and what is known
// about that one.
func (n *naive) read() {
	n.t.Helper()
	n.later(8 * time.Second)
	id := "1"
	next := n.base + "/Patient?_count=1"
	for range 3 {
		body := n.do("GET", next, "", "")
		var bundle struct {
			Link  []struct{ Relation, URL string }
			Entry []struct {
				Resource struct{ ID string }
			}
		}
		_ = json.Unmarshal(body, &bundle) // no page
		for _, e := range bundle.Entry {
			id = e.Resource.ID
		}
		for _, l := range bundle.Link {
			if l.Relation == "next" {
				next = l.URL
			}
		}
	}

	id = word(lenient(n.do("GET", n.base+"/Patient/"+id, "", "")), "id", id)
	n.do("GET", n.base+"/Observation?patient="+id, "", "")
}

// newNaive makes a client that believes any web server.
func newNaive(t *testing.T, f *front, id *certs.Identity, uri string, dial *http.Transport) *naive {
	t.Helper()
	dial.TLSClientConfig = &tls.Config{InsecureSkipVerify: true}
	t.Cleanup(dial.CloseIdleConnections)
	return &naive{
		t:      t,
		http:   &http.Client{Transport: dial},
		id:     id,
		uri:    uri,
		base:   f.tools.Base,
		issuer: f.tools.Issuer,
		now:    f.now,
		later:  func(d time.Duration) { f.moved.Add(int64(d)) },
	}
}
