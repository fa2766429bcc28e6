package doctor

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"
)

// offer is a ClientHello that Go's own client would never send: of protocol versions
// and cipher suites that nobody should accept (RFC 5246 7.4.1.2).
type offer struct {
	version uint16
	suites  []uint16
}

// serverHello is what a server chose.
type serverHello struct {
	version     uint16
	suite       uint16
	compression byte
	renews      bool // it has the extension of secure renegotiation (RFC 5746)
}

// errRefused reports that a server did not go along with an offer.
var errRefused = errors.New("doctor: the offer was refused")

// Numbers of TLS.
const (
	recordAlert     = 21
	recordHandshake = 22

	messageClientHello = 1
	messageServerHello = 2

	extensionServerName  = 0
	extensionGroups      = 10
	extensionPointFormat = 11
	extensionSignatures  = 13
	extensionRenegotiate = 0xff01

	deflate = 1
	maxRead = 1 << 15 // of an answer to a ClientHello
)

// try sends an offer on a connection of its own. The error is errRefused when the
// server answered with an alert or by closing, and another one when it could not be
// reached.
func (e *examination) try(ctx context.Context, o offer) (*serverHello, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	c, err := e.Dial(ctx, "tcp", e.addr)
	if err != nil {
		return nil, err
	}
	defer c.Close()

	_ = c.SetDeadline(time.Now().Add(patience)) // else the read below is what waits
	if _, err := c.Write(o.record(e.host)); err != nil {
		return nil, errRefused
	}
	return readServerHello(c)
}

// record is the offer as it is sent.
func (o offer) record(host string) []byte {
	var b []byte
	b = binary.BigEndian.AppendUint16(b, o.version)
	random := make([]byte, 32)
	_, _ = rand.Read(random) // crypto/rand.Read never fails (Go 1.24)
	b = append(b, random...)
	b = append(b, 0) // no session

	b = append16(b, uint16s(o.suites))
	b = append(b, 2, deflate, 0) // compression methods
	if o.version > versionSSL3 {
		b = append16(b, o.extensions(host))
	}

	message := []byte{messageClientHello, byte(len(b) >> 16), byte(len(b) >> 8), byte(len(b))}
	message = append(message, b...)
	return append16([]byte{recordHandshake, 3, byte(min(o.version, versionTLS10))}, message)
}

func (o offer) extensions(host string) []byte {
	var b []byte
	name := append16([]byte{0}, []byte(host))
	b = appendExtension(b, extensionServerName, append16(nil, name))
	groups := uint16s([]uint16{0x001d, 0x0017, 0x0018, 0x0019})
	b = appendExtension(b, extensionGroups, append16(nil, groups))
	b = appendExtension(b, extensionPointFormat, []byte{1, 0})

	if o.version >= versionTLS12 {
		algorithms := uint16s([]uint16{
			0x0403, 0x0503, 0x0603, 0x0804, 0x0805, 0x0806, 0x0401, 0x0501, 0x0601, 0x0203, 0x0201,
		})
		b = appendExtension(b, extensionSignatures, append16(nil, algorithms))
	}

	return appendExtension(b, extensionRenegotiate, []byte{0})
}

func appendExtension(b []byte, number uint16, content []byte) []byte {
	return append16(binary.BigEndian.AppendUint16(b, number), content)
}

// append16 appends content after its length in two bytes.
func append16(b, content []byte) []byte {
	b = binary.BigEndian.AppendUint16(b, uint16(len(content)))
	return append(b, content...)
}

func uint16s(values []uint16) (b []byte) {
	for _, v := range values {
		b = binary.BigEndian.AppendUint16(b, v)
	}
	return b
}

// readServerHello reads records until the ServerHello is whole.
func readServerHello(r io.Reader) (*serverHello, error) {
	var message []byte
	for len(message) < 4 || len(message) < 4+length24(message[1:]) {
		var head [5]byte
		if _, err := io.ReadFull(r, head[:]); err != nil {
			return nil, errRefused
		}
		if head[0] == recordAlert {
			return nil, errRefused
		}

		size := int(binary.BigEndian.Uint16(head[3:]))
		if head[0] != recordHandshake || len(message)+size > maxRead {
			return nil, fmt.Errorf("%w: it does not speak TLS", errRefused)
		}

		part := make([]byte, size)
		if _, err := io.ReadFull(r, part); err != nil {
			return nil, errRefused
		}
		message = append(message, part...)
	}

	if message[0] != messageServerHello {
		return nil, errRefused
	}
	return parseServerHello(message[4 : 4+length24(message[1:])])
}

func length24(b []byte) int {
	return int(b[0])<<16 | int(b[1])<<8 | int(b[2])
}

// parseServerHello reads the message of RFC 5246, 7.4.1.3.
func parseServerHello(b []byte) (*serverHello, error) {
	const random = 2 + 32
	if len(b) <= random || len(b) < random+1+int(b[random])+3 {
		return nil, errRefused
	}

	h := &serverHello{version: binary.BigEndian.Uint16(b)}
	b = b[random+1+int(b[random]):]
	h.suite, h.compression = binary.BigEndian.Uint16(b), b[2]
	if b = b[3:]; len(b) < 2 {
		return h, nil // without extensions
	}

	for b = b[2:]; len(b) >= 4; {
		number, size := binary.BigEndian.Uint16(b), int(binary.BigEndian.Uint16(b[2:]))
		h.renews = h.renews || number == extensionRenegotiate
		b = b[min(4+size, len(b)):]
	}

	return h, nil
}
