// Package tree reads a FHIR body once, strictly, into an ordered tree that
// points into the bytes as they were sent. Validation, splicing, indexing and
// display all walk this tree, so that what was validated is what is stored.
package tree

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/go-json-experiment/json/jsontext"
)

// Bounds of one body. A body over them is refused before it can cost more
// memory than its own size.
const (
	MaxBytes  = 16 << 20 // bytes in one body
	MaxDepth  = 64       // objects and arrays inside each other
	MaxValues = 1 << 19  // values of any kind in one body
)

// Limits bound one body where the usual bounds do not fit: a Bundle of many
// resources. MaxDepth holds for all.
type Limits struct {
	Bytes  int // length of the body
	Values int // values of any kind in it
}

// Kind is what a Value is, by the first byte of its JSON form.
type Kind byte

// The kinds of JSON values.
const (
	Object Kind = '{'
	Array  Kind = '['
	String Kind = '"'
	Number Kind = '0'
	True   Kind = 't'
	False  Kind = 'f'
	Null   Kind = 'n'
)

// Value is one JSON value where it stood. Values are made by Parse only and
// must not be changed.
type Value struct {
	Name  string  // the member's name, unescaped; "" for the root and for items of an array
	Raw   string  // the value's bytes as sent
	Items []Value // members of an object or items of an array, in the order sent
	From  int     // offset of Raw in the body
	Kind  Kind
}

// Error is why a body is not one well-formed JSON object. Code is an
// OperationOutcome issue code: "structure" or "too-long".
type Error struct {
	Code   string
	Detail string
	Offset int // byte offset at which reading stopped
	Err    error
}

func (e *Error) Error() string {
	return fmt.Sprintf("%s at byte %d", e.Detail, e.Offset)
}

func (e *Error) Unwrap() error { return e.Err }

// Parse reads one JSON object. It refuses what is not RFC 8259 in UTF-8,
// duplicate members, lone surrogates, a byte order mark, anything after the
// object, and what is over the bounds. Errors are *Error.
//
// jsontext alone validates the text, in one pass without allocation; the tree is
// then cut from the very bytes that it accepted.
func Parse(body []byte) (*Value, error) {
	return ParseWithin(body, Limits{
		Bytes:  MaxBytes,
		Values: MaxValues,
	})
}

// added is by how many bytes or values a stored body may be over the bounds: the
// server has put its id and version in.
const added = 1 << 10

// ParseStored is Parse for a body as it is stored: what Parse accepted before the
// server put id and version in.
func ParseStored(body []byte) (*Value, error) {
	return ParseWithin(body, Limits{
		Bytes:  MaxBytes + added,
		Values: MaxValues + added,
	})
}

// ParseWithin is Parse under other limits.
func ParseWithin(body []byte, limits Limits) (*Value, error) {
	at, err := begin(body, limits)
	if err != nil {
		return nil, err
	}

	kept := stacks.Get().(*[]Value)
	c := cutter{
		cursor: at,
		limit:  limits.Values,
		stack:  append((*kept)[:0], Value{}),
	}
	err = c.cut(0, 0)
	root := c.stack[0]

	if *kept = c.stack[:cap(c.stack)]; len(*kept) <= maxStack {
		clear(*kept)
		stacks.Put(kept)
	}
	if err != nil {
		return nil, err
	}

	return &root, nil
}

// stacks are those of cutters, which keep nothing of a tree: there is one for each
// body that is parsed.
var stacks = sync.Pool{New: func() any {
	s := make([]Value, 0, 64)
	return &s
}}

// maxStack bounds a stack that is kept, in values.
const maxStack = 1024

// begin validates a body, and returns the place where its object begins.
func begin(body []byte, limits Limits) (cursor, error) {
	if len(body) > limits.Bytes {
		return cursor{}, &Error{
			Code:   "too-long",
			Detail: fmt.Sprintf("the body is longer than %d bytes", limits.Bytes),
		}
	}
	if !jsontext.Value(body).IsValid() {
		return cursor{}, explain(body)
	}

	c := cursor{src: string(body)}
	c.skipSpace()
	if Kind(c.src[c.at]) != Object {
		return cursor{}, &Error{
			Code:   "structure",
			Detail: "the body is not a JSON object",
		}
	}

	return c, nil
}

// explain reads a refused body again, slowly, to find where and why.
func explain(body []byte) *Error {
	dec := jsontext.NewDecoder(bytes.NewReader(body))
	_, err := dec.ReadValue()
	if err == nil {
		_, err = dec.ReadToken()
	}
	e := &Error{
		Code:   "structure",
		Detail: "the body is not well-formed JSON",
		Offset: int(dec.InputOffset()),
		Err:    err,
	}

	var s *jsontext.SyntacticError
	switch {
	case errors.As(err, &s) && s.Err != nil:
		e.Detail, e.Offset = e.Detail+": "+s.Err.Error(), int(s.ByteOffset)
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		e.Detail += ": it ends too early"
	case err == nil:
		e.Detail += ": something follows the first value"
	}

	return e
}
