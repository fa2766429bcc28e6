package fetch

import (
	"context"
	"errors"
	"sort"
	"sync"
	"time"

	"fhirdest.example/udap"
)

// idle is how long a list is kept fresh after it was last asked for.
const idle = 24 * time.Hour

// Run fetches every list in use again each Refresh until ctx ends.
func (s *Source) Run(ctx context.Context) error {
	var watching sync.WaitGroup
	watching.Go(func() { s.watch(ctx) })
	defer watching.Wait()

	tick := time.NewTicker(s.cfg.Refresh)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
			await(ctx, s.beginAll(s.cfg.Now().Add(-idle)))
		}
	}
}

// Refresh fetches every known list again now and waits until all fetches have
// ended, or ctx has.
func (s *Source) Refresh(ctx context.Context) {
	await(ctx, s.beginAll(time.Time{}))
}

func await(ctx context.Context, flights []<-chan struct{}) {
	for _, f := range flights {
		select {
		case <-f:
		case <-ctx.Done():
			return
		}
	}
}

// beginAll starts to fetch every list that was asked for since then.
func (s *Source) beginAll(since time.Time) []<-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []<-chan struct{}

	for _, e := range s.entries {
		if e.used.Before(since) {
			continue
		}

		if !e.flight.joinable() {
			e.flight = newFlight(e.key.place)
			go s.fetch(e, e.flight)
		}
		out = append(out, e.flight.done)
	}

	return out
}

// State is the state of one CRL, for readiness and the console.
type State struct {
	Place      string    `json:"place"`
	Issuer     string    `json:"issuer"`
	Number     string    `json:"number,omitempty"` // decimal; empty when there is no list
	ThisUpdate time.Time `json:"thisUpdate,omitzero"`
	NextUpdate time.Time `json:"nextUpdate,omitzero"`
	Entries    int       `json:"entries"`
	Fetched    time.Time `json:"fetched,omitzero"`
	AgeSeconds int64     `json:"ageSeconds"` // since it was fetched
	Tried      time.Time `json:"tried,omitzero"`
	Error      string    `json:"error,omitempty"`   // how the last fetch failed
	Warning    string    `json:"warning,omitempty"` // what is odd about the CRL that counts
	Usable     bool      `json:"usable"`            // it counts now
	Expiring   bool      `json:"expiring"`          // it counts, but runs out soon
}

// State reports every known list, in the order of their places.
func (s *Source) State() []State {
	now := s.cfg.Now()
	s.mu.Lock()
	defer s.mu.Unlock()

	out := make([]State, 0, len(s.entries))
	for _, e := range s.entries {
		out = append(out, e.state(now, s.cfg.Refresh))
	}

	sort.Slice(out, func(i, j int) bool {
		return out[i].Place < out[j].Place || out[i].Place == out[j].Place &&
			out[i].Issuer < out[j].Issuer
	})

	return out
}

func (e *entry) state(now time.Time, refresh time.Duration) State {
	st := State{
		Place:  e.key.place,
		Issuer: e.issuer.Subject.String(),
		Tried:  e.tried,
	}

	if e.err != nil {
		st.Error = e.err.Error()
	}
	if e.list == nil {
		return st
	}

	st.Warning = e.odd
	l := e.list
	if l.Number != nil {
		st.Number = l.Number.String()
	}
	st.ThisUpdate, st.NextUpdate, st.Entries = l.ThisUpdate, l.NextUpdate, len(l.RevokedCertificateEntries)
	st.Fetched, st.AgeSeconds = e.fetched, int64(now.Sub(e.fetched)/time.Second)
	st.Usable = e.usable(now)

	st.Expiring = st.Usable && l.NextUpdate.Sub(now) < soon(l.NextUpdate.Sub(l.ThisUpdate), refresh)

	return st
}

// soon is how long before its end a list counts as expiring: the last tenth of
// its life, or two refreshes if that is longer.
func soon(life, refresh time.Duration) time.Duration {
	return max(life/10, 2*refresh)
}

// matching leaves out the configured lists of other issuers once the right one
// is among them.
func matching(answers []udap.CRLAnswer) []udap.CRLAnswer {
	var found []udap.CRLAnswer
	for _, a := range answers {
		if !errors.Is(a.Err, errOtherIssuer) {
			found = append(found, a)
		}
	}

	if len(found) == 0 {
		return answers
	}
	return found
}
