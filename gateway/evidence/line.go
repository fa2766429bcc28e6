package evidence

import (
	"encoding/hex"
	"encoding/json"
	"strconv"
	"time"

	"fhirdest.example/gateway/wire"
)

// Line is one line of a file: one message on one hop.
type Line struct {
	Time      time.Time `json:"time"`
	Hop       string    `json:"hop"`
	Route     string    `json:"route"`
	Conn      string    `json:"conn"`
	Seq       uint64    `json:"seq"`
	Dir       string    `json:"dir"` // "request" or "response"
	Method    string    `json:"method"`
	Status    int       `json:"status"` // 0 on requests
	BytesIn   int64     `json:"bytesIn"`
	BytesOut  int64     `json:"bytesOut"`
	SHA256In  string    `json:"sha256In"`  // empty when nothing came in
	SHA256Out string    `json:"sha256Out"` // empty when nothing went out
	// Mapped is set on the line of a request on a mapped route, one whose next has a
	// path of its own: the hop replaced prefix and Host by those of the route, passed
	// all else, and so sent other bytes than it got. It is absent from other lines.
	Mapped bool `json:"mapped,omitempty"`
	// Address is host:port where a gateway sent the request, on the lines of a route whose
	// next hop has several addresses: of the request, and of the answers to it.
	Address string `json:"address,omitempty"`
	// Lost is set on no message's line: so many lines could not be written before
	// this one.
	Lost int64 `json:"lost,omitempty"`
}

// maxMethod bounds what a line keeps of a method's name, in bytes.
const maxMethod = 32

// appendMessage appends the line of m, newline included. hop is quoted already.
func appendMessage(b []byte, hop string, m *wire.Message) []byte {
	b = append(b, `{"time":"`...)
	b = m.Time.UTC().AppendFormat(b, time.RFC3339Nano)
	b = append(append(b, `","hop":`...), hop...)
	b = appendText(append(b, `,"route":`...), m.Route)
	b = appendText(append(b, `,"conn":`...), m.Conn)
	b = strconv.AppendUint(append(b, `,"seq":`...), m.Seq, 10)
	if m.Response {
		b = append(b, responseDir...)
	} else {
		b = append(b, requestDir...)
	}
	b = appendText(append(b, `,"method":`...), m.Method[:min(len(m.Method), maxMethod)])
	b = strconv.AppendInt(append(b, `,"status":`...), int64(m.Status), 10)
	b = strconv.AppendInt(append(b, `,"bytesIn":`...), m.In.Bytes, 10)
	b = strconv.AppendInt(append(b, `,"bytesOut":`...), m.Out.Bytes, 10)

	b = append(b, `,"sha256In":"`...)
	sum := len(b)
	b = appendSum(b, &m.In)
	in := b[sum:]
	b = append(b, `","sha256Out":"`...)
	if m.Out == m.In {
		b = append(b, in...)
	} else {
		b = appendSum(b, &m.Out)
	}
	b = append(b, '"')

	if m.Mapped {
		b = append(b, mappedKey...)
	}
	if m.Address != "" {
		b = appendText(append(b, addressKey...), m.Address)
	}

	return append(b, lineEnd...)
}

// What follows the digests, each of the keys where it is needed.
const (
	mappedKey  = `,"mapped":true`
	addressKey = `,"address":`
	lineEnd    = "}\n"
)

const (
	requestDir  = `,"dir":"request"`
	responseDir = `,"dir":"response"`
)

func appendSum(b []byte, d *wire.Digest) []byte {
	if d.Bytes == 0 {
		return b
	}
	return hex.AppendEncode(b, d.Sum[:])
}

// appendText appends s as a JSON string; plain text, the usual case, without help.
func appendText(b []byte, s string) []byte {
	for i := 0; i < len(s); i++ {
		if c := s[i]; c < ' ' || c == '"' || c == '\\' || c >= 0x7f {
			return append(b, quote(s)...)
		}
	}
	return append(append(append(b, '"'), s...), '"')
}

func quote(s string) string {
	q, _ := json.Marshal(s) // a string always marshals
	return string(q)
}
