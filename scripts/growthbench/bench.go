package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"fhirdest.example/scripts/measure"
)

// Units beside those of package measure.
const (
	seconds   = "s"
	megabytes = "MB"
)

// Cases beside the kinds of requests.
const (
	afterKill = "start after kill -9"
	afterStop = "start after a stop"
	tokenCase = "token of a client at random"
	anonymous = "memory without files"
	onDisk    = "size on disk"
)

// bench makes the populations, measures, and removes them.
func bench(ctx context.Context, progress io.Writer, o options) (r *measure.Run, err error) {
	e, err := newEnv(o)
	defer func() {
		if closeErr := e.close(); err == nil {
			err = closeErr
		}
	}()

	if err != nil {
		return nil, err
	}

	for i := range o.sides() {
		s := &side{
			env: e,
			dir: filepath.Join(e.dir, fmt.Sprint(i)),
		}
		if i < len(o.registrations) {
			s.registrations = o.registrations[i]
		}
		if i < len(o.resources) {
			s.resources = o.resources[i]
		}

		s.http = &http.Client{Transport: &http.Transport{
			DialTLSContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return s.dial(ctx) },
		}}
		e.sides = append(e.sides, s)
		if err := s.populate(ctx, progress); err != nil {
			return nil, err
		}
	}

	r = measure.NewRun()
	for round := range o.Rounds {
		fmt.Fprintf(progress, "round %d\n", round+1)
		if err := e.round(ctx, r); err != nil {
			return nil, err
		}
	}

	e.goals(r)
	return r, nil
}

// round measures everything once: all destinations start anew after a kill, so that
// none has a client in memory.
func (e *env) round(ctx context.Context, r *measure.Run) error {
	for _, s := range e.sides {
		if _, err := s.startAgain(); err != nil {
			return err
		}
		if err := s.killWriting(ctx); err != nil {
			return err
		}
	}

	for _, step := range []struct {
		work string
		do   func(*side) (measure.Values, error)
		of   func(*side) int // size of the population that the work is about
	}{
		{afterKill, (*side).startAgain, (*side).larger},
		{tokenCase, func(s *side) (measure.Values, error) { return s.tokens(ctx) }, (*side).clients},
	} {
		if err := e.each(r, step.work, step.of, step.do); err != nil {
			return err
		}
	}

	if err := e.requests(ctx, r); err != nil {
		return err
	}

	for _, path := range []string{"/ready", "/metrics"} {
		err := e.each(r, path, (*side).larger, func(s *side) (measure.Values, error) { return s.administer(path) })
		if err != nil {
			return err
		}
	}

	if err := e.each(r, anonymous, (*side).larger, (*side).memory); err != nil {
		return err
	}

	for _, s := range e.sides {
		s.process.Stop()
	}
	if err := e.each(r, afterStop, (*side).larger, (*side).startAgain); err != nil {
		return err
	}

	for _, s := range e.sides {
		s.process.Kill()
	}
	return e.each(r, onDisk, (*side).larger, (*side).size)
}

// requests measures the kinds that are wanted.
func (e *env) requests(ctx context.Context, r *measure.Run) error {
	for _, s := range e.sides {
		if s.resources == 0 {
			continue
		}
		if err := s.authorize(ctx); err != nil {
			return err
		}
		if !e.Wants(deepName) {
			continue
		}
		if err := s.goDeep(ctx); err != nil {
			return err
		}
	}

	for _, k := range kinds {
		if !e.Wants(k.name) {
			continue
		}
		err := e.each(r, k.name, (*side).documents, func(s *side) (measure.Values, error) { return s.ask(ctx, k) })
		if err != nil {
			return err
		}
	}

	return nil
}

// killWriting kills the destination while it gives tokens and stores resources.
func (s *side) killWriting(ctx context.Context) error {
	const (
		creates = 4000 // more than there is time for
		wait    = 250 * time.Millisecond
	)
	requests, err := s.tokenRequests()
	if err != nil {
		return err
	}

	if s.resources > 0 {
		if err := s.authorize(ctx); err != nil {
			return err
		}

		for range creates {
			requests = append(requests, s.fhir().Create())
		}
		mathrand.Shuffle(len(requests), func(i, j int) {
			requests[i], requests[j] = requests[j], requests[i]
		})
	}

	answered := make(chan error, 1)
	go func() {
		_, err := s.send(ctx, requests)
		answered <- err
	}()
	time.Sleep(wait)
	s.process.Kill()
	if <-answered == nil {
		return errors.New("all was answered before the destination was killed")
	}

	return nil
}

