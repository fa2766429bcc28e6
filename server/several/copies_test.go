package several_test

import (
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"fhirdest.example/server/servertest"
	"fhirdest.example/udap/client"
	"fhirdest.example/udap/trace"
)

// copies is how many requests there are, divided between two destinations, and together
// how many of them are under way at the same time: so few that a slow machine answers
// each of them in time.
const (
	copies   = 200
	together = 8
)

// sent is one request and its answer.
type sent struct {
	method, target string
	header         []string
	body           string

	status int
	text   string
}

// do sends the request and keeps the answer.
func (s *sent) do(to *servertest.Destination) error {
	req, err := http.NewRequest(s.method, s.target, strings.NewReader(s.body))
	if err != nil {
		return err
	}
	for i := 0; i+1 < len(s.header); i += 2 {
		req.Header.Set(s.header[i], s.header[i+1])
	}

	res, err := to.HTTP.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	s.status, s.text = res.StatusCode, string(text)
	return err
}

// member returns a member of an answer in JSON, a text.
func (s *sent) member(name string) string {
	var all map[string]any
	if json.Unmarshal([]byte(s.text), &all) != nil {
		return ""
	}
	text, _ := all[name].(string)
	return text
}

// spread sends requests to two destinations at the same time.
func (d *destinations) spread(all []*sent) {
	d.t.Helper()
	next := make(chan *sent)
	var work sync.WaitGroup
	for i := range together {
		to := []*servertest.Destination{d.a, d.b}[i%2]
		work.Go(func() {
			for s := range next {
				if err := s.do(to); err != nil {
					d.t.Log(err)
				}
			}
		})
	}
	for _, s := range all {
		next <- s
	}
	close(next)
	work.Wait()
}

// answered returns the requests that have an answer of success, and fails if the others
// have another one than is wanted. busy is how many came to a machine that was too busy,
// of which nobody knows whether they had an effect.
func (d *destinations) answered(all []*sent, refusal int) (done []*sent, busy int) {
	d.t.Helper()
	for _, s := range all {
		switch s.status {
		case http.StatusOK, http.StatusCreated:
			done = append(done, s)
		case http.StatusServiceUnavailable, 0: // 0: the connection was lost
			busy++
		case refusal:
		default:
			d.t.Errorf("%d %s", s.status, s.text)
		}
	}
	if busy > 0 {
		d.t.Logf("%d of %d requests came to a busy machine", busy, len(all))
	}
	if busy > len(all)/2 {
		d.t.Errorf("with %d of %d requests unanswered nothing is shown", busy, len(all))
	}
	return done, busy
}

// forms are requests with the same fields, each with an authentication token of its own.
func (a *app) forms(endpoint string, fields url.Values, header ...string) (all []*sent) {
	a.t.Helper()
	for range copies {
		all = append(all, &sent{
			method: "POST",
			target: a.a.Issuer + endpoint,
			header: append(header, "Content-Type", "application/x-www-form-urlencoded"),
			body:   authenticated(a.t, a.a, a.id, a.ID, endpoint, fields),
		})
	}
	return all
}

// same is one request many times.
func same(one *sent) (all []*sent) {
	for range copies {
		again := *one
		all = append(all, &again)
	}
	return all
}

// statement is a registration of a client, signed with one of its certificates.
func (d *destinations) statement(id *identity) *sent {
	d.t.Helper()
	return &sent{
		method: "POST",
		target: d.a.Issuer + "/register",
		header: []string{"Content-Type", "application/json"},
		body:   registration(d.t, d.a, id, ofSystems),
	}
}

// Of what can be used once, many copies are sent to two destinations at the same time: one
// of them has an effect, and the others are refused.
//
// Covers: S1-082, S1-159, S1-197
func TestCopiesAtTheSameMoment(t *testing.T) {
	d := newDestinations(t)
	proofs, err := client.NewProofs()
	must(t, err)
	for _, row := range []struct {
		name    string
		copies  func(d *destinations, uri string) []*sent
		refusal int
	}{
		{"an authentication token", copiesOfAssertion, http.StatusBadRequest},
		{"a software statement", copiesOfStatement, http.StatusBadRequest},
		{"an authorization code", copiesOfCode, http.StatusBadRequest},
		{"a proof for a token", func(d *destinations, uri string) []*sent {
			proof, err := proofs.Proof("POST", d.a.Issuer+"/token", "", time.Now())
			must(d.t, err)
			return d.app(uri).forms("/token", url.Values{"grant_type": {"client_credentials"}}, "DPoP", proof)
		}, http.StatusBadRequest},
		{"a proof for a read", func(d *destinations, uri string) []*sent {
			return copiesOfRead(d, uri, proofs)
		}, http.StatusUnauthorized},
	} {
		t.Run(row.name, func(t *testing.T) {
			here := *d
			here.t = t
			all := row.copies(&here, uri(t))
			here.spread(all)
			if done, busy := here.answered(all, row.refusal); len(done) > 1 || len(done)+busy == 0 {
				t.Errorf("%d of %d copies had an effect", len(done), len(all))
			}
		})
	}
}

