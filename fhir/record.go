package fhir

import (
	"encoding/binary"
	"strconv"
	"strings"
	"time"
)

// Record is what one AuditEvent says. Stores keep records packed, a fraction of
// the AuditEvent's length; the resource is made when somebody looks at it.
type Record struct {
	// What many records have in common: the server's base URL, and whose
	// request it was.
	Base, Client, TokenID string
	Purposes              []string

	At          time.Time
	Interaction string // name of the interaction
	Subtype     string // its code in AuditEvent.subtype
	Outcome     string // AuditEvent.outcome: 0, 4 or 8
	Failure     string // status and issue code, when it failed
	Query       string // what was asked, of a query
	RequestID   string // the client's own name for the request
	Patients    []string
	Touched     []Entry // type, id and version of what it was about; not of a query
}

// PackedRecord is a record as stores keep it. Shared is the same in many.
type PackedRecord struct{ Shared, Own []byte }

// Pack writes the record's fields, each text led by its length.
func (rec *Record) Pack() PackedRecord {
	b := make([]byte, 0, 384)
	b = packText(packText(packText(b, rec.Base), rec.Client), rec.TokenID)
	b = packTexts(b, rec.Purposes)
	n := len(b)
	b = binary.AppendVarint(b, rec.At.UnixMilli())
	for _, s := range []string{rec.Interaction, rec.Subtype, rec.Outcome, rec.Failure, rec.Query, rec.RequestID} {
		b = packText(b, s)
	}

	b = packTexts(b, rec.Patients)
	b = binary.AppendUvarint(b, uint64(len(rec.Touched)))
	for _, e := range rec.Touched {
		b = binary.AppendUvarint(packText(packText(b, e.Type), e.ID), e.Version)
	}

	return PackedRecord{b[:n:n], b[n:]}
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

// unpacker reads what Pack wrote.
type unpacker struct {
	b   []byte
	bad bool
}

func (u *unpacker) number() uint64 {
	n, k := binary.Uvarint(u.b)
	if k <= 0 {
		u.b, u.bad = nil, true
		return 0
	}
	u.b = u.b[k:]
	return n
}

func (u *unpacker) text() string {
	n := u.number()
	if n > uint64(len(u.b)) {
		u.b, u.bad = nil, true
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

// Unpack reads a packed record; false when it is none.
func (p PackedRecord) Unpack() (*Record, bool) {
	u := unpacker{b: p.Shared}
	rec := &Record{Base: u.text(), Client: u.text(), TokenID: u.text(), Purposes: u.texts()}
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
		rec.Touched = append(rec.Touched, Entry{Type: u.text(), ID: u.text(), Version: u.number()})
	}
	return rec, !u.bad
}

const recordPrefix = "a"

// RecordID is the id of the AuditEvent of a record that has that number.
func RecordID(doc uint64) string { return recordPrefix + strconv.FormatUint(doc, 10) }

// RecordDoc gives the number of a record by its AuditEvent's id.
func RecordDoc(id string) (doc uint64, ok bool) {
	text, ok := strings.CutPrefix(id, recordPrefix)
	doc, err := strconv.ParseUint(text, 10, 64)
	return doc, ok && err == nil && RecordID(doc) == id
}
