package sample

import (
	"fmt"
	"math/rand/v2"
	"time"
)

// DefaultPatients is how many patients a sandbox has when nobody says.
const DefaultPatients = 25

// today is the day on which the population's lives have arrived. It is fixed:
// the same population comes out whenever it is made.
var today = time.Date(2026, time.June, 15, 0, 0, 0, 0, time.UTC)

// seed begins every patient's own stream of chance, so that a patient is the
// same in a population of any size.
const seed = 0x46484952

// PatientID is the id of the patient at a place, counted from 0. The patients
// of the sandbox's users are the first ones.
func PatientID(i int) string { return fmt.Sprintf("p%04d", i+1) }

// Generate makes n patients and what belongs to them, and the organisations,
// people and places that they share. Each resource is emitted once, after all
// that it refers to within its own patient's record as far as references are
// not mutual. The bytes carry id and meta without versionId and lastUpdated:
// these are the server's. An error of emit ends it and is returned.
func Generate(n int, emit func(resourceType, id string, json []byte) error) error {
	if n < 1 {
		return fmt.Errorf("sample: %d patients asked for, at least 1 is needed", n)
	}
	out := &writer{emit: emit}
	shared(out)
	for i := range n {
		life(out, newPerson(i))
	}
	return out.err
}

// writer hands resources on until the first error.
type writer struct {
	emit func(resourceType, id string, json []byte) error
	err  error
}

// put writes one resource: type, id and meta first, then its members.
func (w *writer) put(resourceType, id, profile string, members ...any) {
	w.labelled(resourceType, id, profile, nil, members...)
}

// labelled is put with more security labels than HTEST.
func (w *writer) labelled(resourceType, id, profile string, labels arr, members ...any) {
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
	// A fresh slice each time: emit may keep it.
	w.err = w.emit(resourceType, id, appendJSON(make([]byte, 0, 2048), r))
}

// chance is a stream of its own for each patient and purpose.
func chance(patient int) *rand.Rand { return rand.New(rand.NewPCG(seed, uint64(patient))) }

// pick takes one of a list.
func pick[T any](r *rand.Rand, from []T) T { return from[r.IntN(len(from))] }
