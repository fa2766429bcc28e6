package fhir

import (
	"slices"

	"fhirdest.example/fhir/search"
)

// notes gather, while a request is done, what its audit record will say.
type notes struct {
	touched  []Entry  // without bodies and terms
	patients []string // ids of patients that these are about
	created  bool     // an update stored a first version
}

// Bounds of one record.
const (
	maxTouched  = 100
	maxPatients = 20
)

func (n *notes) touch(e Entry) {
	if len(n.touched) >= maxTouched {
		return
	}

	switch e.Type {
	case "AuditEvent": // reading the record of a disclosure discloses it to no one else
	case "Patient":
		n.patient(e.ID)
	default:
		search.Patients(e.Type, e.Terms, n.patient)
	}

	e.Body, e.Terms = nil, nil
	n.touched = append(n.touched, e)
}

func (n *notes) patient(id string) {
	if len(n.patients) < maxPatients && !slices.Contains(n.patients, id) {
		n.patients = append(n.patients, id)
	}
}
