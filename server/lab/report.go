package lab

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"fhirdest.example/udap/conform"
	"fhirdest.example/udap/conform/report"
)

// lastRun is the name under which the report of the last finished run is kept.
const lastRun = "last"

// maxNotes bounds the notes of a report.
const maxNotes = 100

// MakeReport returns the report of a session's present run, compared with that of the
// run that was finished last. A run is what has arrived since the session was opened,
// or since the last FinishRun.
func MakeReport(ctx context.Context, s *Service, id string) (*report.Report, error) {
	l, err := s.find(id)
	if err != nil {
		return nil, err
	}
	if err := Settle(ctx, s, id); err != nil {
		return nil, err
	}

	rows, notes, err := l.found(ctx)
	if err != nil {
		return nil, err
	}

	session := l.state()
	about := report.About{
		Kind:     report.Client,
		Subject:  cmp.Or(session.Name, "without a name"),
		Base:     session.Base,
		Profile:  session.Profile,
		Mode:     string(session.Mode),
		Requests: int(session.Counts.Exchanges),
	}
	about.Started, about.Ended, err = l.span(ctx)
	if err != nil {
		return nil, err
	}

	if n := session.Counts.Dropped; n > 0 {
		notes = append(notes, fmt.Sprintf("%d requests were not kept: the session is full, or they came too fast", n))
	}

	earlier, err := l.earlier(ctx)
	if err != nil {
		return nil, err
	}
	faults, err := Faults{s}.reported(ctx, id)
	if err != nil {
		return nil, err
	}

	return report.New(about, report.Found{
		Rows:   rows,
		Faults: faults,
		Notes:  notes,
	}, earlier, s.cfg.Now())
}

// FinishRun ends a session's present run and returns its report, which is kept: the
// report of the next run is compared with it. Registrations and tokens at the session
// stay.
func FinishRun(ctx context.Context, s *Service, id string) (*report.Report, error) {
	r, err := MakeReport(ctx, s, id)
	if err != nil {
		return nil, err
	}

	text, err := r.JSON()
	if err == nil {
		err = s.PutReport(ctx, id, lastRun, text)
	}
	if err == nil {
		err = s.Clear(ctx, id)
	}

	return r, err
}

// earlier returns the report of the run that was finished last; nil when there is none.
func (l *live) earlier(ctx context.Context) (*report.Report, error) {
	text, err := l.service.Report(ctx, l.state().ID, lastRun)
	if err != nil || text == nil {
		return nil, err
	}
	return report.Parse(text)
}

// span returns when a run's first and last request arrived; zero times when there was
// none.
func (l *live) span(ctx context.Context) (first, last time.Time, err error) {
	session := l.state()
	for _, end := range []struct {
		n  uint64
		at *time.Time
	}{
		{1, &first},
		{session.Counts.Exchanges, &last},
	} {
		some, err := l.service.cfg.Store.Exchanges(ctx, session.ID, end.n, 1)
		if err != nil {
			return first, last, err
		}
		if len(some) > 0 {
			*end.at = some[0].Received
		}
	}

	return first, last, nil
}

// found returns what is known about each requirement, and hints that belong to none.
func (l *live) found(ctx context.Context) (rows []conform.Outcome, notes []string, err error) {
	l.assessing.Lock()
	defer l.assessing.Unlock()
	if err := l.assess(ctx); err != nil {
		return nil, nil, err
	}

	for i, j := range l.assessments {
		for _, f := range j.Findings {
			if f.Row == "" && len(notes) < maxNotes {
				notes = append(notes, fmt.Sprintf("request %d: %s", i+1, f.Text))
			}
		}
	}

	return l.assessor.Rows(), notes, nil
}