func copiesOfAssertion(d *destinations, uri string) []*sent {
	return same(d.app(uri).forms("/token", url.Values{"grant_type": {"client_credentials"}})[0])
}

func copiesOfStatement(d *destinations, uri string) []*sent {
	return same(d.statement(&identity{
		Identity: d.a.Client(d.a.A, uri),
		uri:      uri,
	}))
}

func copiesOfCode(d *destinations, uri string) []*sent {
	a := d.forPeople(uri)
	code, verifier := a.allowed(d.browser(d.a))
	return a.forms("/token", url.Values{
		"grant_type":    {"authorization_code"},
		"code":          {code},
		"redirect_uri":  {callback},
		"code_verifier": {verifier},
	})
}

func copiesOfRead(d *destinations, uri string, proofs *client.Proofs) []*sent {
	there := *d.a
	there.Proofs = proofs
	s := there.Session(d.a.A, d.a.Client(d.a.A, uri), "system/Patient.rs")
	target := d.a.Base + "/Patient"
	proof, err := proofs.Proof("GET", target, s.Token.Access, time.Now())
	must(d.t, err)
	return same(&sent{
		method: "GET",
		target: target,
		header: []string{"Authorization", "DPoP " + s.Token.Access, "DPoP", proof},
	})
}

// However many use one refresh token at two destinations at once, one of the access
// tokens that were answered works: each use has replaced the one before.
func TestRefreshAtTheSameMoment(t *testing.T) {
	d := newDestinations(t)
	a := d.forPeople(uri(t))
	token := a.granted(d.browser(d.a))
	all := a.forms("/token", url.Values{
		"grant_type":    {"refresh_token"},
		"refresh_token": {token.Refresh},
	})
	d.spread(all)

	working := 0
	done, busy := d.answered(all, http.StatusBadRequest)
	for _, s := range done {
		access := s.member("access_token")
		first, second := get(d.a, "Observation", access), get(d.b, "Observation", access)
		if first != second {
			t.Errorf("a token: %d at one destination, and %d at the other", first, second)
		}
		if first == http.StatusOK {
			working++
		}
	}
	if working > 1 || working+busy == 0 {
		t.Errorf("%d access tokens work", working)
	}
}

// A token that is revoked at two destinations many times at once is revoked, and each
// request is answered so.
func TestRevocationsAtTheSameMoment(t *testing.T) {
	d := newDestinations(t)
	a := d.app(uri(t))
	token := a.token(d.a)
	all := a.forms("/revoke", url.Values{"token": {token}})
	d.spread(all)

	if done, busy := d.answered(all, http.StatusOK); len(done)+busy != len(all) || len(done) == 0 {
		t.Errorf("%d of %d were done", len(done), len(all))
	}
	for _, at := range []*servertest.Destination{d.a, d.b} {
		if status := get(at, "Patient", token); status != http.StatusUnauthorized {
			t.Errorf("after the revocations: %d", status)
		}
	}
}

// A client registers with its old and its new certificate at two destinations at once: it
// is one client, and both certificates get it tokens.
func TestCertificatesOfOneClientAtTheSameMoment(t *testing.T) {
	d := newDestinations(t)
	of := uri(t)
	var certificates [2]*identity
	for i := range certificates {
		certificates[i] = &identity{
			Identity: d.a.Client(d.a.A, of),
			uri:      of,
		}
	}

	var all []*sent
	for i := range copies {
		all = append(all, d.statement(certificates[i/2%2]))
	}
	d.spread(all)
	ids := map[string]bool{}
	done, busy := d.answered(all, http.StatusOK)
	for _, s := range done {
		ids[s.member("client_id")] = true
	}
	if len(ids) != 1 || len(done)+busy != len(all) {
		t.Fatalf("%d of %d registrations were done; one client has the ids %v", len(done), len(all), ids)
	}

	for id := range ids {
		for i, c := range certificates {
			for _, at := range []*servertest.Destination{d.a, d.b} {
				s := &sent{
					method: "POST",
					target: at.Issuer + "/token",
					header: []string{"Content-Type", "application/x-www-form-urlencoded"},
					body: authenticated(t, at, c.Identity, trace.ClientID(id), "/token",
						url.Values{"grant_type": {"client_credentials"}}),
				}
				if err := s.do(at); err != nil || s.status != http.StatusOK {
					t.Errorf("certificate %d: %d %s %v", i, s.status, s.text, err)
				}
			}
		}
	}
}
