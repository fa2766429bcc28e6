package trail

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"
	"time"
)

// Packed is a record as it is kept and hashed. Who and Asked are the same in many
// records, so that a store may keep them once for several.
type Packed struct{ Who, Asked, Own []byte }

// shown ends a record that has Shown. Others, and all before there was Shown, end
// without it.
const shown = 1

// usualRecord is the length in bytes that a packed record hardly exceeds.
const usualRecord = 2048

// Pack returns the one encoding of a record: its fields in order, each text led by
// its length.
func (rec *Record) Pack() Packed {
	b := make([]byte, 0, usualRecord)
	for _, s := range []string{
		rec.Base, rec.Client, rec.TokenID, rec.Address, rec.Subject, rec.User, rec.Grant,
	} {
		b = packText(b, s)
	}

	b = packTexts(b, rec.Purposes)
	who := len(b)

	for _, s := range []string{
		rec.Interaction, rec.Subtype, rec.Outcome, rec.Failure,
		rec.Query, rec.Clean, rec.RequestID,
	} {
		b = packText(b, s)
	}

	b = rec.Event.pack(b)
	asked := len(b)

	b = binary.AppendVarint(b, rec.At.UnixMilli())
	b = packText(b, rec.Trace)
	b = packTexts(b, rec.Patients)
	b = binary.AppendUvarint(b, uint64(len(rec.Touched)))

	for _, v := range rec.Touched {
		b = binary.AppendUvarint(packText(packText(b, v.Type), v.ID), v.Version)
		b = packCodings(b, v.Labels)
	}

	if rec.Shown {
		b = append(b, shown)
	}

	all := bytes.Clone(b)
	return Packed{
		Who:   all[:who:who],
		Asked: all[who:asked:asked],
		Own:   all[asked:],
	}
}

// pack writes whether there is an event, and then its fields.
func (e *Event) pack(b []byte) []byte {
	if e == nil {
		return append(b, 0)
	}

	b = packCodings(append(b, 1), []Coding{e.Type})
	b = packCodings(b, e.Subtypes)
	b = packText(b, e.Action)
	b = binary.AppendUvarint(b, uint64(len(e.Entities)))

	for _, n := range e.Entities {
		b = packCodings(b, []Coding{n.Type, n.Role})
		b = packText(packText(packText(b, n.System), n.Value), n.Name)
		b = binary.AppendUvarint(b, uint64(len(n.Detail)))
		for _, d := range n.Detail {
			b = packText(packText(b, d.Type), d.Value)
		}
	}

	return b
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

func packCodings(b []byte, all []Coding) []byte {
	b = binary.AppendUvarint(b, uint64(len(all)))
	for _, c := range all {
		b = packText(packText(packText(b, c.System), c.Code), c.Display)
	}
	return b
}

// errPacked is the cause of the error for bytes that Pack did not write.
var errPacked = errors.New("no record is packed like this")

// Unpack returns the record.
func (p Packed) Unpack() (*Record, error) {
	return (*Indexer)(nil).Unpack(p)
}

// Unpack returns a record. Its Purposes must not be changed.
func (x *Indexer) Unpack(p Packed) (*Record, error) {
	rec := new(Record)
	u := unpacker{}
	if x == nil {
		u.who(rec, p.Who)
	} else if who, known := x.whos[string(p.Who)]; known {
		*rec = who
	} else if u.who(rec, p.Who); !u.bad {
		x.keep(p.Who, rec)
	}

	u.next(p.Asked)
	for _, to := range []*string{
		&rec.Interaction, &rec.Subtype, &rec.Outcome, &rec.Failure,
		&rec.Query, &rec.Clean, &rec.RequestID,
	} {
		*to = u.text()
	}

	rec.Event = u.event()

	u.next(p.Own)
	rec.At = u.time()
	rec.Trace = u.text()
	rec.Patients = u.texts()

	for n := u.number(); n > 0 && !u.bad; n-- {
		rec.Touched = append(rec.Touched, Version{
			Type:    u.text(),
			ID:      u.text(),
			Version: u.number(),
			Labels:  u.codings(),
		})
	}

	if len(u.b) > 0 {
		rec.Shown = u.number() == shown
		u.bad = u.bad || !rec.Shown
	}

	u.next(nil)
	if u.bad {
		return nil, errPacked
	}
	return rec, nil
}

// who reads the part that records of the same agents share.
func (u *unpacker) who(rec *Record, part []byte) {
	u.next(part)
	for _, to := range []*string{
		&rec.Base, &rec.Client, &rec.TokenID, &rec.Address, &rec.Subject, &rec.User, &rec.Grant,
	} {
		*to = u.text()
	}

	rec.Purposes = u.texts()
	u.next(nil)
}

// unpacker reads what Pack wrote.
type unpacker struct {
	part string // the part that is read: texts are parts of it
	b    []byte // what of it follows
	bad  bool
}

// next goes on with another part; the one before must have been read to its end.
func (u *unpacker) next(part []byte) {
	u.bad = u.bad || len(u.b) > 0
	u.part = string(part)
	u.b = part
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

func (u *unpacker) time() time.Time {
	ms, k := binary.Varint(u.b)
	if k <= 0 {
		u.b = nil
		u.bad = true
		return time.Time{}
	}
	u.b = u.b[k:]
	return time.UnixMilli(ms).UTC()
}

func (u *unpacker) text() string {
	n := u.number()
	if n > uint64(len(u.b)) {
		u.b = nil
		u.bad = true
		return ""
	}
	from := len(u.part) - len(u.b)
	u.b = u.b[n:]
	return u.part[from : from+int(n)]
}

func (u *unpacker) texts() []string {
	var all []string
	for n := u.number(); n > 0 && !u.bad; n-- {
		all = append(all, u.text())
	}
	return all
}

func (u *unpacker) codings() []Coding {
	var all []Coding
	for n := u.number(); n > 0 && !u.bad; n-- {
		all = append(all, u.coding())
	}
	return all
}

func (u *unpacker) coding() Coding {
	return Coding{
		System:  u.text(),
		Code:    u.text(),
		Display: u.text(),
	}
}

// count reads how many of something follow, which must be n.
func (u *unpacker) count(n uint64) {
	u.bad = u.number() != n || u.bad
}

// usualEntities is how many entities an Event hardly has more than.
const usualEntities = 6

func (u *unpacker) event() *Event {
	switch u.number() {
	case 0:
		return nil
	case 1:
	default:
		u.bad = true
		return nil
	}

	e := new(Event)
	u.count(1)
	e.Type = u.coding()
	e.Subtypes = u.codings()
	e.Action = u.text()

	n := u.number()
	e.Entities = slices.Grow(e.Entities, int(min(n, usualEntities)))
	for ; n > 0 && !u.bad; n-- {
		e.Entities = append(e.Entities, u.entity())
	}

	return e
}

func (u *unpacker) entity() Entity {
	u.count(2)
	n := Entity{
		Type:   u.coding(),
		Role:   u.coding(),
		System: u.text(),
		Value:  u.text(),
		Name:   u.text(),
	}
	for k := u.number(); k > 0 && !u.bad; k-- {
		n.Detail = append(n.Detail, Detail{
			Type:  u.text(),
			Value: u.text(),
		})
	}

	return n
}
