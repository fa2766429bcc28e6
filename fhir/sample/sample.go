package sample

import (
	"fmt"
	"math/rand/v2"
	"time"
)

// DefaultPatients is how many patients a sandbox has by default.
const DefaultPatients = 25

// today is the day on which the population's lives have arrived. It is fixed:
// the same population comes out whenever it is made.
var today = time.Date(2026, time.June, 15, 0, 0, 0, 0, time.UTC)

// seed begins every patient's own stream of chance, so that a patient is the
// same in a population of any size.
const seed = 0x46484952

// PatientID is the id of the patient at a place, counted from 0. The patients
// of the sandbox's users are the first ones.
func PatientID(i int) string {
	return fmt.Sprintf("p%04d", i+1)
}

// Generate makes n patients and what belongs to them, and the organisations,
// people and places that they share. Each resource is emitted once, as it is
// today; references within a record may lead to what comes later. The bytes
// carry id and meta without versionId and lastUpdated: these are the
// server's. An error of emit ends it and is returned.
func Generate(n int, emit func(resourceType, id string, json []byte) error) error {
	return History(n, func(s Step) error {
		if !s.Current {
			return nil
		}
		return emit(s.Type, s.ID, s.JSON)
	})
}

// Step is one change in the life of the population.
type Step struct {
	Type, ID string
	Version  int    // counted from 1
	JSON     []byte // nil when the resource is deleted
	Current  bool   // what the resource is today: Generate emits these alone
}

// Delete reports whether the step deletes the resource.
func (s Step) Delete() bool { return s.JSON == nil }

// History makes the same population with its past: earlier versions come
// before those of today, and some resources are made and then deleted. Done
// in order on an empty store, it leaves what Generate emits.
func History(n int, apply func(Step) error) error {
	if n < 1 {
		return fmt.Errorf("sample: %d patients asked for, at least 1 is needed", n)
	}

	w := &writer{
		apply: apply,
		past:  map[string]int{},
	}
	shared(w)

	for i := range n {
		life(w, newPerson(i))
	}

	group(w, n)
	return w.err
}

// writer hands steps on until the first error.
type writer struct {
	apply func(Step) error
	past  map[string]int // how many versions went before, of what has a past
	err   error
}

// put writes one resource as it is today: type, id and meta first, then its
// members.
func (w *writer) put(resourceType, id, profile string, members ...any) {
	w.step(resourceType, id, profile, nil, true, members)
}

// labelled is put with more security labels than HTEST.
func (w *writer) labelled(resourceType, id, profile string, labels arr, members ...any) {
	w.step(resourceType, id, profile, labels, true, members)
}

// earlier writes a version that was replaced or deleted since.
func (w *writer) earlier(resourceType, id, profile string, members ...any) {
	w.step(resourceType, id, profile, nil, false, members)
}

// gone deletes what earlier has written.
func (w *writer) gone(resourceType, id string) {
	if w.err == nil {
		w.err = w.apply(Step{
			Type:    resourceType,
			ID:      id,
			Version: w.next(resourceType, id, false),
		})
	}
}

// next numbers a version.
func (w *writer) next(resourceType, id string, current bool) int {
	key := resourceType + "/" + id
	n := w.past[key] + 1
	if !current {
		w.past[key] = n
	}
	return n
}

func (w *writer) step(
	resourceType, id, profile string, labels arr, current bool, members []any,
) {
	if w.err != nil {
		return
	}

	var profiles arr
	if profile != "" {
		profiles = arr{profile}
	}
	security := append(arr{coding(actReason, "HTEST", "test health data")}, labels...)
	r := append(obj{"resourceType", resourceType, "id", id,
		"meta", obj{"profile", profiles, "security", security}}, members...)
	// Fresh bytes each time: apply may keep them.
	w.err = w.apply(Step{
		resourceType, id, w.next(resourceType, id, current), appendJSON(make([]byte, 0, 2048), r),
		current,
	})
}

// chance is a stream of its own for each patient and purpose.
func chance(patient int) *rand.Rand {
	return rand.New(rand.NewPCG(seed, uint64(patient)))
}

// pick returns one of a list.
func pick[T any](r *rand.Rand, from []T) T {
	return from[r.IntN(len(from))]
}
