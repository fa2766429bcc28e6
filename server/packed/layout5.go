package packed

import (
	"encoding/binary"
	"time"

	"fhirdest.example/fhir/trail"
)

// Decode5 reads a block of layout 5: how many records and shared parts there
// are, the shared parts, then each record's own part after the index of its shared
// one.
func Decode5(key, v []byte) (*Block, bool) {
	r := reader{b: v}
	n := r.number()
	if len(key) != 8 || r.bad {
		return nil, false
	}
	for parts := r.number(); parts > 0 && !r.bad; parts-- {
		r.shared = append(r.shared, r.part())
	}

	b := &Block{First: binary.BigEndian.Uint64(key)}
	for ; n > 0 && !r.bad; n-- {
		shared := r.number()
		if shared >= uint64(len(r.shared)) {
			return nil, false
		}
		rec, ok := unpack5(r.shared[shared], r.part())
		if !ok {
			return nil, false
		}
		b.Links = append(b.Links, Link{Packed: rec.Pack()})
	}
	return b, !r.bad && len(r.b) == 0
}

// unpack5 reads a record of layout 5 from what it shared with others, and the rest.
func unpack5(shared, own []byte) (*trail.Record, bool) {
	r := reader{b: shared}
	rec := &trail.Record{
		Base:     r.text(),
		Client:   r.text(),
		TokenID:  r.text(),
		Purposes: r.texts(),
	}
	if len(r.b) > 0 {
		rec.Subject, rec.User, rec.Grant = r.text(), r.text(), r.text()
	}

	ms, k := binary.Varint(own)
	if k <= 0 || r.bad {
		return nil, false
	}
	r.b, rec.At = own[k:], time.UnixMilli(ms).UTC()
	for _, to := range []*string{
		&rec.Interaction, &rec.Subtype, &rec.Outcome, &rec.Failure, &rec.Query, &rec.RequestID,
	} {
		*to = r.text()
	}

	rec.Patients = r.texts()
	for n := r.number(); n > 0 && !r.bad; n-- {
		rec.Touched = append(rec.Touched, trail.Version{
			Type:    r.text(),
			ID:      r.text(),
			Version: r.number(),
		})
	}
	return rec, !r.bad
}

func (r *reader) text() string {
	return string(r.part())
}

func (r *reader) texts() []string {
	var all []string
	for n := r.number(); n > 0 && !r.bad; n-- {
		all = append(all, r.text())
	}
	return all
}
