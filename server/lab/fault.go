package lab

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"sync"

	"fhirdest.example/certs"
	"fhirdest.example/udap/conform"
	"fhirdest.example/udap/fault/answer"
	"fhirdest.example/udap/trace"
)

// Origins are the origins of the listeners that deliberate faults need.
type Origins struct {
	Elsewhere string            // a listener without a fault; empty: there is none
	TLS       map[string]string // of listeners with faulty TLS, by the fault's name
}

// Faults are a lab's deliberate faults.
type Faults struct{ *Service }

// maxFaults is how many faults a session has at once.
const maxFaults = 8

// All returns the faults that sessions can have here.
func (s Faults) All() []*answer.Fault {
	tools := answer.Tools{
		Communities: make([]answer.Community, len(s.cfg.Issuers)),
		Elsewhere:   s.cfg.Origins.Elsewhere,
	}
	return slices.DeleteFunc(answer.All(), func(f *answer.Fault) bool {
		if f.Stage == answer.TLS {
			return s.cfg.Origins.TLS[f.Name] == ""
		}
		return !f.Available(tools)
	})
}

// Base returns the FHIR base URL under which a session has a fault of TLS; empty
// for any other fault, whose place is the session's own base.
func (s Faults) Base(session Session, fault string) string {
	origin := s.cfg.Origins.TLS[fault]
	if origin == "" {
		return ""
	}
	return origin + pathOf(session.Base)
}

// check returns a *RequestError for names that are no deliberate faults here.
func (s Faults) check(names []string) error {
	if len(names) > maxFaults {
		return &RequestError{
			Member: "faults",
			Text:   fmt.Sprintf("a session has at most %d faults at once", maxFaults),
		}
	}

	all := s.All()
	for _, name := range names {
		if !slices.ContainsFunc(all, func(f *answer.Fault) bool { return f.Name == name }) {
			return &RequestError{
				Member: "faults",
				Text:   "there is no such fault here",
			}
		}
	}
	return nil
}

// faulted is the handler of a session with the faults that are chosen.
type faulted struct {
	mu      sync.Mutex
	names   []string // for which handler was made
	site    http.Handler
	handler http.Handler
}

// faulty returns the handler of a session's site with the faults that are chosen. What
// cannot be made is left out, and logged.
func (l *live) faulty(site http.Handler) http.Handler {
	session := l.state()
	if len(session.Faults) == 0 {
		return site
	}

	f := &l.faulted
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.handler != nil && f.site == site && slices.Equal(f.names, session.Faults) {
		return f.handler
	}

	tools, err := l.tools(session)
	if err != nil {
		l.service.cfg.Log.Error("the faults of a session of the lab cannot be made", "cause", err)
		return site
	}

	f.names, f.site, f.handler = session.Faults, site, site
	for _, name := range session.Faults {
		if fault := answer.Find(name); fault != nil {
			f.handler = fault.Apply(f.handler, tools)
		}
	}
	return f.handler
}

// tools are what the faults of a session are made with.
func (l *live) tools(session Session) (answer.Tools, error) {
	s := l.service
	t := answer.Tools{
		Base:      session.Base,
		Private:   s.cfg.Private + "/lab/" + session.ID + "/fhir",
		Issuer:    session.Issuer,
		Now:       s.cfg.Now,
		Elsewhere: s.cfg.Origins.Elsewhere,
		Listener:  len(s.cfg.Origins.TLS) > 0,
		Applied:   l.applied,
	}

	own, err := issuing{s.cfg}.identities(session, s.cfg.dirOf(session))
	if err != nil {
		return t, err
	}
	for i, id := range own {
		loaded, err := certs.LoadIdentity(id.Chain, id.Key)
		if err != nil {
			return t, err
		}
		t.Communities = append(t.Communities, answer.Community{
			URI:     trace.CommunityURI(id.Community),
			Issuing: s.cfg.Issuers[i].CA,
			CRL:     s.cfg.Issuers[i].CRL,
			Own:     loaded,
		})
	}

	return t, nil
}

// applied notes that an answer has a fault. One that is for one answer is no longer
// chosen then.
func (l *live) applied(r *http.Request, name string) {
	captureOf(r).noteFault(name)
	if answer.Find(name).Lasts != answer.OneAnswer {
		return
	}

	err := l.change(context.WithoutCancel(r.Context()), func(session *Session) {
		session.Faults = slices.DeleteFunc(slices.Clone(session.Faults), func(n string) bool { return n == name })
	})
	if err != nil {
		l.service.cfg.Log.Error("a session of the lab could not be stored", "cause", err)
	}
}

// OverTLS returns the handler of a listener whose TLS has a fault, or which is
// elsewhere: next, with requests captured under the fault's name. A client that names
// the listener in Host is answered as if it had named the public site.
func (s Faults) OverTLS(fault string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.cfg.Origins.TLS[fault] != "" {
			captureOf(r).noteFault(fault)
		}

		named := r.WithContext(r.Context())
		named.Host = s.bases.hosts[0]
		next.ServeHTTP(w, named)
	})
}

// Ended keeps, for every session that has the fault, that a client ended the
// handshake: as an exchange without a method.
func (s Faults) Ended(fault string, from net.Addr) {
	for _, l := range s.Service.all() {
		if !slices.Contains(l.state().Faults, fault) {
			continue
		}

		now := s.cfg.Now()
		handed := captured{
			live: l,
			exchange: &conform.Exchange{
				Received: now,
				Answered: now,
				Address:  address(from),
				Step:     conform.Other,
				Fault:    fault,
			},
		}
		if !s.inbox.put(handed) {
			l.lose(1)
		}
	}
}

// dirOf returns the directory of a session.
func (c Config) dirOf(session Session) string {
	return filepath.Join(c.Dir, session.ID)
}
