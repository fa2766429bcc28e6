package fetch

import (
	"context"
	"fmt"
	"net/url"
	"sync"
	"time"

	"fhirdest.example/udap"
)

// longestQueue bounds how long a fetch that nobody waits for any more stays in
// the queue for its host.
const longestQueue = time.Minute

// errBusy is returned to a caller whose time ended before the fetch had a slot.
var errBusy = fmt.Errorf("%w: too many fetches are under way", udap.ErrUnavailable)

// slots bounds the fetches under way at one time: those to one host, so that a
// host that hangs delays nobody but itself, and all together.
type slots struct {
	perHost int
	all     chan struct{} // one token for each fetch under way

	mu    sync.Mutex
	hosts map[string]*hostSlots
}

// hostSlots are the slots of one host; the entry goes when nobody uses it.
type hostSlots struct {
	inUse chan struct{} // one token for each fetch under way
	users int           // fetches under way or waiting; guarded by slots.mu
}

func newSlots(perHost, all int) *slots {
	return &slots{
		perHost: perHost,
		all:     make(chan struct{}, all),
		hosts:   map[string]*hostSlots{},
	}
}

// acquire waits for a slot of the host of place. It returns errBusy if ctx
// ends first. The caller must call release when the fetch has ended.
func (s *slots) acquire(ctx context.Context, place string) (release func(), err error) {
	name := hostOf(place)
	h := s.enter(name)
	select {
	case h.inUse <- struct{}{}:
	case <-ctx.Done():
		s.leave(name, h)
		return nil, errBusy
	}

	select {
	case s.all <- struct{}{}:
	case <-ctx.Done():
		<-h.inUse
		s.leave(name, h)
		return nil, errBusy
	}

	return func() {
		<-s.all
		<-h.inUse
		s.leave(name, h)
	}, nil
}

func (s *slots) enter(name string) *hostSlots {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.hosts[name]
	if h == nil {
		h = &hostSlots{inUse: make(chan struct{}, s.perHost)}
		s.hosts[name] = h
	}
	h.users++

	return h
}

func (s *slots) leave(name string, h *hostSlots) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if h.users--; h.users == 0 {
		delete(s.hosts, name)
	}
}

// hostOf returns the host and port of a URL; everything else (a file's path)
// shares one name.
func hostOf(place string) string {
	u, err := url.Parse(place)
	if err != nil {
		return ""
	}
	return u.Host
}

// flight is one fetch that any number of callers share. Its fields below done
// are guarded by the mutex of what it fetches for.
type flight struct {
	place string
	queue context.Context // ends the waiting for a slot
	end   context.CancelFunc
	done  chan struct{} // closed when the fetch has ended

	begun   bool // it has a slot: from now on it runs in its own time
	busy    bool // it ended without one
	callers int  // that wait for it
}

func newFlight(place string) *flight {
	ctx, cancel := context.WithTimeout(context.Background(), longestQueue)
	return &flight{
		place: place,
		queue: ctx,
		end:   cancel,
		done:  make(chan struct{}),
	}
}

// joinable reports whether a further caller may share the flight: it is under
// way, and the last caller has not left it in the queue.
func (f *flight) joinable() bool {
	return f != nil && (f.begun || f.queue.Err() == nil)
}

// wait waits until the flight has ended or ctx has. When the last
// caller leaves, a fetch that is still in the queue is abandoned. The caller must have counted
// itself in f.callers, and must not hold mu.
func (f *flight) wait(ctx context.Context, mu *sync.Mutex) {
	select {
	case <-f.done:
	case <-ctx.Done():
	}

	mu.Lock()
	defer mu.Unlock()
	if f.callers--; f.callers == 0 && !f.begun {
		f.end()
	}
}

// begin waits for the flight's slot. When it returns an error the flight has
// ended without a fetch.
func (f *flight) begin(s *slots, mu *sync.Mutex) (release func(), err error) {
	defer f.end()
	release, err = s.acquire(f.queue, f.place)
	mu.Lock()
	defer mu.Unlock()
	f.begun, f.busy = err == nil, err != nil
	return release, err
}

// missed reports, of a flight that a caller waited for, why there is no result:
// it never got a slot. The caller holds the mutex.
func (f *flight) missed() error {
	if f != nil && !f.begun {
		return errBusy
	}
	return nil
}
