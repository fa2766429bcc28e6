package forward

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"time"
)

// Syslog is a collector that is sent messages of RFC 5424 over TLS, framed as RFC
// 5425 4.3 has it. The message is the AuditEvent as JSON.
//
// Syslog has no acknowledgement. So each batch has a connection of its own, and is
// accepted when the receiver closes it after ours was closed (RFC 5425 4.4): a
// receiver that ends before it has read everything resets the connection.
type Syslog struct {
	Addr string                      // HOST:PORT
	Host string                      // HOSTNAME of the messages: that of the server
	TLS  func() (*tls.Config, error) // read for each connection, so that new files count
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
}

// Facility and severities of RFC 5424 6.2.1. IHE ITI-20 recommends facility 10,
// security and authorization messages.
const facility = 10

var severities = map[string]int{
	"0":  5, // notice
	"4":  4, // warning
	"8":  3, // error
	"12": 2, // critical
}

// Values of the header's fields that are the same in every message.
const (
	appName   = "destination"
	messageID = "AuditEvent"
	byteOrder = "\xef\xbb\xbf" // RFC 5424 6.4: the message is UTF-8
	stamp     = "2006-01-02T15:04:05.000000Z"

	// maxSequence is the highest meta.sequenceId (RFC 5424 7.3.1).
	maxSequence = 2147483647
)

// appendFrame appends a frame with the message of an event. meta.sequenceId is the
// record's place in the chain of its destination, whose name is PROCID, so that a
// receiver can find gaps and repetitions.
func (s *Syslog) appendFrame(b []byte, e *Event) []byte {
	severity, ok := severities[e.Outcome]
	if !ok {
		severity = severities["12"]
	}

	head := fmt.Sprintf(
		"<%d>1 %s %s %s %s %s [meta sequenceId=\"%d\"] %s",
		facility*8+severity,
		e.Time.UTC().Format(stamp),
		visible(s.Host, 255),
		appName,
		visible(e.Chain, 128),
		messageID,
		(e.InChain-1)%maxSequence+1,
		byteOrder,
	)

	b = strconv.AppendInt(b, int64(len(head)+len(e.Body)), 10)
	b = append(b, ' ')
	b = append(b, head...)
	return append(b, e.Body...)
}

// visible is a field of the header that may have up to most visible ASCII characters;
// a hyphen in the place of anything else.
func visible(s string, most int) string {
	if s == "" || len(s) > most {
		return "-"
	}
	for _, c := range []byte(s) {
		if c <= ' ' || c > '~' {
			return "-"
		}
	}
	return s
}

// Send implements Collector: all events are accepted, or none.
func (s *Syslog) Send(ctx context.Context, events []Event) (int, error) {
	conn, err := s.connect(ctx)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() {
		_ = conn.SetDeadline(time.Unix(1, 0))
	})
	defer stop()

	var b []byte
	for i := range events {
		b = s.appendFrame(b, &events[i])
	}

	ended := make(chan error, 1)
	go func() { ended <- drain(conn) }()
	if _, err := conn.Write(b); err != nil {
		return 0, broken(err, ended)
	}

	select {
	case err := <-ended:
		return 0, endedEarly(err)
	default:
	}

	if err := conn.CloseWrite(); err != nil {
		return 0, broken(err, ended)
	}
	if err := <-ended; err != nil {
		return 0, fmt.Errorf("the collector did not confirm the end of the connection: %w", err)
	}
	return len(events), nil
}

// broken is why nothing could be written: what the collector sent last, such as a TLS
// alert, if anything, and else the error of the write.
func broken(err error, ended <-chan error) error {
	if why := <-ended; why != nil {
		err = why
	}
	return fmt.Errorf("the connection broke: %w", err)
}

// endedEarly is that the collector closed the connection while it was written to.
func endedEarly(err error) error {
	const text = "the collector ended the connection before it had everything"
	if err == nil {
		return errors.New(text)
	}
	return fmt.Errorf(text+": %w", err)
}

func (s *Syslog) connect(ctx context.Context) (*tls.Conn, error) {
	cfg, err := s.TLS()
	if err != nil {
		return nil, err
	}

	dial := s.Dial
	if dial == nil {
		dial = (&net.Dialer{}).DialContext
	}
	raw, err := dial(ctx, "tcp", s.Addr)
	if err != nil {
		return nil, err
	}

	conn := tls.Client(raw, cfg)
	if err := conn.HandshakeContext(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("TLS: %w", err), raw.Close())
	}
	return conn, nil
}

// maxReply bounds what a receiver may send: it has nothing to send at all.
const maxReply = 1 << 10

// drain reads until the other side ends the connection in order: by its own
// close_notify, or by the end of its stream without one, as many receivers do.
func drain(conn io.Reader) error {
	n, err := io.Copy(io.Discard, io.LimitReader(conn, maxReply))
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF):
		return nil
	case err == nil && n == maxReply:
		return errors.New("the collector sends data")
	}
	return err
}