// Sizes of populations, 0 for none.
func (s *side) clients() int   { return s.registrations }
func (s *side) documents() int { return s.resources }
func (s *side) larger() int    { return max(s.registrations, s.resources) }

// each has every destination that has such a population do some work once, by turns.
func (e *env) each(
	r *measure.Run, work string, of func(*side) int, do func(*side) (measure.Values, error),
) error {
	for _, s := range e.sides {
		if of(s) == 0 {
			continue
		}

		v, err := do(s)
		if err != nil {
			return fmt.Errorf("%s, %s: %w", work, s.label(of), err)
		}
		r.Add(work, s.label(of), v)
	}

	return nil
}

// label names a side in the cases that are about a population.
func (s *side) label(of func(*side) int) string {
	if s.larger() != of(s) || s.registrations == 0 || s.resources == 0 {
		return s.name(of(s))
	}
	return s.name(s.registrations) + " + " + s.name(s.resources)
}

// startAgain starts a destination, and waits until it is ready.
func (s *side) startAgain() (measure.Values, error) {
	began := time.Now()
	if err := s.start(); err != nil {
		return nil, err
	}

	if err := s.visit("/ready"); err != nil {
		return nil, err
	}

	took := time.Since(began)

	return measure.Values{
		seconds:           took.Seconds(),
		measure.CPUMicros: float64(measure.CPUOf(s.process.PID()).Microseconds()),
	}, nil
}

// administer measures requests to the other listener.
func (s *side) administer(path string) (measure.Values, error) {
	const n = 50
	before := measure.CPUOf(s.process.PID())
	for range n {
		if err := s.visit(path); err != nil {
			return nil, err
		}
	}
	return measure.Values{
		measure.CPUMicros: float64((measure.CPUOf(s.process.PID()) - before).Microseconds()) / n,
	}, nil
}

// visit reads a page of the other listener.
func (s *side) visit(path string) error {
	res, err := http.Get("http://" + s.admin + path)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	_, err = io.Copy(io.Discard, res.Body)
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", path, res.Status)
	}
	return err
}

func (s *side) memory() (measure.Values, error) {
	m := measure.MemoryOf(s.process.PID())
	return measure.Values{megabytes: float64(m.Anonymous) / (1 << 20)}, nil
}

func (s *side) size() (measure.Values, error) {
	v := measure.Values{}
	for _, name := range []string{"trust.bolt", "fhir.bolt"} {
		info, err := os.Stat(filepath.Join(s.path("data"), name))
		if err != nil {
			return nil, err
		}
		v["MB of "+name] = float64(info.Size()) / (1 << 20)
	}
	return v, nil
}

// Goals: a quarter over each factor of ten, 64 MB, and 3 s.
const (
	mostGrowth = 1.25
	mostStart  = 3
)

// goals sets them for every side beside the one before.
func (e *env) goals(r *measure.Run) {
	grow := func(work string, of func(*side) int) {
		before := ""
		for _, s := range e.sides {
			if of(s) == 0 {
				continue
			}

			label := s.label(of)
			if before != "" {
				r.Goals(measure.Goal{
					Case: work,
					Unit: measure.CPUMicros,
					Side: label,
					Of:   before,
					Most: mostGrowth,
				})
			}

			before = label
		}
	}

	grow(tokenCase, (*side).clients)
	for _, k := range kinds {
		if e.Wants(k.name) {
			grow(k.name, (*side).documents)
		}
	}

	for _, s := range e.sides {
		for _, work := range []string{afterKill, afterStop} {
			r.Goals(measure.Goal{
				Case: work,
				Unit: seconds,
				Side: s.label((*side).larger),
				Most: mostStart,
			})
		}
	}

	// memory: how much more than that of the smallest
	first, ok := r.Value(anonymous, megabytes, e.sides[0].label((*side).larger))
	for _, s := range e.sides[1:] {
		if ok {
			r.Goals(measure.Goal{
				Case: anonymous,
				Unit: megabytes,
				Side: s.label((*side).larger),
				Most: first + 64,
			})
		}
	}
}
