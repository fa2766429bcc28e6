package fhir

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"sync"
	"sync/atomic"

	"fhirdest.example/fhir/trail"
	"fhirdest.example/fhir/validate"
)

// Line is one resource to load.
type Line struct {
	Number int64 // in its file, from 1
	Body   []byte
}

// Load is resources to be stored in one transaction, as PUT stores those that have
// an id, and POST the others.
type Load struct {
	Bytes int64 // of all bodies
	lines []loadLine
	asked *Asked
}

// loadLine is one resource, validated and with what it will most likely become.
type loadLine struct {
	number int64
	req    *request
	failed *failure
}

// Loaded is what came of a Load.
type Loaded struct {
	Stored  map[string]int64 // by type
	Refused []Refused
}

// Refused is a line that was not stored.
type Refused struct {
	Line    int64  `json:"line"`
	Outcome []byte `json:"outcome"` // OperationOutcome
}

// preparedAtOnce is how many lines a processor takes at a time.
const preparedAtOnce = 16

// PrepareLoad parses and validates lines, on all processors, for whoever asked.
func (s *Service) PrepareLoad(ctx context.Context, a *Asked, lines []Line) *Load {
	l := &Load{
		lines: make([]loadLine, len(lines)),
		asked: a,
	}
	for i := range lines {
		l.Bytes += int64(len(lines[i].Body))
	}

	var next atomic.Int64
	var work sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		work.Go(func() {
			of := l.request(ctx, s)
			for {
				to := int(next.Add(preparedAtOnce))
				from := to - preparedAtOnce
				if from >= len(lines) {
					return
				}
				l.prepare(s, of, from, lines[from:min(to, len(lines))])
			}
		})
	}

	work.Wait()
	return l
}

// request returns what the requests of all lines have in common. What decides about
// access is used by one line at a time.
func (l *Load) request(ctx context.Context, s *Service) *request {
	r := &request{
		ctx:    ctx,
		header: http.Header{"Prefer": {"return=minimal"}},
		grant:  l.asked.Grant,
		inner:  true,
	}
	s.admit(r)
	return r
}

// prepare prepares lines, of which the first has the index at, and drafts them in one
// state of the store. of is what request has returned.
func (l *Load) prepare(s *Service, of *request, at int, lines []Line) {
	made := l.lines[at : at+len(lines)]
	for i, line := range lines {
		made[i] = s.prepareLine(of, line)
	}

	err := s.Store.View(of.ctx, func(sn Snapshot) error {
		for i := range made {
			if made[i].failed != nil || !drafts(made[i].req) {
				continue
			}

			if err := s.writer.draftIn(sn, made[i].req); err != nil {
				f := asFailure(err)
				if f.status >= http.StatusInternalServerError {
					return err
				}
				made[i].failed = f
			}
		}
		return nil
	})

	for i := range made {
		if err != nil && made[i].failed == nil {
			made[i].failed = asFailure(err)
		}
	}
}

// prepareLine parses and validates a line. of is what Load.request has returned.
func (s *Service) prepareLine(of *request, line Line) loadLine {
	one := *of
	r := &one
	r.now = s.Now()
	out := loadLine{
		number: line.Number,
		req:    r,
	}

	in, err := s.readResource(line.Body, r.now, validate.Options{})
	if err == nil {
		err = writable(in.typ)
	}
	if err == nil {
		r.in, r.method, r.path = in, http.MethodPost, []string{in.typ}
		if in.id != "" {
			r.method = http.MethodPut
			r.path = []string{in.typ, in.id}
		}
		err = s.verifySigned(r, in)
	}

	if err != nil {
		out.failed = asFailure(err)
	}

	return out
}

// StoreLoad stores the resources of a Load that the grant may store, and the mark
// with the value that place gives, in one transaction with the audit records. was is
// the mark's value so far, nil for none: ErrOvertaken if it has another, as another
// destination goes on with the work. Its error means that nothing was stored.
func (s *Service) StoreLoad(
	ctx context.Context, l *Load, mark string, was []byte, place func(*Loaded) ([]byte, error),
) (out *Loaded, err error) {
	all := l.request(ctx, s)
	all.now = s.Now()
	for i := range l.lines {
		r := l.lines[i].req
		r.access, r.labels = all.access, all.labels
		all.entries = append(all.entries, &batchEntry{req: r})
		if r.now.Before(all.now) {
			all.now = r.now
		}
	}

	err = s.Store.Update(ctx, func(c Change) error {
		if now, err := c.Setting(ctx, mark); err != nil || !bytes.Equal(now, was) {
			return cmp.Or(err, ErrOvertaken)
		}
		if err := unsettle(all, c); err != nil {
			return err
		}

		out = &Loaded{Stored: map[string]int64{}}
		stored := notes{}
		for i := range l.lines {
			if err := s.storeLine(ctx, c, &l.lines[i], out, &stored); err != nil {
				return err
			}
		}

		if err := c.Append(ctx, s.loadRecords(l.asked, &stored)); err != nil {
			return err
		}

		value, err := place(out)
		if err != nil {
			return err
		}
		return c.SetSetting(ctx, mark, value)
	})
	return out, err
}

// storeLine stores one resource, or notes why it is refused.
func (s *Service) storeLine(
	ctx context.Context, c Change, l *loadLine, out *Loaded, stored *notes,
) error {
	f := l.failed
	if f == nil {
		change := s.writer.create
		if l.req.method == http.MethodPut {
			change = s.writer.update
		}

		l.req.ctx, l.req.notes = ctx, notes{}
		_, err := change(c, l.req)
		switch {
		case err == nil:
			out.Stored[l.req.in.typ]++
			stored.touched = append(stored.touched, l.req.notes.touched...)
			return nil
		case !errors.As(err, &f) || f.status >= http.StatusInternalServerError:
			return err
		}
	}

	if f.status >= http.StatusInternalServerError {
		return f
	}

	issues := append([]issue{{
		severity: "information",
		code:     "informational",
		detail:   fmt.Sprintf("Line %d was not stored.", l.number),
	}}, f.issues...)
	out.Refused = append(out.Refused, Refused{
		Line:    l.number,
		Outcome: outcome(issues),
	})

	return nil
}

// loadRecords are the audit records of what was stored.
func (s *Service) loadRecords(a *Asked, stored *notes) []trail.Record {
	r := &request{
		method:  a.Method,
		path:    a.Path,
		header:  a.Header,
		grant:   a.Grant,
		address: a.Address,
		now:     s.Now(),
		notes:   *stored,
	}
	if len(stored.touched) == 0 {
		return nil
	}
	return s.auditRecords(r, &interaction{name: a.Interaction}, nil)
}

// Place returns the value of a mark that StoreLoad stored, nil when there is none.
func (s *Service) Place(ctx context.Context, mark string) ([]byte, error) {
	return s.marked(ctx, mark)
}
