package bolt

import (
	"fmt"
	"slices"
	"sync"
)

// maxAlarms bounds how many damaged rows of one file are listed.
const maxAlarms = 20

// health gathers what an operator must know of an open file.
type health struct {
	mu      sync.Mutex      // guards all below
	damaged []string        // in the order found
	more    int             // damaged rows that are not listed
	failed  error           // of the last commit
	keys    map[string]bool // of damaged rows: whether the key is the row's own
}

// found notes a damaged row, and returns it.
func (h *health) found(d *Damaged) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	text := d.Error()
	switch {
	case slices.Contains(h.damaged, text):
	case len(h.damaged) < maxAlarms:
		h.damaged = append(h.damaged, text)
	default:
		h.more++
	}

	return d
}

// commit notes how the last commit ended, and returns it.
func (h *health) commit(err error) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.failed = err
	return err
}

// alarms are sentences for the operator; none when all is well.
func (h *health) alarms() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	all := slices.Clone(h.damaged)
	if h.more > 0 {
		all = append(all, fmt.Sprintf("further damaged rows were met %d times", h.more))
	}
	if h.failed != nil {
		all = append(all, h.failed.Error())
	}

	return all
}

// genuine remembers what find reports of the key of a damaged row.
func (h *health) genuine(key []byte, find func() bool) bool {
	h.mu.Lock()
	known, ok := h.keys[string(key)]
	h.mu.Unlock()
	if ok {
		return known
	}

	known = find()
	h.mu.Lock()
	defer h.mu.Unlock()

	if h.keys == nil {
		h.keys = map[string]bool{}
	}
	h.keys[string(key)] = known
	return known
}
