package tree

import (
	"fmt"
	"strings"
)

// cursor is a place in a text that jsontext has found to be valid.
type cursor struct {
	src string
	at  int
}

// cutter makes Values of a text that jsontext has already found to be valid,
// so it looks for boundaries only. Children of containers that are still open
// wait on stack, below which the finished ones never look; those of closed
// containers are together in slab.
type cutter struct {
	cursor
	stack []Value
	slab  []Value
	count int
	limit int // most values
}

// cut fills stack[slot] with the value that begins at c.at.
func (c *cutter) cut(slot, depth int) error {
	if c.count++; c.count > c.limit {
		return c.tooMany(c.limit)
	}

	from, kind, mark := c.at, Kind(c.src[c.at]), len(c.stack)
	switch kind {
	case Object, Array:
		if depth++; depth > MaxDepth {
			return c.tooDeep()
		}
		if err := c.children(kind, depth); err != nil {
			return err
		}

	case String:
		c.skipString()
	case True, False, Null:
		c.skipLiteral()
	default:
		kind = Number
		c.skipLiteral()
	}

	v := &c.stack[slot]
	v.Kind, v.From, v.Raw = kind, from, c.src[from:c.at]
	if len(c.stack) > mark {
		v.Items = c.keep(c.stack[mark:])
		c.stack = c.stack[:mark]
	}

	return nil
}

// children pushes what a container holds on the stack and steps past its end.
func (c *cutter) children(kind Kind, depth int) error {
	c.at++
	for {
		c.skipSpace()
		switch c.src[c.at] {
		case '}', ']':
			c.at++
			return nil
		case ',':
			c.at++
			c.skipSpace()
		}

		slot := len(c.stack)
		c.stack = append(c.stack, Value{})
		if kind == Object {
			from, to := c.name()
			c.stack[slot].Name = unquote(c.src[from:to])
		}
		if err := c.cut(slot, depth); err != nil {
			return err
		}
	}
}

// name reads a member's name and stops at its value.
func (c *cursor) name() (from, to int) {
	from = c.at
	c.skipString()
	to = c.at
	c.skipSpace()
	c.at++ // the colon
	c.skipSpace()
	return from, to
}

func (c *cursor) tooMany(limit int) error {
	return &Error{
		Code:   "too-long",
		Detail: fmt.Sprintf("the body holds more than %d values", limit),
		Offset: c.at,
	}
}

func (c *cursor) tooDeep() error {
	return &Error{
		Code:   "structure",
		Detail: fmt.Sprintf("the body is nested more than %d deep", MaxDepth),
		Offset: c.at,
	}
}

// keep moves the children of a closed container to the slab. A full slab is
// left behind, not grown: values in it are already pointed at.
func (c *cutter) keep(children []Value) []Value {
	if cap(c.slab)-len(c.slab) < len(children) {
		rest := (len(c.src) - c.at) / 24
		c.slab = make([]Value, 0, max(len(children), min(rest, 1024)))
	}
	from := len(c.slab)
	c.slab = append(c.slab, children...)
	return c.slab[from:len(c.slab):len(c.slab)]
}

func (c *cursor) skipSpace() {
	for c.at < len(c.src) {
		switch c.src[c.at] {
		case ' ', '\t', '\r', '\n':
			c.at++
		default:
			return
		}
	}
}

// skipString steps past a string: to the first quote that an even number of
// backslashes precedes.
func (c *cursor) skipString() {
	c.at++
	for {
		quote := c.at + strings.IndexByte(c.src[c.at:], '"')
		slashes := 0
		for c.src[quote-1-slashes] == '\\' {
			slashes++
		}

		c.at = quote + 1
		if slashes%2 == 0 {
			return
		}
	}
}

// skipLiteral steps past a number, true, false or null.
func (c *cursor) skipLiteral() {
	for c.at < len(c.src) {
		switch c.src[c.at] {
		case ',', '}', ']', ' ', '\t', '\r', '\n':
			return
		}
		c.at++
	}
}
