package board

import (
	"context"
	"sync"
	"time"
)

// replay is how many exchanges are read at once.
const replay = 200

// hub keeps the board of one session up to date for all who look at it. It reads what
// it does not have yet, whatever it was notified of, so that nothing is left out.
type hub struct {
	lab  Lab
	id   string
	used time.Time // guarded by Board.mu

	mu   sync.Mutex
	view *view
}

// refresh reads the exchanges that came since.
func (h *hub) refresh(ctx context.Context) error {
	session, err := h.lab.Session(h.id)
	if err != nil {
		return err
	}

	h.mu.Lock()
	defer h.mu.Unlock()
	if session.Run != h.view.run || session.Counts.Exchanges < h.view.last { // it was cleared
		h.view = newView()
		h.view.run = session.Run
	}

	if session.Counts.Exchanges == h.view.last {
		return nil
	}

	for {
		kept, err := h.lab.Exchanges(ctx, h.id, h.view.last+1, replay)
		if err != nil {
			return err
		}

		for _, k := range kept {
			e := newEntry(k)
			h.view.add(&e)
		}

		if len(kept) < replay {
			return nil
		}
	}
}

// look calls f with the board, which f must not keep.
func (h *hub) look(f func(*view)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	f(h.view)
}
