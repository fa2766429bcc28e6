package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"time"

	"fhirdest.example/fhir"
	"fhirdest.example/fhir/async"
	"fhirdest.example/fhir/export"
	"fhirdest.example/fhir/load"
	"fhirdest.example/fhir/scope"
	"fhirdest.example/server/bolt"
	"fhirdest.example/udap/trace"
)

const base = "https://fhir.test/fhir"

// opened is the server whose resources are exported: it is started once, and its
// start is no part of what is measured.
type opened struct {
	store *bolt.FHIR
	*fhir.Service
	jobs    *bolt.Jobs
	manager *async.Manager

	stop  context.CancelFunc
	work  sync.WaitGroup
	ended chan error // how the export ended
}

// openStore opens the store and a service over it.
func (p *population) openStore() (*bolt.FHIR, *fhir.Service, error) {
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

// open starts a server over what was loaded last.
func (p *population) open() (err error) {
	o := &p.opened
	if o.store, o.Service, err = p.openStore(); err != nil {
		return err
	}
	if o.jobs, err = bolt.OpenJobs(filepath.Join(p.dir, "jobs.bolt"), bolt.Options{}); err != nil {
		return err
	}

	files, err := async.OpenDir(filepath.Join(p.dir, "jobs"))
	if err != nil {
		return err
	}
	o.ended = make(chan error, 1)
	o.manager, err = async.New(background, async.Config{
		PublicBase: base,
		Store:      o.jobs,
		Files:      files,
		Now:        time.Now,
		Live: func(context.Context, *fhir.Grant) (bool, error) {
			return true, nil
		},
		Decided: func(*trace.Trace) {},
		Failed:  func(err error) { o.ended <- err },
		Kinds: map[string]async.Kind{"$export": signalling{export.New(export.Config{
			PublicBase: base,
			Store:      o.store,
			Service:    o.Service,
		}), o.ended}},
	})
	if err != nil {
		return err
	}

	ctx, cancel := context.WithCancel(background)
	o.stop = cancel
	o.work.Go(func() { o.manager.Run(ctx, o.Service) })
	return nil
}

// close ends what open has started.
func (o *opened) close() error {
	o.stop()
	o.work.Wait()
	return errors.Join(
		o.manager.Close(),
		o.jobs.Close(),
		o.Service.Close(),
		o.store.Close(),
	)
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
	err := os.Remove(filepath.Join(p.dir, "fhir.bolt")) // that of the round before
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}

	store, s, err := p.openStore()
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

	// through memory, as every program that looks at the bytes does
	buf := make([]byte, 64<<10)
	_, err = io.CopyBuffer(struct{ io.Writer }{to}, struct{ io.Reader }{from}, buf)
	return errors.Join(
		err,
		to.Sync(),
		to.Close(),
		os.Remove(to.Name()),
	)
}

// copyStore copies the bodies out of the store into one file, with no decisions.
func (p *population) copyStore() error {
	to, err := os.Create(filepath.Join(p.dir, "copy.ndjson"))
	if err != nil {
		return err
	}

	var part []byte
	for after, more := uint64(0), true; more && err == nil; {
		n := 0
		part = part[:0]
		err = p.store.View(background, func(sn fhir.Snapshot) error {
			return sn.Each(background, after, func(e fhir.Entry) bool {
				after = e.Doc
				part = append(append(part, e.Body...), '\n')
				n++
				return n < perTransaction
			})
		})
		more = n == perTransaction
		if err == nil {
			_, err = to.Write(part)
		}
	}

	return errors.Join(
		err,
		to.Sync(),
		to.Close(),
		os.Remove(to.Name()),
	)
}

// export exports everything, from the kick-off to the manifest.
func (p *population) export() error {
	a := asked("$export")
	a.Access = p.Reader(a.Grant, a.Header)
	id, err := p.manager.Start(background, &a)
	if err == nil {
		err = <-p.ended
	}
	if err != nil {
		return err
	}
	return p.manager.Cancel(background, &a, id) // it frees the disk
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

// memory is the most memory that was seen, in bytes.
type memory struct {
	inUse  uint64 // of the heap, garbage included
	live   uint64 // of the heap, right after a collection
	before uint64 // live before it began
}

// weigh notes the memory that something needs. collect has the garbage collected all
// the time, which shows what is live, and takes long.
func (m *memory) weigh(do func() error, collect bool) error {
	if collect {
		m.look(true)
		m.before = m.live
	}

	ctx, cancel := context.WithCancel(background)
	var watch sync.WaitGroup
	watch.Go(func() {
		for ctx.Err() == nil {
			m.look(collect)
			select {
			case <-ctx.Done():
			case <-time.After(5 * time.Millisecond):
			}
		}
	})

	err := do()
	cancel()
	watch.Wait()
	return err
}

func (m *memory) look(collect bool) {
	var now runtime.MemStats
	if collect {
		runtime.GC()
		runtime.ReadMemStats(&now)
		m.live = max(m.live, now.HeapAlloc)
		return
	}
	runtime.ReadMemStats(&now)
	m.inUse = max(m.inUse, now.HeapInuse)
}
