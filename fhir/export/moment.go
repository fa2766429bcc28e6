package export

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"fhirdest.example/fhir"
)

// moment is one state of the store.
type moment struct {
	time time.Time // no resource that it has was changed later
	last uint64    // its highest number of a resource or record

	seen    uint64            // changes up to here are in changed
	changed map[uint64]uint64 // resources changed since, and the first version after the moment
}

// maxChanged bounds the resources that are noted because they changed during one
// export: some 20 MB.
const maxChanged = 500_000

// newMoment returns the present state of the store, as of a settled time.
func newMoment(ctx context.Context, store fhir.Store, at time.Time) (*moment, error) {
	m := &moment{
		time:    at,
		changed: map[uint64]uint64{},
	}
	err := store.View(ctx, func(sn fhir.Snapshot) error {
		return sn.Changes(ctx, "", 0, func(seq, doc, version uint64) bool {
			m.seen = max(m.seen, seq)
			if version == 1 { // numbers grow in the order of changes
				m.last = doc
			}
			return version > 1
		})
	})
	return m, err
}

// follow notes what has changed up to a later state.
func (m *moment) follow(ctx context.Context, sn fhir.Snapshot) error {
	newest := m.seen
	err := sn.Changes(ctx, "", 0, func(seq, doc, version uint64) bool {
		if seq <= m.seen {
			return false
		}

		newest = max(newest, seq)
		if doc > m.last {
			return true // it was made later
		}

		if first, ok := m.changed[doc]; !ok || version < first {
			m.changed[doc] = version
		}
		return len(m.changed) <= maxChanged
	})

	if len(m.changed) > maxChanged {
		return fhir.Refuse(http.StatusRequestEntityTooLarge, "too-costly", fmt.Sprintf(
			"More than %d resources changed during the export: export fewer types at a time, or by _since.",
			maxChanged), "")
	}

	m.seen = newest
	return err
}

// version returns the version of a resource that was current at the moment. The
// moment must have followed the state.
func (m *moment) version(ctx context.Context, sn fhir.Snapshot, e fhir.Entry) (fhir.Entry, bool, error) {
	at := e.Version
	if first, ok := m.changed[e.Doc]; ok {
		at = first - 1
	}

	for {
		if at == 0 {
			return e, false, nil
		}

		if at != e.Version {
			before, ok, err := sn.Version(ctx, e.Doc, at)
			if err != nil || !ok {
				return e, false, err
			}
			e = before
		}

		if !e.Updated.After(m.time) {
			return e, true, nil
		}
		at = e.Version - 1
	}
}
