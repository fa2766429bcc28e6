package oauth_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"

	"fhirdest.example/udap"
	"fhirdest.example/udap/trace"
	"fhirdest.example/udap/udaptest"
)

// together is one of several clients that ask at the same time. All that it sends has
// its mark, which no other has.
type together struct {
	mark, scope string
	client      *udaptest.Client
	id          trace.ClientID
}

// claims are those of an authentication token with the client's mark, also in its jti.
func (c *together) claims(e *env, n int) udaptest.Claims {
	return udaptest.Assertion(c.id, e.now()).
		With("jti", fmt.Sprintf("jti-%s-%d", c.mark, n)).
		With("extensions", map[string]any{udap.B2BKey: map[string]any{
			"version":           "1",
			"organization_name": "name " + c.mark,
			"organization_id":   "https://clinic.test/" + c.mark,
			"purpose_of_use":    []string{"urn:oid:2.16.840.1.113883.5.8#TREAT"},
		}})
}

// Requests that are answered at the same time, good ones beside refused ones, have
// answers, tokens and traces with nothing of one another, though they share memory one
// after the other.
func TestRequestsTogetherKeepToThemselves(t *testing.T) {
	const (
		clients = 6
		rounds  = 12
	)
	e := newEnv(t)
	scopes := []string{"system/Patient.rs", "system/Observation.rs", "system/Condition.rs"}
	all := make([]*together, clients)
	for i := range all {
		c := &together{
			mark:  strings.Repeat(string(rune('a'+i)), 9+7*i),
			scope: scopes[i%len(scopes)],
		}
		c.client = e.client(e.w.A, "https://client.test/"+c.mark)
		c.id = e.registered(c.client, with("scope", strings.Join(scopes, " ")))
		all[i] = c
	}

	var mu sync.Mutex
	traces := map[string]*together{}
	var work sync.WaitGroup
	for _, c := range all {
		work.Go(func() {
			for n := range rounds {
				a := c.ask(e, n)
				mu.Lock()
				traces[a.header.Get("Trace-Id")] = c
				mu.Unlock()
			}
		})
	}

	work.Wait()
	e.server.Close() // then all traces are recorded
	checkTogether(t, e.traces, all, traces)
}

// ask sends a request, every third one a bad one, and checks the answer.
func (c *together) ask(e *env, n int) answer {
	if n%3 == 2 {
		a := e.token(c.client, c.claims(e, n).With("aud", "https://other.test/"+c.mark), "scope", c.scope)
		if a.status != 400 || !strings.Contains(a.text("error_description"), "https://other.test/"+c.mark) {
			e.t.Errorf("%s: %d %s", c.mark, a.status, a.body)
		}
		return a
	}

	a := e.token(c.client, c.claims(e, n), "scope", c.scope)
	if a.status != 200 || a.text("scope") != c.scope {
		e.t.Errorf("%s: %d %s", c.mark, a.status, a.body)
		return a
	}

	access, err := e.bearer(a.text("access_token"))
	if err != nil || access.ClientID != c.id || access.Scope[0] != c.scope ||
		!strings.Contains(string(access.Extensions[udap.B2BKey]), `"https://clinic.test/`+c.mark+`"`) {
		e.t.Errorf("%s: its token is %+v, %v", c.mark, access, err)
	}
	return a
}

// checkTogether looks for what traces have of other requests than their own.
func checkTogether(t *testing.T, traces []*trace.Trace, all []*together, of map[string]*together) {
	found := 0
	for _, tr := range traces {
		own := of[tr.ID]
		if own == nil {
			continue // of a registration
		}

		found++
		text, err := json.Marshal(tr)
		if err != nil {
			t.Fatal(err)
		}
		passed := tr.Code == ""
		if tr.ClientID != own.id || passed != strings.Contains(string(text), "jti-"+own.mark+"-") {
			t.Errorf("the trace of %s is not its own: %s", own.mark, text)
		}
		for _, other := range all {
			if other != own && strings.Contains(string(text), "/"+other.mark+`"`) {
				t.Errorf("the trace of %s has something of %s: %s", own.mark, other.mark, text)
			}
		}
	}

	if found != len(of) {
		t.Errorf("%d traces of %d requests", found, len(of))
	}
}
