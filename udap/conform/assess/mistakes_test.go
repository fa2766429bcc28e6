package assess_test

import (
	"context"
	"net/url"
	"strings"
	"testing"

	"fhirdest.example/udap"
	"fhirdest.example/udap/conform"
	"fhirdest.example/udap/fault"
	"fhirdest.example/udap/forge"
	"fhirdest.example/udap/trace"
	"fhirdest.example/udap/udaptest"
)

// Every mistake of the catalogue of package fault, decided by the real checks, leads
// to exactly one row, with the check's name and with words.
func TestMistakesOfTheCatalogue(t *testing.T) {
	w := udaptest.New(t, "p256")
	for _, d := range []fault.Document{fault.Statement, fault.Assertion} {
		for _, f := range fault.All() {
			if !f.In(d) {
				continue
			}
			t.Run(string(d)+"/"+f.Name, func(t *testing.T) {
				s := newScript(t, conform.SSRAA2)
				s.client = w.Client(t, w.A.Int, udaptest.Client1URI, nil)
				ready(s)
				s.mistaken(w, d, f)

				wrong := s.wrong()
				if len(wrong) != 1 {
					t.Fatalf("wrong: %q", wrong)
				}
				id, text, _ := strings.Cut(wrong[0], ": ")
				if o := s.outcome(id); o.Check != f.CheckIn(d) || text == "" {
					t.Errorf("%s by check %q, want %s", wrong[0], o.Check, f.CheckIn(d))
				}
			})
		}
	}
}

// mistaken sends a document with a mistake, with the trace of the real decision.
func (s *script) mistaken(w *udaptest.Env, d fault.Document, f fault.Fault) {
	s.t.Helper()
	now := s.now
	make := func(good forge.Claims) string {
		compact, err := f.Make((*forge.Client)(s.client), good, now)
		if err != nil {
			s.t.Fatal(err)
		}
		return compact
	}

	tr := trace.NewTrace(string(d), now)
	expect := udap.Expect{
		Now:      now,
		Audience: udaptest.Registration,
	}
	if d == fault.Statement {
		compact := make(forge.Statement(s.client.URI, udaptest.Registration, now))
		_, err := w.Verifier().Statement(context.Background(), compact, expect, tr)
		s.refused(tr, err)
		s.send("POST", register, "application/json", s.json(map[string]any{
			"software_statement": compact,
			"udap":               "1",
		}), 400, "", "{}")
		return
	}

	compact := make(forge.Assertion(trace.ClientID(s.id), udaptest.Token, now))
	expect.Audience = udaptest.Token
	_, err := w.Verifier().Assertion(context.Background(), compact, "", expect, s.binding, tr)
	s.refused(tr, err)
	s.sign = func(udaptest.Claims) string { return compact }
	s.posts(url.Values{"grant_type": {"client_credentials"}}, 401, "{}")
}

// binding is the registration of the script's client.
func (s *script) binding(id trace.ClientID) (udap.Binding, bool) {
	b := udap.Binding{
		Community: udaptest.CommunityA,
		Client:    udaptest.Client1URI,
	}
	return b, string(id) == s.id
}

// refused attaches the trace of a refusal to the next exchange.
func (s *script) refused(tr *trace.Trace, err error) {
	s.t.Helper()
	if err == nil {
		s.t.Fatal("it was accepted")
	}
	s.traces = []*trace.Trace{tr}
}
