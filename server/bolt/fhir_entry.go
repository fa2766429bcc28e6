package bolt

import (
	"encoding/binary"
	"slices"
	"sync"
	"time"

	"fhirdest.example/fhir"
	"fhirdest.example/fhir/search"
	"fhirdest.example/server/packed"
)

const flagDeleted = 1

// methods are the ways to make a version, by the number that two bits of the
// flags hold; versions that were stored without it have 0.
var methods = [4]string{"", "POST", "PUT", "PATCH"}

// methodShift is the place of these bits.
const methodShift = 1

// encodeEntry writes a version: flags, version, milliseconds, then type, id and
// terms each led by its length, then the body as it is served.
func encodeEntry(e fhir.Entry) []byte {
	b := make([]byte, 0, 40+checksum+len(e.Type)+len(e.ID)+len(e.Terms)+len(e.Body))
	flags := byte(0)
	if e.Deleted {
		flags = flagDeleted
	}
	flags |= byte(max(0, slices.Index(methods[:], e.Method))) << methodShift
	b = append(b, flags)
	b = binary.BigEndian.AppendUint64(b, e.Version)
	b = binary.BigEndian.AppendUint64(b, uint64(e.Updated.UnixMilli()))

	for _, part := range []string{e.Type, e.ID} {
		b = binary.AppendUvarint(b, uint64(len(part)))
		b = append(b, part...)
	}

	b = binary.AppendUvarint(b, uint64(len(e.Terms)))
	b = append(b, e.Terms...)
	return append(b, e.Body...)
}

// decodeEntry reads what encodeEntry wrote; the parts point into it.
func decodeEntry(doc uint64, b []byte) (fhir.Entry, bool) {
	if len(b) < 17 {
		return fhir.Entry{}, false
	}

	e := fhir.Entry{
		Doc:     doc,
		Deleted: b[0]&flagDeleted != 0,
		Method:  methods[b[0]>>methodShift&3],
		Version: binary.BigEndian.Uint64(b[1:]),
		Updated: time.UnixMilli(int64(binary.BigEndian.Uint64(b[9:]))).UTC(),
	}

	typ, b, ok1 := packed.Cut(b[17:])
	id, b, ok2 := packed.Cut(b)
	terms, b, ok3 := packed.Cut(b)
	if !ok1 || !ok2 || !ok3 {
		return fhir.Entry{}, false
	}

	e.Type, e.ID, e.Terms, e.Body = typeName(typ), string(id), search.Terms(terms), b
	return e, true
}

// typeNames has the names of resource types, which entries share.
var typeNames = sync.OnceValue(func() map[string]string {
	names := map[string]string{}
	for _, typ := range search.Types() {
		names[typ] = typ
	}
	return names
})

func typeName(b []byte) string {
	if name, ok := typeNames()[string(b)]; ok {
		return name
	}
	return string(b)
}
