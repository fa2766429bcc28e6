package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"time"

	"fhirdest.example/fhir"
	"fhirdest.example/fhir/access"
	"fhirdest.example/fhir/async"
	"fhirdest.example/fhir/export"
	"fhirdest.example/fhir/load"
	"fhirdest.example/fhir/scope"
	"fhirdest.example/server/bolt"
	"fhirdest.example/udap/trace"
)

const base = "https://fhir.test/fhir"

// open opens the store and a service over it.
func (p *population) open() (*bolt.FHIR, *fhir.Service, error) {
	store, err := bolt.OpenFHIR(filepath.Join(p.dir, "fhir.bolt"), bolt.Options{})
	if err != nil {
		return nil, nil, err
	}

	s, err := fhir.New(fhir.Config{
		PublicBase: base,
		Store:      store,
		Authorize: func(*http.Request) (*fhir.Grant, *fhir.Denial) {
			return nil, nil
		},
		Now: time.Now,
	})
	return store, s, err
}

func asked(interaction string) fhir.Asked {
	set, _ := scope.ParseSet([]string{"system/*.cruds"})
	return fhir.Asked{
		Interaction: interaction,
		Method:      http.MethodGet,
		Path:        []string{interaction},
		At:          time.Now(),
		Grant: &fhir.Grant{
			Client: "client-1",
			Scopes: set,
		},
	}
}

// load loads the file as destination load does.
func (p *population) load() error {
	p.rows = nil // the memory of the other side
	store, s, err := p.open()
	if err != nil {
		return err
	}

	f, err := os.Open(p.file)
	if err != nil {
		return err
	}
	defer f.Close()

	a := asked("$import")
	at, err := load.Run(background, load.Config{
		Service:  s,
		Asked:    &a,
		Mark:     "load/bench",
		File:     p.file,
		Progress: func(load.Place) error { return nil },
	}, f)
	if err == nil && at.Total() != int64(p.count) {
		err = fmt.Errorf("%d of %d resources were stored", at.Total(), p.count)
	}

	return errors.Join(err, s.Close(), store.Close())
}

// copyFiles copies the file of the same bytes.
func (p *population) copyFiles() error {
	from, err := os.Open(p.file)
	if err != nil {
		return err
	}
	defer from.Close()

	to, err := os.Create(filepath.Join(p.dir, "copy.ndjson"))
	if err != nil {
		return err
	}

	buf := make([]byte, 64<<10) // through memory, as every program that looks at the bytes does
	_, err = io.CopyBuffer(struct{ io.Writer }{to}, struct{ io.Reader }{from}, buf)
	return errors.Join(err, to.Sync(), to.Close(), os.Remove(to.Name()))
}

// copyStore copies the bodies out of the store into one file, with no checks.
func (p *population) copyStore() error {
	store, s, err := p.open()
	if err != nil {
		return err
	}

	to, err := os.Create(filepath.Join(p.dir, "copy.ndjson"))
	if err != nil {
		return err
	}

	for after, more := uint64(0), true; more && err == nil; {
		var part []byte
		err = store.View(background, func(sn fhir.Snapshot) error {
			var docs []uint64
			err := sn.Each(background, after, func(doc uint64) bool {
				docs = append(docs, doc)
				return len(docs) < perTransaction
			})
			more = len(docs) == perTransaction
			if err != nil {
				return err
			}

			return sn.Entries(background, docs, func(e fhir.Entry) bool {
				after = e.Doc
				part = append(append(part, e.Body...), '\n')
				return true
			})
		})
		if err == nil {
			_, err = to.Write(part)
		}
	}

	return errors.Join(
		err,
		to.Sync(),
		to.Close(),
		os.Remove(to.Name()),
		s.Close(),
		store.Close(),
	)
}

// export exports everything, from the kick-off to the manifest, and notes how large the
// heap was.
func (p *population) export() error {
	store, s, err := p.open()
	if err != nil {
		return err
	}

	jobs, err := bolt.OpenJobs(filepath.Join(p.dir, "jobs.bolt"), bolt.Options{})
	if err != nil {
		return err
	}

	ended := make(chan error, 1)
	m, err := async.New(background, async.Config{
		PublicBase: base,
		Dir:        filepath.Join(p.dir, "jobs"),
		Store:      jobs,
		Now:        time.Now,
		Live: func(context.Context, *fhir.Grant) (bool, error) {
			return true, nil
		},
		Decided: func(*trace.Trace) {},
		Failed:  func(err error) { ended <- err },
		Kinds: map[string]async.Kind{"$export": signalling{export.New(export.Config{
			PublicBase: base,
			Store:      store,
			Service:    s,
		}), ended}},
	})
	if err != nil {
		return err
	}

	ctx, cancel := context.WithCancel(background)
	var work sync.WaitGroup
	work.Go(func() { m.Run(ctx, s) })
	work.Go(func() { p.watchHeap(ctx) })
	a := asked("$export")
	a.Access = access.NewReader(a.Grant, s.Bases())
	if _, err = m.Start(background, &a); err == nil {
		err = <-ended
	}

	cancel()
	work.Wait()
	return errors.Join(err, m.Close(), jobs.Close(), s.Close(), store.Close())
}

// signalling reports how work ended.
type signalling struct {
	async.Kind
	ended chan<- error
}

func (k signalling) Do(ctx context.Context, w *async.Work) error {
	err := k.Kind.Do(ctx, w)
	k.ended <- err
	return err
}

// watchHeap notes the largest heap until ctx ends.
func (p *population) watchHeap(ctx context.Context) {
	for ctx.Err() == nil {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		p.peak = max(p.peak, m.HeapInuse)
		select {
		case <-ctx.Done():
		case <-time.After(20 * time.Millisecond):
		}
	}
}
