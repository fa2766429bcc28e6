package oauth

import (
	"fmt"
	"strconv"
	"strings"
	"sync"

	"fhirdest.example/fhir/scope"
	"fhirdest.example/udap/trace"
)

// catalogue returns the scopes that exist for the clients of a grant.
func (c Config) catalogue(g *grantType) scope.Catalogue {
	if g.personal {
		return c.Personal
	}
	return c.Scopes
}

// scopeCheck is how an endpoint refuses scopes.
type scopeCheck struct {
	check trace.Check
	code  trace.Code
}

// negotiate returns the part of a request that the clients of a grant may have.
// It is a refusal if there is none, or if an unsupported wildcard is asked for
// (UDAP Security 2.0, 7.3).
func (s *Service) negotiate(
	g *grantType, r scope.Request, c scopeCheck, tr *trace.Trace,
) (scope.Answer, error) {
	catalogue := s.cfg.catalogue(g)
	r.Contexts, r.Plain = g.contexts, g.personal
	answer := catalogue.Negotiate(r)
	if !answer.TooMany && answer.Wildcard == "" && len(answer.Granted) > 0 {
		return answer, nil
	}

	f := trace.Finding{Expected: s.listed(g)}
	switch {
	case answer.TooMany:
		f = trace.Finding{
			Expected: "scopes that can be compared in some milliseconds",
			Found:    strconv.Itoa(len(r.Scopes)) + " scopes against very many granular ones",
			Remedy:   "ask for fewer at a time, in the words of the registration",
		}

	case answer.Wildcard != "":
		f.Found = "the wildcard " + answer.Wildcard
		f.Remedy = catalogue.Why(r, answer.Wildcard)

	default:
		f.Found = strings.Join(r.Scopes, " ")
		f.Remedy = whyNone(catalogue, r, answer.Refused)
		if r.Limited {
			f.Expected = "some of the registered scopes " + strings.Join(r.Within, " ")
		}
	}

	return answer, tr.Refuse(c.check, c.code, f)
}

// maxNegotiations bounds how many answers are remembered, and maxNegotiation the length
// of the texts of each, in bytes.
const (
	maxNegotiations = 1024
	maxNegotiation  = 1 << 10
)

// negotiations remember what came of requests for scopes. An answer depends on these
// texts and on the catalogue, which never changes, and on nothing else: neither on who
// asks nor on the time. Refusals are not remembered.
type negotiations struct {
	mu      sync.Mutex
	granted map[negotiation][]string
}

// negotiation is what an answer depends on.
type negotiation struct{ grant, registered, asked string }

func (n *negotiations) get(k negotiation) (granted []string, known bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	granted, known = n.granted[k]
	return granted, known
}

// put remembers copies: parts of a request would keep the whole of it in memory.
func (n *negotiations) put(k negotiation, granted []string) {
	if len(k.registered)+len(k.asked) > maxNegotiation {
		return
	}
	k.asked = strings.Clone(k.asked)
	own := make([]string, len(granted))
	for i, text := range granted {
		own[i] = strings.Clone(text)
	}

	n.mu.Lock()
	defer n.mu.Unlock()
	if n.granted == nil || len(n.granted) >= maxNegotiations {
		n.granted = map[negotiation][]string{}
	}
	n.granted[k] = own
}

// negotiateWithin returns what a client is granted that has registered scopes, which are
// the most that it gets. The result is shared and must not be changed.
func (s tokenEndpoint) negotiateWithin(
	g *grantType, registered string, asked []string, c scopeCheck, tr *trace.Trace,
) ([]string, error) {
	k := negotiation{
		grant:      g.name,
		registered: registered,
		asked:      strings.Join(asked, " "),
	}
	if granted, known := s.negotiations.get(k); known {
		return granted, nil
	}

	a, err := s.negotiate(g, scope.Request{
		Scopes:  asked,
		Within:  splitScope(registered),
		Limited: true,
	}, c, tr)
	if err == nil {
		s.negotiations.put(k, a.Granted)
	}
	return a.Granted, err
}

// noteGranted records what of a request was granted, and why the rest was not.
func (s *Service) noteGranted(
	g *grantType, r scope.Request, answer scope.Answer, check trace.Check, tr *trace.Trace,
) {
	granted := strings.Join(answer.Granted, " ")
	if len(answer.Refused) == 0 {
		tr.Pass(check, strings.Join(r.Scopes, " "), granted)
		return
	}

	r.Contexts, r.Plain = g.contexts, g.personal
	tr.Warn(check, trace.Finding{
		Expected: s.listed(g),
		Found:    "not granted: " + strings.Join(answer.Refused, " "),
		Remedy:   "granted: " + granted + "; " + whyNone(s.cfg.catalogue(g), r, answer.Refused),
	})
}

// listed names the scopes that a grant's clients may have, as many as fit into a
// message. Those of a grant that is not offered are not published yet.
func (s *Service) listed(g *grantType) string {
	const most = 240 // bytes
	all := s.cfg.catalogue(g).Supported()
	text, n := "", 0
	for n < len(all) && len(text)+len(all[n]) < most {
		text += " " + all[n]
		n++
	}

	if n < len(all) {
		text += fmt.Sprintf(" and %d more", len(all)-n)
	}
	if g.personal && !s.cfg.people() {
		return "scopes of " + g.name + ", which the metadata lists where people can sign in:" + text
	}

	return "scopes that the metadata lists for " + g.name + ":" + text
}

// whyNone explains the first of the scopes that were not granted, and counts the
// others.
func whyNone(c scope.Catalogue, r scope.Request, refused []string) string {
	const explained = 3
	var why []string
	for _, text := range refused[:min(len(refused), explained)] {
		why = append(why, c.Why(r, text))
	}

	if more := len(refused) - explained; more > 0 {
		why = append(why, fmt.Sprintf("%d more are not granted", more))
	}
	return strings.Join(why, "; ")
}

// splitScope splits a list of scopes that this server wrote.
func splitScope(s string) []string { return strings.Fields(s) }
