package fhir

// notes gather, while a request is done, what its audit record will say.
type notes struct {
	touched []Entry // without bodies
	created bool    // an update stored a first version
}

const maxTouched = 100

func (n *notes) touch(e Entry) {
	if len(n.touched) < maxTouched {
		e.Body, e.Terms = nil, nil
		n.touched = append(n.touched, e)
	}
}
