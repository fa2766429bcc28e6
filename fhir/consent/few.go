package consent

// few is a map by patient. Most requests are about one patient, whose value needs no
// memory of its own.
type few[V any] struct {
	any     bool // there is a first
	patient string
	first   V
	further map[string]V
}

// get returns the value of a patient; known is false where it has none.
func (f *few[V]) get(patient string) (v V, known bool) {
	if f.any && f.patient == patient {
		return f.first, true
	}
	v, known = f.further[patient]
	return v, known
}

// of returns the value of a patient, the zero one if there is none.
func (f *few[V]) of(patient []byte) V {
	if f.any && f.patient == string(patient) {
		return f.first
	}
	return f.further[string(patient)]
}

// set gives a patient a value.
func (f *few[V]) set(patient string, v V) {
	switch {
	case !f.any || f.patient == patient:
		f.any = true
		f.patient = patient
		f.first = v
	case f.further == nil:
		f.further = map[string]V{patient: v}
	default:
		f.further[patient] = v
	}
}
