package bolt

import (
	"encoding/binary"
	"time"

	"fhirdest.example/fhir"
)

// packedRecord is a record as stores keep it. Shared is the same in many.
type packedRecord struct{ Shared, Own []byte }

// pack writes the record's fields, each text led by its length.
func pack(rec *fhir.Record) packedRecord {
	b := make([]byte, 0, 384)
	b = packText(packText(packText(b, rec.Base), rec.Client), rec.TokenID)
	b = packTexts(b, rec.Purposes)
	if rec.Subject != "" { // since people can grant: records of clients themselves stay as they were
		b = packText(packText(packText(b, rec.Subject), rec.User), rec.Grant)
	}
	n := len(b)
	b = binary.AppendVarint(b, rec.At.UnixMilli())

	for _, s := range []string{
		rec.Interaction, rec.Subtype, rec.Outcome, rec.Failure, rec.Query, rec.RequestID,
	} {
		b = packText(b, s)
	}

	b = packTexts(b, rec.Patients)
	b = binary.AppendUvarint(b, uint64(len(rec.Touched)))
	for _, e := range rec.Touched {
		b = binary.AppendUvarint(packText(packText(b, e.Type), e.ID), e.Version)
	}

	return packedRecord{b[:n:n], b[n:]}
}

func packText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func packTexts(b []byte, all []string) []byte {
	b = binary.AppendUvarint(b, uint64(len(all)))
	for _, s := range all {
		b = packText(b, s)
	}
	return b
}

// unpacker reads what pack wrote.
type unpacker struct {
	b   []byte
	bad bool
}

func (u *unpacker) number() uint64 {
	n, k := binary.Uvarint(u.b)
	if k <= 0 {
		u.b = nil
		u.bad = true
		return 0
	}
	u.b = u.b[k:]
	return n
}

func (u *unpacker) text() string {
	n := u.number()
	if n > uint64(len(u.b)) {
		u.b = nil
		u.bad = true
		return ""
	}
	s := string(u.b[:n])
	u.b = u.b[n:]
	return s
}

func (u *unpacker) texts() []string {
	var all []string
	for n := u.number(); n > 0 && !u.bad; n-- {
		all = append(all, u.text())
	}
	return all
}

// unpack reads a packed record; false when it is none.
func (p packedRecord) unpack() (*fhir.Record, bool) {
	u := unpacker{b: p.Shared}
	rec := &fhir.Record{
		Base:     u.text(),
		Client:   u.text(),
		TokenID:  u.text(),
		Purposes: u.texts(),
	}
	if len(u.b) > 0 {
		rec.Subject, rec.User, rec.Grant = u.text(), u.text(), u.text()
	}

	ms, k := binary.Varint(p.Own)
	if k <= 0 || u.bad {
		return nil, false
	}

	u.b, rec.At = p.Own[k:], time.UnixMilli(ms).UTC()
	for _, to := range []*string{
		&rec.Interaction, &rec.Subtype, &rec.Outcome, &rec.Failure, &rec.Query, &rec.RequestID,
	} {
		*to = u.text()
	}

	rec.Patients = u.texts()
	for n := u.number(); n > 0 && !u.bad; n-- {
		rec.Touched = append(rec.Touched, fhir.Entry{
			Type:    u.text(),
			ID:      u.text(),
			Version: u.number(),
		})
	}

	return rec, !u.bad
}
