package conform

import (
	"time"

	"fhirdest.example/udap/trace"
)

// Step is what a client wants by a request.
type Step string

// The steps, in the order in which a client makes them.
const (
	Discover  Step = "discover" // metadata of UDAP, SMART, OAuth or FHIR
	Register  Step = "register" // a registration, or a change of one
	Authorize Step = "authorize"
	Token     Step = "token"
	Refresh   Step = "refresh"
	Read      Step = "read"   // any FHIR interaction
	Cancel    Step = "cancel" // of a registration, or a revocation
	Other     Step = "other"  // nothing of the above could be recognised
)

// MaxKept is how many bytes of a message's body an Exchange keeps.
const MaxKept = 64 << 10

// MaskedSignature is how the signature of a JWT begins that could still be used, and is
// therefore not shown. Twelve hexadecimal digits of the digest of the signature follow.
const MaskedSignature = "masked--"

// Message is one HTTP message. Credentials in it are masked.
type Message struct {
	Head   []byte `json:"head"`             // start line and fields as they were on the wire, with the empty line
	Body   []byte `json:"body,omitzero"`    // at most MaxKept bytes, without framing
	Length int64  `json:"length"`           // of the whole body, without framing
	SHA256 string `json:"sha256,omitempty"` // of the whole message as it was, framing included, as evidence has it
}

// Exchange is one request as it arrived, and what was answered.
type Exchange struct {
	N        uint64    `json:"n"`        // within its session, from 1
	Received time.Time `json:"received"` // the end of the request
	Answered time.Time `json:"answered"`
	Address  string    `json:"address,omitempty"` // IP address of the other side
	Conn     string    `json:"conn,omitempty"`    // connection and number on it, as evidence has them
	Seq      uint64    `json:"seq,omitzero"`

	Method  string  `json:"method"`
	Target  string  `json:"target"` // request target as it was; credentials in its query are masked
	Step    Step    `json:"step"`
	Request Message `json:"request"`

	Status int     `json:"status"` // 0: no answer, or one that could not be written
	Answer Message `json:"answer"`
	Cut    bool    `json:"cut,omitzero"` // the answer was cut off before its end

	Traces []*trace.Trace `json:"traces,omitempty"` // of the decisions made about it

	Fault     string    `json:"fault,omitempty"`    // name of the deliberate fault that the answer has
	FaultFrom time.Time `json:"faultFrom,omitzero"` // no byte with the fault was sent before
}
