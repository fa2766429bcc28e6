package server

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"time"
)

// body is a request's body as handlers read it. It must arrive at a least rate and
// have room in memory, and its end begins the request's turn.
type body struct {
	from    io.ReadCloser // net/http's own
	most    int64         // bytes that it may have
	control http.ResponseController
	expects bool // Expect: 100-continue: the client sends nothing before the first Read

	slow  time.Duration // for this long nothing is asked of the rate
	rate  int           // bytes a second after that
	until time.Time     // when the whole request must be here

	started  time.Time // of reading; zero: not yet
	received int64
	deadline time.Time // as set on the connection
	whole    bool      // read to its end

	room     *room
	reserved int64  // bytes of the room
	client   string // for whom

	ctx    context.Context // of the request
	answer *answer         // whose turn begins at the end of the body
}

func (b *body) Read(p []byte) (int, error) {
	if b.whole {
		return 0, io.EOF
	}

	if b.received > b.most {
		return 0, &http.MaxBytesError{Limit: b.most}
	}

	b.hurry()

	n, err := b.from.Read(p[:min(int64(len(p)), b.most-b.received+1)])
	b.received += int64(n)
	if busy := b.fit(); busy != nil {
		return n, busy
	}

	switch {
	case b.received > b.most:
		return n - 1, &http.MaxBytesError{Limit: b.most}

	case err == io.EOF:
		b.whole = true
		_ = b.from.Close() // else net/http looks for a rest of it
		b.relax()
		if busy := b.answer.beginTurn(b.ctx); busy != nil {
			return n, busy
		}

	case errors.Is(err, os.ErrDeadlineExceeded):
		b.answer.instead = &refusal{http.StatusRequestTimeout, "the body did not arrive in time"}
	}

	return n, err
}

// fit reserves room for what has been received, less the first step. With errBusy
// the rest must not be read: the client may try again when others are done.
func (b *body) fit() error {
	for b.received > b.reserved+b.room.step {
		if b.reserved == 0 {
			b.client = b.answer.turn.client
		}
		if !b.room.reserve(b.client) {
			return b.answer.busy("too many long bodies are being received; try again shortly")
		}
		b.reserved += b.room.step
	}

	return nil
}

// hurry sets the moment at which the mean rate falls below the least one. The
// connection is bothered only when that has moved by a second.
func (b *body) hurry() {
	if b.started.IsZero() {
		b.started = time.Now()
	}
	end := b.started.Add(b.slow + time.Duration(b.received)*time.Second/time.Duration(b.rate))
	if end.After(b.until) {
		end = b.until
	}
	if end.Sub(b.deadline) >= time.Second || end.Equal(b.until) && !b.deadline.Equal(end) {
		b.deadline = end
		_ = b.control.SetReadDeadline(end) // fails in tests only, without a connection
	}
}

// relax ends the deadline: what the client sends or ends after its request does
// not concern the work on it.
func (b *body) relax() {
	_ = b.control.SetReadDeadline(time.Time{})
}

// Close leaves net/http's own body alone, which knows by itself what to do with
// the rest.
func (b *body) Close() error { return nil }

// Bounds of what is read of a body that no handler wants, in the hope that the
// connection can be kept.
const (
	maxUnwanted  = 64 << 10
	unwantedTime = 200 * time.Millisecond
)

// finish reads the short rest of a body that its handler left, and reports
// whether the connection can go on after the answer. A client that waits for
// 100 Continue gets its answer at once (RFC 9110 10.1.1).
func (b *body) finish() bool {
	if b.whole {
		return true
	}
	if b.expects && b.started.IsZero() {
		return false
	}

	_ = b.control.SetReadDeadline(time.Now().Add(unwantedTime))
	_, err := io.CopyN(io.Discard, b.from, maxUnwanted)
	if err != io.EOF {
		return false
	}

	b.whole = true
	b.relax()
	return true
}

// vacate frees the room of a body whose work is done.
func (b *body) vacate() {
	if b.reserved > 0 {
		b.room.release(b.client, b.reserved)
		b.reserved = 0
	}
}

// abandon makes net/http give up at once on the rest of the body, which it would
// otherwise wait for before it closes the connection.
func (b *body) abandon() {
	b.vacate()
	if !b.whole {
		_ = b.control.SetReadDeadline(time.Unix(1, 0))
	}
}
