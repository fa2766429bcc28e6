package bolt

import (
	"errors"
	"fmt"
	"slices"
	"sync"

	"fhirdest.example/fhir"
	"fhirdest.example/server/oauth"
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

// Damaged is the error for a row whose bytes cannot be what this package once
// wrote there. It is an fhir.ErrDamaged and an oauth.ErrDamaged.
type Damaged struct {
	File    string // path
	Bucket  string
	Key     string // printable: hexadecimal for numbers
	Problem string
}

func (e *Damaged) Error() string {
	return fmt.Sprintf("store %s is damaged: bucket %s, key %s: %s; restore the file from a backup",
		e.File, e.Bucket, e.Key, e.Problem)
}

// Is makes the error known to callers that do not know this package.
func (e *Damaged) Is(target error) bool {
	return target == fhir.ErrDamaged || target == oauth.ErrDamaged
}

// printable shows a key: text as it is, everything else in hexadecimal.
func printable(key []byte) string {
	for _, b := range key {
		if b != 0 && (b < ' ' || b > '~') {
			return fmt.Sprintf("%x", key)
		}
	}
	return fmt.Sprintf("%q", key)
}

// errClosed is the cause of the error for work that arrives after Close.
var errClosed = errors.New("the file is closed")

// commitError is a transaction that could not be begun or committed: the disk
// is full, failing or read-only, or the file is closed. It is an
// fhir.ErrUnavailable.
type commitError struct {
	file    string
	err     error
	unknown bool // the commit failed: it is not known what reached the disk
}

func (e *commitError) Error() string {
	return fmt.Sprintf("store %s: commit: %v", e.file, e.err)
}

func (e *commitError) Unwrap() error { return e.err }

// Is makes the error known to callers that do not know this package.
func (e *commitError) Is(target error) bool {
	return target == fhir.ErrUnavailable || e.unknown && target == oauth.ErrUnknown
}
