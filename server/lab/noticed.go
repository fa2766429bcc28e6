package lab

import (
	"context"
	"slices"

	"fhirdest.example/udap/conform"
	"fhirdest.example/udap/conform/report"
	"fhirdest.example/udap/fault/answer"
)

// maxFollowing is how many exchanges, from the first one with a fault on, are read for
// what clients did about faults.
const maxFollowing = 5000

// Noticed returns what clients of a session did about each deliberate fault that an
// answer had or that is chosen: the worst of the session's clients decides.
func (s Faults) Noticed(ctx context.Context, id string) ([]answer.Outcome, error) {
	l, err := s.find(id)
	if err != nil {
		return nil, err
	}
	if err := s.Flush(ctx); err != nil {
		return nil, err
	}

	clients, err := s.following(ctx, id)
	if err != nil {
		return nil, err
	}

	var all []answer.Outcome
	chosen, now := l.state().Faults, s.cfg.Now()
	for _, f := range answer.All() {
		out := f.Read(nil, now)
		for _, exchanges := range clients {
			if next := f.Read(exchanges, now); worse(next.Verdict, out.Verdict) {
				out = next
			}
		}
		if out.Seen != 0 || slices.Contains(chosen, f.Name) {
			all = append(all, out)
		}
	}

	return all, nil
}

// worse reports whether a verdict goes before another one.
func worse(a, b answer.Verdict) bool {
	order := []answer.Verdict{answer.NotSeen, answer.Noticed, answer.Waiting, answer.Ignored}
	return slices.Index(order, a) >= slices.Index(order, b)
}

// following returns the exchanges of each client, from the first answer with a fault
// on; what clients did before, in short, as well.
func (s Faults) following(ctx context.Context, id string) (map[string][]*conform.Exchange, error) {
	lanes := lanes{}
	clients := map[string][]*conform.Exchange{}
	faulty, count := false, 0
	for from := uint64(1); count < maxFollowing; {
		some, err := s.Exchanges(ctx, id, from, replayed)
		if err != nil {
			return nil, err
		}
		if len(some) == 0 {
			break
		}

		for _, k := range some {
			from = k.N + 1
			lanes.join(k.Assessment)
			faulty = faulty || k.Exchange.Fault != ""
			if !faulty && k.Exchange.Step != conform.Authorize {
				continue
			}
			count++
			clients[k.Assessment.Lane] = append(clients[k.Assessment.Lane], slim(k.Exchange))
		}
	}

	return lanes.merge(clients), nil
}

// slim returns what of an exchange is read for faults.
func slim(e *conform.Exchange) *conform.Exchange {
	out := *e
	out.Traces = nil
	if e.Fault == "" {
		out.Answer.Body = nil
	}
	if e.Step == conform.Read || e.Step == conform.Discover {
		out.Request.Body = nil
	}
	return &out
}

// lanes are the lanes that turned out to be another one.
type lanes map[string]string

func (l lanes) join(a Assessment) {
	for _, was := range a.Joined {
		if was != a.Lane {
			l[was] = a.Lane
		}
	}
}

// of returns the lane that a lane is now.
func (l lanes) of(lane string) string {
	for range len(l) + 1 {
		next, joined := l[lane]
		if !joined {
			break
		}
		lane = next
	}
	return lane
}

// merge returns the exchanges by the lanes that they are in now, in order.
func (l lanes) merge(clients map[string][]*conform.Exchange) map[string][]*conform.Exchange {
	out := map[string][]*conform.Exchange{}
	for lane, exchanges := range clients {
		out[l.of(lane)] = append(out[l.of(lane)], exchanges...)
	}
	for _, exchanges := range out {
		slices.SortFunc(exchanges, func(a, b *conform.Exchange) int {
			return int(a.N) - int(b.N)
		})
	}
	return out
}

// reported returns what a report has about deliberate faults. A client whose time has
// not passed has neither noticed nor ignored one.
func (s Faults) reported(ctx context.Context, id string) ([]report.Fault, error) {
	outcomes, err := s.Noticed(ctx, id)
	if err != nil {
		return nil, err
	}

	var all []report.Fault
	for _, o := range outcomes {
		f := answer.Find(o.Fault)
		one := report.Fault{
			Name:    f.Name,
			Title:   f.Title,
			Outcome: report.NotSeen,
			Text:    o.Text,
			Correct: f.Correct,
			Rule:    f.Rule,
		}
		switch o.Verdict {
		case answer.Noticed:
			one.Outcome = report.Noticed
		case answer.Ignored:
			one.Outcome = report.Ignored
		}
		all = append(all, one)
	}
	return all, nil
}
