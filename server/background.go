package server

import (
	"context"
	"path/filepath"
	"time"

	"fhirdest.example/fhir"
	"fhirdest.example/fhir/async"
	"fhirdest.example/server/engine"
	"fhirdest.example/server/oauth"
	"fhirdest.example/udap/trace"
)

// Jobs bound the work in the background: requests with Prefer: respond-async, bulk
// exports and imports. A zero is the default.
type Jobs struct {
	Workers   int           `yaml:"workers,omitempty"`   // done at once; default 2
	PerClient int           `yaml:"perClient,omitempty"` // of one client, that have not ended; default 5
	Disk      int           `yaml:"disk,omitempty"`      // bytes of all their files; default 4294967296
	Share     int           `yaml:"share,omitempty"`     // bytes of one client's files; default half of disk
	Time      time.Duration `yaml:"time,omitempty"`      // of one; default 1h
	Keep      time.Duration `yaml:"keep,omitempty"`      // how long results can be downloaded; default 1h
}

// newJobs returns what does the site's work in the background.
func (s *Site) newJobs() (*async.Manager, error) {
	j := s.cfg.Jobs
	files, err := jobFiles(s.stores.Jobs, s.cfg.file(s.cfg.Data))
	if err != nil {
		return nil, err
	}

	return async.New(context.Background(), async.Config{
		PublicBase: s.cfg.Public,
		Store:      s.stores.Jobs,
		Files:      files,
		Now:        s.deps.Now,
		Live:       s.stands,
		Decided:    s.decisions.Record,
		Failed: func(err error) {
			s.deps.Log.Error("work in the background failed", "cause", err)
		},
		Limits: async.Limits{
			Room: async.Room{
				Active: j.PerClient,
				Disk:   int64(j.Disk),
				Share:  int64(j.Share),
			},
			Workers: j.Workers,
			Time:    j.Time,
			Keep:    j.Keep,
		},
	})
}

// jobFiles returns what keeps the files of jobs: the store of jobs, if destinations
// share it, or else a directory among the data.
func jobFiles(jobs engine.Jobs, data string) (async.Files, error) {
	if shared, ok := jobs.(interface{ Files() async.Files }); ok {
		return shared.Files(), nil
	}
	return async.OpenDir(filepath.Join(data, "jobs"))
}

// stands reports whether what a grant comes from is still what it was: until the token
// expires, the token, the registration and what a person granted; after that the
// latter two, so that work can be finished.
func (s *Site) stands(ctx context.Context, g *fhir.Grant) (bool, error) {
	if s.deps.Now().Before(g.Expires) {
		return oauth.Stands(ctx, s.oauth, oauth.Ref(g.TokenRef))
	}

	r, err := s.stores.Trust.Client(ctx, trace.ClientID(g.Client))
	if err != nil || r == nil || r.Epoch != g.Registration {
		return false, err
	}
	if g.Grant == "" {
		return true, nil
	}

	granted, err := s.stores.Trust.Grant(ctx, oauth.GrantID(g.Grant))
	if err != nil || granted == nil || granted.Revision != g.Revision || s.people == nil {
		return false, err
	}

	reach, err := keeping{s}.reach(ctx, granted)
	return reach.Enabled && !reach.SignedOut && !reach.Withdrawn, err
}

// runJobs does the work in the background until ctx ends.
func (s *Site) runJobs(ctx context.Context) {
	if s.jobs != nil {
		s.jobs.Run(ctx, s.service)
	}
}
